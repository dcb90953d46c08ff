//! SAC-N, soft actor-critic on recorded transitions with N critics as its only pessimism. An, Moon, Kim, Song 2021,
//! arXiv:2110.01548.
//!
//!   L_α       = -log α · E[ log π(a~|s) + H ],  H = -A
//!   L_π(φ)    =  E[ α log π(a~|s) - min_j Q_j(s, a~) ]
//!   y         =  r + γ m ( min_j Q̂_j(s', a') - α log π(a'|s') ),  a' ~ π(s')
//!   L_Q(θ)    =  E[ w · Σ_j ( y - Q_j(s,a) )² ],  j = 1 .. N
//!   Q̂ ← (1-ρ) Q̂ + ρ Q
//!
//! w is 1 unless an adaptation supplies it. The least of N values falls the lower the more they disagree, which they do
//! where there are no data.
//!
//! Order `corl` (the public PyTorch reference): α; π with the new α; Q with the new α and the new π; Q̂. A draw of its own
//! for each of the three.
//! Order `official` (the authors' program): all losses from the parameters at the beginning of the round, α and π of the same
//! draw; then α, π, Q, Q̂ move. With two critics that is SAC's order `rlkit`, bit for bit.
//!
//! Online it goes on as it is. It has nothing to drop that ties it to the data.
//!
//! Metrics: those of [`super::measure`], `q_spread` among them, and of [`super::soft`].
//!
//! Declared differences. From CORL: hidden weights of the critics begin within 1/√inputs, as the authors' do, where its
//! batched layers take the outputs for the inputs. From the authors' program: hidden weights of the policy begin within
//! 1/√inputs too, theirs within 1/√outputs; `max_q_backup`, which they use on one Adroit set, is not offered.
//!
//! Cost per update (batch 256, 3x256, N = 10): 4.4 GFLOP, nearly all of it proportional to N.

use super::foreign::{ANY, Foreign, Ours, Reading, SHARE, Wrong};
use super::measure::{CRITIC_LOSS, POLICY_LOSS, Q_SPREAD, critic_metrics, deviation, policy_metrics};
use super::soft::{Factor, InitRule, Link, SoftNets, SoftSpec, Steps, Temperature};
use super::{ACTOR, CRITIC, Dims, Learner, Round};
use crate::autodiff::{Axis, Schedule, Var};
use crate::config::limits::{RATE, WIDTHS};
use crate::config::{AdamConfig, AutoOr, NetSpec};
use crate::nn::{Critics, Head, Params, Within};

crate::choices! {
    /// Order of the updates.
    Order {
        Corl     = "corl",     "temperature, policy, Q, target; each on what moved before it and a draw of its own";
        Official = "official", "all losses from the parameters at the beginning of the round";
    }
}

crate::config! {
    SacNConfig "sac_n", "Soft actor-critic with N critics" {
        hyper discount:       Schedule    = 0.99,                 0.0..=1.0,   "gamma";
        hyper polyak:         Schedule    = 0.005,                0.0..=1.0,   "rho, target update rate";
        shape critics:        usize       = 10,                   1..=1000,    "N, number of critics";
        shape order:          Order       = Order::Corl,          ..,          "order of the updates";
        shape temperature:    Temperature = Temperature::Learned, ..,          "alpha, weight of the entropy";
        shape target_entropy: AutoOr<f64> = AutoOr::Auto,         -1e6..=1e6,  "H of the temperature's loss; auto: minus the action dimension";
        shape log_std_min:    f64         = -5.0,                 -20.0..2.0,  "lower bound of log sigma; the upper one is 2";
        shape squash_eps:     f64         = 0.0,                  0.0..0.1,    "added to 1 - tanh^2 in the density; 0: the density as it is";
        shape init:           InitRule    = InitRule::Edac,       ..,          "initial weights";
        shape policy_hidden:  NetSpec     = [256, 256, 256],      WIDTHS,      "hidden layers of the policy";
        shape critic_hidden:  NetSpec     = [256, 256, 256],      WIDTHS,      "hidden layers of the critics";
        opt   actor:          AdamConfig  = 3e-4,                 RATE,        "optimiser of the policy";
        opt   critic:         AdamConfig  = 3e-4,                 RATE,        "optimiser of Q";
        opt   temperature_optimiser: AdamConfig = 3e-4,           RATE,        "optimiser of log alpha";
    }
}

/// What a method adds to the losses of SAC-N; nothing by default.
pub(super) trait Terms {
    /// A term of the policy's loss.
    fn of_policy<'t>(&self, _b: &Round<'t>) -> Option<Var<'t>> {
        None
    }

    /// A term of the critics' loss, given Q_j(s,a) `[N, B, 1]`.
    fn of_critics<'t>(&self, _b: &Round<'t>, _q: Var<'t>) -> Option<Var<'t>> {
        None
    }
}

/// SAC-N.
#[derive(Debug)]
pub struct SacN {
    config: SacNConfig,
    pub(super) nets: SoftNets,
}

