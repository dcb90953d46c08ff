//! The networks of a soft actor-critic and the losses around its policy, which SAC, CQL and Cal-QL share.
//!
//!   α = exp(log α), one for each agent of an ensemble
//!   L_π = E[ α log π(a~|s) - min_j Q_j(s, a~) ]
//!   L_α = -log α · E[ log π(a~|s) + H ]
//!
//! Metrics: `policy_entropy` = -E[ log π(a~|s) ]; `temperature` = α, `temperature_loss` = L_α; those of
//! [`super::measure`] that go with them.

use super::measure::{CRITIC_LOSS, POLICY_LOSS};
use super::{ACTOR, CRITIC, Dims, Round};
use crate::autodiff::{Axis, GroupId, Metric, ParamId, Schedule, Shape, Var};
use crate::config::{AdamConfig, AutoOr, InitScheme, NetSpec};
use crate::nn::init::Init;
use crate::nn::{Critics, Head, Params, Policy};

crate::choices! {
    /// The weight α of the entropy.
    Temperature {
        Learned = "learned", "trained towards the target entropy, from 1";
        Fixed(value: f64 = 0.0..=1e6) = "fixed", "this value";
    }
}

/// How a trained number becomes α.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// e^x, from x = 0
    Exp,
    /// ln(1 + e^x), from α = 1
    Softplus,
}

crate::choices! {
    /// Initial weights of policy and critics.
    InitRule {
        Rlkit = "rlkit", "uniform within 1/sqrt(outputs), last layers within 0.003 (critics) and 0.001 (policy), biases 0";
        Torch = "torch", "uniform within 1/sqrt(inputs), biases too";
        Corl  = "corl",  "critics orthogonal, last gain 0.01; policy as torch, last layer Xavier with gain 0.01";
        Lecun = "lecun", "truncated normal of variance 1/inputs, last layers uniform of variance 0.01/inputs, biases 0";
        Edac  = "edac",  "uniform within 1/sqrt(inputs), biases 0.1, last layers with their biases within 0.003 (critics) and 0.001 (policy)";
    }
}

impl InitRule {
    /// That of the policy.
    pub(super) fn policy(self) -> InitScheme {
        match self {
            InitRule::Rlkit => InitScheme::Rlkit { last: 1e-3 },
            InitRule::Torch => InitScheme::Torch,
            InitRule::Corl => InitScheme::TorchXavier { last: 0.01 },
            InitRule::Lecun => InitScheme::Lecun,
            InitRule::Edac => InitScheme::FanIn { last: 1e-3 },
        }
    }

    /// That of the critics.
    pub(super) fn critics(self) -> InitScheme {
        match self {
            InitRule::Rlkit => InitScheme::Rlkit { last: 3e-3 },
            InitRule::Corl => InitScheme::Orthogonal { last: 0.01 },
            InitRule::Edac => InitScheme::FanIn { last: 3e-3 },
            InitRule::Torch | InitRule::Lecun => self.policy(),
        }
    }
}

/// The temperature.
pub static TEMPERATURE: Metric = Metric::new("temperature", "alpha", "", "Temperature");
/// Loss of the temperature.
pub static TEMPERATURE_LOSS: Metric =
    Metric::new("temperature_loss", "L_alpha", "", "Loss of the temperature");
/// Entropy of the policy.
pub static ENTROPY: Metric = Metric::new("policy_entropy", "-E[ log pi(a~|s) ]", "", "Policy entropy");

/// What the networks of a soft actor-critic are like.
pub(super) struct SoftSpec {
    /// E, independent agents
    pub(super) ensemble: usize,
    /// numbers that the policy reads beside a state
    pub(super) given: usize,
    pub(super) policy_net: NetSpec,
    pub(super) critic_net: NetSpec,
    pub(super) critics: usize,
    pub(super) head: Head,
    pub(super) temperature: Temperature,
    pub(super) link: Link,
    pub(super) target_entropy: AutoOr<f64>,
}

/// Policy, critics, their targets, and the temperature.
#[derive(Debug)]
pub(super) struct SoftNets {
    pub(super) pi: Policy,
    pub(super) q: Critics,
    pub(super) q_target: Critics,
    log_alpha: Option<(GroupId, ParamId)>,
    link: Link,
    fixed: f64,
    /// H
    pub(super) target_entropy: f64,
}

/// Optimisers of one round, and the target's rate.
pub(super) struct Steps<'a> {
    pub(super) temperature: &'a AdamConfig,
    pub(super) actor: &'a AdamConfig,
    pub(super) critic: &'a AdamConfig,
    pub(super) polyak: (&'static str, &'a Schedule),
}

/// What multiplies the excess of entropy in the loss of a temperature.
#[derive(Clone, Copy)]
pub(super) enum Factor {
    LogAlpha,
    Alpha,
}

