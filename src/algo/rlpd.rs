//! RLPD, reinforcement learning with prior data. Ball, Smith, Kostrikov, Levine 2023, arXiv:2302.02948.
//!
//!   y      =  r + γ m ( min_{j in M} Q̂_j(s', a') - α log π(a'|s') ),  a' ~ π(s'),  M: Z of J critics, drawn per round
//!   L_Q(θ) =  E[ mean_j ( y - Q_j(s,a) )² ]
//!   L_π(φ) =  E[ α log π(a~|s) - mean_j Q_j(s, a~) ],  a~ ~ π(s) reparameterised
//!   L_α    = -α E[ log π(a~|s) + H ],  H = -A/2, of the same draw
//!   Q̂ ← (1-ρ) Q̂ + ρ Q
//!
//! Soft actor-critic from scratch in the environment, with half of every batch from the data; layer normalisation bounds
//! what the critics extrapolate, many of them allow many updates per environment step. Order: Q, Q̂; in every
//! `critic_rounds`-th round then π and α, both losses from the parameters that they find. Only the Z target critics of
//! a round are computed.
//!
//! Metrics: those of [`super::measure`] and [`super::soft`].
//!
//! Declared differences: none from the authors' program in an update. Around it: a round draws its own batch, where they draw
//! G batches at once; the first `online.random_steps` actions are uniform, as theirs.
//!
//! Cost per round (batch 256, 2x256, J = 10, Z = 2): 1.15 GFLOP; 20 of them and one of the policy per environment step.

use super::foreign::{ANY, Foreign, Ours, Reading, SHARE, Wrong};
use super::measure::{CRITIC_LOSS, POLICY_LOSS, critic_metrics, policy_metrics};
use super::soft::{Factor, Link, SoftNets, SoftSpec, Temperature};
use super::{ACTOR, CRITIC, Delay, Dims, Learner, Round};
use crate::autodiff::{Axis, Schedule, Var};
use crate::config::limits::{RATE, WIDTHS};
use crate::config::{AdamConfig, AutoOr, ConfigError, InitScheme, NetSpec};
use crate::nn::{Head, Params};

crate::config! {
    RlpdConfig "rlpd", "Reinforcement learning with prior data" {
        hyper discount:       Schedule    = 0.99,                 0.0..=1.0,   "gamma";
        hyper polyak:         Schedule    = 0.005,                0.0..=1.0,   "rho, target update rate";
        shape critics:        usize       = 10,                   1..=64,      "J, number of critics";
        shape target_critics: usize       = 2,                    1..=64,      "Z of them, drawn in every round, whose least value is the target's";
        shape critic_rounds:  u64         = 20,                   1..1001,     "rounds between updates of the policy and the temperature, unless online.actor_updates_per_step counts them";
        shape entropy_backup: bool        = true,                 ..,          "the target values the entropy of the next action";
        shape temperature:    Temperature = Temperature::Learned, ..,          "alpha, weight of the entropy";
        shape target_entropy: AutoOr<f64> = AutoOr::Auto,         -1e6..=1e6,  "H of the temperature's loss; auto: minus half the action dimension";
        shape log_std_min:    f64         = -20.0,                -20.0..2.0,  "lower bound of log sigma; the upper one is 2";
        shape policy_hidden:  NetSpec     = [256, 256],           WIDTHS,      "hidden layers of the policy";
        shape critic_hidden:  NetSpec     = "256x256 layer_norm relu", WIDTHS, "hidden layers of the critics";
        opt   actor:          AdamConfig  = 3e-4,                 RATE,        "optimiser of the policy";
        opt   critic:         AdamConfig  = 3e-4,                 RATE,        "optimiser of Q";
        opt   temperature_optimiser: AdamConfig = 3e-4,           RATE,        "optimiser of log alpha";
    }
}

/// Outside its own section: from scratch, half of each batch from the data, twenty critic updates per step.
pub const DEFAULTS: &str = "[run]\nbegin = \"online\"\n[online]\nbuffer = \"mix(0.5)\"\nupdates_per_step = 20.0\nactor_updates_per_step = 1.0\nrandom_steps = 5_000\nactor_lr = \"constant(1)\"\n";

/// Networks of RLPD.
#[derive(Debug)]
pub struct Rlpd {
    config: RlpdConfig,
    nets: SoftNets,
}

