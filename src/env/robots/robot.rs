//! A task while it runs.

use baq_kernels::philox::{Philox, fill_normal, fill_uniform};

use super::numpy;
use super::task::{Measure, ResetNoise, Task};
use crate::env::environment::check_state;
use crate::env::mujoco::{Quantity, Reader, SceneReader, Sim};
use crate::env::{Env, EnvError, Needs, Simulated, Spec, Step, stream};

/// A running task.
pub struct Robot {
    task: &'static Task,
    sim: Sim,
    /// Seconds per environment step.
    dt: f64,
    start_qpos: Vec<f64>,
    start_qvel: Vec<f64>,
    control: Vec<f64>,
    /// What the control costs is summed in f32, as it was given.
    single: bool,
    reader: Reader,
    measure: Measured,
    /// The measure after the last step or reset.
    before: f64,
    /// Room for the noise of a reset, `[nq + nv]` and `[nv]`.
    uniform: Vec<f32>,
    normal: Vec<f32>,
    steps: usize,
}

/// A [`Measure`], found.
enum Measured {
    Nothing,
    Along,
    Body(usize),
    Centre { mass: f64 },
    Distance(usize, usize),
}

impl Measured {
    fn find(measure: Measure, sim: &mut Sim) -> Result<Measured, EnvError> {
        Ok(match measure {
            Measure::Nothing => Measured::Nothing,
            Measure::Along => Measured::Along,
            Measure::Body(name) => Measured::Body(sim.body(name)?),
            Measure::Distance(from, to) => Measured::Distance(sim.body(from)?, sim.body(to)?),
            Measure::Centre => {
                sim.expose(Quantity::Centres)?;
                sim.expose(Quantity::Masses)?;
                Measured::Centre { mass: numpy::sum(sim.quantity(Quantity::Masses).iter().copied()) }
            }
        })
    }

    fn read(&self, sim: &Sim) -> f64 {
        match *self {
            Measured::Nothing => 0.0,
            Measured::Along => sim.qpos()[0],
            Measured::Body(body) => sim.place(body)[0],
            Measured::Centre { mass } => {
                let bodies = sim.quantity(Quantity::Centres).chunks_exact(3);
                let moment = bodies.zip(sim.quantity(Quantity::Masses)).map(|(at, mass)| mass * at[0]);
                moment.sum::<f64>() / mass
            }
            Measured::Distance(from, to) => {
                let (from, to) = (sim.place(from), sim.place(to));
                let [x, y, z] = [from[0] - to[0], from[1] - to[1], from[2] - to[2]];
                (x * x + y * y + z * z).sqrt()
            }
        }
    }

    /// Whether it is of poses that MuJoCo computed before it moved, and so no function of positions and velocities.
    fn lags(&self) -> bool {
        !matches!(self, Measured::Nothing | Measured::Along)
    }
}

impl Robot {
    /// The task, reset with seed 0, episode 0.
    pub fn build(task: &'static Task) -> Result<Box<dyn Env>, EnvError> {
        let mut sim = Sim::new(&task.model)?;
        let (nq, nv, nu) = sim.dims();
        let reader = Reader::new(&mut sim, task.observation)?;
        let measure = Measured::find(task.measure, &mut sim)?;
        if task.contact_cost.is_some() {
            sim.expose(Quantity::ExternalForces)?;
        }
        assert_eq!(task.spec.needs, Needs::MuJoCo { nq, nv }, "invariant: the model fits the task");
        assert_eq!(
            (reader.len(), nu),
            (task.spec.obs_dim, task.spec.act_dim),
            "invariant: the model fits the task"
        );
        let mut robot = Robot {
            task,
            dt: sim.timestep() * task.frame_skip as f64,
            start_qpos: sim.qpos().to_vec(),
            start_qvel: sim.qvel().to_vec(),
            control: vec![0.0; nu],
            single: false,
            reader,
            measure,
            before: 0.0,
            uniform: vec![0.0; nq + nv],
            normal: vec![0.0; nv],
            sim,
            steps: 0,
        };
        robot.reset(0, 0, &mut vec![0.0; task.spec.obs_dim]);
        Ok(Box::new(robot))
    }

    /// Takes the action as control. Where that is not the same, it is laid between the bounds as for `gym:` tasks.
    fn hold(&mut self, action: &[f32]) {
        assert_eq!(action.len(), self.control.len(), "invariant: length of the action");
        let reach = f64::from(self.task.reach);
        self.single = false;
        for (control, &a) in self.control.iter_mut().zip(action) {
            let a = f64::from(a);
            *control =
                if reach == 1.0 { a } else { f64::from((-reach + (a + 1.0) * 0.5 * (2.0 * reach)) as f32) };
        }
    }

