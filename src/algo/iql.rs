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
//! An adaptation may choose the actions that the policy clones, in place of the recorded ones in eq. 7.
//! Where an adaptation drops the tie to the data online, L_π = -E[ min_j Q_j(s, clip(a~, ±1)) ], a~ ~ π(s)
//! reparameterised; V and Q stay.
//!
//! Metrics: those of [`super::measure`]; `value_loss` = L_V; `v_mean` = `E[ V(s) ]`; `advantage_mean` = `E[ A ]`; with
//! g = min(e^{β A}, 100): `advantage_weight_mean` = `E[ g ]`, `advantage_clip_fraction` = share of g at its bound,
//! `advantage_effective_share` = (Σ g)² / (B Σ g²).
//!
//! Declared differences: β A is cut at log 100 before the exponential, which is the same number
//! without overflow. Fine-tuning, the policy goes on at a tenth of its first rate (`online.actor_lr`); theirs, published for
//! AntMaze alone, has a rate of 3e-4 offline and online: `iql.actor = 0.0003` and `online.actor_lr = constant(1)`.
//!
//! Cost per update (batch 256, 2x256): 0.56 GFLOP.

use super::foreign::{ANY, Foreign, Ours, POSITIVE, Precision, Reading, SHARE, Wrong};
use super::measure::{CRITIC_LOSS, POLICY_LOSS, advantage_weight, policy_metrics, squared_errors};
use super::{ACTOR, CRITIC, Dims, Learner, Round};
use crate::autodiff::{Axis, Schedule, Var};
use crate::config::limits::{RATE, WIDTHS};
use crate::config::{AdamConfig, InitScheme, Metric, NetSpec};
use crate::nn::{Critics, Head, Mean, Params, Policy, ValueNet};

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
        shape hidden:       NetSpec    = [256, 256],       WIDTHS,        "hidden layers of every network";
        shape critics:      usize      = 2,                1..=64,     "J, number of critics";
        opt   actor:        AdamConfig = Schedule::Cosine { from: 3e-4, to: 0.0, steps: Schedule::AUTO }, RATE, "optimiser of the policy";
        opt   value:        AdamConfig = 3e-4,             RATE,        "optimiser of V";
        opt   critic:       AdamConfig = 3e-4,             RATE,        "optimiser of Q";
    }
}

impl IqlConfig {
    /// What every network is like.
    fn net(&self) -> NetSpec {
        self.hidden.begin(match self.init {
            InitRule::Orthogonal => InitScheme::Orthogonal { last: 2f64.sqrt() },
            InitRule::Torch => InitScheme::Torch,
        })
    }
}

/// Loss of V.
pub static VALUE_LOSS: Metric = Metric::new("value_loss", "L_V, eq. 5", "", "Loss of V");
/// Mean of V.
pub static V_MEAN: Metric = Metric::new("v_mean", "E[ V(s) ]", "", "Values");
/// V and Q, which learn from recorded actions alone, whatever the policy is.
#[derive(Debug)]
pub(super) struct Values {
    config: IqlConfig,
    v: ValueNet,
    q: Critics,
    q_target: Critics,
}

impl Values {
    /// Declares V, Q and the target of Q.
    pub(super) fn declare(config: &IqlConfig, dims: Dims, params: &mut Params) -> Values {
        let net = config.net();
        let v = ValueNet::declare(params, "v", dims.s, &net);
        let q = Critics::declare(params, "q", config.critics, dims.sa(), &net);
        let q_target = q.target(params);
        Values { config: config.clone(), v, q, q_target }
    }

    /// The trained critics.
    pub(super) fn critics(&self) -> &Critics {
        &self.q
    }

    /// Q̂
    pub(super) fn target_critics(&self) -> &Critics {
        &self.q_target
    }

    /// A = min_j Q̂_j(s,a) - V(s) of some action, with V as it stands in the trace.
    pub(super) fn advantage<'t>(&self, b: &Round<'t>, a: Var<'t>) -> Var<'t> {
        self.q_target.min(b.s, a) - self.v.at(b.s)
    }

    /// y = r + γ m V(s'), with V as it stands in the trace.
    pub(super) fn target<'t>(&self, b: &Round<'t>) -> Var<'t> {
        let gamma = b.hyper("iql.discount", &self.config.discount).named("gamma");
        b.r + gamma * b.m * self.v.at(b.s2)
    }

    fn value_loss<'t>(&self, b: &Round<'t>) -> Var<'t> {
        let tau = b.hyper("iql.expectile", &self.config.expectile).named("tau");
        let w = b.weight(self.q_target.all(b.s, b.a));
        self.advantage(b, b.perturb(b.a)).expectile(tau).weighted_mean(w)
    }

    fn critic_loss<'t>(&self, b: &Round<'t>, y: Var<'t>) -> Var<'t> {
        b.metric(&V_MEAN, self.v.at(b.s).mean());
        let (q, squares) = squared_errors(b, &self.q, y);
        let w = b.weight(q);
        match self.config.order {
            Order::Official => squares.sum(Axis::Heads).weighted_mean(w),
            Order::Corl => squares.mean_over(Axis::Heads).weighted_mean(w),
        }
    }

    /// Moves V.
    pub(super) fn train_v(&self, b: &Round<'_>) {
        let loss = self.value_loss(b);
        b.metric(&VALUE_LOSS, loss);
        b.train("value", CRITIC, self.v.group(), &self.config.value, loss);
    }

    /// Moves Q towards y, then its target.
    pub(super) fn train_q<'t>(&self, b: &Round<'t>, y: Var<'t>) {
        let loss = self.critic_loss(b, y);
        b.metric(&CRITIC_LOSS, loss);
        b.train("q", CRITIC, self.q.group(), &self.config.critic, loss);
        b.polyak(CRITIC, self.q.group(), self.q_target.group(), "iql.polyak", &self.config.polyak);
    }
}

