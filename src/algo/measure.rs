//! Measurements that several algorithms share: values of Q, its error, its loss.
//!
//! | metric | formula, over the batch of a measured round and the parameters before it |
//! |---|---|
//! | `q_data`, `q_pi`, `q_rand` | E[ min_j Q_j(s, a) ] of the recorded action, the policy's mode, a uniform action |
//! | `q_max_abs` | max \|Q_j(s, a)\|; beyond `run.q_bound` the run has diverged |
//! | `td_rms` | sqrt E[ mean_j ( y - Q_j(s,a) )² ] |
//! | `td_rms_offline`, `td_rms_online` | online: the same over rows of that origin; 0 where there are none |
//! | `mode_mse` | E[ mean_i ( mode π_i(s) - a_i )² ] |
//! | `action_saturation` | share of \|mode π_i(s)\| > 0.99 |
//! | `policy_std` | E[ mean_i σ_i(s) ], for policies that have one |
//! | `critic_loss`, `policy_loss` | L_Q and L_π as the algorithm states them |
//! | `episode_return` | online: raw return of the last finished training episode |

use super::{Batch, max_abs, mean_where};
use crate::autodiff::{Axis, Metric, NoiseKind, Shape, Tracer, Var};
use crate::nn::{Critics, Policy};

/// Loss of Q.
pub static CRITIC_LOSS: Metric = Metric::new("critic_loss", "L_Q", "", "Loss of Q");
/// Loss of the policy.
pub static POLICY_LOSS: Metric = Metric::new("policy_loss", "L_pi", "", "Loss of the policy");
/// Mean of Q on the batch's actions.
pub static Q_DATA: Metric = Metric::new("q_data", "E[ min_j Q_j(s, a) ]", "", "Values");
/// Mean of Q on the policy's actions.
pub static Q_PI: Metric = Metric::new("q_pi", "E[ min_j Q_j(s, pi(s)) ]", "", "Values");
/// Mean of Q on random actions.
pub static Q_RAND: Metric = Metric::new("q_rand", "E[ min_j Q_j(s, u) ], u uniform", "", "Values");
/// Largest value.
pub static Q_MAX: Metric = Metric::new("q_max_abs", "max |Q_j(s, a)|", "", "Largest value");
/// Root mean square TD error.
pub static TD_RMS: Metric = Metric::new("td_rms", "sqrt E[ mean_j (y - Q_j)^2 ]", "", "TD error");
/// The same on offline rows.
pub static TD_RMS_OFFLINE: Metric =
    Metric::new("td_rms_offline", "td_rms over offline rows of the batch", "", "TD error");
/// The same on online rows.
pub static TD_RMS_ONLINE: Metric =
    Metric::new("td_rms_online", "td_rms over online rows of the batch", "", "TD error");

/// Share of online rows.
pub static ONLINE_SHARE: Metric =
    Metric::new("online_share", "online rows / B", "", "Online share of a batch");

/// Name of the noise behind [`Q_RAND`], which only metrics read.
pub const RANDOM_ACTION: &str = "uniform action";

/// Values of the critics on recorded, chosen and random actions; `q` is Q_j(s,a) `[J, B, 1]`,
/// J counting the critics of all members of an ensemble.
pub fn value_metrics<'t>(t: &'t Tracer, b: &Batch<'t>, critics: &Critics, pi: &Policy, q: Var<'t>) {
    t.metric(&Q_DATA, critics.min(t, b.s, b.a).mean());
    t.metric(&Q_PI, critics.min(t, b.s, pi.mode(t, b.s)).mean());
    let uniform = t.noise(RANDOM_ACTION, NoiseKind::Uniform, Shape::new(1, b.dims().batch, b.dims().a));
    t.metric(&Q_RAND, critics.min(t, b.s, uniform * 2.0 - 1.0).mean());
    t.metric(&Q_MAX, max_abs(q));
}

/// The TD error from its squares `[J, B, 1]`, online also by the origin of the rows.
pub fn error_metrics<'t>(t: &'t Tracer, b: &Batch<'t>, squares: Var<'t>) {
    let squares = squares.mean_over(Axis::Heads);
    t.metric(&TD_RMS, squares.mean().sqrt());
    if let Some(online) = b.online {
        t.metric(&TD_RMS_OFFLINE, mean_where(squares, 1.0 - online).sqrt());
        t.metric(&TD_RMS_ONLINE, mean_where(squares, online).sqrt());
    }
}

/// (Σ x)² / (B Σ x²) of weights `[B, 1]`; 0, not a quotient of zeros, where all have underflowed.
pub fn effective_share(x: Var<'_>, batch: usize) -> Var<'_> {
    x.total().square() / x.square().total().clamp(1e-30, f64::INFINITY) / batch as f64
}
