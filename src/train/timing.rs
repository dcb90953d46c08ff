//! Wall-clock times of a run, in a file of their own: of what else a run writes, all but [`rundir::PROVENANCE`] and what is in
//! [`rundir::TENSORBOARD`] is reproducible.

use super::resumable_csv::{Cell, Number, ResumableCsv, Table};
use super::rundir::{self, RunError};
use super::stamp::Stamp;
use std::path::Path;

const COLUMNS: [&str; 2] = ["seconds", "steps_per_second"];

/// Writes `timing.csv`.
pub struct TimingLog {
    file: ResumableCsv,
}

/// One row of `timing.csv`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timing {
    /// When in the run.
    pub stamp: Stamp,
    /// Seconds since the phase began or, behind a `--resume`, went on.
    pub seconds: f64,
    /// Steps per second in that time: updates on data, in an environment those of the environment.
    pub steps_per_second: f64,
}

impl TimingLog {
    /// A new file in `dir`. Errors: it cannot be written.
    pub fn create(dir: &Path) -> Result<Self, RunError> {
        Ok(Self { file: ResumableCsv::create(&dir.join(rundir::TIMING), None, &COLUMNS)? })
    }

    /// The file of an interrupted run, cut back to the checkpoint's counters. Errors: it cannot be read or written, has
    /// other columns, or a row that is none of a run.
    pub fn resume(dir: &Path, checkpoint: Stamp) -> Result<Self, RunError> {
        Ok(Self { file: ResumableCsv::resume(&dir.join(rundir::TIMING), None, &COLUMNS, checkpoint)? })
    }

    /// Appends one row. Errors: the file cannot be written.
    pub fn record(&mut self, t: Timing) -> Result<(), RunError> {
        self.file.push(t.stamp, &[t.seconds, t.steps_per_second].map(|x| Cell::Number(Number(x))))
    }

    /// Everything recorded so far is on the disk when this returns. Errors: the file cannot be written.
    pub fn flush(&mut self) -> Result<(), RunError> {
        self.file.flush()
    }
}

/// Reads `timing.csv` of a run. Errors: it cannot be read, has other columns, or a row with other cells than
/// [`TimingLog`] writes.
pub fn read_timing(dir: &Path) -> Result<Vec<Timing>, RunError> {
    let table = Table::<(f64, f64)>::read(&dir.join(rundir::TIMING), Some(&COLUMNS))?;
    let timing = |(stamp, (seconds, steps_per_second))| Timing { stamp, seconds, steps_per_second };
    Ok(table.rows.into_iter().map(timing).collect())
}
