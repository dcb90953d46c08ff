//! EMaQ, expected-max Q-learning. Ghasemipour, Schuurmans, Gu 2020, arXiv:2007.11091.
//!
//!   μ(a given s) = Σ_k c_k(s) μ_k(a given s)     K tanh-Gaussians, the behaviour
//!   L_μ          = -E[ log μ(a|s) ],             in `behaviour_updates` rounds before the first, and in every round online
//!   Q~           = ζ min_j Q_j + (1-ζ) max_j Q_j
//!   y            = r + γ m max_{i <= N} Q~^(s', a_i),  a_i ~ μ(s')                    eq. 7
//!   L_Q          = E[ w · Σ_j ( y - Q_j(s,a) )² ]
//!   acting       the a_i of largest Q~(s, a_i) of `candidates` draws of μ(s); while collecting, in a share ε of the states the
//!                first of them
//!
//! No policy is trained: N moves between the value of the behaviour (1) and Q-learning on its support.
//!
//! w is 1 unless an adaptation supplies it. Order: Q, Q̂; online then μ. No gradient passes the largest term that is taken out of
//! log μ before its exponentials, which does not change it.
//!
//! Metrics: those of [`super::measure`], of the action that it takes; `policy_std` is that of the components together,
//! with equal weights and before their tanh; `behaviour_loss` = L_μ; `backup_gain` = E[ max_i Q~^(s', a_i) - mean_i Q~^(s', a_i) ].
//!
//! Declared differences. There is no public program. The text fixes y, ζ, N as the one important number, acting by the best of
//! the draws, and a behaviour whose family matters. Ours are: the mixture, where the paper has an autoregressive model; every
//! number but N's range; that μ goes on learning online by one step a round; ε; that μ is fitted for `behaviour_updates`
//! rounds on all transitions, without holding any out to stop by.
//!
//! Cost per update (batch 256, 2x256, N = 25): 2.1 GFLOP; 2.7 online.

use super::measure::{CRITIC_LOSS, policy_metrics, squared_errors};
use super::{ACTOR, CRITIC, Dims, FitTo, Learner, Pretraining, Round};
use crate::autodiff::{Axis, Metric, NoiseKind, Schedule, Shape, Var};
use crate::config::limits::{MOST, RATE, WIDTHS};
use crate::config::{AdamConfig, NetSpec};
use crate::nn::{Acting, Critics, Head, Mlp, Params, Policy};

crate::config! {
    EmaqConfig "emaq", "Expected-max Q-learning" {
        hyper discount:       Schedule   = 0.99,       0.0..=1.0, "gamma";
        hyper polyak:         Schedule   = 0.005,      0.0..=1.0, "rho, target update rate";
        shape samples:        usize      = 25,         1..=1000,  "N, draws of the behaviour behind a target";
        shape candidates:     usize      = 25,         1..=1000,  "draws of the behaviour among which it acts";
        shape exploring_share: f64       = 0.1,        0.0..=1.0, "epsilon, share of states in which it collects with a plain draw of the behaviour";
        shape pessimism:      f64        = 1.0,        0.0..=1.0, "zeta, share of the least value against the largest";
        shape components:     usize      = 5,          1..=64,    "K, tanh-Gaussians of the behaviour";
        run   behaviour_updates: u64     = 100_000,    1..=MOST,  "rounds that fit the behaviour before training";
        shape behaviour_hidden: NetSpec  = [256, 256], WIDTHS,    "hidden layers of every component";
        shape mixture_hidden: NetSpec    = [64, 64],   WIDTHS,    "hidden layers of their weights";
        shape critic_hidden:  NetSpec    = [256, 256], WIDTHS,    "hidden layers of the critics";
        shape critics:        usize      = 2,          1..=64,    "J, number of critics";
        opt   critic:         AdamConfig = 3e-4,       RATE,      "optimiser of Q";
        opt   behaviour:      AdamConfig = 3e-4,       RATE,      "optimiser of the behaviour";
    }
}

/// Outside its own section: it collects as its options say.
pub const DEFAULTS: &str = "[online]\nexploration = \"sample\"\nactor_lr = \"constant(1)\"\n";

/// Fit of the behaviour.
pub static BEHAVIOUR: Metric = Metric::new("behaviour_loss", "L_mu", "", "Fit of the model of the behaviour");
/// What the maximum adds.
pub static GAIN: Metric = Metric::new(
    "backup_gain",
    "E[ max_i Q~^(s', a_i) - mean_i Q~^(s', a_i) ]",
    "",
    "Gain of the best draw in the target",
);

/// Networks of EMaQ.
#[derive(Debug)]
pub struct Emaq {
    config: EmaqConfig,
    /// the components, each a policy
    parts: Policy,
    /// log c_k up to a constant `[K, B, 1]`; of one component there is nothing to choose
    mixture: Option<Mlp>,
    q: Critics,
    q_target: Critics,
}

impl Emaq {
    /// Declares the behaviour, its weights, and critics with their target.
    pub fn declare(config: &EmaqConfig, dims: Dims, params: &mut Params) -> Emaq {
        let (c, k) = (config, config.components);
        let head = Head::tanh_gaussian((-5.0, 2.0));
        let parts = Policy::ensemble(params, "pi", k, dims.sa(), head, &c.behaviour_hidden);
        let mixture = (k > 1).then(|| {
            let group = params.group("mixture", true);
            Mlp::declare(params, group, k, (dims.s, 1), &c.mixture_hidden)
        });
        let q = Critics::declare(params, "q", c.critics, dims.sa(), &c.critic_hidden);
        let q_target = q.target(params);
        Emaq { config: config.clone(), parts, mixture, q, q_target }
    }

