//! BRAC, behaviour-regularised actor-critic. Wu, Tucker, Nachum 2019, arXiv:1911.11361.
//!
//!   b(a given s)  a tanh-Gaussian fitted to the data in `behaviour_updates` rounds before the first, then frozen
//!   kl     D(s) = mean_k ( log π(a_k|s) - log b(ā_k|s) ),  a_k ~ π(s), n draws, ā_k = clip(a_k, ±0.999)
//!   mmd    D(s) = mean_{k,l} h(a_k, a_l) - 2 mean_{k,l} h(a_k, e_l) + mean_{k,l} h(e_k, e_l),  e ~ b(s), n draws each,
//!          h(x, y) = exp( -Σ_i |x_i - y_i| / 20 )
//!   dual_kl  D(s) = 1 + log( φ(c(s,ã)) + 1e-8 ) - φ(c(s,a_D)),  ã ~ π(s), a_D the recorded action, φ = softplus; no b,
//!          L_c  = -E[ D(s) ] + 5 E[ max(0, g - 1)² ],  g = ( 1e-8 + ‖∇_a c(s, x)‖² )^½,  x = ã + u (a_D - ã),  u ~ U(0, 1)
//!   Q~     = ζ min_j Q_j + (1-ζ) max_j Q_j
//!   value  y = r + γ m ( Q~^(s', a') - α_e log π(a'|s') - α_D D(s') ),  a' ~ π(s')
//!   policy y = r + γ m ( Q~^(s', a') - α_e log π(a'|s') )
//!   L_Q    = E[ w · Σ_j ( y - Q_j(s,a) )² ]
//!   L_π    = E[ α_e log π(a~|s) + α_D D(s) - u Q~(s, a~) ],  u = 0 in the first `cloning_rounds` rounds, then 1
//!   L_D    = -x E[ D(s) - target ],  α_D = clip(x, 0, 500), if α_D is learned
//!
//! In y and L_π the ã of the dual form is the action whose value stands beside it, a' and a~; L_c and L_D have draws of their
//! own. In s' it compares with the action recorded there; after the last row of an episode, where there is none, D is 0.
//! It shares the rows of a round out among `discriminator_steps` steps of c: the first share serves all that is above, each
//! further one its own step.
//!
//! w is 1 unless an adaptation supplies it; an adaptation may drop D online, or tie a batch by x: then x D and 1 - x (1 - u). Order: Q̂ ← (1-ρ) Q̂ + ρ Q, then Q, π, c, α_D (D
//! of the new π and c), and c on the further shares.
//!
//! Metrics: those of [`super::measure`]; `policy_entropy` = -E[ log π(a~|s) ]; `divergence` = E[ D(s) ];
//! `divergence_weight` = α_D; `behaviour_loss` = -E[ log b(a|s) ] on the batch; `discriminator_loss` = L_c and
//! `discriminator_slope` = `E[ g ]` of the first share.
//!
//! Declared differences. From the authors' program in an update: none known, and there is no trace; its Wasserstein distance is
//! not here. Online, which the paper has not, b stays, and α_D falls in a straight line over the phase, but not below
//! `cooling_floor` of itself; the dual form leaves D(s') out of y, since collected transitions do not say what comes next. The
//! size and rate of c are ours.
//!
//! Cost per update (batch 256, policy 2x200, critics 2x300): 0.8 GFLOP with n = 4, kl in the target; 2.4 with dual_kl and
//! three times the rows.

use super::measure::{CRITIC_LOSS, POLICY_LOSS, policy_metrics, squared_errors};
use super::rebrac::cooled;
use super::soft::{ENTROPY, scalars};
use super::{ACTOR, CRITIC, Dims, FitTo, Learner, Pretraining, Round};
use crate::autodiff::{Axis, GroupId, Metric, NoiseKind, ParamId, Schedule, Shape, Var};
use crate::config::limits::{COUNT, MOST, RATE, WIDTHS};
use crate::config::{AdamConfig, NetSpec};
use crate::nn::{Critics, Head, Params, Policy};

