//! Soft actor-critic. Haarnoja et al. 2018, arXiv:1812.05905.
//!
//!   a~, log π from π(s), reparameterised;  α = exp(log α)
//!   L_α       = -log α · E[ log π(a~|s) + H ],  H = -A                         eq. 18
//!   L_π(φ)    =  E[ α log π(a~|s) - min_j Q_j(s, a~) ]                         eq. 7
//!   y         =  r + γ m ( min_j Q̂_j(s', a') - α log π(a'|s') ),  a' ~ π(s')
//!   L_Q(θ)    =  E[ w · Σ_j ( y - Q_j(s,a) )² ]                                eq. 5
//!   Q̂ ← (1-ρ) Q̂ + ρ Q
//!
//! w is 1 unless an adaptation supplies it.
//! Order `rlkit`: all losses from the parameters at the beginning of the round; then α, π, Q, Q̂ move.
//! Order `cleanrl`: Q; `actor_updates` times π, on the new Q, and α, on a draw of its own after π has moved, with
//! L_α = -α E[ log π(a|s) + H ]; then Q̂. π and α move in every `actor_every`-th round in either order; where the policy
//! has a rate of its own (SO2, SUF, `online.actor_updates_per_step`) that rate counts its updates, one in each of its
//! rounds.
//! `target = own`: y_j = r + γ m ( Q̂_j(s', a') - α log π(a'|s') ), each critic follows its own target;
//! `critic_loss = mean`: E[ w · mean_j ( y - Q_j(s,a) )² ]. Both, with order `cleanrl`, are SO2's authors'.
//!
//! Metrics: those of [`super::measure`] and [`super::soft`].
//!
//! Declared differences. From the paper: the squared error has no 1/2, as in rlkit; α is learnt through log α. From
//! rlkit: in an environment alone updates alternate with single steps, not 1,000 with 1,000. From CleanRL (the preset
//! `sac_cleanrl`: its order, log σ between -5 and 2 by a tanh, 1e-6 in the density): none.
//!
//! Cost per update (batch 256, 2x256): 0.56 GFLOP.

use super::foreign::{ANY, Foreign, Ours, Reading, SHARE, Wrong};
use super::measure::{CRITIC_LOSS, POLICY_LOSS, critic_metrics, policy_metrics};
pub use super::soft::{InitRule, Temperature};
use super::soft::{Link, SoftNets, SoftSpec, Steps, TEMPERATURE_LOSS};
use super::{ACTOR, CRITIC, Delay, Dims, Learner, Round};
use crate::autodiff::{Axis, Schedule, Var};
use crate::config::limits::{RATE, WIDTHS};
use crate::config::{AdamConfig, AutoOr, ConfigError, NetSpec};
use crate::nn::{self, Critics, Head, Params};

crate::choices! {
    /// Order of the updates.
    Order {
        Rlkit   = "rlkit",   "all losses from the parameters at the beginning of the round";
        Cleanrl = "cleanrl", "Q, the policy on the new Q, the temperature on a draw of its own";
    }
}

crate::choices! {
    /// What critics regress on.
    Target {
        Min = "min", "one target for all, the least of the target critics";
        Own = "own", "each on its own target critic";
    }
}

crate::choices! {
    /// How the losses of the critics become one.
    CriticLoss {
        Sum  = "sum",  "sum over critics";
        Mean = "mean", "mean over critics";
    }
}

crate::choices! {
    /// How log σ is kept between its bounds.
    Within {
        Clamped = "clamped", "cut off at them";
        Tanh    = "tanh",    "laid between them by a tanh";
    }
}

crate::config! {
    SacConfig "sac", "Soft actor-critic" {
        hyper discount:       Schedule    = 0.99,                 0.0..=1.0,  "gamma";
        hyper polyak:         Schedule    = 0.005,                0.0..=1.0,  "rho, target update rate";
        shape temperature:    Temperature = Temperature::Learned, ..,         "alpha, weight of the entropy";
        shape target_entropy: AutoOr<f64> = AutoOr::Auto,         -1e6..=1e6,         "H of the temperature's loss; auto: minus the action dimension";
        shape order:          Order       = Order::Rlkit,         ..,         "order of the updates";
        shape actor_every:    u64         = 1,                    1..1001,    "rounds between updates of the policy and the temperature";
        shape actor_updates:  usize       = 1,                    1..9,       "how many of them in such a round; order cleanrl alone has several";
        shape log_std_min:    f64         = -20.0,                -20.0..2.0, "lower bound of log sigma; the upper one is 2";
        shape log_std_within: Within      = Within::Clamped,      ..,         "how log sigma is kept between its bounds";
        shape squash_eps:     f64         = 0.0,                  0.0..0.1,   "added to 1 - tanh^2 in the density; 0: the density as it is";
        shape init:           InitRule    = InitRule::Rlkit,      ..,         "initial weights";
        shape hidden:         NetSpec     = [256, 256],           WIDTHS,         "hidden layers of every network";
        shape critics:        usize       = 2,                    1..=64,      "J, number of critics";
        shape target:         Target      = Target::Min,          ..,         "what critics regress on";
        shape critic_loss:    CriticLoss  = CriticLoss::Sum,      ..,         "how the losses of the critics become one";
        opt   actor:          AdamConfig  = 3e-4,                 RATE,         "optimiser of the policy";
        opt   critic:         AdamConfig  = 3e-4,                 RATE,         "optimiser of Q";
        opt   temperature_optimiser: AdamConfig = 3e-4,           RATE,         "optimiser of log alpha";
    }
}

