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

use super::{ACTOR, Adaptation, Batch, Dims, Learner, Phase};
use crate::autodiff::{Axis, Tracer, Var};
use crate::config::limits::{RATE, WIDTHS};
use crate::config::{AdamConfig, Dims as Widths, Metric};
use crate::nn::{Head, Mean, Params, Policy, Preset};

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
        shape hidden: Widths     = [256, 256], WIDTHS, "hidden layers";
        opt   actor:  AdamConfig = 3e-4,       RATE, "optimiser of the policy";
    }
}

/// Loss of the policy.
pub static POLICY_LOSS: Metric = Metric::new("policy_loss", "L(phi)", "", "Loss of the policy");
/// Mean squared distance of the mode from the recorded action.
pub static MODE_MSE: Metric =
    Metric::new("mode_mse", "E[ mean_i (pi_i(s) - a_i)^2 ]", "", "Distance of the policy from the data");
/// Share of saturated actions.
pub static SATURATION: Metric =
    Metric::new("action_saturation", "share of |pi_i(s)| > 0.99", "", "Action saturation");
/// Spread of the policy.
pub static POLICY_STD: Metric = Metric::new("policy_std", "E[ mean_i sigma_i(s) ]", "", "Policy spread");

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
        let pi = Policy::declare(params, name, dims.sa(), &config.hidden, head, Preset::Torch);
        Bc { optimiser: config.actor, pi }
    }

    /// A model with the head and the layers of another policy.
    pub fn like(other: &Policy, optimiser: AdamConfig, name: &str, dims: Dims, params: &mut Params) -> Bc {
        let pi = Policy::declare(params, name, dims.sa(), other.hidden(), other.head(), Preset::Torch);
        Bc { optimiser, pi }
    }

    fn loss<'t>(&self, t: &'t Tracer, b: &Batch<'t>) -> Var<'t> {
        match self.pi.head() {
            Head::Deterministic => (self.pi.mode(t, b.s) - b.a).square().mean(),
            Head::Gaussian { .. } | Head::TanhGaussian { .. } => -self.pi.log_prob(t, b.s, b.a).mean(),
        }
    }
}

impl Learner for Bc {
    fn trace<'t>(&self, t: &'t Tracer, b: &Batch<'t>, _: &dyn Adaptation, phase: &Phase) {
        let loss = self.loss(t, b);
        policy_metrics(t, b, &self.pi);
        t.metric(&POLICY_LOSS, loss);
        t.train("policy", ACTOR, self.pi.group(), &phase.actor(&self.optimiser), loss);
    }

    fn policy(&self) -> &Policy {
        &self.pi
    }

    fn validation<'t>(&self, t: &'t Tracer, b: &Batch<'t>) -> Option<Var<'t>> {
        Some(self.loss(t, b))
    }
}

/// Metrics that every policy has, before its update.
pub fn policy_metrics<'t>(t: &'t Tracer, b: &Batch<'t>, pi: &Policy) {
    let mode = pi.mode(t, b.s);
    t.metric(&MODE_MSE, (mode - b.a).square().mean_over(Axis::Cols).mean());
    t.metric(&SATURATION, mode.abs().inside(0.99, f64::INFINITY).mean());
    if let Some(std) = pi.std(t, b.s) {
        t.metric(&POLICY_STD, std.mean());
    }
}
