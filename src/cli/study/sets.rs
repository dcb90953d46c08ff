//! The data sets of a study: where they are, and what is in them as its cells read it.

use std::path::Path;

use baq_datasets::checksums;
use baq_datasets::formats::Format;

use super::super::setup;
use super::folder;
use crate::config::{AutoOr, Config, DataConfig, RunConfig};
use crate::env;
use crate::study::Cell;
use crate::study::graph::Data;
use crate::suite::{PREFIX, Suite};
use crate::train::TrainError;
use crate::train::data::{self, EMBEDDED};

/// A data set.
pub struct Set {
    /// where it is
    pub data: Data,
    /// of one of the suite, which need not be built yet
    recipe: Option<Recipe>,
    /// by how it is read: transitions to train on
    read: Vec<(DataConfig, String, usize)>,
}

/// What a recipe makes.
struct Recipe {
    env: String,
    /// of states and actions
    widths: (usize, usize),
    rows: u64,
    episodes: u64,
}

/// How a cell reads its data.
fn reading(config: &Config) -> (DataConfig, String) {
    (config.section(), config.section::<RunConfig>().env)
}

impl Set {
    /// The data set that the study names, looked for, and not read: a path from the study's file, a name in the folder of
    /// `--data`, or, without one, in the suite. Error: it is not there.
    pub fn find(name: &str, beside: &Path, folder: Option<&Path>) -> Result<Set, TrainError> {
        let path = match folder {
            _ if name == EMBEDDED => {
                return Ok(Set { data: Data::embedded(), recipe: None, read: Vec::new() });
            }
            Some(folder) if is_name(name) => folder::find(folder, name)?,
            _ if is_path(name) => beside.join(name),
            _ => return of_suite(name),
        };
        if !path.exists() {
            return Err(TrainError::Input(format!(
                "data {name}: expected a file, found none at {}; put it there, or correct the path, which begins in the folder of the study's file",
                path.display()
            )));
        }
        let file = setup::absolute(&path.display().to_string())?;
        Ok(Set { data: Data { file, sha256: String::new() }, recipe: None, read: Vec::new() })
    }

    /// Reads it, however cells will do it. Error: it cannot be read.
    pub fn look(&self) -> Result<(), TrainError> {
        match self.recipe {
            Some(_) => Ok(()),
            None => data::read(Path::new(&self.data.file), true).map(drop),
        }
    }

    /// Looks at it as the cells will read it. Errors: it is not for their environment, or is refused by how one reads it.
    pub fn read(&mut self, cells: &[&Cell]) -> Result<(), TrainError> {
        if let Some(recipe) = &self.recipe {
            return cells.iter().try_for_each(|cell| self.check_widths(cell, recipe.widths));
        }
        let path = Path::new(&self.data.file).to_path_buf();
        let clips = |cell: &&&Cell| cell.config.section::<DataConfig>().clip_actions;
        for clip in [false, true] {
            let cells: Vec<&&Cell> = cells.iter().filter(|cell| clips(cell) == clip).collect();
            if cells.is_empty() {
                continue;
            }
            let recording = data::read(&path, clip)?;
            for cell in cells {
                self.check_widths(cell, (recording.obs_dim(), recording.act_dim()))?;
                let (options, env) = reading(&cell.config);
                if self.read.iter().any(|(known, of, _)| (known, of) == (&options, &env)) {
                    continue;
                }
                let spec = if env.is_empty() { None } else { Some(env::spec(&env)?) };
                let (_, how) = data::summarise(&recording, &path, spec, &options)?;
                self.read.push((options, env, recording.check(&how)?));
            }
            // The program's own has none.
            if self.data.file != EMBEDDED {
                self.data.sha256 = recording.source.sha256;
            }
        }
        let known = path.file_name().and_then(|file| checksums::of_name(&file.to_string_lossy()));
        if let Some(known) = known.filter(|known| known.sha256 != self.data.sha256) {
            eprintln!(
                "note: {}: has the name of D4RL's file, whose sha256 is {}, and is another one, {}; tables will say so",
                path.display(),
                known.sha256,
                self.data.sha256
            );
        }
        Ok(())
    }

    fn check_widths(&self, cell: &Cell, got: (usize, usize)) -> Result<(), TrainError> {
        let run: RunConfig = cell.config.section();
        if run.env.is_empty() {
            return Ok(());
        }
        let spec = env::spec(&run.env)?;
        if (spec.obs_dim, spec.act_dim) == got {
            return Ok(());
        }
        Err(TrainError::Input(format!(
            "{}: expected data for {}, states of {} and actions of {}, got {} and {} in {}; name its environment with set = [\"run.env=ID\"]",
            cell.name(),
            spec.id,
            spec.obs_dim,
            spec.act_dim,
            got.0,
            got.1,
            self.data.file
        )))
    }

    /// Transitions that a cell trains on: at least, and at most, where they are not built yet.
    pub fn rows(&self, config: &Config) -> (usize, usize) {
        let (options, env) = reading(config);
        if let Some(Recipe { env: own, rows, episodes, .. }) = &self.recipe {
            // Every episode may lose its last row, and more where it is cut into shorter ones.
            let whole = options.max_episode_steps == AutoOr::Auto && env == *own;
            return (if whole { rows - episodes } else { 0 } as usize, *rows as usize);
        }
        let found = self.read.iter().find(|(known, of, _)| (known, of) == (&options, &env));
        found.map_or((0, usize::MAX), |(.., rows)| (*rows, *rows))
    }
}

fn is_path(name: &str) -> bool {
    name.contains('/') || Format::of(Path::new(name)).is_some()
}

/// Whether data are named by what they are, and may lie in any folder.
pub fn is_name(name: &str) -> bool {
    name != EMBEDDED && !is_path(name) && !name.starts_with(PREFIX)
}

fn of_suite(name: &str) -> Result<Set, TrainError> {
    let suite = Suite::here()?;
    let found = suite.find(name).and_then(|found| Ok((suite.record(&found)?.clone(), found)));
    let (recorded, found) = found.map_err(|e| {
        TrainError::Input(format!(
            "data {e}; or name a path in the study, or the folder of its file with --data DIR"
        ))
    })?;
    let env = env::spec(&suite.recipe(&found).env)?;
    let recipe = Recipe {
        env: env.id.into(),
        widths: (env.obs_dim, env.act_dim),
        rows: recorded.figures.rows,
        episodes: recorded.figures.episodes,
    };
    let data = Data { file: format!("{PREFIX}{}", found.text), sha256: recorded.sha256 };
    Ok(Set { data, recipe: Some(recipe), read: Vec::new() })
}
