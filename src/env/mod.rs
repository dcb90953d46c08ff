//! Environments: three MuJoCo locomotion tasks with the semantics of three generations of Gym,
//! and a toy task that needs no simulator.
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
mod locomotion;
pub mod mujoco;
mod toy;
pub mod trace;

use std::path::PathBuf;

/// What an environment answers to one action.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Reward of this step.
    pub reward: f64,
    /// The task itself ended: no reward could follow.
    pub terminated: bool,
    /// The time limit was reached. As in Gym, both flags are set when a task ends on the
    /// very step at which its time is up; [`Step::m`] says how learning treats that.
    pub truncated: bool,
}

impl Step {
    /// The episode is over, for either reason; reset before the next step.
    pub fn ended(&self) -> bool {
        self.terminated || self.truncated
    }

    /// The column m, 1 - terminated, with which targets bootstrap. A step that is both
    /// `terminated` and `truncated` counts as truncated (m = 1): D4RL's data and the common online
    /// loops cannot tell the two apart at the limit and take it for the time limit.
    pub fn m(&self) -> f32 {
        if self.terminated && !self.truncated { 0.0 } else { 1.0 }
    }
}

/// The fixed properties of an environment; known without a simulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Canonical id, e.g. `hopper-v4`.
    pub id: &'static str,
    /// S, length of an observation.
    pub obs_dim: usize,
    /// A, length of an action; every component lies in [-1, 1].
    pub act_dim: usize,
    /// Steps after which an episode is truncated.
    pub max_episode_steps: usize,
    /// The task's name in D4RL's table of reference returns; `None` when it has none.
    pub score: Option<&'static str>,
    /// Whether [`make`] needs MuJoCo.
    pub needs_mujoco: bool,
}

/// A task that answers actions with observations and rewards.
pub trait Env: Send {
    /// The fixed properties.
    fn spec(&self) -> &Spec;

    /// S, length of an observation.
    fn obs_dim(&self) -> usize {
        self.spec().obs_dim
    }

    /// A, length of an action.
    fn act_dim(&self) -> usize {
        self.spec().act_dim
    }

    /// Steps after which an episode is truncated.
    fn max_episode_steps(&self) -> usize {
        self.spec().max_episode_steps
    }

    /// Starts an episode and writes its first observation `[S]`. The start depends on `seed` and
    /// `episode` alone, never on what happened before.
    ///
    /// # Panics
    /// When `obs` is not `[S]`.
    fn reset(&mut self, seed: u64, episode: u64, obs: &mut [f64]);

    /// Applies an action `[A]` and writes the next observation `[S]`. Components beyond [-1, 1]
    /// act like the bound; only the `v2` tasks also charge them like it.
    ///
    /// # Errors
    /// [`EnvError::Action`] for a component that is not finite: nothing has happened then.
    /// [`EnvError::Unstable`] when the simulation blew up: reset before going on.
    ///
    /// # Panics
    /// When `action` is not `[A]` or `obs` not `[S]`.
    fn step(&mut self, action: &[f32], obs: &mut [f64]) -> Result<Step, EnvError>;

    /// Everything on which the future depends, including the step counter and the solver's
    /// memory. The layout is private to the environment and to the MuJoCo release.
    fn state(&self) -> Vec<f64>;

    /// Continues exactly where [`Env::state`] was taken, in this or in another instance.
    ///
    /// # Errors
    /// [`EnvError::State`] for another length or a number that is not finite: nothing changed.
    fn set_state(&mut self, state: &[f64]) -> Result<(), EnvError>;
}

/// Why an environment cannot do what was asked; every message is one line.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EnvError {
    /// No environment has this id.
    #[error("unknown environment \"{id}\": did you mean \"{nearest}\"? (known: {})", known())]
    Unknown {
        /// what was asked for
        id: String,
        /// the most similar id
        nearest: &'static str,
    },
    /// MuJoCo cannot be found, fetched or used; the message says how to get it.
    #[error("{0}")]
    MuJoCo(String),
    /// A component of an action is NaN or infinite.
    #[error("{id}: action[{index}] is {value}, expected a finite number in [-1, 1]")]
    Action {
        /// the environment
        id: &'static str,
        /// which component
        index: usize,
        /// its value
        value: f64,
    },
    /// The simulation left the range that MuJoCo can represent.
    #[error("the simulation became unstable at time {time:.3} s ({warning})")]
    Unstable {
        /// simulated seconds since the reset
        time: f64,
        /// what MuJoCo said about it
        warning: String,
    },
    /// A saved state does not fit.
    #[error("{id}: saved state {problem}")]
    State {
        /// the environment
        id: &'static str,
        /// expected and got
        problem: String,
    },
    /// A trace file is missing or wrong.
    #[error("{}: {problem}", file.display())]
    Trace {
        /// the file
        file: PathBuf,
        /// key, expected and got
        problem: String,
    },
}

impl EnvError {
    fn unknown(id: &str) -> EnvError {
        let wanted = id.to_lowercase();
        let nearest = all()
            .flat_map(|spec| [Some(spec.id), bare(spec.id)].map(|name| (name, spec.id)))
            .filter_map(|(name, id)| Some((strsim::levenshtein(&wanted, name?), id)))
            .min_by_key(|&(distance, _)| distance)
            .map(|(_, id)| id)
            .expect("invariant: there are environments");
        EnvError::Unknown { id: id.to_string(), nearest }
    }
}

fn all() -> impl Iterator<Item = &'static Spec> {
    locomotion::TASKS.iter().map(|task| &task.spec).chain([&toy::SPEC])
}

/// The short name of a default task: `hopper` for `hopper-v4`.
fn bare(id: &'static str) -> Option<&'static str> {
    id.strip_suffix("-v4")
}

fn known() -> String {
    all().map(|spec| spec.id).collect::<Vec<_>>().join(" ")
}

/// The canonical ids of all environments.
pub fn ids() -> impl Iterator<Item = &'static str> {
    all().map(|spec| spec.id)
}

/// The properties of an environment, by id in any case; a bare task name means its `v4`.
///
/// # Errors
/// [`EnvError::Unknown`] with the nearest id.
pub fn spec(id: &str) -> Result<&'static Spec, EnvError> {
    let wanted = id.to_lowercase();
    all()
        .find(|spec| spec.id == wanted || bare(spec.id) == Some(&wanted))
        .ok_or_else(|| EnvError::unknown(id))
}

/// A new, independent environment, reset with seed 0, episode 0.
///
/// # Errors
/// [`EnvError::Unknown`], or [`EnvError::MuJoCo`] when the simulator cannot be had.
pub fn make(id: &str) -> Result<Box<dyn Env>, EnvError> {
    let spec = spec(id)?;
    match locomotion::Locomotion::new(spec.id)? {
        Some(task) => Ok(Box::new(task)),
        None => Ok(Box::new(toy::Toy::new())),
    }
}

/// Streams of the counter-based generator that resets draw from; training uses small numbers.
mod stream {
    pub const RESET_UNIFORM: u32 = 0xE000_0001;
    pub const RESET_NORMAL: u32 = 0xE000_0002;
    pub const BENCH: u32 = 0xE000_0003;
}

/// A saved state is checked before anything is touched.
fn check_state(id: &'static str, state: &[f64], expected: usize) -> Result<(), EnvError> {
    let problem = if state.len() != expected {
        format!("has {} numbers, expected {expected}", state.len())
    } else if let Some(index) = state.iter().position(|x| !x.is_finite()) {
        format!("holds {} at index {index}", state[index])
    } else {
        return Ok(());
    };
    Err(EnvError::State { id, problem })
}
