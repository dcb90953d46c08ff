//! A round while it is traced, the algorithm that traces it, and what modifies that: three that know one another.
//! Above 400 lines because they do.
//!
//! The hooks of an adaptation, all of which default to "nothing":
//!
//! | hook | asked by | for |
//! |---|---|---|
//! | `weight`, `weights` | bases | weights of the critic losses |
//! | `perturb` | bases | the action that a critic's target values |
//! | `value` | bases with target critics | what these critics together say of it, in place of the least |
//! | `policy_value` | bases with [`Learner::target`] or [`Learner::baselines`] | the value that their policy maximises |
//! | `residual` | bases with baselines | what their critics regress on |
//! | `gradient_bound` | the training of the base's policy | the largest norm of its gradient |
//! | `imitate` | bases that clone | the action that the policy clones |
//! | `unconstrained` | bases | whether the tie to the data is dropped online |
//! | `tie` | bases | how much of it counts in this batch |
//! | `finish_round` | the trace of a round, after the base | further updates and metrics |
//! | `act` | whoever acts, evaluates, measures | the action in a state |
//! | `adopt` | the switch | which saved network fills which of ours |
//! | `critics_are_values` | the switch | whether another adaptation can go on with its critics |
//! | `pretrain` | the switch | what must be fitted before the first environment step, or before the first round |
//! | `cadence`, `sampling` | loops | updates per environment step; how batches are drawn |
//! | `annotate`, `priority`, `calibrate` | loops | columns of a frozen model, and priorities from them |
//! | `quantities`, `ranges` | reports | whether its weights and priorities are where they can do something |
//! | `reprioritise` | loops | priorities from a model that learns |

use std::fmt::Debug;
use std::sync::Arc;

use super::pace::{Cadence, Delay, Sampling};
use super::phase::Phase;
use super::returns::ReturnToGo;
use crate::autodiff::{GroupId, Metric, NoiseKind, ParamTable, Role, Schedule, Shape, Trace, Tracer, Var};
use crate::config::AdamConfig;
use crate::nn::{Acting, Critics, Policy};
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

/// The role of everything that is not a policy: values, their targets, models.
pub const CRITIC: Role = Role::Critic;
/// The role of policies and temperatures.
pub const ACTOR: Role = Role::Actor;

