//! E2O, ensembles from offline to online reinforcement learning (later ENOTO). Zhao et al. 2023, arXiv:2306.06871.
//!
//!   y      =  r + γ m ( WMP_j Q̂_j(s', a') - α log π(a'|s') )       the base's y, with WMP for the least of its J critics
//!   WMP    =  mean_{i<j} min(q_i, q_j)  =  Σ_k (J-k) q_(k) / C(J,2),   q_(1) <= .. <= q_(J)
//!   L_Q    =  that of the base with the weight ω
//!   ω      =  sigmoid( -T σ ) + 1/2
//!   σ      =  mean_k std_j E[ Q̂_j(s', a_k) ],  a_1 .. a_n ~ π(s'), the mean over the batch            `weight = batch`
//!          =  std_j Q̂_j(s', a~), of every row for itself, a~ ~ π(s')                                  `weight = row`
//!   acting     a = argmax over n draws of π(s) of  mean_j Q_j(s,a) + λ std_j Q_j(s,a), the first of equal ones
//!   evaluating as the base
//!
//! No gradient passes ω. std of σ has J in its variance, that of acting J - 1. With two critics WMP is the least, with equal
//! ones ω is 1.
//!
//! Over a base that takes the least of several target critics: CQL of N critics is the authors' main one (preset `cql_n`), with
//! `cql.order = d3rlpy` their order; SAC, SAC-N, EDAC, RORL, Cal-QL, FamO2O over CQL, SAC+ML, AWAC, TD3, TD3+BC, wPC, PRDC, SPOT
//! and ReBRAC do too. What ties the base to the data is
//! dropped (`unconstrained`): CQL becomes SAC of N critics. Over TD3+BC of N critics the authors let the cloning fade instead,
//! from 0.3 to 0 over 250,000 updates of the policy, which are 500,000 rounds: preset `td3_bc_n` with
//! `e2o.unconstrained = false`. Where a policy has no spread one draw is all there is in ω, and the n actions of a collector
//! are those of its noise.
//!
//! Other targets than WMP: `min`, `mean`; `random_pair`: the least of two critics drawn for the round; `rem`: Σ_j w_j q_j with
//! w on the simplex, drawn for the round as u_j / Σ u, u uniform.
//!
//! The online buffer begins empty and learns from 1,000 transitions on; optimisers go on.
//!
//! Metrics: `value_spread` = σ, or its mean over rows; `critic_weight` = `E[ ω ]`.
//!
//! Declared differences. From the authors' program: over TD3+BC the base's noise on target actions stays, theirs has none; the
//! factor of cloning stops at 0. From the paper: `weight = batch`, as their program has it, where the text weighs rows; its cloning fades
//! over 250,000 steps.
//!
//! Cost per round, beside the base's: with `weight = batch` the target critics n times more, forward (with 10 critics and 10
//! draws, 3x256, batch 256: 6.9 GFLOP); with `row` once more.

use crate::algo::foreign::{Foreign, Ours, POSITIVE, Reading, Wrong};
use crate::algo::measure::deviation;
use crate::algo::{Adaptation, Learner, Round};
use crate::autodiff::{Axis, NoiseKind, Shape, Var};
use crate::config::{AutoOr, ConfigError, Metric};
use crate::nn::{Acting, Critics};

crate::choices! {
    /// What critics together say of an action.
    Target {
        Pairs      = "pairs",       "the mean over all pairs of the lesser, WeightedMinPair";
        Min        = "min",         "the least";
        Mean       = "mean",        "the mean";
        RandomPair = "random_pair", "the lesser of two, drawn in every round";
        Rem        = "rem",         "a mean with weights drawn in every round";
    }
}

crate::choices! {
    /// What a weight of the critics' loss is of.
    Weight {
        Batch = "batch", "one for all rows, of batch means over as many draws as acting has";
        Row   = "row",   "one for each row, of one draw";
        Off   = "off",   "none";
    }
}

crate::config! {
    E2oConfig "e2o", "Ensembles from offline to online" {
        shape target:             Target        = Target::Pairs,  ..,         "what the target critics together say of an action";
        shape weight:             Weight        = Weight::Batch,  ..,         "what the weight of the critics' loss is computed from";
        shape weight_temperature: f64           = 10.0,           0.0..=1e6,  "T of the weight; 0: 1";
        shape bonus:              f64           = 10.0,           0.0..=1e6,  "lambda, standard deviations that a collector adds to a value";
        shape draws:              AutoOr<usize> = AutoOr::Auto,   1..=1000,   "n, draws that a collector chooses among; auto: as many as critics";
        shape unconstrained:      bool          = true,           ..,         "drop what ties the base to the data while online, as CQL's penalty";
    }
}

