//! Rows in the memory of a program, in place of a file.

use ndarray::{Array1, Array2};

use crate::columns::{Ending, Source};
use crate::error::{Error, Result};
use crate::recording::Recording;

/// What stands for the path of arrays in messages, and for the data in the configuration of a run on them.
pub const ARRAYS: &str = "<arrays>";

/// N recorded steps, in the order of recording, one episode after another. The next observation of a row is that of the
/// row after it; a row at a time limit and the very last one have none, so that they are no transitions.
#[derive(Debug, Clone, Copy)]
pub struct Arrays<'a> {
    /// s, `[N, S]`, row after row.
    pub observations: &'a [f32],
    /// a, `[N, A]`, each number in [-1, 1].
    pub actions: &'a [f32],
    /// r, `[N]`.
    pub rewards: &'a [f32],
    /// What followed each row, `[N]`.
    pub ends: &'a [Ending],
}

impl Arrays<'_> {
    /// A copy, checked as a file is; the checksum is of all numbers.
    ///
    /// # Errors
    /// [`Error::Shape`] if a length is no multiple of N, [`Error::TooFewRows`] if N = 0, and what else is wrong with the
    /// numbers; `clip_actions` as in [`crate::Options`].
    pub fn recording(&self, clip_actions: bool) -> Result<Recording> {
        let n = self.rewards.len();
        if n == 0 {
            return Err(Error::TooFewRows {
                file: ARRAYS.into(),
                key: "rewards".into(),
                expected: 1,
                got: 0,
            });
        }
        if self.ends.len() != n {
            let (expected, got) = (format!("({n},)"), format!("({},)", self.ends.len()));
            return Err(Error::Shape { file: ARRAYS.into(), key: "ends".into(), expected, got });
        }
        let floats = [self.observations, self.actions, self.rewards].into_iter().flatten();
        let mut bytes: Vec<u8> = floats.flat_map(|x| x.to_le_bytes()).collect();
        bytes.extend(self.ends.iter().map(|end| *end as u8));
        Recording {
            observations: matrix("observations", self.observations, n)?,
            actions: matrix("actions", self.actions, n)?,
            rewards: Array1::from_vec(self.rewards.to_vec()),
            next_observations: None,
            terminals: self.ends.iter().map(|end| *end == Ending::Terminated).collect(),
            timeouts: Some(self.ends.iter().map(|end| *end == Ending::Truncated).collect()),
            group_ends: None,
            action_log_probs: None,
            algorithm: None,
            env: None,
            action_bounds: None,
            action_space: None,
            notes: Vec::new(),
            source: Source::of_bytes(ARRAYS, &bytes),
        }
        .checked(clip_actions)
    }
}

/// `[N, D]`, N given.
fn matrix(key: &str, values: &[f32], n: usize) -> Result<Array2<f32>> {
    if values.is_empty() || !values.len().is_multiple_of(n) {
        let (expected, got) = (format!("({n}, D)"), format!("{} numbers", values.len()));
        return Err(Error::Shape { file: ARRAYS.into(), key: key.into(), expected, got });
    }
    Ok(Array2::from_shape_vec((n, values.len() / n), values.to_vec()).expect("invariant: a multiple of N"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transitions::Options;

    #[test]
    fn ends_are_kept() {
        use Ending::{Running, Terminated, Truncated};
        let s: Vec<f32> = (0..12).map(|x| x as f32).collect();
        let ends = [Running, Terminated, Running, Truncated, Running, Running];
        let arrays = Arrays { observations: &s, actions: &[0.5; 6], rewards: &[1.0; 6], ends: &ends };
        let columns = arrays.recording(false).unwrap().into_columns(&Options::default()).unwrap();
        assert_eq!((columns.len(), columns.obs_dim(), columns.act_dim()), (4, 2, 1));
        // The row at the time limit has no next observation; the one before it is the last of its episode.
        assert_eq!(columns.endings, [Running, Terminated, Truncated, Running]);
        assert_eq!(columns.next_observations.row(2).to_vec(), [6.0, 7.0]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let ends = [Ending::Running; 3];
        let good = Arrays { observations: &[0.0; 6], actions: &[0.0; 3], rewards: &[0.0; 3], ends: &ends };
        for (bad, what) in [
            (
                Arrays { observations: &[0.0; 5], ..good },
                "`observations`: expected shape (3, D), got 5 numbers",
            ),
            (Arrays { actions: &[], ..good }, "`actions`: expected shape (3, D), got 0 numbers"),
            (Arrays { ends: &ends[1..], ..good }, "`ends`: expected shape (3,), got (2,)"),
            (Arrays { actions: &[0.0, 1.5, 0.0], ..good }, "expected values in [-1, 1], got 1.5 in row 1"),
            (Arrays { rewards: &[], ..good }, "expected at least 1 row(s), got 0"),
        ] {
            let error = bad.recording(false).unwrap_err().to_string();
            assert!(error.starts_with("<arrays>: key ") && error.contains(what), "{error}");
        }
        let [a, b] =
            [[0.0; 3], [0.5; 3]].map(|a| Arrays { actions: &a, ..good }.recording(false).unwrap().source);
        assert_ne!(a.sha256, b.sha256);
    }
}
