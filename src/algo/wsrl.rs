//! WSRL, warm-start reinforcement learning. Zhou, Peng, Li, Levine, Kumar 2024, arXiv:2412.07762.
//!
//! Offline: CQL with `cql.critics` = J layer-normalised critics and such a policy, whose losses and options are those of
//! [`super::cql`]; `calibrated`: those of Cal-QL. Online: a soft actor-critic that goes on from its networks, targets and
//! moments, on new transitions alone, the first of which (`online.warmup_steps`) are collected before it learns. A round is
//! one environment step's updates: its rows are shared out among G = `critic_steps` steps of the critics, then serve the policy.
//!
//!   for g = 1 .. G, on the g-th part of the rows:
//!     y    = r + γ m min_{j in M} Q̂_j(s', a'),  a' ~ π(s'),  M: Z of J critics, drawn with replacement
//!     L_Q  = E[ w · mean_j ( y - Q_j(s,a) )² ];   Q̂ ← (1-ρ) Q̂ + ρ Q
//!   on all rows, from the same parameters:
//!     L_π  = E[ α log π(a~|s) - min_j Q_j(s, a~) ],  a~ ~ π(s) reparameterised
//!     L_α  = -α E[ log π(a'|s') + H ],  a' ~ π(s'),  H = -A;   α = log(1 + e^x)
//!
//! With `cql.max_backup` y takes the best of `cql.samples` actions a', as on AntMaze. log σ of the policy lies in [log 1e-5,
//! log 10]. w is 1 unless an adaptation supplies it.
//!
//! Order: Q, Q̂ for every g, then π and α.
//!
//! Metrics: those of [`super::cql`] and [`super::soft`]; online those of the critics are of the first step of a round.
//! With `calibrated`, offline, `calibrated_share` as in [`super::cal_ql`].
//!
//! Declared differences. The release has one last layer for all critics (`compat_shared_head`), and its optimisers take a step
//! on gradients of zero whenever another network's turn comes (`compat_idle_steps`), by which the policy and the temperature move
//! about √5 times as fast as their rate says. Without these two, the default, `wsrl.actor` and the others are the rates that
//! come to the same: theirs are 1e-4, 3e-4, 1e-4. With both, none in an update. Offline L_α is linear in the trained number,
//! as CQL's here, the squared errors are summed over critics, not averaged, and initial weights are those of `cql.init`, where
//! theirs end in layers of a hundredth.
//!
//! Cost per round (1,024 rows, 2x256, J = 10, Z = 2, G = 4): 8.0 GFLOP, one round per environment step.

use super::cal_ql::{Failed, calibrated, check_discount};
use super::cql::{Cql, CqlConfig};
use super::foreign::{ANY, Foreign, Ours, Reading, SHARE, Wrong};
use super::measure::{CRITIC_LOSS, POLICY_LOSS, critic_metrics, policy_metrics};
use super::returns::ReturnToGo;
use super::soft::{Link, SoftNets, SoftSpec, TEMPERATURE_LOSS};
use super::{ACTOR, CRITIC, Dims, Learner, Round};
use crate::autodiff::{Axis, Shape, Var};
use crate::config::limits::RATE;
use crate::config::{AdamConfig, AutoOr, ConfigError, NetSpec, Norm};
use crate::nn::{Critics, Head, Params, Policy, Within};

crate::config! {
    WsrlConfig "wsrl", "Warm-start reinforcement learning" {
        shape critic_steps:       usize      = 4,      1..=16, "G, steps of the critics in a round of fine-tuning, at most one a row, each on its part of them";
        shape target_critics:     usize      = 2,      1..=64, "Z, critics drawn in every step whose least value is the target's";
        shape calibrated:         bool       = false,  ..,     "offline, bound values of the policy's actions by the recorded return, as Cal-QL";
        shape compat_shared_head: bool       = false,  ..,     "one last layer for all critics, as the release has it";
        shape compat_idle_steps:  bool       = false,  ..,     "optimisers step on zeros in the turns of other networks, as in the release";
        opt   actor:              AdamConfig = 2.2e-4, RATE,   "optimiser of the policy during fine-tuning";
        opt   critic:             AdamConfig = 3.4e-4, RATE,   "optimiser of Q during fine-tuning";
        opt   temperature:        AdamConfig = 2.2e-4, RATE,   "optimiser of the temperature during fine-tuning";
    }
}

