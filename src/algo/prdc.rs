//! PRDC, policy regularisation with dataset constraint. Ran, Li, Zhang, Zhang, Yu 2023, arXiv:2306.06569.
//!
//!   a*     = the action of the transition (s_j, a_j) of the least ‖ (β s, π(s)) - (β s_j, a_j) ‖            eqs. 5, 6
//!   L_π(φ) = -λ E[ Q_1(s, π(s)) ] + E[ mean_i ( π_i(s) - a*_i )² ]
//!   λ      = α / E[ |Q_1(s, π(s))| ],  a constant for the gradient
//!
//! TD3+BC whose policy is drawn to the nearest transition of all, instead of to the action of its own row; β says how much
//! states count beside actions. All else as in TD3, whose options (`td3.*`) hold here too. The search is exact: a tree of boxes
//! over all rows, recorded and collected, begun at the batch's own row; no gradient passes it.
//!
//! Order: as TD3's; a* is found with the policy as the round finds it.
//!
//! Metrics: those of [`super::td3`]; `q_weight` = λ; `neighbour_distance` = E[ mean_i ( π_i(s) - a*_i )² ].
//!
//! Declared differences. From the authors' program in an update: none. It trains on data alone; online, ours, new transitions
//! are searched too, and an adaptation may drop λ and the constraint: plain TD3.
//!
//! Published α, β: halfcheetah 40, 2; hopper and walker2d 2.5, 2; AntMaze 7.5, 7.5.
//!
//! Cost per update (batch 256, 2x256): TD3's 0.40 GFLOP, mean of two rounds, and in every second 256 searches, which threads share,
//! on one core some 8 ms among a million rows of 14 numbers; the tree takes their memory twice.

use super::td3::{Td3, Td3Config};
use super::td3_bc::q_weight;
use super::{Dims, Learner, Round};
use crate::autodiff::Metric;
use crate::nn::Params;

crate::config! {
    PrdcConfig "prdc", "TD3 drawn to the nearest transition" {
        shape alpha:       f64 = 2.5, 0.0..=1e6,  "weight of Q against the constraint";
        run   state_scale: f64 = 2.0, 1e-6..=1e6, "beta, how much states count beside actions in the distance of transitions";
    }
}

/// Distance from the neighbour's action.
pub static DISTANCE: Metric = Metric::new(
    "neighbour_distance",
    "E[ mean_i (pi_i(s) - a*_i)^2 ]",
    "",
    "Distance from the nearest transition",
);

/// TD3 with another policy loss.
#[derive(Debug)]
pub struct Prdc {
    config: PrdcConfig,
    base: Td3,
}

impl Prdc {
    /// Declares the networks of TD3.
    pub fn declare(config: &PrdcConfig, base: &Td3Config, dims: Dims, params: &mut Params) -> Prdc {
        Prdc { config: config.clone(), base: Td3::declare(base, dims, params) }
    }
}

impl Learner for Prdc {
    fn trace<'t>(&self, b: &Round<'t>) {
        self.base.round(b, |a, q| {
            if b.unconstrained() {
                return -q.mean();
            }
            let lambda = q_weight(b, "lambda", self.config.alpha, q);
            let distance = (a - b.nearest()).square().mean();
            b.metric(&DISTANCE, distance);
            b.tied(distance) - lambda * q.mean()
        });
    }

    as_base!();

    fn nearest(&self) -> Option<f64> {
        Some(self.config.state_scale)
    }
}
