//! `baq train`: offline training.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::setup::{self, RunArgs};
use super::{Common, Outcome, Verdict};
use crate::algo::Dims;
use crate::config::{OfflineConfig, RunConfig};
use crate::report;
use crate::train::agent::Agent;
use crate::train::metrics::{read_evaluations, write_dataset};
use crate::train::offline::{Ended, Offline};
use crate::train::progress::Stop;
use crate::train::rundir::{self, RunDir};
use crate::train::state::Saved;
use crate::train::{TrainError, data};

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
        let (config, dir, saved) = match &self.resume {
            Some(path) => {
                let dir = RunDir::resume(path)?;
                let origin = dir.file(rundir::CONFIG).display().to_string();
                let config = setup::from_text(&origin, &dir.read(rundir::CONFIG)?)?;
                let saved = match dir.file(rundir::CHECKPOINT).exists() {
                    true => Some(Saved::open(path)?),
                    false => None,
                };
                (config, dir, saved)
            }
            None => {
                let mut config = self.run.resolve(common, Some(&self.algo), None)?;
                if let Some(n) = self.updates {
                    let mut offline: OfflineConfig = config.section();
                    offline.updates = n;
                    config.put(offline);
                }
                // Everything that can be wrong with the input is found before anything is created.
                data::load(&config)?;
                let out = self.out.clone().unwrap_or_else(|| setup::default_out(&config));
                let dir = RunDir::create(&out)?;
                dir.write(rundir::CONFIG, config.to_toml().as_bytes())?;
                (config, dir, None)
            }
        };
        let run: RunConfig = config.section();
        let offline: OfflineConfig = config.section();
        let dataset = data::load(&config)?;
        write_dataset(dir.path(), &dataset.facts)?;
        let dims = Dims { s: dataset.columns.obs_dim(), a: dataset.columns.act_dim(), batch: offline.batch };
        let agent = Agent::new(&config, dims)?;
        let stop = Stop::on_signal()?;
        let mut training = Offline::new(&config, agent, &dataset, saved.as_ref())?;
        drop(dataset);
        let ended = training.run(&dir, saved.is_some(), &stop, self.quiet || common.json)?;
        let shown = dir.path().display();
        if ended == Ended::Interrupted {
            if !common.json {
                println!("interrupted; go on with: baq train --resume {shown}");
            }
            return Ok(Verdict::Done);
        }
        let title = format!("{} on {}", run.algo, run.dataset);
        let page = report::write(dir.path(), &title, &[dir.path().to_path_buf()], &[])?;
        let evaluations = read_evaluations(dir.path())?;
        let last = &evaluations[evaluations.len().saturating_sub(5)..];
        let mean = last.iter().map(|e| e.mean()).sum::<f64>() / last.len().max(1) as f64;
        if common.json {
            let out = json!({
                "run": dir.path(), "report": page, "updates": offline.updates,
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

impl From<std::io::Error> for TrainError {
    fn from(e: std::io::Error) -> TrainError {
        TrainError::Input(e.to_string())
    }
}
