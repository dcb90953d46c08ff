//! AWAC, advantage-weighted actor-critic. Nair, Gupta, Dalal, Levine 2020, arXiv:2006.09359.
//!
//!   y       =  r + γ m min_j Q̂_j(s', a'),  a' ~ π(s'), clipped to [-1, 1]
//!   L_Q(θ)  =  E[ w · Σ_j ( Q_j(s,a) - y )² ]                                   eq. 5
//!   A       =  min_j Q_j(s,a) - min_j Q_j(s, ã),  ã ~ π(s), clipped
//!   L_π(φ)  = -E[ min(e^{A/λ}, 100) · log π(a|s) ],  A a constant              eq. 13
//!   Q̂ ← (1-ρ) Q̂ + ρ Q
//!
//! w is 1 unless an adaptation supplies it. Order: Q, π (which sees the new Q), Q̂. The same round serves
//! offline and online: there is nothing to switch. Where an adaptation drops the tie to the data online,
//! L_π = -E[ min_j Q_j(s, ã) ], ã reparameterised. An adaptation may choose the action that eq. 13 clones.
//!
//! Metrics: those of [`super::measure`]; with g = min(e^{A/λ}, 100): `advantage_mean` = `E[ A ]`,
//! `advantage_weight_mean` = `E[ g ]`, `advantage_clip_fraction` = share of g at its bound,
//! `advantage_effective_share` = (Σ g)² / (B Σ g²).
//!
//! `mean`: the policy's mean is tanh f(s), as in the authors' program, or f(s) itself, as in CORL, whose evaluations
//! leave it to the environment to clip that; here the mode is clipped to [-1, 1].
//!
//! Declared differences. From the authors' program: the weights are not normalised over the batch, log σ is clamped
//! instead of laid between -6 and 0 by a sigmoid, no weight decay; networks, rates and batches are CORL's. From both:
//! none else. One sample ã stands for the value of s, not an average; A/λ is cut at log 100 before the exponential,
//! which is the same number without overflow. `detach`: no gradient of A reaches the policy through ã.
//!
//! Cost per update (batch 256, 3x256): 1.10 GFLOP.

use super::foreign::{Foreign, Ours, POSITIVE, Reading, SHARE, Wrong};
use super::measure::{CRITIC_LOSS, POLICY_LOSS, advantage_weight, policy_metrics, squared_errors};
use super::{ACTOR, CRITIC, Dims, Learner, Round};
use crate::autodiff::{Axis, Schedule, Var};
use crate::config::limits::{RATE, WIDTHS};
use crate::config::{AdamConfig, NetSpec};
use crate::nn::{self, Critics, Head, Params, Policy};

crate::choices! {
    /// The mean of the policy.
    Mean {
        Tanh   = "tanh",   "tanh f(s), always an action";
        Linear = "linear", "f(s), clipped to [-1, 1] where it acts";
    }
}

crate::config! {
    AwacConfig "awac", "Advantage-weighted actor-critic" {
        hyper discount:     Schedule   = 0.99,            0.0..=1.0,  "gamma";
        hyper polyak:       Schedule   = 0.005,           0.0..=1.0,  "rho, target update rate";
        shape temperature:  f64        = 1.0,             1e-6..=1e6, "lambda, scale of the advantages; large: behaviour cloning";
        shape weight_bound: f64        = 100.0,           1.0..=1e12,      "upper bound of e^(A / lambda)";
        shape mean:         Mean       = Mean::Tanh,      ..,         "mean of the policy";
        shape log_std_min:  f64        = -20.0,           -20.0..2.0, "lower bound of log sigma; the upper one is 2";
        shape hidden:       NetSpec    = [256, 256, 256], WIDTHS,         "hidden layers of every network";
        shape critics:      usize      = 2,               1..=64,      "J, number of critics";
        opt   actor:        AdamConfig = 3e-4,            RATE,         "optimiser of the policy";
        opt   critic:       AdamConfig = 3e-4,            RATE,         "optimiser of Q";
    }
}

/// Networks of AWAC.
#[derive(Debug)]
pub struct Awac {
    config: AwacConfig,
    q: Critics,
    q_target: Critics,
    pi: Policy,
}

