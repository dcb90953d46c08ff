//! A study that has a directory already.

use std::path::{Path, PathBuf};

use clap::Args;

use super::super::Common;
use super::resolve::Commands;
use crate::study::Study;
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
        let dir = if !self.study.exists() && named.is_dir() { &named } else { &self.study };
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
}