/// Names of the updates of policy and temperature, as often as a round may have them.
const REPEATS: [(&str, &str); 8] = [
    ("policy", "temperature"),
    ("policy 2", "temperature 2"),
    ("policy 3", "temperature 3"),
    ("policy 4", "temperature 4"),
    ("policy 5", "temperature 5"),
    ("policy 6", "temperature 6"),
    ("policy 7", "temperature 7"),
    ("policy 8", "temperature 8"),
];

/// Soft actor-critic.
#[derive(Debug)]
pub struct Sac {
    config: SacConfig,
    nets: SoftNets,
}

impl Sac {
    /// Declares policy, critics, targets and temperature. Errors: `actor_updates` above 1 under the order rlkit.
    pub fn declare(config: &SacConfig, dims: Dims, params: &mut Params) -> Result<Sac, ConfigError> {
        let c = config;
        if c.order == Order::Rlkit && c.actor_updates > 1 {
            return Err(ConfigError::Other(format!(
                "sac.actor_updates = {}: order rlkit has one update of the policy in a round; set sac.order = cleanrl or sac.actor_updates = 1",
                c.actor_updates
            )));
        }
        let within = match c.log_std_within {
            Within::Clamped => nn::Within::Clamped,
            Within::Tanh => nn::Within::Tanh,
        };
        let spec = SoftSpec {
            ensemble: 1,
            given: 0,
            policy_net: c.hidden.begin(c.init.policy()),
            critic_net: c.hidden.begin(c.init.critics()),
            critics: c.critics,
            head: Head::TanhGaussian {
                log_std: (c.log_std_min, 2.0),
                within,
                squash_eps: c.squash_eps,
                std_scale: None,
            },
            temperature: c.temperature,
            link: Link::Exp,
            target_entropy: c.target_entropy,
        };
        Ok(Sac { config: config.clone(), nets: SoftNets::declare(&spec, dims, params) })
    }

    /// y = r + γ m ( min_j Q̂_j(s', a') - α log π(a'|s') ), or one for each critic
    fn target<'t>(&self, b: &Round<'t>) -> Var<'t> {
        let (a2, log_pi) = self.nets.pi.draw(b.s2, 1);
        let a2 = b.perturb(a2);
        let value = match self.config.target {
            Target::Min => b.value(&self.nets.q_target, b.s2, a2),
            Target::Own => self.nets.q_target.all(b.s2, a2),
        };
        let soft = value - self.nets.alpha(b) * log_pi;
        let gamma = b.hyper("sac.discount", &self.config.discount);
        b.r + gamma * b.m * soft
    }

    fn critic_loss<'t>(&self, b: &Round<'t>) -> Var<'t> {
        let n = &self.nets;
        let y = self.target(b);
        let q = n.q.all(b.s, b.a);
        let squares = (q - y).square();
        let all = match self.config.critic_loss {
            CriticLoss::Sum => squares.sum(Axis::Heads),
            CriticLoss::Mean => squares.mean_over(Axis::Heads),
        };
        let loss = all.weighted_mean(b.weight(q));
        critic_metrics(b, &n.q, q, squares);
        loss
    }

    /// Moves π on Q as it stands, then α on a draw of its own: the k-th time in a round.
    fn train_policy(&self, b: &Round<'_>, k: usize) {
        let (c, n) = (&self.config, &self.nets);
        let (policy, temperature) = REPEATS[k];
        let (a, log_pi) = n.pi.draw(b.s, 1);
        let loss = n.policy_loss(b, (a, log_pi));
        if k == 0 {
            b.metric(&POLICY_LOSS, loss);
            n.policy_metrics(b, log_pi);
        }
        b.train(policy, ACTOR, n.pi.group(), &c.actor, loss);
        if let Some(group) = n.temperature() {
            let (_, log_pi) = n.pi.draw(b.s, 1);
            let loss = -(n.alpha(b) * (log_pi + n.target_entropy)).mean();
            if k == 0 {
                b.metric(&TEMPERATURE_LOSS, loss);
            }
            b.train(temperature, ACTOR, group, &c.temperature_optimiser, loss);
        }
    }
}