/// Outside its own section: the networks and rates of its offline phase, no data online, 1,024 rows a round.
pub const DEFAULTS: &str = "[cql]\ncritics = 10\npenalty = 5.0\nstd_scale = false\npolicy_hidden = \"256x256 layer_norm relu\"\ncritic_hidden = \"256x256 layer_norm relu\"\nactor = 0.0001\ntemperature_optimiser = 0.0001\n[online]\nbatch = 1_024\noffline_rows = \"none\"\nwarmup_steps = 5_000\nactor_lr = \"constant(1)\"\n";

/// Names of the updates of the critics, and of the steps on zeros that go with each, by their turn.
const TURNS: [[&str; 3]; 16] = [
    ["q", "policy idle", "temperature idle"],
    ["q 2", "policy idle 2", "temperature idle 2"],
    ["q 3", "policy idle 3", "temperature idle 3"],
    ["q 4", "policy idle 4", "temperature idle 4"],
    ["q 5", "policy idle 5", "temperature idle 5"],
    ["q 6", "policy idle 6", "temperature idle 6"],
    ["q 7", "policy idle 7", "temperature idle 7"],
    ["q 8", "policy idle 8", "temperature idle 8"],
    ["q 9", "policy idle 9", "temperature idle 9"],
    ["q 10", "policy idle 10", "temperature idle 10"],
    ["q 11", "policy idle 11", "temperature idle 11"],
    ["q 12", "policy idle 12", "temperature idle 12"],
    ["q 13", "policy idle 13", "temperature idle 13"],
    ["q 14", "policy idle 14", "temperature idle 14"],
    ["q 15", "policy idle 15", "temperature idle 15"],
    ["q 16", "policy idle 16", "temperature idle 16"],
];

/// Networks of CQL, and how they go on online.
#[derive(Debug)]
pub struct Wsrl {
    config: WsrlConfig,
    shared: CqlConfig,
    base: Cql,
}

impl Wsrl {
    /// Declares the networks of CQL. Errors: `cql.ensemble` above 1; `calibrated` with a schedule of `cql.discount`; `compat_shared_head` over critics without a hidden
    /// layer; those of [`Cql::declare`].
    pub fn declare(
        config: &WsrlConfig,
        shared: &CqlConfig,
        dims: Dims,
        params: &mut Params,
    ) -> Result<Wsrl, ConfigError> {
        if shared.ensemble > 1 {
            return Err(ConfigError::Other(format!(
                "cql.ensemble: expected 1, got {}; one agent is fine-tuned",
                shared.ensemble
            )));
        }
        if config.calibrated {
            check_discount(shared)?;
        }
        if config.compat_shared_head && shared.critic_hidden.hidden.is_empty() {
            return Err(ConfigError::Other(
                "wsrl.compat_shared_head: expected critics with a hidden layer of their own, got cql.critic_hidden = []; give it one".into(),
            ));
        }
        let usual = Cql::spec(shared);
        let spec = SoftSpec {
            critic_net: NetSpec { one_last: config.compat_shared_head, ..usual.critic_net.clone() },
            head: Head::TanhGaussian {
                log_std: (1e-5f64.ln(), 10f64.ln()),
                within: Within::Clamped,
                squash_eps: 0.0,
                std_scale: shared.std_scale.then_some((1.0, -1.0)),
            },
            link: Link::Softplus,
            ..usual
        };
        let base = Cql::of(shared, &spec, dims, params)?;
        Ok(Wsrl { config: config.clone(), shared: shared.clone(), base })
    }

    fn nets(&self) -> &SoftNets {
        &self.base.nets
    }

