//! Measurements that several algorithms share: the policy, values of Q, their error, the weights of cloned actions.
//!
//! Over the batch of a measured round, of the networks as the losses of Q find them: before the round, but for methods that move the
//! policy first (IQL in its order `official`, FamO2O, SAC-N and EDAC in order `corl`), whose `q_pi` is that of the new policy.
//!
//! | metric | formula |
//! |---|---|
//! | `q_data`, `q_pi`, `q_rand` | E[ min_j Q_j(s, a) ] of the recorded action, the policy's mode, a uniform action |
//! | `q_max_abs` | max \|Q_j(s, a)\|; beyond `run.q_bound` the run has diverged |
//! | `q_spread` | E[ std_j Q_j(s, a) ], J - 1 in the variance, for methods that make use of it |
//! | `td_rms` | sqrt E[ mean_j ( y - Q_j(s,a) )² ] |
//! | `td_rms_offline`, `td_rms_online` | online: the same over rows of that origin; 0 where there are none |
//! | `mode_mse` | E[ mean_i ( mode π_i(s) - a_i )² ] |
//! | `action_saturation` | share of \|mode π_i(s)\| > 0.99 |
//! | `policy_std` | E[ mean_i σ_i(s) ], for policies that have one |
//! | `advantage_mean` | `E[ A ]`, for policies that clone actions by their advantage A |
//! | `advantage_weight_mean`, `advantage_effective_share` | `E[ g ]` and (Σ g)² / (B Σ g²) of its weight g, an exponential up to a bound |
//! | `advantage_clip_fraction` | share of g at that bound |
//! | `critic_loss`, `policy_loss` | L_Q and L_π as the algorithm states them |
//! | `episode_return` | online: raw return of the last finished training episode |

use super::Round;
use crate::autodiff::{Axis, Metric, NoiseKind, Shape, Var};
use crate::nn::{Critics, Input, Policy};

/// Loss of Q.
pub static CRITIC_LOSS: Metric = Metric::new("critic_loss", "L_Q", "", "Loss of Q");
/// Loss of the policy.
pub static POLICY_LOSS: Metric = Metric::new("policy_loss", "L_pi", "", "Loss of the policy");
/// Mean squared distance of the mode from the recorded action.
pub static MODE_MSE: Metric =
    Metric::new("mode_mse", "E[ mean_i (pi_i(s) - a_i)^2 ]", "", "Distance of the policy from the data");
/// Share of saturated actions.
pub static SATURATION: Metric =
    Metric::new("action_saturation", "share of |pi_i(s)| > 0.99", Metric::SHARE, "Action saturation");
/// Spread of the policy.
pub static POLICY_STD: Metric = Metric::new("policy_std", "E[ mean_i sigma_i(s) ]", "", "Policy spread");
/// Mean of Q on the batch's actions.
pub static Q_DATA: Metric = Metric::new("q_data", "E[ min_j Q_j(s, a) ]", "", "Values");
/// Mean of Q on the policy's actions.
pub static Q_PI: Metric = Metric::new("q_pi", "E[ min_j Q_j(s, pi(s)) ]", "", "Values");
/// Mean of Q on random actions.
pub static Q_RAND: Metric = Metric::new("q_rand", "E[ min_j Q_j(s, u) ], u uniform", "", "Values");
/// Largest value.
pub static Q_MAX: Metric = Metric::new("q_max_abs", "max |Q_j(s, a)|", "", "Largest value");
/// How far critics disagree about the recorded action.
pub static Q_SPREAD: Metric =
    Metric::new("q_spread", "E[ std_j Q_j(s, a) ]", "", "Disagreement of the critics");
/// Root mean square TD error.
pub static TD_RMS: Metric = Metric::new("td_rms", "sqrt E[ mean_j (y - Q_j)^2 ]", "", "TD error");
/// The same on offline rows.
pub static TD_RMS_OFFLINE: Metric =
    Metric::new("td_rms_offline", "td_rms over offline rows of the batch", "", "TD error");
/// The same on online rows.
pub static TD_RMS_ONLINE: Metric =
    Metric::new("td_rms_online", "td_rms over online rows of the batch", "", "TD error");
/// Mean advantage.
pub static ADV_MEAN: Metric = Metric::new("advantage_mean", "E[ A ]", "", "Advantage");
/// Share of clipped weights.
pub static ADV_CLIP: Metric = Metric::new(
    "advantage_clip_fraction",
    "share of e^(beta A) >= bound",
    Metric::SHARE,
    "Clipped advantages",
);
/// Mean weight of the cloned actions.
pub static ADV_WEIGHT: Metric =
    Metric::new("advantage_weight_mean", "E[ min(e^(beta A), bound) ]", "", "Advantage weights");
/// Effective share of the cloned actions.
pub static ADV_ESS: Metric = Metric::new(
    "advantage_effective_share",
    "(sum e)^2 / (B sum e^2), e = min(e^(beta A), bound)",
    Metric::SHARE,
    "Effective share of the cloned actions",
);
/// Share of online rows.
pub static ONLINE_SHARE: Metric =
    Metric::new("online_share", "online rows / B", Metric::SHARE, "Online share of a batch");

/// The policy before its update: the action `[B, A]` that it takes, and its spread if it has one; `given` is what it reads.
pub fn policy_metrics<'t>(b: &Round<'t>, mode: Var<'t>, pi: &Policy, given: impl Input<'t>) {
    b.metric(&MODE_MSE, (mode - b.a).square().mean_over(Axis::Cols).mean());
    b.metric(&SATURATION, mode.abs().inside(0.99, f64::INFINITY).mean());
    if let Some(std) = pi.std(given) {
        b.metric(&POLICY_STD, std.mean());
    }
}