impl Learner for Sac {
    fn trace<'t>(&self, b: &Round<'t>) {
        let (c, n) = (&self.config, &self.nets);
        let steps = Steps {
            temperature: &c.temperature_optimiser,
            actor: &c.actor,
            critic: &c.critic,
            polyak: ("sac.polyak", &c.polyak),
        };
        policy_metrics(b, b.greedy(), &n.pi, b.s);
        match c.order {
            Order::Rlkit => {
                let (a, log_pi) = n.pi.draw(b.s, 1);
                let policy_loss = n.policy_loss(b, (a, log_pi));
                let critic_loss = self.critic_loss(b);
                n.train_all(b, log_pi, policy_loss, critic_loss, &steps);
            }
            Order::Cleanrl => {
                let loss = self.critic_loss(b);
                b.metric(&CRITIC_LOSS, loss);
                b.train("q", CRITIC, n.q.group(), &c.critic, loss);
                let repeats = if b.phase().own_pace { 1 } else { c.actor_updates };
                (0..repeats).for_each(|k| self.train_policy(b, k));
                n.move_target(b, steps.polyak);
            }
        }
    }

    of_nets!();

    fn target_critics(&self) -> Option<&Critics> {
        (self.config.target == Target::Min).then_some(&self.nets.q_target)
    }

    fn delay(&self) -> Delay {
        Delay::last_of(self.config.actor_every)
    }
}

/// Traces of rlkit's SAC, of CleanRL's, and of the ensemble that SO2's authors build.
pub const FOREIGN: &[Foreign] = &[
    Foreign::new("sac", |r, ours| {
        let config = rlkit(r)?;
        ours.config.put(config);
        Ok(())
    }),
    Foreign::new("sac-cleanrl", cleanrl),
    Foreign::new("so2-edac", own_targets),
];

fn rlkit(r: &mut dyn Reading) -> Result<SacConfig, Wrong> {
    let a = r.dims().a as f64;
    Ok(SacConfig {
        discount: r.constant_or("discount", SHARE, 0.99)?,
        polyak: r.constant_or("tau", SHARE, 0.005)?,
        temperature: match r.has("log_alpha") {
            true => Temperature::Learned,
            false => Temperature::Fixed(r.number_or("alpha", (0.0, 1e9), 0.2)?),
        },
        target_entropy: AutoOr::Value(r.number_or("target_entropy", ANY, -a)?),
        order: Order::Rlkit,
        actor_every: 1,
        actor_updates: 1,
        target: Target::Min,
        critic_loss: CriticLoss::Sum,
        log_std_min: r.log_std_min_or(-20.0)?,
        log_std_within: Within::Clamped,
        squash_eps: r.number("squash_eps", SHARE)?.unwrap_or(0.0),
        init: InitRule::Rlkit,
        hidden: r.hidden("q"),
        critics: r.copies("q"),
        actor: r.adam_or(&["actor_lr", "policy_lr", "lr"], 3e-4)?,
        critic: r.adam_or(&["critic_lr", "q_lr", "lr"], 3e-4)?,
        temperature_optimiser: r.adam_or(&["alpha_lr", "policy_lr", "lr"], 3e-4)?,
    })
}

/// The same losses in its order, with its log σ and its density; the temperature has the rate of Q.
fn cleanrl(r: &mut dyn Reading, ours: &mut Ours) -> Result<(), Wrong> {
    let every = r.whole_or("policy_frequency", 8, 2)?;
    let log_std_min = log_std_between(r)?;
    let rlkit = rlkit(r)?;
    ours.config.put(SacConfig {
        order: Order::Cleanrl,
        actor_every: every,
        actor_updates: every as usize,
        log_std_min,
        log_std_within: Within::Tanh,
        squash_eps: r.number("squash_eps", SHARE)?.unwrap_or(1e-6),
        temperature_optimiser: r.adam_or(&["alpha_lr", "q_lr", "lr"], 1e-3)?,
        ..rlkit
    });
    Ok(())
}

/// log σ laid between bounds by a tanh, written `LO + HALF (tanh(l) + 1)`: its lower bound.
fn log_std_between(r: &mut dyn Reading) -> Result<f64, Wrong> {
    let Some(text) = r.text("log_std")?.map(String::from) else { return r.log_std_min_or(-5.0) };
    let parts = text.strip_suffix(" (tanh(l) + 1)").and_then(|t| t.split_once(" + "));
    let bounds = parts.and_then(|(lo, half)| Some((lo.parse::<f64>().ok()?, half.parse::<f64>().ok()?)));
    match bounds {
        Some((lo, half)) if lo < 2.0 && (lo + 2.0 * half - 2.0).abs() < 1e-9 => Ok(lo),
        _ => Err(r.wrong("meta.log_std", "\"LO + HALF (tanh(l) + 1)\" with an upper bound of 2", &text)),
    }
}

/// An ensemble of critics, each on its own target, the mean of their losses, Q first.
fn own_targets(r: &mut dyn Reading, ours: &mut Ours) -> Result<(), Wrong> {
    r.check_size("ensemble", r.copies("q"), "init.critic_*")?;
    r.word("target", &["each head's own"])?;
    r.word("critic_loss", &["mean over heads and batch"])?;
    r.word("order", &["Q, policy against the new Q, target"])?;
    let every = r.whole_or("actor_update_freq", 1000, 1)?;
    let rlkit = rlkit(r)?;
    ours.config.put(SacConfig {
        order: Order::Cleanrl,
        target: Target::Own,
        critic_loss: CriticLoss::Mean,
        actor_every: every,
        squash_eps: r.number("squash_eps", SHARE)?.unwrap_or(1e-6),
        ..rlkit
    });
    Ok(())
}
