//! ACA, actor-critic alignment. Yu, Zhang 2023, Actor-Critic Alignment for Offline-to-Online Reinforcement Learning (ICML).
//!
//!   Q_j(s,a)  =  R_j(s,a) + ℓ(s,a),  R_j = Z_j at the switch: the base's baseline of its policy's density
//!   ℓ(s,a)    =  w [ softplus( log π_0(a|s) - c(s) ) + c(s) ],  π_0 the offline policy, frozen
//!   c(s)      =  min of log π_0 at tanh( μ(s) - β σ(s) ) and at tanh( μ(s) + β σ(s) )
//!   y         =  r + γ m ( min_j R̂_j(s', a') + ℓ(s', a') - α log π(a'|s') ),   L_R = E[ Σ_j ( R_j(s,a) + ℓ(s,a) - y )² ]
//!   L_π       =  E[ α log π(a~|s) - min_j R_j(s, a~) - ℓ(s, a~) ],  its gradient cut to the norm g
//!
//! Over a base with baselines, as SAC+ML: its critics begin anew as R with the parameters of Z, their targets too, α as 1. What
//! ties the base to the data is dropped. Right after the switch R does not depend on the action: critics rank actions as the
//! offline policy does.
//!
//! w follows its schedule from the first round; when a run is fine-tuned again, from the beginning. Other adaptations refuse such a
//! run while w is not 0, whose critics hold R. Published (w, β, `online.offline_rows`): medium-replay `linear(1, 0.5, 20000)`, 7,
//! `best(50)`, the defaults; medium the same with `none`; medium-expert and expert 1, 15, `best(50)`; random `linear(1, 0, 10000)`,
//! 7, `none`; AntMaze 0.5, 3, `none`. With `none` a batch should be collected first: `online.warmup_steps = 256`.
//!
//! Order: the base's.
//!
//! Metrics: `aligned_density` = E[ ℓ(s, a) ]; `density_floor` = E[ c(s) ]; `below_floor` = share of log π_0(a|s) < c(s);
//! `density_weight` = w. `q_data` and the others of [`crate::algo::measure`] are of R.
//!
//! Declared differences. From the authors' program: R goes on with the moments of Z, theirs with those of the Q that it replaces.
//!
//! Cost per round over SAC+ML (batch 256, 2x256): 0.64 GFLOP.

use super::critics;
use crate::algo::{Adaptation, Dims, Learner, Round};
use crate::autodiff::{Schedule, Var};
use crate::config::{ConfigError, Metric};
use crate::nn::{Critics, Params, Policy};

crate::config! {
    AcaConfig "aca", "Actor-critic alignment" {
        hyper weight:         Schedule = Schedule::Linear { from: 1.0, to: 0.5, steps: 20_000 }, 0.0..=1e6, "w, weight of the offline policy's log-density in the critics";
        shape floor:          f64      = 7.0,  0.0..=1e3,    "beta, standard deviations from the mode at which the density has its floor";
        shape gradient_bound: f64      = 0.25, 1e-9..=1e12,  "g, largest norm of the policy's gradient";
    }
}

/// Outside its own section: of the data the best episodes, the policy's full rate.
pub const DEFAULTS: &str = "[online]\noffline_rows = \"best(50)\"\nactor_lr = \"constant(1)\"\n";

/// Aligned part of the critics.
pub static ALIGNED: Metric = Metric::new("aligned_density", "E[ l(s, a) ]", "", "Density in the critics");
/// Its floor.
pub static FLOOR: Metric = Metric::new("density_floor", "E[ c(s) ]", "", "Density in the critics");
/// How often it is there.
pub static BELOW: Metric = Metric::new(
    "below_floor",
    "share of log pi_0(a|s) < c(s)",
    Metric::SHARE,
    "Actions below the density's floor",
);
/// Its weight.
pub static WEIGHT: Metric = Metric::new("density_weight", "w", "", "Weight of the density in the critics");

/// The group of the frozen policy.
const FROZEN: &str = "pi_offline";
/// That of the base's baselines.
const BASELINES: &str = "z";

/// ACA over some base.
#[derive(Debug)]
pub struct Aca {
    config: AcaConfig,
    frozen: Policy,
}

impl Aca {
    /// Declares the frozen policy. Errors: a base without critics, or without baselines of the policy's density.
    pub fn declare(
        config: &AcaConfig,
        dims: Dims,
        base: &dyn Learner,
        params: &mut Params,
    ) -> Result<Aca, ConfigError> {
        critics(base, "aligns critics with the policy")?;
        if base.baselines().is_none() {
            return Err(ConfigError::Other(
                "it makes critics of baselines of the policy's density, and this base trains none; choose sac_ml, or --adapt plain".into(),
            ));
        }
        let pi = base.policy();
        let frozen = Policy::declare(params, FROZEN, dims.sa(), pi.head(), pi.spec());
        Ok(Aca { config: config.clone(), frozen })
    }

    /// ℓ `[B, 1]`
    fn aligned<'t>(&self, b: &Round<'t>, s: Var<'t>, a: Var<'t>) -> Var<'t> {
        let (density, floor) = (self.frozen.log_prob(s, a), self.floor(s));
        self.share(b) * ((density - floor).softplus() + floor)
    }

    /// w
    fn share<'t>(&self, b: &Round<'t>) -> Var<'t> {
        b.hyper("aca.weight", &self.config.weight).named("w")
    }

    /// c `[B, 1]`
    fn floor<'t>(&self, s: Var<'t>) -> Var<'t> {
        let at = |z| self.frozen.log_prob_at(s, z);
        at(self.config.floor).minimum(at(-self.config.floor)).named(format!("c({})", s.name()))
    }
}

impl Adaptation for Aca {
    fn value<'t>(&self, b: &Round<'t>, critics: &Critics, s: Var<'t>, a: Var<'t>) -> Var<'t> {
        critics.min(s, a) + self.aligned(b, s, a)
    }

    fn residual<'t>(&self, b: &Round<'t>, y: Var<'t>) -> Var<'t> {
        y - self.aligned(b, b.s, b.a)
    }

    fn policy_value<'t>(
        &self,
        b: &Round<'t>,
        own: &Critics,
        a: Var<'t>,
        of: &dyn Fn(&Critics) -> Var<'t>,
    ) -> Var<'t> {
        of(own) + self.aligned(b, b.s, a)
    }

    /// Nothing is left of the density once its weight has come to 0.
    fn critics_are_values(&self, rounds: u64, planned: u64) -> bool {
        self.config.weight.over(planned).at(rounds) == 0.0
    }

    fn gradient_bound(&self) -> Option<f64> {
        Some(self.config.gradient_bound)
    }

    fn unconstrained(&self) -> bool {
        true
    }

    fn finish_round(&self, b: &Round<'_>) {
        let floor = self.floor(b.s);
        b.metric(&ALIGNED, self.aligned(b, b.s, b.a).mean());
        b.metric(&FLOOR, floor.mean());
        b.metric(&BELOW, self.frozen.log_prob(b.s, b.a).less(floor).mean());
        b.metric(&WEIGHT, self.share(b));
    }

    fn adopt<'a>(&self, group: &'a str, saved: &[&str]) -> Option<&'a str> {
        match group {
            // A run that has been aligned goes on as it is.
            _ if saved.contains(&FROZEN) => Some(group),
            FROZEN => Some("pi"),
            "q" | "q_target" => Some(BASELINES),
            "log_alpha" => None,
            _ => Some(group),
        }
    }
}
