//! Whether a run fits into memory, found before anything is made.
//!
//! Sizes come from the declarations themselves: parameters from the table, the memory of a round from its compiled
//! programs. Nothing of these sizes is taken for finding them.

use super::agent::Agent;
use super::annotation::BLOCK;
use super::cadence::{self, Roles};
use super::data::Dataset;
use super::error::TrainError;
use super::needs::{Needs, of_networks, options, store};
use super::neighbours::Neighbours;
use super::plan::{offline_phase, online_phase, starts_online};
use super::run::kept;
use crate::adapt::generator::{Stage, Task};
use crate::adapt::{self, find_generator};
use crate::algo::{Dims, FitTo, Phase};
use crate::autodiff::{Program, Select, Trace};
use crate::config::{BufferMode, Config, Exploration, OfflineConfig, OnlineConfig, RunConfig};
use crate::nn::diffusion::Drawing;
use crate::replay::Layout;

fn of_rounds(phase: Option<&'static str>) -> impl Fn(&str, &str) -> bool {
    move |section, key| {
        of_networks(section, key) || key == "samples" || (Some(section), key) == (phase, "batch")
    }
}

/// Bytes of the programs of a phase's rounds: with and without metrics for each set of roles, and metrics alone.
fn rounds(trace: &Trace, roles: &[Roles]) -> f64 {
    let bytes = |critic, actor, metrics| program(trace, Select { critic, actor, metrics });
    let each = roles.iter().map(|r| bytes(r.critic, r.actor, false) + bytes(r.critic, r.actor, true));
    each.sum::<f64>() + bytes(false, false, true)
}

/// Bytes of the programs of a stage of a generator's refresh.
fn of_stage(stage: Stage) -> f64 {
    match stage.task {
        Task::Learn { trace, .. } => rounds(&trace, &[Roles::BOTH, Roles::CRITIC]),
        Task::Contrast { trace, drawing, .. } => {
            rounds(&trace, &[Roles::BOTH, Roles::CRITIC]) + of_drawing(&drawing)
        }
        Task::Draw { drawing, .. } => of_drawing(&drawing),
    }
}

fn of_drawing(drawing: &Drawing) -> f64 {
    [&drawing.begin, &drawing.step, &drawing.last].map(|t| program(t, Select::ALL)).iter().sum()
}

fn program(trace: &Trace, select: Select) -> f64 {
    Program::compile(trace, select).bytes() as f64
}

/// Bytes of a replay of these transitions, and of the columns that it is loaded from.
fn replay(dims: Dims, annotated: usize, capacity: usize, loaded: usize) -> f64 {
    let more = [("more", annotated)];
    let layout = Layout::transitions(dims.s, dims.a, &more[..annotated.min(1)]);
    4.0 * (layout.stride() as f64 * capacity.max(loaded) as f64 + layout.width() as f64 * loaded as f64)
}

/// An error if a run of `baq train` does not fit.
pub fn check(config: &Config, dataset: &Dataset) -> Result<(), TrainError> {
    if starts_online(config) {
        return check_online(config, dataset);
    }
    let options_of: OfflineConfig = config.section();
    let rows = dataset.columns.len();
    let dims = dims(dataset, options_of.batch);
    let agent = Agent::outline(config, dims)?;
    let mut needs = networks(config, &agent);
    let trace = agent.trace(&offline_phase(config));
    let mut bytes = rounds(&trace, Roles::of_delay(agent.learner.delay()));
    let of_learner = agent.learner.pretrain().len();
    let fits = agent.pretraining().into_iter().take(of_learner);
    bytes += fits.map(|(_, t)| rounds(&t, &[Roles::BOTH])).sum::<f64>();
    bytes += agent.validation_trace(options_of.batch).map_or(0.0, |t| program(&t, Select::ALL));
    needs.add("the memory of a round", bytes, options(config, of_rounds(Some("offline"))));
    let more = if agent.learner.next_action() { dims.a + 1 } else { 1 };
    let bytes = replay(dims, more, 0, rows) + Neighbours::bytes(&agent, rows);
    needs.add("the transitions", bytes, vec!["the data set".into()]);
    evaluation(&mut needs, config, &agent, "offline", options_of.eval_episodes);
    needs.check()
}

