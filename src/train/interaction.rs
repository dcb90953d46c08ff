//! Environment steps of a phase: who acts, what is stored, and the rounds that a step pays for.
//!
//!   a ~ exploration policy(s); (r, s') from the environment; m = 0 only if the task itself ended
//!   store (s, a, r, s', m) with its annotated columns and its priority
//!
//! The state after step N is a function of (configuration, data, what the run starts from, N).

use super::action_map::ActionMap;
use super::agent::{Actor, Agent};
use super::batches::Batches;
use super::cadence::{self, Due, Roles};
use super::counters::Counters;
use super::data::{Dataset, Scales};
use super::error::TrainError;
use crate::algo::{Cadence, Delay};
use crate::config::{Config, OnlineConfig, RunConfig};
use crate::env::{self, Env};
use crate::replay::pools::ONLINE;
use crate::replay::returns::return_to_go;
use crate::replay::{self, Layout};
use crate::rng::{Stream, derive, uniform_action};

/// What a step reads and moves outside the environment.
pub struct Surroundings<'a> {
    /// who acts
    pub agent: &'a mut Agent,
    /// where the transition goes
    pub batches: &'a mut Batches,
    /// how far the run has come
    pub counters: &'a mut Counters,
    /// how the networks see states and rewards
    pub scales: &'a Scales,
    /// priority of a new transition, where that is a history
    pub newest: Option<f64>,
}

/// An environment and the policy that explores it.
pub struct Interaction {
    options: OnlineConfig,
    seed: u64,
    env: Box<dyn Env>,
    env_seed: u64,
    act_seed: u64,
    actor: Actor,
    cadence: Cadence,
    due: Due,
    /// discount, and the reward of episodes that fail for ever
    return_to_go: Option<(f64, Option<f32>)>,
    observation: Vec<f64>,
    next: Vec<f64>,
    state: Vec<f32>,
    action: Vec<f32>,
    /// from the networks' actions to the environment's
    map: ActionMap,
    applied: Vec<f32>,
    record: Vec<f32>,
}

impl Interaction {
    /// Before the first episode, which [`Interaction::begin_episode`] begins, or before a saved state ([`Interaction::restore`]).
    pub fn new(
        config: &Config,
        env: Box<dyn Env>,
        agent: &Agent,
        dataset: &Dataset,
        layout: &Layout,
    ) -> Interaction {
        let run: RunConfig = config.section();
        let options: OnlineConfig = config.section();
        let (s, a) = (env.obs_dim(), env.act_dim());
        Interaction {
            seed: run.seed,
            env_seed: derive(run.seed, Stream::TrainReset),
            act_seed: derive(run.seed, Stream::Explore),
            actor: agent.actor(1, options.exploration, &options),
            cadence: cadence::of(&options, agent.adaptation.as_ref()),
            due: Due::default(),
            return_to_go: agent.learner.return_to_go().map(|rule| (rule.discount, dataset.failing(rule))),
            observation: vec![0.0; s],
            next: vec![0.0; s],
            state: vec![0.0; s],
            action: vec![0.0; a],
            map: ActionMap::new(dataset.scales.action.as_ref(), env.as_ref()),
            applied: vec![0.0; a],
            record: vec![0.0; layout.width()],
            options,
            env,
        }
    }

    /// Goes on from a saved state of the environment and its last observation.
    ///
    /// # Errors
    /// A state that does not belong to this environment.
    pub fn restore(
        &mut self,
        env: &[f64],
        observation: Vec<f64>,
        counters: &Counters,
    ) -> Result<(), TrainError> {
        self.env.set_state(env)?;
        self.observation = observation;
        if counters.episode_step == 0 && counters.episode > 0 {
            // A program may have died instead of beginning the episode, or its first observation not have been finite.
            self.env.reset(self.env_seed, counters.episode - 1, &mut self.observation);
        }
        self.due = Due::left(&self.cadence, self.learning(counters), counters);
        Ok(())
    }

    /// Updates per environment step.
    pub fn cadence(&self) -> &Cadence {
        &self.cadence
    }

    /// State of the environment, and its last observation.
    pub fn state(&self) -> (Vec<f64>, Vec<f64>) {
        (self.env.state(), self.observation.clone())
    }

