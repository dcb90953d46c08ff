//! FQL, flow Q-learning. Park, Li, Levine 2025, arXiv:2502.02538.
//!
//!   y       = r + γ m mean_j Q̂_j(s', clip μ(s', z')),  z' ~ N(0, 1)^A;  `aggregate = min`: the least
//!   L_Q     = E[ w · mean_j ( y - Q_j(s,a) )² ]
//!   L_v     = E[ mean_i ( v_i(s, x_t, t) - (a_i - x_i) )² ],  x_t = (1 - t) x + t a,  x ~ N(0, 1)^A,  t ~ U(0, 1)      eq. 6
//!   a*      = clip of x_K,  x_0 = z,  x_{k+1} = x_k + v(s, x_k, k/K) / K                       Euler, K = `flow_steps`
//!   L_π     = α E[ mean_i ( μ_i(s, z) - a*_i )² ] - κ E[ mean_j Q_j(s, clip μ(s, z)) ],  z ~ N(0, 1)^A      eq. 8
//!   κ       = 1; `normalise`: 1 / E[ |mean_j Q_j| ], a constant for the gradient
//!
//! The flow v clones the data whatever their distribution; the policy μ makes an action of noise in one step, near those of the
//! flow and as good as Q allows. It acts with a fresh z, in evaluations too.
//!
//! w is 1 unless an adaptation supplies it; an adaptation may drop the distillation online. Order: all losses from the
//! parameters at the beginning of the round; Q̂ ← (1-ρ) Q̂ + ρ Q with the Q of before; then Q, v, π move.
//!
//! Metrics: those of [`super::measure`], `q_pi` and `mode_mse` on a fresh z; `flow_loss` = L_v; `distillation_loss` = its
//! term of L_π without α; `q_weight` = κ.
//!
//! Declared differences. From the authors' program in an update: one optimiser for each network, where they have one for all,
//! of the same rate; its steps are the same numbers. A time limit bootstraps, as everywhere here.
//!
//! Not built: Q-chunking over these losses (Li, Zhou, Levine 2025, arXiv:2507.07969), which learns Q(s, a_t .. a_{t+h-1}) from
//! h rewards and executes its h actions without looking. Rows of a batch would be windows that end with their episode, and
//! whoever acts (collection, evaluation, `act`, exports, a resumed run) would keep what is left of a chunk.
//!
//! Cost per update (batch 256, 4x512): 11.8 GFLOP, a third of it Euler's steps; with 3x256, the preset `fql_small`, 2.0.

use super::foreign::{Foreign, Ours, POSITIVE, Reading, SHARE, Wrong};
use super::measure::{CRITIC_LOSS, POLICY_LOSS, policy_metrics, squared_errors};
use super::td3_bc::q_weight;
use super::{ACTOR, CRITIC, Dims, Learner, Round};
use crate::autodiff::{Axis, Metric, NoiseKind, Schedule, Shape, Var};
use crate::config::limits::{RATE, WIDTHS};
use crate::config::{Activation, AdamConfig, InitScheme, NetSpec, Norm};
use crate::nn::{Acting, Critics, Head, Input, Mlp, Params, Policy};

crate::choices! {
    /// What the target makes of the critics.
    Aggregate {
        Mean = "mean", "their mean";
        Min  = "min",  "the least";
    }
}

crate::config! {
    FqlConfig "fql", "Flow Q-learning" {
        hyper discount:      Schedule   = 0.99,            0.0..=1.0,   "gamma";
        hyper polyak:        Schedule   = 0.005,           0.0..=1.0,   "rho, target update rate";
        hyper distillation:  Schedule   = 10.0,            0.0..=1e6,   "alpha, weight of the distance from the flow's actions";
        shape normalise:     bool       = false,           ..,          "divide Q by its mean size in the policy's loss";
        shape aggregate:     Aggregate  = Aggregate::Mean, ..,          "what the target makes of the critics";
        shape flow_steps:    usize      = 10,              1..=1000,    "K, steps of the flow";
        shape critics:       usize      = 2,               1..=64,      "J, number of critics";
        shape policy_hidden: NetSpec    = "512x512x512x512 gelu", WIDTHS, "hidden layers of the policy";
        shape flow_hidden:   NetSpec    = "512x512x512x512 gelu", WIDTHS, "hidden layers of the flow";
        shape critic_hidden: NetSpec    = "512x512x512x512 gelu layer_norm", WIDTHS, "hidden layers of the critics";
        opt   actor:         AdamConfig = 3e-4,            RATE,        "optimiser of the policy";
        opt   flow:          AdamConfig = 3e-4,            RATE,        "optimiser of the flow";
        opt   critic:        AdamConfig = 3e-4,            RATE,        "optimiser of Q";
    }
}