/// An error if learning in an environment does not fit.
pub fn check_online(config: &Config, dataset: &Dataset) -> Result<(), TrainError> {
    let online: OnlineConfig = config.section();
    let dims = dims(dataset, online.rows());
    let agent = Agent::outline(config, dims)?;
    let mut needs = networks(config, &agent);

    let cadence = cadence::of(&online, agent.adaptation.as_ref());
    let phase = online_phase(config, &agent, 1);
    let mut bytes = rounds(&agent.trace(&phase), &cadence::roles(&cadence, agent.learner.delay()));
    let roles = |to| if to == FitTo::Data { &[Roles::BOTH] } else { Roles::of_delay(agent.learner.delay()) };
    bytes += agent.pretraining().iter().map(|(fit, t)| rounds(t, roles(fit.to))).sum::<f64>();
    bytes += agent.reprioritisation_trace().map_or(0.0, |t| rounds(&t, &[Roles::BOTH]));
    let mut annotated = usize::from(agent.learner.return_to_go().is_some());
    for batch in [BLOCK, dims.batch] {
        let trace = adapt::annotation(agent.adaptation.as_ref(), &agent.table, Dims { batch, ..dims });
        if let Some(trace) = trace {
            annotated = annotated.max(trace.outputs.len());
            bytes += program(&trace, Select::ALL);
        }
    }
    let mut drawn = 0;
    if let Some(generator) = &agent.generator {
        let bytes = agent.refresh().into_iter().map(of_stage).sum();
        let large = |section: &str, key: &str| {
            find_generator(section).is_some() && (of_networks(section, key) || key == "batch")
        };
        needs.add("the memory of a refresh", bytes, options(config, large));
        drawn = generator.pools().iter().map(|(_, rows)| rows).sum();
    }
    needs.add("the memory of a round", bytes, options(config, of_rounds(Some("online"))));

    let kept = kept(dataset, &online);
    let mut bytes = replay(dims, annotated, online.capacity, kept);
    bytes += Neighbours::bytes(&agent, online.capacity.max(kept));
    let prioritised = online.buffer == BufferMode::Append && agent.adaptation.sampling().prioritised;
    // The tree of masses, eight children to a node.
    bytes += if prioritised { online.capacity as f64 * 8.0 * 8.0 / 7.0 } else { 0.0 };
    needs.add("the replay", bytes, vec!["online.capacity".into()]);
    // Beside the rows themselves their checkpoint in the making.
    let rows = |section: &str, key: &str| find_generator(section).is_some() && key == "rows";
    needs.add("generated transitions", 3.0 * replay(dims, annotated, 0, drawn), options(config, rows));
    let collected = online.env_steps.min(online.capacity as u64) as usize;
    let kept = 2.0 * replay(dims, annotated, 0, collected);
    needs.add("checkpoints of the collected transitions", kept, vec!["online.capacity".into()]);
    evaluation(&mut needs, config, &agent, "online", online.eval_episodes);
    needs.check()
}

/// An error if measuring the rounds of a method on so many transitions does not fit.
pub fn check_bench(config: &Config, dims: Dims, phase: &Phase, rows: usize) -> Result<(), TrainError> {
    let agent = Agent::outline(config, dims)?;
    let mut needs = networks(config, &agent);
    let roles = Roles::of_delay(agent.learner.delay());
    let section = if phase.online { "online" } else { "offline" };
    let bytes = rounds(&agent.trace(phase), roles);
    needs.add("the memory of a round", bytes, options(config, of_rounds(Some(section))));
    // Beside the replay the masses of its rows.
    let bytes = replay(dims, 2, 0, rows) + rows as f64 * 32.0 + Neighbours::bytes(&agent, rows);
    needs.add("the transitions", bytes, vec!["--rows".into()]);
    needs.check()
}

/// An error if so many episodes side by side do not fit.
pub fn check_episodes(agent: &Agent, episodes: usize) -> Result<(), TrainError> {
    let mut needs = Needs::default();
    needs.add("the episodes", side_by_side(agent, episodes), vec!["--episodes".into()]);
    needs.check()
}

/// An error if comparing a program of these networks with f64 does not fit.
pub fn check_reference(config: &Config, agent: &Agent, trace: &Trace) -> Result<(), TrainError> {
    let mut needs = Needs::default();
    let numbers: f64 = trace.graph.nodes().iter().map(|n| n.shape.len() as f64).sum();
    let bytes = 4.0 * store(&agent.table) + 8.0 * 4.0 * numbers;
    needs.add("the networks and their gradients in f64", bytes, options(config, of_rounds(None)));
    needs.check()
}

fn dims(dataset: &Dataset, batch: usize) -> Dims {
    Dims { s: dataset.columns.obs_dim(), a: dataset.columns.act_dim(), batch }
}

/// The networks, and their checkpoint in the making.
fn networks(config: &Config, agent: &Agent) -> Needs {
    let mut needs = Needs::default();
    needs.add("the networks and their checkpoint", 2.0 * store(&agent.table), options(config, of_networks));
    needs
}

/// Policies and environments side by side.
fn evaluation(needs: &mut Needs, config: &Config, agent: &Agent, phase: &str, episodes: usize) {
    let run: RunConfig = config.section();
    if !run.env.is_empty() && episodes > 0 {
        let bytes = side_by_side(agent, episodes);
        needs.add("the episodes of an evaluation", bytes, vec![format!("{phase}.eval_episodes")]);
        let copied = agent.acting_parameters().into_iter().map(|id| 4 * agent.table.param(id).shape.len());
        needs.add("the policy to be evaluated", copied.sum::<usize>() as f64, options(config, of_networks));
    }
}

fn side_by_side(agent: &Agent, episodes: usize) -> f64 {
    // A simulated body with its model.
    const ENVIRONMENT: f64 = 5e5;
    let trace = agent.acting_trace(episodes, Exploration::Greedy, &OnlineConfig::default());
    program(&trace, Select::ALL) + ENVIRONMENT * episodes as f64
}