/// Networks of IQL.
#[derive(Debug)]
pub struct Iql {
    config: IqlConfig,
    values: Values,
    pi: Policy,
}

impl Iql {
    /// Declares V, Q, the target of Q and the policy.
    pub fn declare(config: &IqlConfig, dims: Dims, params: &mut Params) -> Iql {
        let c = config;
        let head = match c.actor_head {
            Actor::Gaussian => {
                Head::Gaussian { mean: Mean::Tanh, state_std: false, log_std: (c.log_std_min, 2.0) }
            }
            Actor::Deterministic => Head::Deterministic,
        };
        let values = Values::declare(c, dims, params);
        let pi = Policy::declare(params, "pi", dims.sa(), head, &c.net());
        Iql { config: config.clone(), values, pi }
    }

    /// E[ min(e^{β A}, 100) · cost of cloning a ]
    fn cloning_loss<'t>(&self, b: &Round<'t>, a: Var<'t>, advantage: Var<'t>) -> Var<'t> {
        let beta = b.hyper("iql.temperature", &self.config.temperature).named("beta");
        let weight = advantage_weight(b, advantage, beta * advantage, self.config.weight_bound);
        let cost = match self.pi.has_density() {
            true => -self.pi.log_prob(b.s, a),
            false => (self.pi.mode(b.s) - a).square().sum(Axis::Cols),
        };
        (weight * cost).mean()
    }

    /// -E[ min_j Q_j(s, a~) ]
    fn free_loss<'t>(&self, b: &Round<'t>) -> Var<'t> {
        let a = self.pi.sample(b.s).clamp(-1.0, 1.0).named("a~pi(s)");
        -self.values.q.min(b.s, a).mean()
    }

    /// Moves π; `advantage` is that of the recorded actions.
    fn train_pi<'t>(&self, b: &Round<'t>, advantage: Var<'t>) {
        let loss = if b.unconstrained() {
            self.free_loss(b)
        } else if let Some(a) = b.imitate() {
            self.cloning_loss(b, a, self.values.advantage(b, a))
        } else {
            self.cloning_loss(b, b.a, advantage)
        };
        let loss = match b.tie() {
            Some(tie) => tie * loss + (1.0 - tie) * self.free_loss(b),
            None => loss,
        };
        b.metric(&POLICY_LOSS, loss);
        b.train("policy", ACTOR, self.pi.group(), &self.config.actor, loss);
    }
}

impl Learner for Iql {
    fn trace<'t>(&self, b: &Round<'t>) {
        let n = &self.values;
        policy_metrics(b, b.greedy(), &self.pi, b.s);
        match self.config.order {
            Order::Official => {
                n.train_v(b);
                self.train_pi(b, n.advantage(b, b.a));
                n.train_q(b, n.target(b));
            }
            Order::Corl => {
                let (advantage, y) = (n.advantage(b, b.a), n.target(b));
                n.train_v(b);
                n.train_q(b, y);
                self.train_pi(b, advantage);
            }
        }
    }

    fn policy(&self) -> &Policy {
        &self.pi
    }

    fn critics(&self) -> Option<&Critics> {
        Some(self.values.critics())
    }

    fn imitates(&self) -> bool {
        true
    }
}

/// Traces of CORL's IQL.
pub const FOREIGN: &[Foreign] = &[Foreign::new("iql", foreign)];

fn foreign(r: &mut dyn Reading, ours: &mut Ours) -> Result<(), Wrong> {
    // CORL takes two masks as `.float()`: γ, τ and |τ - 1(u < 0)| are rounded while all else is double.
    ours.constants = Some(Precision::Single);
    let constants = r.constants();
    ours.rounds = r.whole_or("actor_cosine_max_steps", u64::MAX, 1_000_000)?;
    let common = r.adam_or(&["lr"], 3e-4)?;
    let tau = r.number_or("iql_tau", SHARE, 0.7)?;
    let own = |key: &str| Ok::<AdamConfig, Wrong>(r.adam(key)?.unwrap_or(common));
    let [mut actor, value, critic] = [own("actor_lr")?, own("vf_lr")?, own("qf_lr")?];
    actor.lr = Schedule::Cosine { from: actor.lr.ends()[0], to: 0.0, steps: Schedule::AUTO };
    let deterministic = match r.word("policy", &["gaussian", "deterministic"])? {
        Some(word) => word == "deterministic",
        None => !r.has("actor.log_std"),
    };
    ours.config.put(IqlConfig {
        expectile: Schedule::Constant(constants.of(tau)),
        temperature: r.constant_or("beta", ANY, 3.0)?,
        discount: Schedule::Constant(constants.of(r.number_or("discount", SHARE, 0.99)?)),
        polyak: r.constant_or("tau", SHARE, 0.005)?,
        weight_bound: r.number_or("exp_adv_max", POSITIVE, 100.0)?,
        order: Order::Corl,
        actor_head: if deterministic { Actor::Deterministic } else { Actor::Gaussian },
        log_std_min: r.number("log_std_min", (-1e3, 2.0))?.unwrap_or(-20.0),
        init: InitRule::Torch,
        hidden: r.hidden("v"),
        critics: r.copies("q"),
        actor,
        value,
        critic,
    });
    Ok(())
}
