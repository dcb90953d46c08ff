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

mod half_cheetah;
mod hopper;
mod walker2d;

use baq_kernels::philox::{fill_normal, fill_uniform};

use super::mujoco::Sim;
use super::{Env, EnvError, Spec, Step, check_state, stream};
use crate::env::mujoco::ModelText;

/// Longest qpos or qvel of any task here.
const MAX_DOF: usize = 9;

/// When a task ends early, and what it pays for not ending.
struct Health {
    /// Judges (qpos, qvel).
    healthy: fn(&[f64], &[f64]) -> bool,
    /// Pay the reward of 1 also on the unhealthy step (v2, v4).
    always_paid: bool,
}

/// The noise added to the model's initial pose.
enum ResetNoise {
    /// Positions and velocities uniform within ± this.
    Uniform(f64),
    /// Positions uniform within ± this, velocities normal with this standard deviation.
    UniformNormal(f64),
}

/// The numbers that define a task.
pub(super) struct Task {
    pub spec: Spec,
    model: ModelText,
    frame_skip: usize,
    control_cost: f64,
    /// `None`: never ends early, pays nothing.
    health: Option<Health>,
    /// Velocities in observations are cut to ± this.
    velocity_limit: f64,
    reset_noise: ResetNoise,
    /// Cut actions to [-1, 1] before anything else (v2).
    cut_actions: bool,
}

/// All tasks of all generations.
pub(super) static TASKS: [Task; 9] = [
    half_cheetah::task("halfcheetah-v2", Generation::V2),
    half_cheetah::task("halfcheetah-v4", Generation::V4),
    half_cheetah::task("halfcheetah-v5", Generation::V5),
    hopper::task("hopper-v2", Generation::V2),
    hopper::task("hopper-v4", Generation::V4),
    hopper::task("hopper-v5", Generation::V5),
    walker2d::task("walker2d-v2", Generation::V2),
    walker2d::task("walker2d-v4", Generation::V4),
    walker2d::task("walker2d-v5", Generation::V5),
];

/// Whose conventions a task follows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Generation {
    V2,
    V4,
    V5,
}

impl Generation {
    const fn cuts_actions(self) -> bool {
        matches!(self, Generation::V2)
    }

    const fn health(self, healthy: fn(&[f64], &[f64]) -> bool) -> Option<Health> {
        Some(Health { healthy, always_paid: !matches!(self, Generation::V5) })
    }
}

/// A running task.
pub(super) struct Locomotion {
    task: &'static Task,
    sim: Sim,
    /// Seconds per environment step.
    dt: f64,
    start_qpos: Vec<f64>,
    start_qvel: Vec<f64>,
    control: Vec<f64>,
    steps: usize,
}

impl Locomotion {
    /// The task with this canonical id; `None` when it is not one of ours.
    pub fn new(id: &str) -> Result<Option<Locomotion>, EnvError> {
        let Some(task) = TASKS.iter().find(|task| task.spec.id == id) else {
            return Ok(None);
        };
        let sim = Sim::new(&task.model)?;
        let (nq, nv, nu) = sim.dims();
        assert!(
            nq == nv && nq <= MAX_DOF && nq + nv - 1 == task.spec.obs_dim,
            "invariant: the model fits the task"
        );
        assert_eq!(nu, task.spec.act_dim, "invariant: the model fits the task");
        let mut locomotion = Locomotion {
            task,
            dt: sim.timestep() * task.frame_skip as f64,
            start_qpos: sim.qpos().to_vec(),
            start_qvel: sim.qvel().to_vec(),
            control: vec![0.0; nu],
            sim,
            steps: 0,
        };
        locomotion.reset(0, 0, &mut vec![0.0; task.spec.obs_dim]);
        Ok(Some(locomotion))
    }

    /// Degrees of freedom: length of positions and of velocities.
    pub fn dof(&self) -> usize {
        self.start_qpos.len()
    }

    /// Simulation steps per environment step.
    pub fn frame_skip(&self) -> usize {
        self.task.frame_skip
    }

    /// Starts an episode in a given pose and writes the observation `[S]`.
    pub fn start_from(&mut self, qpos: &[f64], qvel: &[f64], obs: &mut [f64]) {
        self.sim.reset();
        self.sim.set_pose(qpos, qvel);
        self.steps = 0;
        self.observe(obs);
    }