    fn control_cost(&self) -> f64 {
        let (weight, control) = (self.task.control_cost, self.control.iter());
        if self.single {
            f64::from(weight as f32 * numpy::sum_of_squares(control.map(|a| *a as f32)))
        } else {
            weight * numpy::sum_of_squares(control.copied())
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
        self.sim.step(&self.control, task.frame_skip)?;
        self.steps += 1;
        self.reader.read(&self.sim, obs);

        let after = self.measure.read(&self.sim);
        let gain = (task.gain)(self.before, after, self.dt);
        self.before = after;
        let mut cost = self.control_cost();
        if let Some(contact) = task.contact_cost {
            cost += contact(self.sim.quantity(Quantity::ExternalForces));
        }
        let (paid, terminated) = match &task.health {
            Some(health) => {
                let healthy = (health.healthy)(self.sim.qpos(), self.sim.qvel());
                let paid = if healthy || health.always_paid { health.reward } else { 0.0 };
                (paid, !healthy)
            }
            None => (0.0, false),
        };
        Ok(Step {
            reward: (gain + paid) - cost,
            terminated,
            truncated: self.steps >= task.spec.max_episode_steps,
            success: None,
        })
    }

    /// An episode begins where the simulation stands.
    fn begin(&mut self, obs: &mut [f64]) {
        self.steps = 0;
        self.before = self.measure.read(&self.sim);
        self.reader.read(&self.sim, obs);
    }
}

/// A point of the disc of this radius, uniform: points of the square around it are drawn until one is inside.
fn in_disc(radius: f64, seed: u64, episode: u64) -> [f64; 2] {
    let mut draws = Philox::new(seed, stream::RESET_GOAL, episode);
    loop {
        let mut point = [0.0; 2];
        draws.fill_uniform_f64(&mut point);
        let point = point.map(|u| radius * (2.0 * u - 1.0));
        if point[0].hypot(point[1]) < radius {
            return point;
        }
    }
}

impl Env for Robot {
    fn spec(&self) -> &Spec {
        &self.task.spec
    }

    fn reset(&mut self, seed: u64, episode: u64, obs: &mut [f64]) {
        let (nq, nv) = (self.start_qpos.len(), self.start_qvel.len());
        fill_uniform(seed, stream::RESET_UNIFORM, episode, &mut self.uniform);
        let (place, speed, normal) = match self.task.reset_noise {
            ResetNoise::Uniform(scale) => (scale, scale, false),
            ResetNoise::UniformNormal(scale) => {
                fill_normal(seed, stream::RESET_NORMAL, episode, &mut self.normal);
                (scale, scale, true)
            }
            ResetNoise::Goal { positions, velocities, .. } => (positions, velocities, false),
        };
        let symmetric = |scale: f64, u: f32| scale * (2.0 * f64::from(u) - 1.0);
        self.sim.reset();
        self.sim.pose(|qpos, qvel| {
            let (places, speeds) = self.uniform[..nq + nv].split_at(nq);
            for (q, (start, u)) in qpos.iter_mut().zip(self.start_qpos.iter().zip(places)) {
                *q = start + symmetric(place, *u);
            }
            for (i, (v, start)) in qvel.iter_mut().zip(&self.start_qvel).enumerate() {
                let noise =
                    if normal { speed * f64::from(self.normal[i]) } else { symmetric(speed, speeds[i]) };
                *v = start + noise;
            }
            if let ResetNoise::Goal { radius, .. } = self.task.reset_noise {
                qpos[nq - 2..].copy_from_slice(&in_disc(radius, seed, episode));
                qvel[nv - 2..].fill(0.0);
            }
        });
        self.begin(obs);
    }

    fn step(&mut self, action: &[f32], obs: &mut [f64]) -> Result<Step, EnvError> {
        self.hold(action);
        self.advance(obs)
    }

    fn action_bounds(&self) -> Option<(Vec<f32>, Vec<f32>)> {
        let (reach, count) = (self.task.reach, self.control.len());
        (reach != 1.0).then(|| (vec![-reach; count], vec![reach; count]))
    }

    fn simulated(&mut self) -> Option<&mut dyn Simulated> {
        Some(self)
    }

    /// Steps, the simulator's state, and the measure where that does not give it.
    fn state(&self) -> Vec<f64> {
        let mut state = vec![self.steps as f64];
        self.sim.save(&mut state);
        if self.measure.lags() {
            state.push(self.before);
        }
        state
    }

    fn set_state(&mut self, state: &[f64]) -> Result<(), EnvError> {
        let end = 1 + self.sim.state_len();
        check_state(self.task.spec.id, state, end + usize::from(self.measure.lags()))?;
        self.steps = state[0] as usize;
        self.sim.restore(&state[1..end]);
        self.before = if self.measure.lags() { state[end] } else { self.measure.read(&self.sim) };
        Ok(())
    }
}

impl Simulated for Robot {
    fn frame_skip(&self) -> usize {
        self.task.frame_skip
    }

    fn seconds(&self) -> f64 {
        self.dt
    }

    fn qpos(&self) -> &[f64] {
        self.sim.qpos()
    }

    fn scene(&self) -> Result<SceneReader, EnvError> {
        self.sim.scene()
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
        self.begin(obs);
    }

    fn step_controls(&mut self, control: &[f64], single: bool, obs: &mut [f64]) -> Result<Step, EnvError> {
        self.control.copy_from_slice(control);
        self.single = single && !self.task.charges_controls;
        self.advance(obs)
    }

    fn simulate(&mut self, action: &[f32]) {
        self.hold(action);
        self.sim.advance(&self.control, self.task.frame_skip);
    }
}
