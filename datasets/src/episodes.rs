//! Where trajectories begin and end in a list of rows.
//!
//! A trajectory ends after row i if the environment failed there, if the recording was cut there (time limit), if the
//! file's own structure begins another one (Minari's groups), if the recorded next observation is not the observation of
//! row i + 1, or if row i is the last. An end of the last two kinds before the last row, without a flag, is a *seam*. The
//! length 1000 is never used here: once timeout rows are dropped such a counter drifts and merges neighbours.

use crate::columns::{Columns, Ending};
use ndarray::ArrayView2;
use std::ops::Range;

/// One trajectory: consecutive rows and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Episode {
    /// Its rows, never empty.
    pub rows: Range<usize>,
    /// How its last row ended; `Running` for an unfinished tail or an unflagged seam.
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

/// Whether row i's next observation is the observation of row i + 1: closer than [`CONTINUITY`], a difference of four
/// units in the last place not counted. True files agree to the bit; the slack is for columns that were stored in another
/// precision, and is far below any reset. NaN continues nowhere.
pub(crate) fn continues(observations: ArrayView2<f32>, next: ArrayView2<f32>, i: usize) -> bool {
    if observations.row(i + 1) == next.row(i) {
        return true;
    }
    let gap = observations.row(i + 1).into_iter().zip(next.row(i)).map(|(a, b)| {
        let rounding = 4.0 * f64::from(f32::EPSILON) * f64::from(a.abs());
        let gap = (f64::from(*a) - f64::from(*b)).abs();
        if gap <= rounding { 0.0 } else { gap.powi(2) }
    });
    gap.sum::<f64>() <= CONTINUITY * CONTINUITY
}

/// Trajectories of training columns, in order, covering all rows: by their endings, which say where rows were cut, whatever
/// scale the states have by now.
pub fn of(columns: &Columns) -> Vec<Episode> {
    split(columns.len(), |i| columns.endings[i], |_| false)
}

/// Splits `n` rows by how they ended, and where a row that is not the last is `broken` off from the next.
pub(crate) fn split(
    n: usize,
    ending: impl Fn(usize) -> Ending,
    broken: impl Fn(usize) -> bool,
) -> Vec<Episode> {
    let mut found = Vec::new();
    let mut start = 0;
    for i in 0..n {
        let ending = ending(i);
        if ending != Ending::Running || i + 1 == n || broken(i) {
            found.push(Episode { rows: start..i + 1, ending });
            start = i + 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    #[test]
    fn continuity_is_a_matter_of_rounding() {
        let continues = |next: f32, s: f32| {
            let column = |x: [f32; 2]| Array2::from_shape_vec((2, 1), x.to_vec()).expect("two rows");
            super::continues(column([0.0, s]).view(), column([next, 0.0]).view(), 0)
        };
        assert!(continues(1.5, 1.5) && continues(0.0, -0.0) && continues(0.0, 1e-7));
        assert!(continues(1_900.0, 1_900.000_2) && continues(12.345_678, 12.345_679));
        assert!(!continues(1900.0, 1900.01) && !continues(0.0, 1e-5) && !continues(1.0, 1.0001));
        assert!(!continues(f32::NAN, 1.0) && !continues(f32::INFINITY, 1.0) && !continues(1.0, f32::NAN));
    }
}
