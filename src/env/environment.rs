//! What an environment is: its fixed properties, a step, a state that can be saved.

use baq_datasets::{Ending, Flags};

use super::EnvError;
use super::mujoco::SceneReader;

/// What an environment answers to one action.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Step {
    /// Reward of this step.
    pub reward: f64,
    /// The task itself ended: no reward could follow.
    pub terminated: bool,
    /// The time limit was reached. As in Gym, both flags are set when a task ends on the
    /// very step at which its time is up; [`Step::ending`] says how learning treats that.
    pub truncated: bool,
    /// The goal is reached on this step; `None` where the task does not say.
    pub success: Option<bool>,
}

impl Step {
    /// Of a task that does not say whether its goal is reached.
    pub fn new(reward: f64, terminated: bool, truncated: bool) -> Step {
        Step { reward, terminated, truncated, success: None }
    }

    /// The episode is over, for either reason; reset before the next step.
    pub fn ended(&self) -> bool {
        self.terminated || self.truncated
    }

    /// What learning makes of it.
    pub fn ending(&self) -> Ending {
        Ending::of(self.terminated, self.truncated, Flags::Live)
    }
}

/// The fixed properties of an environment; known without a simulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
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
    /// Whether its steps say if the goal is reached.
    pub success: bool,
    /// What it cannot be made without.
    pub needs: Needs,
}

impl Spec {
    /// Of an environment that needs nothing but its code, has no reference returns and says nothing of success.
    pub const fn new(id: &'static str, obs_dim: usize, act_dim: usize, max_episode_steps: usize) -> Spec {
        Spec { id, obs_dim, act_dim, max_episode_steps, score: None, success: false, needs: Needs::Nothing }
    }

    /// Whether it cannot be made without MuJoCo.
    pub fn needs_mujoco(&self) -> bool {
        matches!(self.needs, Needs::MuJoCo { .. })
    }
}

/// What an environment cannot be made without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Needs {
    /// Its code is all there is to it.
    Nothing,
    /// MuJoCo, with a model of these sizes.
    MuJoCo {
        /// length of a position
        nq: usize,
        /// length of a velocity
        nv: usize,
    },
    /// Another program, which is asked through a pipe.
    Program,
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

    /// What -1 and 1 stand for in the task's own actions, A lower and A upper bounds; `None` if just that.
    fn action_bounds(&self) -> Option<(Vec<f32>, Vec<f32>)> {
        None
    }

    /// Starts an episode and writes its first observation `[S]`, of numbers that are finite in f32. The start
    /// depends on `seed` and `episode` alone, never on what happened before.
    ///
    /// # Panics
    /// When `obs` is not `[S]`.
    fn reset(&mut self, seed: u64, episode: u64, obs: &mut [f64]);

    /// Applies an action `[A]` and writes the next observation `[S]`. Components beyond [-1, 1]
    /// act like the bound; `toy`, the `v2` tasks and other programs also charge them like it. Observation
    /// and reward must be finite in f32, in which learning has them.
    ///
    /// # Errors
    /// [`EnvError::Action`] for a component that is not finite: nothing has happened then.
    /// [`EnvError::Unstable`] when the simulation blew up: reset before going on.
    /// [`EnvError::Program`] when another program does not answer, or not as it should.
    /// [`EnvError::NotFinite`] for numbers of a [registered](super::register) environment that are not finite in f32, those of the
    /// last reset too: every step is that error until a reset.
    ///
    /// # Panics
    /// When `action` is not `[A]` or `obs` not `[S]`.
    fn step(&mut self, action: &[f32], obs: &mut [f64]) -> Result<Step, EnvError>;

    /// Everything on which the future depends, including the step counter and the solver's
    /// memory, in finite numbers. The layout is private to the environment and to the MuJoCo release.
    fn state(&self) -> Vec<f64>;

    /// Continues exactly where [`Env::state`] was taken, in this or in another instance.
    ///
    /// # Errors
    /// [`EnvError::State`] for another length or a number that is not finite: nothing changed. [`EnvError::Program`] when
    /// another program fails while it acts the episode again, or plays another one: every step is that error until a reset.
    fn set_state(&mut self, state: &[f64]) -> Result<(), EnvError>;

    /// What more can be asked of it, where it runs on a simulator.
    fn simulated(&mut self) -> Option<&mut dyn Simulated> {
        None
    }
}

/// An environment that runs on a simulator: what replaying recordings and measuring the cost of a step need.
pub trait Simulated: Env {
    /// Simulation steps per environment step.
    fn frame_skip(&self) -> usize;

    /// Simulated seconds per environment step.
    fn seconds(&self) -> f64;

    /// Positions of the model, `[nq]`.
    fn qpos(&self) -> &[f64];

    /// What the model looks like; reading it touches nothing of the task.
    ///
    /// # Errors
    /// [`EnvError::MuJoCo`] where the simulator does not tell.
    fn scene(&self) -> Result<SceneReader, EnvError>;

    /// Name and length of the parts of an observation, in order.
    fn parts(&self) -> Vec<(&'static str, usize)>;

    /// Starts an episode in a given pose `[nq]`, `[nv]` and writes the observation `[S]`.
    fn start_from(&mut self, qpos: &[f64], qvel: &[f64], obs: &mut [f64]);

    /// [`Env::step`] under controls in the units of the model, as recordings hold them. `single` says that they were
    /// given in f32, in which NumPy then sums what they cost.
    ///
    /// # Errors
    /// As [`Env::step`].
    fn step_controls(&mut self, control: &[f64], single: bool, obs: &mut [f64]) -> Result<Step, EnvError>;

    /// The simulator's part of a step and nothing else; what [`Env::step`] would read is stale afterwards.
    fn simulate(&mut self, action: &[f32]);
}

/// For [`Env::set_state`]: a saved state is checked before anything is touched.
///
/// # Errors
/// [`EnvError::State`] for another length or a number that is not finite.
pub fn check_state(id: &'static str, state: &[f64], expected: usize) -> Result<(), EnvError> {
    let problem = if state.len() != expected {
        format!("has {} numbers, expected {expected}", state.len())
    } else if let Some(index) = state.iter().position(|x| !x.is_finite()) {
        format!("holds {} at index {index}", state[index])
    } else {
        return Ok(());
    };
    Err(EnvError::State { id, problem })
}

/// What is wrong with an observation and a reward, `step` steps after a reset; looked at here, because further on there would
/// be actions that are no numbers, and blame on them.
pub(super) fn check_numbers(obs: &[f64], reward: f64, step: usize) -> Result<(), String> {
    let finite = |x: f64| (x as f32).is_finite();
    let (what, value) = match obs.iter().position(|x| !finite(*x)) {
        Some(index) => (format!("observation[{index}]"), obs[index]),
        None if !finite(reward) => ("reward".to_string(), reward),
        None => return Ok(()),
    };
    let place = match step {
        0 => "a reset".to_string(),
        step => format!("step {step} of an episode"),
    };
    Err(format!("expected numbers that are finite in f32, got {what} = {value:e} at {place}"))
}
