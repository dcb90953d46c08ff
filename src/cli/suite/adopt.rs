//! `baq suite adopt`: policies, checksums and figures from what a training has come to.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::checkpoint::atomic::write_atomic;
use crate::cli::{Common, Outcome, Verdict, hints, rerun};
use crate::config::{Config, MujocoConfig, OnlineConfig};
use crate::suite::recipe::{Kind, Picked, Recipe, Trained};
use crate::suite::{Builder, Suite, pick, place};
use crate::train::TrainError;
use crate::train::metrics::{Evaluation, read_evaluations};
use crate::train::policy;
use crate::train::progress::Stop;
use crate::train::rundir;
use crate::train::state::Saved;

/// Order in which the files are built: what is joined before what joins it.
const ORDER: [Kind; 4] = [Kind::Medium, Kind::MediumReplay, Kind::Expert, Kind::MediumExpert];

/// Adopt a task's policies.
#[derive(Debug, Args)]
pub struct Adopt {
    #[command(flatten)]
    asked: Asked,
}

/// A recipe and its training.
#[derive(Debug, Args)]
pub struct Asked {
    /// the recipe, TASK.toml
    pub recipe: PathBuf,
    /// directory of the training run
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// commit of the program that trains, to be recorded (default: the one that is recorded)
    #[arg(long, value_name = "HASH")]
    pub commit: Option<String>,
    /// no progress bar
    #[arg(long)]
    pub quiet: bool,
}

/// The checkpoints that are taken.
struct Taken {
    trained: Trained,
    /// the medium one, with all that had been collected
    medium: Saved,
}

impl Adopt {
    /// Runs the command.
    pub fn run(self, common: Common) -> Outcome {
        let (suite, task) = self.asked.suite(common)?;
        self.asked.adopt(suite, &task, &Stop::on_signal()?, common)
    }
}

impl Asked {
    /// The recipes of the folder, and which one is meant.
    pub fn suite(&self, common: Common) -> Result<(Suite, String), TrainError> {
        if let Some(seed) = common.seed {
            return Err(TrainError::Input(format!(
                "--seed {seed}: expected none, the recipe has it in config.run; leave it out"
            )));
        }
        let path = &self.recipe;
        let task = path.file_stem().and_then(|s| s.to_str());
        let named = task.filter(|_| path.extension().is_some_and(|e| e == "toml"));
        let (Some(task), true) = (named, path.is_file()) else {
            return Err(TrainError::Input(format!(
                "{}: expected a recipe, TASK.toml; it is no such file",
                path.display()
            )));
        };
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let suite = Suite::of_folder(folder)?;
        self.commit(suite.of(task))?;
        Ok((suite, task.into()))
    }

    fn commit(&self, recipe: &Recipe) -> Result<String, TrainError> {
        let recorded = recipe.trained.as_ref().map(|trained| trained.commit.clone());
        self.commit.clone().or(recorded).ok_or_else(|| {
            TrainError::Input(format!(
                "--commit: expected the commit of the program that trains, as {} records none yet",
                self.recipe.display()
            ))
        })
    }

    /// Writes the policies, builds the data sets, and completes the recipe.
    pub fn adopt(&self, mut suite: Suite, task: &str, stop: &Stop, common: Common) -> Outcome {
        let recipe = suite.of(task).clone();
        let origin = suite.origin(task);
        check_same(&recipe.config(&origin)?, &self.run)?;
        let taken = self.policies(&recipe, task, &origin)?;
        let config = self.configuration(&recipe, &origin)?;
        let mut done = Recipe { trained: Some(taken.trained), files: Default::default(), config, ..recipe };
        suite.put(task, done.clone());
        let quiet = self.quiet || common.json;
        let builder = Builder { suite: &suite, folder: place::folder()?, stop, quiet };
        for rows in &done.rows {
            let mut names = suite.of_task(task, Some(*rows))?;
            names.retain(|n| suite.has_policies(n) && !done.files.contains_key(&n.text));
            names.sort_by_key(|n| ORDER.iter().position(|k| *k == n.kind));
            for name in &names {
                let recorded = match builder.first(name, &taken.medium) {
                    Err(TrainError::Interrupted(_)) => return Ok(self.interrupted("adopt", common)),
                    other => other?,
                };
                done.files.insert(name.text.clone(), recorded);
            }
        }
        write(&self.recipe, done.to_toml().as_bytes())?;
        self.say(&done, &builder.folder, common)
    }

