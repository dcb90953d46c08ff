//! Refreshes of a generator: its rounds, between the environment steps that they precede and the rounds of these.
//!
//! A refresh is due in the first step that learns after every so many steps, and is a list of rounds like any other work: it
//! may be interrupted after each, and what is left follows from the counters. Rows, batches and noise of a round are functions
//! of (seed, its number).
//!
//! Probes are not told of these rounds, whose clock is no one else's. What they come to shows in the losses of the rounds that
//! read generated rows, and in the checkpoint, which has the networks, the rows and their scales.

use super::agent::Agent;
use super::batches::{Batches, mark_online};
use super::cadence::Roles;
use super::counters::Counters;
use super::error::TrainError;
use super::gather::gather;
use super::generated::Scales;
use super::rounds::Rounds;
use crate::adapt::generator::{Generator, Rows, Stage, Task};
use crate::autodiff::{Clock, GroupId, Metric, Noise, Program, Select, Store, Trace, Workspace};
use crate::config::OnlineConfig;
use crate::nn::diffusion::{ADDED, AVERAGED_EVERY, Drawing, KNOWN, Level, NEXT, SIGMA, X};
use crate::replay::{self, Draw, Pools, Recipe};
use crate::rng::{Stream, derive};

/// When a generator is refreshed.
pub struct Refreshes {
    every: u64,
    idle: u64,
    at_start: bool,
}

impl Refreshes {
    /// Of this one in a phase with these options.
    pub fn new(generator: &dyn Generator, options: &OnlineConfig) -> Refreshes {
        Refreshes { every: generator.every(), idle: options.idle_steps(), at_start: generator.at_start() }
    }

    /// How many there have been before the rounds of this environment step.
    pub fn before(&self, step: u64) -> u64 {
        let whole = |steps: u64| steps.saturating_sub(1) / self.every;
        if step <= self.idle {
            return 0;
        }
        // The first step that learns may be one of the whole ones too.
        let first = self.idle + 1;
        u64::from(self.at_start).max(whole(first) - whole(self.idle)) + whole(step) - whole(first)
    }
}

/// A generator at work.
pub struct Generation {
    refreshes: Refreshes,
    seed: u64,
    rows: Rows,
    stages: Vec<(u64, Work)>,
    anew: Vec<GroupId>,
    /// of one refresh
    rounds: u64,
    /// what rows are normalised by, from the beginning of the last refresh on
    scales: Option<Scales>,
    record: Vec<f32>,
}

enum Work {
    Learn(Box<Learning>),
    Contrast(Box<Contrast>),
    Draw(&'static str, Box<Drawer>),
}

impl Generation {
    /// Compiles the agent's generator; `None` without one. `scales` are those that were saved.
    pub fn new(
        agent: &Agent,
        options: &OnlineConfig,
        seed: u64,
        pools: &Pools,
        scales: Option<Scales>,
    ) -> Option<Generation> {
        let generator = agent.generator.as_ref()?;
        let of = |stage: Stage| match stage.task {
            Task::Learn { trace, rows } => {
                let learning = Learning::new(*trace, rows, seed);
                (stage.rounds, Work::Learn(Box::new(learning)))
            }
            Task::Contrast { trace, rows, given, drawing } => {
                let learning = Learning::new(*trace, rows, seed);
                (stage.rounds, Work::Contrast(Box::new(Contrast::new(learning, &given, &drawing))))
            }
            Task::Draw { pool, drawing } => (stage.rounds, Work::Draw(pool, Box::new(Drawer::new(&drawing)))),
        };
        let stages: Vec<_> = agent.refresh().into_iter().map(of).collect();
        Some(Generation {
            refreshes: Refreshes::new(generator.as_ref(), options),
            anew: generator.anew(),
            seed: derive(seed, Stream::Generator),
            rows: generator.rows(),
            rounds: stages.iter().map(|(rounds, _)| rounds).sum(),
            stages,
            scales,
            record: vec![0.0; pools.layout().width()],
        })
    }

    /// Rounds that are still to be made before the rounds of the last environment step.
    pub fn due(&self, counters: &Counters) -> u64 {
        let refreshes = self.refreshes.before(counters.env_step);
        (refreshes * self.rounds).saturating_sub(counters.generator_rounds)
    }

    /// Whether it stands within a refresh without what rows were normalised by at its beginning.
    pub fn lacks_scales(&self, counters: &Counters) -> bool {
        self.scales.is_none() && counters.generator_rounds.checked_rem(self.rounds).is_some_and(|at| at > 0)
    }

