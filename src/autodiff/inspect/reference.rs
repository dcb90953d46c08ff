//! The reference executor: the same graph, interpreted node by node in f64 with plain loops.
//!
//! It shares nothing with the execution but the graph: no kernel, no fusion, no memory plan. What the
//! two agree on has been computed twice in different ways.
//!
//! Kernels take f32's subnormal numbers, those below 2⁻¹²⁶, for zero; here they are ordinary numbers, since f64 reaches far
//! below them. The two then differ by less than any tolerance that is not itself subnormal.

use std::sync::Arc;

use baq_kernels::Binary;

use crate::autodiff::run::clock::Clock;
use crate::autodiff::run::store::Store;
use crate::autodiff::trace::graph::{Graph, NodeId};
use crate::autodiff::trace::operation::{Op, Unary};
use crate::autodiff::trace::parameters::{ParamId, ParamTable};
use crate::autodiff::trace::recorded::{Effect, Item, Role, Trace};
use crate::autodiff::trace::schedule::Adam;
use crate::autodiff::trace::shape::{Axis, Shape};

/// Values of all parameters in f64, with moments and step counts.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceStore {
    /// parameters `[J, K, N]`
    pub values: Vec<Vec<f64>>,
    /// gradients of the last update
    pub gradients: Vec<Vec<f64>>,
    /// Adam's first moments
    pub first: Vec<Vec<f64>>,
    /// Adam's second moments
    pub second: Vec<Vec<f64>>,
    /// Adam steps of every group
    pub steps: Vec<u64>,
}

impl ReferenceStore {
    /// All zeros.
    pub fn zeros(table: &ParamTable) -> ReferenceStore {
        let all = || table.params().iter().map(|p| vec![0.0; p.shape.len()]).collect::<Vec<_>>();
        let steps = vec![0; table.groups().len()];
        ReferenceStore { values: all(), gradients: all(), first: all(), second: all(), steps }
    }
}

impl From<&Store> for ReferenceStore {
    fn from(s: &Store) -> ReferenceStore {
        let wide = |b: &[baq_kernels::Buffer]| {
            b.iter().map(|t| t.iter().map(|&x| f64::from(x)).collect()).collect::<Vec<Vec<f64>>>()
        };
        ReferenceStore {
            values: wide(&s.values),
            gradients: wide(&s.gradients),
            first: wide(&s.first),
            second: wide(&s.second),
            steps: s.steps.clone(),
        }
    }
}

/// What one pass reads besides the parameters: batch columns and noise, in the order of the trace.
#[derive(Clone, Debug, Default)]
pub struct ReferenceInputs {
    /// batch columns `[B, N]`
    pub columns: Vec<Vec<f64>>,
    /// numbers of every noise stream
    pub noise: Vec<Vec<f64>>,
}

/// Values of all nodes after a pass; `None` where nothing selected needed one.
pub type Values = Vec<Option<Vec<f64>>>;

impl Trace {
    /// The loss of the update of that name, from the values of a pass.
    pub fn loss(&self, name: &str, values: &Values) -> f64 {
        let loss = self.items.iter().find_map(|item| match &item.effect {
            Effect::Train { name: n, loss, .. } if *n == name => Some(*loss),
            _ => None,
        });
        let loss = loss.unwrap_or_else(|| panic!("no update named {name}"));
        values[loss.index()].as_ref().expect("invariant: the pass has computed it")[0]
    }
}

/// One pass over a trace: every node, the selected effects.
pub fn run(
    trace: &Trace,
    store: &mut ReferenceStore,
    inputs: &ReferenceInputs,
    clock: Clock,
    roles: impl Fn(Role) -> bool,
) -> Values {
    let n = trace.graph.nodes().len();
    let mut values: Values = vec![None; n];
    let mut items = trace.items.iter().peekable();
    for i in 0..=n {
        while let Some(item) = items.next_if(|item| item.after <= i) {
            if roles(item.role) {
                apply(trace, store, item, &values, clock);
            }
        }
        if i < n {
            let param = |id: ParamId, _: u32| store.values[id.index()].clone();
            let at = |a: NodeId| -> &[f64] {
                values[a.index()].as_deref().expect("invariant: arguments precede their node")
            };
            values[i] = Some(evaluate(trace, NodeId(i as u32), &at, inputs, clock, &param));
        }
    }
    values
}

