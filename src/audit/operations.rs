//! The derivative of every kind of operation by itself, to name the one that is wrong.

use std::collections::BTreeMap;

use super::gradcheck::{Checker, TOLERANCE, TensorCheck, check, synthetic};
use super::worse;
use crate::autodiff::reference::{ReferenceInputs, ReferenceStore};
use crate::autodiff::{Clock, Effect, NodeId, Trace, isolate};

/// The check of one kind of operation.
#[derive(Clone, Debug)]
pub struct OperationCheck {
    /// its name
    pub name: String,
    /// how often losses use it
    pub uses: usize,
    /// the largest relative error over some of its uses
    pub relative: f64,
}

impl OperationCheck {
    /// Whether the derivative is right.
    pub fn passed(&self) -> bool {
        self.relative <= TOLERANCE
    }
}

/// Uses of an operation that are checked: of different shapes, where it is used in several.
const USES: usize = 3;

/// Checks the derivative of every kind of operation that the losses of a trace are made of, each by itself, at the values
/// that it has there. Where a gradient is wrong, this tells which operation makes it so.
pub fn operations(
    trace: &Trace,
    store: &ReferenceStore,
    inputs: &ReferenceInputs,
    clock: Clock,
    seed: u64,
) -> Vec<OperationCheck> {
    let base = Checker::new(trace, store, inputs, clock);
    let mut needed = vec![false; trace.graph.nodes().len()];
    for item in &trace.items {
        if let Effect::Train { loss, .. } = &item.effect {
            needed[loss.index()] = true;
        }
    }
    for (i, node) in trace.graph.nodes().iter().enumerate().rev() {
        if needed[i] {
            node.args.iter().for_each(|a| needed[a.index()] = true);
        }
    }
    let mut kinds: BTreeMap<String, Vec<NodeId>> = BTreeMap::new();
    for id in trace.graph.ids().filter(|id| needed[id.index()]) {
        let op = trace.graph.node(id).op;
        if op.is_differentiable() {
            kinds.entry(op.name()).or_default().push(id);
        }
    }
    let check_one = |id: NodeId| -> f64 {
        let one = isolate(trace, id).expect("invariant: it is differentiable");
        let mut store = ReferenceStore::zeros(&one.trace.table);
        for (values, node) in store.values.iter_mut().zip(&one.parameters) {
            values.copy_from_slice(base.value(*node));
        }
        let weights = &synthetic(&one.trace, seed).columns[0];
        let mut columns = vec![weights.clone()];
        columns.extend(one.columns.iter().map(|node| base.value(*node).to_vec()));
        let inputs = ReferenceInputs { columns, noise: Vec::new() };
        let checks = check(&one.trace, &store, &inputs, clock, seed, false);
        // A derivative of 0 that is 0, as that of a clamp where it is flat, has no relative error.
        let error = |c: &TensorCheck| if c.analytic == 0.0 && c.numeric == 0.0 { 0.0 } else { c.relative };
        checks.iter().map(error).fold(0.0, worse)
    };
    kinds
        .into_iter()
        .map(|(name, uses)| {
            let mut shapes = Vec::new();
            let mut chosen: Vec<NodeId> = Vec::new();
            for &id in &uses {
                let shape = trace.graph.node(id).shape;
                if !shapes.contains(&shape) && chosen.len() < USES {
                    shapes.push(shape);
                    chosen.push(id);
                }
            }
            let relative = chosen.into_iter().map(check_one).fold(0.0, worse);
            OperationCheck { name, uses: uses.len(), relative }
        })
        .collect()
}
