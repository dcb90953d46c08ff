//! One round while it is traced: the batch, the phase it belongs to, and what modifies it.

use std::sync::Arc;

use super::{Adaptation, Learner, Phase};
use crate::autodiff::{GroupId, Metric, NoiseKind, ParamTable, Role, Schedule, Shape, Trace, Tracer, Var};
use crate::config::AdamConfig;
use crate::nn::Acting;
use crate::replay;

/// Sizes that a trace depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    /// S, state dimension
    pub s: usize,
    /// A, action dimension
    pub a: usize,
    /// B, rows of a batch
    pub batch: usize,
}

impl Dims {
    /// (S, A)
    pub fn sa(self) -> (usize, usize) {
        (self.s, self.a)
    }
}

/// The round of [`CRITIC`] updates is everything that is not a policy's.
pub const CRITIC: Role = Role::Critic;
/// The role of policies and temperatures.
pub const ACTOR: Role = Role::Actor;

/// What a loss is written on: the columns of a batch, and the round that learns from it. Formulas call it `b`.
#[derive(Clone, Copy)]
pub struct Round<'t> {
    /// state `[B, S]`
    pub s: Var<'t>,
    /// action `[B, A]`
    pub a: Var<'t>,
    /// scaled reward `[B, 1]`
    pub r: Var<'t>,
    /// 1 - terminated `[B, 1]`; a time limit bootstraps
    pub m: Var<'t>,
    /// next state `[B, S]`
    pub s2: Var<'t>,
    /// 1 where the transition was collected online `[B, 1]`; only in the online phase
    pub online: Option<Var<'t>>,
    t: &'t Tracer,
    dims: Dims,
    phase: &'t Phase,
    learner: &'t dyn Learner,
    adaptation: &'t dyn Adaptation,
}

impl<'t> Round<'t> {
    /// A round of `learner` under `adaptation` on a batch of these sizes.
    pub fn new(
        t: &'t Tracer,
        dims: Dims,
        phase: &'t Phase,
        learner: &'t dyn Learner,
        adaptation: &'t dyn Adaptation,
    ) -> Round<'t> {
        let column = |name, cols| t.input(name, dims.batch, cols);
        Round {
            s: column(replay::S, dims.s),
            a: column(replay::A, dims.a),
            r: column(replay::R, 1),
            m: column(replay::M, 1),
            s2: column(replay::S2, dims.s).named("s'"),
            online: phase.online.then(|| column(replay::ONLINE, 1)),
            t,
            dims,
            phase,
            learner,
            adaptation,
        }
    }

    /// Sizes.
    pub fn dims(&self) -> Dims {
        self.dims
    }

    /// The phase that it belongs to.
    pub fn phase(&self) -> &'t Phase {
        self.phase
    }

    /// The base algorithm.
    pub fn learner(&self) -> &'t dyn Learner {
        self.learner
    }

    /// An annotated column `[B, 1]`.
    pub fn column(&self, name: &'static str) -> Var<'t> {
        self.t.input(name, self.dims.batch, 1)
    }

    /// A number that may follow a schedule over the rounds of the phase.
    pub fn hyper(&self, name: &str, schedule: &Schedule) -> Var<'t> {
        self.t.hyper(name, &schedule.over(self.phase.rounds))
    }

    /// Fresh random numbers; every call is a stream of its own.
    pub fn noise(&self, name: &str, kind: NoiseKind, shape: Shape) -> Var<'t> {
        self.t.noise(name, kind, shape)
    }

    /// Reports a scalar whenever metrics are asked for.
    pub fn metric(&self, metric: &'static Metric, value: Var<'t>) {
        self.t.metric(metric, value);
    }

    /// One Adam step of a group on a loss; all else that the loss reads is a constant. The learning rate follows its
    /// schedule over the phase, that of the actor's role by the rule for policies at the switch.
    pub fn train(
        &self,
        name: &'static str,
        role: Role,
        group: GroupId,
        optimiser: &AdamConfig,
        loss: Var<'t>,
    ) {
        self.t.train(name, role, group, &self.phase.adam(role, optimiser), loss);
    }

    /// target ← (1-ρ) target + ρ source
    pub fn polyak(&self, role: Role, source: GroupId, target: GroupId, name: &str, rate: &Schedule) {
        self.t.polyak(role, source, target, name, &rate.over(self.phase.rounds));
    }

    /// The action `[B, A]` that an evaluation would take in s.
    pub fn greedy(&self) -> Var<'t> {
        self.adaptation.act(self.learner, self.s, Acting::Greedy)
    }

    /// See [`Adaptation::weight`].
    pub fn weight(&self, q: Var<'t>) -> Option<Var<'t>> {
        self.adaptation.weight(self, q)
    }

    /// See [`Adaptation::weights`].
    pub fn weights(&self, q: Var<'t>) -> (Option<Var<'t>>, Option<Var<'t>>) {
        self.adaptation.weights(self, q)
    }

    /// See [`Adaptation::perturb`].
    pub fn perturb(&self, a: Var<'t>) -> Var<'t> {
        self.adaptation.perturb(self, a)
    }

    /// See [`Adaptation::imitate`].
    pub fn imitate(&self) -> Option<Var<'t>> {
        self.adaptation.imitate(self)
    }

    /// Whether the base drops what ties it to the data: online, if the adaptation asks for it.
    pub fn unconstrained(&self) -> bool {
        self.phase.online && self.adaptation.unconstrained()
    }
}

/// Traces one round of `learner` under `adaptation`.
pub fn trace(
    table: &Arc<ParamTable>,
    dims: Dims,
    phase: &Phase,
    learner: &dyn Learner,
    adaptation: &dyn Adaptation,
) -> Trace {
    let t = Tracer::new(table.clone());
    let b = Round::new(&t, dims, phase, learner, adaptation);
    learner.trace(&b);
    adaptation.finish_round(&b);
    t.finish()
}