/// The value of one node after one tensor has been moved: the parameter `moved` (which version of it), to what its
/// values are there. Nodes that do not depend on it keep the value that they have in `base`, as do those behind a
/// `detach`.
pub fn value_after(
    trace: &Trace,
    node: NodeId,
    inputs: &ReferenceInputs,
    clock: Clock,
    (moved, version, to): (ParamId, u32, &[f64]),
    base: &Values,
) -> Vec<f64> {
    let old = |k: usize| base[k].as_deref().expect("invariant: a base pass has computed every node");
    let nodes = &trace.graph.nodes()[..=node.index()];
    let mut values: Values = vec![None; nodes.len()];
    for (i, n) in nodes.iter().enumerate() {
        let moves = match n.op {
            Op::Param { id, version: v } => (id, v) == (moved, version),
            Op::Detach => false,
            _ => n.args.iter().any(|a| values[a.index()].is_some()),
        };
        if moves {
            let param = |_: ParamId, _: u32| to.to_vec();
            let at = |a: NodeId| values[a.index()].as_deref().unwrap_or_else(|| old(a.index()));
            values[i] = Some(evaluate(trace, NodeId(i as u32), &at, inputs, clock, &param));
        }
    }
    values.pop().flatten().unwrap_or_else(|| old(node.index()).to_vec())
}

fn apply(trace: &Trace, store: &mut ReferenceStore, item: &Item, values: &Values, clock: Clock) {
    match &item.effect {
        Effect::Train { group, optimiser, gradients, .. } => {
            store.steps[group.index()] += 1;
            let count = store.steps[group.index()] as f64;
            for &(p, g) in gradients {
                let g = values[g.index()].as_ref().expect("invariant: gradients precede their step");
                store.gradients[p.index()].clone_from(g);
                adam(store, p, g, optimiser, clock.phase_round, count);
            }
        }
        &Effect::Polyak { source, target, rate } => {
            let rate = trace.hypers[rate].schedule.at(clock.phase_round);
            let table: &Arc<ParamTable> = &trace.table;
            for (s, t) in table.members(source).zip(table.members(target)) {
                for k in 0..store.values[t.index()].len() {
                    let (from, to) = (store.values[s.index()][k], store.values[t.index()][k]);
                    store.values[t.index()][k] = (1.0 - rate) * to + rate * from;
                }
            }
        }
    }
}

fn adam(store: &mut ReferenceStore, p: ParamId, g: &[f64], o: &Adam, phase_round: u64, t: f64) {
    let p = p.index();
    let lr = o.lr_at(phase_round);
    for (k, &g) in g.iter().enumerate() {
        let m = o.beta1 * store.first[p][k] + (1.0 - o.beta1) * g;
        let v = o.beta2 * store.second[p][k] + (1.0 - o.beta2) * g * g;
        store.first[p][k] = m;
        store.second[p][k] = v;
        let m_hat = m / (1.0 - o.beta1.powf(t));
        let v_hat = v / (1.0 - o.beta2.powf(t));
        store.values[p][k] -= lr * m_hat / (v_hat.sqrt() + o.eps);
    }
}

/// Walks `[J, B, N]` and gives every element's index in a tensor that may be broadcast.
fn broadcast(out: Shape, arg: Shape) -> impl Fn(usize) -> usize {
    let (o, a) = (out.dims(), arg.dims());
    move |i| {
        let (h, r, c) = (i / (o[1] * o[2]), i / o[2] % o[1], i % o[2]);
        let pick = |i: usize, extent: usize| if extent == 1 { 0 } else { i };
        (pick(h, a[0]) * a[1] + pick(r, a[1])) * a[2] + pick(c, a[2])
    }
}

