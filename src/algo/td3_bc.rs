//! TD3+BC. Fujimoto, Gu 2021, arXiv:2106.06860.
//!
//!   L_π(φ) = -λ E[ Q_1(s, π(s)) ] + c E[ mean_i ( π_i(s) - a_i )² ]           eqs. 3, 5
//!   λ = α / E[ |Q_1(s, π(s))| ],  a constant for the gradient, the mean not below 1e-8
//!
//! All else as in TD3, whose options (`td3.*`) hold here too: critics, order, delays, and which targets move with what
//! where the policy has a rate of its own. c is 1; online it follows
//! `cloning_online`, so that it can fade while the data stop being the best there is.
//!
//! Metrics: those of [`super::td3`]; `q_weight` = λ.
//!
//! Declared differences: c is our option, the paper has none. States must be standardised
//! (`data.observation_scaling`), as the preset does. An adaptation may drop λ and c online: plain TD3.
//!
//! Cost per update: as TD3.

use super::foreign::{ANY, Foreign};
use super::td3::{Td3, Td3Config};
use super::{Dims, Learner, Round};
use crate::autodiff::{Metric, Schedule, Var};
use crate::nn::{Critics, Params};

crate::config! {
    Td3BcConfig "td3_bc", "TD3 whose policy also clones the data" {
        shape alpha:          f64      = 2.5, 0.0..=1e6, "weight of Q against cloning";
        hyper cloning_online: Schedule = 1.0, 0.0..=1e6, "c, weight of cloning during fine-tuning; offline it is 1";
    }
}

/// The factor of Q.
pub static LAMBDA: Metric =
    Metric::new("q_weight", "lambda = alpha / E[ |Q_1(s, pi(s))| ]", "", "Weight of Q in L_pi");

/// TD3 with another policy loss.
#[derive(Debug)]
pub struct Td3Bc {
    config: Td3BcConfig,
    base: Td3,
}

impl Td3Bc {
    /// Declares the networks of TD3.
    pub fn declare(config: &Td3BcConfig, base: &Td3Config, dims: Dims, params: &mut Params) -> Td3Bc {
        Td3Bc { config: config.clone(), base: Td3::declare(base, dims, params) }
    }
}

/// The least E[ |Q| ] that a weight of Q is made of: critics that say nothing but 0 have one too.
const LEAST: f64 = 1e-8;

/// λ = α / E[ |Q| ] under that name, a constant for the gradient.
pub(super) fn q_weight<'t>(b: &Round<'t>, name: &str, alpha: f64, q: Var<'t>) -> Var<'t> {
    let lambda = (alpha / q.abs().mean().clamp(LEAST, f64::INFINITY)).detach().named(name);
    b.metric(&LAMBDA, lambda);
    lambda
}

impl Learner for Td3Bc {
    fn trace<'t>(&self, b: &Round<'t>) {
        self.base.round(b, |a, q| {
            if b.unconstrained() {
                return -q.mean();
            }
            let lambda = q_weight(b, "lambda", self.config.alpha, q);
            let cloning = (a - b.a).square().mean();
            let cloning = match b.online {
                Some(_) => b.hyper("td3_bc.cloning", &self.config.cloning_online) * cloning,
                None => cloning,
            };
            b.tied(cloning) - lambda * q.mean()
        });
    }

    as_base!();

    fn target<'t>(&self, b: &Round<'t>, critics: &Critics) -> Option<Var<'t>> {
        self.base.target(b, critics)
    }
}

/// Traces of the authors' TD3+BC.
pub const FOREIGN: &[Foreign] = &[Foreign::new("td3-bc", |r, ours| {
    super::td3::foreign(r, ours)?;
    ours.config.put(Td3BcConfig { alpha: r.number_or("alpha", ANY, 2.5)?, ..Default::default() });
    Ok(())
})];
