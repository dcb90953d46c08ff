//! FamO2O over CQL, a family of policies with a balance that depends on the state. Wang et al. 2023, arXiv:2310.17966.
//!
//!   β ~ π_b(s),   β = lo + (hi - lo) (z + 1) / 2,  z = tanh(μ(s) + σ(s) ε);  enc(β) as in [`super::famo2o`]
//!   L_π           =  E[ α log π(a~|s, enc β) - β min_j Q_j(s, a~) ],  a~ ~ π(s, enc β) reparameterised
//!   L_b           = -E[ min_j Q_j(s, a~) ],  a~ ~ π(s, enc β), β ~ π_b(s), both reparameterised, π frozen
//!   L_Q, L_α      as in [`super::cql`], whose options (`cql.*`) hold here too, with π(., enc β) for π(.): β at s, β' at s'
//!
//! β at s is uniform offline and a draw of π_b(s) online; β' is a draw of π_b(s') in both; either is a constant for all gradients
//! but that of L_b. It acts with the mode of π_b. The penalty stays online unless an adaptation drops it.
//!
//! Order: that of CQL; then π_b, on L_b from the parameters at the beginning of the round.
//!
//! Metrics: those of [`super::cql`]; `balance_mean`, `balance_std`, `balance_loss` as in [`super::famo2o`].
//!
//! Declared differences. From the released program: β' is drawn for s', where theirs is the draw for s; the draws of β in L_b and
//! L_π are independent; β of π_b lies in [lo, hi], where theirs lies in [2 lo - hi, hi], by a slip of the affine map.
//!
//! Cost per update (batch 256, 2x256, N = 10): 7.0 GFLOP.

use super::cql::{Cql, CqlConfig, Reads};
use super::famo2o::{BALANCE_LOSS, CODE, balance_metrics, between, encode, range};
use super::measure::policy_metrics;
use super::soft::SoftSpec;
use super::{ACTOR, Dims, Learner, Round};
use crate::autodiff::{NoiseKind, Shape, Var};
use crate::config::limits::RATE;
use crate::config::{AdamConfig, ConfigError};
use crate::nn::{Acting, Params, Policy};

crate::config! {
    Famo2oCqlConfig "famo2o_cql", "FamO2O over CQL" {
        shape balance_min: f64        = 0.5,  0.0..=1e6, "lo, smallest beta";
        shape balance_max: f64        = 1.5,  0.0..=1e6, "hi, largest beta";
        opt   balance:     AdamConfig = 3e-4, RATE,      "optimiser of the balance policy";
    }
}

/// Outside its own section: the networks, rates and penalty of the authors' CQL, the policy's full rate online.
pub const DEFAULTS: &str = "[cql]\npenalty = 1.0\ninit = \"lecun\"\npolicy_hidden = [256, 256]\ncritic_hidden = \"256x256 layer_norm relu\"\nactor = 0.0003\ntemperature_optimiser = 0.0003\n[online]\nactor_lr = \"constant(1)\"\n";

/// Networks of FamO2O over CQL.
#[derive(Debug)]
pub struct Famo2oCql {
    config: Famo2oCqlConfig,
    base: Cql,
    balance: Policy,
    range: (f64, f64),
}

impl Famo2oCql {
    /// Declares the networks of CQL, whose policy reads enc(β) too, and the balance policy. Errors: `balance_min` above
    /// `balance_max`; `cql.ensemble` above 1; those of [`Cql::declare`].
    pub fn declare(
        config: &Famo2oCqlConfig,
        shared: &CqlConfig,
        dims: Dims,
        params: &mut Params,
    ) -> Result<Famo2oCql, ConfigError> {
        let range = range("famo2o_cql", (config.balance_min, config.balance_max))?;
        if shared.ensemble > 1 {
            return Err(ConfigError::Other(format!(
                "cql.ensemble: expected 1, got {}; one agent has the family",
                shared.ensemble
            )));
        }
        let spec = SoftSpec { given: CODE, ..Cql::spec(shared) };
        let base = Cql::of(shared, &spec, dims, params)?;
        let balance = Policy::declare(params, "balance", (dims.s, 1), spec.head, &spec.policy_net);
        Ok(Famo2oCql { config: config.clone(), base, balance, range })
    }

    /// A reparameterised β `[B, 1]` for states s.
    fn drawn<'t>(&self, s: Var<'t>) -> Var<'t> {
        between(self.balance.draw(s, 1).0, self.range)
    }

    /// β of the mode.
    fn mode<'t>(&self, s: Var<'t>) -> Var<'t> {
        between(self.balance.mode(s), self.range)
    }

    fn balance_loss<'t>(&self, b: &Round<'t>) -> Var<'t> {
        let n = &self.base.nets;
        let (a, _) = n.pi.draw([b.s, encode(self.drawn(b.s))], 1);
        let loss = -n.q.min(b.s, a).mean();
        b.metric(&BALANCE_LOSS, loss);
        loss
    }

    /// What π reads in s and s', and the β at s.
    fn reads<'t>(&self, b: &Round<'t>) -> Reads<'t> {
        let beta = match b.phase().online {
            true => self.drawn(b.s),
            false => {
                let unit = b.noise("balance", NoiseKind::Uniform, Shape::new(1, b.dims().batch, 1));
                between(unit * 2.0 - 1.0, self.range)
            }
        };
        let beside = |s: Var<'t>, beta| s.concat(encode(beta)).named(format!("{}, enc(beta)", s.name()));
        Reads { s: beside(b.s, beta), s2: beside(b.s2, self.drawn(b.s2)), factor: Some(beta) }
    }
}

impl Learner for Famo2oCql {
    fn trace<'t>(&self, b: &Round<'t>) {
        let acting = self.mode(b.s);
        policy_metrics(b, b.greedy(), self.policy(), [b.s, encode(acting)]);
        balance_metrics(b, acting);
        let loss = self.balance_loss(b);
        self.base.learn(b, self.reads(b), |values| values);
        b.train("balance", ACTOR, self.balance.group(), &self.config.balance, loss);
    }

    as_base!();

    fn act<'t>(&self, s: Var<'t>, how: Acting) -> Var<'t> {
        self.policy().act([s, encode(self.mode(s))], how)
    }
}
