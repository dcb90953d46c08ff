//! What defines a task, and what differs between the generations.

use crate::env::Spec;
use crate::env::mujoco::{ModelText, Part};

/// When a task ends early, and what it pays for not ending.
pub struct Health {
    /// Judges (qpos, qvel).
    pub healthy: fn(&[f64], &[f64]) -> bool,
    /// Pay the reward of 1 also on the unhealthy step (v2, v4).
    pub always_paid: bool,
}

/// The noise added to the model's initial pose.
pub enum ResetNoise {
    /// Positions and velocities uniform within ± this.
    Uniform(f64),
    /// Positions uniform within ± this, velocities normal with this standard deviation.
    UniformNormal(f64),
}

/// The numbers that define a task.
pub struct Task {
    pub spec: Spec,
    pub model: ModelText,
    pub frame_skip: usize,
    pub control_cost: f64,
    /// `None`: never ends early, pays nothing.
    pub health: Option<Health>,
    /// What an observation holds, in order.
    pub observation: [Part; 2],
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

    pub const fn health(self, healthy: fn(&[f64], &[f64]) -> bool) -> Option<Health> {
        Some(Health { healthy, always_paid: !matches!(self, Generation::V5) })
    }
}

/// The joint along which a task runs; no observation holds its position.
pub const FORWARD: &str = "root_x";

/// Every task's observation: positions without that of the joint [`FORWARD`], then velocities, cut to ± `limit`.
pub const fn observation(limit: f64) -> [Part; 2] {
    [Part::Positions { without: &[FORWARD] }, Part::Velocities { limit }]
}