    /// [`Env::step`] for an action in f64.
    pub fn step_f64(&mut self, action: &[f64], obs: &mut [f64]) -> Result<Step, EnvError> {
        assert_eq!(action.len(), self.control.len(), "invariant: length of the action");
        for (control, &a) in self.control.iter_mut().zip(action) {
            *control = a;
        }
        self.advance(obs)
    }

    /// The simulator's part of a step and nothing else; what [`Env::step`] would read is stale afterwards.
    pub fn simulate(&mut self, action: &[f32]) {
        for (control, &a) in self.control.iter_mut().zip(action) {
            *control = f64::from(a);
        }
        self.sim.advance(&self.control, self.task.frame_skip);
    }

    /// One environment step under `self.control`.
    fn advance(&mut self, obs: &mut [f64]) -> Result<Step, EnvError> {
        let task = self.task;
        if let Some(index) = self.control.iter().position(|a| !a.is_finite()) {
            return Err(EnvError::Action { id: task.spec.id, index, value: self.control[index] });
        }
        if task.cut_actions {
            for a in &mut self.control {
                *a = a.clamp(-1.0, 1.0);
            }
        }
        let before = self.sim.qpos()[0];
        self.sim.step(&self.control, task.frame_skip)?;
        self.steps += 1;
        self.observe(obs);

        let speed = (self.sim.qpos()[0] - before) / self.dt;
        let cost = task.control_cost * self.control.iter().map(|a| a * a).sum::<f64>();
        let (paid, terminated) = match &task.health {
            Some(health) => {
                let healthy = (health.healthy)(self.sim.qpos(), self.sim.qvel());
                let paid = f64::from(u8::from(healthy || health.always_paid));
                (paid, !healthy)
            }
            None => (0.0, false),
        };
        Ok(Step {
            reward: (speed + paid) - cost,
            terminated,
            truncated: self.steps >= task.spec.max_episode_steps,
        })
    }

    fn observe(&self, obs: &mut [f64]) {
        let positions = &self.sim.qpos()[1..];
        let (to_positions, to_velocities) = obs.split_at_mut(positions.len());
        to_positions.copy_from_slice(positions);
        let limit = self.task.velocity_limit;
        assert_eq!(to_velocities.len(), self.dof(), "invariant: length of the observation");
        for (to, v) in to_velocities.iter_mut().zip(self.sim.qvel()) {
            *to = v.clamp(-limit, limit);
        }
    }
}

impl Env for Locomotion {
    fn spec(&self) -> &Spec {
        &self.task.spec
    }

    fn reset(&mut self, seed: u64, episode: u64, obs: &mut [f64]) {
        let n = self.dof();
        let (mut qpos, mut qvel) = ([0.0; MAX_DOF], [0.0; MAX_DOF]);
        let mut uniform = [0.0_f32; 2 * MAX_DOF];
        fill_uniform(seed, stream::RESET_UNIFORM, episode, &mut uniform[..2 * n]);
        let mut normal = [0.0_f32; MAX_DOF];
        let (position_scale, velocity_normal) = match self.task.reset_noise {
            ResetNoise::Uniform(scale) => (scale, false),
            ResetNoise::UniformNormal(scale) => {
                fill_normal(seed, stream::RESET_NORMAL, episode, &mut normal[..n]);
                (scale, true)
            }
        };
        let symmetric = |u: f32| position_scale * (2.0 * f64::from(u) - 1.0);
        for i in 0..n {
            qpos[i] = self.start_qpos[i] + symmetric(uniform[i]);
            qvel[i] = self.start_qvel[i]
                + if velocity_normal {
                    position_scale * f64::from(normal[i])
                } else {
                    symmetric(uniform[n + i])
                };
        }
        self.start_from(&qpos[..n], &qvel[..n], obs);
    }

    fn step(&mut self, action: &[f32], obs: &mut [f64]) -> Result<Step, EnvError> {
        assert_eq!(action.len(), self.control.len(), "invariant: length of the action");
        for (control, &a) in self.control.iter_mut().zip(action) {
            *control = f64::from(a);
        }
        self.advance(obs)
    }

    fn state(&self) -> Vec<f64> {
        let mut state = vec![self.steps as f64];
        self.sim.save(&mut state);
        state
    }

    fn set_state(&mut self, state: &[f64]) -> Result<(), EnvError> {
        check_state(self.task.spec.id, state, 1 + self.sim.state_len())?;
        self.steps = state[0] as usize;
        self.sim.restore(&state[1..]);
        Ok(())
    }
}
