//! Environments: eight MuJoCo tasks with the semantics of the generations of Gym, a toy task that needs no simulator, whatever [another program](mod@process) makes, Gymnasium first,
//! and [one's own](register).
//!
//! An environment is a deterministic function of its seed, the episode number and the actions.
//! Its whole state can be saved and restored; what follows is then equal to the last bit.
//!
//! ```
//! let mut env = baq::env::make("toy")?;
//! let spec = env.spec();
//! let mut observation = vec![0.0; spec.obs_dim];
//! env.reset(7, 0, &mut observation);
//! let step = env.step(&[0.5], &mut observation)?;
//! assert!(step.reward.is_finite() && !step.ended());
//! # Ok::<(), baq::env::EnvError>(())
//! ```

pub mod cost;
mod environment;
mod error;
pub mod mujoco;
mod own;
pub mod process;
pub mod recording;
mod registry;
mod robots;
pub mod scene;
mod stream;
mod toy;

pub use environment::{Env, Needs, Simulated, Spec, Step, check_state};
pub use error::EnvError;
pub use registry::{Build, NONE, ids, make, of_score, register, spec};
