//! What an update, an action, a draw and an environment step cost on this machine.

use std::sync::Arc;
use std::time::Instant;

use baq_kernels::philox::fill_uniform;

use super::agent::{Actor, Agent};
use super::annotation;
use super::batches::Batches;
use super::cadence::Roles;
use super::data::Recorded;
use super::error::TrainError;
use super::memory;
use super::peak::time;
pub use super::peak::{Measured, Samples};
use super::reprioritiser::Reprioritiser;
use super::training::recipe;
use crate::adapt::Method;
use crate::algo::{Dims, Phase};
use crate::autodiff::{Clock, Cost, Flow, NoProbe, Noise, Pass, Probe, Program, Select, Trace, Workspace};
use crate::config::{Config, Exploration, OfflineConfig, OnlineConfig};
use crate::replay::pools::{OFFLINE, ONLINE};
use crate::replay::{self, Layout, Pools};
use crate::rng::Stream;

/// Planned length of the phases that are traced; only schedules see it.
const ROUNDS: u64 = 1_000_000;

/// Batches of noise for transitions, sampled as the method wants them.
struct Memory {
    batches: Batches,
    draws: u64,
    masses: Vec<f64>,
}

impl Memory {
    /// `rows` transitions of the agent's sizes. Errors: a buffer or a generator that the adaptation's sampling refuses,
    /// priorities that no tree takes.
    fn new(agent: &mut Agent, config: &Config, rows: usize) -> Result<Memory, TrainError> {
        let mut extra = Recorded::offline(agent.learner.as_ref()).columns(agent.dims.a);
        extra.extend(annotation::columns(agent).into_iter().map(|n| (n, 1)));
        let layout = Layout::transitions(agent.dims.s, agent.dims.a, &extra);
        let columns: Vec<(String, usize)> = layout.columns().map(|(n, c)| (n.to_string(), c.len)).collect();
        let mut pools = Pools::new(layout, &[(OFFLINE, rows), (ONLINE, 0)]);
        let values: Vec<Vec<f32>> = (0u32..)
            .zip(&columns)
            .map(|(k, (name, len))| {
                let mut x = vec![0.0; rows * len];
                fill_uniform(0, k, 0, &mut x);
                match name.as_str() {
                    replay::M => x.fill(1.0),
                    replay::S | replay::A | replay::S2 => x.iter_mut().for_each(|x| *x = 2.0 * *x - 1.0),
                    _ => {}
                }
                x
            })
            .collect();
        let columns: Vec<(&str, &[f32])> =
            columns.iter().zip(&values).map(|((name, _), x)| (name.as_str(), &x[..])).collect();
        pools.load(OFFLINE, rows, &columns)?;
        // Without an adaptation the rounds are those of training on data, whatever the buffer of a phase online is.
        let batches = if Method::of(config).is_plain() {
            Batches::uniform(pools, (0, Stream::Batch), agent.dims.batch)
        } else {
            let recipe = recipe(&config.section(), agent)?;
            Batches::adapted(agent, pools, recipe, (0, ROUNDS), None)?
        };
        let masses = vec![1.0; agent.dims.batch];
        Ok(Memory { batches: batches.with_neighbours(agent), draws: 0, masses })
    }

    /// Draws the rows of the next batch, and looks for their neighbours where the policy has its turn and wants them.
    pub fn draw(&mut self, agent: &mut Agent, actor: bool) {
        // From networks that diverge on noise priorities may be NaN, which no tree takes: then its work is missing.
        let _ = self.batches.draw(agent, self.draws, self.draws);
        if actor {
            self.batches.seek(agent);
        }
        self.draws += 1;
    }

    /// Copies the rows drawn last to the inputs of a program.
    pub fn gather(&self, workspace: &mut Workspace, program: &Program) {
        self.batches.fill(workspace, program);
    }

    /// Makes up the next priorities. In stratified draws a row comes back at the same place, and with the priority that it has
    /// already a tree would have nothing to do.
    pub fn reweigh(&mut self) {
        for (k, mass) in (self.draws..).zip(&mut self.masses) {
            *mass = 1.0 + (k % 97) as f64 * 0.01;
        }
    }

    /// Gives them to the rows drawn last; without a tree nothing happens.
    pub fn reprioritise(&mut self) {
        if self.batches.tree().is_some() {
            self.batches.reprioritise(&self.masses).expect("invariant: they are numbers");
        }
    }
}

/// One method's rounds, on noise for data. Where the policy has its turn in every k-th only, so it is here.
pub struct Round {
    agent: Agent,
    memory: Memory,
    trace: Arc<Trace>,
    /// with all roles, and without the policy where such rounds occur
    programs: Vec<(Program, Workspace)>,
    /// the model that gives priorities beside the rounds, and its useful floating-point operations
    beside: Option<(Reprioritiser, u64)>,
    round: u64,
}

