//! What holds of the environments that a program has registered, whatever their code does: numbers are finite in f32, and
//! episodes end at the limit of their properties.

use super::environment::check_numbers;
use super::{Env, EnvError, Simulated, Spec, Step};

/// The state where no episode is under way: that of the environment may hold what no checkpoint takes.
const NO_EPISODE: [f64; 1] = [-1.0];

/// A registered environment.
pub(super) struct Own {
    spec: &'static Spec,
    env: Box<dyn Env>,
    /// since the reset
    steps: usize,
    /// why no episode is under way
    broken: Option<EnvError>,
}

impl Own {
    /// An environment that has just been reset, under the properties that it was registered with.
    pub fn new(spec: &'static Spec, env: Box<dyn Env>) -> Own {
        Own { spec, env, steps: 0, broken: None }
    }

    /// Ends the episode if its last numbers are not finite.
    fn check(&mut self, obs: &[f64], reward: f64) {
        let checked = check_numbers(obs, reward, self.steps);
        self.broken = checked.map_err(|problem| EnvError::NotFinite { id: self.spec.id, problem }).err();
    }

    fn unbroken(&self) -> Result<(), EnvError> {
        self.broken.clone().map_or(Ok(()), Err)
    }
}

impl Env for Own {
    fn spec(&self) -> &Spec {
        self.spec
    }

    fn action_bounds(&self) -> Option<(Vec<f32>, Vec<f32>)> {
        self.env.action_bounds()
    }

    fn reset(&mut self, seed: u64, episode: u64, obs: &mut [f64]) {
        self.env.reset(seed, episode, obs);
        self.steps = 0;
        self.check(obs, 0.0);
        if self.broken.is_some() {
            // The next step says it; finite until then, as checkpoints ask.
            obs.fill(0.0);
        }
    }

    fn step(&mut self, action: &[f32], obs: &mut [f64]) -> Result<Step, EnvError> {
        self.unbroken()?;
        let mut step = self.env.step(action, obs)?;
        self.steps += 1;
        self.check(obs, step.reward);
        self.unbroken()?;
        step.truncated |= self.steps >= self.spec.max_episode_steps;
        Ok(step)
    }

    /// Steps, the environment's state.
    fn state(&self) -> Vec<f64> {
        match self.broken {
            Some(_) => NO_EPISODE.to_vec(),
            None => [self.steps as f64].into_iter().chain(self.env.state()).collect(),
        }
    }

    fn set_state(&mut self, state: &[f64]) -> Result<(), EnvError> {
        let id = self.spec.id;
        let wrong = |problem: &str| EnvError::State { id, problem: problem.into() };
        if state == NO_EPISODE {
            self.broken = Some(wrong("is of no episode, expected a reset before a step"));
            return Ok(());
        }
        let (steps, own) = match state {
            [steps, own @ ..] if *steps >= 0.0 && steps.fract() == 0.0 => (*steps as usize, own),
            _ => return Err(wrong("does not begin with a number of steps; begin its run anew")),
        };
        self.env.set_state(own)?;
        (self.steps, self.broken) = (steps, None);
        Ok(())
    }

    fn simulated(&mut self) -> Option<&mut dyn Simulated> {
        self.env.simulated()
    }
}
