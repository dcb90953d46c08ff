//! An agent: a base algorithm, an adaptation, their parameters, and the programs that run on them.

use std::sync::Arc;

use super::{TrainError, memory};
use crate::adapt::{self, Method};
use crate::algo::{self, Adaptation, Dims, Learner, Phase, Plain, Pretraining, Round};
use crate::autodiff::{Clock, GroupId, Noise, ParamTable, Program, Select, Store, Trace, Tracer, Workspace};
use crate::config::{Config, Exploration, OnlineConfig, RunConfig};
use crate::nn::{Acting, Params};
use crate::replay::{self, Layout, Part, Ring, annotate};

/// A learner with an adaptation and their parameters.
pub struct Agent {
    /// the base
    pub learner: Box<dyn Learner>,
    /// what modifies it
    pub adaptation: Box<dyn Adaptation>,
    /// declarations
    pub table: Arc<ParamTable>,
    /// numbers
    pub store: Store,
    /// sizes
    pub dims: Dims,
    /// how many groups of parameters are the learner's; those after them are the adaptation's
    pub base_groups: usize,
    /// what the tensors of its policies mean
    pub meanings: Vec<String>,
    /// (network, target)
    targets: Vec<(GroupId, GroupId)>,
}

impl Agent {
    /// Declares and initialises what the configuration's `run` section names, if it fits into memory.
    pub fn new(config: &Config, dims: Dims) -> Result<Agent, TrainError> {
        let (mut agent, params) = Agent::declare(config, dims)?;
        memory::check_agent(config, &agent)?;
        agent.store = params.fill(&agent.table, config.section::<RunConfig>().seed);
        Ok(agent)
    }

    /// Declarations alone, of any size. They can be traced; the store has no numbers.
    pub fn outline(config: &Config, dims: Dims) -> Result<Agent, TrainError> {
        Agent::declare(config, dims).map(|(agent, _)| agent)
    }

    pub(super) fn declare(config: &Config, dims: Dims) -> Result<(Agent, Params), TrainError> {
        let method = Method::of(config);
        let (base, modifier) = (method.algorithm()?, method.adaptation()?);
        let mut params = Params::default();
        let learner = (base.build)(config, dims, &mut params)?;
        let base_groups = params.groups();
        let adaptation = (modifier.build)(config, dims, learner.as_ref(), &mut params)
            .map_err(|e| e.in_origin(&format!("{} with {}", method.algo, method.adapt)))?;
        let (targets, meanings) = (params.copies().to_vec(), params.meanings().to_vec());
        let (table, store) = (params.table(), Store::zeros(Arc::default()));
        Ok((Agent { learner, adaptation, table, store, dims, base_groups, meanings, targets }, params))
    }

    /// Forgets at the switch what the options of the online phase say: moments, the targets' delay.
    pub fn switch(&mut self, options: &OnlineConfig) {
        if options.reset_optimisers {
            let names: Vec<String> = self.table.groups().iter().map(|g| g.name.clone()).collect();
            for group in names.iter().filter_map(|name| self.table.find_group(name)) {
                self.store.reset_optimiser(group);
            }
        }
        if options.reset_targets {
            for &(network, target) in &self.targets {
                self.store.copy_group(network, target);
            }
        }
    }

    /// Traces one round.
    pub fn trace(&self, phase: &Phase) -> Trace {
        algo::trace(&self.table, self.dims, phase, self.learner.as_ref(), self.adaptation.as_ref())
    }

    /// Traces the model that gives priorities beside the rounds; `None` if the adaptation has none.
    pub fn reprioritisation_trace(&self) -> Option<Trace> {
        adapt::reprioritisation(self.adaptation.as_ref(), &self.table, self.dims)
    }

