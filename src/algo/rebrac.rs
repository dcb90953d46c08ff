//! ReBRAC, TD3+BC with separate penalties of the policy and of its values. Tarasov, Kurenkov, Nikulin, Kolesnikov 2023,
//! arXiv:2305.09836.
//!
//!   a' = clip( π̂(s') + clip(ε, ±c), ±1 ),  ε ~ N(0, σ²)
//!   y  = r + γ m ( min_j Q̂_j(s', a') - β₂ k Σ_i ( a'_i - a'_i,data )² )            eq. 6
//!   L_Q(θ) = E[ w · Σ_j ( y - Q_j(s,a) )² ]                                       every round
//!   L_π(φ) = E[ β₁ Σ_i ( π_i(s) - a_i )² - λ min_j Q_j(s, π(s)) ]                  eq. 5, the first of every `actor_every` rounds
//!   λ = 1 / E[ |min_j Q_j(s, π(s))| ], a constant for the gradient; 1 with `normalise = false`
//!
//! a'_data is the action that the data have in s', k is 1 where there is one and 0 after the last row of an episode. Online
//! β₂ is 0, and β₁ falls in a straight line towards 0 at the end of the phase, but not below `cloning_floor` of itself. Layer
//! normalisation stands after the critics' rectifiers.
//!
//! w is 1 unless an adaptation supplies it. An adaptation may drop β₁, β₂ and λ online.
//! Order: Q; then π̂ ← (1-ρ) π̂ + ρ π, π (against the new Q), Q̂ ← (1-ρ) Q̂ + ρ Q. So π̂ follows the π of before, Q̂ the new
//! Q, both in the policy's rounds only; where the policy has a rate of its own, Q̂ follows in every round.
//!
//! Metrics: those of [`super::measure`]; `q_weight` = λ; `target_distance` = E[ k Σ_i ( a'_i - a'_i,data )² ].
//!
//! Declared differences. From the authors' program in an update: none, where every row has a next action; rows without one
//! they drop. Online it draws half of every batch from the data, as theirs, and takes no noise; their fine-tuning lets
//! online rows imitate the policy's own action in s', which β₂ = 0 makes void.
//!
//! Published β₁, β₂ (medium, medium-replay, medium-expert): halfcheetah .001 .01, .01 .001, .01 .1; hopper .01 .01, .05 .5,
//! .1 .01; walker2d .05 .1, .05 .01, .01 .01.
//!
//! Cost per update (batch 1024, 3x256): 3.4 GFLOP, mean of two rounds.

use super::foreign::{ANY, Foreign, Ours, Reading, SHARE, Wrong};
use super::measure::{CRITIC_LOSS, POLICY_LOSS, policy_metrics, squared_errors};
use super::td3::smoothed;
use super::td3_bc::q_weight;
use super::{ACTOR, CRITIC, Delay, Dims, Learner, Round};
use crate::autodiff::{Axis, Metric, Schedule, Var};
use crate::config::limits::{RATE, WIDTHS};
use crate::config::{AdamConfig, InitScheme, NetSpec, Norm};
use crate::nn::{Critics, Head, Params, Policy};

crate::config! {
    RebracConfig "rebrac", "TD3+BC whose target is penalised too" {
        hyper discount:       Schedule = 0.99,  0.0..=1.0, "gamma";
        hyper polyak:         Schedule = 0.005, 0.0..=1.0, "rho, target update rate";
        hyper cloning:        Schedule = 0.01,  0.0..=1e6, "beta_1, weight of cloning in the policy's loss";
        hyper target_cloning: Schedule = 0.01,  0.0..=1e6, "beta_2, the same in the target of Q; fine-tuning has 0";
        shape cloning_floor:  f64      = 0.5,   0.0..=1.0, "share of beta_1 below which it does not fall during fine-tuning; 1: it stays";
        shape normalise:      bool     = true,  ..,        "divide Q by its mean size in the policy's loss";
        shape target_noise:   f64      = 0.2,   0.0..=1e3, "standard deviation of the noise on target actions";
        shape target_clip:    f64      = 0.5,   0.0..=1e3, "bound of the noise on target actions";
        shape actor_every:    u64      = 2,     1..=1_000_000, "rounds between updates of the policy and the targets";
        shape policy_hidden:  NetSpec  = [256, 256, 256], WIDTHS, "hidden layers of the policy";
        shape critic_hidden:  NetSpec  = "256x256x256 relu layer_norm", WIDTHS, "hidden layers of the critics";
        shape critics:        usize    = 2,     1..=64,    "J, number of critics";
        opt   actor:          AdamConfig = 1e-3, RATE,     "optimiser of the policy";
        opt   critic:         AdamConfig = 1e-3, RATE,     "optimiser of Q";
    }
}

/// Outside its own section: half of each batch from the data, no noise, the policy's full rate.
pub const DEFAULTS: &str =
    "[online]\nbuffer = \"mix(0.5)\"\nexploration = \"greedy\"\nactor_lr = \"constant(1)\"\n";

/// Distance of the target's actions from the data's.
pub static TARGET_DISTANCE: Metric = Metric::new(
    "target_distance",
    "E[ k sum_i (a'_i - a'_data,i)^2 ]",
    "",
    "Distance of the target's actions",
);

/// Networks of ReBRAC.
#[derive(Debug)]
pub struct Rebrac {
    config: RebracConfig,
    pi: Policy,
    pi_target: Policy,
    q: Critics,
    q_target: Critics,
}

