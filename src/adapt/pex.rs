//! Policy expansion (PEX). Zhang, Xu, Yu 2023, arXiv:2302.00935.
//!
//!   proposals   a_1 = mode π_0(s), the offline policy, frozen;  a_2 ~ π(s), a new one from scratch
//!   P(j | s)  = softmax_j( κ min_i Q_i(s, a_j) )                                  eq. 4
//!   acting      a = a_j, j ~ P
//!   evaluating  a_2 = mode π(s), j the likelier; each but for a share ε of the states, where it is as in acting
//!   L_π       = -E[ min(e^{β A}, bound) log π(a given s) ],  A = min_i Q̂_i(s, a) - V(s),  a proposed and chosen anew
//!
//! Over a base that clones weighted actions, as IQL: V and Q learn as in the base, from recorded actions; what its policy
//! clones is what the two propose and the critics choose, a constant for the gradient (detached: it is made by the policy
//! itself). At the switch π_0 takes the parameters of the saved policy, and π begins anew.
//!
//! Order: the base's. Where it moves the policy last (`iql.order = corl`, which takes V(s') before V moves, as the authors
//! do), the choice reads Q after its step, and A reads Q̂ and V after theirs.
//!
//! Metrics: `own_share` = share of states with j = 2 among those that are cloned; `own_probability` = E[ P(2 | s) ].
//!
//! Declared differences. From the authors' program: actions are clipped to [-1, 1] before the environment and the buffer see
//! them; β, τ, the order and the schedules are options of the base, theirs are `iql.temperature = 10`, `iql.order = corl`
//! and a constant rate.
//!
//! Beside it: half of each batch from the data, the first 5,000 environment steps without updates, fresh moments at the switch and a
//! constant rate of the policy, unless they are set otherwise.
//!
//! Cost per round, beside the base's: forward passes of π_0, of the critics (two) and of the target critics, 0.25 GFLOP over IQL (four
//! ninths of its round).

use super::critics;
use crate::algo::foreign::{Foreign, Ours, POSITIVE, Precision, Reading, Wrong};
use crate::algo::{Adaptation, Dims, Learner, Round};
use crate::autodiff::{NoiseKind, Shape, Var};
use crate::config::{ConfigError, Metric};
use crate::nn::{Acting, Critics, Params, Policy};

crate::config! {
    PexConfig "pex", "Policy expansion" {
        shape inverse_temperature: f64 = 10.0, 0.0..=1e6, "kappa of the choice between the two policies; 0: even odds, large: the better one";
        shape exploring_share:     f64 = 0.1,  0.0..=1.0, "epsilon, share of states in which an evaluation acts as while collecting";
    }
}

/// Outside its own section: half of each batch from the data, a new policy that learns at the full rate.
pub const DEFAULTS: &str = "[online]\nbuffer = \"mix(0.5)\"\nwarmup_steps = 5_000\nreset_optimisers = true\nactor_lr = \"constant(1)\"\n";

/// Share of states in which the new policy is chosen.
pub static OWN_SHARE: Metric =
    Metric::new("own_share", "share of states with j = 2", Metric::SHARE, "Choice between the policies");
/// Its mean probability.
pub static OWN_PROBABILITY: Metric =
    Metric::new("own_probability", "E[ P(2 | s) ]", "", "Choice between the policies");

/// The group of the frozen policy.
const FROZEN: &str = "pi_offline";
/// The base's group, whose saved parameters it takes.
const LEARNING: &str = "pi";

/// PEX over some base.
#[derive(Debug)]
pub struct Pex {
    config: PexConfig,
    frozen: Policy,
}

