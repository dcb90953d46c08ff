//! What a run comes to: that something is learnt, and what the user asks for, before its end.

use super::agent::Agent;
use super::cadence;
use super::data::Dataset;
use super::effects::{Stage, is_asked};
use super::error::TrainError;
use super::generation::Refreshes;
use crate::algo::Dims;
use crate::config::{Config, OnlineConfig, RunConfig};

/// An error if a run on these data comes to nothing that was asked for.
pub fn check_run(config: &Config, dataset: &Dataset, stage: Stage) -> Result<(), TrainError> {
    let dims = Dims { s: dataset.columns.obs_dim(), a: dataset.columns.act_dim(), batch: 1 };
    check(config, dims, stage)?;
    idle_steps(config, stage)
}

/// An error if nothing would be learnt. That a preset's opening covers a run that was made short is only said.
fn idle_steps(config: &Config, stage: Stage) -> Result<(), TrainError> {
    let Some((key, text)) = idle(config).filter(|_| stage != Stage::Offline) else { return Ok(()) };
    match config.find_stated("online", key).is_some_and(|s| is_asked(config, s)) {
        true => Err(TrainError::Input(text)),
        false => {
            eprintln!("note: {text}");
            Ok(())
        }
    }
}

/// An error if what the user asks for would come after the end of the run.
pub fn check(config: &Config, dims: Dims, stage: Stage) -> Result<(), TrainError> {
    if stage == Stage::Offline {
        return Ok(());
    }
    let (agent, online) = (Agent::outline(config, dims)?, config.section::<OnlineConfig>());
    let (steps, learning) = (online.env_steps, online.learning_steps());
    if learning > 0 && cadence::of(&online, agent.adaptation.as_ref()).rounds(learning) == 0 {
        return Err(TrainError::Input(format!(
            "online.updates_per_step: expected at least one update in the {learning} environment steps that learn, got none; raise it"
        )));
    }
    if let Some(generator) = &agent.generator
        && Refreshes::new(generator.as_ref(), &online).before(steps) == 0
    {
        let (name, every) = (config.section::<RunConfig>().generator, generator.every());
        return Err(TrainError::Input(format!(
            "{name}.every: expected a refresh before the updates of some environment step up to {steps}, got none with {every}: nothing would be generated; lower it, or raise online.env_steps"
        )));
    }
    let Some(latest) = agent.adaptation.sampling().latest else { return Ok(()) };
    let carried = match stage {
        Stage::Online { collected, .. } if online.carry => collected,
        _ => 0,
    };
    let adapt = config.section::<RunConfig>().adapt;
    let asked = config.stated().iter().find(|s| {
        s.section == adapt && ["latest_share", "latest_rows"].contains(&s.key.as_str()) && is_asked(config, s)
    });
    match asked {
        Some(asked) if latest.after >= steps + carried => Err(TrainError::Input(format!(
            "{}: has no effect in {steps} environment steps, as such batches come once {} transitions are collected; lower {adapt}.latest_after, or raise online.env_steps",
            asked.place, latest.after
        ))),
        _ => Ok(()),
    }
}

/// Why nothing is learnt in an environment, if it is not, and the option that is too large.
fn idle(config: &Config) -> Option<(&'static str, String)> {
    let online: OnlineConfig = config.section();
    if online.learning_steps() > 0 {
        return None;
    }
    let key = if online.random_steps >= online.env_steps { "random_steps" } else { "warmup_steps" };
    let text = format!(
        "online.{key}: expected less than the {} environment steps of the run, got {}: nothing would be learnt; lower it, or raise online.env_steps",
        online.env_steps,
        online.idle_steps(),
    );
    Some((key, text))
}

/// An error if nothing would be learnt in an environment, whoever has said so: for runs that are compared.
pub fn check_learns(config: &Config) -> Result<(), TrainError> {
    idle(config).map_or(Ok(()), |(_, text)| Err(TrainError::Input(text)))
}
