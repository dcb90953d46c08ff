//! SAC+ML, a soft actor-critic whose policy also clones the data, and baselines that make a critic of its density: the
//! offline phase of ACA. Yu, Zhang 2023, Actor-Critic Alignment for Offline-to-Online Reinforcement Learning (ICML).
//!
//!   a~, log π from π(s), reparameterised;  α = exp(log α)
//!   L_α       = -log α · E[ log π(a~|s) + H ],  H = -A
//!   y         =  r + γ m ( min_j Q̂_j(s', a') - α log π(a'|s') ),  a' ~ π(s')
//!   L_Q(θ)    =  E[ w · Σ_j ( y - Q_j(s,a) )² ]
//!   y_Z       =  r + γ m ( log π(a'|s') + min_j Z_j(s') - α log π(a'|s') ),  a' ~ π(s')
//!   L_Z       =  E[ Σ_j ( log π(a|s) + Z_j(s) - y_Z )² ]
//!   L_π(φ)    =  λ E[ α log π(a~|s) - min_j Q_j(s, a~) ] - E[ log π(a|s) ],  λ = c / E[ |min_j Q_j(s, a~)| ]
//!   Q̂ ← (1-ρ) Q̂ + ρ Q
//!
//! No gradient passes λ, y and y_Z. w is 1 unless an adaptation supplies it; one may drop the cloning and λ online, and with
//! them L_Z, which leaves SAC. Z_j has the form of Q_j and reads the action 0, of which its first layer has no weights: those
//! begin as 0 and get no gradient. An adaptation may thus take Z_j for a critic.
//!
//! Order: α, Q, Z, π, Q̂, each on what moved before it and on draws of its own.
//!
//! Metrics: those of [`super::measure`] and [`super::soft`]; `q_weight` = λ, min_j Q_j(s, a~) in place of Q_1;
//! `baseline_loss` = L_Z; `baseline_mean` = E[ min_j Z_j(s) ].
//!
//! Declared differences. From the authors' program: none in an update; their policy on AntMaze, a Gaussian without tanh, is not
//! here.
//!
//! Cost per update (batch 256, 2x256): 0.84 GFLOP.

use super::measure::{CRITIC_LOSS, POLICY_LOSS, policy_metrics, squared_errors};
use super::soft::{Factor, InitRule, Link, SoftNets, SoftSpec, Temperature};
use super::td3_bc::q_weight;
use super::{ACTOR, CRITIC, Dims, Learner, Round};
use crate::autodiff::{Axis, Metric, Schedule, Shape, Var};
use crate::config::limits::{RATE, WIDTHS};
use crate::config::{AdamConfig, AutoOr, NetSpec};
use crate::nn::init::Init;
use crate::nn::{Critics, Head, Params};

crate::config! {
    SacMlConfig "sac_ml", "Soft actor-critic with cloning, and baselines of its density" {
        hyper discount:       Schedule    = 0.99,       0.0..=1.0,  "gamma";
        hyper polyak:         Schedule    = 0.005,      0.0..=1.0,  "rho, target update rate";
        shape q_weight:       f64         = 30.0,       0.0..=1e6,  "c, weight of Q against cloning";
        shape target_entropy: AutoOr<f64> = AutoOr::Auto, -1e6..=1e6, "H of the temperature's loss; auto: minus the action dimension";
        shape hidden:         NetSpec     = [256, 256], WIDTHS,     "hidden layers of every network";
        shape critics:        usize       = 2,          1..=64,     "J, number of critics and of baselines";
        opt   actor:          AdamConfig  = 3e-4,       RATE,       "optimiser of the policy";
        opt   critic:         AdamConfig  = 3e-4,       RATE,       "optimiser of Q";
        opt   baseline:       AdamConfig  = 3e-4,       RATE,       "optimiser of Z";
        opt   temperature:    AdamConfig  = 3e-4,       RATE,       "optimiser of log alpha";
    }
}

/// Outside its own section: its length, and the policy's full rate online.
pub const DEFAULTS: &str = "[offline]\nupdates = 500_000\n[online]\nactor_lr = \"constant(1)\"\n";

/// Loss of the baselines.
pub static BASELINE_LOSS: Metric = Metric::new("baseline_loss", "L_Z", "", "Loss of the baselines");
/// Their values.
pub static BASELINE_MEAN: Metric = Metric::new("baseline_mean", "E[ min_j Z_j(s) ]", "", "Values");

/// Networks of SAC+ML.
#[derive(Debug)]
pub struct SacMl {
    config: SacMlConfig,
    nets: SoftNets,
    z: Critics,
}