/// Times every step.
struct Stopwatch<'a> {
    least: &'a mut [f64],
    last: Instant,
}

impl Probe for Stopwatch<'_> {
    fn step(&mut self, index: usize) {
        let now = Instant::now();
        self.least[index] = self.least[index].min((now - self.last).as_secs_f64());
        self.last = now;
    }
}

impl Round {
    /// Compiles the round of the configuration's method for states of `s` and actions of `a` numbers: the
    /// offline one without an adaptation, the online one with it. Batches come from `rows` transitions. Errors: no
    /// `rows`, more than fit into memory; those of [`Agent::new`]; a buffer or a generator that the sampling refuses.
    pub fn new(config: &Config, (s, a): (usize, usize), rows: usize) -> Result<Round, TrainError> {
        if rows == 0 {
            return Err(TrainError::Input(
                "transitions of a measurement: expected one or more, got 0".into(),
            ));
        }
        let (offline, online): (OfflineConfig, OnlineConfig) = (config.section(), config.section());
        let (phase, batch) = if Method::of(config).is_plain() {
            (Phase::offline(ROUNDS), offline.batch)
        } else {
            let actor_lr = online.actor_lr;
            let phase = Phase { online: true, before: ROUNDS, actor_lr, ..Phase::offline(ROUNDS) };
            (phase, online.rows())
        };
        let dims = Dims { s, a, batch };
        memory::check_bench(config, dims, &phase, rows)?;
        let mut agent = Agent::new(config, dims)?;
        let memory = Memory::new(&mut agent, config, rows)?;
        let trace = Arc::new(agent.trace(&phase));
        let compile = |roles: &Roles| {
            let select = Select { critic: roles.critic, actor: roles.actor, metrics: false };
            let program = Program::compile(&trace, select);
            let workspace = Workspace::new(&program);
            (program, workspace)
        };
        let programs = Roles::of_delay(agent.learner.delay()).iter().map(compile).collect();
        let flops = |trace: Trace| Program::compile(&trace, Select::WITHOUT_METRICS).flops();
        let flops = agent.reprioritisation_trace().map(flops);
        let beside = Reprioritiser::new(&agent, 0, rows, None)?.zip(flops);
        let mut this = Round { agent, memory, trace, programs, beside, round: 0 };
        this.sample();
        Ok(this)
    }

    /// Which program the next round runs.
    fn turn(&self) -> usize {
        usize::from(!Roles::delayed(self.round, self.agent.learner.delay()).actor)
    }

    /// Rounds after which they repeat themselves.
    pub fn cycle(&self) -> usize {
        self.agent.learner.delay().every as usize
    }

    /// Draws a batch and brings it to the next round's program.
    pub fn sample(&mut self) {
        let turn = self.turn();
        let (program, workspace) = &mut self.programs[turn];
        self.memory.draw(&mut self.agent, turn == 0);
        self.memory.gather(workspace, program);
    }

    /// The next round on the present batch, and what gives its rows new priorities, if the method has a model for that.
    pub fn run(&mut self) {
        let clock = self.clock();
        let _ = self.run_with(&mut NoProbe);
        if let Some((beside, _)) = &mut self.beside {
            let (store, batches) = (&mut self.agent.store, &mut self.memory.batches);
            // The same.
            let _ = beside.round(store, batches, clock, false, &mut NoProbe);
        }
    }

    fn clock(&self) -> Clock {
        Clock { round: self.round, phase_round: self.round }
    }

    /// The next round, without a model of priorities, while a probe looks on.
    pub fn run_with<P: Probe>(&mut self, probe: &mut P) -> Flow {
        let (turn, clock) = (self.turn(), self.clock());
        let (program, workspace) = &mut self.programs[turn];
        let pass = Pass { clock, noise: Noise::Seed(0), rows: self.memory.batches.rows() };
        self.round += 1;
        program.run_with(workspace, &mut self.agent.store, pass, probe)
    }

    /// What is compiled.
    pub fn trace(&self) -> &Arc<Trace> {
        &self.trace
    }

    /// The program with all roles.
    pub fn program(&self) -> &Program {
        &self.programs[0].0
    }

    /// Whether a model beside the rounds gives priorities.
    pub fn reprioritises(&self) -> bool {
        self.beside.is_some()
    }

    /// Useful floating-point operations of [`Round::run`]; the mean over a cycle.
    pub fn flops(&self) -> u64 {
        let rest = self.programs.last().expect("invariant: at least one").0.flops();
        let cycle = self.cycle() as u64;
        let beside = self.beside.as_ref().map_or(0, |(_, flops)| *flops);
        (self.program().flops() + (cycle - 1) * rest) / cycle + beside
    }

