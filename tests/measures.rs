//! What a round logs, against the formulas in plain numbers: networks of one layer, whose values are sums.

mod common;

use std::array;
use std::collections::BTreeMap;

use baq::algo::Dims;
use baq::audit::gradcheck;
use baq::autodiff::Clock;
use baq::autodiff::reference::{self, ReferenceStore};
use baq::replay;
use common::{SMALL, agent, online};

/// One collected row and three of the data, so that neither origin can stand for the other.
const ONLINE: [f64; 4] = [1.0, 0.0, 0.0, 0.0];
const S: [f64; 4] = [0.5, -0.2, 0.9, 0.1];
const A: [[f64; 2]; 4] = [[0.3, -0.6], [0.95, 0.1], [-0.8, 0.4], [0.2, -0.95]];

/// The metrics of an online round of IQL in which nothing moves, of these parameters, columns and noise.
fn measured(
    (adapt, sets): (&str, &[&str]),
    parameters: &[(&str, &[f64])],
    given: &[(&str, &[f64])],
) -> BTreeMap<&'static str, f64> {
    let dims = Dims { s: 1, a: 2, batch: 4 };
    let agent = agent("iql", adapt, dims, &[&SMALL[..], &["iql.hidden=[]"], sets].concat());
    let trace = agent.trace(&online(10));
    let mut store = ReferenceStore::from(&agent.store);
    for (name, values) in parameters {
        let id = agent.table.ids().find(|id| agent.table.name(*id) == *name);
        let id = id.unwrap_or_else(|| panic!("no parameters {name}"));
        store.values[id.index()].copy_from_slice(values);
    }
    let mut inputs = gradcheck::synthetic(&trace, 1);
    for (name, values) in given {
        for (input, to) in trace.inputs.iter().zip(&mut inputs.columns) {
            if input.name == *name {
                to.copy_from_slice(values);
            }
        }
        for (noise, to) in trace.noises.iter().zip(&mut inputs.noise) {
            if noise.name == *name {
                to.copy_from_slice(values);
            }
        }
    }
    let values = reference::run(&trace, &mut store, &inputs, Clock::default(), |_| false);
    let metrics = trace.metrics.iter();
    metrics.map(|(m, node)| (m.name, values[node.index()].as_ref().expect("computed")[0])).collect()
}

#[track_caller]
fn check(got: &BTreeMap<&'static str, f64>, expected: &[(&str, f64)]) {
    for (name, want) in expected {
        let got = got.get(*name).unwrap_or_else(|| panic!("no metric {name}"));
        assert!((got - want).abs() <= 1e-9, "{name} is {got}, expected {want}");
    }
}

fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

/// (Σ x)² / (B Σ x²)
fn effective_share(x: &[f64]) -> f64 {
    mean(x).powi(2) / mean(&x.iter().map(|x| x * x).collect::<Vec<f64>>())
}

#[test]
fn baq_measures_rows_of_either_origin() {
    let (d2, distance) = ([0.1, 0.9, 0.3, 0.6], [0.4, 1.5, 0.8, 2.0]);
    let columns: [(&str, &[f64]); 3] =
        [(replay::ONLINE, &ONLINE), (replay::D2, &d2), (replay::DISTANCE, &distance)];
    let got = measured(("baq", &[]), &[], &columns);
    let w = d2.map(|d2: f64| (-d2 / 0.5).exp());
    let rho = distance.map(|distance: f64| (distance / 2f64.sqrt() + 1.0).powf(0.6));
    check(
        &got,
        &[
            ("online_share", 0.25),
            ("d2_online", d2[0]),
            ("d2_offline", mean(&d2[1..])),
            ("w_online", w[0]),
            ("w_offline", mean(&w[1..])),
            ("rho_online", rho[0]),
            ("rho_offline", mean(&rho[1..])),
            ("w_effective_share", effective_share(&w)),
        ],
    );
}

/// Weights of s and of both components of a, and a bias, of either critic and of its target.
const Q: [[f64; 4]; 2] = [[0.7, 1.1, -0.4, 0.2], [-0.3, 0.6, 0.9, -0.1]];
const TARGET: [[f64; 4]; 2] = [[0.4, 0.8, -0.9, 0.3], [0.2, -0.5, 0.7, 0.6]];
/// Weight and bias of V, and of both components of the policy's mean.
const V: [f64; 2] = [0.5, -0.2];
const PI: [[f64; 2]; 2] = [[1.5, 0.1], [4.0, -0.5]];
const LOG_STD: [f64; 2] = [-0.7, 0.3];

fn values(q: &[[f64; 4]; 2], s: f64, a: [f64; 2]) -> [f64; 2] {
    q.map(|[of_s, of_a0, of_a1, bias]| of_s * s + of_a0 * a[0] + of_a1 * a[1] + bias)
}

fn least(q: &[[f64; 4]; 2], s: f64, a: [f64; 2]) -> f64 {
    let [x, y] = values(q, s, a);
    x.min(y)
}

