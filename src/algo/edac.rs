//! EDAC, ensemble-diversified actor-critic. An, Moon, Kim, Song 2021, arXiv:2110.01548.
//!
//!   g_j    =  ∇_a Q_j(s,a) / ( ‖∇_a Q_j(s,a)‖ + 1e-10 )
//!   ES     =  E[ Σ_{i≠j} ⟨g_i, g_j⟩ ] / (N-1)  =  E[ ‖Σ_j g_j‖² - Σ_j ‖g_j‖² ] / (N-1)
//!   L_Q(θ) =  that of SAC-N  +  η ES
//!
//! All else as in SAC-N, whose options (`sac_n.*`) hold here too, its orders among them. Critics whose slopes in the action
//! point everywhere disagree about any action that is not in the data, so that fewer of them are pessimistic enough.
//! With η = 0 it is SAC-N, bit for bit. ES is N where all critics agree and 0 where their slopes are orthogonal.
//!
//! The slopes are a formula: dense layers from the last to the first against the masks of their rectifiers, which are
//! constants almost everywhere; training through them is first order again. Layer normalisation is differentiated too.
//!
//! Metrics: those of [`super::sac_n`]; `diversity_loss` = ES.
//!
//! Declared differences. From CORL: a slope of length below 1e-15 counts as one of that length. From the authors' earlier
//! program: ES of all N critics, not of a random min(N, A) of them; their present one has all.
//!
//! Cost per update (batch 256, 3x256, N = 10): 6.4 GFLOP.

use super::foreign::{Foreign, POSITIVE};
use super::sac_n::{self, SacN, SacNConfig, Terms};
use super::{Dims, Learner, Round};
use crate::autodiff::{Axis, Metric, Schedule, Var};
use crate::config::ConfigError;
use crate::nn::Params;

crate::config! {
    EdacConfig "edac", "Ensemble-diversified actor-critic" {
        hyper eta: Schedule = 1.0, 0.0..=1e6, "weight of the term that keeps the critics' slopes apart";
    }
}

/// How alike the slopes of the critics are.
pub static DIVERSITY: Metric = Metric::new(
    "diversity_loss",
    "E[ sum_{i != j} <g_i, g_j> ] / (N - 1)",
    "",
    "Likeness of the critics' slopes",
);

/// Added to the length of a slope.
const EPS: f64 = 1e-10;

/// SAC-N whose critics are kept apart.
#[derive(Debug)]
pub struct Edac {
    config: EdacConfig,
    base: SacN,
}

impl Edac {
    /// Declares the networks of SAC-N, of which two critics must be. Errors: `sac_n.critics` below 2.
    pub fn declare(
        config: &EdacConfig,
        base: &SacNConfig,
        dims: Dims,
        params: &mut Params,
    ) -> Result<Edac, ConfigError> {
        if base.critics < 2 {
            return Err(ConfigError::Other(
                "sac_n.critics: expected at least 2, whose slopes edac keeps apart, got 1; raise it or choose --algo sac_n".into(),
            ));
        }
        Ok(Edac { config: config.clone(), base: SacN::declare(base, dims, params) })
    }
}

impl Terms for Edac {
    /// η ES
    fn of_critics<'t>(&self, b: &Round<'t>, q: Var<'t>) -> Option<Var<'t>> {
        let slopes = self.base.nets.q.slopes(b.s, b.a);
        // The root has no slope at 0, where all rectifiers of a critic are off.
        let length = slopes.square().sum(Axis::Cols).clamp(1e-30, f64::INFINITY).sqrt();
        let unit = slopes / (length + EPS);
        let (all, own) = (unit.sum(Axis::Heads).square(), unit.square().sum(Axis::Heads));
        let diversity = (all - own).sum(Axis::Cols).mean() / (q.shape().heads - 1) as f64;
        b.metric(&DIVERSITY, diversity);
        Some(b.hyper("edac.eta", &self.config.eta) * diversity)
    }
}

impl Learner for Edac {
    fn trace<'t>(&self, b: &Round<'t>) {
        self.base.round(b, self);
    }

    as_base!();
}

/// Traces of CORL's EDAC.
pub const FOREIGN: &[Foreign] = &[Foreign::new("edac", |r, ours| {
    sac_n::foreign(r, ours)?;
    ours.config.put(EdacConfig { eta: r.constant_or("eta", (0.0, POSITIVE.1), 1.0)? });
    Ok(())
})];
