//! SO2. Zhang et al., "A perspective of Q-value estimation on offline-to-online reinforcement learning", 2024,
//! arXiv:2312.07685.
//!
//!   ε ~ clip( N(0, σ²), ±c ),  ã' = clip( a' + ε, ±1 )       one draw per sample and dimension
//!   y = r + γ m ( min_j Q̂_j(s', ã') - α log π(a'|s') )        the density is that of the unperturbed action
//!   G_c critic updates per environment step, one of the policy on the last of them
//!   first 5,000 environment steps with the offline policy and without updates (`online.warmup_steps`)
//!
//! Over each base the action that its critic's target values is perturbed, and nothing else: a' in SAC, CQL,
//! Cal-QL (each of the draws of `max_backup`) and TD3 (after its own smoothing noise). IQL's target for Q has no
//! action; there the recorded action in the regression of V is perturbed, q = min_j Q̂_j(s, clip(a + ε)).
//! Over TD3 and TD3+BC the target critics move after every update of the critics, as in the paper's program, and the
//! target policy with the policy; the base's delay is not in force.
//! σ = 0 perturbs nothing and leaves the base's program as it is.
//!
//! Metrics: `target_shift` = E[ mean_i |ã'_i - a'_i| ], after clipping.
//! Order: the base's. The authors' program moves Q first, the policy against the new Q, each critic towards its own target
//! critic, on the mean of the critics' losses: over SAC, its base, that is `sac.order = cleanrl`, `sac.target = own`,
//! `sac.critic_loss = mean`, `sac.temperature = fixed(0.2)`. They are not the default: SO2 over a base shall differ from
//! that base by what SO2 is, or no comparison shows it; and a target of its own for each critic wants the authors' ten to
//! fifty critics, of two nothing would be pessimistic in the target.
//! Declared differences. From the paper's program: no ensemble unless the base has one; the base's loss, order, target,
//! rates and batches stay (`online.buffer = concat(0.1)` gives the paper's batches, `so2.unconstrained` its loss without a
//! penalty); the temperature moves with the policy only. BAQ's comparison says nothing of the first 5,000 steps, a sixth of
//! its 30,000: rows without them are a variant, `online.warmup_steps = 0`, which reports tell apart. Of the readings over
//! IQL the one with perturbed successor actions in y is not offered; the update ratio alone is σ = 0.
//! Cost per environment step: G_c critic parts and one policy part of the base's round; over IQL the target
//! critics run once more on the perturbed actions.

use super::critics;
use crate::algo::foreign::{Foreign, Ours, Reading, Wrong};
use crate::algo::{Adaptation, Cadence, Learner, Round};
use crate::autodiff::{NoiseKind, Var};
use crate::config::limits::PER_STEP;
use crate::config::{ConfigError, Metric};

crate::config! {
    So2Config "so2", "Perturbed value updates at a higher rate" {
        shape sigma:          f64  = 0.3,   0.0..=1e3, "standard deviation of the perturbation; 0: none";
        shape clip:           f64  = 0.6,   0.0..=1e3, "bound of the perturbation";
        run   critic_updates: f64  = 10.0,  PER_STEP, "critic updates per environment step, unless online.updates_per_step is set";
        run   actor_updates:  f64  = 1.0,   PER_STEP, "policy updates per environment step, unless online.actor_updates_per_step is set";
        shape unconstrained:  bool = false, ..,    "drop what ties the base to the data while online, as CQL's penalty";
    }
}

/// Outside its own section.
pub const DEFAULTS: &str = "[online]\nwarmup_steps = 5_000\n";

/// How far the perturbation moves an action.
pub static SHIFT: Metric =
    Metric::new("target_shift", "E[ mean_i |a~'_i - a'_i| ]", "", "Perturbation of target actions");

/// SO2 over some base.
#[derive(Debug)]
pub struct So2 {
    config: So2Config,
}

impl So2 {
    /// Over a base with critics. Errors: one without.
    pub fn new(config: &So2Config, base: &dyn Learner) -> Result<So2, ConfigError> {
        critics(base, "perturbs the actions that the targets of critics value")?;
        Ok(So2 { config: config.clone() })
    }
}

impl Adaptation for So2 {
    fn perturb<'t>(&self, b: &Round<'t>, a: Var<'t>) -> Var<'t> {
        let c = &self.config;
        if c.sigma == 0.0 {
            return a;
        }
        let noise = b.noise("perturbation of the target's action", NoiseKind::Normal, a.shape());
        let eps = (noise * c.sigma).clamp(-c.clip, c.clip);
        let moved = (a + eps).clamp(-1.0, 1.0);
        b.metric(&SHIFT, (moved - a).abs().mean());
        moved.named(format!("clip({} + eps)", a.name()))
    }

    fn unconstrained(&self) -> bool {
        self.config.unconstrained
    }

    fn cadence(&self) -> Cadence {
        let c = &self.config;
        Cadence { critic: c.critic_updates, actor: Some(c.actor_updates), ..Cadence::default() }
    }
}

/// Traces of the method over CQL, and of its authors' program.
pub const FOREIGN: &[Foreign] =
    &[Foreign { base: "cql", ..Foreign::new("so2-cql", foreign) }, Foreign::new("so2-edac", foreign)];

fn foreign(r: &mut dyn Reading, ours: &mut Ours) -> Result<(), Wrong> {
    ours.config.put(So2Config {
        sigma: r.number_or("so2_sigma", (0.0, 1e9), 0.3)?,
        clip: r.number_or("so2_clip", (0.0, 1e9), 0.6)?,
        ..Default::default()
    });
    // The pace is the method's, whatever the base has.
    ours.actor_every = r.whole("actor_update_freq", 1000)?;
    ours.online = true;
    Ok(())
}
