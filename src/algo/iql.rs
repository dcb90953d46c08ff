//! Implicit Q-learning. Kostrikov, Nair, Levine 2021, arXiv:2110.06169.
//!
//!   L_V(ψ) =  E[ w · L₂^τ( min_j Q̂_j(s,a) - V(s) ) ]                          eq. 5
//!   L_π(φ) = -E[ min(e^{β A}, 100) · log π(a given s) ],  A = min_j Q̂_j - V      eq. 7
//!   L_Q(θ) =  E[ w · Σ_j ( r + γ m V(s') - Q_j(s,a) )² ]                       eq. 6
//!   Q̂ ← (1-ρ) Q̂ + ρ Q
//!
//! w is 1 unless an adaptation supplies it, and the adaptation may shift the action in eq. 5, the only target here
//! that values one. With a deterministic actor, L_π = E[ min(e^{β A}, 100) · Σ_i (π_i(s) - a_i)² ].
//!
//! Order `official` (the authors' program): V, π, Q, Q̂; the advantage and the target use the new V.
//! Order `corl` (the public PyTorch reference): V(s') and A are taken before V moves; V, Q, Q̂, π; the loss
//! of Q is the mean over the critics instead of the sum.
//!
//! Where an adaptation drops the tie to the data online, L_π = -E[ min_j Q_j(s, clip(a~, ±1)) ], a~ ~ π(s)
//! reparameterised; V and Q stay.
//!
//! Metrics: those of [`super::measure`]; `value_loss` = L_V; `v_mean` = `E[ V(s) ]`; `advantage_mean` = `E[ A ]`; with
//! g = min(e^{β A}, 100): `advantage_weight_mean` = `E[ g ]`, `advantage_clip_fraction` = share of g at its bound,
//! `advantage_effective_share` = (Σ g)² / (B Σ g²).
//!
//! Declared differences: β A is cut at log 100 before the exponential, which is the same number
//! without overflow.
//!
//! Cost per update (batch 256, 2x256): 0.56 GFLOP.

use super::bc::policy_metrics;
use super::measure::{effective_share, error_metrics, value_metrics};
use super::{ACTOR, Adaptation, Batch, CRITIC, Dims, Learner, Phase};
use crate::autodiff::{Axis, Schedule, Tracer, Var};
use crate::config::limits::{RATE, WIDTHS};
use crate::config::{AdamConfig, Dims as Widths, Metric};
use crate::nn::{Critics, Head, Mean, Params, Policy, Preset, ValueNet};

crate::choices! {
    /// Order of the updates.
    Order {
        Official = "official", "V, policy, Q, target; advantage and target value from the new V";
        Corl     = "corl",     "V, Q, target, policy; both from the old V; critic losses averaged";
    }
}

crate::choices! {
    /// Kind of policy.
    Actor {
        Gaussian      = "gaussian",      "tanh mean, spread independent of the state";
        Deterministic = "deterministic", "tanh mean, weighted squared error";
    }
}

crate::choices! {
    /// Initial weights.
    InitRule {
        Orthogonal = "orthogonal", "orthogonal, gain sqrt(2) in every layer, biases 0";
        Torch      = "torch",      "uniform within 1/sqrt(inputs), biases too";
    }
}

crate::config! {
    IqlConfig "iql", "Implicit Q-learning" {
        hyper expectile:    Schedule   = 0.7,              0.0..=1.0, "tau of eq. 5; 0.5 is the mean, towards 1 the best supported action";
        hyper temperature:  Schedule   = 3.0,              0.0..=1e6,     "beta of eq. 7; 0 is behaviour cloning";
        hyper discount:     Schedule   = 0.99,             0.0..=1.0, "gamma";
        hyper polyak:       Schedule   = 0.005,            0.0..=1.0, "rho, target update rate";
        shape weight_bound: f64        = 100.0,            1.0..=1e12,     "largest weight of a cloned action";
        shape order:        Order      = Order::Official,  ..,        "order of the updates";
        shape actor_head:   Actor      = Actor::Gaussian,  ..,        "kind of policy";
        shape log_std_min:  f64        = -5.0,             -20.0..2.0, "lower bound of log sigma; the upper one is 2";
        shape init:         InitRule   = InitRule::Orthogonal, ..,    "initial weights";
        shape hidden:       Widths     = [256, 256],       WIDTHS,        "hidden layers of every network";
        shape critics:      usize      = 2,                1..=64,     "J, number of critics";
        opt   actor:        AdamConfig = Schedule::Cosine { from: 3e-4, to: 0.0, steps: Schedule::AUTO }, RATE, "optimiser of the policy";
        opt   value:        AdamConfig = 3e-4,             RATE,        "optimiser of V";
        opt   critic:       AdamConfig = 3e-4,             RATE,        "optimiser of Q";
    }
}

