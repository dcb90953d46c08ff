//! Evaluations of a run, and the files that hold them.

use super::resumable_csv::{Cell, List, Number, ResumableCsv, Table};
use super::rundir::{self, RunError};
use super::stamp::Stamp;
use std::path::Path;

/// One evaluation: episodes in a separate environment, with raw rewards.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// When.
    pub stamp: Stamp,
    /// Normalised score of the mean return, where the environment has one.
    pub score: Option<f64>,
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

/// Writes `evaluations.csv` and `evaluations.jsonl`.
pub struct EvaluationLog {
    file: ResumableCsv,
}

impl EvaluationLog {
    /// New files in `dir`, beginning with `earlier`: a fine-tuning run keeps the evaluations of
    /// the offline run it starts from, so that its curve is whole.
    pub fn create(dir: &Path, earlier: &[Evaluation]) -> Result<Self, RunError> {
        let (csv, jsonl) = (dir.join(rundir::EVALUATIONS_CSV), dir.join(rundir::EVALUATIONS_JSONL));
        let mut log = Self { file: ResumableCsv::create(&csv, Some(&jsonl), &COLUMNS)? };
        for evaluation in earlier {
            log.record(evaluation)?;
        }
        log.flush()?;
        Ok(log)
    }

    /// The files of an interrupted run, cut back to the checkpoint's counters.
    pub fn resume(dir: &Path, checkpoint: Stamp) -> Result<Self, RunError> {
        let (csv, jsonl) = (dir.join(rundir::EVALUATIONS_CSV), dir.join(rundir::EVALUATIONS_JSONL));
        Ok(Self { file: ResumableCsv::resume(&csv, Some(&jsonl), &COLUMNS, checkpoint)? })
    }

    /// Appends one evaluation.
    pub fn record(&mut self, e: &Evaluation) -> Result<(), RunError> {
        self.file.push(
            e.stamp,
            &[
                Cell::Whole(e.returns.len() as u64),
                Cell::Number(Number(e.mean())),
                Cell::Number(Number(e.std())),
                e.score.map_or(Cell::Absent, |score| Cell::Number(Number(score))),
                Cell::Numbers(e.returns.iter().copied().map(Number).collect()),
                Cell::Wholes(e.lengths.clone()),
            ],
        )
    }

    /// Everything recorded so far is on the disk when this returns.
    pub fn flush(&mut self) -> Result<(), RunError> {
        self.file.flush()
    }
}

/// Cells in the order of [`COLUMNS`].
type Cells = (u64, f64, f64, Option<f64>, List<f64>, List<u64>);

/// Reads `evaluations.csv` of a run; a torn last line is left out.
pub fn read_evaluations(dir: &Path) -> Result<Vec<Evaluation>, RunError> {
    let table = Table::<Cells>::read(&dir.join(rundir::EVALUATIONS_CSV), Some(&COLUMNS))?;
    let evaluation = |(stamp, (_, _, _, score, List(returns), List(lengths)))| Evaluation {
        stamp,
        score,
        returns,
        lengths,
    };
    Ok(table.rows.into_iter().map(evaluation).collect())
}
