//! The graph: shapes and operations, nothing computed.
//!
//! Equal nodes are shared. A parameter node carries the number of optimiser steps its group has had in this trace,
//! so "V before its update" and "V after its update" are different nodes.

use std::collections::HashMap;

use super::operation::Op;
use super::shape::Shape;

/// Index of a node in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(in crate::autodiff) u32);

impl NodeId {
    /// Position in the graph, and in the values of a reference pass.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One operation, its arguments and the shape of its result.
#[derive(Clone, Debug)]
pub struct Node {
    /// what is computed
    pub op: Op,
    /// of which nodes
    pub args: Vec<NodeId>,
    /// extents of the result
    pub shape: Shape,
    /// how the printer calls it, if anybody gave it a name
    pub label: Option<String>,
}

/// Nodes in the order of tracing, which is the order of execution.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: Vec<Node>,
    known: HashMap<(Op, Vec<NodeId>, Shape), NodeId>,
}

impl Graph {
    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Their ids, in order.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len() as u32).map(NodeId)
    }

    /// One node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// Adds a node, or finds the equal one.
    pub(in crate::autodiff) fn push(&mut self, op: Op, args: &[NodeId], shape: Shape) -> NodeId {
        let key = (op, args.to_vec(), shape);
        if let Some(&id) = self.known.get(&key) {
            return id;
        }
        let id = NodeId(u32::try_from(self.nodes.len()).expect("invariant: fewer than 2^32 nodes"));
        self.nodes.push(Node { op, args: key.1.clone(), shape, label: None });
        self.known.insert(key, id);
        id
    }

    pub(in crate::autodiff) fn label(&mut self, id: NodeId, label: String) {
        self.nodes[id.index()].label.get_or_insert(label);
    }
}
