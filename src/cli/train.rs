//! `baq train`: offline training.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::setup::{self, RunArgs};
use super::{Common, Outcome, Verdict};
use crate::algo::Dims;
use crate::config::{Config, OfflineConfig, RunConfig};
use crate::report;
use crate::train::TrainError;
use crate::train::agent::Agent;
use crate::train::data::{self, Dataset};
use crate::train::metrics::{read_evaluations, write_dataset};
use crate::train::offline::{Ended, Offline};
use crate::train::progress::Stop;
use crate::train::rundir::{self, RunDir};
use crate::train::state::Saved;

/// Train on a data set.
#[derive(Debug, Args)]
pub struct Train {
    /// base algorithm: iql or bc
    #[arg(long, default_value = "iql")]
    algo: String,
    #[command(flatten)]
    run: RunArgs,
    /// number of gradient updates
    #[arg(long, value_name = "N")]
    updates: Option<u64>,
    /// run directory to create (default: runs/METHOD-DATA-sSEED)
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// go on with an interrupted run; takes everything from its directory
    #[arg(long, value_name = "DIR", conflicts_with_all = ["out", "updates", "preset", "config", "sets", "data", "env"])]
    resume: Option<PathBuf>,
    /// no progress bar
    #[arg(long)]
    quiet: bool,
}

impl Train {
    /// Runs the command.
    pub fn run(self, common: Common) -> Outcome {
        let stop = Stop::on_signal()?;
        let quiet = self.quiet || common.json;
        let (dir, ended, config) = match &self.resume {
            Some(path) => {
                let dir = RunDir::resume(path)?;
                let config = setup::of_run(&dir)?;
                let saved = match dir.file(rundir::CHECKPOINT).exists() {
                    true => Some(Saved::open(path)?),
                    false => None,
                };
                let dataset = data::load(&config)?;
                let ended = train(&config, &dir, dataset, saved.as_ref(), &stop, quiet)?;
                (path.clone(), ended, config)
            }
            None => {
                let mut config = self.run.resolve(common, Some(&self.algo), None)?;
                if let Some(n) = self.updates {
                    let mut offline: OfflineConfig = config.section();
                    offline.updates = n;
                    config.put(offline);
                }
                let out = self.out.clone().unwrap_or_else(|| setup::default_out(&config));
                let ended = offline(&config, &out, &stop, quiet)?;
                (out, ended, config)
            }
        };
        let shown = dir.display();
        if ended == Ended::Interrupted {
            if !common.json {
                println!("interrupted; go on with: baq train --resume {shown}");
            }
            return Ok(Verdict::Done);
        }
        let evaluations = read_evaluations(&dir)?;
        let last = &evaluations[evaluations.len().saturating_sub(5)..];
        let mean = last.iter().map(|e| e.mean()).sum::<f64>() / last.len().max(1) as f64;
        let page = dir.join(rundir::REPORT);
        if common.json {
            let updates: OfflineConfig = config.section();
            let out = json!({
                "run": dir, "report": page, "updates": updates.updates,
                "ended": if ended == Ended::Patience { "patience" } else { "complete" },
                "mean_return_last_5": if last.is_empty() { None } else { Some(mean) },
                "evaluations": evaluations.len(),
            });
            println!("{out}");
        } else {
            if !last.is_empty() {
                println!("mean return of the last {} evaluations: {mean:.1}", last.len());
            }
            println!("report: {}", page.display());
            println!("next: baq finetune --from {shown} --adapt baq");
        }
        Ok(Verdict::Done)
    }
}

/// Trains from the beginning in a new run directory.
pub fn offline(config: &Config, out: &Path, stop: &Stop, quiet: bool) -> Result<Ended, TrainError> {
    // What can be wrong with the input is found before anything is created.
    let dataset = data::load(config)?;
    let dir = RunDir::create(out)?;
    dir.write(rundir::CONFIG, config.to_toml().as_bytes())?;
    train(config, &dir, dataset, None, stop, quiet)
}

fn train(
    config: &Config,
    dir: &RunDir,
    dataset: Dataset,
    saved: Option<&Saved>,
    stop: &Stop,
    quiet: bool,
) -> Result<Ended, TrainError> {
    let run: RunConfig = config.section();
    let options: OfflineConfig = config.section();
    let dims = Dims { s: dataset.columns.obs_dim(), a: dataset.columns.act_dim(), batch: options.batch };
    let agent = Agent::new(config, dims)?;
    let mut training = Offline::new(config, agent, &dataset, saved)?;
    // Only now is it certain that these are the data of this run.
    write_dataset(dir.path(), &dataset.facts)?;
    drop(dataset);
    let ended = training.run(dir, saved.is_some(), stop, quiet)?;
    if ended != Ended::Interrupted {
        let title = format!("{} on {}", run.algo, run.dataset);
        report::write(dir.path(), &title, &[dir.path().to_path_buf()], &[])?;
    }
    Ok(ended)
}

impl From<std::io::Error> for TrainError {
    fn from(e: std::io::Error) -> TrainError {
        TrainError::Input(e.to_string())
    }
}
