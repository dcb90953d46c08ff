//! An agent: a base algorithm, an adaptation, their parameters, and the programs that run on them.

use std::collections::BTreeSet;
use std::sync::Arc;

use baq_kernels::Kernels;

use super::error::TrainError;
use super::needs;
use crate::adapt::generator::{Stage, Under};
use crate::adapt::{self, Generator, Method};
use crate::algo::{self, Adaptation, Dims, Learner, Phase, Plain, Pretraining, Round};
use crate::autodiff::{
    Clock, GroupId, Noise, Op, ParamId, ParamTable, Program, Select, Store, Trace, Tracer, Workspace,
};
use crate::config::{Config, Exploration, OnlineConfig, RunConfig};
use crate::nn::{Acting, Beginnings, Params};
use crate::replay;

/// A learner with an adaptation and their parameters.
pub struct Agent {
    /// the base
    pub learner: Box<dyn Learner>,
    /// what modifies it
    pub adaptation: Box<dyn Adaptation>,
    /// what makes up transitions, if anything does
    pub generator: Option<Box<dyn Generator>>,
    /// declarations
    pub table: Arc<ParamTable>,
    /// numbers
    pub store: Store,
    /// sizes
    pub dims: Dims,
    /// how many groups of parameters are the learner's; those after them are the adaptation's
    pub base_groups: usize,
    /// how many are theirs together; those after them are the generator's
    pub own_groups: usize,
    /// how all groups begin
    pub beginnings: Beginnings,
    /// what the tensors of its policies mean
    pub meanings: Vec<String>,
    /// (network, target)
    targets: Vec<(GroupId, GroupId)>,
}

impl Agent {
    /// Declares and initialises what the configuration's `run` section names, if it fits into memory. Errors: names of
    /// the method that are not known, parts or options that refuse each other, networks larger than the free memory.
    pub fn new(config: &Config, dims: Dims) -> Result<Agent, TrainError> {
        let (mut agent, params) = Agent::declare(config, dims)?;
        needs::check_networks(config, &agent.table)?;
        agent.store = params.fill(&agent.table, config.section::<RunConfig>().seed);
        Ok(agent)
    }

    /// Declarations alone, of any size. They can be traced; the store has no numbers. Errors: those of [`Agent::new`]
    /// but for memory.
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
        let own_groups = params.groups();
        let generator = (method.generator()?)
            .map(|entry| (entry.build)(config, dims, &mut params))
            .transpose()
            .map_err(|e| e.in_origin(&method.generator))?;
        let (targets, meanings) = (params.copies().to_vec(), params.meanings().to_vec());
        let (table, store) = (params.table(), Store::zeros(Arc::default()));
        let beginnings = params.beginnings();
        let agent = Agent {
            learner,
            adaptation,
            generator,
            table,
            store,
            dims,
            base_groups,
            own_groups,
            beginnings,
            meanings,
            targets,
        };
        Ok((agent, params))
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

    /// The stages of a refresh of the generator; none without one.
    pub fn refresh(&self) -> Vec<Stage> {
        let (learner, adaptation) = (self.learner.as_ref(), self.adaptation.as_ref());
        let under = Under { table: &self.table, learner, adaptation };
        self.generator.as_ref().map_or_else(Vec::new, |generator| generator.stages(&under))
    }

    /// Traces the model that gives priorities beside the rounds; `None` if the adaptation has none.
    pub fn reprioritisation_trace(&self) -> Option<Trace> {
        adapt::reprioritisation(self.adaptation.as_ref(), &self.table, self.dims)
    }

    /// What the learner needs fitted before its first round, then what the adaptation needs before the first environment
    /// step or round.
    pub fn fits(&self) -> Vec<Pretraining<'_>> {
        self.learner.pretrain().into_iter().chain(self.adaptation.pretrain()).collect()
    }

    /// Rounds, and the trace of one, of what has this name in [`Agent::fits`].
    pub fn pretraining_of(&self, name: &str) -> (u64, Trace) {
        let found = self.pretraining().into_iter().find(|(fit, _)| fit.name == name);
        let (fit, trace) = found.expect("invariant: a plan names what there is");
        (fit.updates, trace)
    }

    /// All of [`Agent::fits`], each with a round of it.
    pub fn pretraining(&self) -> Vec<(Pretraining<'_>, Trace)> {
        let trace = |fit: &Pretraining<'_>| {
            let t = Tracer::new(self.table.clone());
            let phase = Phase::offline(fit.updates);
            let dims = Dims { batch: fit.to.rows(self.dims.batch), ..self.dims };
            (fit.trace)(&Round::new(&t, dims, &phase, self.learner.as_ref(), &Plain));
            t.finish()
        };
        self.fits()
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
    pub fn acting_trace(&self, rows: usize, how: Exploration, online: &OnlineConfig) -> Trace {
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

    /// The parameters that acting reads, whatever the way of exploring.
    pub fn acting_parameters(&self) -> Vec<ParamId> {
        let (mut read, online) = (BTreeSet::new(), OnlineConfig::default());
        for how in [Exploration::Greedy, Exploration::Sample, Exploration::Noise] {
            let trace = self.acting_trace(1, how, &online);
            read.extend(trace.graph.nodes().iter().filter_map(|node| match node.op {
                Op::Param { id, .. } => Some(id.index()),
                _ => None,
            }));
        }
        self.table.ids().filter(|id| read.contains(&id.index())).collect()
    }

    /// A program that acts.
    pub fn actor(&self, rows: usize, how: Exploration, online: &OnlineConfig) -> Actor {
        self.actor_on(baq_kernels::active(), rows, how, online)
    }

    /// The same on chosen kernels, whatever those of the process are: its bits depend on them alone.
    pub fn actor_on(
        &self,
        kernels: &'static Kernels,
        rows: usize,
        how: Exploration,
        online: &OnlineConfig,
    ) -> Actor {
        let program = Program::compile(&self.acting_trace(rows, how, online), Select::ALL);
        let workspace = Workspace::with_kernels(&program, kernels);
        Actor { program, workspace }
    }
}

const ACTION: &str = "action";
/// Name of the output of [`Agent::validation_trace`].
pub const LOSS: &str = "loss";

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
