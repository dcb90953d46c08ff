//! Evaluation: E episodes at once, one batched policy step for all of them, environment steps on all threads.
//!
//! The environments, the noise and the seeds are its own, so that evaluating never changes
//! training. Initial states are a function of (seed, number of the evaluation), equal for all methods.

use super::action_map::ActionMap;
use super::agent::{Actor, Agent};
use super::data::Scales;
use super::error::TrainError;
use super::metrics::{Evaluation, Stamp};
use super::policy::Restored;
use crate::autodiff::Store;
use crate::config::{Exploration, OnlineConfig};
use crate::env::{self, Env, EnvError, Spec};
use crate::rng::{Stream, derive};
use baq_datasets::scores;
use baq_kernels::for_each_unflushed;

/// An environment, and how its episode stands.
struct Lane {
    env: Box<dyn Env>,
    observation: Vec<f64>,
    /// room for the action as the environment takes it
    action: Vec<f32>,
    failed: Option<EnvError>,
    running: bool,
    result: f64,
    length: u64,
    success: Option<bool>,
}

impl Lane {
    fn new(spec: &Spec) -> Result<Lane, EnvError> {
        let env = env::make(spec.id)?;
        let (observation, action) = (vec![0.0; spec.obs_dim], vec![0.0; spec.act_dim]);
        Ok(Lane {
            env,
            observation,
            action,
            failed: None,
            running: false,
            result: 0.0,
            length: 0,
            success: None,
        })
    }

    fn begin(&mut self, seed: u64, episode: u64) {
        self.env.reset(seed, episode, &mut self.observation);
        (self.failed, self.running) = (None, true);
        (self.result, self.length, self.success) = (0.0, 0, None);
    }

    fn step(&mut self, action: &[f32], map: Option<&ActionMap>) {
        if !self.running {
            return;
        }
        let action = map.map_or(action, |map| map.apply(action, &mut self.action));
        match self.env.step(action, &mut self.observation) {
            Ok(step) => {
                self.result += step.reward;
                self.length += 1;
                self.success = step.success.map(|now| now || self.success == Some(true)).or(self.success);
                self.running = !step.ended();
            }
            Err(e) => self.failed = Some(e),
        }
    }
}

/// One episode of an evaluation, to be looked at.
#[derive(Clone, Copy)]
pub struct Play {
    /// the environment
    pub spec: &'static Spec,
    /// of the evaluation
    pub seed: u64,
    /// its place among the episodes of that evaluation, from 0
    pub episode: u64,
}

/// How far an episode has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Played {
    /// steps so far
    pub steps: u64,
    /// sum of their rewards
    pub sum: f64,
    /// whether the task ended with the last one
    pub terminated: bool,
}

impl Play {
    /// The environment that it is played in. Errors: those of [`env::make`]: its simulator or its program cannot be
    /// had.
    pub fn begin(&self) -> Result<Box<dyn Env>, TrainError> {
        Ok(env::make(self.spec.id)?)
    }

    /// Plays it by the greedy policy to its end, but for no more than `most` steps; `look` sees the start and what
    /// comes of every step. The evaluation's own episode, unless the policy acts with noise, which it draws anew.
    /// Errors: an action that is not finite, a simulation that becomes unstable, a program that does not answer.
    pub fn run(
        &self,
        env: &mut dyn Env,
        policy: &mut Restored,
        most: u64,
        look: &mut dyn FnMut(&mut dyn Env, Played),
    ) -> Result<(), TrainError> {
        let seed = derive(self.seed, Stream::EvalReset);
        let mut actor = policy.agent.actor(1, Exploration::Greedy, &OnlineConfig::default());
        let mut observation = vec![0.0; self.spec.obs_dim];
        let mut state = vec![0.0; self.spec.obs_dim];
        let (map, mut room) =
            (ActionMap::new(policy.scales.action.as_ref(), env), vec![0.0; self.spec.act_dim]);
        let mut played = Played { steps: 0, sum: 0.0, terminated: false };
        env.reset(seed, self.episode, &mut observation);
        look(env, played);
        while played.steps < most {
            policy.scales.state(&observation, &mut state);
            let action = actor.act(&mut policy.agent.store, &state, seed, played.steps);
            let step = env.step(map.apply(action, &mut room), &mut observation)?;
            played = Played {
                steps: played.steps + 1,
                sum: played.sum + step.reward,
                terminated: step.terminated,
            };
            look(env, played);
            if step.ended() {
                break;
            }
        }
        Ok(())
    }
}

/// Environments and a policy program for E episodes side by side.
pub struct Evaluator {
    spec: &'static Spec,
    lanes: Vec<Lane>,
    actor: Actor,
    states: Vec<f32>,
    seed: u64,
}

impl Evaluator {
    /// `episodes` environments `id` for the agent's greedy policy. Errors: those of [`env::make`], for that `id`.
    pub fn new(agent: &Agent, id: &str, episodes: usize, seed: u64) -> Result<Evaluator, TrainError> {
        let spec = env::spec(id)?;
        let lanes = (0..episodes).map(|_| Lane::new(spec)).collect::<Result<Vec<_>, _>>()?;
        Ok(Evaluator {
            spec,
            lanes,
            actor: agent.actor(episodes, Exploration::Greedy, &OnlineConfig::default()),
            states: vec![0.0; episodes * spec.obs_dim],
            seed: derive(seed, Stream::EvalReset),
        })
    }

    /// Whether the environment says if goals are reached.
    pub fn tells_success(&self) -> bool {
        self.spec.success
    }

    /// Plays one episode in each environment; `number` counts the evaluations of a run. Errors: a step that fails in
    /// one of them, as in [`Play::run`].
    pub fn run(
        &mut self,
        store: &mut Store,
        scales: &Scales,
        number: u64,
        stamp: Stamp,
    ) -> Result<Evaluation, TrainError> {
        let n = self.lanes.len();
        let (s_dim, a_dim) = (self.spec.obs_dim, self.spec.act_dim);
        let seed = self.seed;
        for_each_unflushed(&mut self.lanes, &|i, lane| lane.begin(seed, number * n as u64 + i as u64));
        let map = self.lanes.first().map(|lane| ActionMap::new(scales.action.as_ref(), lane.env.as_ref()));
        // Where noise stands, for policies that act with some.
        let mut position = number << 32;
        while self.lanes.iter().any(|lane| lane.running) {
            for (lane, state) in self.lanes.iter().zip(self.states.chunks_exact_mut(s_dim)) {
                scales.state(&lane.observation, state);
            }
            let actions = self.actor.act(store, &self.states, seed, position);
            position += 1;
            for_each_unflushed(&mut self.lanes, &|i, lane| {
                lane.step(&actions[i * a_dim..(i + 1) * a_dim], map.as_ref());
            });
            if let Some(e) = self.lanes.iter_mut().find_map(|lane| lane.failed.take()) {
                return Err(e.into());
            }
        }
        let returns: Vec<f64> = self.lanes.iter().map(|lane| lane.result).collect();
        let lengths = self.lanes.iter().map(|lane| lane.length).collect();
        let told: Vec<bool> = self.lanes.iter().filter_map(|lane| lane.success).collect();
        let reached = told.iter().filter(|reached| **reached).count();
        let success = (!told.is_empty()).then(|| reached as f64 / told.len() as f64);
        let mean = returns.iter().sum::<f64>() / n as f64;
        let score = self.spec.score.and_then(|task| scores::of_episodes(task, mean, success));
        Ok(Evaluation { stamp, score, success, returns, lengths })
    }
}
