//! `baq suite`: data sets that are built from recipes.

mod adopt;
mod list;
mod ready;
mod train;

use std::collections::BTreeSet;

use baq_kernels::Isa;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

pub use ready::ready;

use super::{Common, Outcome, Verdict};
use crate::suite::place::{self, DATA, Found};
use crate::suite::recipe::Trained;
use crate::suite::{Builder, Name, PREFIX, Suite};
use crate::train::TrainError;
use crate::train::progress::Stop;

/// Stands where a file is named otherwise.
const POLICY: &str = "policy";

/// Build data sets from recipes
///
/// The recipes and their policies are inside the program; the environment variable BAQ_SUITE_RECIPES names a folder of
/// others. The files are kept in the cache, or in the folder that BAQ_SUITE_DATA names. Wherever data are named,
/// `suite:NAME` is one of them, built when it is used first.
#[derive(Debug, Subcommand)]
pub enum SuiteCommand {
    /// Build data sets
    Build(Build),
    /// Compare files and policies with the recorded checksums
    Check(Check),
    /// List the data sets, their figures beside D4RL's
    List(list::List),
    /// Train a task's policies, and adopt them (for maintainers, and for suites of one's own)
    ///
    /// Trains as the recipe's `config` says, and longer until the expert is good enough; a run that was begun so, also by
    /// `baq train`, is gone on with. Then it does what `baq suite adopt` does. Interrupted, the same command goes on.
    Train(train::Train),
    /// Take the policies that a training run has come to into its recipe (for those too)
    ///
    /// Picks the checkpoints by the recipe's `rule`, writes their policies beside the recipe, builds the data sets, and records
    /// their checksums in the recipe. The run is only read, and need not have ended: before there is an expert, the medium data
    /// are there. For the suite inside the program add the policies to datasets/src/suite.rs.
    Adopt(adopt::Adopt),
}

/// Build data sets
#[derive(Debug, Args)]
pub struct Build {
    /// tasks or data sets, as in hopper or hopper-medium (default: all); of a task what is trained
    names: Vec<String>,
    /// length of the rollouts, one that the recipe has (default: its first)
    #[arg(long, value_name = "N")]
    rows: Option<u64>,
    /// no progress bar
    #[arg(long)]
    quiet: bool,
}

/// Compare files and policies with the recorded checksums
#[derive(Debug, Args)]
pub struct Check {
    /// tasks or data sets (default: all)
    names: Vec<String>,
}

impl SuiteCommand {
    /// Runs the command. Errors: a task, data set or length that there is not; recipes that cannot be read; no folder
    /// for the files; a build or a training that fails.
    pub fn run(self, common: Common) -> Outcome {
        match self {
            SuiteCommand::Build(c) => c.run(common),
            SuiteCommand::Check(c) => c.run(common),
            SuiteCommand::List(c) => c.run(common),
            SuiteCommand::Train(c) => c.run(common),
            SuiteCommand::Adopt(c) => c.run(common),
        }
    }

    /// The instruction set that what is asked for was recorded with, if this processor has it and nothing needs another.
    pub fn isa(&self) -> Option<Isa> {
        let SuiteCommand::Build(build) = self else { return None };
        let suite = Suite::here().ok()?;
        let mut names = named(&suite, &build.names, build.rows).ok()?;
        names.retain(|name| suite.recorded(name).is_some());
        let of = |name: &Name| suite.recipe(name).trained.as_ref().map(|t| t.isa.clone());
        let first = of(names.first()?)?;
        let isa: Isa = first.parse().ok()?;
        let same = names.iter().all(|name| of(name).as_ref() == Some(&first));
        (same && baq_kernels::for_isa(isa).is_some()).then_some(isa)
    }
}

/// The data sets that are named, by themselves or by their tasks, each once; all without names.
fn named(suite: &Suite, names: &[String], rows: Option<u64>) -> Result<Vec<Name>, TrainError> {
    let is_task = |text: &str| suite.recipes().any(|(task, _)| task == text);
    let mut all = Vec::new();
    if names.is_empty() {
        for (task, _) in suite.recipes() {
            all.extend(suite.of_task(task, rows)?);
        }
    }
    for text in names {
        if is_task(text) {
            all.extend(suite.of_task(text, rows)?);
            continue;
        }
        let name = suite.find(text)?;
        // A length that the recipe does not have is refused, also where the name has none.
        suite.of_task(&name.task, rows)?;
        if let (Some(rows), true) = (rows, name.rows.is_some() && name.rows != rows) {
            return Err(TrainError::Input(format!(
                "--rows {rows}: {text} is the name of other rollouts; give the task {} instead",
                name.task
            )));
        }
        all.push(name);
    }
    let mut seen = BTreeSet::new();
    all.retain(|name| seen.insert(name.text.clone()));
    Ok(all)
}

