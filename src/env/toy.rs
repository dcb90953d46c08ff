//! A point mass on a line that must reach a goal and stay there; S = 3, A = 1.
//!
//! The force a in [-1, 1] acts with drag: v' = 0.9 v + 0.2 a, x' = x + 0.1 v'. The observation is
//! (x, v, goal - x). The reward is 1 / (1 + 10 (goal - x')²) - 0.01 a². In the 100 steps of an
//! episode a good controller gathers about 94, no force 35, random forces 29. Beyond |x| = 2 the
//! mass falls off and the episode terminates (one random episode in eight), which is never worth it,
//! because almost every reward is positive.
//!
//! Only sums, products and quotients are used: the same bits on every machine.

use baq_kernels::philox::fill_uniform;

use super::environment::check_state;
use super::{Env, EnvError, Spec, Step, stream};

const EDGE: f64 = 2.0;

pub(super) static SPEC: Spec = Spec::new("toy", 3, 1, 100);

pub(super) struct Toy {
    x: f64,
    v: f64,
    goal: f64,
    steps: usize,
}

impl Toy {
    pub fn new() -> Toy {
        let mut toy = Toy { x: 0.0, v: 0.0, goal: 0.0, steps: 0 };
        toy.reset(0, 0, &mut [0.0; 3]);
        toy
    }

    fn observe(&self, obs: &mut [f64]) {
        obs.copy_from_slice(&[self.x, self.v, self.goal - self.x]);
    }
}

impl Env for Toy {
    fn spec(&self) -> &Spec {
        &SPEC
    }

    /// x and the goal are uniform on [-1, 1), v is zero.
    fn reset(&mut self, seed: u64, episode: u64, obs: &mut [f64]) {
        let mut u = [0.0_f32; 2];
        fill_uniform(seed, stream::RESET_UNIFORM, episode, &mut u);
        let [x, goal] = u.map(|u| 2.0 * f64::from(u) - 1.0);
        *self = Toy { x, v: 0.0, goal, steps: 0 };
        self.observe(obs);
    }

    fn step(&mut self, action: &[f32], obs: &mut [f64]) -> Result<Step, EnvError> {
        assert_eq!(action.len(), 1, "invariant: toy takes one number");
        let a = f64::from(action[0]);
        if !a.is_finite() {
            return Err(EnvError::Action { id: SPEC.id, index: 0, value: a });
        }
        let a = a.clamp(-1.0, 1.0);
        self.v = 0.9 * self.v + 0.2 * a;
        self.x += 0.1 * self.v;
        self.steps += 1;
        self.observe(obs);
        let distance = self.goal - self.x;
        Ok(Step {
            reward: 1.0 / (1.0 + 10.0 * distance * distance) - 0.01 * a * a,
            terminated: self.x.abs() > EDGE,
            truncated: self.steps >= SPEC.max_episode_steps,
            success: None,
        })
    }

    fn state(&self) -> Vec<f64> {
        vec![self.steps as f64, self.x, self.v, self.goal]
    }

    fn set_state(&mut self, state: &[f64]) -> Result<(), EnvError> {
        check_state(SPEC.id, state, 4)?;
        *self = Toy { steps: state[0] as usize, x: state[1], v: state[2], goal: state[3] };
        Ok(())
    }
}