    /// log c_k `[K, B, 1]`.
    fn log_weights<'t>(&self, s: Var<'t>) -> Var<'t> {
        let Some(mixture) = &self.mixture else {
            return s.constant(0.0).expand(Shape::new(1, s.shape().rows, 1));
        };
        let x = mixture.forward(s);
        x - log_sum_exp(x)
    }

    /// log μ(a|s) `[B, 1]`.
    fn log_prob<'t>(&self, s: Var<'t>, a: Var<'t>) -> Var<'t> {
        log_sum_exp(self.log_weights(s) + self.parts.members().log_prob(s, a))
    }

    /// `n` actions of μ for every state in succession, `[B·n, A]`.
    fn draw<'t>(&self, s: Var<'t>, n: usize) -> Var<'t> {
        let (actions, _) = self.parts.members().draw(s, n);
        // Of exponential variables with these rates the first to come is the k-th with probability c_k.
        let rates = self.log_weights(s).repeat(n).exp().clamp(1e-30, 1.0);
        let unit = s.noise("choice of a component", NoiseKind::Uniform, rates.shape());
        let waits = -(1.0 - unit).log() / rates;
        let chosen = waits.min(Axis::Heads).total().gradient(waits);
        (chosen * actions).sum(Axis::Heads).named(format!("a~mu({})", s.name()))
    }

    /// Q~ `[B, n]` of n actions of every state, `[B·n, A]`.
    fn values<'t>(&self, critics: &Critics, s: Var<'t>, a: Var<'t>) -> Var<'t> {
        let q = critics.all(s, a);
        let mixed = match self.config.pessimism {
            1.0 => q.min(Axis::Heads),
            zeta => q.min(Axis::Heads) * zeta + q.max(Axis::Heads) * (1.0 - zeta),
        };
        mixed.reshape(Shape::new(1, s.shape().rows, a.shape().rows / s.shape().rows))
    }

    fn critic_loss<'t>(&self, b: &Round<'t>) -> Var<'t> {
        let c = &self.config;
        let a2 = b.perturb(self.draw(b.s2, c.samples));
        let values = self.values(&self.q_target, b.s2, a2);
        let best = values.max(Axis::Cols);
        b.metric(&GAIN, (best - values.mean_over(Axis::Cols)).mean());
        let y = b.r + b.hyper("emaq.discount", &c.discount) * b.m * best;
        let (q, squares) = squared_errors(b, &self.q, y);
        squares.sum(Axis::Heads).weighted_mean(b.weight(q))
    }

    fn train_behaviour(&self, b: &Round<'_>) {
        let loss = -self.log_prob(b.s, b.a).mean();
        b.metric(&BEHAVIOUR, loss);
        b.train("behaviour", ACTOR, self.parts.group(), &self.config.behaviour, loss);
        if let Some(mixture) = &self.mixture {
            b.train("mixture", ACTOR, mixture.group(), &self.config.behaviour, loss);
        }
    }
}

/// ln Σ exp over the heads, `[K, B, 1]` to `[1, B, 1]`.
fn log_sum_exp(x: Var<'_>) -> Var<'_> {
    let most = x.max(Axis::Heads).detach();
    (x - most).exp().sum(Axis::Heads).log() + most
}

/// The action of the largest value: values `[B, n]` of actions `[B·n, A]`, n for every state; of equal ones the first.
fn best<'t>(values: Var<'t>, actions: Var<'t>) -> Var<'t> {
    let (rows, n, a) = (values.shape().rows, values.shape().cols, actions.shape().cols);
    let chosen = values.max(Axis::Cols).total().gradient(values);
    let chosen = chosen.reshape(Shape::new(rows, n, 1)) * actions.reshape(Shape::new(rows, n, a));
    chosen.sum(Axis::Rows).reshape(Shape::new(1, rows, a))
}

impl Learner for Emaq {
    fn trace<'t>(&self, b: &Round<'t>) {
        policy_metrics(b, b.greedy(), &self.parts, b.s);
        let loss = self.critic_loss(b);
        b.metric(&CRITIC_LOSS, loss);
        b.train("q", CRITIC, self.q.group(), &self.config.critic, loss);
        b.polyak(CRITIC, self.q.group(), self.q_target.group(), "emaq.polyak", &self.config.polyak);
        if b.phase().online {
            self.train_behaviour(b);
        }
    }

    fn policy(&self) -> &Policy {
        &self.parts
    }

    fn act<'t>(&self, s: Var<'t>, how: Acting) -> Var<'t> {
        let (c, rows) = (&self.config, s.shape().rows);
        let draws = self.draw(s, c.candidates);
        let best = match c.candidates {
            1 => draws,
            _ => best(self.values(&self.q, s, draws), draws),
        };
        match how {
            Acting::Greedy => best,
            Acting::Noise { scale, clip } => {
                let noise = s.noise("exploration", NoiseKind::Normal, best.shape());
                best + (noise * scale).clamp(-clip, clip)
            }
            Acting::Sample => {
                let a = best.shape().cols;
                let first = draws.reshape(Shape::new(1, rows, c.candidates * a)).slice(0, a);
                let unit = s.noise("whether to draw", NoiseKind::Uniform, Shape::new(1, rows, 1));
                let plain = unit.less(s.constant(c.exploring_share));
                plain * first + (1.0 - plain) * best
            }
        }
    }

    fn critics(&self) -> Option<&Critics> {
        Some(&self.q)
    }

    fn pretrain(&self) -> Vec<Pretraining<'_>> {
        vec![Pretraining {
            name: "behaviour",
            group: self.parts.group(),
            to: FitTo::Data,
            updates: self.config.behaviour_updates,
            trace: Box::new(|b| self.train_behaviour(b)),
            given: None,
        }]
    }
}