    fn say(&self, done: &Recipe, folder: &Path, common: Common) -> Outcome {
        let trained = done.trained.as_ref().expect("invariant: it was put there");
        if common.json {
            println!("{}", json!({ "recipe": self.recipe, "trained": trained, "files": done.files }));
            return Ok(Verdict::Done);
        }
        for (role, picked) in trained.policies() {
            println!("{role}: step {}, mean return {:.1}", picked.env_step, picked.return_mean);
        }
        if trained.expert.is_none() {
            println!("no expert yet: train on, and run the same command again");
        }
        println!("{} data sets in {}", done.files.len(), folder.display());
        println!("wrote {} and the policies beside it", self.recipe.display());
        Ok(Verdict::Done)
    }

    /// Says how to go on with the command of this verb.
    pub fn interrupted(&self, verb: &str, common: Common) -> Verdict {
        let (recipe, run) = (hints::path(&self.recipe), hints::path(&self.run));
        let mut words = vec!["suite", verb, &recipe, "--run", &run];
        words.extend(self.commit.iter().flat_map(|commit| ["--commit", commit]));
        let again = hints::command(common, &words);
        match common.json {
            true => println!("{}", json!({ "ended": "interrupted", "again": again })),
            false => println!("interrupted; go on with: {again}"),
        }
        Verdict::Interrupted
    }

    fn kept(&self, e: &Evaluation) -> PathBuf {
        self.run.join(rundir::KEPT).join(rundir::kept_name((e.stamp.update, e.stamp.env_step)))
    }

    /// Writes the policies that there are beside the recipe.
    fn policies(&self, recipe: &Recipe, task: &str, origin: &str) -> Result<Taken, TrainError> {
        let planned = recipe.config(origin)?.section::<OnlineConfig>().env_steps;
        let mut all = read_evaluations(&self.run)?;
        // A run that goes on may not have written the checkpoint of its last evaluation yet.
        all.retain(|e| self.kept(e).exists());
        let Some(medium) = pick::medium(&all, &recipe.rule) else {
            return Err(TrainError::Input(format!(
                "{}: no evaluation with a kept checkpoint reaches the {} of a medium policy (the best: {}); train on",
                self.run.display(),
                recipe.rule.medium_return,
                pick::best(&all, 0)
            )));
        };
        let take = |role: Kind, e: &Evaluation| {
            let saved = Saved::open(&self.kept(e))?;
            let bytes = policy::file_of(&saved)?;
            write(&self.recipe.with_file_name(format!("{task}-{role}.safetensors")), &bytes)?;
            let sha256 = baq_datasets::Source::of_bytes("", &bytes).sha256;
            Ok::<_, TrainError>((Picked { env_step: e.stamp.env_step, return_mean: e.mean(), sha256 }, saved))
        };
        let (medium, saved) = take(Kind::Medium, medium)?;
        let expert = pick::expert(&all, &recipe.rule, planned);
        let expert = expert.map(|e| Ok::<_, TrainError>(take(Kind::Expert, e)?.0)).transpose()?;
        let isa = saved.arithmetic()?.0.to_string();
        Ok(Taken { trained: Trained { commit: self.commit(recipe)?, isa, medium, expert }, medium: saved })
    }

    /// The recipe's configuration with the simulator of the run.
    fn configuration(&self, recipe: &Recipe, origin: &str) -> Result<toml::Table, TrainError> {
        let mut config = recipe.config(origin)?;
        let there = rerun::configuration(&self.run)?;
        if there.has::<MujocoConfig>() {
            config.put(there.section::<MujocoConfig>());
        }
        let text = config.to_toml();
        Ok(text.parse().expect("invariant: a configuration is TOML"))
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    write_atomic(path, bytes).map_err(|e| TrainError::Input(format!("{}: cannot write: {e}", path.display())))
}

/// An error unless the run is the recipe's, its length and, where the recipe names none, its simulator aside.
pub fn check_same(recipe: &Config, run: &Path) -> Result<(), TrainError> {
    let (mut ours, there) = (recipe.clone(), rerun::configuration(run)?);
    let (a, b): (OnlineConfig, OnlineConfig) = (ours.section(), there.section());
    ours.put(OnlineConfig { env_steps: b.env_steps, schedule_steps: b.schedule_steps, ..a });
    if ours.section::<MujocoConfig>().release.is_empty() && there.has::<MujocoConfig>() {
        ours.put(there.section::<MujocoConfig>());
    }
    let (ours, there) = (ours.to_toml(), there.to_toml());
    match ours.lines().zip(there.lines()).find(|(a, b)| a != b) {
        None if ours.lines().count() == there.lines().count() => Ok(()),
        differing => {
            let (ours, there) = differing.unwrap_or(("all sections of the recipe", "others"));
            Err(TrainError::Input(format!(
                "{}: expected a run of the recipe, `{ours}`, got `{there}`; choose another --run",
                run.display()
            )))
        }
    }
}