crate::choices! {
    /// Where the divergence stands.
    Penalty {
        Value  = "value",  "in the target of Q and in the policy's loss";
        Policy = "policy", "in the policy's loss alone";
    }
}

crate::choices! {
    /// The distance of the policy from the behaviour.
    Divergence {
        Kl  = "kl",  "Kullback-Leibler divergence, from draws of the policy";
        Mmd = "mmd", "squared maximum mean discrepancy with a Laplacian kernel, from draws of both";
        DualKl = "dual_kl", "Kullback-Leibler divergence from the recorded actions, by a trained discriminator";
    }
}

crate::choices! {
    /// The weight α_D of the divergence.
    DivergenceWeight {
        Fixed(value: f64 = 0.0..=1e6) = "fixed", "this value";
        Learned(target: f64 = -1e6..=1e6) = "learned", "trained from 1 so that the divergence comes to this value";
    }
}

crate::config! {
    BracConfig "brac", "Behaviour-regularised actor-critic" {
        hyper discount:       Schedule   = 0.99,  0.0..=1.0, "gamma";
        hyper polyak:         Schedule   = 0.005, 0.0..=1.0, "rho, target update rate";
        shape penalty:        Penalty    = Penalty::Value,    .., "where the divergence stands";
        shape divergence:     Divergence = Divergence::Kl,    .., "distance of the policy from the behaviour";
        shape weight:         DivergenceWeight = DivergenceWeight::Fixed(0.1), .., "alpha_D, weight of the divergence";
        shape cooling_floor:  f64        = 1.0,   0.0..=1.0, "share of alpha_D below which it does not fall during fine-tuning; 1: it stays";
        hyper entropy:        Schedule   = 0.0,   0.0..=1e6, "alpha_e, weight of the policy's entropy";
        shape samples:        usize      = 4,     1..=64,    "n, draws of each policy behind the divergence";
        shape discriminator_steps: usize = 3,     1..=16,    "steps of the discriminator in a round, at most one a row, each on its share of them; the first share serves all else";
        shape pessimism:      f64        = 1.0,   0.0..=1.0, "zeta, share of the least value against the largest";
        shape cloning_rounds: u64        = 20_000, COUNT,    "first rounds in which the policy only approaches the behaviour";
        run   behaviour_updates: u64     = 100_000, 1..=MOST, "rounds that fit the behaviour before training";
        shape policy_hidden:  NetSpec    = [200, 200], WIDTHS, "hidden layers of the policy and of the behaviour";
        shape critic_hidden:  NetSpec    = [300, 300], WIDTHS, "hidden layers of the critics and of the discriminator";
        shape critics:        usize      = 2,     1..=64,    "J, number of critics";
        opt   actor:          AdamConfig = 3e-4,  RATE,      "optimiser of the policy";
        opt   critic:         AdamConfig = 1e-3,  RATE,      "optimiser of Q";
        opt   behaviour:      AdamConfig = 1e-3,  RATE,      "optimiser of the behaviour";
        opt   discriminator:  AdamConfig = 1e-3,  RATE,      "optimiser of the discriminator";
        opt   weight_optimiser: AdamConfig = 1e-3, RATE,     "optimiser of alpha_D";
    }
}

/// Distance of the policy from the behaviour.
pub static DIVERGENCE: Metric = Metric::new("divergence", "E[ D(s) ]", "", "Distance from the behaviour");
/// Its weight.
pub static WEIGHT: Metric = Metric::new("divergence_weight", "alpha_D", "", "Weight of the divergence");
/// Fit of the behaviour.
pub static BEHAVIOUR: Metric =
    Metric::new("behaviour_loss", "-E[ log b(a|s) ]", "", "Fit of the model of the behaviour");
/// Loss of the discriminator.
pub static DISCRIMINATOR: Metric = Metric::new("discriminator_loss", "L_c", "", "Loss of the discriminator");
/// Its slope between the actions that it tells apart.
pub static SLOPE: Metric = Metric::new("discriminator_slope", "E[ g ]", "", "Slope of the discriminator");

