//! Analytic gradients against central differences, in f64.
//!
//! Every loss of a trace is a function of the parameters that its update trains. The check perturbs
//! them, all at once along one random direction or one by one, and evaluates the loss again with
//! everything else held: other networks, noise, and what lies behind a `detach`.
//!
//! `baq audit gradients` checks a whole method; of one trace, as of an algorithm that is being written:
//!
//! ```
//! use baq::algo::{Dims, Phase};
//! use baq::audit::gradcheck;
//! use baq::autodiff::{Clock, reference::ReferenceStore};
//! use baq::config::resolve;
//! use baq::train::agent::Agent;
//! use baq::train::sections::known_sections;
//!
//! let config = resolve(known_sections(), Some("iql"), None, &["iql.hidden=[5]".into()])?;
//! let agent = Agent::new(&config, Dims { s: 3, a: 2, batch: 6 })?;
//! let trace = agent.trace(&Phase::offline(10));
//! let mut store = ReferenceStore::from(&agent.store);
//! gradcheck::shake(&mut store, 1);
//! let inputs = gradcheck::synthetic(&trace, 1);
//! for tensor in gradcheck::check(&trace, &store, &inputs, Clock::default(), 1, true) {
//!     assert!(tensor.passed(), "{} {}: {:e}", tensor.update, tensor.path, tensor.worst());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;

use rand::distr::Distribution;
use rand_distr::StandardNormal;

use super::worse;
use crate::autodiff::reference::{self, ReferenceInputs, ReferenceStore, Values};
use crate::autodiff::{Clock, Effect, NodeId, NoiseKind, Op, ParamId, Trace};
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
    /// |analytic - numeric| / max(|analytic|, |numeric|, size of the gradient / root of its length), or / (rounding /
    /// [`TOLERANCE`]) if that is larger: what the loss's own rounding explains is no difference. NaN where it explains a
    /// hundredth of the gradient, since nothing was checked then
    pub relative: f64,
    /// largest absolute error over the elements divided by the largest gradient, or likewise; `None` unless asked
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
            replay::IMPORTANCE | replay::FROM_ALL => &|x| 1.0 / (1.0 + x.exp()),
            replay::ROW_STD => &|x| 1.0 + 0.5 * x.tanh(),
            _ => &|x| x,
        };
        draw(input.shape.len(), f)
    });
    let columns = columns.collect();
    let noise = trace.noises.iter().map(|n| match n.kind {
        NoiseKind::Normal => draw(n.shape.len(), &|x| x),
        NoiseKind::Uniform => draw(n.shape.len(), &|x| 1.0 / (1.0 + (-1.7 * x).exp())),
        // Neighbours in a ring, from any of them on.
        NoiseKind::Subset { of } | NoiseKind::Choices { of } => {
            let first = draw(1, &|x| (1e6 * x.abs()).floor())[0];
            (0..n.shape.len()).map(|i| (first + i as f64) % of as f64).collect()
        }
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

/// Steps of the central differences, for parameters of order 1 in f64: the next one is taken where a kink
/// (a unit of a ReLU layer that switches) lies within the one before.
const STEPS: [f64; 3] = [1e-6, 1e-7, 1e-8];
/// Directions tried until there is no kink within the step; then as many that move every parameter in proportion to
/// itself, for those that are far smaller than the step. A wrong gradient gains nothing by it: away from kinks the slopes
/// on both sides agree with each other and not with it.
const DRAWS: u64 = 8;

/// Relative error of a difference of two losses, for each of which some sums are rounded.
const ROUNDING: f64 = 4.0 * f64::EPSILON;

pub(super) fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// Checks every update of a trace at the given state. With `elements`, every single parameter too.
pub fn check(
    trace: &Trace,
    store: &ReferenceStore,
    inputs: &ReferenceInputs,
    clock: Clock,
    seed: u64,
    elements: bool,
) -> Vec<TensorCheck> {
    let checker = Checker::new(trace, store, inputs, clock);
    checker.tensors().iter().map(|t| checker.compare(t, t.gradient, seed, elements)).collect()
}

/// The values around which a trace is checked: those of one pass, every update done.
pub struct Checker<'a> {
    trace: &'a Trace,
    inputs: &'a ReferenceInputs,
    clock: Clock,
    values: Values,
    /// nodes of the parameters, by version
    params: BTreeMap<(ParamId, u32), NodeId>,
}

/// One tensor that one update trains.
pub struct Trained<'a> {
    /// the update
    pub update: &'static str,
    /// the tensor
    pub param: ParamId,
    version: u32,
    loss: NodeId,
    /// the analytic gradient
    pub gradient: &'a [f64],
}