impl Rlpd {
    /// Declares policy, critics, targets and temperature. Errors: more `target_critics` than `critics`.
    pub fn declare(config: &RlpdConfig, dims: Dims, params: &mut Params) -> Result<Rlpd, ConfigError> {
        let c = config;
        if c.target_critics > c.critics {
            return Err(ConfigError::Other(format!(
                "rlpd.target_critics: expected at most rlpd.critics = {}, got {}; lower it",
                c.critics, c.target_critics
            )));
        }
        let spec = SoftSpec {
            ensemble: 1,
            given: 0,
            policy_net: c.policy_hidden.begin(InitScheme::Xavier),
            critic_net: c.critic_hidden.begin(InitScheme::Xavier),
            critics: c.critics,
            head: Head::tanh_gaussian((c.log_std_min, 2.0)),
            temperature: c.temperature,
            link: Link::Exp,
            target_entropy: AutoOr::Value(c.target_entropy.or_else(|| -0.5 * dims.a as f64)),
        };
        Ok(Rlpd { config: config.clone(), nets: SoftNets::declare(&spec, dims, params) })
    }

    /// y = r + γ m ( min_{j in M} Q̂_j(s', a') - α log π(a'|s') )
    fn target<'t>(&self, b: &Round<'t>) -> Var<'t> {
        let (c, n) = (&self.config, &self.nets);
        let (a2, log_pi) = n.pi.draw(b.s2, 1);
        let least = n.q_target.min_of_drawn(b.s2, b.perturb(a2), c.target_critics);
        let value = if c.entropy_backup { least - n.alpha(b) * log_pi } else { least };
        b.r + b.hyper("rlpd.discount", &c.discount) * b.m * value
    }

    fn train_critics(&self, b: &Round<'_>) {
        let (c, n) = (&self.config, &self.nets);
        let y = self.target(b);
        let q = n.q.all(b.s, b.a);
        let squares = (q - y).square();
        let loss = squares.mean_over(Axis::Heads).weighted_mean(b.weight(q));
        critic_metrics(b, &n.q, q, squares);
        b.metric(&CRITIC_LOSS, loss);
        b.train("q", CRITIC, n.q.group(), &c.critic, loss);
        n.move_target(b, ("rlpd.polyak", &c.polyak));
    }

    fn train_policy(&self, b: &Round<'_>) {
        let (c, n) = (&self.config, &self.nets);
        let (a, log_pi) = n.pi.draw(b.s, 1);
        let loss = n.policy_loss_on_mean(b, (a, log_pi));
        b.metric(&POLICY_LOSS, loss);
        n.policy_metrics(b, log_pi);
        b.train("policy", ACTOR, n.pi.group(), &c.actor, loss);
        n.train_temperature(b, log_pi, Factor::Alpha, &c.temperature_optimiser);
    }
}

impl Learner for Rlpd {
    fn trace<'t>(&self, b: &Round<'t>) {
        policy_metrics(b, b.greedy(), &self.nets.pi, b.s);
        self.train_critics(b);
        self.train_policy(b);
    }

    of_nets!();

    fn delay(&self) -> Delay {
        Delay::last_of(self.config.critic_rounds)
    }
}

/// Traces of the authors' program.
pub const FOREIGN: &[Foreign] = &[Foreign::new("rlpd", foreign)];

fn foreign(r: &mut dyn Reading, ours: &mut Ours) -> Result<(), Wrong> {
    let rate = r.adam_or(&["lr"], 3e-4)?;
    let rounds = r.whole_or("utd", 1000, 20)?;
    ours.online = true;
    ours.slices = rounds as usize;
    r.check_size("num_qs", r.copies("q"), "init.critic_*")?;
    let critic_hidden = NetSpec {
        norm: crate::config::Norm::Layer { eps: r.number_or("ln_eps", (1e-12, 1.0), 1e-6)? },
        ..r.hidden("q")
    };
    ours.config.put(RlpdConfig {
        discount: r.constant_or("discount", SHARE, 0.99)?,
        polyak: r.constant_or("tau", SHARE, 0.005)?,
        critics: r.copies("q"),
        target_critics: r.whole_or("num_min_qs", 64, 2)? as usize,
        critic_rounds: rounds,
        entropy_backup: r.flag_or("backup_entropy", true)?,
        temperature: Temperature::Learned,
        target_entropy: AutoOr::Value(r.number_or("target_entropy", ANY, -0.5 * r.dims().a as f64)?),
        log_std_min: r.log_std_min_or(-20.0)?,
        policy_hidden: r.hidden("pi"),
        critic_hidden,
        actor: rate,
        critic: rate,
        temperature_optimiser: rate,
    });
    Ok(())
}