/// Scale of the kernel.
const KERNEL: f64 = 20.0;
/// Largest |a| whose density under b is asked for.
const INSIDE: f64 = 1.0 - 1e-3;
/// Largest learned α_D.
const WEIGHT_BOUND: f64 = 500.0;
/// Weight of slopes above 1 in the discriminator's loss.
const STEEPNESS: f64 = 5.0;
/// Added before logarithms and roots.
const TINY: f64 = 1e-8;
/// Names of the steps of the discriminator, by their turn.
const TURNS: [&str; 16] = [
    "c", "c 2", "c 3", "c 4", "c 5", "c 6", "c 7", "c 8", "c 9", "c 10", "c 11", "c 12", "c 13", "c 14",
    "c 15", "c 16",
];

/// What measures the divergence.
#[derive(Debug)]
enum Model {
    Behaviour(Policy),
    Discriminator(Critics),
}

/// Networks of BRAC.
#[derive(Debug)]
pub struct Brac {
    config: BracConfig,
    pi: Policy,
    q: Critics,
    q_target: Critics,
    model: Model,
    weight: Option<(GroupId, ParamId)>,
}

impl Brac {
    /// Declares policy, critics with their target, the behaviour or the discriminator, and α_D if it is learned.
    pub fn declare(config: &BracConfig, dims: Dims, params: &mut Params) -> Brac {
        let c = config;
        let head = Head::tanh_gaussian((-5.0, 2.0));
        let pi = Policy::declare(params, "pi", dims.sa(), head, &c.policy_hidden);
        let q = Critics::declare(params, "q", c.critics, dims.sa(), &c.critic_hidden);
        let q_target = q.target(params);
        let model = match c.divergence {
            Divergence::DualKl => {
                Model::Discriminator(Critics::declare(params, "c", 1, dims.sa(), &c.critic_hidden))
            }
            Divergence::Kl | Divergence::Mmd => {
                Model::Behaviour(Policy::declare(params, "behaviour", dims.sa(), head, &c.policy_hidden))
            }
        };
        let weight = match c.weight {
            DivergenceWeight::Fixed(_) => None,
            DivergenceWeight::Learned(_) => Some(scalars(params, "divergence_weight", 1, 1.0)),
        };
        Brac { config: config.clone(), pi, q, q_target, model, weight }
    }

