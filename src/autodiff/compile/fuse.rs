//! Which nodes a program needs, and which of them share a kernel.
//!
//! - `linear` with a ReLU or tanh that is its only reader, `layer_norm` with a ReLU;
//! - `linear_dx` with the gradient of the activation before it, if that is its only reader;
//! - `linear_dw` with the column sums of the same dy (the bias gradient);
//! - `layer_norm_dx` with the gradients of gain and bias from the same dy.
//!
//! The first two delay a kernel to its reader, so no effect may stand between the two; the others
//! bring the sums forward, so they must come later in the trace.

use baq_kernels::{Activation, Binary};

use crate::autodiff::trace::graph::{Graph, NodeId};
use crate::autodiff::trace::operation::{Op, Unary};
use crate::autodiff::trace::recorded::{Effect, Select, Trace};
use crate::autodiff::trace::shape::Axis;

/// What becomes of a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fate {
    /// nobody needs it
    Dead,
    /// a kernel of its own
    Alone,
    /// the same memory as another node
    Alias(NodeId),
    /// an intermediate value inside the kernel of this later node
    Inside(NodeId),
    /// this activation ends the kernel of the `Linear` or `LayerNorm` node
    Activates(NodeId, Activation),
    /// this activation gradient ends the `LinearDx` node's kernel; the activation's output
    Masks(NodeId, Activation, NodeId),
    /// it also writes these sums over rows, for a `LayerNorm` the gradients of gain and bias in this order
    WithSums([Option<NodeId>; 2]),
    /// sums that the kernel of this node writes
    SumsOf(NodeId),
}

/// The fate of every node.
pub(super) fn fates(trace: &Trace, select: Select) -> Vec<Fate> {
    let (live, uses) = needed(trace, select);
    let mut fate: Vec<Fate> = live.iter().map(|&live| if live { Fate::Alone } else { Fate::Dead }).collect();
    let effects: Vec<usize> = select.items(trace).map(|item| item.after).collect();
    fuse_activations(&trace.graph, &uses, &effects, &mut fate);
    fuse_sums(&trace.graph, &mut fate);
    fuse_norms(&trace.graph, &mut fate);
    fate
}

/// Which nodes the selection needs.
pub(super) fn live(trace: &Trace, select: Select) -> Vec<bool> {
    needed(trace, select).0
}

/// Losses, gradients, metrics and outputs that the selection asks for.
pub(super) fn roots(trace: &Trace, select: Select) -> Vec<NodeId> {
    let mut roots = results(trace, select);
    for item in select.items(trace) {
        if let Effect::Train { gradients, .. } = &item.effect {
            roots.extend(gradients.iter().map(|(_, g)| *g));
        }
    }
    roots
}

/// Those that are read from outside after an execution: losses, metrics and outputs.
pub(super) fn results(trace: &Trace, select: Select) -> Vec<NodeId> {
    let mut results: Vec<NodeId> = trace.outputs.iter().map(|(_, id)| *id).collect();
    if select.metrics {
        results.extend(trace.metrics.iter().map(|(_, id)| *id));
    }
    results.extend(select.items(trace).filter_map(|item| match &item.effect {
        Effect::Train { loss, .. } => Some(*loss),
        Effect::Polyak { .. } => None,
    }));
    results
}

/// For every node whether a root depends on it, and how often live nodes and roots read it.
fn needed(trace: &Trace, select: Select) -> (Vec<bool>, Vec<u32>) {
    let n = trace.graph.nodes().len();
    let (mut live, mut uses) = (vec![false; n], vec![0; n]);
    for r in roots(trace, select) {
        live[r.index()] = true;
        uses[r.index()] += 1;
    }
    for i in (0..n).rev() {
        if live[i] {
            for a in &trace.graph.nodes()[i].args {
                live[a.index()] = true;
                uses[a.index()] += 1;
            }
        }
    }
    (live, uses)
}