impl SacN {
    /// Declares policy, critics, targets and temperature.
    pub fn declare(config: &SacNConfig, dims: Dims, params: &mut Params) -> SacN {
        let c = config;
        let spec = SoftSpec {
            ensemble: 1,
            given: 0,
            policy_net: c.policy_hidden.begin(c.init.policy()),
            critic_net: c.critic_hidden.begin(c.init.critics()),
            critics: c.critics,
            head: Head::TanhGaussian {
                log_std: (c.log_std_min, 2.0),
                within: Within::Clamped,
                squash_eps: c.squash_eps,
                std_scale: None,
            },
            temperature: c.temperature,
            link: Link::Exp,
            target_entropy: c.target_entropy,
        };
        SacN { config: config.clone(), nets: SoftNets::declare(&spec, dims, params) }
    }

    /// y = r + γ m ( min_j Q̂_j(s', a') - α log π(a'|s') )
    fn target<'t>(&self, b: &Round<'t>) -> Var<'t> {
        let n = &self.nets;
        let (a2, log_pi) = n.pi.draw(b.s2, 1);
        let soft = b.value(&n.q_target, b.s2, b.perturb(a2)) - n.alpha(b) * log_pi;
        b.r + b.hyper("sac_n.discount", &self.config.discount) * b.m * soft
    }

    fn critic_loss<'t>(&self, b: &Round<'t>, terms: &impl Terms) -> Var<'t> {
        let y = self.target(b);
        let q = self.nets.q.all(b.s, b.a);
        let squares = (q - y).square();
        let loss = squares.sum(Axis::Heads).weighted_mean(b.weight(q));
        critic_metrics(b, &self.nets.q, q, squares);
        b.metric(&Q_SPREAD, deviation(q, 1).mean());
        terms.of_critics(b, q).map_or(loss, |term| loss + term)
    }

    fn policy_loss<'t>(&self, b: &Round<'t>, drawn: (Var<'t>, Var<'t>), terms: &impl Terms) -> Var<'t> {
        let loss = self.nets.policy_loss(b, drawn);
        terms.of_policy(b).map_or(loss, |term| loss + term)
    }

    /// One round with the losses that these terms make of SAC-N's.
    pub(super) fn round(&self, b: &Round<'_>, terms: &impl Terms) {
        let (c, n) = (&self.config, &self.nets);
        policy_metrics(b, b.greedy(), &n.pi, b.s);
        let polyak = ("sac_n.polyak", &c.polyak);
        let drawn = n.pi.draw(b.s, 1);
        match c.order {
            Order::Official => {
                let policy_loss = self.policy_loss(b, drawn, terms);
                let critic_loss = self.critic_loss(b, terms);
                let steps = Steps {
                    temperature: &c.temperature_optimiser,
                    actor: &c.actor,
                    critic: &c.critic,
                    polyak,
                };
                n.train_all(b, drawn.1, policy_loss, critic_loss, &steps);
            }
            Order::Corl => {
                n.policy_metrics(b, drawn.1);
                n.train_temperature(b, drawn.1, Factor::LogAlpha, &c.temperature_optimiser);
                let loss = self.policy_loss(b, n.pi.draw(b.s, 1), terms);
                b.metric(&POLICY_LOSS, loss);
                b.train("policy", ACTOR, n.pi.group(), &c.actor, loss);
                let loss = self.critic_loss(b, terms);
                b.metric(&CRITIC_LOSS, loss);
                b.train("q", CRITIC, n.q.group(), &c.critic, loss);
                n.move_target(b, polyak);
            }
        }
    }
}

impl Terms for SacN {}

impl Learner for SacN {
    fn trace<'t>(&self, b: &Round<'t>) {
        self.round(b, self);
    }

    of_nets!();

    fn target_critics(&self) -> Option<&Critics> {
        Some(&self.nets.q_target)
    }
}

/// Traces of CORL's SAC-N.
pub const FOREIGN: &[Foreign] = &[Foreign::new("sac-n", foreign)];

pub(super) fn foreign(r: &mut dyn Reading, ours: &mut Ours) -> Result<(), Wrong> {
    let a = r.dims().a as f64;
    r.check_size("num_critics", r.copies("q"), "init.critic_*")?;
    r.word("order", &["alpha, actor, critics, targets; each sees what moved before it"])?;
    ours.config.put(SacNConfig {
        discount: r.constant_or("discount", SHARE, 0.99)?,
        polyak: r.constant_or("tau", SHARE, 0.005)?,
        critics: r.copies("q"),
        order: Order::Corl,
        temperature: Temperature::Learned,
        target_entropy: AutoOr::Value(r.number_or("target_entropy", ANY, -a)?),
        log_std_min: r.log_std_min_or(-5.0)?,
        squash_eps: r.number_or("log_prob_eps", SHARE, 1e-6)?,
        init: InitRule::Edac,
        policy_hidden: r.hidden("pi"),
        critic_hidden: r.hidden("q"),
        actor: r.adam_or(&["actor_lr"], 3e-4)?,
        critic: r.adam_or(&["critic_lr"], 3e-4)?,
        temperature_optimiser: r.adam_or(&["alpha_lr"], 3e-4)?,
    });
    Ok(())
}