    /// What must be fitted before the first environment step, in order, each with a round of it.
    pub fn pretraining(&self) -> Vec<(Pretraining<'_>, Trace)> {
        let trace = |fit: &Pretraining<'_>| {
            let t = Tracer::new(self.table.clone());
            let phase = Phase::offline(fit.updates);
            (fit.trace)(&Round::new(&t, self.dims, &phase, self.learner.as_ref(), &Plain));
            t.finish()
        };
        self.adaptation
            .pretrain()
            .into_iter()
            .map(|fit| {
                let trace = trace(&fit);
                (fit, trace)
            })
            .collect()
    }

    /// Traces the mean loss on so many held-out rows as the output `loss`; `None` if the learner has none.
    pub fn validation_trace(&self, rows: usize) -> Option<Trace> {
        let t = Tracer::new(self.table.clone());
        let (dims, phase) = (Dims { batch: rows, ..self.dims }, Phase::offline(1));
        let loss = self.learner.validation(&Round::new(&t, dims, &phase, self.learner.as_ref(), &Plain))?;
        t.output(LOSS, loss);
        Some(t.finish())
    }

    /// Traces acting in `rows` states at once: input `s`, output `action`.
    pub(super) fn acting_trace(&self, rows: usize, how: Exploration, online: &OnlineConfig) -> Trace {
        let t = Tracer::new(self.table.clone());
        let s = t.input(replay::S, rows, self.dims.s);
        let how = match how {
            Exploration::Greedy => Acting::Greedy,
            Exploration::Sample => Acting::Sample,
            Exploration::Noise => {
                Acting::Noise { scale: online.exploration_noise, clip: online.exploration_clip }
            }
        };
        let action = self.adaptation.act(self.learner.as_ref(), s, how);
        t.output(ACTION, action.clamp(-1.0, 1.0));
        t.finish()
    }

    /// A program that acts.
    pub fn actor(&self, rows: usize, how: Exploration, online: &OnlineConfig) -> Actor {
        let program = Program::compile(&self.acting_trace(rows, how, online), Select::ALL);
        let workspace = Workspace::new(&program);
        Actor { program, workspace }
    }

    /// A program that annotates; `None` if the adaptation has no columns.
    pub fn annotator(&self, rows: usize) -> Option<Annotator> {
        let dims = Dims { batch: rows, ..self.dims };
        let trace = adapt::annotation(self.adaptation.as_ref(), &self.table, dims)?;
        let program = Program::compile(&trace, Select::ALL);
        let workspace = Workspace::new(&program);
        let columns = trace.outputs.iter().map(|(name, _)| *name).collect();
        Some(Annotator { program, workspace, columns })
    }
}

const ACTION: &str = "action";
const LOSS: &str = "loss";

/// A compiled policy for a fixed number of states.
pub struct Actor {
    program: Program,
    workspace: Workspace,
}

impl Actor {
    /// Useful floating-point operations of one call.
    pub fn flops(&self) -> u64 {
        self.program.flops()
    }

    /// Actions `[B, A]` in states `[B, S]`, scaled as in training. `position` names the noise.
    pub fn act(&mut self, store: &mut Store, states: &[f32], seed: u64, position: u64) -> &[f32] {
        self.workspace
            .input_mut(&self.program, replay::S)
            .expect("invariant: a policy reads the state")
            .copy_from_slice(states);
        let clock = Clock { round: position, phase_round: 0 };
        self.program.run(&mut self.workspace, store, clock, Noise::Seed(seed));
        self.workspace.output(&self.program, ACTION)
    }
}

/// Compiled annotated columns for a fixed number of rows.
pub struct Annotator {
    program: Program,
    workspace: Workspace,
    columns: Vec<&'static str>,
}

impl Annotator {
    /// Names of the columns, in order.
    pub fn columns(&self) -> &[&'static str] {
        &self.columns
    }

    fn run(&mut self, store: &mut Store) {
        self.program.run(&mut self.workspace, store, Clock::default(), Noise::Seed(0));
    }

    /// Computes the columns of these rows of the ring and writes them there.
    pub fn rows(&mut self, store: &mut Store, ring: &mut Ring, rows: &[u32]) {
        fill(&mut self.workspace, &self.program, ring, rows);
        self.run(store);
        for &name in &self.columns {
            ring.scatter(rows, ring.column(name), self.workspace.output(&self.program, name));
        }
    }

    /// The columns of one transition, for a program of one row.
    pub fn one(&mut self, store: &mut Store, s: &[f32], a: &[f32], out: &mut [f32]) {
        for (name, values) in [(replay::S, s), (replay::A, a)] {
            if let Some(input) = self.workspace.input_mut(&self.program, name) {
                input.copy_from_slice(values);
            }
        }
        self.run(store);
        for (k, name) in self.columns.iter().enumerate() {
            out[k] = self.workspace.output(&self.program, name)[0];
        }
    }

