//! wPC, a weighted policy constraint. Peng, Han, Liu, Zhou 2023, "Weighted policy constraints for offline
//! reinforcement learning", AAAI.
//!
//!   L_V(ψ) = E[ w ( V(s) - y )² ],  y and w those of L_Q                         every round
//!   ω      = 1[ Q_1(s,a) > V(s) ]
//!   L_π(φ) = -λ E[ Q_1(s, π(s)) ] + E[ mean_i ω ( π_i(s) - a_i )² ]
//!   λ      = α / E[ |Q_1(s, π(s))| ],  a constant for the gradient
//!
//! TD3+BC that clones an action only where it is better than the data's average: V values the recorded actions, as y does.
//! The mean runs over all rows, so that the constraint weakens with the share of rows that pass. All else as in TD3, whose
//! options (`td3.*`) hold here too.
//!
//! Order: Q, V, then in the policy's rounds π, Q̂, π̂. ω takes Q after its step and V before its own.
//!
//! Metrics: those of [`super::td3`]; `q_weight` = λ; `value_loss` = L_V; `cloned_share` = `E[ ω ]`, healthy between .3 and .7;
//! `advantage_mean` = E[ Q_1(s,a) - V(s) ].
//!
//! Declared differences. From the authors' program in an update: none. It trains on data alone; online the same losses go on,
//! on old and new rows alike, and an adaptation may drop λ and the constraint: plain TD3. `rows = all` is TD3+BC.
//!
//! Cost per update: TD3's and a step of V, 0.5 GFLOP (batch 256, 2x256), mean of two rounds.

use super::measure::ADV_MEAN;
use super::td3::{Td3, Td3Config};
use super::td3_bc::q_weight;
use super::{CRITIC, Dims, Learner, Round};
use crate::autodiff::Metric;
use crate::config::AdamConfig;
use crate::config::limits::RATE;
use crate::nn::{Params, ValueNet};

crate::choices! {
    /// The rows whose action is cloned.
    Rows {
        Better = "better", "those whose action is worth more than V";
        All    = "all",    "all, as in TD3+BC";
    }
}

crate::config! {
    WpcConfig "wpc", "TD3+BC that clones better actions" {
        shape alpha: f64        = 2.5,          0.0..=1e6, "weight of Q against cloning";
        shape rows:  Rows       = Rows::Better, ..,        "the rows whose action is cloned";
        opt   value: AdamConfig = 3e-4,         RATE,      "optimiser of V";
    }
}

/// Loss of V.
pub static VALUE_LOSS: Metric = Metric::new("value_loss", "L_V", "", "Loss of V");
/// Share of the rows whose action is cloned.
pub static CLONED: Metric =
    Metric::new("cloned_share", "E[ omega ]", Metric::SHARE, "Share of the cloned rows");

/// TD3 with a state value and another policy loss.
#[derive(Debug)]
pub struct Wpc {
    config: WpcConfig,
    base: Td3,
    v: ValueNet,
}

impl Wpc {
    /// Declares the networks of TD3 and V.
    pub fn declare(config: &WpcConfig, base: &Td3Config, dims: Dims, params: &mut Params) -> Wpc {
        let td3 = Td3::declare(base, dims, params);
        let v = ValueNet::declare(params, "v", dims.s, &base.hidden);
        Wpc { config: config.clone(), base: td3, v }
    }
}

impl Learner for Wpc {
    fn trace<'t>(&self, b: &Round<'t>) {
        let c = &self.config;
        let (y, w) = self.base.train_critics(b);
        let v = self.v.at(b.s);
        let loss = (v - y).square().weighted_mean(w);
        b.metric(&VALUE_LOSS, loss);
        b.train("value", CRITIC, self.v.group(), &c.value, loss);

        let q = self.base.critics().expect("invariant: TD3 has critics").one(b.s, b.a, 0);
        let better = v.less(q).named("omega");
        b.metric(&CLONED, better.mean());
        b.metric(&ADV_MEAN, (q - v).mean());
        self.base.train_policy(b, |a, q| {
            if b.unconstrained() {
                return -q.mean();
            }
            let lambda = q_weight(b, "lambda", c.alpha, q);
            let squares = (a - b.a).square();
            let cloning = match c.rows {
                Rows::Better => (better * squares).mean(),
                Rows::All => squares.mean(),
            };
            b.tied(cloning) - lambda * q.mean()
        });
    }

    as_base!();
}