impl Awac {
    /// Declares Q, its target and the policy.
    pub fn declare(config: &AwacConfig, dims: Dims, params: &mut Params) -> Awac {
        let c = config;
        let q = Critics::declare(params, "q", c.critics, dims.sa(), &c.hidden);
        let q_target = q.target(params);
        let mean = match c.mean {
            Mean::Tanh => nn::Mean::Tanh,
            Mean::Linear => nn::Mean::Linear,
        };
        let head = Head::Gaussian { mean, state_std: false, log_std: (c.log_std_min, 2.0) };
        let pi = Policy::declare(params, "pi", dims.sa(), head, &c.hidden);
        Awac { config: config.clone(), q, q_target, pi }
    }

    fn critic_loss<'t>(&self, b: &Round<'t>) -> Var<'t> {
        let a2 = b.perturb(self.pi.sample(b.s2).clamp(-1.0, 1.0).named("a'"));
        let gamma = b.hyper("awac.discount", &self.config.discount).named("gamma");
        let y = b.r + gamma * b.m * b.value(&self.q_target, b.s2, a2);
        let (q, squares) = squared_errors(b, &self.q, y);
        squares.sum(Axis::Heads).weighted_mean(b.weight(q))
    }

    fn actor_loss<'t>(&self, b: &Round<'t>) -> Var<'t> {
        let drawn = self.pi.sample(b.s).clamp(-1.0, 1.0).named("a~");
        let value = self.q.min(b.s, drawn);
        if b.unconstrained() {
            return -value.mean();
        }
        let a = b.imitate().unwrap_or(b.a);
        let advantage = self.q.min(b.s, a) - value.detach();
        let exponent = advantage / self.config.temperature;
        let weight = advantage_weight(b, advantage, exponent, self.config.weight_bound);
        let cloning = -(weight * self.pi.log_prob(b.s, a)).mean();
        match b.tie() {
            Some(tie) => tie * cloning - (1.0 - tie) * value.mean(),
            None => cloning,
        }
    }
}

impl Learner for Awac {
    fn trace<'t>(&self, b: &Round<'t>) {
        let c = &self.config;
        policy_metrics(b, b.greedy(), &self.pi, b.s);
        let loss = self.critic_loss(b);
        b.metric(&CRITIC_LOSS, loss);
        b.train("q", CRITIC, self.q.group(), &c.critic, loss);
        let loss = self.actor_loss(b);
        b.metric(&POLICY_LOSS, loss);
        b.train("policy", ACTOR, self.pi.group(), &c.actor, loss);
        b.polyak(CRITIC, self.q.group(), self.q_target.group(), "awac.polyak", &c.polyak);
    }

    fn imitates(&self) -> bool {
        true
    }

    fn policy(&self) -> &Policy {
        &self.pi
    }

    fn critics(&self) -> Option<&Critics> {
        Some(&self.q)
    }

    fn target_critics(&self) -> Option<&Critics> {
        Some(&self.q_target)
    }
}

/// Traces of CORL's AWAC.
pub const FOREIGN: &[Foreign] = &[Foreign::new("awac", foreign)];

fn foreign(r: &mut dyn Reading, ours: &mut Ours) -> Result<(), Wrong> {
    ours.config.put(AwacConfig {
        discount: r.constant_or("discount", SHARE, 0.99)?,
        polyak: r.constant_or("tau", SHARE, 0.005)?,
        temperature: r.number_or("awac_lambda", POSITIVE, 1.0)?,
        weight_bound: r.number_or("exp_adv_max", POSITIVE, 100.0)?,
        mean: match r.word_or("mean", &["linear", "tanh"])? {
            "tanh" => Mean::Tanh,
            _ => Mean::Linear,
        },
        log_std_min: r.log_std_min_or(-20.0)?,
        hidden: r.hidden("q"),
        critics: r.copies("q"),
        actor: r.adam_or(&["actor_lr", "policy_lr", "lr"], 3e-4)?,
        critic: r.adam_or(&["critic_lr", "q_lr", "lr"], 3e-4)?,
    });
    Ok(())
}