    /// One round, number `done` of all, counted from 0.
    ///
    /// # Errors
    /// Rows that are no numbers.
    pub fn round(&mut self, agent: &mut Agent, batches: &mut Batches, done: u64) -> Result<(), TrainError> {
        let mut at = done % self.rounds;
        if at == 0 {
            self.scales = Some(Scales::of(batches.pools()));
            agent.beginnings.begin(&mut agent.store, &self.anew, self.seed.wrapping_add(done));
        }
        let scales = self.scales.as_ref().expect("invariant: a refresh begins with its scales");
        let noise = Noise::Seed(self.seed.wrapping_add(done));
        for (rounds, work) in &mut self.stages {
            if at >= *rounds {
                at -= *rounds;
                continue;
            }
            match work {
                Work::Learn(learning) => {
                    let roles =
                        if (at + 1).is_multiple_of(AVERAGED_EVERY) { Roles::BOTH } else { Roles::CRITIC };
                    learning.fill(batches.pools(), scales, Some(roles), done);
                    let (program, workspace) = learning.rounds.pick(roles, false);
                    let clock = Clock { round: 0, phase_round: at };
                    program.run(workspace, &mut agent.store, clock, noise);
                }
                Work::Contrast(contrast) => {
                    contrast.round(&mut agent.store, batches.pools(), scales, (at, done), noise);
                }
                Work::Draw(pool, drawer) => {
                    drawer.scale(scales);
                    drawer.run(&mut agent.store, noise);
                    let left = batches.pools().pool(pool).capacity() - at as usize * drawer.rows;
                    drawer.put(agent, batches, (pool, left), &mut self.record)?;
                }
            }
            return Ok(());
        }
        unreachable!("invariant: a refresh has as many rounds as its stages")
    }

    /// What rows are normalised by, once there has been a refresh.
    pub fn scales(&self) -> Option<&Scales> {
        self.scales.as_ref()
    }

    /// What its rows are like.
    pub fn rows(&self) -> Rows {
        self.rows
    }

    fn learnings(&self) -> impl Iterator<Item = &Learning> {
        self.stages.iter().filter_map(|(_, work)| match work {
            Work::Learn(learning) => Some(&**learning),
            Work::Contrast(_) | Work::Draw(..) => None,
        })
    }

    /// Metrics that it reports.
    pub fn metrics(&self) -> impl Iterator<Item = &'static Metric> {
        self.learnings().flat_map(|learning| learning.rounds.metrics())
    }

    /// Their values as the networks stand after `done` rounds, on batches as its next round would see them; none before the
    /// first refresh.
    pub fn values(&mut self, store: &mut Store, pools: &Pools, done: u64) -> Vec<(&'static Metric, f64)> {
        let (Some(scales), noise) = (&self.scales, Noise::Seed(self.seed.wrapping_add(done))) else {
            return Vec::new();
        };
        let mut values = Vec::new();
        for (_, work) in &mut self.stages {
            if let Work::Learn(learning) = work {
                learning.fill(pools, scales, None, done);
                let (program, workspace) = learning.rounds.observer();
                program.run(workspace, store, Clock::default(), noise);
                values.extend(learning.rounds.observed());
            }
        }
        values
    }
}

/// Rounds of learning on rows of the replay.
struct Learning {
    rounds: Rounds,
    recipe: Recipe,
    seed: u64,
    rows: Vec<u32>,
    weights: Vec<f32>,
}

impl Learning {
    fn new(trace: Trace, parts: Vec<(replay::Source, usize)>, seed: u64) -> Learning {
        let batch = parts.iter().map(|(_, n)| n).sum();
        Learning {
            rounds: Rounds::new(trace, &[Roles::BOTH, Roles::CRITIC]),
            recipe: Recipe::Parts(parts),
            seed,
            rows: vec![0; batch],
            weights: vec![0.0; batch],
        }
    }

    /// Brings the batch of round `done` to the program of these roles, or to the one that only measures.
    fn fill(&mut self, pools: &Pools, scales: &Scales, roles: Option<Roles>, done: u64) {
        let draw = Draw { seed: self.seed, stream: Stream::GeneratorBatch as u32, update: done };
        self.recipe.compose(draw, pools, None, 0.0, &mut self.rows, &mut self.weights);
        let (program, workspace) = match roles {
            Some(roles) => self.rounds.pick(roles, false),
            None => self.rounds.observer(),
        };
        gather(workspace, program, pools, &self.rows);
        mark_online(workspace, program, pools, &self.rows);
        scales.fill(workspace, program);
    }
}

/// Rounds of learning on rows of the replay beside rows that are drawn for them.
struct Contrast {
    learning: Learning,
    /// what the draws are given of the batch
    given: (Program, Workspace),
    drawer: Drawer,
}

impl Contrast {
    fn new(learning: Learning, given: &Trace, drawing: &Drawing) -> Contrast {
        let given = Program::compile(given, Select::ALL);
        let workspace = Workspace::new(&given);
        Contrast { learning, given: (given, workspace), drawer: Drawer::new(drawing) }
    }

    fn round(
        &mut self,
        store: &mut Store,
        pools: &Pools,
        scales: &Scales,
        (at, done): (u64, u64),
        noise: Noise<'_>,
    ) {
        let Contrast { learning, given: (given, workspace), drawer } = self;
        learning.fill(pools, scales, Some(Roles::CRITIC), done);
        if given.outputs().any(|name| name == KNOWN) {
            gather(workspace, given, pools, &learning.rows);
            scales.fill(workspace, given);
            given.run(workspace, store, Clock::default(), noise);
            drawer.set(KNOWN, workspace.output(given, KNOWN));
        }
        drawer.run(store, noise);
        let (program, workspace) = learning.rounds.pick(Roles::CRITIC, false);
        let negatives = workspace.input_mut(program, replay::NEGATIVES);
        negatives.expect("invariant: it reads what is drawn").copy_from_slice(drawer.output(X));
        // Beyond the places of the draws' noise.
        let clock = Clock { round: 1 << 32, phase_round: at };
        program.run(workspace, store, clock, noise);
    }
}