fn evaluate<'v>(
    trace: &Trace,
    id: NodeId,
    value: &dyn Fn(NodeId) -> &'v [f64],
    inputs: &ReferenceInputs,
    clock: Clock,
    param: &dyn Fn(ParamId, u32) -> Vec<f64>,
) -> Vec<f64> {
    let graph: &Graph = &trace.graph;
    let node = graph.node(id);
    let shape = |k: usize| graph.node(node.args[k]).shape;
    let arg = |k: usize| value(node.args[k]);
    let len = node.shape.len();
    match node.op {
        Op::Input(k) => inputs.columns[k].clone(),
        Op::Noise(k) => inputs.noise[k].clone(),
        Op::Param { id, version } => param(id, version),
        Op::Hyper(k) => vec![trace.hypers[k].schedule.at(clock.phase_round)],
        Op::Const(x) => vec![x.get()],
        Op::Unary(f) => arg(0).iter().map(|&x| unary(f, x)).collect(),
        Op::Binary(f) => {
            let (a, b) = (broadcast(node.shape, shape(0)), broadcast(node.shape, shape(1)));
            let share = |u: f64, tau: f64| {
                let share = (tau - truth(u < 0.0)).abs();
                choose(trace.single_expectiles, f64::from(share as f32), share)
            };
            (0..len).map(|i| binary(f, arg(0)[a(i)], arg(1)[b(i)], share)).collect()
        }
        Op::Linear => {
            let (x, w, b, s) = (arg(0), arg(1), arg(2), shape(0));
            let (k, n, own) = (s.cols, node.shape.cols, shape(2).rows);
            let mut y = vec![0.0; len];
            for (i, y) in y.chunks_exact_mut(n).enumerate() {
                let (h, r) = (i / s.rows, i % s.rows);
                let row = (if s.heads == 1 { 0 } else { h } * s.rows + r) * k;
                for q in 0..k {
                    let w = &w[(h * k + q) * n..][..n];
                    y.iter_mut().zip(w).for_each(|(y, w)| *y += x[row + q] * w);
                }
                let b = &b[(h * own + r * own / s.rows) * n..][..n];
                y.iter_mut().zip(b).for_each(|(y, b)| *y += b);
            }
            y
        }
        Op::LinearDx => {
            let (dy, w, s) = (arg(0), arg(1), shape(0));
            let (k, n, heads) = (node.shape.cols, s.cols, shape(1).heads);
            let of_head = |h: usize, r: usize, q: usize| -> f64 {
                (0..n).map(|c| dy[(h * s.rows + r) * n + c] * w[(h * k + q) * n + c]).sum()
            };
            (0..len)
                .map(|i| {
                    let (h, r, q) = (i / (s.rows * k), i / k % s.rows, i % k);
                    match node.shape.heads {
                        1 => (0..heads).map(|h| of_head(h, r, q)).sum(),
                        _ => of_head(h, r, q),
                    }
                })
                .collect()
        }
        Op::LinearDw => {
            let (x, dy, s, n) = (arg(0), arg(1), shape(0), node.shape.cols);
            let mut dw = vec![0.0; len];
            for (h, dw) in dw.chunks_exact_mut(s.cols * n).enumerate() {
                let hx = if s.heads == 1 { 0 } else { h };
                for r in 0..s.rows {
                    let dy = &dy[(h * s.rows + r) * n..][..n];
                    for (q, dw) in dw.chunks_exact_mut(n).enumerate() {
                        let x = x[(hx * s.rows + r) * s.cols + q];
                        dw.iter_mut().zip(dy).for_each(|(dw, dy)| *dw += x * dy);
                    }
                }
            }
            dw
        }
        Op::Sum(axis) => reduce(arg(0), axis.split(shape(0)), 0.0, |s, x| s + x),
        Op::Min(axis) => reduce(arg(0), axis.split(shape(0)), f64::INFINITY, smaller),
        Op::MinGrad(axis) => min_grad(axis, shape(0), arg(0), arg(1), arg(2)),
        Op::LogSumExp => arg(0)
            .chunks_exact(shape(0).cols)
            .map(|row| {
                let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let top = choose(top.is_finite(), top, 0.0);
                top + row.iter().map(|x| (x - top).exp()).sum::<f64>().ln()
            })
            .collect(),
        Op::Concat => {
            let rows = arg(0).chunks_exact(shape(0).cols).zip(arg(1).chunks_exact(shape(1).cols));
            rows.flat_map(|(a, b)| a.iter().chain(b)).copied().collect()
        }
        Op::Slice { start, cols } => {
            arg(0).chunks_exact(shape(0).cols).flat_map(|row| &row[start..start + cols]).copied().collect()
        }
        Op::Pad { start, cols } => {
            let have = shape(0).cols;
            (0..len)
                .map(|i| {
                    let (r, c) = (i / cols, i % cols);
                    if (start..start + have).contains(&c) { arg(0)[r * have + c - start] } else { 0.0 }
                })
                .collect()
        }
        Op::Repeat(k) => {
            let n = node.shape.cols;
            (0..len).map(|i| arg(0)[i / n / k * n + i % n]).collect()
        }
        Op::SumRepeats(k) => {
            let n = node.shape.cols;
            (0..len).map(|i| (0..k).map(|q| arg(0)[(i / n * k + q) * n + i % n]).sum()).collect()
        }
        Op::Reshape | Op::Detach => arg(0).to_vec(),
        Op::Blocks(_) | Op::Part(_) | Op::View(_) => unreachable!("invariant: regions are not traced"),
        Op::Expand => {
            let a = broadcast(node.shape, shape(0));
            (0..len).map(|i| arg(0)[a(i)]).collect()
        }
    }
}

