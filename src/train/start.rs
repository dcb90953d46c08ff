//! Whether a run can begin with what it has, and the room for it.

use super::agent::Agent;
use super::annotation;
use super::effects;
use super::error::TrainError;
use super::held_out;
use super::reprioritiser;
use super::training::recipe;
use crate::config::{BufferMode, Config, OfflineRows, OnlineConfig, RunConfig};

/// What a run begins with.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// transitions of its data; `None` without data
    pub rows: Option<usize>,
    /// those in its buffer, of a run that goes online
    pub first: Option<u64>,
}

/// The configuration with room in a buffer that begins with so many transitions for all that it will hold, unless the user
/// has said how much there is.
pub fn with_room(config: &Config, first: u64) -> Config {
    let (mut config, options): (Config, OnlineConfig) = (config.clone(), config.section());
    if !config.find_stated("online", "capacity").is_some_and(|s| effects::is_asked(&config, s)) {
        let needed = first.saturating_add(options.env_steps) as usize;
        config.put(OnlineConfig { capacity: options.capacity.max(needed), ..options });
    }
    config
}

/// How many of so many offline transitions the online phase begins with; 0 of the best episodes, whose lengths only data tell.
pub fn kept_of(all: usize, options: &OnlineConfig) -> usize {
    match options.offline_rows {
        OfflineRows::All => all,
        OfflineRows::Subset(n) => all.min(n as usize),
        OfflineRows::Best(_) | OfflineRows::None => 0,
    }
}

/// An error if the agent, the options of its phases and what a run begins with cannot go together.
pub fn check(config: &Config, agent: &Agent, start: Start) -> Result<(), TrainError> {
    let options: OnlineConfig = config.section();
    recipe(&options, agent)?;
    let offline_rows = start.rows.is_some() && options.offline_rows != OfflineRows::None;
    reprioritiser::check(agent, offline_rows)?;
    if agent.generator.is_some() && !offline_rows {
        return Err(TrainError::Input(
            "run.generator: expected none without offline transitions, which it learns from; name data and keep some of them, or leave it out".into(),
        ));
    }
    let Some(first) = start.first else { return held_out::check(config, agent, start.rows) };
    if start.rows.is_none() {
        return without_data(config, agent, &options);
    }
    if !offline_rows && annotation::fixes_constants(config, agent.dims)? {
        return Err(TrainError::Input(format!(
            "online.offline_rows: expected some offline transitions, whose means fix the constants of {} that are `auto`; keep some of them, or name these constants",
            config.section::<RunConfig>().adapt
        )));
    }
    capacity(&options, first)
}

/// An error if the buffer cannot hold the `kept` transitions that it begins with and all that are collected. Without data the
/// oldest give way, as in any replay.
fn capacity(options: &OnlineConfig, kept: u64) -> Result<(), TrainError> {
    let needed = kept.saturating_add(options.env_steps);
    if options.capacity as u64 >= needed {
        return Ok(());
    }
    Err(TrainError::Input(format!(
        "online.capacity: expected at least {needed} ({kept} transitions to begin with and {} environment steps), got {}; raise it, or old transitions are overwritten unasked",
        options.env_steps, options.capacity,
    )))
}

fn without_data(config: &Config, agent: &Agent, options: &OnlineConfig) -> Result<(), TrainError> {
    if let Some(fit) = agent.adaptation.pretrain().first() {
        let run: RunConfig = config.section();
        return Err(TrainError::Input(format!(
            "run.adapt: expected plain without data, got {}, whose {} is fitted to data; give --adapt plain",
            run.adapt, fit.name,
        )));
    }
    match options.buffer {
        BufferMode::Append => Ok(()),
        _ => Err(TrainError::Input(
            "online.buffer: expected append without data, got a mixture with offline transitions; set online.buffer=append".into(),
        )),
    }
}