/// Outside its own section: the policy's full rate, actions as it makes them.
pub const DEFAULTS: &str = "[online]\nactor_lr = \"constant(1)\"\nexploration = \"sample\"\n";

/// Loss of the flow.
pub static FLOW_LOSS: Metric = Metric::new("flow_loss", "L_v", "", "Loss of the flow");
/// Distance of the policy from the flow.
pub static DISTILLATION: Metric =
    Metric::new("distillation_loss", "E[ mean_i (mu_i(s, z) - a*_i)^2 ]", "", "Distance from the flow");

/// Networks of FQL.
#[derive(Debug)]
pub struct Fql {
    config: FqlConfig,
    pi: Policy,
    flow: Mlp,
    q: Critics,
    q_target: Critics,
}

impl Fql {
    /// Declares policy, flow and critics with their target.
    pub fn declare(config: &FqlConfig, dims: Dims, params: &mut Params) -> Fql {
        let c = config;
        let begin = |net: &NetSpec| net.begin(InitScheme::Xavier);
        let pi =
            Policy::declare(params, "pi", (dims.s + dims.a, dims.a), Head::Clipped, &begin(&c.policy_hidden));
        let group = params.group("flow", false);
        let flow = Mlp::declare(params, group, 1, (dims.s + dims.a + 1, dims.a), &begin(&c.flow_hidden));
        let q = Critics::declare(params, "q", c.critics, dims.sa(), &begin(&c.critic_hidden));
        let q_target = q.target(params);
        Fql { config: config.clone(), pi, flow, q, q_target }
    }

    /// Noise `[B, A]` beside states `[B, S]`.
    fn noise<'t>(&self, what: &str, s: Var<'t>) -> Var<'t> {
        let a = self.pi.inputs() - s.shape().cols;
        s.noise(what, NoiseKind::Normal, Shape::new(1, s.shape().rows, a))
    }

    fn target<'t>(&self, b: &Round<'t>) -> Var<'t> {
        let c = &self.config;
        let a2 = self.pi.mode([b.s2, self.noise("z'", b.s2)]);
        let q = self.q_target.all(b.s2, b.perturb(a2));
        let value = match c.aggregate {
            Aggregate::Mean => q.mean_over(Axis::Heads),
            Aggregate::Min => q.min(Axis::Heads),
        };
        b.r + b.hyper("fql.discount", &c.discount) * b.m * value
    }

    fn critic_loss<'t>(&self, b: &Round<'t>) -> Var<'t> {
        let y = self.target(b);
        let (q, squares) = squared_errors(b, &self.q, y);
        squares.mean_over(Axis::Heads).weighted_mean(b.weight(q))
    }

    fn flow_loss<'t>(&self, b: &Round<'t>) -> Var<'t> {
        let x = self.noise("x", b.s);
        let t = b.noise("t", NoiseKind::Uniform, b.r.shape());
        let between = (1.0 - t) * x + t * b.a;
        (self.flow.forward([b.s, between, t].joined()) - (b.a - x)).square().mean()
    }

    /// a* `[B, A]`: where the flow leads from z.
    fn follow<'t>(&self, s: Var<'t>, z: Var<'t>) -> Var<'t> {
        let (steps, column) = (self.config.flow_steps, Shape { cols: 1, ..s.shape() });
        let share = 1.0 / steps as f64;
        let step = |x: Var<'t>, k: usize| {
            let t = s.constant(k as f64 * share).expand(column);
            x + self.flow.forward([s, x, t].joined()) * share
        };
        (0..steps).fold(z, step).clamp(-1.0, 1.0).named("a*")
    }

    fn policy_loss<'t>(&self, b: &Round<'t>) -> Var<'t> {
        let c = &self.config;
        let z = self.noise("z", b.s);
        let mu = self.pi.net().forward(b.s.concat(z)).named("mu(s, z)");
        let q = self.q.all(b.s, mu.clamp(-1.0, 1.0)).mean_over(Axis::Heads);
        let loss = match c.normalise {
            true => q_weight(b, "kappa", 1.0, q) * -q.mean(),
            false => -q.mean(),
        };
        if b.unconstrained() {
            return loss;
        }
        let distance = (mu - self.follow(b.s, z)).square().mean();
        b.metric(&DISTILLATION, distance);
        b.tied(b.hyper("fql.distillation", &c.distillation) * distance) + loss
    }
}