/// Outside its own section: the dataset is not replayed, the policy learns at its full rate.
pub const DEFAULTS: &str =
    "[online]\noffline_rows = \"none\"\nwarmup_steps = 1_000\nactor_lr = \"constant(1)\"\n";

/// Disagreement behind the weight.
pub static SPREAD: Metric = Metric::new("value_spread", "sigma", "", "Disagreement of the target critics");
/// The weight.
pub static WEIGHT: Metric = Metric::new("critic_weight", "E[ omega ]", "", "Weight of the critics' loss");

/// E2O over some base.
#[derive(Debug)]
pub struct E2o {
    config: E2oConfig,
    /// n
    draws: usize,
}

impl E2o {
    /// Over a base whose targets take the least of several critics. Errors: another base; an ensemble of policies.
    pub fn new(config: &E2oConfig, base: &dyn Learner) -> Result<E2o, ConfigError> {
        let refuse = |why: &str| Err(ConfigError::Other(why.into()));
        let Some(critics) = base.target_critics() else {
            return refuse(
                "it puts another value in the place of the least of several target critics, and this base's target has no such place; choose a base as cql, sac_n or td3_bc, or --adapt plain",
            );
        };
        if critics.heads() < 2 {
            return refuse(
                "it asks how far several critics disagree, and this base has one; raise their number",
            );
        }
        if base.policy().size() > 1 {
            return refuse("it is for one agent of many critics; raise cql.critics and set cql.ensemble = 1");
        }
        let draws = config.draws.or_else(|| critics.heads());
        Ok(E2o { config: config.clone(), draws })
    }

    /// σ, one number or `[B, 1]`, of the target critics.
    fn spread<'t>(&self, b: &Round<'t>, critics: &Critics) -> Var<'t> {
        let base = b.learner();
        let draw = || base.act(b.s2, Acting::Sample).clamp(-1.0, 1.0);
        if self.config.weight == Weight::Row {
            return deviation(critics.all(b.s2, draw()), 0);
        }
        let n = if base.policy().has_density() { self.draws } else { 1 };
        let (q, rows) = (critics.all(b.s2, beside(n, draw)), b.dims().batch);
        let of_draws = q.reshape(Shape::new(q.shape().heads, rows, n)).mean_over(Axis::Rows);
        deviation(of_draws, 0).mean()
    }
}

/// `n` actions for every state one below the other: `[B·n, A]`.
fn beside<'t>(n: usize, draw: impl Fn() -> Var<'t>) -> Var<'t> {
    let mut all: Vec<Var<'t>> = (0..n).map(|_| draw()).collect();
    while all.len() > 1 {
        // Halves of halves: every action is copied log n times, not n.
        all = all
            .chunks(2)
            .map(|two| two.iter().copied().reduce(Var::concat).expect("invariant: a chunk is not empty"))
            .collect();
    }
    let s = all[0].shape();
    all[0].reshape(Shape::new(1, s.rows * n, s.cols / n))
}

