//! Facts of a run that are not a function of time: its dataset, and how weights and priorities
//! are spread at the end. Stored as JSON.

use super::rundir::{self, RunError};
use crate::checkpoint::atomic::write_atomic;
use baq_datasets::inspect::Summary;
use baq_datasets::returns::Stats;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// How values of several origins are spread, in bins of equal width.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// Title of its chart, for example `Weights w`.
    pub title: String,
    /// What the values are.
    pub x_label: String,
    /// Bin edges, one more than bins.
    pub edges: Vec<f64>,
    /// Name of each origin with the number of its values per bin.
    pub groups: Vec<(String, Vec<u64>)>,
}

impl Distribution {
    /// Counts finite values of each group in `bins` bins that span all groups.
    pub fn of(title: &str, x_label: &str, groups: &[(&str, &[f32])], bins: usize) -> Self {
        let finite = || {
            groups
                .iter()
                .flat_map(|(_, values)| values.iter())
                .filter(|v| v.is_finite())
                .map(|v| f64::from(*v))
        };
        let (mut low, mut high) =
            finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low > high {
            (low, high) = (0.0, 1.0);
        } else if low == high {
            // A constant gets a bin of visible width around it.
            let half = (low.abs() * 0.05).max(0.05);
            (low, high) = (low - half, high + half);
        }
        let bins = bins.max(1);
        let width = (high - low) / bins as f64;
        let count = |values: &[f32]| {
            let mut counts = vec![0; bins];
            for v in values.iter().filter(|v| v.is_finite()) {
                let bin = ((f64::from(*v) - low) / width) as usize;
                counts[bin.min(bins - 1)] += 1;
            }
            counts
        };
        Self {
            title: title.into(),
            x_label: x_label.into(),
            edges: (0..=bins).map(|i| low + width * i as f64).collect(),
            groups: groups.iter().map(|(name, values)| (name.to_string(), count(values))).collect(),
        }
    }
}

/// Writes `distributions.json` of a run.
pub fn write_distributions(dir: &Path, distributions: &[Distribution]) -> Result<(), RunError> {
    write_json(&dir.join(rundir::DISTRIBUTIONS), distributions)
}

/// Reads `distributions.json` of a run.
pub fn read_distributions(dir: &Path) -> Result<Vec<Distribution>, RunError> {
    read_json(&dir.join(rundir::DISTRIBUTIONS))
}

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

/// Writes `dataset.json` of a run.
pub fn write_dataset(dir: &Path, facts: &DatasetFacts) -> Result<(), RunError> {
    write_json(&dir.join(rundir::DATASET), facts)
}

/// Reads `dataset.json` of a run.
pub fn read_dataset(dir: &Path) -> Result<DatasetFacts, RunError> {
    read_json(&dir.join(rundir::DATASET))
}

pub(super) fn write_json<T: Serialize + ?Sized>(path: &Path, value: &T) -> Result<(), RunError> {
    let text = serde_json::to_string_pretty(value).expect("invariant: plain data serialise");
    write_atomic(path, text.as_bytes()).map_err(RunError::io(path, "write the file"))
}

pub(super) fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, RunError> {
    let text = crate::files::read_to_string(path).map_err(RunError::io(path, "read the file"))?;
    serde_json::from_str(&text).map_err(|e| RunError::Format {
        path: path.to_path_buf(),
        line: e.line(),
        expected: "the JSON this program writes".into(),
        got: e.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_count_every_finite_value_once() {
        let off = [0.0f32, 0.5, 1.0, f32::NAN];
        let on = [2.0f32, 0.25];
        let d = Distribution::of("w", "w", &[("offline", &off), ("online", &on)], 4);
        assert_eq!(d.edges, [0.0, 0.5, 1.0, 1.5, 2.0]);
        assert_eq!(d.groups[0].1, [1, 1, 1, 0]);
        assert_eq!(d.groups[1].1, [1, 0, 0, 1]);
        let constant = Distribution::of("w", "w", &[("offline", &[1.0; 7])], 3);
        assert_eq!(constant.groups[0].1.iter().sum::<u64>(), 7);
        let empty = Distribution::of("w", "w", &[("online", &[])], 2);
        assert_eq!(empty.groups[0].1, [0, 0]);
        let folder = tempfile::tempdir().unwrap();
        write_distributions(folder.path(), std::slice::from_ref(&d)).unwrap();
        assert_eq!(read_distributions(folder.path()).unwrap(), [d]);
    }
}
