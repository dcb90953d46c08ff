//! SUF, Stabilized Unconstrained Fine-tuning. Feng et al. 2024 (AAAI). No program is public and the ratios could not
//! be looked up; the constants here are our reading of the idea.
//!
//!   per environment step: G_c critic updates and G_a policy updates, G_c large and G_a below 1
//!
//! A critic update is everything in the critic's role: V, Q and targets in IQL. The temperature moves with the
//! policy. The values fit new data fast, the policy is not pulled by values that are still wrong. Fractions
//! accumulate; a policy update falls on the last critic update of its step.
//!
//! Unconstrained, as its name says: while online the base drops what ties it to the data. CQL and Cal-QL become SAC (no
//! penalty, entropy in the backup), TD3+BC becomes TD3, IQL keeps its critics and maximises min_j Q_j instead of
//! cloning, AWAC likewise; SAC and TD3 have nothing to drop. `unconstrained = false` keeps the base's losses: the
//! *ratios alone*, as BAQ's comparison seems to use the method, of which its text says nothing more. Tables name both.
//!
//! Metrics: none of its own; the numbers of updates are in the checkpoint.
//! Over TD3 and TD3+BC the ratios take the place of the base's delay: the target critics move with the critics, G_c
//! times, the target policy with the policy, G_a times.
//! Declared differences: the two ratios, for want of a source.
//! Cost per environment step: G_c critic parts and G_a policy parts of the base's round.

use super::critics;
use crate::algo::{Adaptation, Cadence, Learner};
use crate::config::ConfigError;
use crate::config::limits::PER_STEP;

crate::config! {
    SufConfig "suf", "Stabilized Unconstrained Fine-tuning" {
        run   critic_updates: f64  = 10.0,  PER_STEP, "G_c, critic updates per environment step, unless online.updates_per_step is set";
        run   actor_updates:  f64  = 0.5,   PER_STEP, "G_a, policy updates per environment step, unless online.actor_updates_per_step is set";
        shape unconstrained:  bool = true,  ..,    "drop what ties the base to the data while online; false: the ratios alone";
    }
}

/// Its two readings, as tables name them.
pub const VARIANTS: &[(&str, &str, &str)] =
    &[("unconstrained", "true", "unconstrained"), ("unconstrained", "false", "ratios alone")];

/// SUF over some base.
#[derive(Debug)]
pub struct Suf {
    config: SufConfig,
}

impl Suf {
    /// Over a base with critics. Errors: one without.
    pub fn new(config: &SufConfig, base: &dyn Learner) -> Result<Suf, ConfigError> {
        critics(base, "updates critics more often than the policy")?;
        Ok(Suf { config: config.clone() })
    }
}

impl Adaptation for Suf {
    fn unconstrained(&self) -> bool {
        self.config.unconstrained
    }

    fn cadence(&self) -> Cadence {
        let c = &self.config;
        Cadence { critic: c.critic_updates, actor: Some(c.actor_updates), ..Cadence::default() }
    }
}
