//! TD3. Fujimoto, van Hoof, Meger 2018, arXiv:1802.09477.
//!
//!   a' = clip( π̂(s') + clip(ε, ±c), ±1 ),  ε ~ N(0, σ²)                      target smoothing
//!   y  = r + γ m min_j Q̂_j(s', a')
//!   L_Q(θ) =  E[ w · Σ_j ( y - Q_j(s,a) )² ]                                 every round
//!   L_π(φ) = -E[ Q_1(s, π(s)) ]                                              every `actor_every`-th round
//!   Q̂ ← (1-ρ) Q̂ + ρ Q,  π̂ ← (1-ρ) π̂ + ρ π                                   in the policy's rounds only
//!
//! w is 1 unless an adaptation supplies it.
//! Order: Q, π (against the new Q), Q̂, π̂. The delay of `actor_every` rounds is that of the policy and of both targets.
//! Where the policy has a rate of its own instead (SO2, SUF, `online.actor_updates_per_step`), Q̂ follows Q in every
//! round of the critics, as SO2's program has it, and π̂ follows π.
//!
//! Metrics: those of [`super::measure`].
//!
//! Declared differences. From the paper: networks of 256-256 and rates of 3e-4, as in the authors' present program,
//! instead of 400-300 and 1e-3. From that program: none.
//!
//! Cost per update (batch 256, 2x256): 0.40 GFLOP, mean of two rounds.

use super::foreign::{ANY, Foreign, Ours, Reading, SHARE, Wrong};
use super::measure::{CRITIC_LOSS, POLICY_LOSS, policy_metrics, squared_errors};
use super::{ACTOR, CRITIC, Delay, Dims, Learner, Round};
use crate::autodiff::{Axis, NoiseKind, Schedule, Var};
use crate::config::limits::{RATE, WIDTHS};
use crate::config::{AdamConfig, NetSpec};
use crate::nn::{Critics, Head, Params, Policy};

crate::config! {
    Td3Config "td3", "Twin delayed deterministic policy gradient" {
        hyper discount:     Schedule   = 0.99,       0.0..=1.0, "gamma";
        hyper polyak:       Schedule   = 0.005,      0.0..=1.0, "rho, target update rate";
        shape target_noise: f64        = 0.2,        0.0..=1e3,     "standard deviation of the noise on target actions";
        shape target_clip:  f64        = 0.5,        0.0..=1e3,     "bound of the noise on target actions";
        shape actor_every:  u64        = 2,          1..=1_000_000,       "rounds between updates of the policy and the targets";
        shape hidden:       NetSpec    = [256, 256], WIDTHS,        "hidden layers of every network";
        shape critics:      usize      = 2,          1..=64,     "J, number of critics";
        opt   actor:        AdamConfig = 3e-4,       RATE,        "optimiser of the policy";
        opt   critic:       AdamConfig = 3e-4,       RATE,        "optimiser of Q";
    }
}

/// Networks of TD3.
#[derive(Debug)]
pub struct Td3 {
    config: Td3Config,
    pi: Policy,
    pi_target: Policy,
    q: Critics,
    q_target: Critics,
}

impl Td3 {
    /// Declares policy and critics with their targets.
    pub fn declare(config: &Td3Config, dims: Dims, params: &mut Params) -> Td3 {
        let c = config;
        let pi = Policy::declare(params, "pi", dims.sa(), Head::Deterministic, &c.hidden);
        let pi_target = pi.target(params);
        let q = Critics::declare(params, "q", c.critics, dims.sa(), &c.hidden);
        let q_target = q.target(params);
        Td3 { config: config.clone(), pi, pi_target, q, q_target }
    }

