//! Returns of trajectories: whole, to go, and their statistics. Sums run in f64 in row order.

use crate::columns::Columns;
use crate::episodes::{self, Episode};
use ndarray::{Array1, ArrayView1};

/// Undiscounted return of each episode, in order.
pub fn of_episodes(rewards: ArrayView1<f32>, episodes: &[Episode]) -> Vec<f64> {
    episodes.iter().map(|e| e.rows.clone().map(|i| f64::from(rewards[i])).sum()).collect()
}

/// Undiscounted return of every trajectory of the columns, unfinished tail included.
pub fn episode_returns(columns: &Columns) -> Vec<f64> {
    of_episodes(columns.rewards.view(), &episodes::of(columns))
}

/// Smallest and largest return over all trajectories, tail included; `None` without rows.
pub fn return_range(columns: &Columns) -> Option<(f64, f64)> {
    let returns = episode_returns(columns);
    let first = *returns.first()?;
    Some(returns.iter().fold((first, first), |(lo, hi), r| (lo.min(*r), hi.max(*r))))
}

/// G_i = r_i + discount * G_(i+1) within a trajectory, 0 beyond its end, `[N]`.
///
/// At a cut (time limit, tail) the sum stops too: it is the recorded return, a lower bound where rewards are positive.
/// Rewards of rows that the view dropped are not in it; keep timeout transitions to have them.
pub fn returns_to_go(columns: &Columns, discount: f64) -> Array1<f32> {
    let mut out = Array1::zeros(columns.len());
    for episode in episodes::of(columns) {
        let mut to_go = 0.0;
        for i in episode.rows.rev() {
            to_go = f64::from(columns.rewards[i]) + discount * to_go;
            out[i] = to_go as f32;
        }
    }
    out
}

/// Statistics of a set of numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Stats {
    /// How many.
    pub n: usize,
    /// Mean.
    pub mean: f64,
    /// Standard deviation, divisor n.
    pub std: f64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// Mean of the best tenth (at least one).
    pub best_tenth: f64,
}

impl Stats {
    /// Statistics of `values`; `None` if there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        if n == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64;
        let mut sorted = values.to_vec();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let best = &sorted[..(n / 10).max(1)];
        Some(Stats {
            n,
            mean,
            std: variance.sqrt(),
            min: sorted[n - 1],
            max: sorted[0],
            best_tenth: best.iter().sum::<f64>() / best.len() as f64,
        })
    }
}
