//! Recording transitions: a policy, or uniform random actions, in one environment.
//!
//! What is recorded is raw: observations and rewards as the environment gives them, actions as they were
//! applied, in [-1, 1]. The rows are a function of (policy, kernels, environment, seed), and fewer steps are the first of more.

use baq_datasets::scale::ActionBounds;
use baq_datasets::{Columns, Ending, Source, episodes, returns, scores};
use baq_kernels::Kernels;
use ndarray::{Array1, Array2};

use super::action_map::ActionMap;
use super::agent::{Actor, Agent};
use super::data::Scales;
use super::error::TrainError;
use super::needs::Needs;
use super::policy::Restored;
use super::progress::{Progress, Stop};
use crate::config::Exploration;
use crate::env::{Env, EnvError, Spec};
use crate::rng::{Stream, derive, uniform_action};

/// Who acts.
pub enum Behaviour<'a> {
    /// every component uniform on [-1, 1)
    Random,
    /// a trained policy
    Policy {
        /// its networks
        agent: &'a mut Agent,
        /// how it sees states
        scales: &'a Scales,
        /// the compiled policy for one state
        actor: Box<Actor>,
    },
}

impl<'a> Behaviour<'a> {
    /// A policy that explores in this way, computed by these kernels.
    pub fn policy(policy: &'a mut Restored, how: Exploration, kernels: &'static Kernels) -> Behaviour<'a> {
        let actor = Box::new(policy.agent.actor_on(kernels, 1, how, &policy.options));
        Behaviour::Policy { agent: &mut policy.agent, scales: &policy.scales, actor }
    }

    /// What the ends of [-1, 1] stand for in its actions, if its data were rescaled.
    fn action_bounds(&self) -> Option<&'a ActionBounds> {
        match self {
            Behaviour::Random => None,
            Behaviour::Policy { scales, .. } => scales.action.as_ref(),
        }
    }
}

/// Whether so many transitions of these widths fit in memory.
fn check_room((s_dim, a_dim): (usize, usize), steps: u64) -> Result<(), TrainError> {
    let mut needs = Needs::default();
    // Thrice: lists that grow have room for twice what they hold, and what is written is copied.
    let bytes = 12.0 * (2 * s_dim + a_dim + 2) as f64 * steps as f64;
    needs.add("the recorded transitions", bytes, vec!["--steps".into()]);
    needs.check()
}

/// What ended a recording before its last step.
#[derive(Debug)]
pub enum Cut {
    /// it was asked to stop
    Signal,
    /// the environment's next step failed
    Failure(EnvError),
}

/// All rows of a recording, or `None` if a signal stopped it. Errors: those of [`record`]; a step that failed.
pub fn collect(
    env: &mut dyn Env,
    behaviour: Behaviour<'_>,
    steps: u64,
    seed: u64,
    stop: &Stop,
    quiet: bool,
) -> Result<Option<Columns>, TrainError> {
    match record(env, behaviour, steps, seed, stop, quiet)? {
        (columns, None) => Ok(Some(columns)),
        (_, Some(Cut::Signal)) => Ok(None),
        (_, Some(Cut::Failure(e))) => Err(e.into()),
    }
}

/// Steps an environment `steps` times, beginning new episodes as old ones end. Rows end as [`Ending::of`] says; a tail
/// that is cut short has no flag. If something ended it early, that and the rows until then, maybe none. Errors: more
/// steps than fit in memory.
pub fn record(
    env: &mut dyn Env,
    mut behaviour: Behaviour<'_>,
    steps: u64,
    seed: u64,
    stop: &Stop,
    quiet: bool,
) -> Result<(Columns, Option<Cut>), TrainError> {
    let seed = derive(seed, Stream::Collect);
    let (s_dim, a_dim) = (env.obs_dim(), env.act_dim());
    let mut progress = Progress::new("collect", steps, 0, quiet);
    let (mut observations, mut next) = (Vec::new(), Vec::new());
    let (mut actions, mut rewards, mut endings) = (Vec::new(), Vec::new(), Vec::new());
    let mut observation = vec![0.0; s_dim];
    let mut state = vec![0.0; s_dim];
    let mut action = vec![0.0; a_dim];
    let mut room = vec![0.0; a_dim];
    let map = ActionMap::new(behaviour.action_bounds(), env);
    check_room((s_dim, a_dim), steps)?;
    let mut episode = 0;
    env.reset(seed, episode, &mut observation);
    let mut cut = None;
    for step in 0..steps {
        if stop.requested() {
            cut = Some(Cut::Signal);
            break;
        }
        match &mut behaviour {
            Behaviour::Random => uniform_action(seed, Stream::Collect, step, &mut action),
            Behaviour::Policy { agent, scales, actor } => {
                scales.state(&observation, &mut state);
                let chosen = actor.act(&mut agent.store, &state, seed, step);
                let applied = map.apply(chosen, &mut room);
                action.iter_mut().zip(applied).for_each(|(to, a)| *to = a.clamp(-1.0, 1.0));
            }
        }
        observations.extend(observation.iter().map(|x| *x as f32));
        let answer = match env.step(&action, &mut observation) {
            Ok(answer) => answer,
            Err(e) => {
                observations.truncate(rewards.len() * s_dim);
                // Some time after a signal a program that does not answer is ended.
                cut = Some(if stop.requested() { Cut::Signal } else { Cut::Failure(e) });
                break;
            }
        };
        actions.extend_from_slice(&action);
        rewards.push(answer.reward as f32);
        next.extend(observation.iter().map(|x| *x as f32));
        endings.push(answer.ending());
        if answer.ended() {
            episode += 1;
            env.reset(seed, episode, &mut observation);
        }
        progress.advance(1);
    }
    progress.finish();
    let matrix = |data, width| {
        Array2::from_shape_vec((rewards.len(), width), data).expect("invariant: one row per step")
    };
    let columns = Columns {
        observations: matrix(observations, s_dim),
        actions: matrix(actions, a_dim),
        next_observations: matrix(next, s_dim),
        rewards: Array1::from_vec(rewards),
        endings,
        action_log_probs: None,
        source: Source::in_memory("<collected>"),
    };
    Ok((columns, cut))
}

/// What was recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Collected {
    /// rows
    pub steps: u64,
    /// episodes begun
    pub episodes: u64,
    /// rows at which the task ended
    pub terminals: u64,
    /// rows at the time limit
    pub timeouts: u64,
    /// returns of the complete episodes, if there are any
    pub returns: Option<returns::Stats>,
    /// normalised score of their mean, where the task has one
    pub score: Option<f64>,
}

impl Collected {
    /// Counts.
    pub fn of(columns: &Columns, spec: &Spec) -> Collected {
        let all = episodes::of(columns);
        let complete: Vec<_> = all.iter().filter(|e| e.is_complete()).cloned().collect();
        let stats = returns::Stats::of(&returns::of_episodes(columns.rewards.view(), &complete));
        let count = |ending| columns.endings.iter().filter(|e| **e == ending).count() as u64;
        Collected {
            steps: columns.len() as u64,
            episodes: all.len() as u64,
            terminals: count(Ending::Terminated),
            timeouts: count(Ending::Truncated),
            score: stats.as_ref().zip(spec.score).and_then(|(r, task)| scores::normalized(task, r.mean)),
            returns: stats,
        }
    }
}
