//! RORL, robust offline reinforcement learning by conservative smoothing. Yang et al. 2022, arXiv:2206.02829.
//!
//!   ŝ_k      =  s + u_k ε,  u_1 .. u_n ~ U(-1,1)^S, the same for all rows, n of their own for each of the three terms
//!   J        =  E[ max_k  KL( N(s) ‖ N(ŝ_k) ) + KL( N(ŝ_k) ‖ N(s) ) ],  N the Gaussian of π before its tanh
//!   S        =  E[ max_k mean_j  (1-τ) max(δ_jk, 0)² + τ min(δ_jk, 0)² ],  δ_jk = Q_j(ŝ_k, a) - Q_j(s, a)
//!   O        =  E[ mean_jk ( Q_j(ŝ_k, â_k) - λ std_j Q(ŝ_k, â_k) - Q_j(ŝ_k, â_k) )² ],  â_k ~ π(ŝ_k); no
//!               gradient passes the first two terms
//!   L_π(φ)   =  that of SAC-N  +  η_π J
//!   L_Q(θ)   =  that of SAC-N  +  η_Q S  +  η_ood O
//!
//! All else as in SAC-N, whose options (`sac_n.*`) hold here too; the authors' order is `sac_n.order = official`, of which the
//! preset makes use. A term whose weight is 0 is left out; with none it is SAC-N, bit for bit. Values above the one of the
//! recorded state cost (1-τ)/τ times as much as values below it.
//!
//! ε is in the units of the states that networks see; with `data.observation_scaling = standardise`, as in the preset, those
//! are standard deviations. Online λ stays where its schedule ends; an adaptation may drop O, or let
//! it count in part.
//!
//! Metrics: those of [`super::sac_n`]; `policy_smoothness` = J, `value_smoothness` = S, `ood_loss` = O; those of terms that
//! are there.
//!
//! Declared differences. From the authors' program: their optional cloning in the first updates and EDAC's term beside theirs
//! are not offered; standardising adds 0.001 to the deviation, theirs 1e-6. Its λ falls by a number per update, here it follows
//! a schedule, which says the same: 2 to 0.1 by 1e-6 is `linear(2, 0.1, 1900000)`. PBRL is no case of it: [`super::pbrl`].
//!
//! Published and no presets, with what is another than in that of the robot: hopper-random λ 1 to .5, hopper-expert 4 to 1;
//! walker2d-random η_ood .5, λ 5 to .5 by 1e-5, walker2d-expert η_ood .5, λ 1 to .5 by 1e-6, both ε .005; halfcheetah-random n = 20,
//! halfcheetah-expert ε .005.
//!
//! Cost per update (batch 256, 3x256, N = 10, all three terms): 48.2 GFLOP with n = 10, 92 with n = 20 as the presets for hopper and
//! walker2d have it; n times SAC-N's for each term of Q.

use super::measure::deviation;
use super::sac_n::{SacN, SacNConfig, Terms};
use super::{Dims, Learner, Round};
use crate::autodiff::{Axis, Metric, NoiseKind, Schedule, Shape, Var};
use crate::nn::Params;

crate::config! {
    RorlConfig "rorl", "Robust offline reinforcement learning" {
        shape samples:        usize    = 10,    1..=1000,   "n, perturbed states of each term";
        shape policy_epsilon: f64      = 0.005, 0.0..=1e3,  "epsilon of the policy's term";
        shape policy_weight:  f64      = 0.1,   0.0..=1e6,  "eta_pi, weight of the policy's term; 0: without";
        shape value_epsilon:  f64      = 0.005, 0.0..=1e3,  "epsilon of the values' term";
        shape value_weight:   f64      = 1e-4,  0.0..=1e6,  "eta_Q, weight of the values' term; 0: without";
        shape value_tau:      f64      = 0.2,   0.0..=1.0,  "tau, weight of values below that of the recorded state";
        shape ood_epsilon:    f64      = 0.01,  0.0..=1e3,  "epsilon of the term on actions outside the data";
        shape ood_weight:     f64      = 0.5,   0.0..=1e6,  "eta_ood, weight of that term; 0: without";
        hyper ood_lambda:     Schedule = Schedule::Linear { from: 2.0, to: 0.1, steps: 1_900_000 }, 0.0..=1e3, "lambda, standard deviations that the targets of that term take off";
    }
}

/// How far the policy differs between a state and its neighbours.
pub static POLICY_SMOOTHNESS: Metric = Metric::new(
    "policy_smoothness",
    "E[ max_k symmetric KL( N(s), N(s_k) ) ]",
    "",
    "Smoothness, the policy's and the values'",
);
/// How far the values do.
pub static VALUE_SMOOTHNESS: Metric = Metric::new(
    "value_smoothness",
    "E[ max_k mean_j skewed square of Q_j(s_k, a) - Q_j(s, a) ]",
    "",
    "Smoothness, the policy's and the values'",
);
/// Loss on actions that are not in the data.
pub static OOD_LOSS: Metric =
    Metric::new("ood_loss", "E[ mean_jk (lambda std_j Q_j(s_k, a_k))^2 ]", "", "Loss of Q outside the data");

