//! PBRL, pessimistic bootstrapping for offline reinforcement learning. Bai et al. 2022, arXiv:2202.11566.
//!
//!   y_k      =  r + γ m ( Q̂_k(s', a') - β_in std_j Q̂_j(s', a') ),  a' ~ π(s')   every critic its own
//!   o(s,a,β) =  max( floor, Q_k(s,a) - β std_j Q_j(s,a) ),  which no gradient passes
//!   L_Q(θ)   =  Σ_k  E[ w ( y_k - Q_k(s,a) )² ] + E[ ( o - Q_k )² ]
//!               the second mean over n draws a~ ~ π(s) with β_ood and n draws a'' ~ π(s'), valued at s', with β_next
//!   L_α      = -log α · E[ log π(a~|s) + H ],  H = -A
//!   L_π(φ)   =  E[ α log π(a~|s) - min_k Q_k(s, a~) ]
//!   Q̂ ← (1-ρ) Q̂ + ρ Q
//!
//! std has N - 1 in its variance. Online β_ood stays where its schedule ends. w is 1 unless an adaptation supplies it. An
//! adaptation may drop the second mean online, or let it count in part.
//!
//! Order: α, Q, π (against the new Q, on the draw of α's loss), Q̂.
//! With both β of the offline rows 0 (β_in, β_ood) and β_next 0 each critic follows its own target critic and, without a
//! floor, nothing else: of a single critic that is SAC-N's target without its entropy.
//!
//! Metrics: those of [`super::measure`] and [`super::soft`]; `ood_spread` = E[ std_k Q_k(s,a~) ]; `ood_loss` = the second
//! mean, summed over k.
//!
//! Declared differences. From the authors' program: once β_ood has come to 1 they divide it by 1.01 whenever the mean value of
//! the policy's draws has fallen over some epochs, down to 0.2; here it follows its schedule. Their random actions serve
//! metrics, as ours do.
//!
//! Cost per update (batch 256, 3x256, N = 10, n = 10): 45 GFLOP, nearly all of it the 2nN values per state.

use super::measure::{CRITIC_LOSS, POLICY_LOSS, Q_SPREAD, critic_metrics, deviation, policy_metrics};
use super::soft::{Factor, InitRule, Link, SoftNets, SoftSpec, Temperature};
use super::{ACTOR, CRITIC, Dims, Learner, Round};
use crate::autodiff::{Axis, Metric, Schedule, Var};
use crate::config::limits::{RATE, WIDTHS};
use crate::config::{AdamConfig, AutoOr, NetSpec};
use crate::nn::{Head, Params};

crate::choices! {
    /// The least target of an action that is not in the data.
    Floor {
        None = "none", "no bound";
        At(value: f64 = -1e6..=1e6) = "at", "this value";
    }
}

crate::config! {
    PbrlConfig "pbrl", "Pessimistic bootstrapping" {
        hyper discount:       Schedule    = 0.99,                 0.0..=1.0,   "gamma";
        hyper polyak:         Schedule    = 0.005,                0.0..=1.0,   "rho, target update rate";
        shape critics:        usize       = 10,                   1..=1000,    "N, number of critics";
        hyper beta_in:        Schedule    = 0.01,                 0.0..=1e3,   "standard deviations that the target of recorded actions takes off";
        hyper beta_ood:       Schedule    = Schedule::Linear { from: 5.0, to: 1.0, steps: 50_000 }, 0.0..=1e3, "the same for draws of the policy at s";
        hyper beta_next:      Schedule    = 0.1,                  0.0..=1e3,   "the same for draws of the policy at s'";
        shape samples:        usize       = 10,                   1..=1000,    "n, draws of the policy at each of the two states";
        shape floor:          Floor       = Floor::At(0.0),       ..,          "least target of such a draw";
        shape temperature:    Temperature = Temperature::Learned, ..,          "alpha, weight of the entropy";
        shape target_entropy: AutoOr<f64> = AutoOr::Auto,         -1e6..=1e6,  "H of the temperature's loss; auto: minus the action dimension";
        shape log_std_min:    f64         = -20.0,                -20.0..2.0,  "lower bound of log sigma; the upper one is 2";
        shape init:           InitRule    = InitRule::Rlkit,      ..,          "initial weights";
        shape policy_hidden:  NetSpec     = [256, 256, 256],      WIDTHS,      "hidden layers of the policy";
        shape critic_hidden:  NetSpec     = [256, 256, 256],      WIDTHS,      "hidden layers of the critics";
        opt   actor:          AdamConfig  = 1e-4,                 RATE,        "optimiser of the policy";
        opt   critic:         AdamConfig  = 3e-4,                 RATE,        "optimiser of Q";
        opt   temperature_optimiser: AdamConfig = 1e-4,           RATE,        "optimiser of log alpha";
    }
}

