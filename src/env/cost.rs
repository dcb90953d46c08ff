//! What an environment costs beside its simulator.

use std::time::Instant;

use baq_kernels::philox::fill_uniform;

use super::{EnvError, make, spec, stream};

/// Environment steps of one comparison.
const BLOCK: usize = 64;

/// Seconds per environment step, one element per block of steps.
#[derive(Clone, Debug, Default)]
pub struct StepCost {
    /// of the whole environment step
    pub step: Vec<f64>,
    /// of the simulator alone on the same states and controls; empty without a simulator
    pub raw: Vec<f64>,
    /// of a reset
    pub reset: Vec<f64>,
    /// environment steps
    pub steps: u64,
}

/// Steps an environment with random actions for about so many seconds. After every block of steps a second
/// simulation of the same task begins where the block began and goes through the same controls with the simulator alone.
///
/// # Errors
/// As [`make`], and [`EnvError::Unstable`].
pub fn measure(id: &str, seconds: f64) -> Result<StepCost, EnvError> {
    let spec = spec(id)?;
    let mut env = make(spec.id)?;
    // For nothing else: of a program it would be another one.
    let mut bare = env.simulated().is_some().then(|| make(spec.id)).transpose()?;
    let mut obs = vec![0.0; spec.obs_dim];
    let mut actions = vec![0.0_f32; BLOCK * spec.act_dim];
    let mut cost = StepCost::default();
    let mut episode = 0;
    env.reset(0, episode, &mut obs);
    let begin = Instant::now();
    while begin.elapsed().as_secs_f64() < seconds || cost.step.is_empty() {
        fill_uniform(0, stream::BENCH, cost.step.len() as u64, &mut actions);
        actions.iter_mut().for_each(|a| *a = 2.0 * *a - 1.0);
        let start = env.state();
        let mut steps = 0;
        let mut ended = false;
        let clock = Instant::now();
        for action in actions.chunks_exact(spec.act_dim) {
            ended = env.step(action, &mut obs)?.ended();
            steps += 1;
            if ended {
                break;
            }
        }
        cost.step.push(clock.elapsed().as_secs_f64() / steps as f64);
        cost.steps += steps as u64;
        if let Some(bare) = &mut bare {
            bare.set_state(&start)?;
            let bare = bare.simulated().expect("invariant: the same task is simulated");
            let clock = Instant::now();
            for action in actions.chunks_exact(spec.act_dim).take(steps) {
                bare.simulate(action);
            }
            cost.raw.push(clock.elapsed().as_secs_f64() / steps as f64);
        }
        if ended {
            episode += 1;
            let clock = Instant::now();
            env.reset(0, episode, &mut obs);
            cost.reset.push(clock.elapsed().as_secs_f64());
        }
    }
    Ok(cost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_without_simulator_is_measured_too() {
        let cost = measure("toy", 0.0).expect("toy needs nothing");
        assert!(cost.raw.is_empty() && cost.steps > 0 && cost.step[0] > 0.0);
    }
}
