//! Transforms between raw data and what networks see. Files keep raw values; the constants fitted here are applied once,
//! when data are loaded, and the same ones to everything the environment delivers later, before a replay has it.

use crate::columns::Columns;
use crate::error::{Error, Result};
use crate::returns;
use ndarray::{Array2, ArrayView2, Axis};

/// Clips every component to [-limit, limit]. Panics on a limit below 0, or NaN.
pub fn clip_actions(actions: &mut Array2<f32>, limit: f32) {
    actions.mapv_inplace(|a| a.clamp(-limit, limit));
}

/// What the ends of [-1, 1] stand for in actions that have been rescaled: a' = 2 (a - low) / (high - low) - 1.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionBounds {
    low: Vec<f32>,
    high: Vec<f32>,
}

impl ActionBounds {
    /// Bounds of A components. Error, naming `file`: not as many of either, or a component without room between them.
    pub fn new(file: &str, low: Vec<f32>, high: Vec<f32>) -> Result<Self> {
        let bad = |expected: String, got: String, advice| {
            Err(Error::Bounds { file: file.into(), expected, got, advice })
        };
        if low.len() != high.len() {
            let expected = format!("as many upper bounds as lower ones, {}", low.len());
            return bad(
                expected,
                high.len().to_string(),
                "give one number for all, or one for each component",
            );
        }
        let room = |(l, h): (&f32, &f32)| l < h && (h - l).is_finite();
        match low.iter().zip(&high).position(|bounds| !room(bounds)) {
            None => Ok(ActionBounds { low, high }),
            Some(k) => bad(
                "a lower one below a finite upper one in every component".into(),
                format!("{} and {} in component {k}", low[k], high[k]),
                "give the task's own with --rescale-actions=LOW:HIGH",
            ),
        }
    }

    /// The smallest and the largest of every component of `[N, A]`. Error: as [`ActionBounds::new`].
    pub fn of_data(file: &str, actions: ArrayView2<f32>) -> Result<Self> {
        let bound = |start: f32, pick: fn(f32, f32) -> f32| {
            actions.axis_iter(Axis(1)).map(|c| c.iter().copied().fold(start, pick)).collect()
        };
        Self::new(file, bound(f32::INFINITY, f32::min), bound(f32::NEG_INFINITY, f32::max))
    }

    /// From -1 to 1 in all of A components: actions as they are.
    pub fn unit(a: usize) -> Self {
        ActionBounds { low: vec![-1.0; a], high: vec![1.0; a] }
    }

    /// Whether they are those of [`ActionBounds::unit`].
    pub fn is_unit(&self) -> bool {
        *self == Self::unit(self.low.len())
    }

    /// Lower bounds, A.
    pub fn low(&self) -> &[f32] {
        &self.low
    }

    /// Upper bounds, A.
    pub fn high(&self) -> &[f32] {
        &self.high
    }

    /// From the task's unit to [-1, 1], in place, one action or several laid end to end.
    pub fn rescale(&self, actions: &mut [f32]) {
        self.each(actions, |a, low, high| (a - low) / (high - low) * 2.0 - 1.0);
    }

    /// From [-1, 1] back to the task's unit.
    pub fn restore(&self, actions: &mut [f32]) {
        self.each(actions, |a, low, high| low + (a + 1.0) * 0.5 * (high - low));
    }

    fn each(&self, actions: &mut [f32], map: impl Fn(f64, f64, f64) -> f64) {
        for action in actions.chunks_mut(self.low.len().max(1)) {
            for ((a, low), high) in action.iter_mut().zip(&self.low).zip(&self.high) {
                *a = map(f64::from(*a), f64::from(*low), f64::from(*high)) as f32;
            }
        }
    }
}

impl std::fmt::Display for ActionBounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |values: &[f32]| match values.windows(2).all(|pair| pair[0] == pair[1]) {
            true => values.first().map(f32::to_string).unwrap_or_default(),
            false => values.iter().map(f32::to_string).collect::<Vec<_>>().join(","),
        };
        write!(f, "{}:{}", list(&self.low), list(&self.high))
    }
}

