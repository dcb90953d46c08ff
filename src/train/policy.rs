//! A policy by itself: read back to act with, and as a file of its own.
//!
//! A policy file has the layout of a checkpoint ([`super::state`]) with `format` = `baq-policy-1`, and of its tensors only what
//! acting reads: the parameters of the networks that choose actions, `scale.*`, `dims` and the counters. There are no
//! critics that do not act, no moments, no replay and no environment in it, so that one acts from it (`baq collect`,
//! `baq evaluate`) and nobody goes on training. It is a function of the checkpoint: equal ones give equal bytes.

use std::path::Path;

use super::agent::{Actor, Agent};
use super::conditions;
use super::counters::Counters;
use super::data::Scales;
use super::error::TrainError;
use super::sections::{config_method, from_text};
use super::state::{POLICY, Saved};
use crate::checkpoint::container::Writer;
use crate::config::{Exploration, MujocoConfig, OnlineConfig, RunConfig};
use crate::env::{self, Spec};

/// The strings and tensors that stand in a policy file as they stand in the checkpoint, beside the parameters.
const STRINGS: [&str; 7] = ["config", "dataset", "dataset.sha256", "isa", "numerics", "mujoco", "phase"];

/// The policy of a checkpoint as a file of its own.
///
/// # Errors
/// A checkpoint that lacks what its own configuration says it has.
pub fn file_of(saved: &Saved) -> Result<Vec<u8>, TrainError> {
    let policy = Restored::of(saved)?;
    let mut w = Writer::new();
    w.text("format", POLICY);
    for name in STRINGS {
        w.text(name, saved.text(name)?);
    }
    saved.copy_state(&mut w)?;
    let (table, store) = (&policy.agent.table, &policy.agent.store);
    for id in policy.agent.acting_parameters() {
        let shape = table.param(id).shape;
        for (path, range) in table.paths(id) {
            w.tensor(&path, &[shape.rows, shape.cols], &store.values[id.index()][range]);
        }
    }
    Ok(w.to_bytes())
}

/// A policy read back, for commands that only act.
pub struct Restored {
    /// the file
    pub file: String,
    /// base algorithm
    pub algo: String,
    /// adaptation
    pub adapt: String,
    /// both, as tables name them
    pub method: String,
    /// whether it was saved in the online phase
    pub online: bool,
    /// networks and parameters
    pub agent: Agent,
    /// transforms of states and rewards
    pub scales: Scales,
    /// where the run stood
    pub counters: Counters,
    /// the update whose parameters these are
    pub update: u64,
    /// options of acting
    pub options: OnlineConfig,
    /// the environment of its run; empty for none
    pub env: String,
    /// the simulator of its run
    pub simulator: MujocoConfig,
}

impl Restored {
    /// Opens a run directory, a checkpoint, or a policy file.
    ///
    /// # Errors
    /// Those of [`Saved::acting`] and [`Restored::of`].
    pub fn open(path: &Path) -> Result<Restored, TrainError> {
        Restored::of(&Saved::acting(path)?)
    }

    /// The policy of a checkpoint or a policy file.
    ///
    /// # Errors
    /// A checkpoint that lacks what its own configuration says it has; a configuration that this program does not know;
    /// networks larger than the free memory.
    pub fn of(saved: &Saved) -> Result<Restored, TrainError> {
        let config = from_text(&format!("{}: configuration", saved.file()), saved.config()?)?;
        let run: RunConfig = config.section();
        let options: OnlineConfig = config.section();
        let mut agent = Agent::new(&config, saved.dims(options.batch)?)?;
        let counters = match saved.is_policy() {
            true => saved.restore_acting(&mut agent)?,
            false => saved.restore(&mut agent)?,
        };
        Ok(Restored {
            file: saved.file().into(),
            method: config_method(&config),
            algo: run.algo,
            adapt: run.adapt,
            online: saved.is_online()?,
            scales: saved.scales()?,
            update: saved.update_of_parameters()?,
            agent,
            counters,
            options,
            env: run.env,
            simulator: config.section(),
        })
    }

    /// The environment asked for, or the run's; its dimensions fit the policy. Another simulator than the run's is named:
    /// returns differ from those of the run.
    ///
    /// # Errors
    /// None is named, or one that is not known or has other dimensions; MuJoCo cannot be had, where both the
    /// environment and the run use it.
    pub fn environment(&self, asked: Option<&str>) -> Result<&'static Spec, TrainError> {
        let name = asked.unwrap_or(&self.env);
        if name.is_empty() {
            return Err(TrainError::Input(format!(
                "{}: run.env: expected an environment, got none; name one with --env, as in hopper-v4",
                self.file
            )));
        }
        let spec = env::spec(name)?;
        let (have, want) = (self.agent.dims.sa(), (spec.obs_dim, spec.act_dim));
        if have != want {
            return Err(TrainError::Input(format!(
                "{}: policy of {} observations and {} actions: expected {} and {} for {}; choose the environment it was trained for with --env",
                self.file, have.0, have.1, want.0, want.1, spec.id,
            )));
        }
        if spec.needs_mujoco() && !self.simulator.release.is_empty() {
            let here = conditions::simulator()?;
            if here != self.simulator {
                eprintln!(
                    "baq: note: {}: its run had {}, this process has {here}",
                    self.file, self.simulator
                );
            }
        }
        Ok(spec)
    }

    /// Method and age in a few words.
    pub fn describe(&self) -> String {
        let method = &self.method;
        match self.online {
            true => format!("{method} after {} environment steps", self.counters.env_step),
            false => format!("{method} after {} updates", self.update),
        }
    }
}

/// A policy that answers one state at a time.
pub struct Answering {
    /// the policy
    pub policy: Restored,
    actor: Actor,
    state: Vec<f32>,
    action: Vec<f32>,
}

impl Answering {
    /// Exploring so.
    pub fn new(policy: Restored, how: Exploration) -> Answering {
        let actor = policy.agent.actor(1, how, &policy.options);
        Answering { policy, actor, state: Vec::new(), action: Vec::new() }
    }

    /// The action `[A]` in a state `[S]` as the environment gives it: in [-1, 1], or between the bounds from which the data were
    /// rescaled. Seed and position name the noise.
    ///
    /// # Errors
    /// A state from which no finite action comes: file, and what is wrong with the state.
    pub fn act(&mut self, observation: &[f32], seed: u64, position: u64) -> Result<&[f32], String> {
        let Answering { policy, actor, state, action } = self;
        state.clear();
        state.extend_from_slice(observation);
        policy.scales.observation.apply(state);
        action.clear();
        action.extend_from_slice(actor.act(&mut policy.agent.store, state, seed, position));
        if let Some(bounds) = &policy.scales.action {
            bounds.restore(action);
        }
        match action.iter().find(|x| !x.is_finite()) {
            None => Ok(action),
            Some(x) => Err(format!(
                "{}: expected a state that the policy can compute with, got an action of {x}; its numbers are far from those of the data",
                policy.file
            )),
        }
    }
}