fn fuse_activations(graph: &Graph, uses: &[u32], effects: &[usize], fate: &mut [Fate]) {
    // `effects` ascends: the first one after `from` decides.
    let undisturbed = |from: NodeId, to: usize| {
        let next = effects.partition_point(|&after| after <= from.index());
        effects.get(next).is_none_or(|&after| after > to)
    };
    for (i, node) in graph.nodes().iter().enumerate() {
        if fate[i] == Fate::Dead {
            continue;
        }
        let alone = |inner: NodeId, op: Op| {
            graph.node(inner).op == op && uses[inner.index()] == 1 && undisturbed(inner, i)
        };
        let normalises = |inner: NodeId| {
            let op = graph.node(inner).op;
            matches!(op, Op::LayerNorm { .. }) && alone(inner, op)
        };
        let (inner, outer) = match node.op {
            op if op.is_alias() => {
                fate[i] = Fate::Alias(node.args[0]);
                continue;
            }
            Op::Unary(f @ (Unary::Relu | Unary::Tanh)) if alone(node.args[0], Op::Linear) => {
                let act = if f == Unary::Relu { Activation::Relu } else { Activation::Tanh };
                (node.args[0], Fate::Activates(node.args[0], act))
            }
            Op::Unary(Unary::Relu) if normalises(node.args[0]) => {
                (node.args[0], Fate::Activates(node.args[0], Activation::Relu))
            }
            Op::Binary(f @ (Binary::ReluGrad | Binary::TanhGrad))
                if alone(node.args[0], Op::LinearDx)
                    && graph.node(node.args[0]).shape == graph.node(node.args[1]).shape =>
            {
                let act = if f == Binary::ReluGrad { Activation::Relu } else { Activation::Tanh };
                (node.args[0], Fate::Masks(node.args[0], act, node.args[1]))
            }
            _ => continue,
        };
        fate[inner.index()] = Fate::Inside(NodeId(i as u32));
        fate[i] = outer;
    }
}

fn fuse_sums(graph: &Graph, fate: &mut [Fate]) {
    // Equal nodes are shared, so that a node has one node of column sums at most.
    let mut sums: Vec<Option<NodeId>> = vec![None; fate.len()];
    for (i, node) in graph.nodes().iter().enumerate() {
        if fate[i] == Fate::Alone && node.op == Op::Sum(Axis::Rows) {
            sums[node.args[0].index()] = Some(NodeId(i as u32));
        }
    }
    for (i, node) in graph.nodes().iter().enumerate() {
        if fate[i] == Fate::Alone
            && let Some(dy) = node.op.summed()
            && let Some(db) = sums[node.args[dy].index()]
            && db.index() > i
            && fate[db.index()] == Fate::Alone
        {
            fate[i] = Fate::WithSums(match node.op {
                Op::LinearDw => [Some(db), None],
                _ => [None, Some(db)],
            });
            fate[db.index()] = Fate::SumsOf(NodeId(i as u32));
        }
    }
}

/// Joins what `fuse_sums` has made of `LayerNormDgain` to the `LayerNormDx` of the same gradient, if there is one.
fn fuse_norms(graph: &Graph, fate: &mut [Fate]) {
    for (g, node) in graph.nodes().iter().enumerate() {
        let (Op::LayerNormDgain { eps }, false) = (node.op, fate[g] == Fate::Dead) else { continue };
        let dx = Op::LayerNormDx { eps };
        let Some(i) = graph.nodes()[..g].iter().position(|n| n.op == dx && n.args == node.args) else {
            continue;
        };
        if fate[i] != Fate::Alone {
            continue;
        }
        let dbias = if let Fate::WithSums([_, dbias]) = fate[g] { dbias } else { None };
        let dgain = Some(NodeId(g as u32));
        fate[i] = Fate::WithSums([dgain, dbias]);
        [dgain, dbias]
            .into_iter()
            .flatten()
            .for_each(|sum| fate[sum.index()] = Fate::SumsOf(NodeId(i as u32)));
    }
}
