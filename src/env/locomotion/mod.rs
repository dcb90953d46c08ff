//! Locomotion in the x-z plane: what the tasks have in common. Each task file holds its numbers.
//!
//! One environment step: read x, hold the control for `frame_skip` simulation steps, read the pose.
//! Observation: positions without x, then velocities. Reward:
//! (x' - x) / dt + healthy reward - weight · Σ a².
//!
//! The generations, as far as they differ:
//!
//! | | v2 (D4RL) | v4 | v5 |
//! |---|---|---|---|
//! | action beyond [-1, 1] | cut first | cut by the motors only, charged in full | as v4 |
//! | healthy reward | always | always | not on an unhealthy step |
//! | Walker2d's feet | friction 0.9 and 1.9 | same | 1.9 and 1.9 |
//!
//! The control cost is summed in f64 whatever the type of the action (NumPy 2 would use f32 for f32
//! actions, which shows in the reward's 8th digit).

pub mod half_cheetah;
pub mod hopper;
mod running;
mod task;
pub mod walker2d;

pub use running::Locomotion;