/// Added to the standard deviation, outside the square root.
pub const STD_EPSILON: f64 = 1e-3;

/// s <- (s - mean) / std with constants per component, S of each.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservationScale {
    /// Mean over the data, S values.
    pub mean: Vec<f32>,
    /// Standard deviation over the data (divisor N) plus [`STD_EPSILON`], S values.
    pub std: Vec<f32>,
}

impl ObservationScale {
    /// Leaves S components as they are.
    pub fn identity(obs_dim: usize) -> Self {
        ObservationScale { mean: vec![0.0; obs_dim], std: vec![1.0; obs_dim] }
    }

    /// Fits to observations `[N, S]` in f64, two passes in row order. No rows give the identity.
    pub fn fit(observations: ArrayView2<f32>) -> Self {
        let (n, s) = observations.dim();
        if n == 0 {
            return Self::identity(s);
        }
        let mut mean = vec![0.0f64; s];
        for row in observations.axis_iter(Axis(0)) {
            for (m, x) in mean.iter_mut().zip(row) {
                *m += f64::from(*x);
            }
        }
        mean.iter_mut().for_each(|m| *m /= n as f64);
        let mut variance = vec![0.0f64; s];
        for row in observations.axis_iter(Axis(0)) {
            for ((v, m), x) in variance.iter_mut().zip(&mean).zip(row) {
                *v += (f64::from(*x) - m).powi(2);
            }
        }
        ObservationScale {
            mean: mean.iter().map(|m| *m as f32).collect(),
            std: variance.iter().map(|v| ((v / n as f64).sqrt() + STD_EPSILON) as f32).collect(),
        }
    }

    /// Scales one observation (or several laid end to end) in place.
    pub fn apply(&self, observations: &mut [f32]) {
        for row in observations.chunks_mut(self.mean.len().max(1)) {
            for ((x, m), d) in row.iter_mut().zip(&self.mean).zip(&self.std) {
                *x = (*x - m) / d;
            }
        }
    }
}

/// Which reward scale to fit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RewardTransform {
    /// Raw rewards.
    None,
    /// r * 1000 / (largest - smallest return of the data), as IQL does for locomotion.
    ReturnRange,
    /// r * scale + shift with given constants: (1, -1) for IQL on AntMaze, (10, -5) for CQL and Cal-QL there.
    Affine {
        /// Factor.
        scale: f32,
        /// Added after the factor.
        shift: f32,
    },
}

/// r <- r * scale + shift, ready to apply.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RewardScale {
    /// Factor.
    pub scale: f32,
    /// Added after the factor.
    pub shift: f32,
}

impl RewardScale {
    /// Leaves rewards as they are.
    pub const IDENTITY: RewardScale = RewardScale { scale: 1.0, shift: 0.0 };

    /// Fits a transform to data. Error: [`RewardTransform::ReturnRange`] where all returns are equal.
    pub fn fit(transform: RewardTransform, columns: &Columns) -> Result<Self> {
        match transform {
            RewardTransform::None => Ok(Self::IDENTITY),
            RewardTransform::Affine { scale, shift } => Ok(RewardScale { scale, shift }),
            RewardTransform::ReturnRange => {
                let (lo, hi) = returns::return_range(columns).unwrap_or((0.0, 0.0));
                let scale = (1000.0 / (hi - lo)) as f32;
                if hi > lo && scale.is_finite() {
                    return Ok(RewardScale { scale, shift: 0.0 });
                }
                Err(Error::NoReturnRange {
                    file: columns.source.path.clone(),
                    transform: "return_range",
                    range: hi - lo,
                })
            }
        }
    }

    /// The transformed reward.
    pub fn apply(self, reward: f32) -> f32 {
        reward * self.scale + self.shift
    }
}
