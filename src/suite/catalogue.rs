//! The suite of this process: its recipes, and the names of its data sets.
//!
//! The recipes are those inside the program, or those of a folder that the environment variable [`RECIPES`] names:
//! `TASK.toml`, and beside it `TASK-medium.safetensors` and `TASK-expert.safetensors`.
//!
//! A name is `TASK-KIND`, as `hopper-medium-expert`; for rollouts of another length than the usual one `TASK-KIND-ROWS`, as
//! `hopper-medium-200k`. Where data are named it stands behind [`PREFIX`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use baq_datasets::{Source, suite};

use super::recipe::{Kind, Picked, Recipe, Recorded};
use crate::config::hint;
use crate::train::TrainError;
use crate::train::state::Saved;

/// Before the name of a data set of the suite, where files are named otherwise.
pub const PREFIX: &str = "suite:";
/// Names the folder of other recipes than those inside the program.
pub const RECIPES: &str = "BAQ_SUITE_RECIPES";

/// The recipes by their tasks.
pub struct Suite {
    /// where they and their policies lie; `None` inside the program
    folder: Option<PathBuf>,
    recipes: BTreeMap<String, Recipe>,
}

/// A data set of the suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// its recipe
    pub task: String,
    /// what it holds
    pub kind: Kind,
    /// length of its rollouts; `None` where there are none
    pub rows: Option<u64>,
    /// all of it in one word
    pub text: String,
}

/// 200k for 200000.
fn short(rows: u64) -> String {
    if rows.is_multiple_of(1000) { format!("{}k", rows / 1000) } else { rows.to_string() }
}

impl Name {
    fn of(task: &str, recipe: &Recipe, kind: Kind, rows: u64) -> Name {
        let rows = (kind != Kind::MediumReplay).then_some(rows);
        let length = rows.filter(|n| *n != recipe.rows[0]).map(|n| format!("-{}", short(n)));
        let text = format!("{task}-{kind}{}", length.unwrap_or_default());
        Name { task: task.into(), kind, rows, text }
    }
}

impl Suite {
    /// That of this process.
    ///
    /// # Errors
    /// A recipe that cannot be read or is refused; those of [`Suite::of_folder`] where [`RECIPES`] names a folder.
    pub fn here() -> Result<Suite, TrainError> {
        if let Some(folder) = std::env::var_os(RECIPES).filter(|v| !v.is_empty()) {
            return Suite::of_folder(Path::new(&folder));
        }
        let mut recipes = BTreeMap::new();
        for (name, bytes) in suite::FILES {
            if let Some(task) = name.strip_suffix(".toml") {
                recipes.insert(task.to_string(), Recipe::parse(name, &String::from_utf8_lossy(bytes))?);
            }
        }
        Ok(Suite { folder: None, recipes })
    }

