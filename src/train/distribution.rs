//! How weights and priorities are spread at the end of a run, by origin. Stored as JSON.

use super::rundir::{self, RunError};
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

/// Writes `distributions.json` of a run. Errors: it cannot be written.
pub fn write_distributions(dir: &Path, distributions: &[Distribution]) -> Result<(), RunError> {
    rundir::write_json(&dir.join(rundir::DISTRIBUTIONS), distributions)
}

/// Reads `distributions.json` of a run. Errors: it cannot be read, or is not the JSON that [`write_distributions`]
/// writes.
pub fn read_distributions(dir: &Path) -> Result<Vec<Distribution>, RunError> {
    rundir::read_json(&dir.join(rundir::DISTRIBUTIONS))
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
