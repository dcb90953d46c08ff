//! `baq evaluate`: returns of a trained policy.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{Common, Outcome, Verdict};
use crate::env::{Spec, process};
use crate::train::evaluate::Evaluator;
use crate::train::metrics::{Evaluation, Phase, Stamp};
use crate::train::policy::Restored;
use crate::train::{TrainError, memory};

/// Measure a trained policy.
#[derive(Debug, Args)]
pub struct Evaluate {
    /// run directory, checkpoint or policy file
    #[arg(long, value_name = "RUN")]
    from: PathBuf,
    /// environment (default: that of the run)
    #[arg(long, value_name = "ENV")]
    env: Option<String>,
    /// number of episodes
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    episodes: u32,
}

impl Evaluate {
    /// Runs the command.
    ///
    /// # Errors
    /// Nothing at `--from` to take a policy from; those of [`evaluate`].
    pub fn run(self, common: Common) -> Outcome {
        process::end_with_this_process()?;
        let mut policy = Restored::open(&self.from)?;
        let seed = common.seed.unwrap_or(0);
        let (spec, e) = evaluate(&mut policy, self.env.as_deref(), self.episodes as usize, seed)?;
        if common.json {
            println!(
                "{}",
                json!({
                    "checkpoint": policy.file, "algo": policy.algo, "adapt": policy.adapt, "method": policy.method, "env": spec.id,
                    "update": policy.update, "env_step": policy.counters.env_step, "seed": seed, "episodes": e.returns.len(),
                    "return_mean": e.mean(), "return_std": e.std(), "score": e.score,
                    "success": e.success, "returns": e.returns, "lengths": e.lengths,
                })
            );
            return Ok(Verdict::Done);
        }
        println!("{:>7}  {:>10}  {:>6}", "episode", "return", "steps");
        for (k, (r, steps)) in e.returns.iter().zip(&e.lengths).enumerate() {
            println!("{:>7}  {r:>10.2}  {steps:>6}", k + 1);
        }
        let score = e.score.map(|s| format!(", score {s:.1}")).unwrap_or_default();
        let success = e.success.map(|s| format!(", {:.1} % succeed", 100.0 * s)).unwrap_or_default();
        println!(
            "{}: return {:.2} +- {:.2} over {} episodes of {}{score}{success}",
            policy.describe(),
            e.mean(),
            e.std(),
            e.returns.len(),
            spec.id
        );
        Ok(Verdict::Done)
    }
}

/// Episodes of a policy in an environment, its run's if none is asked for.
///
/// # Errors
/// It does not fit the policy, there is no room for the episodes, or a return is not finite.
pub fn evaluate(
    policy: &mut Restored,
    asked: Option<&str>,
    episodes: usize,
    seed: u64,
) -> Result<(&'static Spec, Evaluation), TrainError> {
    let spec = policy.environment(asked)?;
    memory::check_episodes(&policy.agent, episodes)?;
    let mut evaluator = Evaluator::new(&policy.agent, spec.id, episodes, seed)?;
    let phase = if policy.online { Phase::Online } else { Phase::Offline };
    let stamp = Stamp { phase, update: policy.update, env_step: policy.counters.env_step };
    let evaluation = evaluator.run(&mut policy.agent.store, &policy.scales, 0, stamp)?;
    match evaluation.returns.iter().find(|r| !r.is_finite()) {
        Some(r) => Err(TrainError::Input(format!("{}: an episode returned {r}", spec.id))),
        None => Ok((spec, evaluation)),
    }
}
