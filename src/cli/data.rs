//! `baq data`: what is in a data file, and the same in another format.

use std::path::PathBuf;

use baq_datasets::inspect::Summary;
use clap::{Args, Subcommand};

use super::convert::Convert;
use super::setup::{self, RunArgs};
use super::suite::ready;
use super::{Common, Outcome, Verdict, hints, names};
use crate::config::{AutoOr, DataConfig};
use crate::env;
use crate::suite::PREFIX;
use crate::train::TrainError;
use crate::train::data;

/// Data files.
#[derive(Debug, Subcommand)]
pub enum Data {
    /// Read a file completely and summarise it
    Inspect(Inspect),
    /// Convert a file to D4RL's layout, NumPy's archive or a table
    ///
    /// Reads HDF5 (.hdf5, .h5), NumPy's archive (.npz) or a table (.csv) in D4RL's or OGBench's layout, or a folder of Minari's, and
    /// writes D4RL's layout as any of the three. What is accepted stands on one page: `cargo doc --workspace --no-deps --open`,
    /// baq_datasets::formats.
    Convert(Convert),
}

/// Summarise a data file.
#[derive(Debug, Args)]
pub struct Inspect {
    /// data file (.hdf5, .npz, .csv) or Minari folder; `embedded` is the slice inside the program, `suite:NAME` a data set of `baq suite list`
    file: PathBuf,
    /// environment that the dimensions must fit and that scores are counted in (default: by what the file records or
    /// its name)
    #[arg(long, value_name = "ENV")]
    env: Option<String>,
    /// time limit that ends episodes beside the flags, in rows (default: the task's, in a file without timeouts)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    max_episode_steps: Option<u64>,
    /// accept recorded actions outside [-1, 1] by clipping them
    #[arg(long)]
    clip_actions: bool,
}

impl Data {
    /// Runs the command. Errors: data that cannot be read or converted; an `--env` that is unknown or that they do not
    /// fit; an output that is there already.
    pub fn run(self, common: Common) -> Outcome {
        match self {
            Data::Inspect(c) => c.run(common),
            Data::Convert(c) => c.run(common),
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
        println!("{}", self.next(common, &summary)?);
        Ok(Verdict::Done)
    }

    fn summary(&self) -> Result<Summary, TrainError> {
        let (named, file) = (self.file.to_string_lossy(), self.file.clone());
        let of_suite = named.starts_with(PREFIX);
        let file = if of_suite { ready(&named)? } else { file };
        let spec = match (&self.env, of_suite) {
            (Some(env), _) => Some(env::spec(env)?),
            (None, true) => setup::task(&named)?.known(),
            (None, false) => None,
        };
        let options = DataConfig {
            clip_actions: self.clip_actions,
            max_episode_steps: self.max_episode_steps.map_or(AutoOr::Auto, AutoOr::Value),
            ..DataConfig::default()
        };
        let recording = data::read(&file, self.clip_actions)?;
        let (mut summary, _) = data::summarise(&recording, &file, spec, &options)?;
        if spec.is_none() && recording.env.is_some() {
            summary.env = recording.env;
        }
        Ok(summary)
    }

    /// What one may do with the file.
    fn next(&self, common: Common, summary: &Summary) -> Result<String, TrainError> {
        if summary.n_training == 0 {
            return Ok("readable, but no row is left to learn from".into());
        }
        let file = hints::path(&self.file);
        let steps = self.max_episode_steps.map(|steps| steps.to_string());
        let mut words = vec!["train", "--data", &file];
        words.extend(self.env.iter().flat_map(|env| ["--env", env]));
        words.extend(steps.iter().flat_map(|steps| ["--max-episode-steps", steps]));
        if self.clip_actions {
            words.push("--clip-actions");
        }
        let run = RunArgs {
            data: Some(file.clone()),
            env: self.env.clone(),
            clip_actions: self.clip_actions,
            max_episode_steps: self.max_episode_steps,
            ..RunArgs::default()
        };
        // The command's own directory may be there already.
        let out = names::default_out(&run.resolve(Common { seed: None, ..common }, None, None)?, None, &[]);
        let free = hints::path(&hints::free(&out));
        if out.exists() {
            words.extend(["--out", &free]);
        }
        Ok(format!("next: {}", hints::command(common, &words)))
    }
}