/// The derivative of a loss along a random direction of one tensor.
struct Along {
    analytic: f64,
    numeric: f64,
    /// what the analytic one is like along any such direction
    typical: f64,
    /// no kink within the step
    smooth: bool,
}

impl<'a> Checker<'a> {
    /// Runs the pass.
    pub fn new(
        trace: &'a Trace,
        store: &ReferenceStore,
        inputs: &'a ReferenceInputs,
        clock: Clock,
    ) -> Checker<'a> {
        let values = reference::run(trace, &mut store.clone(), inputs, clock, |_| true);
        let mut params = BTreeMap::new();
        for (i, node) in trace.graph.ids().zip(trace.graph.nodes()) {
            if let Op::Param { id, version } = node.op {
                params.insert((id, version), i);
            }
        }
        Checker { trace, inputs, clock, values, params }
    }

    /// The value of a node.
    pub fn value(&self, id: NodeId) -> &[f64] {
        self.values[id.index()].as_ref().expect("invariant: every node was computed")
    }

    /// Everything that the trace trains, in order.
    pub fn tensors(&self) -> Vec<Trained<'_>> {
        let mut all = Vec::new();
        for item in &self.trace.items {
            let Effect::Train { name, loss, gradients, .. } = &item.effect else { continue };
            // Steps on zeros have nothing to be checked.
            if matches!(self.trace.graph.node(*loss).op, Op::Const(_)) {
                continue;
            }
            for &(param, g) in gradients {
                // An update trains the latest version that its loss reads.
                let known = self.params.range((param, 0)..=(param, u32::MAX));
                let version = known.filter(|(_, node)| *node <= loss).map(|((_, v), _)| *v).max();
                let version = version.expect("invariant: a loss reads what it trains");
                all.push(Trained { update: name, param, version, loss: *loss, gradient: self.value(g) });
            }
        }
        all
    }

    /// What a tensor is before it moves.
    fn place(&self, t: &Trained<'_>) -> &[f64] {
        self.value(self.params[&(t.param, t.version)])
    }

    /// The loss after a move of one tensor.
    fn loss(&self, t: &Trained<'_>, moved: &dyn Fn(usize) -> f64) -> f64 {
        let mut to = self.place(t).to_vec();
        to.iter_mut().enumerate().for_each(|(i, x)| *x += moved(i));
        let moved = (t.param, t.version, &to[..]);
        reference::value_after(self.trace, t.loss, self.inputs, self.clock, moved, &self.values)[0]
    }

    /// The derivative of a loss along a direction of one tensor, and whether there is none of its kinks
    /// within the step: the slopes on both sides agree on the given scale.
    fn slope(&self, t: &Trained<'_>, d: &dyn Fn(usize) -> f64, step: f64, scale: f64) -> (f64, bool) {
        let here = self.value(t.loss)[0];
        let (up, down) = (self.loss(t, &|i| step * d(i)), self.loss(t, &|i| -step * d(i)));
        let (left, right) = ((here - down) / step, (up - here) / step);
        ((up - down) / (2.0 * step), (right - left).abs() <= 2.0 * TOLERANCE * scale)
    }

    /// One of the directions: of length 1, or from number [`DRAWS`] on in proportion to the parameters.
    fn along(&self, t: &Trained<'_>, gradient: &[f64], seed: u64, draw: u64) -> Along {
        let mut rng = Rng::new(seed, Stream::Check, t.param.index() as u64 + (draw << 16));
        let mut d: Vec<f64> = (0..gradient.len()).map(|_| StandardNormal.sample(&mut rng)).collect();
        let typical = if draw < DRAWS {
            let length = norm(&d);
            d.iter_mut().for_each(|d| *d /= length);
            norm(gradient) / (gradient.len() as f64).sqrt()
        } else {
            d.iter_mut().zip(self.place(t)).for_each(|(d, x)| *d *= x.abs());
            norm(&gradient.iter().zip(self.place(t)).map(|(g, x)| g * x).collect::<Vec<f64>>())
        };
        let analytic: f64 = gradient.iter().zip(&d).map(|(g, d)| g * d).sum();
        let (numeric, smooth) = self.slope(t, &|i| d[i], STEPS[0], typical.max(analytic.abs()));
        Along { analytic, numeric, typical, smooth }
    }

    /// Compares finite differences with what is claimed to be the gradient of a tensor.
    pub fn compare(&self, t: &Trained<'_>, gradient: &[f64], seed: u64, elements: bool) -> TensorCheck {
        let mut found = self.along(t, gradient, seed, 0);
        for draw in 1..2 * DRAWS {
            if found.smooth {
                break;
            }
            found = self.along(t, gradient, seed, draw);
        }
        let Along { analytic, numeric, typical, .. } = found;
        let rounding = ROUNDING * self.value(t.loss)[0].abs() / STEPS[0];
        let above_rounding = |size: f64| match rounding > 0.01 * size {
            true => f64::NAN,
            false => size.max(rounding / TOLERANCE),
        };
        let elementwise = elements.then(|| {
            let largest = gradient.iter().fold(0.0f64, |m, g| m.max(g.abs()));
            let error = |k: usize| {
                let one = |step| self.slope(t, &|i| if i == k { 1.0 } else { 0.0 }, step, largest);
                let smooth = STEPS.iter().map(|step| one(*step)).find(|(_, smooth)| *smooth);
                (smooth.unwrap_or_else(|| one(STEPS[0])).0 - gradient[k]).abs()
            };
            (0..gradient.len()).map(error).fold(0.0, worse) / above_rounding(largest.max(f64::MIN_POSITIVE))
        });
        let size = analytic.abs().max(numeric.abs()).max(typical).max(f64::MIN_POSITIVE);
        TensorCheck {
            update: t.update,
            path: self.trace.table.paths(t.param)[0].0.clone(),
            analytic,
            numeric,
            relative: (analytic - numeric).abs() / above_rounding(size),
            elementwise,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::algo::iql::{Iql, IqlConfig};
    use crate::algo::{self, Dims, Phase, Plain};
    use crate::autodiff::{Adam, ParamTable, Role, Schedule, Shape, Tracer};
    use crate::nn::Params;

    fn traced() -> (Trace, ReferenceStore) {
        let config = IqlConfig { hidden: vec![5, 5].into(), ..IqlConfig::default() };
        let dims = Dims { s: 3, a: 2, batch: 6 };
        let mut params = Params::default();
        let iql = Iql::declare(&config, dims, &mut params);
        let (table, store) = params.finish(0);
        let trace = algo::trace(&table, dims, &Phase::offline(10), &iql, &Plain);
        let mut store = ReferenceStore::from(&store);
        shake(&mut store, 1);
        (trace, store)
    }

    /// A gradient of order 1 beside an offset: found right where differences resolve it, not checked where they do not; and a
    /// wrong one is found as long as they resolve it, though it is right within what their rounding explains.
    #[test]
    fn rounding_explains_no_wrong_gradient() {
        let check = |offset: f64, wrong: f64| {
            let mut table = ParamTable::default();
            let group = table.add_group("w", false);
            let w = table.add(group, "x", Shape::new(1, 1, 3));
            let table = Arc::new(table);
            let t = Tracer::new(table.clone());
            let loss = t.param(w).square().total() + offset;
            t.train("f", Role::Critic, group, &Adam::new(Schedule::Constant(0.1)), loss);
            let trace = t.finish();
            let mut store = ReferenceStore::zeros(&table);
            store.values[0] = vec![0.3, -0.7, 0.5];
            let inputs = synthetic(&trace, 1);
            let checker = Checker::new(&trace, &store, &inputs, Clock::default());
            let tensors = checker.tensors();
            let gradient: Vec<f64> = tensors[0].gradient.iter().map(|g| g * (1.0 + wrong)).collect();
            checker.compare(&tensors[0], &gradient, 1, true).passed()
        };
        assert!(check(0.0, 0.0) && check(1e4, 0.0) && check(1e6, 0.0));
        assert!(!check(0.0, 1e-4) && !check(1e4, 1e-3) && !check(1e6, 0.1));
        assert!(!check(1e8, 0.0) && !check(1e10, 0.0), "nothing was checked");
    }

    #[test]
    fn right_gradients_pass_and_exchanged_ones_do_not() {
        let (mut trace, store) = traced();
        let inputs = synthetic(&trace, 1);
        let run = |trace: &Trace| check(trace, &store, &inputs, Clock::default(), 1, true);
        let right = run(&trace);
        assert_eq!(right.len(), 6 + 7 + 6);
        for t in &right {
            assert!(t.passed(), "{} {}: {:e} {:?}", t.update, t.path, t.relative, t.elementwise);
        }
        // Two tensors of one shape take each other's gradient; everything else stays right.
        for item in &mut trace.items {
            if let Effect::Train { name: "value", gradients, .. } = &mut item.effect {
                let (a, b) = (gradients[1].1, gradients[3].1);
                (gradients[1].1, gradients[3].1) = (b, a);
            }
        }
        for t in run(&trace) {
            let wrong = t.update == "value" && matches!(t.path.as_str(), "v.layer0.bias" | "v.layer1.bias");
            assert_eq!(t.passed(), !wrong, "{} {}: {:e}", t.update, t.path, t.relative);
        }
    }
}