    /// α_D of the round.
    fn weight<'t>(&self, b: &Round<'t>) -> Var<'t> {
        let weight = match (self.config.weight, self.weight) {
            (DivergenceWeight::Fixed(value), _) => b.s.constant(value),
            (_, Some((_, p))) => b.s.param(p).clamp(0.0, WEIGHT_BOUND),
            (DivergenceWeight::Learned(_), None) => unreachable!("invariant: it was declared"),
        };
        cooled(b, weight, self.config.cooling_floor).named("alpha_D")
    }

    /// D `[B, 1]` in states s `[B, S]` where the action `recorded` `[B, A]` was taken. The dual form judges the action that the
    /// policy has `drawn`, or another draw if it is handed none; the others have n draws of their own.
    fn divergence<'t>(&self, s: Var<'t>, drawn: Option<Var<'t>>, recorded: Var<'t>) -> Var<'t> {
        let n = self.config.samples;
        let beside = |x: Var<'t>| x.reshape(Shape::new(1, s.shape().rows, x.shape().rows / s.shape().rows));
        match (&self.model, self.config.divergence) {
            (Model::Discriminator(c), _) => {
                let a = drawn.unwrap_or_else(|| self.pi.draw(s, 1).0);
                told_apart(c.one(s, a, 0), c.one(s, recorded, 0))
            }
            (Model::Behaviour(b), Divergence::Mmd) => {
                let ((a, _), (c, _)) = (self.pi.draw(s, n), b.draw(s, n));
                let mean = |x, y| beside(kernel(x, y, n)).mean_over(Axis::Cols);
                mean(a, a) - mean(a, c) * 2.0 + mean(c, c)
            }
            (Model::Behaviour(b), _) => {
                let (a, log_pi) = self.pi.draw(s, n);
                let log_b = b.log_prob(s.repeat(n), a.clamp(-INSIDE, INSIDE));
                beside(log_pi - log_b).mean_over(Axis::Cols)
            }
        }
    }

    /// D(s') `[B, 1]` for the target, whose action in s' is `drawn`; `None` where none is part of it.
    fn divergence_next<'t>(&self, b: &Round<'t>, drawn: Var<'t>) -> Option<Var<'t>> {
        let dual = self.config.divergence == Divergence::DualKl;
        if self.config.penalty == Penalty::Policy || b.unconstrained() || (dual && b.phase().online) {
            return None;
        }
        if !dual {
            return Some(self.divergence(b.s2, None, b.a));
        }
        let (recorded, known) = b.next_action();
        Some(known * self.divergence(b.s2, Some(drawn), recorded))
    }

    /// Q~ `[B, 1]` of values `[J, B, 1]`.
    fn mixed<'t>(&self, q: Var<'t>) -> Var<'t> {
        match self.config.pessimism {
            1.0 => q.min(Axis::Heads),
            zeta => q.min(Axis::Heads) * zeta + q.max(Axis::Heads) * (1.0 - zeta),
        }
    }

    fn has_entropy(&self) -> bool {
        self.config.entropy != Schedule::Constant(0.0)
    }

    fn target<'t>(&self, b: &Round<'t>) -> Var<'t> {
        let c = &self.config;
        let (a2, log_pi) = self.pi.draw(b.s2, 1);
        let mut value = self.mixed(self.q_target.all(b.s2, b.perturb(a2)));
        if self.has_entropy() {
            value = value - b.hyper("brac.entropy", &c.entropy) * log_pi;
        }
        if let Some(divergence) = self.divergence_next(b, a2) {
            value = value - b.tied(self.weight(b) * divergence);
        }
        b.r + b.hyper("brac.discount", &c.discount) * b.m * value
    }

    fn train_critics(&self, b: &Round<'_>) {
        let c = &self.config;
        b.polyak(CRITIC, self.q.group(), self.q_target.group(), "brac.polyak", &c.polyak);
        let y = self.target(b);
        let (q, squares) = squared_errors(b, &self.q, y);
        let loss = squares.sum(Axis::Heads).weighted_mean(b.weight(q));
        b.metric(&CRITIC_LOSS, loss);
        b.train("q", CRITIC, self.q.group(), &c.critic, loss);
    }

    fn train_policy(&self, b: &Round<'_>) {
        let c = &self.config;
        let (a, log_pi) = self.pi.draw(b.s, 1);
        b.metric(&ENTROPY, -log_pi.mean());
        let q = self.mixed(self.q.all(b.s, a));
        let left = c.cloning_rounds.saturating_sub(b.phase().before);
        let mut loss = match left > 0 && !b.unconstrained() {
            true => {
                // Cloning is a tie to the data too: where none of it counts, all of the value does. Without a tie, u to the bit.
                let u = b.hyper("u", &Schedule::Step { from: 0.0, to: 1.0, steps: left });
                let u = if b.tie().is_some() { 1.0 - b.tied(1.0 - u) } else { u };
                -(u * q)
            }
            false => -q,
        };
        if self.has_entropy() {
            loss = b.hyper("brac.entropy", &c.entropy) * log_pi + loss;
        }
        if b.unconstrained() {
            let loss = loss.mean();
            b.metric(&POLICY_LOSS, loss);
            return b.train("policy", ACTOR, self.pi.group(), &c.actor, loss);
        }
        let (weight, divergence) = (self.weight(b), self.divergence(b.s, Some(a), b.a).named("D"));
        b.metric(&DIVERGENCE, divergence.mean());
        b.metric(&WEIGHT, weight);
        let loss = (b.tied(weight * divergence) + loss).mean();
        b.metric(&POLICY_LOSS, loss);
        b.train("policy", ACTOR, self.pi.group(), &c.actor, loss);
    }

    /// One step of the discriminator, if there is one.
    fn train_discriminator(&self, b: &Round<'_>, name: &'static str) {
        let Model::Discriminator(c) = &self.model else { return };
        let (a, _) = self.pi.draw(b.s, 1);
        let u = b.noise("share of the recorded action", NoiseKind::Uniform, b.r.shape());
        let between = (a + u * (b.a - a)).named("x");
        let gradient = c.one(b.s, between, 0).total().gradient(between);
        let slope = (gradient.square().sum(Axis::Cols) + TINY).sqrt().named("g");
        let steep = (slope - 1.0).clamp(0.0, f64::INFINITY).square().mean();
        let apart = told_apart(c.one(b.s, a, 0), c.one(b.s, b.a, 0));
        let loss = steep * STEEPNESS - apart.mean();
        b.metric(&DISCRIMINATOR, loss);
        b.metric(&SLOPE, slope.mean());
        b.train(name, CRITIC, c.group(), &self.config.discriminator, loss);
    }

    /// One step of α_D, if it is learned.
    fn train_weight(&self, b: &Round<'_>) {
        if let (DivergenceWeight::Learned(target), Some((group, p))) = (self.config.weight, self.weight) {
            let loss = -(b.s.param(p) * (self.divergence(b.s, None, b.a).mean() - target));
            b.train("divergence weight", ACTOR, group, &self.config.weight_optimiser, loss);
        }
    }
}