/// Σ_k (J-k) q_(k) / C(J,2) over heads: every value counts as often as others are larger, of equal ones half as often.
fn mean_of_pairs(q: Var<'_>) -> Var<'_> {
    let critics = q.shape().heads;
    if critics == 1 {
        return q;
    }
    let larger = (0..critics).map(|j| {
        let other = q.head(j);
        (q.less(other) - other.less(q)) * 0.5 + 0.5
    });
    // Each is among the others once, equal to itself.
    let count = larger.reduce(|sum, x| sum + x).expect("invariant: there are critics") - 0.5;
    (q * count).sum(Axis::Heads) / (critics * (critics - 1) / 2) as f64
}

impl Adaptation for E2o {
    fn value<'t>(&self, b: &Round<'t>, critics: &Critics, s: Var<'t>, a: Var<'t>) -> Var<'t> {
        let all = || critics.all(s, a);
        match self.config.target {
            Target::Min => critics.min(s, a),
            Target::Mean => all().mean_over(Axis::Heads).named("mean_j q^_j(s', a')"),
            Target::Pairs => {
                let value = mean_of_pairs(all()).named("mean of least of pairs of q^_j(s', a')");
                b.output("weighted_min_pair", value);
                value
            }
            Target::RandomPair => critics.min_of_drawn(s, a, critics.heads().min(2)),
            Target::Rem => {
                let shape = Shape::new(critics.heads(), 1, 1);
                let u = b.noise("weights of critics", NoiseKind::Uniform, shape);
                (all() * (u / u.sum(Axis::Heads))).sum(Axis::Heads).named("sum_j w_j q^_j(s', a')")
            }
        }
    }

    fn weight<'t>(&self, b: &Round<'t>, _q: Var<'t>) -> Option<Var<'t>> {
        if self.config.weight == Weight::Off {
            return None;
        }
        let spread = self.spread(b, b.learner().target_critics()?).named("sigma_q");
        let weight = ((spread * -self.config.weight_temperature).sigmoid() + 0.5).detach().named("omega");
        b.metric(&SPREAD, spread.mean());
        b.metric(&WEIGHT, weight.mean());
        Some(weight)
    }

    fn unconstrained(&self) -> bool {
        self.config.unconstrained
    }

    fn act<'t>(&self, base: &dyn Learner, s: Var<'t>, how: Acting) -> Var<'t> {
        let (Some(critics), false) = (base.critics(), how == Acting::Greedy) else {
            return base.act(s, how);
        };
        let draw = || base.act(s, how).clamp(-1.0, 1.0);
        let (n, rows, cols) = (self.draws, s.shape().rows, base.policy().actions());
        let all = beside(n, draw);
        let q = critics.all(s, all);
        let bound = q.mean_over(Axis::Heads) + deviation(q, 1) * self.config.bonus;
        let (bound, all) =
            (bound.reshape(Shape::new(1, rows, n)), all.reshape(Shape::new(1, rows, n * cols)));
        let nth = |k: usize| (bound.slice(k, 1), all.slice(k * cols, cols));
        let better = |best: (Var<'t>, Var<'t>), other: (Var<'t>, Var<'t>)| {
            let wins = best.0.less(other.0);
            (best.0.maximum(other.0), wins * other.1 + (1.0 - wins) * best.1)
        };
        (1..n).fold(nth(0), |best, k| better(best, nth(k))).1
    }
}

/// Traces of the online phase of its authors' program.
pub const FOREIGN: &[Foreign] = &[Foreign {
    losses: &[("temperature", &["temp_loss"])],
    ..Foreign::new("e2o", |r: &mut dyn Reading, ours: &mut Ours| -> Result<(), Wrong> {
        ours.online = true;
        r.word("target", &["weighted min pair"])?;
        ours.config.put(E2oConfig {
            weight_temperature: r.number_or("weight_temperature", (0.0, POSITIVE.1), 10.0)?,
            bonus: r.number_or("exploration_lambda", (0.0, POSITIVE.1), 10.0)?,
            ..E2oConfig::default()
        });
        Ok(())
    })
}];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::reference::{self, ReferenceInputs, ReferenceStore};
    use crate::autodiff::{Clock, Tracer};

    fn of_pairs(values: &[f64]) -> f64 {
        let t = Tracer::new(std::sync::Arc::default());
        let q = t.input("q", 1, values.len()).reshape(Shape::new(values.len(), 1, 1));
        t.output("value", mean_of_pairs(q));
        let trace = t.finish();
        let inputs = ReferenceInputs { columns: vec![values.to_vec()], noise: Vec::new() };
        let mut store = ReferenceStore::zeros(&trace.table);
        let out = reference::run(&trace, &mut store, &inputs, Clock::default(), |_| true);
        out[trace.outputs[0].1.index()].as_ref().expect("computed")[0]
    }

    #[test]
    fn the_mean_of_pairs_is_that_of_all_pairs() {
        for values in [
            &[3.0, -1.0, 2.5, 0.25, 7.0][..],
            &[1.0, 1.0, -2.0, 1.0, -2.0, 5.0],
            &[4.0, 4.0, 4.0],
            &[0.5; 10],
        ] {
            let n = values.len();
            let pairs = (0..n).flat_map(|j| (0..j).map(move |i| f64::min(values[i], values[j])));
            let want = pairs.sum::<f64>() / (n * (n - 1) / 2) as f64;
            assert!((of_pairs(values) - want).abs() < 1e-12, "{values:?}: {}, not {want}", of_pairs(values));
        }
    }

    #[test]
    fn of_two_it_is_the_lesser_and_of_one_that() {
        for [a, b] in [[1.1f64, -0.3], [-0.3, 1.1], [0.7, 0.7]] {
            assert_eq!(of_pairs(&[a, b]), a.min(b));
        }
        assert_eq!(of_pairs(&[0.3]), 0.3);
    }
}