/// SAC-N with three terms of neighbouring states.
#[derive(Debug)]
pub struct Rorl {
    config: RorlConfig,
    base: SacN,
}

impl Rorl {
    /// Declares the networks of SAC-N.
    pub fn declare(config: &RorlConfig, base: &SacNConfig, dims: Dims, params: &mut Params) -> Rorl {
        Rorl { config: config.clone(), base: SacN::declare(base, dims, params) }
    }

    /// ŝ_k `[B·n, S]`, those of one state in succession.
    fn neighbours<'t>(&self, b: &Round<'t>, what: &str, epsilon: f64) -> Var<'t> {
        let (n, dims) = (self.config.samples, b.dims());
        let u = b.noise(what, NoiseKind::Uniform, Shape::new(1, n, dims.s)) * 2.0 - 1.0;
        let beside = (u * epsilon).reshape(Shape::new(1, 1, n * dims.s)).repeat(dims.batch);
        b.s.repeat(n) + beside.reshape(Shape::new(1, dims.batch * n, dims.s))
    }

    /// E[ max_k x ] of x `[B·n, 1]`
    fn worst<'t>(&self, b: &Round<'t>, x: Var<'t>) -> Var<'t> {
        x.reshape(Shape::new(1, b.dims().batch, self.config.samples)).max(Axis::Cols).mean()
    }

    /// J
    fn policy_smoothness<'t>(&self, b: &Round<'t>) -> Var<'t> {
        let (c, pi) = (&self.config, &self.base.nets.pi);
        let near = self.neighbours(b, "neighbours of the policy's term", c.policy_epsilon);
        let (mean, log_std) = pi.gaussian(b.s);
        let (mean, log_std) = (mean.repeat(c.samples), log_std.repeat(c.samples));
        let (near_mean, near_log_std) = pi.gaussian(near);
        let apart = (near_mean - mean).square();
        let ratio = ((near_log_std - log_std) * 2.0).exp();
        let scaled = apart / (log_std * 2.0).exp() + apart / (near_log_std * 2.0).exp();
        // The logarithms of the two divergences cancel.
        let divergence = (ratio + 1.0 / ratio + scaled) * 0.5 - 1.0;
        self.worst(b, divergence.sum(Axis::Cols))
    }

    /// S
    fn value_smoothness<'t>(&self, b: &Round<'t>, q: Var<'t>) -> Var<'t> {
        let c = &self.config;
        let near = self.neighbours(b, "neighbours of the values' term", c.value_epsilon);
        let apart = self.base.nets.q.all(near, b.a.repeat(c.samples)) - q.repeat(c.samples);
        let (above, below) = (apart.clamp(0.0, f64::INFINITY), apart.clamp(f64::NEG_INFINITY, 0.0));
        let skewed = above.square() * (1.0 - c.value_tau) + below.square() * c.value_tau;
        self.worst(b, skewed.mean_over(Axis::Heads))
    }

    /// O
    fn ood<'t>(&self, b: &Round<'t>) -> Var<'t> {
        let (c, n) = (&self.config, &self.base.nets);
        let near = self.neighbours(b, "neighbours of the term outside the data", c.ood_epsilon);
        let q = n.q.all(near, n.pi.sample(near));
        let lambda = if b.phase().online { Schedule::Constant(c.ood_lambda.ends()[1]) } else { c.ood_lambda };
        let target = q - b.hyper("rorl.ood_lambda", &lambda) * deviation(q, 1);
        (q - target.detach()).square().mean()
    }
}

impl Terms for Rorl {
    fn of_policy<'t>(&self, b: &Round<'t>) -> Option<Var<'t>> {
        let weight = self.config.policy_weight;
        (weight > 0.0).then(|| {
            let smoothness = self.policy_smoothness(b);
            b.metric(&POLICY_SMOOTHNESS, smoothness);
            smoothness * weight
        })
    }

    fn of_critics<'t>(&self, b: &Round<'t>, q: Var<'t>) -> Option<Var<'t>> {
        let c = &self.config;
        let smooth = (c.value_weight > 0.0).then(|| {
            let smoothness = self.value_smoothness(b, q);
            b.metric(&VALUE_SMOOTHNESS, smoothness);
            smoothness * c.value_weight
        });
        let outside = (c.ood_weight > 0.0 && !b.unconstrained()).then(|| {
            let loss = self.ood(b);
            b.metric(&OOD_LOSS, loss);
            b.tied(loss) * c.ood_weight
        });
        smooth.into_iter().chain(outside).reduce(|sum, term| sum + term)
    }
}

impl Learner for Rorl {
    fn trace<'t>(&self, b: &Round<'t>) {
        self.base.round(b, self);
    }

    as_base!();
}