/// Loss of V.
pub static VALUE_LOSS: Metric = Metric::new("value_loss", "L_V, eq. 5", "", "Loss of V");
/// Loss of the policy.
pub static POLICY_LOSS: Metric = Metric::new("policy_loss", "L_pi, eq. 7", "", "Loss of the policy");
/// Loss of Q.
pub static CRITIC_LOSS: Metric = Metric::new("critic_loss", "L_Q, eq. 6", "", "Loss of Q");
/// Mean of V.
pub static V_MEAN: Metric = Metric::new("v_mean", "E[ V(s) ]", "", "Values");
/// Mean advantage.
pub static ADV_MEAN: Metric = Metric::new("advantage_mean", "E[ A ]", "", "Advantage");
/// Share of clipped weights.
pub static ADV_CLIP: Metric =
    Metric::new("advantage_clip_fraction", "share of e^(beta A) >= bound", "", "Clipped advantages");
/// Mean weight of the cloned actions.
pub static ADV_WEIGHT: Metric =
    Metric::new("advantage_weight_mean", "E[ min(e^(beta A), bound) ]", "", "Advantage weights");
/// Effective share of the cloned actions.
pub static ADV_ESS: Metric = Metric::new(
    "advantage_effective_share",
    "(sum e)^2 / (B sum e^2), e = min(e^(beta A), bound)",
    "",
    "Effective share of the cloned actions",
);

/// Networks of IQL.
#[derive(Debug)]
pub struct Iql {
    config: IqlConfig,
    v: ValueNet,
    q: Critics,
    q_target: Critics,
    pi: Policy,
}

impl Iql {
    /// Declares V, Q, the target of Q and the policy.
    pub fn declare(config: &IqlConfig, dims: Dims, params: &mut Params) -> Iql {
        let c = config;
        let preset = match c.init {
            InitRule::Orthogonal => Preset::Orthogonal { last: 2f64.sqrt() },
            InitRule::Torch => Preset::Torch,
        };
        let head = match c.actor_head {
            Actor::Gaussian => {
                Head::Gaussian { mean: Mean::Tanh, state_std: false, log_std: (c.log_std_min, 2.0) }
            }
            Actor::Deterministic => Head::Deterministic,
        };
        let v = ValueNet::declare(params, "v", dims.s, &c.hidden, preset);
        let q = Critics::declare(params, "q", "q", c.critics, dims.sa(), &c.hidden, preset);
        let q_target = Critics::declare(params, "q_target", "q^", c.critics, dims.sa(), &c.hidden, preset);
        params.starts_equal(q.group(), q_target.group());
        let pi = Policy::declare(params, "pi", dims.sa(), &c.hidden, head, preset);
        Iql { config: config.clone(), v, q, q_target, pi }
    }