/// The compiled programs of a sampler.
pub struct Drawer {
    programs: [(Program, Workspace); 3],
    levels: Vec<Level>,
    rows: usize,
    x: Vec<f32>,
}

impl Drawer {
    /// Compiles them.
    pub fn new(drawing: &Drawing) -> Drawer {
        let compile = |trace: &Trace| {
            let program = Program::compile(trace, Select::ALL);
            let workspace = Workspace::new(&program);
            (program, workspace)
        };
        let numbers = drawing.begin.graph.nodes().last().map_or(0, |node| node.shape.len());
        Drawer {
            programs: [&drawing.begin, &drawing.step, &drawing.last].map(compile),
            levels: drawing.levels.clone(),
            rows: drawing.rows,
            x: vec![0.0; numbers],
        }
    }

    /// Sets an input of all programs that have it.
    pub fn set(&mut self, name: &str, values: &[f32]) {
        for (program, workspace) in &mut self.programs {
            if let Some(input) = workspace.input_mut(program, name) {
                input.copy_from_slice(values);
            }
        }
    }

    fn scale(&mut self, scales: &Scales) {
        self.programs.iter_mut().for_each(|(program, workspace)| scales.fill(workspace, program));
    }

    /// Draws all rows.
    pub fn run(&mut self, store: &mut Store, noise: Noise<'_>) {
        let [begin, step, last] = &mut self.programs;
        let (program, workspace) = begin;
        program.run(workspace, store, Clock::default(), noise);
        self.x.copy_from_slice(workspace.output(program, X));
        let steps = self.levels.len();
        for (i, level) in self.levels.iter().enumerate() {
            let (program, workspace) = if i + 1 < steps { &mut *step } else { &mut *last };
            let numbers = [(SIGMA, level.sigma), (NEXT, level.next), (ADDED, level.added)];
            for (name, number) in numbers {
                if let Some(input) = workspace.input_mut(program, name) {
                    input.fill(number as f32);
                }
            }
            if let Some(input) = workspace.input_mut(program, X) {
                input.copy_from_slice(&self.x);
            }
            let clock = Clock { round: i as u64 + 1, phase_round: 0 };
            program.run(workspace, store, clock, noise);
            if i + 1 < steps {
                self.x.copy_from_slice(workspace.output(program, X));
            }
        }
    }

    /// Puts at most `left` of the rows that were drawn into a pool.
    fn put(
        &self,
        agent: &mut Agent,
        batches: &mut Batches,
        (pool, left): (&'static str, usize),
        record: &mut [f32],
    ) -> Result<(), TrainError> {
        for row in 0..left.min(self.rows) {
            record.fill(0.0);
            let layout = batches.pools().layout();
            if let Some(column) = layout.find(replay::RETURN_TO_GO) {
                // The value that changes nothing, as in a row whose episode has not ended.
                record[column.offset] = f32::NEG_INFINITY;
            }
            for name in [replay::S, replay::A, replay::R, replay::M, replay::S2] {
                let column = layout.column(name);
                let values = &self.output(name)[row * column.len..][..column.len];
                if let Some(x) = values.iter().find(|x| !x.is_finite()) {
                    return Err(TrainError::Generated { column: name, value: f64::from(*x) });
                }
                record[column.offset..][..column.len].copy_from_slice(values);
            }
            batches.push_generated(agent, pool, record);
        }
        Ok(())
    }

    /// What the last step has put out.
    pub fn output(&self, name: &str) -> &[f32] {
        let (program, workspace) = &self.programs[2];
        workspace.output(program, name)
    }

    /// Useful floating-point operations of a step that is not the last.
    pub fn step_flops(&self) -> u64 {
        self.programs[1].0.flops()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_is_due_once_in_a_step() {
        let at_start =
            [(50, 0), (50, 49), (50, 50), (50, 51), (1, 7)].map(|(every, idle)| (every, idle, true, 1));
        let later = [(50, 50, false, 1), (50, 49, false, 0), (50, 0, false, 0)];
        for (every, idle, at_start, first) in at_start.into_iter().chain(later) {
            let refreshes = Refreshes { every, idle, at_start };
            let what = format!("every {every}, idle {idle}, at the start {at_start}");
            assert_eq!((refreshes.before(idle), refreshes.before(idle + 1)), (0, first), "{what}");
            for step in idle + 1..idle + 300 {
                let more = refreshes.before(step + 1) - refreshes.before(step);
                assert_eq!(more, u64::from(step % every == 0), "{what}, step {}", step + 1);
            }
        }
    }
}