fn reduce(x: &[f64], [outer, n, inner]: [usize; 3], start: f64, f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    (0..outer * inner)
        .map(|i| {
            let (o, c) = (i / inner, i % inner);
            (0..n).fold(start, |s, k| f(s, x[(o * n + k) * inner + c]))
        })
        .collect()
}

fn min_grad(axis: Axis, shape: Shape, x: &[f64], min: &[f64], g: &[f64]) -> Vec<f64> {
    let [outer, n, inner] = axis.split(shape);
    let mut out = vec![0.0; x.len()];
    for o in 0..outer {
        for c in 0..inner {
            let m = min[o * inner + c];
            let is_least = |x: f64| x == m || (x.is_nan() && m.is_nan());
            if let Some(k) = (0..n).find(|k| is_least(x[(o * n + k) * inner + c])) {
                out[(o * n + k) * inner + c] = g[o * inner + c];
            }
        }
    }
    out
}

fn choose(condition: bool, yes: f64, no: f64) -> f64 {
    if condition { yes } else { no }
}

fn truth(condition: bool) -> f64 {
    choose(condition, 1.0, 0.0)
}

/// The minimum; NaN wins, so that a divergence shows in both executors.
fn smaller(a: f64, b: f64) -> f64 {
    choose(a.is_nan() || a < b, a, b)
}

fn unary(f: Unary, x: f64) -> f64 {
    match f {
        Unary::Exp => x.exp(),
        Unary::Log => x.ln(),
        Unary::Tanh => x.tanh(),
        Unary::Relu => choose(x < 0.0, 0.0, x),
        Unary::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        Unary::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Unary::Square => x * x,
        Unary::Sqrt => x.sqrt(),
        Unary::Abs => x.abs(),
        Unary::Sign => choose(x.is_nan(), x, truth(x > 0.0) - truth(x < 0.0)),
        Unary::Affine { scale, shift } => scale.get() * x + shift.get(),
        Unary::Clamp { lo, hi } => choose(x.is_nan(), x, x.max(lo.get()).min(hi.get())),
        Unary::Inside { lo, hi } => truth(lo.get() <= x && x <= hi.get()),
    }
}

/// f(a, b); `share` gives |τ - 1(u < 0)|.
fn binary(f: Binary, a: f64, b: f64, share: impl Fn(f64, f64) -> f64) -> f64 {
    match f {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Min => smaller(a, b),
        Binary::Max => -smaller(-a, -b),
        Binary::Le => truth(a <= b),
        Binary::Lt => truth(a < b),
        Binary::ReluGrad => choose(b > 0.0, a, 0.0),
        Binary::TanhGrad => a * (1.0 - b * b),
        Binary::Expectile => share(a, b) * a * a,
        Binary::ExpectileGrad => 2.0 * share(a, b) * a,
    }
}