    /// One step of the critics.
    fn train_critics(&self, b: &Round<'_>, [name, of_policy, of_temperature]: [&'static str; 3]) {
        let (c, n) = (&self.config, self.nets());
        let k = if self.shared.max_backup { self.shared.samples } else { 1 };
        let (a2, _) = n.pi.draw(b.s2, k);
        let least = n.q_target.min_of_chosen(b.s2, b.perturb(a2), c.target_critics);
        let least = least.reshape(Shape::new(1, b.s2.shape().rows, k)).max(Axis::Cols);
        let y = b.r + b.hyper("cql.discount", &self.shared.discount) * b.m * least;
        let q = n.q.all(b.s, b.a);
        let squares = (q - y).square();
        let loss = squares.mean_over(Axis::Heads).weighted_mean(b.weight(q));
        critic_metrics(b, &n.q, q, squares);
        b.metric(&CRITIC_LOSS, loss);
        b.train_anew(name, CRITIC, n.q.group(), &c.critic, loss);
        n.move_target(b, ("cql.polyak", &self.shared.polyak));
        if c.compat_idle_steps {
            b.idle(of_policy, ACTOR, n.pi.group(), &c.actor);
            n.temperature().into_iter().for_each(|t| b.idle(of_temperature, ACTOR, t, &c.temperature));
        }
    }

    fn temperature_loss<'t>(&self, b: &Round<'t>) -> Var<'t> {
        let n = self.nets();
        let (_, log_pi) = n.pi.draw(b.s2, 1);
        let loss = -(n.alpha(b) * (log_pi + n.target_entropy)).mean();
        b.metric(&TEMPERATURE_LOSS, loss);
        loss
    }

    fn train_policy(&self, b: &Round<'_>) {
        let (c, n) = (&self.config, self.nets());
        let drawn = n.pi.draw(b.s, 1);
        let loss = n.policy_loss(b, drawn);
        b.metric(&POLICY_LOSS, loss);
        n.policy_metrics(b, drawn.1);
        let temperature = n.temperature().map(|group| (group, self.temperature_loss(b)));
        b.train("policy", ACTOR, n.pi.group(), &c.actor, loss);
        if let Some((group, loss)) = temperature {
            b.train("temperature", ACTOR, group, &c.temperature, loss);
        }
        if c.compat_idle_steps {
            b.idle_anew("q idle", CRITIC, n.q.group(), &c.critic);
        }
    }
}

impl Learner for Wsrl {
    fn trace<'t>(&self, b: &Round<'t>) {
        if !b.phase().online {
            let calibrate = |values| match self.config.calibrated {
                true => calibrated(b, false, values),
                false => values,
            };
            return self.base.round(b, calibrate);
        }
        policy_metrics(b, b.greedy(), &self.nets().pi, b.s);
        let steps = self.config.critic_steps.min(b.dims().batch);
        for (k, names) in TURNS.iter().enumerate().take(steps) {
            self.train_critics(&b.part(k, steps), *names);
        }
        self.train_policy(b);
    }

    fn policy(&self) -> &Policy {
        self.base.policy()
    }

    fn critics(&self) -> Option<&Critics> {
        self.base.critics()
    }

    fn return_to_go(&self) -> Option<ReturnToGo> {
        let rule = || ReturnToGo { discount: self.shared.discount.ends()[0], failed: Failed::Auto };
        self.config.calibrated.then(rule)
    }
}

/// Traces of the authors' program.
pub const FOREIGN: &[Foreign] = &[Foreign {
    networks: &[("temperature_raw", "log_alpha")],
    losses: &[("policy", &["actor/actor_loss"]), ("temperature", &["temperature/temperature_loss"])],
    ..Foreign::new("wsrl", foreign)
}];

fn foreign(r: &mut dyn Reading, ours: &mut Ours) -> Result<(), Wrong> {
    r.check_size("num_qs", r.copies("q"), "init.critic_*")?;
    let norm = Norm::Layer { eps: r.number_or("ln_eps", (1e-12, 1.0), 1e-6)? };
    ours.online = true;
    ours.config.put(WsrlConfig {
        critic_steps: r.whole_or("utd", 16, 4)? as usize,
        target_critics: r.whole_or("num_min_qs", 64, 2)? as usize,
        calibrated: false,
        compat_shared_head: r.flag_or("critic_head_shared_by_all", false)?,
        compat_idle_steps: r.text("idle_networks")?.is_some(),
        actor: r.adam_or(&["actor_lr"], 1e-4)?,
        critic: r.adam_or(&["critic_lr"], 3e-4)?,
        temperature: r.adam_or(&["temperature_lr"], 1e-4)?,
    });
    ours.config.put(CqlConfig {
        discount: r.constant_or("discount", SHARE, 0.99)?,
        polyak: r.constant_or("tau", SHARE, 0.005)?,
        target_entropy: AutoOr::Value(r.number_or("target_entropy", ANY, -(r.dims().a as f64))?),
        std_scale: false,
        policy_hidden: NetSpec { norm, ..r.hidden("pi") },
        critic_hidden: NetSpec { norm, ..r.hidden("q") },
        critics: r.copies("q"),
        ..CqlConfig::default()
    });
    Ok(())
}