    /// y = r + γ m min_j Q̂_j(s', a') of these target critics, with the smoothed target action.
    fn target_of<'t>(&self, b: &Round<'t>, critics: &Critics) -> Var<'t> {
        let c = &self.config;
        let a2 = b.perturb(smoothed(b, &self.pi_target, (c.target_noise, c.target_clip)));
        let gamma = b.hyper("td3.discount", &c.discount);
        b.r + gamma * b.m * b.value(critics, b.s2, a2)
    }

    /// One round with the policy loss that `policy_loss` makes of π(s) `[B, A]` and Q_1(s, π(s)) `[B, 1]`.
    pub(super) fn round<'t>(&self, b: &Round<'t>, policy_loss: impl FnOnce(Var<'t>, Var<'t>) -> Var<'t>) {
        self.train_critics(b);
        self.train_policy(b, policy_loss);
    }

    /// The first half of a round: moves Q towards its target `[B, 1]`, which is returned with the weights of its loss.
    pub(super) fn train_critics<'t>(&self, b: &Round<'t>) -> (Var<'t>, Option<Var<'t>>) {
        policy_metrics(b, b.greedy(), &self.pi, b.s);
        let y = self.target_of(b, &self.q_target);
        let (q, squares) = squared_errors(b, &self.q, y);
        let w = b.weight(q);
        let loss = squares.sum(Axis::Heads).weighted_mean(w);
        b.metric(&CRITIC_LOSS, loss);
        b.train("q", CRITIC, self.q.group(), &self.config.critic, loss);
        (y, w)
    }

    /// The second half: moves the policy against the new Q, and the targets.
    pub(super) fn train_policy<'t>(
        &self,
        b: &Round<'t>,
        policy_loss: impl FnOnce(Var<'t>, Var<'t>) -> Var<'t>,
    ) {
        let c = &self.config;
        let a = self.pi.mode(b.s);
        let loss = policy_loss(a, b.policy_value(&self.q, a, &|critics| critics.one(b.s, a, 0)));
        b.metric(&POLICY_LOSS, loss);
        b.train("policy", ACTOR, self.pi.group(), &c.actor, loss);
        let with = if b.phase().own_pace { CRITIC } else { ACTOR };
        b.polyak(with, self.q.group(), self.q_target.group(), "td3.polyak", &c.polyak);
        b.polyak(ACTOR, self.pi.group(), self.pi_target.group(), "td3.polyak", &c.polyak);
    }
}

/// a' `[B, A]`: the target policy's action at s' with clipped noise of this spread and bound, within [-1, 1].
pub(super) fn smoothed<'t>(b: &Round<'t>, target: &Policy, (spread, bound): (f64, f64)) -> Var<'t> {
    let mode = target.mode(b.s2);
    let noisy = match spread {
        0.0 => mode,
        _ => {
            let noise = b.noise("target noise", NoiseKind::Normal, mode.shape());
            mode + (noise * spread).clamp(-bound, bound)
        }
    };
    noisy.clamp(-1.0, 1.0).named("a'")
}

impl Learner for Td3 {
    fn trace<'t>(&self, b: &Round<'t>) {
        self.round(b, |_, q| -q.mean());
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

    fn target<'t>(&self, b: &Round<'t>, critics: &Critics) -> Option<Var<'t>> {
        Some(self.target_of(b, critics))
    }

    fn delay(&self) -> Delay {
        Delay::last_of(self.config.actor_every)
    }
}

/// Traces of the authors' TD3.
pub const FOREIGN: &[Foreign] = &[Foreign::new("td3", foreign)];

pub(super) fn foreign(r: &mut dyn Reading, ours: &mut Ours) -> Result<(), Wrong> {
    ours.config.put(Td3Config {
        discount: r.constant_or("discount", SHARE, 0.99)?,
        polyak: r.constant_or("tau", SHARE, 0.005)?,
        target_noise: r.number_or("policy_noise", ANY, 0.2)?,
        target_clip: r.number_or("noise_clip", (0.0, 1e9), 0.5)?,
        actor_every: r.whole_or("policy_freq", u64::MAX, 2)?,
        hidden: r.hidden("q"),
        critics: r.copies("q"),
        actor: r.adam_or(&["actor_lr", "policy_lr", "lr"], 3e-4)?,
        critic: r.adam_or(&["critic_lr", "q_lr", "lr"], 3e-4)?,
    });
    Ok(())
}
