//! `baq data`: what is in a data file.

use std::path::PathBuf;

use baq_datasets::inspect::Summary;
use clap::{Args, Subcommand};

use super::{Common, Outcome, Verdict};
use crate::config::{AutoOr, DataConfig};
use crate::env;
use crate::train::TrainError;
use crate::train::data;

/// Data files.
#[derive(Debug, Subcommand)]
pub enum Data {
    /// Read a file completely and summarise it
    Inspect(Inspect),
}

/// Summarise a data file.
#[derive(Debug, Args)]
pub struct Inspect {
    /// D4RL file or Minari folder; `embedded` is the slice inside the program
    file: PathBuf,
    /// environment that the dimensions must fit and that scores are counted in (default: by what the file records or
    /// its name)
    #[arg(long, value_name = "ENV")]
    env: Option<String>,
    /// time limit that ends episodes beside the flags, in rows (default: the task's, in a file without timeouts)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_episode_steps: Option<u64>,
    /// accept recorded actions outside [-1, 1] by clipping them
    #[arg(long)]
    clip_actions: bool,
}

impl Data {
    /// Runs the command.
    pub fn run(self, common: Common) -> Outcome {
        match self {
            Data::Inspect(c) => c.run(common),
        }
    }
}

impl Inspect {
    fn run(self, common: Common) -> Outcome {
        let summary = self.summary()?;
        if common.json {
            println!("{}", summary.to_json());
            return Ok(Verdict::Done);
        }
        println!("{}", summary.to_table().trim_end());
        println!("{}", self.next(&summary));
        Ok(Verdict::Done)
    }

    fn summary(&self) -> Result<Summary, TrainError> {
        let spec = self.env.as_deref().map(env::spec).transpose()?;
        let options = DataConfig {
            clip_actions: self.clip_actions,
            max_episode_steps: self.max_episode_steps.map_or(AutoOr::Auto, AutoOr::Value),
            ..DataConfig::default()
        };
        let recording = data::read(&self.file, self.clip_actions)?;
        let (mut summary, _) = data::summarise(&recording, &self.file, spec, &options)?;
        if spec.is_none() && recording.env.is_some() {
            summary.env = recording.env;
        }
        Ok(summary)
    }

    /// What one may do with the file.
    fn next(&self, summary: &Summary) -> String {
        if summary.n_training == 0 {
            return "readable, but no row is left to learn from".into();
        }
        let mut command = format!("next: baq train --data {}", self.file.display());
        if let Some(env) = &self.env {
            command += &format!(" --env {env}");
        }
        if let Some(steps) = self.max_episode_steps {
            command += &format!(" --max-episode-steps {steps}");
        }
        if self.clip_actions {
            command += " --clip-actions";
        }
        command
    }
}
