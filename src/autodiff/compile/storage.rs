//! Where every value of a program lives, and from when to when.
//!
//! Parameters are read in the store, gradients are written there; all else has a buffer of the
//! workspace. Two things need copies: a parameter that is read after an effect has moved it (its readers want
//! the value it had at their place in the trace), and a gradient that cannot be computed in its place.

use super::fuse::{self, Fate};
use super::memory::{self, Layout, Lifetime};
use crate::autodiff::run::program::{Loc, Slot};
use crate::autodiff::trace::graph::NodeId;
use crate::autodiff::trace::operation::Op;
use crate::autodiff::trace::parameters::ParamId;
use crate::autodiff::trace::recorded::{Effect, Select, Trace};
use crate::autodiff::trace::shape::Axis;

/// The outcome.
pub(super) struct Storage {
    fate: Vec<Fate>,
    /// of every node that has memory
    loc: Vec<Option<Loc>>,
    pub(super) layout: Layout,
    /// buffers of literals
    pub(super) constants: Vec<(usize, f32)>,
    /// buffer of every hyper, where one is read by a kernel
    pub(super) hypers: Vec<Option<usize>>,
    /// buffer of every batch column that is read
    pub(super) inputs: Vec<Option<usize>>,
}

impl Storage {
    /// Decides for all nodes.
    pub(super) fn new(trace: &Trace, select: Select, fate: Vec<Fate>) -> Storage {
        let n = fate.len();
        let mut storage = Storage {
            fate,
            loc: vec![None; n],
            layout: Layout::default(),
            constants: Vec::new(),
            hypers: vec![None; trace.hypers.len()],
            inputs: vec![None; trace.inputs.len()],
        };
        let last_read = storage.last_reads(trace, select);
        let mut outside = vec![false; n];
        for r in fuse::results(trace, select) {
            outside[storage.source(r).index()] = true;
        }
        storage.leaves(trace, select, &last_read, &outside);
        storage.gradients(trace, select, &outside);
        storage.buffers(trace, &last_read);
        storage
    }

    /// Index of the node whose kernel computes a node and reads its arguments.
    fn kernel_of(&self, i: usize) -> usize {
        match self.fate[i] {
            Fate::Inside(at) | Fate::SumsOf(at) => at.index(),
            _ => i,
        }
    }

    /// The node whose memory a node uses.
    fn source(&self, mut id: NodeId) -> NodeId {
        while let Fate::Alias(of) = self.fate[id.index()] {
            id = of;
        }
        id
    }

    /// Index of the last node that reads each node's memory; the end for what outlives the program.
    fn last_reads(&self, trace: &Trace, select: Select) -> Vec<usize> {
        let nodes = trace.graph.nodes();
        let mut last: Vec<usize> = (0..nodes.len()).collect();
        for (i, node) in nodes.iter().enumerate().filter(|(i, _)| self.fate[*i] != Fate::Dead) {
            for &a in &node.args {
                let s = self.source(a).index();
                last[s] = last[s].max(self.kernel_of(i));
            }
        }
        for r in fuse::roots(trace, select) {
            last[self.source(r).index()] = nodes.len();
        }
        last
    }

    /// Inputs, literals, hypers, parameters, and what regions need.
    fn leaves(&mut self, trace: &Trace, select: Select, last_read: &[usize], outside: &[bool]) {
        let body = trace.graph.nodes().iter().any(|n| matches!(n.op, Op::View(_)));
        for (i, node) in trace.graph.nodes().iter().enumerate() {
            if self.fate[i] == Fate::Dead {
                continue;
            }
            self.loc[i] = match node.op {
                Op::Param { id, .. } => {
                    let group = trace.table.param(id).group;
                    let moved = select.items(trace).any(|item| {
                        item.effect.moves() == group && i < item.after && item.after <= last_read[i]
                    });
                    // Without a place here it gets a buffer, and its kernel is a copy.
                    (!moved && !outside[i]).then_some(Loc::Param(id))
                }
                Op::Const(x) => {
                    let b = self.layout.fixed(1);
                    self.constants.push((b, x.get() as f32));
                    Some(Loc::Buffer(b))
                }
                Op::Hyper(k) => {
                    let b = self.layout.fixed(1);
                    self.hypers[k] = Some(b);
                    Some(Loc::Buffer(b))
                }
                Op::View(k) => Some(Loc::View(k)),
                // Of no length; and what a body adds up from block to block must outlive the block.
                Op::Region(_) => Some(Loc::Buffer(self.layout.fixed(0))),
                Op::LinearDw | Op::LayerNormDgain { .. } | Op::Sum(Axis::Rows) if body => {
                    Some(Loc::Buffer(self.layout.fixed(node.shape.len())))
                }
                Op::Input(k) => {
                    let b = self.layout.fixed(node.shape.len());
                    self.inputs[k] = Some(b);
                    Some(Loc::Buffer(b))
                }
                _ => None,
            };
        }
    }

    /// A gradient is computed where the optimiser reads it, unless it is an alias or a leaf, already the
    /// gradient of another tensor, a result, or the tensor has several updates in this program.
    fn gradients(&mut self, trace: &Trace, select: Select, outside: &[bool]) {
        for item in select.items(trace) {
            let Effect::Train { group, gradients, .. } = &item.effect else { continue };
            let only = select.items(trace).filter(|i| i.effect.trains() == Some(*group)).count() == 1;
            for &(p, g) in gradients {
                let i = g.index();
                let computed = !matches!(self.fate[i], Fate::Alias(_))
                    && !matches!(trace.graph.node(g).op, Op::Param { .. });
                if only && computed && self.loc[i].is_none() && !outside[i] {
                    self.loc[i] = Some(Loc::Gradient(p));
                }
            }
        }
    }

    /// Everything else shares buffers by liveness.
    fn buffers(&mut self, trace: &Trace, last_read: &[usize]) {
        let nodes = trace.graph.nodes();
        let mut order: Vec<usize> = (0..nodes.len())
            .filter(|&i| {
                let owns = !matches!(self.fate[i], Fate::Dead | Fate::Alias(_) | Fate::Inside(_));
                owns && self.loc[i].is_none()
            })
            .collect();
        order.sort_by_key(|&i| (self.kernel_of(i), i));
        let values: Vec<Lifetime> = order
            .iter()
            .map(|&i| Lifetime {
                len: nodes[i].shape.len(),
                written: self.kernel_of(i),
                last_read: last_read[i],
            })
            .collect();
        for (&i, b) in order.iter().zip(memory::assign(&values, &mut self.layout)) {
            self.loc[i] = Some(Loc::Buffer(b));
        }
    }

    /// What becomes of a node.
    pub(super) fn fate(&self, i: usize) -> Fate {
        self.fate[i]
    }

    /// The place of a node's value.
    pub(super) fn slot(&self, trace: &Trace, id: NodeId) -> Slot {
        let s = self.source(id);
        Slot {
            loc: self.loc[s.index()].expect("invariant: a value that is read has a place"),
            len: trace.graph.node(id).shape.len(),
        }
    }

    /// The copies that must precede an update: values of gradients that were computed elsewhere.
    pub(super) fn copies(&self, trace: &Trace, gradients: &[(ParamId, NodeId)]) -> Vec<(Slot, Slot)> {
        gradients
            .iter()
            .map(|&(p, g)| {
                let from = self.slot(trace, g);
                (from, Slot { loc: Loc::Gradient(p), len: from.len })
            })
            .filter(|(from, to)| from.loc != to.loc)
            .collect()
    }
}