impl Learner for Fql {
    fn trace<'t>(&self, b: &Round<'t>) {
        let c = &self.config;
        policy_metrics(b, b.greedy(), &self.pi, b.s);
        let (critic, flow, policy) = (self.critic_loss(b), self.flow_loss(b), self.policy_loss(b));
        b.metric(&CRITIC_LOSS, critic);
        b.metric(&FLOW_LOSS, flow);
        b.metric(&POLICY_LOSS, policy);
        b.polyak(CRITIC, self.q.group(), self.q_target.group(), "fql.polyak", &c.polyak);
        b.train("q", CRITIC, self.q.group(), &c.critic, critic);
        b.train("flow", CRITIC, self.flow.group(), &c.flow, flow);
        b.train("policy", ACTOR, self.pi.group(), &c.actor, policy);
    }

    fn policy(&self) -> &Policy {
        &self.pi
    }

    fn act<'t>(&self, s: Var<'t>, how: Acting) -> Var<'t> {
        self.pi.act([s, self.noise("z of the action", s)], how)
    }

    fn critics(&self) -> Option<&Critics> {
        Some(&self.q)
    }
}

/// Traces of the authors' program.
pub const FOREIGN: &[Foreign] = &[Foreign {
    networks: &[("flow", "flow")],
    losses: &[("q", &["critic/critic_loss"]), ("flow", &["actor/bc_flow_loss"])],
    ..Foreign::new("fql", foreign)
}];

fn foreign(r: &mut dyn Reading, ours: &mut Ours) -> Result<(), Wrong> {
    let rate = r.adam_or(&["lr"], 3e-4)?;
    r.check_size("num_critics", r.copies("q"), "init.critic_*")?;
    let eps = r.number_or("ln_eps", (1e-12, 1.0), 1e-6)?;
    let net = |r: &dyn Reading, group: &str, on: bool| NetSpec {
        norm: if on { Norm::LayerAfter { eps } } else { Norm::None },
        activation: Activation::Gelu,
        ..r.hidden(group)
    };
    let (actor_ln, critic_ln) = (r.flag_or("actor_ln", false)?, r.flag_or("critic_ln", true)?);
    let aggregate = match r.word_or("q_agg", &["mean", "min"])? {
        "min" => Aggregate::Min,
        _ => Aggregate::Mean,
    };
    ours.config.put(FqlConfig {
        discount: r.constant_or("discount", SHARE, 0.99)?,
        polyak: r.constant_or("tau", SHARE, 0.005)?,
        distillation: r.constant_or("alpha", POSITIVE, 10.0)?,
        normalise: r.flag_or("normalize_q_loss", false)?,
        aggregate,
        flow_steps: r.whole_or("flow_steps", 1000, 10)? as usize,
        critics: r.copies("q"),
        policy_hidden: net(r, "pi", actor_ln),
        flow_hidden: net(r, "flow", actor_ln),
        critic_hidden: net(r, "q", critic_ln),
        actor: rate,
        flow: rate,
        critic: rate,
    });
    Ok(())
}