/// Proposals for the same states and what the critics say of them.
struct Proposals<'t> {
    /// `[B, A]`
    actions: [Var<'t>; 2],
    /// min_i Q_i(s, a_j) `[B, 1]`
    values: [Var<'t>; 2],
    /// P(2 | s) `[B, 1]`
    own: Var<'t>,
}

impl Pex {
    /// Declares the frozen policy after the networks of the base. Errors: a base without critics, that clones no
    /// actions, or whose policy is deterministic or an ensemble.
    pub fn declare(
        config: &PexConfig,
        dims: Dims,
        base: &dyn Learner,
        params: &mut Params,
    ) -> Result<Pex, ConfigError> {
        critics(base, "lets the critics choose between two policies")?;
        let pi = base.policy();
        let refuse = |why: &str| Err(ConfigError::Other(why.into()));
        if !base.imitates() {
            return refuse(
                "it chooses the actions that the base clones, and this base clones none; choose iql or awac, or --adapt plain",
            );
        }
        if !pi.has_density() || pi.size() > 1 {
            return refuse(
                "it adds a policy that draws to one of its kind, and this base has another kind; choose a base with one stochastic policy, or --adapt plain",
            );
        }
        let frozen = Policy::declare(params, FROZEN, dims.sa(), pi.head(), pi.spec());
        Ok(Pex { config: config.clone(), frozen })
    }

    fn propose<'t>(&self, critics: &Critics, s: Var<'t>, own: Var<'t>) -> Proposals<'t> {
        let actions = [self.frozen.mode(s), own];
        let values = actions.map(|a| critics.min(s, a));
        let own = ((values[1] - values[0]) * self.config.inverse_temperature).sigmoid();
        Proposals { actions, values, own }
    }
}

impl<'t> Proposals<'t> {
    /// 1 `[B, 1]` where a draw takes the second.
    fn drawn(&self) -> Var<'t> {
        let unit = self.own.noise("choice of a policy", NoiseKind::Uniform, self.own.shape());
        1.0 - unit.less(1.0 - self.own)
    }

    /// 1 where the second is the likelier.
    fn better(&self) -> Var<'t> {
        self.values[0].less(self.values[1])
    }

    /// The second where `flag` is 1, the first where it is 0.
    fn take(&self, flag: Var<'t>) -> Var<'t> {
        either(flag, self.actions[1], self.actions[0])
    }
}

/// `a` where `flag` is 1, `b` where it is 0.
fn either<'t>(flag: Var<'t>, a: Var<'t>, b: Var<'t>) -> Var<'t> {
    flag * a + (1.0 - flag) * b
}

impl Adaptation for Pex {
    fn act<'t>(&self, base: &dyn Learner, s: Var<'t>, how: Acting) -> Var<'t> {
        let critics = base.critics().expect("invariant: a base without critics was refused");
        if how != Acting::Greedy {
            let proposals = self.propose(critics, s, base.act(s, how));
            return proposals.take(proposals.drawn());
        }
        let sample = base.act(s, Acting::Sample);
        let exploring = |what: &str| {
            let unit = s.noise(what, NoiseKind::Uniform, Shape::new(1, s.shape().rows, 1));
            unit.less(s.constant(self.config.exploring_share))
        };
        let own = either(exploring("whether to draw an action"), sample, base.act(s, how));
        let proposals = self.propose(critics, s, own);
        let draws = exploring("whether to draw a policy");
        proposals.take(either(draws, proposals.drawn(), proposals.better()))
    }

    fn imitate<'t>(&self, b: &Round<'t>) -> Option<Var<'t>> {
        let base = b.learner();
        let proposals = self.propose(base.critics()?, b.s, base.act(b.s, Acting::Sample));
        let chosen = proposals.drawn();
        let action = proposals.take(chosen).detach().named("a of the two policies");
        b.metric(&OWN_SHARE, chosen.mean());
        b.metric(&OWN_PROBABILITY, proposals.own.mean());
        b.output("probabilities", (1.0 - proposals.own).concat(proposals.own));
        b.output("choice", chosen);
        b.output("action", action);
        b.output("q", proposals.values[0].concat(proposals.values[1]));
        Some(action)
    }

    fn adopt<'a>(&self, group: &'a str, saved: &[&str]) -> Option<&'a str> {
        match group {
            // A run that goes on with both of them.
            _ if saved.contains(&FROZEN) => Some(group),
            LEARNING => None,
            FROZEN => Some(LEARNING),
            _ => Some(group),
        }
    }
}

/// Traces of the authors' program.
pub const FOREIGN: &[Foreign] =
    &[Foreign { base: "iql", networks: &[("actor_offline", FROZEN)], ..Foreign::new("pex", foreign) }];

fn foreign(r: &mut dyn Reading, ours: &mut Ours) -> Result<(), Wrong> {
    ours.online = true;
    // Unlike CORL's, their program is double throughout, and its rates are constant, as a cosine is over so many rounds.
    ours.constants = Some(Precision::Double);
    ours.rounds = 1 << 52;
    ours.config.put(PexConfig {
        inverse_temperature: r.number_or("inv_temperature", POSITIVE, 10.0)?,
        ..PexConfig::default()
    });
    Ok(())
}