/// How far the critics disagree about the policy's draws.
pub static OOD_SPREAD: Metric =
    Metric::new("ood_spread", "E[ std_k Q_k(s, a~) ]", "", "Disagreement of the critics");
/// Loss on actions that are not in the data.
pub static OOD_LOSS: Metric =
    Metric::new("ood_loss", "sum_k E[ (o - Q_k)^2 ]", "", "Loss of Q outside the data");

/// Pessimistic bootstrapping.
#[derive(Debug)]
pub struct Pbrl {
    config: PbrlConfig,
    nets: SoftNets,
}

impl Pbrl {
    /// Declares policy, critics, targets and temperature.
    pub fn declare(config: &PbrlConfig, dims: Dims, params: &mut Params) -> Pbrl {
        let c = config;
        let spec = SoftSpec {
            ensemble: 1,
            given: 0,
            policy_net: c.policy_hidden.begin(c.init.policy()),
            critic_net: c.critic_hidden.begin(c.init.critics()),
            critics: c.critics,
            head: Head::tanh_gaussian((c.log_std_min, 2.0)),
            temperature: c.temperature,
            link: Link::Exp,
            target_entropy: c.target_entropy,
        };
        Pbrl { config: config.clone(), nets: SoftNets::declare(&spec, dims, params) }
    }

    /// y_k `[N, B, 1]`
    fn target<'t>(&self, b: &Round<'t>) -> Var<'t> {
        let (c, n) = (&self.config, &self.nets);
        let a2 = b.perturb(n.pi.draw(b.s2, 1).0);
        let q = n.q_target.all(b.s2, a2);
        let value = q - b.hyper("pbrl.beta_in", &c.beta_in) * deviation(q, 1);
        b.r + b.hyper("pbrl.discount", &c.discount) * b.m * value
    }

    /// ( o - Q_k )² `[N, B·n, 1]` of n draws of the policy at `s`, and std_k Q_k there
    fn ood_squares<'t>(&self, s: Var<'t>, beta: Var<'t>) -> (Var<'t>, Var<'t>) {
        let a = self.nets.pi.draw(s, self.config.samples).0;
        let q = self.nets.q.all(s, a);
        let spread = deviation(q, 1);
        let target = q - beta * spread;
        let target = match self.config.floor {
            Floor::None => target,
            Floor::At(least) => target.clamp(least, f64::INFINITY),
        };
        ((target.detach() - q).square(), spread)
    }

    /// Σ_k E[ ( o - Q_k )² ] over the draws at both states.
    fn ood_loss<'t>(&self, b: &Round<'t>) -> Var<'t> {
        let c = &self.config;
        let beta = if b.phase().online { Schedule::Constant(c.beta_ood.ends()[1]) } else { c.beta_ood };
        let (here, spread) = self.ood_squares(b.s, b.hyper("pbrl.beta_ood", &beta));
        let (next, _) = self.ood_squares(b.s2, b.hyper("pbrl.beta_next", &c.beta_next));
        b.metric(&OOD_SPREAD, spread.mean());
        let loss = (here.sum(Axis::Heads).mean() + next.sum(Axis::Heads).mean()) * 0.5;
        b.metric(&OOD_LOSS, loss);
        loss
    }

    fn train_critics(&self, b: &Round<'_>) {
        let (c, n) = (&self.config, &self.nets);
        let y = self.target(b);
        let q = n.q.all(b.s, b.a);
        let squares = (q - y).square();
        let mut loss = squares.sum(Axis::Heads).weighted_mean(b.weight(q));
        if !b.unconstrained() {
            let outside = self.ood_loss(b);
            loss = loss + b.tied(outside);
        }
        critic_metrics(b, &n.q, q, squares);
        b.metric(&Q_SPREAD, deviation(q, 1).mean());
        b.metric(&CRITIC_LOSS, loss);
        b.train("q", CRITIC, n.q.group(), &c.critic, loss);
    }
}

impl Learner for Pbrl {
    fn trace<'t>(&self, b: &Round<'t>) {
        let (c, n) = (&self.config, &self.nets);
        policy_metrics(b, b.greedy(), &n.pi, b.s);
        let drawn = n.pi.draw(b.s, 1);
        n.policy_metrics(b, drawn.1);
        n.train_temperature(b, drawn.1, Factor::LogAlpha, &c.temperature_optimiser);
        self.train_critics(b);
        let loss = n.policy_loss(b, drawn);
        b.metric(&POLICY_LOSS, loss);
        b.train("policy", ACTOR, n.pi.group(), &c.actor, loss);
        n.move_target(b, ("pbrl.polyak", &c.polyak));
    }

    of_nets!();
}
