//! Where trajectories begin and end in a list of rows.
//!
//! A trajectory ends after row i if the environment failed there, if the recording was cut there (time limit), if the
//! recorded next observation is not the observation of row i + 1 (distance above 1e-6), or if row i is the last. The
//! length 1000 is never used: once timeout rows are dropped such a counter drifts and merges neighbours.

use crate::columns::{Columns, Ending};
use ndarray::ArrayView2;
use std::ops::Range;

/// One trajectory: consecutive rows and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Episode {
    /// Its rows, never empty.
    pub rows: Range<usize>,
    /// Flag of its last row; `Running` for an unfinished tail or an unflagged seam.
    pub ending: Ending,
}

impl Episode {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Never true; here because `len` is.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// True if a flag closes it, i.e. its return is a whole one.
    pub fn is_complete(&self) -> bool {
        self.ending != Ending::Running
    }
}

/// Largest distance between s' and the next row's s that still counts as the same state.
pub const CONTINUITY: f64 = 1e-6;

/// Trajectories of training columns, in order, covering all rows.
pub fn of(columns: &Columns) -> Vec<Episode> {
    let next = Some(columns.next_observations.view());
    split(columns.len(), |i| columns.endings[i], columns.observations.view(), next)
}

/// Splits `n` rows by their flags and, where next observations are known, by continuity.
pub(crate) fn split(
    n: usize,
    ending: impl Fn(usize) -> Ending,
    observations: ArrayView2<f32>,
    next: Option<ArrayView2<f32>>,
) -> Vec<Episode> {
    let mut found = Vec::new();
    let mut start = 0;
    for i in 0..n {
        let flag = ending(i);
        let cut = i + 1 == n
            || flag != Ending::Running
            || next.is_some_and(|next| {
                let gap = observations
                    .row(i + 1)
                    .into_iter()
                    .zip(next.row(i))
                    .map(|(a, b)| f64::from(a - b).powi(2));
                gap.sum::<f64>() > CONTINUITY * CONTINUITY
            });
        if cut {
            found.push(Episode { rows: start..i + 1, ending: flag });
            start = i + 1;
        }
    }
    found
}