impl SacMl {
    /// Declares policy, critics, targets, temperature and baselines.
    pub fn declare(config: &SacMlConfig, dims: Dims, params: &mut Params) -> SacMl {
        let c = config;
        let init = InitRule::Torch;
        let spec = SoftSpec {
            ensemble: 1,
            given: 0,
            policy_net: c.hidden.begin(init.policy()),
            critic_net: c.hidden.begin(init.critics()),
            critics: c.critics,
            head: Head::tanh_gaussian((-20.0, 2.0)),
            temperature: Temperature::Learned,
            link: Link::Exp,
            target_entropy: c.target_entropy,
        };
        let nets = SoftNets::declare(&spec, dims, params);
        let z = Critics::declare(params, "z", c.critics, dims.sa(), &spec.critic_net);
        // As a network of states alone would begin.
        let bound = 1.0 / (dims.s as f64).sqrt();
        let first = z.tensors();
        params.initialise(first[0], Init::UniformAbove { bound, rows: dims.s });
        params.initialise(first[1], Init::Uniform(bound));
        SacMl { config: config.clone(), nets, z }
    }

    /// Z_j(s) `[J, B, 1]`
    fn baselines<'t>(&self, s: Var<'t>, dims: Dims) -> Var<'t> {
        self.z.all(s, s.constant(0.0).expand(Shape::new(1, dims.batch, dims.a)))
    }

    /// y, of Q̂ in place of the value of the next state if `value` is that: r + γ m ( value(a') - α log π(a'|s') )
    fn target<'t>(&self, b: &Round<'t>, value: impl FnOnce(Var<'t>, Var<'t>) -> Var<'t>) -> Var<'t> {
        let n = &self.nets;
        let (a2, log_pi) = n.pi.draw(b.s2, 1);
        let soft = value(a2, log_pi) - n.alpha(b) * log_pi;
        b.r + b.hyper("sac_ml.discount", &self.config.discount) * b.m * soft
    }

    fn train_critics(&self, b: &Round<'_>) {
        let n = &self.nets;
        let y = self.target(b, |a2, _| b.value(&n.q_target, b.s2, b.perturb(a2)));
        let (q, squares) = squared_errors(b, &n.q, b.residual(y));
        let loss = squares.sum(Axis::Heads).weighted_mean(b.weight(q));
        b.metric(&CRITIC_LOSS, loss);
        b.train("q", CRITIC, n.q.group(), &self.config.critic, loss);
    }

    fn train_baselines(&self, b: &Round<'_>) {
        let n = &self.nets;
        let least = |s| self.baselines(s, b.dims()).min(Axis::Heads);
        let y = self.target(b, |_, log_pi| log_pi + least(b.s2)).detach().named("y_Z");
        let value = n.pi.log_prob(b.s, b.a) + self.baselines(b.s, b.dims());
        let loss = (value - y).square().sum(Axis::Heads).mean();
        b.metric(&BASELINE_LOSS, loss);
        b.metric(&BASELINE_MEAN, least(b.s).mean());
        b.train("baselines", CRITIC, self.z.group(), &self.config.baseline, loss);
    }

    fn train_policy(&self, b: &Round<'_>) {
        let (c, n) = (&self.config, &self.nets);
        let (a, log_pi) = n.pi.draw(b.s, 1);
        let q = b.policy_value(&n.q, a, &|critics| critics.min(b.s, a));
        let soft = (n.alpha(b) * log_pi - q).mean();
        let loss = match b.unconstrained() {
            true => soft,
            false => q_weight(b, "lambda", c.q_weight, q) * soft - b.tied(n.pi.log_prob(b.s, b.a).mean()),
        };
        b.metric(&POLICY_LOSS, loss);
        b.train("policy", ACTOR, n.pi.group(), &c.actor, loss);
    }
}

impl Learner for SacMl {
    fn trace<'t>(&self, b: &Round<'t>) {
        let (c, n) = (&self.config, &self.nets);
        policy_metrics(b, b.greedy(), &n.pi, b.s);
        let (_, log_pi) = n.pi.draw(b.s, 1);
        n.policy_metrics(b, log_pi);
        n.train_temperature(b, log_pi, Factor::LogAlpha, &c.temperature);
        self.train_critics(b);
        if !b.unconstrained() {
            self.train_baselines(b);
        }
        self.train_policy(b);
        n.move_target(b, ("sac_ml.polyak", &c.polyak));
    }

    of_nets!();

    fn target_critics(&self) -> Option<&Critics> {
        Some(&self.nets.q_target)
    }

    fn baselines(&self) -> Option<&Critics> {
        Some(&self.z)
    }
}
