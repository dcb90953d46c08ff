//! What a report says about the dataset of a run, stored as JSON.

use super::rundir::{self, RunError};
use baq_datasets::inspect::Summary;
use baq_datasets::returns::Stats;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What a report says about the dataset of a run: the numbers that `baq data inspect` shows of the same file. Returns
/// and lengths are those of complete episodes, in raw rows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DatasetFacts {
    /// File name or a short name.
    pub name: String,
    /// SHA-256 of the file in hex, or empty.
    pub sha256: String,
    /// Rows of the file.
    pub transitions: u64,
    /// Rows that are used in training.
    pub used: u64,
    /// Episodes, an unfinished last one included.
    pub episodes: u64,
    /// Episodes whose end is known.
    pub complete: u64,
    /// Rows with the terminal flag.
    pub terminals: u64,
    /// Rows with the timeout flag.
    pub timeouts: u64,
    /// Episodes that end without a flag before the last row.
    pub seams: u64,
    /// Mean undiscounted return; `None`, like the next ones, without a complete episode.
    pub return_mean: Option<f64>,
    /// Standard deviation of the returns.
    pub return_std: Option<f64>,
    /// Smallest return.
    pub return_min: Option<f64>,
    /// Largest return.
    pub return_max: Option<f64>,
    /// Mean return of the best tenth of the episodes.
    pub return_best_tenth: Option<f64>,
    /// Normalised score of `return_mean`, where the task has one.
    pub score_mean: Option<f64>,
    /// Normalised score of `return_best_tenth`.
    pub score_best_tenth: Option<f64>,
    /// Mean length in rows.
    pub length_mean: Option<f64>,
    /// Shortest.
    pub length_min: Option<f64>,
    /// Longest.
    pub length_max: Option<f64>,
    /// What is unusual about the data, one line each.
    pub notes: Vec<String>,
}

impl DatasetFacts {
    /// The facts in a file's summary.
    pub fn of(summary: &Summary) -> Self {
        let returns = |of: fn(&Stats) -> f64| summary.returns.as_ref().map(of);
        let lengths = |of: fn(&Stats) -> f64| summary.lengths.as_ref().map(of);
        Self {
            name: summary.source.path.clone(),
            sha256: summary.source.sha256.clone(),
            transitions: summary.n_transitions as u64,
            used: summary.n_training as u64,
            episodes: summary.n_episodes as u64,
            complete: summary.n_complete as u64,
            terminals: summary.n_terminals as u64,
            timeouts: summary.n_timeouts as u64,
            seams: summary.n_seams as u64,
            return_mean: returns(|s| s.mean),
            return_std: returns(|s| s.std),
            return_min: returns(|s| s.min),
            return_max: returns(|s| s.max),
            return_best_tenth: returns(|s| s.best_tenth),
            score_mean: summary.scores.map(|(mean, _)| mean),
            score_best_tenth: summary.scores.map(|(_, best)| best),
            length_mean: lengths(|s| s.mean),
            length_min: lengths(|s| s.min),
            length_max: lengths(|s| s.max),
            notes: summary.notes.clone(),
        }
    }
}

/// Writes `dataset.json` of a run. Errors: it cannot be written.
pub fn write_dataset(dir: &Path, facts: &DatasetFacts) -> Result<(), RunError> {
    rundir::write_json(&dir.join(rundir::DATASET), facts)
}

/// Reads `dataset.json` of a run. Errors: it cannot be read, or is not the JSON that [`write_dataset`] writes.
pub fn read_dataset(dir: &Path) -> Result<DatasetFacts, RunError> {
    rundir::read_json(&dir.join(rundir::DATASET))
}
