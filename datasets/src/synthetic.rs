//! Small data sets made from arithmetic, the same on every machine, for tests and documentation.

use crate::columns::{Columns, Ending, Flags, Source};
use ndarray::{Array1, Array2};

/// SplitMix64: a few lines, good enough for test data, no dependency.
struct Sequence(u64);

impl Sequence {
    /// Next number in [-1, 1), on a grid of 2^-23.
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / 8_388_608.0 - 1.0
    }
}

/// Trajectories of a damped point that is pushed: s'_k = 0.9 s_k + 0.25 a_(k mod A), r = 1 - mean(s'^2).
///
/// The behaviour mixes the good action -s with noise, so better actions than its mean are in the data. A trajectory
/// terminates when |s'_0| > 0.6, is truncated after 50 steps, and the last one is an unfinished tail unless it happens
/// to end there. `n` rows, S = `obs_dim`, A = `act_dim`, both at least 1.
pub fn point(seed: u64, n: usize, obs_dim: usize, act_dim: usize) -> Columns {
    assert!(obs_dim > 0 && act_dim > 0, "invariant: synthetic data need at least one component");
    let mut noise = Sequence(seed);
    let (mut observations, mut next, mut actions) = (Vec::new(), Vec::new(), Vec::new());
    let (mut rewards, mut endings) = (Vec::with_capacity(n), Vec::with_capacity(n));
    let mut s: Vec<f32> = Vec::new();
    let mut step = 0;
    for _ in 0..n {
        if step == 0 {
            s = (0..obs_dim).map(|_| 0.5 * noise.next()).collect();
        }
        let a: Vec<f32> =
            (0..act_dim).map(|k| (0.9 * noise.next() - 0.3 * s[k % obs_dim]).clamp(-1.0, 1.0)).collect();
        let s2: Vec<f32> = (0..obs_dim).map(|k| 0.9 * s[k] + 0.25 * a[k % act_dim]).collect();
        rewards.push(1.0 - s2.iter().map(|x| x * x).sum::<f32>() / obs_dim as f32);
        step += 1;
        let ending = Ending::of(s2[0].abs() > 0.6, step == 50, Flags::Recorded);
        endings.push(ending);
        observations.extend_from_slice(&s);
        actions.extend_from_slice(&a);
        next.extend_from_slice(&s2);
        s = s2;
        if ending != Ending::Running {
            step = 0;
        }
    }
    let matrix =
        |data, width| Array2::from_shape_vec((n, width), data).expect("invariant: n rows were pushed");
    Columns {
        observations: matrix(observations, obs_dim),
        actions: matrix(actions, act_dim),
        rewards: Array1::from_vec(rewards),
        next_observations: matrix(next, obs_dim),
        endings,
        action_log_probs: None,
        source: Source::in_memory("<synthetic>"),
    }
}

/// The toy whose sums fit on one line, S = 1, A = 1, nine rows:
///
/// | rows | s | r | end |
/// |---|---|---|---|
/// | 0-2 | 0 1 2 | 1 2 3 | terminal |
/// | 3-6 | 10 11 12 13 | 1 1 1 1 | timeout |
/// | 7-8 | 20 21 | -5 0.5 | none, the data stop |
pub fn toy() -> Columns {
    use Ending::{Running, Terminated, Truncated};
    let s = [0.0, 1.0, 2.0, 10.0, 11.0, 12.0, 13.0, 20.0, 21.0];
    let column = |data: Vec<f32>| Array2::from_shape_vec((9, 1), data).expect("invariant: nine rows");
    Columns {
        observations: column(s.to_vec()),
        actions: column(vec![0.5, -0.5, 0.0, 1.0, -1.0, 0.25, -0.25, 0.75, -0.75]),
        rewards: Array1::from_vec(vec![1.0, 2.0, 3.0, 1.0, 1.0, 1.0, 1.0, -5.0, 0.5]),
        next_observations: column(s.iter().map(|x| x + 1.0).collect()),
        endings: vec![Running, Running, Terminated, Running, Running, Running, Truncated, Running, Running],
        action_log_probs: None,
        source: Source::in_memory("<toy>"),
    }
}