/// What a loss is written on: the columns of a batch, and the round that learns from it. Formulas call it `b`. What cannot be
/// traced panics, see [`Tracer`].
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
    /// rows of the whole batch, of which these are `dims.batch` from `first` on
    batch: usize,
    first: usize,
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
            batch: dims.batch,
            first: 0,
            phase,
            learner,
            adaptation,
        }
    }

    /// The round on the k-th of n nearly equal parts of its rows, k from 0; only the first of them reports metrics.
    pub fn part(&self, k: usize, n: usize) -> Round<'t> {
        if n == 1 {
            return Round { ..*self };
        }
        let rows = self.dims.batch;
        let (begin, end) = (k * rows / n, (k + 1) * rows / n);
        let of = |x: Var<'t>| x.rows(begin, end - begin).named(format!("{}[{k}]", x.name()));
        Round {
            s: of(self.s),
            a: of(self.a),
            r: of(self.r),
            m: of(self.m),
            s2: of(self.s2),
            online: self.online.map(of),
            dims: Dims { batch: end - begin, ..self.dims },
            first: self.first + begin,
            ..*self
        }
    }

    /// The rows of the round of another column.
    fn input(&self, name: &'static str, cols: usize) -> Var<'t> {
        let whole = self.t.input(name, self.batch, cols);
        if self.dims.batch == self.batch { whole } else { whole.rows(self.first, self.dims.batch) }
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
        self.input(name, 1)
    }

    /// The action recorded in s' `[B, A]`, and 1 `[B, 1]` where there is one, else 0: see [`Learner::next_action`].
    pub fn next_action(&self) -> (Var<'t>, Var<'t>) {
        let a = self.dims.a;
        let both = self.input(replay::NEXT_ACTION, a + 1);
        (both.slice(0, a).named("a'_data"), both.slice(a, 1).named("known"))
    }

    /// The action `[B, A]` of the transition nearest to (s, π(s)): see [`Learner::nearest`].
    pub fn nearest(&self) -> Var<'t> {
        self.input(replay::NEAREST, self.dims.a).named("a*")
    }

    /// A number that may follow a schedule over the rounds of the phase.
    ///
    /// # Panics
    /// If this name had another schedule before.
    pub fn hyper(&self, name: &str, schedule: &Schedule) -> Var<'t> {
        self.t.hyper(name, &schedule.over(self.phase.rounds))
    }

    /// Fresh random numbers; every call is a stream of its own.
    pub fn noise(&self, name: &str, kind: NoiseKind, shape: Shape) -> Var<'t> {
        self.t.noise(name, kind, shape)
    }

    /// Reports a scalar whenever metrics are asked for.
    ///
    /// # Panics
    /// If the value is no scalar, or if two metrics of the trace have one name. See [`Metric::name`] for names that are taken.
    pub fn metric(&self, metric: &'static Metric, value: Var<'t>) {
        if self.first == 0 {
            self.t.metric(metric, value);
        }
    }

    /// Names something that a round makes on its way, for whoever compares it.
    pub fn output(&self, name: &'static str, value: Var<'t>) {
        self.t.output(name, value);
    }

    /// One Adam step of a group on a loss; all else that the loss reads is a constant. The learning rate follows its
    /// schedule over the phase, that of the actor's role by the rule for policies at the switch.
    ///
    /// # Panics
    /// If the loss is no scalar or does not depend on a tensor of the group as it stands now (to train a group again takes a
    /// loss that is traced anew), or if two updates of the trace have one name.
    pub fn train(
        &self,
        name: &'static str,
        role: Role,
        group: GroupId,
        optimiser: &AdamConfig,
        loss: Var<'t>,
    ) {
        let mut optimiser = self.phase.adam(role, optimiser);
        let bound = self.adaptation.gradient_bound().filter(|_| group == self.learner.policy().group());
        optimiser.clip = match bound {
            // The narrower of both acts.
            Some(bound) if optimiser.clip > 0.0 => bound.min(optimiser.clip),
            Some(bound) => bound,
            None => optimiser.clip,
        };
        self.t.train(name, role, group, &optimiser, loss);
    }

    /// The same for critics whose schedule begins anew with the phase; the policy never does, whose bound is not asked for here.
    ///
    /// # Panics
    /// As [`Round::train`].
    pub fn train_anew(
        &self,
        name: &'static str,
        role: Role,
        group: GroupId,
        optimiser: &AdamConfig,
        loss: Var<'t>,
    ) {
        self.t.train(name, role, group, &self.phase.adam_anew(optimiser), loss);
    }

    /// One Adam step of a group without a loss, on gradients of zero.
    ///
    /// # Panics
    /// If two updates of the trace have one name.
    pub fn idle(&self, name: &'static str, role: Role, group: GroupId, optimiser: &AdamConfig) {
        self.t.idle(name, role, group, &self.phase.adam(role, optimiser));
    }

    /// The same with the schedule of [`Round::train_anew`].
    ///
    /// # Panics
    /// As [`Round::idle`].
    pub fn idle_anew(&self, name: &'static str, role: Role, group: GroupId, optimiser: &AdamConfig) {
        self.t.idle(name, role, group, &self.phase.adam_anew(optimiser));
    }

    /// target ← (1-ρ) target + ρ source
    ///
    /// # Panics
    /// If the target was declared before its source or has tensors of other shapes, or if this name had another rate before.
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

    /// See [`Adaptation::value`].
    pub fn value(&self, critics: &Critics, s: Var<'t>, a: Var<'t>) -> Var<'t> {
        self.adaptation.value(self, critics, s, a)
    }

    /// See [`Adaptation::policy_value`].
    pub fn policy_value(&self, own: &Critics, a: Var<'t>, of: &dyn Fn(&Critics) -> Var<'t>) -> Var<'t> {
        self.adaptation.policy_value(self, own, a, of)
    }

    /// See [`Adaptation::residual`].
    pub fn residual(&self, y: Var<'t>) -> Var<'t> {
        self.adaptation.residual(self, y)
    }

    /// See [`Adaptation::imitate`].
    pub fn imitate(&self) -> Option<Var<'t>> {
        self.adaptation.imitate(self)
    }

    /// See [`Adaptation::tie`].
    pub fn tie(&self) -> Option<Var<'t>> {
        self.adaptation.tie(self)
    }

    /// As much of x, which ties the base to the data, as counts in this batch.
    pub fn tied(&self, x: Var<'t>) -> Var<'t> {
        self.tie().map_or(x, |tie| tie * x)
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

/// A base algorithm with its networks declared.
pub trait Learner: Debug + Send + Sync {
    /// One round: losses and optimiser steps in the algorithm's order.
    fn trace<'t>(&self, b: &Round<'t>);

    /// The policy that learns.
    fn policy(&self) -> &Policy;

    /// The action `[B, A]` in states s `[B, S]`, whatever it takes to choose it. Whoever acts, evaluates, measures or
    /// exports asks here; it may leave [-1, 1], to which the caller clips it.
    fn act<'t>(&self, s: Var<'t>, how: Acting) -> Var<'t> {
        self.policy().act(s, how)
    }

    /// The trained critics, where there are any.
    fn critics(&self) -> Option<&Critics> {
        None
    }

    /// The target critics, where a target takes the least of their values and asks for another: see [`Adaptation::value`].
    fn target_critics(&self) -> Option<&Critics> {
        None
    }

    /// What its critics regress on, y `[B, 1]`, with these in place of its own target critics; `None` where it is not
    /// offered to adaptations that train other critics beside its own.
    fn target<'t>(&self, _b: &Round<'t>, _critics: &Critics) -> Option<Var<'t>> {
        None
    }

    /// Whether what ties it to the data is made for fine-tuning too, so that it stays there unless somebody asks otherwise.
    fn keeps_tie(&self) -> bool {
        false
    }

    /// Networks of the form of its critics, trained so that log π(a|s) + Z(s) values the policy, Z what they say of the action 0;
    /// their first layer has no weights of the action.
    fn baselines(&self) -> Option<&Critics> {
        None
    }

    /// In which rounds of a run the actor's role runs.
    fn delay(&self) -> Delay {
        Delay::NONE
    }

    /// What the column [`replay::RETURN_TO_GO`] holds, if the losses read it.
    fn return_to_go(&self) -> Option<ReturnToGo> {
        None
    }

    /// Whether the losses of offline training read [`Round::next_action`], which collected transitions do not have.
    fn next_action(&self) -> bool {
        false
    }

    /// If the losses of the actor's role read [`Round::nearest`]: the factor of states in the distance of (s, a) from
    /// (s, π(s)), π as the round finds it.
    fn nearest(&self) -> Option<f64> {
        None
    }

    /// Whether its policy clones actions, which an adaptation may then choose: see [`Adaptation::imitate`].
    fn imitates(&self) -> bool {
        false
    }

    /// What must be fitted to the data before its first round, in this order: models that its losses read.
    fn pretrain(&self) -> Vec<Pretraining<'_>> {
        Vec::new()
    }

    /// The loss on held-out transitions, for algorithms that clone behaviour.
    fn validation<'t>(&self, _b: &Round<'t>) -> Option<Var<'t>> {
        None
    }
}

