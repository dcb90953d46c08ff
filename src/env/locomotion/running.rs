//! A task while it runs.

use baq_kernels::philox::{fill_normal, fill_uniform};

use super::task::{FORWARD, ResetNoise, Task};
use crate::env::environment::check_state;
use crate::env::mujoco::{Reader, Sim};
use crate::env::{Env, EnvError, Needs, Simulated, Spec, Step, stream};

/// A running task.
pub struct Locomotion {
    task: &'static Task,
    sim: Sim,
    /// Seconds per environment step.
    dt: f64,
    start_qpos: Vec<f64>,
    start_qvel: Vec<f64>,
    control: Vec<f64>,
    reader: Reader,
    /// Where the position along the way stands.
    forward: usize,
    /// Room for the noise of a reset, `[nq + nv]` and `[nv]`.
    uniform: Vec<f32>,
    normal: Vec<f32>,
    steps: usize,
}

impl Locomotion {
    /// The task, reset with seed 0, episode 0.
    pub fn build(task: &'static Task) -> Result<Box<dyn Env>, EnvError> {
        let sim = Sim::new(&task.model)?;
        let (nq, nv, nu) = sim.dims();
        let reader = Reader::new(&sim, &task.observation)?;
        assert_eq!(task.spec.needs, Needs::MuJoCo { nq, nv }, "invariant: the model fits the task");
        assert_eq!(
            (reader.len(), nu),
            (task.spec.obs_dim, task.spec.act_dim),
            "invariant: the model fits the task"
        );
        let mut locomotion = Locomotion {
            task,
            dt: sim.timestep() * task.frame_skip as f64,
            start_qpos: sim.qpos().to_vec(),
            start_qvel: sim.qvel().to_vec(),
            control: vec![0.0; nu],
            reader,
            forward: sim.joint(FORWARD)?,
            uniform: vec![0.0; nq + nv],
            normal: vec![0.0; nv],
            sim,
            steps: 0,
        };
        locomotion.reset(0, 0, &mut vec![0.0; task.spec.obs_dim]);
        Ok(Box::new(locomotion))
    }

    /// Takes the action as control.
    fn hold(&mut self, action: &[f32]) {
        assert_eq!(action.len(), self.control.len(), "invariant: length of the action");
        for (control, &a) in self.control.iter_mut().zip(action) {
            *control = f64::from(a);
        }
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
        let before = self.sim.qpos()[self.forward];
        self.sim.step(&self.control, task.frame_skip)?;
        self.steps += 1;
        self.reader.read(&self.sim, obs);

        let speed = (self.sim.qpos()[self.forward] - before) / self.dt;
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
}

impl Env for Locomotion {
    fn spec(&self) -> &Spec {
        &self.task.spec
    }

    fn reset(&mut self, seed: u64, episode: u64, obs: &mut [f64]) {
        let (nq, nv) = (self.start_qpos.len(), self.start_qvel.len());
        fill_uniform(seed, stream::RESET_UNIFORM, episode, &mut self.uniform);
        let (scale, normal) = match self.task.reset_noise {
            ResetNoise::Uniform(scale) => (scale, false),
            ResetNoise::UniformNormal(scale) => {
                fill_normal(seed, stream::RESET_NORMAL, episode, &mut self.normal);
                (scale, true)
            }
        };
        let symmetric = |u: f32| scale * (2.0 * f64::from(u) - 1.0);
        self.sim.reset();
        self.sim.pose(|qpos, qvel| {
            let (places, speeds) = self.uniform[..nq + nv].split_at(nq);
            for (q, (start, u)) in qpos.iter_mut().zip(self.start_qpos.iter().zip(places)) {
                *q = start + symmetric(*u);
            }
            for (i, (v, start)) in qvel.iter_mut().zip(&self.start_qvel).enumerate() {
                let noise = if normal { scale * f64::from(self.normal[i]) } else { symmetric(speeds[i]) };
                *v = start + noise;
            }
        });
        self.steps = 0;
        self.reader.read(&self.sim, obs);
    }

    fn step(&mut self, action: &[f32], obs: &mut [f64]) -> Result<Step, EnvError> {
        self.hold(action);
        self.advance(obs)
    }

    fn simulated(&mut self) -> Option<&mut dyn Simulated> {
        Some(self)
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

impl Simulated for Locomotion {
    fn frame_skip(&self) -> usize {
        self.task.frame_skip
    }

    fn parts(&self) -> Vec<(&'static str, usize)> {
        self.reader.parts()
    }

    fn start_from(&mut self, qpos: &[f64], qvel: &[f64], obs: &mut [f64]) {
        self.sim.reset();
        self.sim.pose(|to_qpos, to_qvel| {
            to_qpos.copy_from_slice(qpos);
            to_qvel.copy_from_slice(qvel);
        });
        self.steps = 0;
        self.reader.read(&self.sim, obs);
    }

    fn step_f64(&mut self, action: &[f64], obs: &mut [f64]) -> Result<Step, EnvError> {
        self.control.copy_from_slice(action);
        self.advance(obs)
    }

    fn simulate(&mut self, action: &[f32]) {
        self.hold(action);
        self.sim.advance(&self.control, self.task.frame_skip);
    }
}