#[test]
fn values_errors_policy_and_weights() {
    const R: [f64; 4] = [0.4, -0.7, 1.2, 0.3];
    const M: [f64; 4] = [1.0, 1.0, 0.0, 1.0];
    const S2: [f64; 4] = [-0.4, 0.6, 0.2, -0.9];
    /// Uniform numbers, each an action.
    const U: [[f64; 2]; 4] = [[0.1, 0.8], [0.55, 0.3], [0.9, 0.95], [0.4, 0.05]];
    const BOUND: f64 = 2.0;
    let weights = |q: [[f64; 4]; 2]| -> Vec<f64> { q.iter().flat_map(|q| q[..3].to_vec()).collect() };
    let biases = |q: [[f64; 4]; 2]| q.map(|q| q[3]);
    let parameters: [(&str, &[f64]); 9] = [
        ("q.layer0.weight", &weights(Q)),
        ("q.layer0.bias", &biases(Q)),
        ("q_target.layer0.weight", &weights(TARGET)),
        ("q_target.layer0.bias", &biases(TARGET)),
        ("v.layer0.weight", &V[..1]),
        ("v.layer0.bias", &V[1..]),
        ("pi.layer0.weight", &PI.map(|[weight, _]| weight)),
        ("pi.layer0.bias", &PI.map(|[_, bias]| bias)),
        ("pi.log_std", &LOG_STD),
    ];
    let given: [(&str, &[f64]); 7] = [
        (replay::ONLINE, &ONLINE),
        (replay::S, &S),
        (replay::A, &A.concat()),
        (replay::R, &R),
        (replay::M, &M),
        (replay::S2, &S2),
        ("uniform action", &U.concat()),
    ];
    let got = measured(("plain", &["iql.weight_bound=2"]), &parameters, &given);

    let v = |s: f64| V[0] * s + V[1];
    let mode = S.map(|s| PI.map(|[weight, bias]| (weight * s + bias).tanh()));
    let modes = mode.concat();
    let errors: [f64; 4] = array::from_fn(|i| {
        let y = R[i] + 0.99 * M[i] * v(S2[i]);
        mean(&values(&Q, S[i], A[i]).map(|q| (y - q).powi(2)))
    });
    let over_rows = |f: &dyn Fn(usize) -> f64| mean(&[0, 1, 2, 3].map(f));
    let largest =
        (0..4).flat_map(|i| values(&Q, S[i], A[i])).fold(0.0, |most: f64, q: f64| most.max(q.abs()));
    let advantage: [f64; 4] = array::from_fn(|i| least(&TARGET, S[i], A[i]) - v(S[i]));
    let weight = advantage.map(|advantage| (3.0 * advantage).exp().min(BOUND));
    let clipped = weight.iter().filter(|weight| **weight == BOUND).count();
    assert_eq!(clipped, 1, "{weight:?}");
    check(
        &got,
        &[
            ("q_data", over_rows(&|i| least(&Q, S[i], A[i]))),
            ("q_pi", over_rows(&|i| least(&Q, S[i], mode[i]))),
            ("q_rand", over_rows(&|i| least(&Q, S[i], U[i].map(|u| 2.0 * u - 1.0)))),
            ("q_max_abs", largest),
            ("td_rms", mean(&errors).sqrt()),
            ("td_rms_online", errors[0].sqrt()),
            ("td_rms_offline", mean(&errors[1..]).sqrt()),
            ("mode_mse", modes.iter().zip(A.concat()).map(|(mode, a)| (mode - a).powi(2)).sum::<f64>() / 8.0),
            ("action_saturation", modes.iter().filter(|a| a.abs() > 0.99).count() as f64 / 8.0),
            ("policy_std", mean(&LOG_STD.map(f64::exp))),
            ("v_mean", over_rows(&|i| v(S[i]))),
            ("advantage_mean", mean(&advantage)),
            ("advantage_weight_mean", mean(&weight)),
            ("advantage_clip_fraction", 0.25),
            ("advantage_effective_share", effective_share(&weight)),
        ],
    );
}

/// Some of the actions reach the bounds, where they are moved by less than the noise says, and some of the noise its own.
#[test]
fn so2_measures_how_far_actions_move() {
    let (a, noise) = (A.concat(), [0.5, -1.0, 3.0, -0.2, -4.0, 0.1, 1.0, -2.0]);
    let given: [(&str, &[f64]); 2] = [(replay::A, &a), ("perturbation of the target's action", &noise)];
    let got = measured(("so2", &[]), &[], &given);
    let shifts = a.iter().zip(noise).map(|(a, noise)| {
        let moved = (a + (0.3 * noise).clamp(-0.6, 0.6)).clamp(-1.0, 1.0);
        (moved - a).abs()
    });
    check(&got, &[("target_shift", shifts.sum::<f64>() / 8.0)]);
}

/// Critics that value the first component alone, an old policy that takes tanh 0.2 there, and draws of a new one around 0.
#[test]
fn pex_measures_whose_action_is_cloned() {
    let (first, zeros) = ([0.0, 1.0, 0.0, 0.0, 1.0, 0.0], [0.0; 2]);
    let parameters: [(&str, &[f64]); 7] = [
        ("q.layer0.weight", &first),
        ("q.layer0.bias", &zeros),
        ("pi.layer0.weight", &zeros),
        ("pi.layer0.bias", &zeros),
        ("pi.log_std", &zeros),
        ("pi_offline.layer0.weight", &zeros),
        ("pi_offline.layer0.bias", &[0.2, 0.0]),
    ];
    let drawn: [f64; 4] = [0.3, 0.1, 0.25, 0.15];
    let units: [f64; 4] = [0.3, 0.9, 0.5, 0.2];
    let draws = drawn.map(|a| [a, 0.0]).concat();
    let given: [(&str, &[f64]); 2] = [("policy sample", &draws), ("choice of a policy", &units)];
    let got = measured(("pex", &[]), &parameters, &given);
    let own = drawn.map(|a| 1.0 / (1.0 + (-10.0 * (a - 0.2f64.tanh())).exp()));
    // The new policy has the upper end of the unit interval.
    let chosen = own.iter().zip(units).filter(|(own, unit)| *unit >= 1.0 - **own).count();
    assert_eq!(chosen, 3);
    check(&got, &[("own_share", 0.75), ("own_probability", mean(&own))]);
}
