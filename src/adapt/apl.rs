//! APL, adaptive policy learning. Zheng, Luo, Wei, Song, Li, Jiang 2023, arXiv:2303.07693.
//!
//!   a batch comes  with probability p      from the last n transitions, once more than n_0 were collected: W = 0
//!                  with probability 1 - p  from all, recorded and collected:                               W = 1
//!   L = (loss without the tie) + W (what ties the base to the data)
//!
//! Over CQL and Cal-QL the penalty is tied: y, squared errors and L_π stay. `--preset gcql` is the paper's base, GCQL: five
//! critics, the least of two drawn ones in the target, the mean in L_π. Over TD3+BC the cloning term is: GCTD3BC, with
//! `apl.latest_share = 0.1` as in the paper (its program has 0.5). Of other bases the paper says nothing. Over IQL, AWAC and FamO2O
//! L_π = W L_cloning + (1 - W) (-E[ min_j Q_j(s, π(s)) ]); over FamO2O over CQL, PBRL, RORL, SAC+ML, wPC, PRDC, SPOT, ReBRAC, FQL and BRAC
//! the term is tied that their headers say an adaptation may drop. SAC, TD3, SAC-N, EDAC, RLPD, EMaQ and WSRL have no tie online: their
//! batches alone change.
//!
//! Metrics: `tied` = W.
//! Order: the base's.
//! Declared differences. From the paper: its blocks of 1,000 environment steps and 10,000 updates are ten updates after every
//! step. From the released program: target critics begin as copies of the critics; α and π move on the parameters of the
//! beginning of the round; what is recorded and collected is one buffer of `online.capacity`, where theirs holds 3,000,000;
//! GCTD3BC sees states as they are and begins a new episode with each block of 1,000 steps, where the preset `td3_bc` standardises
//! states (`data.observation_scaling = none`) and episodes end as the task's do.
//! Cost per environment step: `critic_updates` of the base's rounds.

use super::critics;
use crate::algo::{Adaptation, Cadence, Latest, Learner, Round, Sampling};
use crate::autodiff::Var;
use crate::config::limits::{COUNT, PER_STEP};
use crate::config::{ConfigError, Metric};
use crate::replay;

crate::config! {
    AplConfig "apl", "Adaptive policy learning" {
        run latest_share:   f64   = 0.5,    0.0..=1.0, "p, probability of a batch of the latest transitions alone";
        run latest_rows:    usize = 20_000, 1..=1_000_000_000, "n, transitions that count as the latest";
        run latest_after:   u64   = 10_000, COUNT,     "n_0, transitions collected before the first such batch";
        run critic_updates: f64   = 10.0,   PER_STEP,  "rounds per environment step, unless online.updates_per_step is set";
    }
}

/// Outside its own section.
pub const DEFAULTS: &str = "[online]\nactor_lr = \"constant(1.0)\"\n";

/// Whether the batch was tied to the data.
pub static TIED: Metric =
    Metric::new("tied", "W: 1 on a batch of everything, 0 on one of the latest", "", "Tie to the data");

/// APL over some base.
#[derive(Debug)]
pub struct Apl {
    config: AplConfig,
}

impl Apl {
    /// Over a base with critics. Errors: one without.
    pub fn new(config: &AplConfig, base: &dyn Learner) -> Result<Apl, ConfigError> {
        critics(base, "lets critics take the place of what ties a policy to the data")?;
        Ok(Apl { config: config.clone() })
    }
}

impl Adaptation for Apl {
    fn tie<'t>(&self, b: &Round<'t>) -> Option<Var<'t>> {
        b.online?;
        // The same for all rows.
        Some(b.column(replay::FROM_ALL).mean().named("W"))
    }

    fn finish_round(&self, b: &Round<'_>) {
        if let Some(tied) = self.tie(b) {
            b.metric(&TIED, tied);
        }
    }

    fn sampling(&self) -> Sampling {
        let c = &self.config;
        let latest = Latest { share: c.latest_share, rows: c.latest_rows, after: c.latest_after };
        Sampling { latest: Some(latest), ..Sampling::default() }
    }

    fn cadence(&self) -> Cadence {
        Cadence { critic: self.config.critic_updates, ..Cadence::default() }
    }
}
