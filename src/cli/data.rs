//! `baq data`: what is in a data file.

use std::path::{Path, PathBuf};

use baq_datasets::inspect::{self, Expected, Summary};
use baq_datasets::{EMBEDDED_HOPPER, Options, d4rl, embedded_hopper};
use clap::{Args, Subcommand};

use super::{Common, Outcome, Verdict};
use crate::env;
use crate::train::TrainError;
use crate::train::data::EMBEDDED;

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
    /// environment that the dimensions must fit and that scores are counted in
    #[arg(long, value_name = "ENV")]
    env: Option<String>,
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
        let mut options = Options { clip_actions: self.clip_actions, ..Options::default() };
        if let Some(spec) = spec {
            options.max_episode_steps = spec.max_episode_steps;
        }
        let expected = spec.map(|s| Expected { env: s.id, obs_dim: s.obs_dim, act_dim: s.act_dim });
        if self.file == Path::new(EMBEDDED) {
            let recording = d4rl::read_bytes(EMBEDDED_HOPPER, embedded_hopper(), options.clip_actions)?;
            return Ok(inspect::summarize(&recording, &options, expected)?);
        }
        Ok(inspect::inspect(&self.file, &options, expected)?)
    }

    /// What one may do with the file.
    fn next(&self, summary: &Summary) -> String {
        if summary.n_qlearning == 0 {
            return "readable, but no row is left to learn from".into();
        }
        let mut command = format!("next: baq train --data {}", self.file.display());
        if let Some(env) = &self.env {
            command += &format!(" --env {env}");
        }
        if self.clip_actions {
            command += " --clip-actions";
        }
        command
    }
}
