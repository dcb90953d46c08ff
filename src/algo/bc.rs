//! Behaviour cloning.
//!
//!   mse           L(φ) =  E[ mean_i (tanh f_i(s) - a_i)² ]
//!   gaussian      L(φ) = -E[ Σ_i log N(a_i; tanh f_i(s), σ_i(s)) ],  log σ in [-5, 2]
//!   tanh_gaussian L(φ) = -E[ log π(a given s) ] of a tanh-Gaussian, on clipped actions
//!
//! Order: policy.
//!
//! Metrics: `policy_loss` = L(φ); `mode_mse`, `action_saturation` and `policy_std` as in [`super::measure`];
//! `validation_loss` = L(φ) on held-out transitions.
//!
//! `mse` is the baseline of the published offline tables; `gaussian` is the model of the behaviour policy
//! that BAQ measures distances from (arXiv:2511.03695, eq. 2).
//!
//! Declared differences. From the public reference, which has `mse` alone: training may stop early, when the
//! validation loss has not fallen for `offline.patience` updates, and the weights at its smallest are kept. The other two
//! are ours.
//!
//! Cost per update (batch 256, 2x256): 0.11 GFLOP, one forward and one backward pass of one network.

use super::measure::{POLICY_LOSS, policy_metrics};
use super::{ACTOR, Dims, Learner, Round};
use crate::autodiff::Var;
use crate::config::limits::{RATE, WIDTHS};
use crate::config::{AdamConfig, InitScheme, NetSpec};
use crate::nn::{Head, Mean, Params, Policy};

crate::choices! {
    /// What is fitted to the recorded actions.
    Model {
        Mse          = "mse",           "the mean action, squared error";
        Gaussian     = "gaussian",      "mean and spread, likelihood of a Gaussian around a tanh mean";
        TanhGaussian = "tanh_gaussian", "mean and spread before a tanh, likelihood";
    }
}

crate::config! {
    BcConfig "bc", "Behaviour cloning" {
        shape model:  Model      = Model::Mse, .., "what is fitted to the recorded actions";
        shape hidden: NetSpec    = [256, 256], WIDTHS, "hidden layers";
        opt   actor:  AdamConfig = 3e-4,       RATE, "optimiser of the policy";
    }
}

/// The network of behaviour cloning. Its head says what is fitted: a deterministic one by squared error,
/// the others by likelihood.
#[derive(Debug)]
pub struct Bc {
    optimiser: AdamConfig,
    pi: Policy,
}

impl Bc {
    /// Declares the policy as the group `name`.
    pub fn declare(config: &BcConfig, name: &str, dims: Dims, params: &mut Params) -> Bc {
        let log_std = (-5.0, 2.0);
        let head = match config.model {
            Model::Mse => Head::Deterministic,
            Model::Gaussian => Head::Gaussian { mean: Mean::Tanh, state_std: true, log_std },
            Model::TanhGaussian => Head::tanh_gaussian(log_std),
        };
        let pi = Policy::declare(params, name, dims.sa(), head, &config.hidden);
        Bc { optimiser: config.actor, pi }
    }

    /// A model with the head and the layers of another policy.
    pub fn like(other: &Policy, optimiser: AdamConfig, name: &str, dims: Dims, params: &mut Params) -> Bc {
        let pi =
            Policy::declare(params, name, dims.sa(), other.head(), &other.spec().begin(InitScheme::Torch));
        Bc { optimiser, pi }
    }

    fn loss<'t>(&self, b: &Round<'t>) -> Var<'t> {
        match self.pi.has_density() {
            true => -self.pi.log_prob(b.s, b.a).mean(),
            false => (self.pi.mode(b.s) - b.a).square().mean(),
        }
    }
}

impl Learner for Bc {
    fn trace<'t>(&self, b: &Round<'t>) {
        let loss = self.loss(b);
        policy_metrics(b, self.pi.mode(b.s), &self.pi, b.s);
        b.metric(&POLICY_LOSS, loss);
        b.train("policy", ACTOR, self.pi.group(), &self.optimiser, loss);
    }

    fn policy(&self) -> &Policy {
        &self.pi
    }

    fn validation<'t>(&self, b: &Round<'t>) -> Option<Var<'t>> {
        Some(self.loss(b))
    }
}
