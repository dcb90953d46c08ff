//! Off2On, balanced replay and a pessimistic ensemble. Lee, Seo, Lee, Abbeel, Shin 2021, arXiv:2107.00591.
//!
//! The replay is that of [`super::density`] (eqs. 4, 5). The largest p is at first M f / ((1 - f) 1000), M offline rows
//! having 1 each; with f = 0 it is 1, too.
//!
//! So the first 1000 online rows together have the share f of the mass. The first 1000 environment steps only collect;
//! then the updates that they owe are made, `first_epoch_multiplier` for each (`opening`), and from there on one after
//! each step.
//! At the switch optimisers begin anew, targets are copies of Q, and policy and temperature take the rate 3e-4 whatever
//! the base has (`online.reset_optimisers`, `reset_targets`, `actor_lr`).
//! Order: the base's round; then w and the priorities.
//!
//! The losses are the base's without what ties it to the data (`unconstrained`): SAC's for CQL and Cal-QL. The
//! base must have critics and a stochastic policy.
//!
//! The ensemble is the base's: `cql.ensemble = 5` gives the paper's five agents, pre-trained in one run of
//! `baq train --algo cql` and fine-tuned through one joint policy; [`crate::algo::cql`] has its equations. A member's target
//! takes the minimum over its own critics, the policy's loss the mean over members of those minima. Cal-QL takes the same
//! option; other bases, and the default, have one agent, as BAQ's comparison does.
//!
//! Metrics: those of [`super::density`]; `online_share` = online rows / B.
//!
//! Declared differences. The paper trains its agents apart, each on batches of its own; here members begin with networks
//! of their own and draw actions of their own, on common batches. Each member keeps its temperature, where the paper
//! begins fine-tuning with a single one at 1; all of them follow the entropy of the joint policy. After the first 1000
//! environment steps updates alternate with single steps, not 1000 with 1000.
//!
//! Cost per round, beside the base's: one forward pass of w on 3B rows and one backward pass on 2B, 0.31 GFLOP (batch 256,
//! 2x256). That of CQL without its penalty, 2x256 too: 0.56 GFLOP with one agent, 2.8 with five; their offline rounds cost
//! 6.7 and 33.

use super::critics;
use super::density::Density;
use crate::algo::foreign::{Foreign, Ours, POSITIVE, Reading, Wrong};
use crate::algo::measure::ONLINE_SHARE;
use crate::algo::{Adaptation, Cadence, Dims, Learner, OPENING, Round, Sampling};
use crate::autodiff::{Tracer, Var};
use crate::config::limits::WIDTHS;
use crate::config::{AdamConfig, ConfigError, NetSpec};
use crate::nn::Params;

crate::choices! {
    /// When the updates of the first 1000 environment steps are made.
    Opening {
        Collect = "collect", "after the last of these steps";
        Spread  = "spread",  "after each of these steps, its own";
    }
}

crate::config! {
    Off2OnConfig "off2on", "Replay balanced by a density ratio" {
        shape priority_temperature:   f64        = 5.0,        1e-3..=1e6, "T of the priorities; large: nearly uniform";
        run   init_online_fraction:   f64        = 0.5,        0.0..1.0,   "f, share of the mass that the first 1000 online transitions get; 0: each begins with that of an offline one";
        run   first_epoch_multiplier: u64        = 10,         1..=1000,        "factor of the updates in the first 1000 environment steps";
        run   opening:                Opening    = Opening::Collect, ..,   "when the updates of the first 1000 environment steps are made";
        shape unconstrained:          bool       = true,       ..,         "drop what ties the base to the data while online, as CQL's penalty";
        shape density_hidden:         NetSpec    = [256, 256], WIDTHS,         "hidden layers of the density ratio";
        opt   density:                AdamConfig = 3e-4,       0.0..=1.0,         "optimiser of the density ratio";
    }
}

/// Outside its own section.
pub const DEFAULTS: &str =
    "[online]\nreset_optimisers = true\nreset_targets = true\nactor_lr = \"fixed(0.0003)\"\n";

/// Off2On over some base.
#[derive(Debug)]
pub struct Off2On {
    config: Off2OnConfig,
    density: Density,
}

impl Off2On {
    /// Declares w as the group `density`, after the networks of the base. Errors: a base without critics, or with a
    /// deterministic policy; a schedule of `density` without a length of its own.
    pub fn declare(
        config: &Off2OnConfig,
        dims: Dims,
        base: &dyn Learner,
        params: &mut Params,
    ) -> Result<Off2On, ConfigError> {
        critics(base, "fine-tunes critics on balanced replay")?;
        if !base.policy().has_density() {
            return Err(ConfigError::Other(
                "it fine-tunes a stochastic policy, and this base has a deterministic one; choose a base as cql, cal_ql or sac, or --adapt plain".into(),
            ));
        }
        let c = config;
        let net = (&c.density_hidden, &c.density);
        let density = Density::declare("off2on", net, c.priority_temperature, dims, params)?;
        Ok(Off2On { config: config.clone(), density })
    }
}

impl Adaptation for Off2On {
    fn reprioritise<'t>(&self, t: &'t Tracer, s: Var<'t>, a: Var<'t>) -> Option<Var<'t>> {
        Some(self.density.reprioritise(t, s, a))
    }

    fn unconstrained(&self) -> bool {
        self.config.unconstrained
    }

    fn finish_round(&self, b: &Round<'_>) {
        if let Some(online) = b.online {
            b.metric(&ONLINE_SHARE, online.mean());
        }
    }

    fn sampling(&self) -> Sampling {
        Sampling {
            prioritised: true,
            stratified: true,
            opening_share: Some(self.config.init_online_fraction),
            ..Sampling::default()
        }
    }

    fn cadence(&self) -> Cadence {
        Cadence {
            opening: (OPENING, self.config.first_epoch_multiplier),
            opening_collects: self.config.opening == Opening::Collect,
            ..Cadence::default()
        }
    }
}

/// Traces of the authors' program.
pub const FOREIGN: &[Foreign] =
    &[Foreign { networks: &[("density", "density")], ..Foreign::new("off2on", foreign) }];

fn foreign(r: &mut dyn Reading, ours: &mut Ours) -> Result<(), Wrong> {
    if r.list("priority_range")?.is_some_and(|range| range != [1e-3, 1e3]) {
        return Err(r.wrong("meta.priority_range", "[0.001, 1000.0], the only one here", "another"));
    }
    ours.config.put(Off2OnConfig {
        priority_temperature: r.number_or("temperature", POSITIVE, 5.0)?,
        density_hidden: r.hidden("density"),
        density: r.adam_or(&["density_lr", "weight_net_lr", "lr"], 3e-4)?,
        ..Default::default()
    });
    ours.online = true;
    Ok(())
}
