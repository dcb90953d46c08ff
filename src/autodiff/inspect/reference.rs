//! The reference executor: the same graph, interpreted node by node in f64 with plain loops.
//!
//! It shares nothing with the execution but the graph: no kernel (of functions of one number only the definition that kernels
//! are tested against), no fusion, no memory plan. What the two agree on has been computed twice in different ways.
//!
//! Kernels take f32's subnormal numbers, those below 2⁻¹²⁶, for zero; here they are ordinary numbers, since f64 reaches far
//! below them. The two then differ by less than any tolerance that is not itself subnormal.

use std::sync::Arc;

use super::f64_operations::{Tensor, operation};
use crate::autodiff::run::clock::Clock;
use crate::autodiff::run::store::Store;
use crate::autodiff::trace::graph::NodeId;
use crate::autodiff::trace::operation::Op;
use crate::autodiff::trace::parameters::{ParamId, ParamTable};
use crate::autodiff::trace::recorded::{Effect, Item, Role, Trace};
use crate::autodiff::trace::schedule::Adam;

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
    run_watched(trace, store, inputs, clock, roles, |_, _| ())
}

/// The same; `watch` sees what each selected effect leaves.
pub fn run_watched(
    trace: &Trace,
    store: &mut ReferenceStore,
    inputs: &ReferenceInputs,
    clock: Clock,
    roles: impl Fn(Role) -> bool,
    mut watch: impl FnMut(&Effect, &ReferenceStore),
) -> Values {
    let n = trace.graph.nodes().len();
    let mut values: Values = vec![None; n];
    let mut items = trace.items.iter().peekable();
    for i in 0..=n {
        while let Some(item) = items.next_if(|item| item.after <= i) {
            if roles(item.role) {
                apply(trace, store, item, &values, clock);
                watch(&item.effect, store);
            }
        }
        if i < n {
            let at = |a: NodeId| -> &[f64] {
                values[a.index()].as_deref().expect("invariant: arguments precede their node")
            };
            let value = match trace.graph.nodes()[i].op {
                Op::Param { id, .. } => store.values[id.index()].clone(),
                _ => evaluate(trace, NodeId(i as u32), &at, inputs, clock),
            };
            values[i] = Some(value);
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
            let at = |a: NodeId| values[a.index()].as_deref().unwrap_or_else(|| old(a.index()));
            let value = match n.op {
                Op::Param { .. } => to.to_vec(),
                _ => evaluate(trace, NodeId(i as u32), &at, inputs, clock),
            };
            values[i] = Some(value);
        }
    }
    values.pop().flatten().unwrap_or_else(|| old(node.index()).to_vec())
}

fn apply(trace: &Trace, store: &mut ReferenceStore, item: &Item, values: &Values, clock: Clock) {
    match &item.effect {
        Effect::Train { group, optimiser, gradients, .. } => {
            store.steps[group.index()] += 1;
            let count = store.steps[group.index()] as f64;
            let of = |g: NodeId| values[g.index()].as_ref().expect("invariant: gradients precede their step");
            let squares = gradients.iter().flat_map(|&(_, g)| of(g)).map(|g| g * g).sum();
            let factor = optimiser.clipping(squares);
            for &(p, g) in gradients {
                let g: Vec<f64> = of(g).iter().map(|g| g * factor).collect();
                adam(store, p, &g, optimiser, clock.phase_round, count);
                store.gradients[p.index()] = g;
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
        store.values[p][k] *= 1.0 - lr * o.decay;
        store.values[p][k] -= lr * m_hat / (v_hat.sqrt() + o.eps);
    }
}

/// The value of a node that is no parameter, from those of its arguments.
fn evaluate<'v>(
    trace: &Trace,
    id: NodeId,
    value: &dyn Fn(NodeId) -> &'v [f64],
    inputs: &ReferenceInputs,
    clock: Clock,
) -> Vec<f64> {
    let node = trace.graph.node(id);
    match node.op {
        Op::Input(k) => inputs.columns[k].clone(),
        Op::Noise(k) => inputs.noise[k].clone(),
        Op::Hyper(k) => vec![trace.hypers[k].schedule.at(clock.phase_round)],
        Op::Const(x) => vec![x.get()],
        op => {
            let tensor = |&a: &NodeId| Tensor { x: value(a), shape: trace.graph.node(a).shape };
            let args: Vec<Tensor<'_>> = node.args.iter().map(tensor).collect();
            operation(op, node.shape, &args, trace.single_expectiles)
        }
    }
}