/// Values of the critics on recorded, chosen and random actions; `q` is Q_j(s,a) `[J, B, 1]`,
/// J counting the critics of all members of an ensemble.
fn value_metrics<'t>(b: &Round<'t>, critics: &Critics, q: Var<'t>) {
    b.metric(&Q_DATA, critics.min(b.s, b.a).mean());
    b.metric(&Q_PI, critics.min(b.s, b.greedy()).mean());
    let uniform = b.noise("uniform action", NoiseKind::Uniform, Shape::new(1, b.dims().batch, b.dims().a));
    b.metric(&Q_RAND, critics.min(b.s, uniform * 2.0 - 1.0).mean());
    b.metric(&Q_MAX, max_abs(q));
}

/// The TD error from its squares `[J, B, 1]`, online also by the origin of the rows.
fn error_metrics<'t>(b: &Round<'t>, squares: Var<'t>) {
    let squares = squares.mean_over(Axis::Heads);
    b.metric(&TD_RMS, squares.mean().sqrt());
    if let Some(online) = b.online {
        b.metric(&TD_RMS_OFFLINE, mean_where(squares, 1.0 - online).sqrt());
        b.metric(&TD_RMS_ONLINE, mean_where(squares, online).sqrt());
    }
}

/// What critics say, and how far from their targets: `q` and `squares` are `[J, B, 1]`.
pub fn critic_metrics<'t>(b: &Round<'t>, critics: &Critics, q: Var<'t>, squares: Var<'t>) {
    value_metrics(b, critics, q);
    error_metrics(b, squares);
}

/// Q_j(s, a) of the recorded actions and ( y - Q_j(s, a) )², both `[J, B, 1]`, with the measurements of both.
pub fn squared_errors<'t>(b: &Round<'t>, critics: &Critics, y: Var<'t>) -> (Var<'t>, Var<'t>) {
    let q = critics.all(b.s, b.a);
    let squares = (q - y).square();
    critic_metrics(b, critics, q, squares);
    (q, squares)
}

/// min(e^x, bound) `[B, 1]`, the weight of a cloned action whose advantage is `advantage`, and its measurements; of several x for
/// a row, `[B, K]`, the mean. x is cut at log bound before the exponential: the same number without overflow.
pub fn advantage_weight<'t>(b: &Round<'t>, advantage: Var<'t>, x: Var<'t>, bound: f64) -> Var<'t> {
    let most = bound.ln();
    let mut weight = x.clamp(f64::NEG_INFINITY, most).exp();
    if weight.shape().cols > 1 {
        weight = weight.mean_over(Axis::Cols);
    }
    b.metric(&ADV_MEAN, advantage.mean());
    b.metric(&ADV_CLIP, x.inside(most, f64::INFINITY).mean());
    b.metric(&ADV_WEIGHT, weight.mean());
    b.metric(&ADV_ESS, effective_share(weight, b.dims().batch));
    weight
}

/// (Σ x)² / (B Σ x²) of weights `[B, 1]`; 0, not a quotient of zeros, where all have underflowed. They are compared with the
/// largest, since squares underflow long before weights do.
pub fn effective_share(x: Var<'_>, batch: usize) -> Var<'_> {
    let x = x / x.max(Axis::Rows).clamp(f32::MIN_POSITIVE.into(), f64::INFINITY);
    x.total().square() / x.square().total().clamp(1e-30, f64::INFINITY) / batch as f64
}

/// Mean of x `[B, 1]` over the rows where `flag` is 1; 0 where there are none.
pub fn mean_where<'t>(x: Var<'t>, flag: Var<'t>) -> Var<'t> {
    (x * flag).total() / flag.total().clamp(1.0, f64::INFINITY)
}

/// Standard deviation over heads of x `[J, B, N]`, as `[1, B, N]`: the sum of squares is divided by J - `lost`, or by 1 where
/// that is less.
pub fn deviation(x: Var<'_>, lost: usize) -> Var<'_> {
    let squares = (x - x.mean_over(Axis::Heads)).square().sum(Axis::Heads);
    let degrees = x.shape().heads.saturating_sub(lost).max(1);
    (squares / degrees as f64).sqrt()
}

/// Largest |x|.
fn max_abs(x: Var<'_>) -> Var<'_> {
    x.abs().max(Axis::Rows).max(Axis::Cols).max(Axis::Heads)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::{Clock, Noise, Program, Select, Store, Tracer, Workspace};

    /// The share in f32, as runs have it.
    fn share(weights: &[f32]) -> f32 {
        let t = Tracer::new(std::sync::Arc::default());
        t.output("share", effective_share(t.input("x", weights.len(), 1), weights.len()));
        let program = Program::compile(&t.finish(), Select::ALL);
        let mut workspace = Workspace::new(&program);
        workspace.input_mut(&program, "x").expect("it is read").copy_from_slice(weights);
        let mut store = Store::zeros(program.table().clone());
        program.run(&mut workspace, &mut store, Clock::default(), Noise::Seed(1));
        workspace.output(&program, "share")[0]
    }

    #[test]
    fn equal_weights_are_all_effective_however_small() {
        for weight in [1e12, 1.0, 1e-18, 1e-30, f32::MIN_POSITIVE] {
            assert!((share(&[weight; 8]) - 1.0).abs() < 1e-6, "{weight:e}: {}", share(&[weight; 8]));
        }
        for scale in [1.0, 1e-25] {
            assert!((share(&[scale, 0.0, 3.0 * scale, 0.0]) - 0.4).abs() < 1e-6, "{scale:e}");
        }
        assert_eq!(share(&[0.0; 8]), 0.0);
    }
}