impl Build {
    fn run(self, common: Common) -> Outcome {
        let (suite, stop) = (Suite::here()?, Stop::on_signal()?);
        let (names, missing): (Vec<Name>, Vec<Name>) =
            named(&suite, &self.names, self.rows)?.into_iter().partition(|n| suite.recorded(n).is_some());
        // What was asked for by its own name is not left out.
        let own = |n: &&Name| {
            names.is_empty() || self.names.iter().any(|text| suite.find(text).is_ok_and(|f| f == **n))
        };
        if let Some(name) = missing.iter().find(own) {
            suite.record(name)?;
        }
        let quiet = self.quiet || common.json;
        let builder = Builder { suite: &suite, folder: place::folder()?, stop: &stop, quiet };
        let mut built: Vec<Value> = Vec::new();
        for name in &names {
            let path = builder.ready(name)?;
            if common.json {
                built.push(json!({ "name": name.text, "file": path.display().to_string() }));
            } else {
                println!("{}: {}", name.text, path.display());
            }
        }
        let missing: Vec<&str> = missing.iter().map(|name| name.text.as_str()).collect();
        if common.json {
            println!("{}", json!({ "files": built, "not_trained": missing }));
            return Ok(Verdict::Done);
        }
        if !missing.is_empty() {
            println!("not trained yet: {}", missing.join(", "));
        }
        println!("next: baq train --data {PREFIX}{}", names[0].text);
        Ok(Verdict::Done)
    }
}

/// What is found of a policy or a data set.
struct Line {
    name: String,
    /// its file; `policy` for one that came with the recipe
    file: String,
    state: &'static str,
    /// of what is damaged
    why: String,
}

impl Check {
    fn run(self, common: Common) -> Outcome {
        let suite = Suite::here()?;
        let (names, folder) = (named(&suite, &self.names, None)?, place::folder()?);
        let names = if self.names.is_empty() { suite.names() } else { names };
        let mut lines: Vec<Line> = Vec::new();
        let tasks = suite.recipes().map(|(task, _)| task);
        for task in tasks.filter(|task| names.iter().any(|n| n.task == *task)) {
            for (role, picked) in suite.of(task).trained.iter().flat_map(Trained::policies) {
                let (state, why) = match suite.policy(task, role, picked) {
                    Ok(_) => ("whole", String::new()),
                    Err(e) => ("damaged", e.to_string()),
                };
                lines.push(Line { name: format!("{task}-{role}"), file: POLICY.into(), state, why });
            }
        }
        for name in names {
            let path = folder.join(suite.file(&name));
            let (state, why) = match suite.recorded(&name) {
                None => ("not trained", String::new()),
                Some(recorded) => match place::look(&path, recorded) {
                    Ok(Found::Whole) => ("whole", String::new()),
                    Ok(Found::Missing) => ("not built", String::new()),
                    Ok(Found::Damaged(why)) => ("damaged", why),
                    Err(e) => ("damaged", e.to_string()),
                },
            };
            lines.push(Line { name: name.text, file: path.display().to_string(), state, why });
        }
        let bad = lines.iter().filter(|l| l.state == "damaged").count();
        if common.json {
            let of = |l: &Line| json!({ "name": l.name, "file": l.file, "state": l.state, "why": l.why });
            let files: Vec<Value> = lines.iter().map(of).collect();
            println!("{}", json!({ "folder": folder.display().to_string(), "files": files }));
        } else {
            println!("files in {} ({DATA})", folder.display());
            for Line { name, file, state, why } in &lines {
                let why = if why.is_empty() { String::new() } else { format!(": {file}: {why}") };
                let what = if file == POLICY { " policy" } else { "" };
                println!("{:<32} {state}{why}", format!("{name}{what}"));
            }
            let policy = lines.iter().any(|l| l.state == "damaged" && l.file == POLICY);
            let next = match (bad, policy) {
                (0, _) => "",
                (_, false) => "; a damaged file is built again when it is used, or by `baq suite build`",
                (_, true) => "; restore the policies, from which data sets are built",
            };
            println!("{bad} damaged{next}");
        }
        Ok(if bad > 0 { Verdict::CheckFailed } else { Verdict::Done })
    }
}
