//! Analytic gradients against central differences, in f64.
//!
//! Every loss of a trace is a function of the parameters that its update trains. The check perturbs
//! them, all at once along one random direction or one by one, and evaluates the loss again with
//! everything else held: other networks, noise, and what lies behind a `detach`.

use rand::distr::Distribution;
use rand_distr::StandardNormal;

use crate::autodiff::graph::Op;
use crate::autodiff::reference::{self, ReferenceInputs, ReferenceStore, Values};
use crate::autodiff::{Clock, Effect, NoiseKind, ParamId, Trace};
use crate::replay;
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

/// Largest relative error that still counts as agreement. Central differences of a loss of order 1 to 100
/// in f64 are themselves good to 1e-7 or so.
pub const TOLERANCE: f64 = 1e-5;

impl TensorCheck {
    /// Whether everything that was measured is inside [`TOLERANCE`]. A gradient of exactly zero has not been
    /// checked at all and does not pass.
    pub fn passed(&self) -> bool {
        self.analytic != 0.0
            && self.relative <= TOLERANCE
            && self.elementwise.is_none_or(|error| error <= TOLERANCE)
    }

    /// The largest relative error; NaN if any is.
    pub fn worst(&self) -> f64 {
        match self.elementwise {
            Some(e) if e.is_nan() || e > self.relative => e,
            _ => self.relative,
        }
    }
}

/// A batch made of random numbers of the order that training sees, and noise, for any trace.
pub fn synthetic(trace: &Trace, seed: u64) -> ReferenceInputs {
    let mut position = 0;
    let mut draw = |len: usize, f: &dyn Fn(f64) -> f64| -> Vec<f64> {
        position += 1;
        let mut rng = Rng::new(seed, Stream::Check, (1 << 32) + position);
        (0..len).map(|_| f(StandardNormal.sample(&mut rng))).collect()
    };
    // Smooth maps of a normal number: never at a bound, where a loss has no derivative.
    let columns = trace.inputs.iter().map(|input| {
        let f: &dyn Fn(f64) -> f64 = match input.name {
            replay::A => &|x| 0.95 * x.tanh(),
            replay::M => &|x| if x < 1.3 { 1.0 } else { 0.0 },
            replay::ONLINE => &|x| if x < 0.0 { 0.0 } else { 1.0 },
            replay::D2 | replay::DISTANCE => &|x| 0.5 * x * x,
            replay::IMPORTANCE => &|x| 1.0 / (1.0 + x.exp()),
            _ => &|x| x,
        };
        draw(input.shape.len(), f)
    });
    let columns = columns.collect();
    let noise = trace.noises.iter().map(|n| match n.kind {
        NoiseKind::Normal => draw(n.shape.len(), &|x| x),
        NoiseKind::Uniform => draw(n.shape.len(), &|x| 1.0 / (1.0 + (-1.7 * x).exp())),
    });
    let noise = noise.collect();
    ReferenceInputs { columns, noise }
}

/// Moves every parameter by a little, so that nothing sits on a special point (biases of 0, equal targets).
pub fn shake(store: &mut ReferenceStore, seed: u64) {
    for (i, values) in store.values.iter_mut().enumerate() {
        let mut rng = Rng::new(seed, Stream::Check, (2 << 32) + i as u64);
        for x in values {
            let normal: f64 = StandardNormal.sample(&mut rng);
            *x += 0.02 * normal;
        }
    }
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