    /// Rounds that are still to be made for the last step.
    pub fn due(&self) -> u64 {
        self.due.rounds()
    }

    /// Roles of the next of them, which is round `round` of the run.
    pub fn next_round(&mut self, round: u64, delay: Delay) -> Roles {
        self.due.next(round, delay)
    }

    /// Environment steps so far that learn.
    fn learning(&self, counters: &Counters) -> u64 {
        counters.env_step.saturating_sub(self.options.idle_steps())
    }

    /// Begins another episode.
    pub fn begin_episode(&mut self, counters: &mut Counters) {
        self.env.reset(self.env_seed, counters.episode, &mut self.observation);
        counters.episode += 1;
        counters.episode_step = 0;
        counters.episode_return = 0.0;
    }

    /// An environment step, unless the last one still has rounds due.
    ///
    /// # Errors
    /// The environment refuses the action or fails; a priority that no tree takes.
    pub fn advance(&mut self, around: &mut Surroundings<'_>) -> Result<(), TrainError> {
        if self.due.rounds() > 0 {
            return Ok(());
        }
        self.step(around)?;
        let learning = self.learning(around.counters);
        if learning > 0 {
            self.due = Due::earn(&self.cadence, learning, around.counters);
        }
        Ok(())
    }

    fn step(&mut self, around: &mut Surroundings<'_>) -> Result<(), TrainError> {
        around.scales.state(&self.observation, &mut self.state);
        self.act(around);
        let step = self.env.step(self.map.apply(&self.action, &mut self.applied), &mut self.next)?;

        let layout = around.batches.pools().layout();
        let mut put = |name: &str, values: &[f32]| {
            let c = layout.column(name);
            self.record[c.offset..c.offset + c.len].copy_from_slice(values);
        };
        put(replay::S, &self.state);
        put(replay::A, &self.action);
        put(replay::R, &[around.scales.reward.apply(step.reward as f32)]);
        put(replay::M, &[step.ending().m()]);
        if self.return_to_go.is_some() {
            // Unknown until the episode ends; -inf is the value that changes nothing.
            put(replay::RETURN_TO_GO, &[f32::NEG_INFINITY]);
        }
        let s2 = layout.column(replay::S2);
        around.scales.state(&self.next, &mut self.record[s2.offset..s2.offset + s2.len]);
        let sa = (&self.state[..], &self.action[..]);
        around.batches.push(around.agent, &mut self.record, sa, around.newest)?;

        std::mem::swap(&mut self.observation, &mut self.next);
        let counters = &mut *around.counters;
        counters.env_step += 1;
        counters.episode_step += 1;
        counters.episode_return += step.reward;
        if step.ended() {
            if let Some((discount, failing)) = self.return_to_go {
                let steps = counters.episode_step as usize;
                return_to_go(around.batches.pools_mut(), steps, discount, failing);
            }
            counters.last_return = Some(counters.episode_return);
            self.begin_episode(counters);
        }
        Ok(())
    }

    /// Chooses the action in the present state.
    fn act(&mut self, around: &mut Surroundings<'_>) {
        // Unlike the steps of this run, it goes on counting where transitions were carried on: no noise comes twice.
        let position = around.batches.pools().pool(ONLINE).pushed();
        if around.counters.env_step < self.options.random_steps {
            uniform_action(self.seed, Stream::RandomAction, position, &mut self.action);
        } else {
            let store = &mut around.agent.store;
            self.action.copy_from_slice(self.actor.act(store, &self.state, self.act_seed, position));
        }
    }
}

/// The environment of a run.
///
/// # Errors
/// None is named, or one that is not known or does not fit the data.
pub fn environment(run: &RunConfig, dataset: &Dataset) -> Result<Box<dyn Env>, TrainError> {
    if run.env.is_empty() {
        return Err(TrainError::Input(
            "run.env: expected an environment, got none; name one with --env, as in hopper-v4".into(),
        ));
    }
    let env = env::make(&run.env)?;
    dataset.columns.check_dims(env.spec().id, env.obs_dim(), env.act_dim())?;
    Ok(env)
}