    /// That of a folder.
    ///
    /// # Errors
    /// The folder or a recipe in it cannot be read, a recipe is refused, or there is none.
    pub fn of_folder(folder: &Path) -> Result<Suite, TrainError> {
        let fail = |e: std::io::Error| {
            TrainError::Input(format!("{}: cannot read the folder of recipes: {e}", folder.display()))
        };
        let mut recipes = BTreeMap::new();
        for entry in std::fs::read_dir(folder).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            let (Some(task), Some("toml")) =
                (path.file_stem().and_then(|s| s.to_str()), path.extension().and_then(|e| e.to_str()))
            else {
                continue;
            };
            let label = path.display().to_string();
            let text = crate::files::read_to_string(&path)
                .map_err(|e| TrainError::Input(format!("{label}: cannot read the recipe: {e}")))?;
            recipes.insert(task.to_string(), Recipe::parse(&label, &text)?);
        }
        if recipes.is_empty() {
            let folder = folder.display();
            return Err(TrainError::Input(format!("{folder}: expected recipes (TASK.toml), got none")));
        }
        Ok(Suite { folder: Some(folder.to_path_buf()), recipes })
    }

    /// All recipes with their tasks.
    pub fn recipes(&self) -> impl Iterator<Item = (&str, &Recipe)> {
        self.recipes.iter().map(|(task, recipe)| (task.as_str(), recipe))
    }

    /// The recipe of a data set.
    pub fn recipe(&self, name: &Name) -> &Recipe {
        self.of(&name.task)
    }

    /// The recipe of a task.
    pub fn of(&self, task: &str) -> &Recipe {
        self.recipes.get(task).expect("invariant: the task is one of this suite")
    }

    /// What messages call a task's recipe.
    pub fn origin(&self, task: &str) -> String {
        let name = format!("{task}.toml");
        self.folder.as_ref().map_or(name.clone(), |folder| folder.join(&name).display().to_string())
    }

    /// Replaces a task's recipe.
    pub fn put(&mut self, task: &str, recipe: Recipe) {
        self.recipes.insert(task.into(), recipe);
    }

    /// The data sets of a task, those with rollouts of this length (`None`: the usual one).
    ///
    /// # Errors
    /// No such task, or no such length.
    pub fn of_task(&self, task: &str, rows: Option<u64>) -> Result<Vec<Name>, TrainError> {
        let Some(recipe) = self.recipes.get(task) else { return Err(self.unknown(task)) };
        let rows = rows.unwrap_or(recipe.rows[0]);
        if !recipe.rows.contains(&rows) {
            let lengths: Vec<String> = recipe.rows.iter().map(u64::to_string).collect();
            let lengths = lengths.join(" or ");
            return Err(TrainError::Input(format!(
                "--rows {rows}: expected {lengths}, for which the checksums of {task} are recorded; take one of them, or record \
                 any number of rows with `baq collect`"
            )));
        }
        Ok(Kind::ALL.map(|kind| Name::of(task, recipe, kind, rows)).into())
    }

    /// Every data set.
    pub fn names(&self) -> Vec<Name> {
        let mut all: Vec<Name> = Vec::new();
        for (task, recipe) in &self.recipes {
            for name in
                recipe.rows.iter().flat_map(|n| Kind::ALL.map(|kind| Name::of(task, recipe, kind, *n)))
            {
                if !all.contains(&name) {
                    all.push(name);
                }
            }
        }
        all
    }

    /// The data set of this name, with or without [`PREFIX`].
    ///
    /// # Errors
    /// There is none of this name.
    pub fn find(&self, text: &str) -> Result<Name, TrainError> {
        let bare = text.strip_prefix(PREFIX).unwrap_or(text);
        self.names().into_iter().find(|name| name.text == bare).ok_or_else(|| self.unknown(text))
    }

    fn unknown(&self, text: &str) -> TrainError {
        let bare = text.strip_prefix(PREFIX).unwrap_or(text);
        let names = self.names();
        let all = names.iter().map(|n| n.text.as_str()).chain(self.recipes.keys().map(String::as_str));
        TrainError::Input(format!(
            "{text}: no data set of the suite{}; `baq suite list` shows all of them",
            hint(bare, all)
        ))
    }

    /// What is recorded of a data set; `None` before it was built first.
    pub fn recorded(&self, name: &Name) -> Option<&Recorded> {
        self.recipe(name).files.get(&name.text)
    }

    /// The same; an error that says what to do without.
    pub fn record(&self, name: &Name) -> Result<&Recorded, TrainError> {
        self.recorded(name).ok_or_else(|| {
            TrainError::Input(format!(
                "{PREFIX}{}: not trained yet: {} records no such file; `baq suite list` shows what there is, `baq suite train` trains it",
                name.text,
                self.origin(&name.task)
            ))
        })
    }

    /// Whether the training has come to all policies that a data set needs.
    pub fn has_policies(&self, name: &Name) -> bool {
        let needs_expert = matches!(name.kind, Kind::Expert | Kind::MediumExpert);
        self.recipe(name).trained.as_ref().is_some_and(|t| t.expert.is_some() || !needs_expert)
    }

    /// Name of a data set's file.
    pub fn file(&self, name: &Name) -> String {
        format!("{}-baq-v{}.hdf5", name.text, self.recipe(name).version)
    }

    /// Label and content of the file of the policy `role` (medium, expert) of a task.
    ///
    /// # Errors
    /// There is none of this name inside the program, or the file in the folder cannot be read.
    fn policy_file(&self, task: &str, role: Kind) -> Result<(String, Vec<u8>), TrainError> {
        let name = format!("{task}-{role}.safetensors");
        match &self.folder {
            None => {
                let found = suite::FILES.iter().find(|(file, _)| *file == name);
                let missing = || TrainError::Input(format!("{name}: this policy is not inside the program"));
                found.map(|(_, bytes)| (name.clone(), bytes.to_vec())).ok_or_else(missing)
            }
            Some(folder) => {
                let path = folder.join(&name);
                let bytes = crate::files::read(&path).map_err(|e| {
                    TrainError::Input(format!("{}: cannot read the policy: {e}", path.display()))
                })?;
                Ok((path.display().to_string(), bytes))
            }
        }
    }

    /// A policy, the one that was recorded.
    ///
    /// # Errors
    /// There is none of this name inside the program, or the file in the folder cannot be read; another SHA-256 than the
    /// recorded one; a file that is no policy.
    pub fn policy(&self, task: &str, role: Kind, picked: &Picked) -> Result<Saved, TrainError> {
        let (label, bytes) = self.policy_file(task, role)?;
        let got = Source::of_bytes(&label, &bytes).sha256;
        if got != picked.sha256 {
            return Err(TrainError::Input(format!(
                "{label}: expected the policy with sha256 {}, got {got}; restore the file that came with the recipe",
                picked.sha256
            )));
        }
        Saved::acting_bytes(&label, &bytes)
    }
}