/// -E[ log b(a|s) ]
fn behaviour_loss<'t>(behaviour: &Policy, b: &Round<'t>) -> Var<'t> {
    -behaviour.log_prob(b.s, b.a.clamp(-INSIDE, INSIDE)).mean()
}

/// D `[B, 1]` of what the discriminator says `[B, 1]` of the policy's and of the recorded action.
fn told_apart<'t>(of_policy: Var<'t>, of_data: Var<'t>) -> Var<'t> {
    (of_policy.softplus() + TINY).log() + 1.0 - of_data.softplus()
}

/// h(x_k, y_l) `[B·n·n, 1]` of n successive actions of each state, `[B·n, A]` either.
fn kernel<'t>(x: Var<'t>, y: Var<'t>, n: usize) -> Var<'t> {
    let (rows, a) = (y.shape().rows, y.shape().cols);
    let each = y.reshape(Shape::new(1, rows / n, n * a)).repeat(n).reshape(Shape::new(1, rows * n, a));
    ((x.repeat(n) - each).abs().sum(Axis::Cols) * (-1.0 / KERNEL)).exp()
}

impl Learner for Brac {
    fn trace<'t>(&self, b: &Round<'t>) {
        policy_metrics(b, b.greedy(), &self.pi, b.s);
        let shares = match &self.model {
            Model::Discriminator(_) if !b.unconstrained() => {
                self.config.discriminator_steps.min(b.dims().batch)
            }
            Model::Discriminator(_) => 1,
            Model::Behaviour(behaviour) => {
                b.metric(&BEHAVIOUR, behaviour_loss(behaviour, b));
                1
            }
        };
        let first = b.part(0, shares);
        self.train_critics(&first);
        self.train_policy(&first);
        if b.unconstrained() {
            return;
        }
        self.train_discriminator(&first, TURNS[0]);
        self.train_weight(&first);
        for (k, name) in TURNS.iter().enumerate().take(shares).skip(1) {
            self.train_discriminator(&b.part(k, shares), name);
        }
    }

    fn policy(&self) -> &Policy {
        &self.pi
    }

    fn critics(&self) -> Option<&Critics> {
        Some(&self.q)
    }

    fn next_action(&self) -> bool {
        self.config.divergence == Divergence::DualKl && self.config.penalty == Penalty::Value
    }

    fn pretrain(&self) -> Vec<Pretraining<'_>> {
        let Model::Behaviour(behaviour) = &self.model else { return Vec::new() };
        vec![Pretraining {
            name: "behaviour",
            group: behaviour.group(),
            to: FitTo::Data,
            updates: self.config.behaviour_updates,
            trace: Box::new(move |b| {
                let loss = behaviour_loss(behaviour, b);
                b.train("behaviour", CRITIC, behaviour.group(), &self.config.behaviour, loss);
            }),
            given: None,
        }]
    }
}
