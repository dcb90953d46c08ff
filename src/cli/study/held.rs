//! A study that has a directory already.

use std::path::{Path, PathBuf};

use clap::Args;

use super::super::Common;
use super::resolve::Commands;
use crate::study::Study;
use crate::study::directory::STUDY;
use crate::train::TrainError;

/// Folder of studies that are given no other.
pub const STUDIES: &str = "studies";

/// Which study.
#[derive(Clone, Debug, Args)]
pub struct Held {
    /// directory of the study, or its name as below studies/, as in paper-table1-laptop
    #[arg(value_name = "DIR|NAME")]
    study: PathBuf,
}

impl Held {
    /// Reads it.
    pub fn open(&self, common: Common) -> Result<Study, TrainError> {
        let named = Path::new(STUDIES).join(&self.study);
        // Something else may have its name here.
        let dir = if self.study.join(STUDY).exists() || !named.is_dir() { &self.study } else { &named };
        if !dir.exists() {
            let known = self.similar();
            if !known.is_empty() {
                return Err(TrainError::Input(format!(
                    "{}: expected the directory of a study, found none; {STUDIES}/ has {}",
                    dir.display(),
                    known.join(", ")
                )));
            }
        }
        let study = Study::open(dir, &Commands(common))?;
        // Other numerics are another configuration: its cells would seem not to be there.
        let (asked, here) = (&study.place.numerics, baq_kernels::active().numerics);
        match here.name() == asked {
            true => Ok(study),
            false => Err(TrainError::Input(format!(
                "{}: its cells are made with --numerics {asked}, this process uses {here}; say --numerics {asked}",
                dir.display()
            ))),
        }
    }

    /// Studies whose names begin with the one that was given, as of its scales.
    fn similar(&self) -> Vec<String> {
        let Some(name) = self.study.file_name().and_then(|name| name.to_str()) else { return Vec::new() };
        let entries = std::fs::read_dir(STUDIES).into_iter().flatten().flatten();
        let entries = entries.filter(|entry| entry.path().join(STUDY).is_file());
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut similar: Vec<String> = names.filter(|other| other.starts_with(name)).collect();
        similar.sort();
        similar
    }
}