impl SoftNets {
    /// Declares them.
    pub(super) fn declare(spec: &SoftSpec, dims: Dims, params: &mut Params) -> SoftNets {
        let e = spec.ensemble;
        let inputs = (dims.s + spec.given, dims.a);
        let pi = Policy::ensemble(params, "pi", e, inputs, spec.head, &spec.policy_net);
        let q = Critics::declare(params, "q", e * spec.critics, dims.sa(), &spec.critic_net).of_members(e);
        let q_target = q.target(params);
        let (log_alpha, fixed) = match spec.temperature {
            Temperature::Learned => {
                let begin = match spec.link {
                    Link::Exp => 0.0,
                    Link::Softplus => 1f64.exp_m1().ln(),
                };
                (Some(scalars(params, "log_alpha", e, begin)), 1.0)
            }
            Temperature::Fixed(value) => (None, value),
        };
        let target_entropy = spec.target_entropy.or_else(|| -(dims.a as f64));
        SoftNets { pi, q, q_target, log_alpha, link: spec.link, fixed, target_entropy }
    }

    /// The policies that learn: the members of an ensemble each for itself offline, their joint policy online.
    pub(super) fn learning(&self, b: &Round<'_>) -> Policy {
        if b.phase().online { self.pi.clone() } else { self.pi.members() }
    }

    /// α `[E, 1, 1]`
    pub(super) fn alpha<'t>(&self, b: &Round<'t>) -> Var<'t> {
        match self.log_alpha {
            Some((_, p)) => match self.link {
                Link::Exp => b.s.param(p).exp(),
                Link::Softplus => b.s.param(p).softplus(),
            }
            .named("alpha"),
            None => b.s.constant(self.fixed),
        }
    }

    /// E[ α log π(a~|s) - min_j Q_j(s, a~) ], of an ensemble the sum over members' own actions or, for one action of
    /// all, the mean over members
    pub(super) fn policy_loss<'t>(&self, b: &Round<'t>, (a, log_pi): (Var<'t>, Var<'t>)) -> Var<'t> {
        let loss = self.alpha(b) * log_pi - self.q.min(b.s, a);
        if a.shape().heads == 1 { loss.mean() } else { loss.sum(Axis::Heads).mean() }
    }

    /// E[ α log π(a~|s) - mean_j Q_j(s, a~) ] of one agent
    pub(super) fn policy_loss_on_mean<'t>(&self, b: &Round<'t>, (a, log_pi): (Var<'t>, Var<'t>)) -> Var<'t> {
        (self.alpha(b) * log_pi - self.q.all(b.s, a).mean_over(Axis::Heads)).mean()
    }

    /// Moves α, π, Q and the target, in this order, all on losses that have been traced before.
    pub(super) fn train_all<'t>(
        &self,
        b: &Round<'t>,
        log_pi: Var<'t>,
        policy_loss: Var<'t>,
        critic_loss: Var<'t>,
        steps: &Steps<'_>,
    ) {
        b.metric(&POLICY_LOSS, policy_loss);
        b.metric(&CRITIC_LOSS, critic_loss);
        self.policy_metrics(b, log_pi);
        self.train_temperature(b, log_pi, Factor::LogAlpha, steps.temperature);
        b.train("policy", ACTOR, self.pi.group(), steps.actor, policy_loss);
        b.train("q", CRITIC, self.q.group(), steps.critic, critic_loss);
        self.move_target(b, steps.polyak);
    }

    /// Moves α, if it is learnt, on -x E[ log π(a~|s) + H ], x being log α or α itself.
    pub(super) fn train_temperature<'t>(
        &self,
        b: &Round<'t>,
        log_pi: Var<'t>,
        factor: Factor,
        optimiser: &AdamConfig,
    ) {
        if let Some((group, p)) = self.log_alpha {
            let factor = match factor {
                Factor::LogAlpha => b.s.param(p),
                Factor::Alpha => self.alpha(b),
            };
            let loss = -(factor * (log_pi + self.target_entropy)).sum(Axis::Heads).mean();
            b.metric(&TEMPERATURE_LOSS, loss);
            b.train("temperature", ACTOR, group, optimiser, loss);
        }
    }

    /// Q̂ ← (1-ρ) Q̂ + ρ Q
    pub(super) fn move_target(&self, b: &Round<'_>, (name, rate): (&str, &Schedule)) {
        b.polyak(CRITIC, self.q.group(), self.q_target.group(), name, rate);
    }

    /// The group of a temperature that is learnt.
    pub(super) fn temperature(&self) -> Option<GroupId> {
        self.log_alpha.map(|(group, _)| group)
    }

    /// Entropy and temperature before they move.
    pub(super) fn policy_metrics<'t>(&self, b: &Round<'t>, log_pi: Var<'t>) {
        b.metric(&ENTROPY, -log_pi.mean());
        b.metric(&TEMPERATURE, mean_of_heads(self.alpha(b)));
    }
}

/// A trained scalar of each member `[E, 1, 1]` as a group of its own.
pub(super) fn scalars(params: &mut Params, name: &str, members: usize, begin: f64) -> (GroupId, ParamId) {
    let group = params.group(name, members > 1);
    (group, params.tensor(group, "value", Shape::new(members, 1, 1), Init::Constant(begin)))
}

/// The mean over an ensemble; of one member its value.
pub(super) fn mean_of_heads(x: Var<'_>) -> Var<'_> {
    if x.shape().heads == 1 { x } else { x.mean_over(Axis::Heads) }
}
