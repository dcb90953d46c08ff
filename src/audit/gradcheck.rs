//! Analytic gradients against central differences, in f64.
//!
//! Every loss of a trace is a function of the parameters that its update trains. The check perturbs
//! them, all at once along one random direction or one by one, and evaluates the loss again with
//! everything else held: other networks, noise, and what lies behind a `detach`.

use rand::distr::Distribution;
use rand_distr::StandardNormal;

use crate::autodiff::graph::Op;
use crate::autodiff::reference::{self, ReferenceInputs, ReferenceStore, Values};
use crate::autodiff::{Clock, Effect, ParamId, Trace};
use crate::rng::{Rng, Stream};

/// The check of one tensor in one update.
#[derive(Clone, Debug)]
pub struct TensorCheck {
    /// name of the update
    pub update: &'static str,
    /// path of the (first head of the) tensor
    pub path: String,
    /// derivative along a random direction, analytic
    pub analytic: f64,
    /// the same by central differences
    pub numeric: f64,
    /// |analytic - numeric| / max(|analytic|, |numeric|, 1e-9)
    pub relative: f64,
    /// largest absolute error over the elements divided by the largest gradient; `None` unless asked
    pub elementwise: Option<f64>,
}

/// Step of the central differences, for parameters of order 1 in f64.
const STEP: f64 = 1e-6;

/// Checks every update of a trace at the given state. With `elements`, every single parameter too.
pub fn check(
    trace: &Trace,
    store: &ReferenceStore,
    inputs: &ReferenceInputs,
    clock: Clock,
    seed: u64,
    elements: bool,
) -> Vec<TensorCheck> {
    // Values of the parameters at every version that the trace reads.
    let mut moved = store.clone();
    let values = reference::run(trace, &mut moved, inputs, clock, |_| true);
    let mut results = Vec::new();
    for item in &trace.items {
        let Effect::Train { name, loss, gradients, .. } = &item.effect else { continue };
        for &(p, g) in gradients {
            let version = version_of(trace, g, p, loss.index());
            let gradient = values[g.index()].as_ref().expect("invariant: every node was computed");
            let loss_with = |delta: &dyn Fn(usize) -> f64| {
                let param = |id: ParamId, v: u32| {
                    let mut x = at_version(trace, &values, id, v);
                    if id == p && v == version {
                        x.iter_mut().enumerate().for_each(|(i, x)| *x += delta(i));
                    }
                    x
                };
                reference::value_of(trace, *loss, inputs, clock, &param, &values)[0]
            };
            let slope = |direction: &dyn Fn(usize) -> f64| {
                let (up, down) = (loss_with(&|i| STEP * direction(i)), loss_with(&|i| -STEP * direction(i)));
                (up - down) / (2.0 * STEP)
            };
            let mut rng = Rng::new(seed, Stream::Check, p.index() as u64);
            let direction: Vec<f64> = (0..gradient.len()).map(|_| StandardNormal.sample(&mut rng)).collect();
            let norm = direction.iter().map(|d| d * d).sum::<f64>().sqrt();
            let analytic: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d / norm).sum();
            let numeric = slope(&|i| direction[i] / norm);
            let elementwise = elements.then(|| {
                let largest = gradient.iter().fold(0.0f64, |m, g| m.max(g.abs()));
                let error = (0..gradient.len())
                    .map(|k| (slope(&|i| if i == k { 1.0 } else { 0.0 }) - gradient[k]).abs())
                    .fold(0.0, f64::max);
                error / largest.max(1e-9)
            });
            results.push(TensorCheck {
                update: name,
                path: trace.table.paths(p)[0].0.clone(),
                analytic,
                numeric,
                relative: (analytic - numeric).abs() / analytic.abs().max(numeric.abs()).max(1e-9),
                elementwise,
            });
        }
    }
    results
}

/// The version of a parameter that the loss reads.
fn version_of(trace: &Trace, _gradient: crate::autodiff::graph::NodeId, p: ParamId, loss: usize) -> u32 {
    trace.graph.nodes()[..=loss]
        .iter()
        .filter_map(|n| match n.op {
            Op::Param { id, version } if id == p => Some(version),
            _ => None,
        })
        .max()
        .expect("invariant: a loss reads what it trains")
}

fn at_version(trace: &Trace, values: &Values, id: ParamId, version: u32) -> Vec<f64> {
    let node = trace
        .graph
        .nodes()
        .iter()
        .position(|n| n.op == Op::Param { id, version })
        .expect("invariant: the trace reads this version");
    values[node].clone().expect("invariant: every node was computed")
}