impl Rebrac {
    /// Declares policy and critics with their targets.
    pub fn declare(config: &RebracConfig, dims: Dims, params: &mut Params) -> Rebrac {
        let c = config;
        let net = c.policy_hidden.begin(InitScheme::FanIn { last: 1e-3 });
        let pi = Policy::declare(params, "pi", dims.sa(), Head::Deterministic, &net);
        let pi_target = pi.target(params);
        let net = c.critic_hidden.begin(InitScheme::FanIn { last: 3e-3 });
        let q = Critics::declare(params, "q", c.critics, dims.sa(), &net);
        let q_target = q.target(params);
        Rebrac { config: config.clone(), pi, pi_target, q, q_target }
    }

    fn target<'t>(&self, b: &Round<'t>) -> Var<'t> {
        let c = &self.config;
        let a2 = smoothed(b, &self.pi_target, (c.target_noise, c.target_clip));
        let least = b.value(&self.q_target, b.s2, b.perturb(a2));
        let value = if b.phase().online {
            least
        } else {
            let (recorded, known) = b.next_action();
            let distance = known * (a2 - recorded).square().sum(Axis::Cols);
            b.metric(&TARGET_DISTANCE, distance.mean());
            least - b.hyper("rebrac.target_cloning", &c.target_cloning) * distance
        };
        b.r + b.hyper("rebrac.discount", &c.discount) * b.m * value
    }

    fn critic_loss<'t>(&self, b: &Round<'t>) -> Var<'t> {
        let y = self.target(b);
        let (q, squares) = squared_errors(b, &self.q, y);
        squares.sum(Axis::Heads).weighted_mean(b.weight(q))
    }

    /// β₁ of the round.
    fn cloning<'t>(&self, b: &Round<'t>) -> Var<'t> {
        cooled(b, b.hyper("rebrac.cloning", &self.config.cloning), self.config.cloning_floor)
    }

    fn policy_loss<'t>(&self, b: &Round<'t>) -> Var<'t> {
        let a = self.pi.mode(b.s);
        let q = self.q.min(b.s, a);
        if b.unconstrained() {
            return -q.mean();
        }
        let cloning = b.tied(self.cloning(b) * (a - b.a).square().sum(Axis::Cols));
        if !self.config.normalise {
            return (cloning - q).mean();
        }
        (cloning - q_weight(b, "lambda", 1.0, q) * q).mean()
    }
}

/// A weight that online falls in a straight line towards 0 at the end of the phase, but not below this share of itself.
pub(super) fn cooled<'t>(b: &Round<'t>, weight: Var<'t>, floor: f64) -> Var<'t> {
    if !b.phase().online || floor == 1.0 {
        return weight;
    }
    let left = b.hyper("left", &Schedule::Linear { from: 1.0, to: 0.0, steps: Schedule::AUTO });
    weight * left.clamp(floor, f64::INFINITY)
}

impl Learner for Rebrac {
    fn trace<'t>(&self, b: &Round<'t>) {
        let c = &self.config;
        policy_metrics(b, b.greedy(), &self.pi, b.s);
        let loss = self.critic_loss(b);
        b.metric(&CRITIC_LOSS, loss);
        b.train("q", CRITIC, self.q.group(), &c.critic, loss);
        let loss = self.policy_loss(b);
        b.metric(&POLICY_LOSS, loss);
        b.polyak(ACTOR, self.pi.group(), self.pi_target.group(), "rebrac.polyak", &c.polyak);
        b.train("policy", ACTOR, self.pi.group(), &c.actor, loss);
        let with = if b.phase().own_pace { CRITIC } else { ACTOR };
        b.polyak(with, self.q.group(), self.q_target.group(), "rebrac.polyak", &c.polyak);
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

    fn delay(&self) -> Delay {
        Delay::first_of(self.config.actor_every)
    }

    fn next_action(&self) -> bool {
        true
    }
}

/// Traces of CORL's port of the authors' program.
pub const FOREIGN: &[Foreign] = &[Foreign::new("rebrac", foreign)];

fn foreign(r: &mut dyn Reading, ours: &mut Ours) -> Result<(), Wrong> {
    r.check_size("num_critics", r.copies("q"), "init.critic_*")?;
    let eps = r.number_or("ln_eps", (1e-12, 1.0), 1e-6)?;
    let norm = |on: bool| if on { Norm::LayerAfter { eps } } else { Norm::None };
    ours.config.put(RebracConfig {
        discount: r.constant_or("discount", SHARE, 0.99)?,
        polyak: r.constant_or("tau", SHARE, 0.005)?,
        cloning: r.constant_or("actor_bc_coef", ANY, 1.0)?,
        target_cloning: r.constant_or("critic_bc_coef", ANY, 1.0)?,
        cloning_floor: 0.5,
        normalise: r.flag_or("normalize_q", true)?,
        target_noise: r.number_or("policy_noise", ANY, 0.2)?,
        target_clip: r.number_or("noise_clip", (0.0, 1e9), 0.5)?,
        actor_every: r.whole_or("policy_freq", u64::MAX, 2)?,
        policy_hidden: NetSpec { norm: norm(r.flag_or("actor_ln", false)?), ..r.hidden("pi") },
        critic_hidden: NetSpec { norm: norm(r.flag_or("critic_ln", true)?), ..r.hidden("q") },
        critics: r.copies("q"),
        actor: r.adam_or(&["actor_lr", "actor_learning_rate"], 1e-3)?,
        critic: r.adam_or(&["critic_lr", "critic_learning_rate"], 1e-3)?,
    });
    Ok(())
}
