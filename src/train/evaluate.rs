//! Evaluation: E episodes at once, one batched policy step for all of them.
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
use crate::env::{self, Env, Spec};
use crate::rng::{Stream, derive};
use baq_datasets::scores;

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
    /// The environment that it is played in.
    pub fn begin(&self) -> Result<Box<dyn Env>, TrainError> {
        Ok(env::make(self.spec.id)?)
    }

    /// Plays it by the greedy policy to its end, but for no more than `most` steps; `look` sees the start and what
    /// comes of every step.
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
            let action = actor.act(&mut policy.agent.store, &state, seed, 0);
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
    envs: Vec<Box<dyn Env>>,
    actor: Actor,
    observations: Vec<Vec<f64>>,
    states: Vec<f32>,
    action: Vec<f32>,
    seed: u64,
}

impl Evaluator {
    /// `episodes` environments `id` for the agent's greedy policy.
    pub fn new(agent: &Agent, id: &str, episodes: usize, seed: u64) -> Result<Evaluator, TrainError> {
        let spec = env::spec(id)?;
        let envs = (0..episodes).map(|_| env::make(id)).collect::<Result<Vec<_>, _>>()?;
        Ok(Evaluator {
            spec,
            envs,
            actor: agent.actor(episodes, Exploration::Greedy, &OnlineConfig::default()),
            observations: vec![vec![0.0; spec.obs_dim]; episodes],
            states: vec![0.0; episodes * spec.obs_dim],
            action: vec![0.0; spec.act_dim],
            seed: derive(seed, Stream::EvalReset),
        })
    }

    /// Plays one episode in each environment; `number` counts the evaluations of a run.
    pub fn run(
        &mut self,
        store: &mut Store,
        scales: &Scales,
        number: u64,
        stamp: Stamp,
    ) -> Result<Evaluation, TrainError> {
        let n = self.envs.len();
        let (s_dim, a_dim) = (self.spec.obs_dim, self.spec.act_dim);
        for (i, (env, obs)) in self.envs.iter_mut().zip(&mut self.observations).enumerate() {
            env.reset(self.seed, number * n as u64 + i as u64, obs);
        }
        let map = self.envs.first().map(|env| ActionMap::new(scales.action.as_ref(), env.as_ref()));
        let mut returns = vec![0.0; n];
        let mut lengths = vec![0u64; n];
        let mut running = vec![true; n];
        while running.iter().any(|r| *r) {
            for (obs, state) in self.observations.iter().zip(self.states.chunks_exact_mut(s_dim)) {
                scales.state(obs, state);
            }
            let actions = self.actor.act(store, &self.states, self.seed, 0);
            for i in 0..n {
                if !running[i] {
                    continue;
                }
                let action = &actions[i * a_dim..(i + 1) * a_dim];
                let action = map.as_ref().map_or(action, |map| map.apply(action, &mut self.action));
                let step = self.envs[i].step(action, &mut self.observations[i])?;
                returns[i] += step.reward;
                lengths[i] += 1;
                running[i] = !step.ended();
            }
        }
        let mean = returns.iter().sum::<f64>() / n as f64;
        let score = self.spec.score.and_then(|task| scores::normalized(task, mean));
        Ok(Evaluation { stamp, score, returns, lengths })
    }
}
