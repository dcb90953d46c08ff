//! What defines a task, and what differs between the generations.

use crate::env::Spec;
use crate::env::mujoco::{ModelText, Part};

/// When a task ends early, and what it pays for not ending.
pub struct Health {
    /// Judges (qpos, qvel).
    pub healthy: fn(&[f64], &[f64]) -> bool,
    /// Reward of a healthy step.
    pub reward: f64,
    /// Pay it also on the unhealthy step (v2, v4).
    pub always_paid: bool,
}

/// The noise added to the model's initial pose.
pub enum ResetNoise {
    /// Positions and velocities uniform within ± this.
    Uniform(f64),
    /// Positions uniform within ± this, velocities normal with this standard deviation.
    UniformNormal(f64),
    /// Positions and velocities uniform within ± these, but for the last two: a goal, uniform in a disc, at rest.
    Goal { positions: f64, velocities: f64, radius: f64 },
}

/// What a reward looks at before and after a step.
#[derive(Clone, Copy)]
pub enum Measure {
    Nothing,
    /// The first position.
    Along,
    /// x of the frame of a body.
    Body(&'static str),
    /// x of the centre of mass.
    Centre,
    /// Distance between the frames of two bodies.
    Distance(&'static str, &'static str),
}

/// The numbers that define a task. A step's reward is (gain + healthy reward) - (control cost + contact cost).
pub struct Task {
    pub spec: Spec,
    pub model: ModelText,
    pub frame_skip: usize,
    /// Control of an action of 1.
    pub reach: f32,
    /// What an observation holds, in order.
    pub observation: &'static [Part],
    pub measure: Measure,
    /// Of the measure before the step, after it, and the seconds between.
    pub gain: fn(f64, f64, f64) -> f64,
    /// Weight of Σ control².
    pub control_cost: f64,
    /// It is of the simulator's controls, f64 whatever the action was.
    pub charges_controls: bool,
    /// Of the forces from outside, `[bodies, 6]`.
    pub contact_cost: Option<fn(&[f64]) -> f64>,
    /// `None`: never ends early, pays nothing.
    pub health: Option<Health>,
    pub reset_noise: ResetNoise,
    /// Cut actions to [-1, 1] before anything else (v2).
    pub cut_actions: bool,
}

/// Whose conventions a task follows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    V2,
    V4,
    V5,
}

impl Generation {
    pub const fn cuts_actions(self) -> bool {
        matches!(self, Generation::V2)
    }

    pub const fn health(self, reward: f64, healthy: fn(&[f64], &[f64]) -> bool) -> Option<Health> {
        Some(Health { healthy, reward, always_paid: !matches!(self, Generation::V5) })
    }
}

/// Speed, as a gain.
pub fn speed(before: f64, after: f64, seconds: f64) -> f64 {
    (after - before) / seconds
}
