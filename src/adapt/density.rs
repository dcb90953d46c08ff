//! Balanced replay: priorities by a density ratio, as [`super::off2on`] and [`super::opt`] use them.
//!
//!   w(s,a) >= 0    L_w = -E_off[ log( 2/(w+1) + 1e-10 ) ] - E_on[ log( 2w/(w+1) + 1e-10 ) ]
//!                  (a bound on the Jensen-Shannon divergence, least at w = d_on / d_off)
//!   p_i  =  clip( w_i^{1/T} / ( E_off[ w^{1/T} ] + 1e-10 ), 1e-3, 1e3 )      rows of the last batch
//!   P_i  =  p_i / Σ p,  stratified; no importance-sampling correction
//!   new rows: the largest p so far
//!
//! w begins as 1 with a last layer within 0.003. After every round w moves once, on B uniform offline and B uniform online
//! rows, and the round's rows get priorities from the w before this move.
//!
//! Metrics: `density_loss` = L_w; `ratio_offline`, `ratio_online` = `E[ w ]` on either half of its batch;
//! `priority_mean` = `E[ p ]` over the round's rows.

use crate::algo::{CRITIC, Dims};
use crate::autodiff::{Adam, Shape, Tracer, Var};
use crate::config::{AdamConfig, ConfigError, InitScheme, Metric, NetSpec};
use crate::nn::init::Init;
use crate::nn::{Mlp, Params};

/// Loss of the density ratio.
pub static DENSITY_LOSS: Metric = Metric::new("density_loss", "L_w", "", "Loss of the density ratio");
/// Mean ratio on offline rows.
pub static RATIO_OFFLINE: Metric =
    Metric::new("ratio_offline", "E[ w ], uniform offline rows", "", "Density ratio");
/// Mean ratio on online rows.
pub static RATIO_ONLINE: Metric =
    Metric::new("ratio_online", "E[ w ], uniform online rows", "", "Density ratio");
/// Mean new priority.
pub static PRIORITY_MEAN: Metric =
    Metric::new("priority_mean", "E[ p ], rows of the round", "", "New priorities");

/// Keeps both logarithms and the quotient finite.
const EPS: f64 = 1e-10;
/// Range of a priority; the lower end keeps rows with w = 0 reachable.
const PRIORITIES: (f64, f64) = (1e-3, 1e3);

/// The ratio w of the densities of new and recorded transitions, and priorities from it.
#[derive(Debug)]
pub(super) struct Density {
    net: Mlp,
    batch: usize,
    /// T
    temperature: f64,
    optimiser: Adam,
}

impl Density {
    /// Declares w as the group `density`. `section` is that of the options `density` and `density_hidden`.
    ///
    /// # Errors
    /// A schedule that has no length of its own, as there is no phase to take it from.
    pub(super) fn declare(
        section: &str,
        (hidden, optimiser): (&NetSpec, &AdamConfig),
        temperature: f64,
        dims: Dims,
        params: &mut Params,
    ) -> Result<Density, ConfigError> {
        let lr = optimiser.lr;
        if lr.over(1) != lr {
            return Err(ConfigError::Other(format!(
                "{section}.density: expected a number or a schedule with its length, got {lr}; write how many rounds it takes, as in cosine(0.0003, 0, 30000)"
            )));
        }
        let group = params.group("density", false);
        let spec = hidden.begin(InitScheme::Rlkit { last: 3e-3 });
        let net = Mlp::declare(params, group, 1, (dims.s + dims.a, 1), &spec);
        // w begins near 1, where the rectifier passes gradients.
        let (_, bias) = *net.layers().last().expect("invariant: a network has a last layer");
        params.initialise(bias.expect("invariant: only energies have no last bias"), Init::Constant(1.0));
        Ok(Density { net, batch: dims.batch, temperature, optimiser: optimiser.adam() })
    }

    /// See [`Adaptation::reprioritise`](crate::algo::Adaptation::reprioritise).
    pub(super) fn reprioritise<'t>(&self, t: &'t Tracer, s: Var<'t>, a: Var<'t>) -> Var<'t> {
        let w = self.net.forward(s.concat(a)).relu();
        let [offline, online, drawn] = {
            let parts = w.reshape(Shape::new(3, self.batch, 1));
            [0, 1, 2].map(|k| parts.head(k))
        };
        let (offline, online) = (offline.named("w(offline)"), online.named("w(online)"));
        let loss =
            -(2.0 / (offline + 1.0) + EPS).log().mean() - (online * 2.0 / (online + 1.0) + EPS).log().mean();
        // The logarithm of 0 is left to no kernel, and no root to infinity.
        let root = |w: Var<'t>| {
            let power = w.clamp(1e-30, f64::INFINITY).log() / self.temperature;
            power.clamp(f64::NEG_INFINITY, 80.0).exp()
        };
        let (lo, hi) = PRIORITIES;
        let priority = (root(drawn.named("w")) / (root(offline).mean() + EPS)).clamp(lo, hi);
        t.metric(&DENSITY_LOSS, loss);
        t.metric(&RATIO_OFFLINE, offline.mean());
        t.metric(&RATIO_ONLINE, online.mean());
        t.metric(&PRIORITY_MEAN, priority.mean());
        t.train("density", CRITIC, self.net.group(), &self.optimiser, loss);
        priority
    }
}
