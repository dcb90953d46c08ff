//! Evaluations of a run, and the files that hold them.

use super::resumable_csv::{Cell, List, Number, ResumableCsv, Table};
use super::rundir::{self, RunError};
use super::stamp::Stamp;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

/// One evaluation: episodes in a separate environment, with raw rewards.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// When.
    pub stamp: Stamp,
    /// Normalised score of the mean return, where the environment has one.
    pub score: Option<f64>,
    /// Share of episodes that reached their goal, where the environment says so.
    pub success: Option<f64>,
    /// Undiscounted return of each episode.
    pub returns: Vec<f64>,
    /// Steps of each episode.
    pub lengths: Vec<u64>,
}

impl Evaluation {
    /// Mean return over the episodes; NaN without episodes.
    pub fn mean(&self) -> f64 {
        self.returns.iter().sum::<f64>() / self.returns.len() as f64
    }

    /// Standard deviation over the episodes (divided by their number, not one less).
    pub fn std(&self) -> f64 {
        let mean = self.mean();
        let squares: f64 = self.returns.iter().map(|r| (r - mean).powi(2)).sum();
        (squares / self.returns.len() as f64).sqrt()
    }
}

const COLUMNS: [&str; 6] = ["episodes", "return_mean", "return_std", "score", "returns", "lengths"];
/// Where the environment says whether goals are reached.
const WITH_SUCCESS: [&str; 7] =
    ["episodes", "return_mean", "return_std", "score", "returns", "lengths", "success"];

fn columns(success: bool) -> &'static [&'static str] {
    if success { &WITH_SUCCESS } else { &COLUMNS }
}

/// Writes `evaluations.csv` and `evaluations.jsonl`.
pub struct EvaluationLog {
    file: ResumableCsv,
    success: bool,
}

impl EvaluationLog {
    /// New files in `dir`, beginning with `earlier`: a fine-tuning run keeps the evaluations of
    /// the offline run it starts from, so that its curve is whole. A column of successes is there if those have it.
    /// Errors: those of [`Self::create_for`].
    pub fn create(dir: &Path, earlier: &[Evaluation]) -> Result<Self, RunError> {
        Self::create_for(dir, earlier, false)
    }

    /// [`Self::create`] for an environment that says whether goals are reached. Errors: a file cannot be written.
    pub fn create_for(dir: &Path, earlier: &[Evaluation], success: bool) -> Result<Self, RunError> {
        let success = success || earlier.iter().any(|e| e.success.is_some());
        let (csv, jsonl) = (dir.join(rundir::EVALUATIONS_CSV), dir.join(rundir::EVALUATIONS_JSONL));
        let mut log = Self { file: ResumableCsv::create(&csv, Some(&jsonl), columns(success))?, success };
        for evaluation in earlier {
            log.record(evaluation)?;
        }
        log.flush()?;
        Ok(log)
    }

    /// The files of an interrupted run, cut back to the checkpoint's counters. Errors: a file cannot be read or
    /// written, has other columns, or a row that is none of a run.
    pub fn resume(dir: &Path, checkpoint: Stamp) -> Result<Self, RunError> {
        let (csv, jsonl) = (dir.join(rundir::EVALUATIONS_CSV), dir.join(rundir::EVALUATIONS_JSONL));
        let success = says_success(dir)?;
        let file = ResumableCsv::resume(&csv, Some(&jsonl), columns(success), checkpoint)?;
        Ok(Self { file, success })
    }

    /// Appends one evaluation. Errors: a file cannot be written.
    pub fn record(&mut self, e: &Evaluation) -> Result<(), RunError> {
        let number = |x: Option<f64>| x.map_or(Cell::Absent, |x| Cell::Number(Number(x)));
        let mut cells = vec![
            Cell::Whole(e.returns.len() as u64),
            number(Some(e.mean())),
            number(Some(e.std())),
            number(e.score),
            Cell::Numbers(e.returns.iter().copied().map(Number).collect()),
            Cell::Wholes(e.lengths.clone()),
        ];
        if self.success {
            cells.push(number(e.success));
        }
        self.file.push(e.stamp, &cells)
    }

    /// Everything recorded so far is on the disk when this returns. Errors: a file cannot be written.
    pub fn flush(&mut self) -> Result<(), RunError> {
        self.file.flush()
    }
}

/// Whether the evaluations in `dir` have a column of successes.
fn says_success(dir: &Path) -> Result<bool, RunError> {
    let path = dir.join(rundir::EVALUATIONS_CSV);
    let mut header = String::new();
    // No more of it: it may be growing.
    let read = crate::files::open(&path).and_then(|file| BufReader::new(file).read_line(&mut header));
    read.map_err(RunError::io(&path, "read the file"))?;
    Ok(header.trim_end().ends_with(",success"))
}

/// Cells in the order of [`COLUMNS`].
type Cells = (u64, f64, f64, Option<f64>, List<f64>, List<u64>);
/// In that of [`WITH_SUCCESS`].
type CellsWithSuccess = (u64, f64, f64, Option<f64>, List<f64>, List<u64>, Option<f64>);

/// Reads `evaluations.csv` of a run; a torn last line is left out. Errors: it cannot be read, has other columns, or a
/// row with other cells than [`EvaluationLog`] writes.
pub fn read_evaluations(dir: &Path) -> Result<Vec<Evaluation>, RunError> {
    let path = dir.join(rundir::EVALUATIONS_CSV);
    let evaluation =
        |stamp, score, returns, lengths, success| Evaluation { stamp, score, success, returns, lengths };
    if says_success(dir)? {
        let table = Table::<CellsWithSuccess>::read(&path, Some(&WITH_SUCCESS))?;
        let rows = table.rows.into_iter();
        return Ok(rows
            .map(|(at, (_, _, _, score, r, l, success))| evaluation(at, score, r.0, l.0, success))
            .collect());
    }
    let table = Table::<Cells>::read(&path, Some(&COLUMNS))?;
    Ok(table
        .rows
        .into_iter()
        .map(|(at, (_, _, _, score, r, l))| evaluation(at, score, r.0, l.0, None))
        .collect())
}