    /// A = min_j Q̂_j(s,a) - V(s) with V as it stands in the trace.
    fn advantage<'t>(&self, t: &'t Tracer, b: &Batch<'t>, a: Var<'t>) -> Var<'t> {
        self.q_target.min(t, b.s, a) - self.v.at(t, b.s)
    }

    fn value_loss<'t>(&self, t: &'t Tracer, b: &Batch<'t>, ad: &dyn Adaptation, phase: &Phase) -> Var<'t> {
        let tau = t.hyper("iql.expectile", &phase.hyper(&self.config.expectile)).named("tau");
        let w = ad.weight(t, b, self.q_target.all(t, b.s, b.a), phase);
        self.advantage(t, b, ad.perturb(t, b.a)).expectile(tau).weighted_mean(w)
    }

    fn actor_loss<'t>(&self, t: &'t Tracer, b: &Batch<'t>, advantage: Var<'t>, phase: &Phase) -> Var<'t> {
        let beta = t.hyper("iql.temperature", &phase.hyper(&self.config.temperature)).named("beta");
        let exponent = beta * advantage;
        let bound = self.config.weight_bound.ln();
        let weight = exponent.clamp(f64::NEG_INFINITY, bound).exp();
        t.metric(&ADV_MEAN, advantage.mean());
        t.metric(&ADV_CLIP, exponent.inside(bound, f64::INFINITY).mean());
        t.metric(&ADV_WEIGHT, weight.mean());
        t.metric(&ADV_ESS, effective_share(weight, b.dims().batch));
        let cost = match self.config.actor_head {
            Actor::Gaussian => -self.pi.log_prob(t, b.s, b.a),
            Actor::Deterministic => (self.pi.mode(t, b.s) - b.a).square().sum(Axis::Cols),
        };
        (weight * cost).mean()
    }

    /// -E[ min_j Q_j(s, a~) ]
    fn free_actor_loss<'t>(&self, t: &'t Tracer, b: &Batch<'t>) -> Var<'t> {
        let a = self.pi.sample(t, b.s).clamp(-1.0, 1.0).named("a~pi(s)");
        -self.q.min(t, b.s, a).mean()
    }

    /// y = r + γ m V(s')
    fn target<'t>(&self, t: &'t Tracer, b: &Batch<'t>, phase: &Phase) -> Var<'t> {
        let gamma = t.hyper("iql.discount", &phase.hyper(&self.config.discount)).named("gamma");
        b.r + gamma * b.m * self.v.at(t, b.s2)
    }

    fn critic_loss<'t>(
        &self,
        t: &'t Tracer,
        b: &Batch<'t>,
        y: Var<'t>,
        ad: &dyn Adaptation,
        phase: &Phase,
    ) -> Var<'t> {
        let q = self.q.all(t, b.s, b.a);
        let squares = (q - y).square();
        self.critic_metrics(t, b, q, squares);
        let w = ad.weight(t, b, q, phase);
        match self.config.order {
            Order::Official => squares.sum(Axis::Heads).weighted_mean(w),
            Order::Corl => squares.mean_over(Axis::Heads).weighted_mean(w),
        }
    }

    fn critic_metrics<'t>(&self, t: &'t Tracer, b: &Batch<'t>, q: Var<'t>, squares: Var<'t>) {
        t.metric(&V_MEAN, self.v.at(t, b.s).mean());
        value_metrics(t, b, &self.q, &self.pi, q);
        error_metrics(t, b, squares);
    }
}

impl Learner for Iql {
    fn trace<'t>(&self, t: &'t Tracer, b: &Batch<'t>, ad: &dyn Adaptation, phase: &Phase) {
        let c = &self.config;
        policy_metrics(t, b, &self.pi);
        let train_v = || {
            let loss = self.value_loss(t, b, ad, phase);
            t.metric(&VALUE_LOSS, loss);
            t.train("value", CRITIC, self.v.group(), &phase.critic(&c.value), loss);
        };
        let train_pi = |advantage| {
            let loss = match phase.online && ad.unconstrained() {
                true => self.free_actor_loss(t, b),
                false => self.actor_loss(t, b, advantage, phase),
            };
            t.metric(&POLICY_LOSS, loss);
            t.train("policy", ACTOR, self.pi.group(), &phase.actor(&c.actor), loss);
        };
        let train_q = |y| {
            let loss = self.critic_loss(t, b, y, ad, phase);
            t.metric(&CRITIC_LOSS, loss);
            t.train("q", CRITIC, self.q.group(), &phase.critic(&c.critic), loss);
            let rate = phase.hyper(&c.polyak);
            t.polyak(CRITIC, self.q.group(), self.q_target.group(), "iql.polyak", &rate);
        };
        match c.order {
            Order::Official => {
                train_v();
                train_pi(self.advantage(t, b, b.a));
                train_q(self.target(t, b, phase));
            }
            Order::Corl => {
                let (advantage, y) = (self.advantage(t, b, b.a), self.target(t, b, phase));
                train_v();
                train_q(y);
                train_pi(advantage);
            }
        }
        ad.finish_round(t, b, self, phase);
    }

    fn policy(&self) -> &Policy {
        &self.pi
    }

    fn critics(&self) -> Option<&Critics> {
        Some(&self.q)
    }
}
