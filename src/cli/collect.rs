//! `baq collect`: a policy's transitions as a D4RL file.

use std::path::{Path, PathBuf};

use baq_datasets::formats::Format;
use baq_datasets::scale::ActionBounds;
use baq_datasets::{plain, write};
use clap::Args;
use serde_json::json;

use super::{Common, Outcome, Verdict, hints, new_file};
use crate::config::Exploration;
use crate::env;
use crate::train::TrainError;
use crate::train::collect::{Behaviour, Collected, Cut, record};
use crate::train::policy::Restored;
use crate::train::progress::Stop;

/// Record transitions.
#[derive(Debug, Args)]
pub struct Collect {
    /// run directory, checkpoint or policy file
    #[arg(long, value_name = "RUN", required_unless_present = "random", conflicts_with = "random")]
    from: Option<PathBuf>,
    /// uniform random actions instead of a policy; needs --env
    #[arg(long, requires = "env")]
    random: bool,
    /// the policy's mode instead of its way of exploring
    #[arg(long, conflicts_with = "random")]
    greedy: bool,
    /// environment (default: that of the run)
    #[arg(long, value_name = "ENV")]
    env: Option<String>,
    /// environment steps to record
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    steps: u64,
    /// file to create, .hdf5 or .h5, in D4RL's layout
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// no progress bar
    #[arg(long)]
    quiet: bool,
}

impl Collect {
    /// Runs the command. Errors: an `--out` that is there already, lies in no folder, or has the name of another kind of
    /// file; no policy, or one that the environment does not fit; no environment; too many steps for the memory; a step
    /// that fails, after which the rows before it are written.
    pub fn run(self, common: Common) -> Outcome {
        check_name(&self.out)?;
        new_file::check(&self.out)?;
        // Before a program is started, which is ended with this one then.
        let stop = Stop::on_signal()?;
        let mut policy = self.from.as_deref().map(Restored::open).transpose()?;
        let spec = match &policy {
            Some(p) => p.environment(self.env.as_deref())?,
            None => env::spec(self.env.as_deref().expect("invariant: clap asks for --env"))?,
        };
        let mut env = env::make(spec.id)?;
        let how =
            policy.as_ref().map(|p| if self.greedy { Exploration::Greedy } else { p.options.exploration });
        let behaviour = match (&mut policy, how) {
            (Some(p), Some(how)) => Behaviour::policy(p, how, baq_kernels::active()),
            _ => Behaviour::Random,
        };
        let seed = common.seed.unwrap_or(0);
        let quiet = self.quiet || common.json;
        let (columns, cut) = record(env.as_mut(), behaviour, self.steps, seed, &stop, quiet)?;
        let how = match how {
            None => "random",
            Some(Exploration::Greedy) => "greedy",
            Some(Exploration::Sample) => "sample",
            Some(Exploration::Noise) => "noise",
        };
        let author = match &policy {
            Some(p) => format!("{}, actions: {how}", p.describe()),
            None => "uniform random actions".into(),
        };
        let bounds =
            env.action_bounds().map(|(low, high)| ActionBounds::new(spec.id, low, high)).transpose()?;
        let options = write::Options {
            algorithm: Some(author.clone()),
            action_bounds: bounds,
            ..write::Options::default()
        };
        let save =
            || new_file::create(&self.out, |file| Ok(write::encode(&self.out, &columns, &options, file)?));
        let (rows, steps) = (columns.len(), self.steps);
        match cut {
            None => save()?,
            Some(Cut::Signal) => {
                if rows > 0 {
                    save()?;
                }
                return Ok(self.interrupted(common, rows));
            }
            Some(Cut::Failure(e)) => {
                if rows > 0 {
                    let said = match save() {
                        Ok(()) => format!("{} holds the first {rows} of {steps} steps", self.out.display()),
                        Err(e) => format!("the first {rows} of {steps} steps were not written: {e}"),
                    };
                    eprintln!("baq: note: {}", plain(&said));
                }
                return Err(e.into());
            }
        }
        let c = Collected::of(&columns, spec);
        if common.json {
            let returns = c
                .returns
                .as_ref()
                .map(|r| json!({ "n": r.n, "mean": r.mean, "std": r.std, "min": r.min, "max": r.max }));
            println!(
                "{}",
                json!({
                    "file": self.out, "env": spec.id, "actions": how, "seed": seed, "n_transitions": c.steps,
                    "n_episodes": c.episodes, "n_terminals": c.terminals, "n_timeouts": c.timeouts,
                    "returns": returns, "score": c.score,
                })
            );
            return Ok(Verdict::Done);
        }
        println!(
            "{author} in {}: {} steps, {} episodes, {} terminated, {} at the time limit",
            spec.id, c.steps, c.episodes, c.terminals, c.timeouts
        );
        if let Some(r) = &c.returns {
            let score = c.score.map(|s| format!(", score {s:.1}")).unwrap_or_default();
            println!("return {:.2} +- {:.2} over {} complete episodes{score}", r.mean, r.std, r.n);
        }
        let words = ["data", "inspect", &hints::path(&self.out), "--env", spec.id];
        println!("next: {}", hints::command(common, &words));
        Ok(Verdict::Done)
    }

    /// Says what was written, and how to begin again beside it.
    fn interrupted(&self, common: Common, rows: usize) -> Verdict {
        let (steps, out) = (self.steps.to_string(), hints::path(&hints::free(&self.out)));
        let mut words = vec!["collect", "--steps", &steps, "--out", &out];
        let from = self.from.as_deref().map(hints::path);
        words.extend(from.iter().flat_map(|from| ["--from", from]));
        words.extend(self.env.iter().flat_map(|env| ["--env", env]));
        words.extend(
            [(self.random, "--random"), (self.greedy, "--greedy")].iter().filter(|f| f.0).map(|f| f.1),
        );
        let seed = common.seed.map(|s| s.to_string());
        words.extend(seed.iter().flat_map(|seed| ["--seed", seed]));
        let again = hints::command(common, &words);
        let file = self.out.display();
        match (common.json, rows) {
            (true, _) => println!(
                "{}",
                json!({ "file": self.out, "ended": "interrupted", "n_transitions": rows, "again": again })
            ),
            (_, 0) => println!("interrupted; {file} was not written; start over with: {again}"),
            _ => println!(
                "interrupted; {file} holds the first {rows} of {steps} steps; start over with: {again}"
            ),
        }
        Verdict::Interrupted
    }
}

/// An error for the name of a file that is no HDF5; one without an end may be anything.
fn check_name(out: &Path) -> Result<(), TrainError> {
    if out.extension().is_none() || Format::of(out) == Some(Format::Hdf5) {
        return Ok(());
    }
    Err(TrainError::Input(format!(
        "--out {}: expected a name for an HDF5 file, as in data.hdf5; `baq data convert` writes .npz and .csv from it",
        out.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_files_are_refused() {
        for name in ["x.hdf5", "x.H5", "folder.v2/x"] {
            assert!(check_name(Path::new(name)).is_ok(), "{name}");
        }
        for name in ["x.txt", "x.parquet", "x.hdf5.gz", "x.npz", "x.csv"] {
            let refused = check_name(Path::new(name)).expect_err(name).to_string();
            let expected = format!("--out {name}: expected a name for an HDF5 file");
            assert!(refused.starts_with(&expected), "{refused}");
        }
    }
}
