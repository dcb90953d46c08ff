//! Robots in MuJoCo: what the tasks have in common. Each task file holds its numbers.
//!
//! One environment step: hold the control for `frame_skip` simulation steps, then read. Reward:
//! (gain + healthy reward) - (weight · Σ control² + contact cost); the gain of those that run is their speed.
//!
//! The generations, as far as they differ:
//!
//! | | v2 (D4RL) | v4 | v5 |
//! |---|---|---|---|
//! | action beyond [-1, 1] | cut first | cut by the motors only, charged in full | as v4 |
//! | healthy reward | always | always | not on an unhealthy step |
//! | Walker2d's feet | friction 0.9 and 1.9 | same | 1.9 and 1.9 |
//! | contacts of Ant, Humanoid | free | free | charged, and observed by Ant |
//! | Ant's forces | zeros | not observed | observed |
//! | Reacher's distance | | before the step | after it |
//!
//! The control cost is summed in f64 whatever the type of the action. NumPy 2 uses f32 for f32 actions, which shows in the
//! reward's 8th digit; so does a replay of a recording whose actions are f32.

pub mod ant;
pub mod half_cheetah;
pub mod hopper;
pub mod humanoid;
pub mod inverted_pendulum;
mod numpy;
pub mod reacher;
mod robot;
pub mod swimmer;
mod task;
pub mod walker2d;

pub use robot::Robot;