/// What may modify a base algorithm. Every hook defaults to "nothing", which is `plain`.
pub trait Adaptation: Debug + Send + Sync {
    /// Weight `[B, 1]` of each transition in the critic losses, or one for all, a constant for their gradients;
    /// `q` `[J, B, 1]` are the values that the weighted loss regresses.
    fn weight<'t>(&self, _b: &Round<'t>, _q: Var<'t>) -> Option<Var<'t>> {
        None
    }

    /// Weights `[B, 1]` of (the squared error, the conservative penalty) in algorithms whose critic loss has both
    /// terms. By default [`Adaptation::weight`] weighs the first and nothing the second.
    fn weights<'t>(&self, b: &Round<'t>, q: Var<'t>) -> (Option<Var<'t>>, Option<Var<'t>>) {
        (self.weight(b, q), None)
    }

    /// The action that a critic's target values in place of `a` `[.., A]`: a draw at s', or the recorded action
    /// where the base's target draws none. Densities stay those of `a`.
    fn perturb<'t>(&self, _b: &Round<'t>, a: Var<'t>) -> Var<'t> {
        a
    }

    /// What a target makes of its critics' values of actions a `[.., B·k, A]` in states s `[B, S]`: the least, `[E, B·k, 1]`.
    fn value<'t>(&self, _b: &Round<'t>, critics: &Critics, s: Var<'t>, a: Var<'t>) -> Var<'t> {
        critics.min(s, a)
    }

    /// The value `[B, 1]` of the policy's action a `[B, A]` in s that its loss maximises: by default what the base makes `of`
    /// its `own` critics, which it can make of others too.
    fn policy_value<'t>(
        &self,
        _b: &Round<'t>,
        own: &Critics,
        _a: Var<'t>,
        of: &dyn Fn(&Critics) -> Var<'t>,
    ) -> Var<'t> {
        of(own)
    }

    /// What critics regress on, of a target y `[B, 1]`: all of it unless something else values (s, a) too.
    fn residual<'t>(&self, _b: &Round<'t>, y: Var<'t>) -> Var<'t> {
        y
    }

    /// Whether critics are values after so many rounds of its own phase, of `planned` ones; if not, no other adaptation can go on
    /// with them.
    fn critics_are_values(&self, _rounds: u64, _planned: u64) -> bool {
        true
    }

    /// The largest norm of the gradient on which the base's policy moves; a longer one is made so short.
    fn gradient_bound(&self) -> Option<f64> {
        None
    }

    /// The action `[B, A]` that the policy clones in s, in place of the recorded one; asked when the policy's loss is
    /// traced, so that it sees the networks as they stand then.
    fn imitate<'t>(&self, _b: &Round<'t>) -> Option<Var<'t>> {
        None
    }

    /// Whether the base drops what ties it to the data while it is online: penalties, cloning.
    fn unconstrained(&self) -> bool {
        false
    }

    /// How much of what ties the base to the data counts in this batch, `[1, 1]` in [0, 1]: of penalties and cloning
    /// this share, of the loss that they take the place of the rest.
    fn tie<'t>(&self, _b: &Round<'t>) -> Option<Var<'t>> {
        None
    }

    /// Further updates and metrics at the end of a round.
    fn finish_round(&self, _b: &Round<'_>) {}

    /// The action `[B, A]` in states s `[B, S]`, of which the base has one opinion: see [`Learner::act`].
    fn act<'t>(&self, base: &dyn Learner, s: Var<'t>, how: Acting) -> Var<'t> {
        base.act(s, how)
    }

    /// The saved group that fills our `group` when fine-tuning begins, of the groups `saved` in the run that it begins
    /// from; `None`: ours begins anew.
    fn adopt<'a>(&self, group: &'a str, _saved: &[&str]) -> Option<&'a str> {
        Some(group)
    }

    /// What must be fitted before the first environment step, in this order, and what before the first round.
    fn pretrain(&self) -> Vec<Pretraining<'_>> {
        Vec::new()
    }

    /// A model that is trained beside every round to tell new transitions from old: on (s, a) of 3B rows, which are
    /// B uniform offline ones, B uniform online ones and the B of the round. Gives the new priorities `[B, 1]` of
    /// the latter.
    fn reprioritise<'t>(&self, _t: &'t Tracer, _s: Var<'t>, _a: Var<'t>) -> Option<Var<'t>> {
        None
    }

    /// Columns of the replay that are computed once per transition, from (s, a) by frozen networks: their
    /// names and values `[B, 1]`.
    fn annotate<'t>(&self, _s: Var<'t>, _a: Var<'t>) -> Vec<(&'static str, Var<'t>)> {
        Vec::new()
    }

    /// How batches are drawn online.
    fn sampling(&self) -> Sampling {
        Sampling::default()
    }

    /// Updates per environment step, unless the user sets them.
    fn cadence(&self) -> Cadence {
        Cadence::default()
    }

    /// Sampling priority of a transition with these annotated values, in the order of `annotate`.
    fn priority(&self, _annotated: &[f32], _online: bool) -> f64 {
        1.0
    }

    /// What the calibration of the adaptation looks at: named quantities of a transition with these annotated
    /// values, in the order of `annotate`.
    fn quantities(&self, _annotated: &[f32], _online: bool) -> Vec<(&'static str, f64)> {
        Vec::new()
    }

    /// Those of [`Adaptation::quantities`] whose means should lie in a range.
    fn ranges(&self) -> &'static [Range] {
        &[]
    }

    /// Fixes constants that were left to the data: means over the offline data of the annotated values, in
    /// the order of `annotate`. Called once, before the online phase is traced.
    fn calibrate(&mut self, _offline_means: &[f64]) {}
}