    /// Computes the columns of all offline rows, for a program of [`annotate::BLOCK`] rows.
    pub fn offline(&mut self, store: &mut Store, ring: &mut Ring) {
        let offline: Vec<u32> = ring.offline_rows().map(|i| i as u32).collect();
        self.all(store, ring, &offline);
    }

    /// Computes the columns of any number of rows, for a program of [`annotate::BLOCK`] rows.
    pub fn all(&mut self, store: &mut Store, ring: &mut Ring, all: &[u32]) {
        let mut block = vec![0; annotate::BLOCK];
        for rows in all.chunks(annotate::BLOCK) {
            // A short last block is filled up with its last row; annotating a row twice changes nothing.
            let last = rows[rows.len() - 1];
            block.iter_mut().enumerate().for_each(|(k, r)| *r = *rows.get(k).unwrap_or(&last));
            self.rows(store, ring, &block);
        }
    }
}

/// Columns that are not in rows: the loop knows the origin of a row and how it was drawn.
const BY_LOOP: [&str; 2] = [replay::ONLINE, replay::IMPORTANCE];

/// An error if a trace reads a column that is neither in rows of this layout nor filled by the loop.
pub fn check_columns(trace: &Trace, layout: &Layout) -> Result<(), TrainError> {
    let known = |name| BY_LOOP.contains(&name) || layout.find(name).is_some();
    match trace.inputs.iter().find(|input| !known(input.name)) {
        None => Ok(()),
        Some(input) => {
            let columns: Vec<&str> = layout.columns().map(|(name, _)| name).collect();
            Err(TrainError::Input(format!(
                "the losses read the column `{}`, expected one of {}; the method's column is not part of its replay",
                input.name,
                columns.join(", "),
            )))
        }
    }
}

/// Copies the columns that a program reads from rows of the ring into its inputs, except those that the loop
/// fills. Panics for any other column that the ring lacks, which [`check_columns`] has refused.
pub fn fill(workspace: &mut Workspace, program: &Program, ring: &Ring, rows: &[u32]) {
    // Filled from the front; the rest are empty parts, which copy nothing.
    let mut parts: [Part; MOST_COLUMNS] = std::array::from_fn(|_| Part { offset: 0, len: 0, out: &mut [] });
    let mut free = parts.iter_mut();
    for (name, out) in workspace.inputs_mut(program) {
        let Some(column) = ring.layout().find(name) else {
            assert!(
                BY_LOOP.contains(&name),
                "invariant: rows have the column `{name}`, which the losses read"
            );
            continue;
        };
        *free.next().expect("invariant: a batch has few columns") =
            Part { offset: column.offset, len: column.len, out };
    }
    ring.gather(rows, &mut parts);
}

/// More columns than any record has.
const MOST_COLUMNS: usize = 16;

/// A compiled loss on held-out rows.
pub struct Validation {
    /// rows of a pass, its program and its memory: whole batches, then what is left over
    passes: Vec<(usize, Program, Workspace)>,
    ring: Ring,
}

impl Validation {
    /// For all rows of `ring`, in batches of the agent's size; `None` if the learner has no such loss.
    pub fn new(agent: &Agent, ring: Ring) -> Option<Validation> {
        let whole = agent.dims.batch.min(ring.len());
        let left = ring.len() % whole.max(1);
        let mut passes = Vec::new();
        for rows in [whole, left].into_iter().filter(|rows| *rows > 0) {
            let program = Program::compile(&agent.validation_trace(rows)?, Select::ALL);
            let workspace = Workspace::new(&program);
            passes.push((rows, program, workspace));
        }
        Some(Validation { passes, ring })
    }

    /// Mean loss over all held-out rows.
    pub fn loss(&mut self, store: &mut Store) -> f64 {
        let all: Vec<u32> = (0..self.ring.len() as u32).collect();
        let mut sum = 0.0;
        for rows in all.chunks(self.passes[0].0) {
            let pass = self.passes.iter_mut().find(|(n, ..)| *n == rows.len());
            let (n, program, workspace) = pass.expect("invariant: compiled for whole batches and the rest");
            fill(workspace, program, &self.ring, rows);
            program.run(workspace, store, Clock::default(), Noise::Seed(0));
            sum += f64::from(workspace.output(program, LOSS)[0]) * *n as f64;
        }
        sum / all.len() as f64
    }
}