    /// Rows of a batch.
    pub fn batch(&self) -> usize {
        self.agent.dims.batch
    }

    /// Seconds of every step of a round with all roles, without a model of priorities, the least of several passes in about
    /// so many seconds.
    pub fn profile(&mut self, seconds: f64) -> Vec<(Cost, f64)> {
        let costs = self.program().costs();
        let mut least = vec![f64::INFINITY; costs.len()];
        let begin = Instant::now();
        while begin.elapsed().as_secs_f64() < seconds || least[0] == f64::INFINITY {
            while self.turn() > 0 {
                self.run();
            }
            self.sample();
            let _ = self.run_with(&mut Stopwatch { least: &mut least, last: Instant::now() });
        }
        costs.into_iter().zip(least).collect()
    }

    /// Sampling (seconds, the mean of a cycle) and updating, for about so many seconds.
    pub fn measure(&mut self, seconds: f64) -> (Samples, Measured) {
        let mut sampling = Samples::default();
        let (flops, cycle) = (self.flops(), self.cycle());
        let this = std::cell::RefCell::new(self);
        let (mut sum, mut samples) = (0.0, 0);
        let prepare = || {
            sum += time(|| this.borrow_mut().sample());
            samples += 1;
            if samples == cycle {
                sampling.push(sum / cycle as f64);
                (sum, samples) = (0.0, 0);
            }
        };
        let measured = Measured::new(flops, cycle, seconds, prepare, || this.borrow_mut().run());
        (sampling, measured)
    }
}

/// A policy that acts in one state at a time.
pub struct Acting {
    agent: Agent,
    actor: Actor,
    state: Vec<f32>,
    position: u64,
}

impl Acting {
    /// The policy of the configuration's method. Errors: those of [`Agent::new`].
    pub fn new(config: &Config, (s, a): (usize, usize)) -> Result<Acting, TrainError> {
        let options: OnlineConfig = config.section();
        let agent = Agent::new(config, Dims { s, a, batch: 1 })?;
        let actor = agent.actor(1, Exploration::Sample, &options);
        Ok(Acting { actor, agent, state: vec![0.5; s], position: 0 })
    }

    /// One action.
    pub fn act(&mut self) {
        self.state[0] = (self.position % 7) as f32 * 0.1;
        let action = self.actor.act(&mut self.agent.store, &self.state, 0, self.position);
        std::hint::black_box(action);
        self.position += 1;
    }

    /// Actions for about so many seconds.
    pub fn measure(&mut self, seconds: f64) -> Measured {
        Measured::new(self.actor.flops(), 1, seconds, || {}, || self.act())
    }
}

/// What drawing, gathering and reweighting cost, in seconds per batch.
#[derive(Clone, Debug, Default)]
pub struct ReplayCost {
    /// choosing the rows, with the search for their neighbours and new annotations where the method has them
    pub draw: Samples,
    /// bringing them to dense columns
    pub gather: Samples,
    /// both
    pub sample: Samples,
    /// new priorities for them
    pub reprioritise: Samples,
    /// allocations of all of it; `None` where nobody counts
    pub allocations: Option<u64>,
}

/// Draws batches of a method from `rows` transitions for about so many seconds. Errors: those of [`Round::new`].
pub fn replay(
    config: &Config,
    dims: (usize, usize),
    rows: usize,
    seconds: f64,
) -> Result<ReplayCost, TrainError> {
    let mut round = Round::new(config, dims, rows)?;
    let mut cost = ReplayCost::default();
    // As many as will be measured, so that the lists do not grow between the counts.
    for list in [&mut cost.draw, &mut cost.gather, &mut cost.sample, &mut cost.reprioritise] {
        list.0.reserve(1 << 20);
    }
    let before = baq_kernels::allocations();
    let begin = Instant::now();
    while (begin.elapsed().as_secs_f64() < seconds || cost.draw.0.is_empty()) && cost.draw.0.len() < 1 << 20 {
        let draw = time(|| round.memory.draw(&mut round.agent, true));
        let (program, workspace) = &mut round.programs[0];
        let gather = time(|| round.memory.gather(workspace, program));
        cost.draw.push(draw);
        cost.gather.push(gather);
        cost.sample.push(draw + gather);
        round.memory.reweigh();
        cost.reprioritise.push(time(|| round.memory.reprioritise()));
    }
    cost.allocations = before.zip(baq_kernels::allocations()).map(|(before, after)| after - before);
    Ok(cost)
}

#[cfg(test)]
mod tests;