/// A network that is fitted before the rounds that read it, unless a run is given that has fitted it.
pub struct Pretraining<'a> {
    /// what it is
    pub name: &'static str,
    /// what it fills
    pub group: GroupId,
    /// the transitions that it is fitted to
    pub to: FitTo,
    /// how many rounds
    pub updates: u64,
    /// traces one of them
    pub trace: Box<dyn Fn(&Round<'_>) + 'a>,
    /// the runs that may have done it before
    pub given: Option<Given>,
}

/// The transitions that a network is fitted to, and with them when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FitTo {
    /// those of the data, before the first environment step
    Data,
    /// B of the data, then B collected ones, after the environment steps that only collect (`online.warmup_steps`); the
    /// actor's role follows [`Learner::delay`]. One network at most.
    Collected,
}

impl FitTo {
    /// Rows of a round, the batch of the phase being of so many.
    pub fn rows(self, batch: usize) -> usize {
        match self {
            FitTo::Data => batch,
            FitTo::Collected => 2 * batch,
        }
    }
}

/// Runs of another algorithm whose network may take the place of one to be fitted.
#[derive(Clone, Copy, Debug)]
pub struct Given {
    /// that algorithm
    pub algo: &'static str,
    /// its group
    pub group: &'static str,
    /// (our option, its option) where ours has to follow, because it describes the network
    pub form: &'static [(&'static str, &'static str)],
    /// our options that a given network leaves without effect, because they say how to fit one
    pub fitting: &'static [&'static str],
}

/// Where the means of a quantity should lie.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// its name in [`Adaptation::quantities`]
    pub quantity: &'static str,
    /// of the offline transitions
    pub offline: (f64, f64),
    /// of the online ones
    pub online: (f64, f64),
    /// what to try outside
    pub advice: &'static str,
}

/// The adaptation that changes nothing.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Adaptation for Plain {}
