//! Variables while tracing: a [`Var`] is a copyable handle to a node, and operations on handles add nodes.

use std::cell::RefCell;
use std::sync::Arc;

use baq_kernels::Binary;

use super::graph::{Graph, NodeId};
use super::leaves::{HyperSpec, InputSpec, NoiseSpec};
use super::operation::{NoiseKind, Op, Unary};
use super::parameters::{GroupId, ParamId, ParamTable};
use super::schedule::Schedule;
use super::shape::Shape;

/// A derivative: gradient of the result y of an operation in its argument `k`, given the arguments and the gradient g in y.
///
/// g may be smaller than y along extents where it is constant; what is returned may be as much smaller, and may have the
/// shape of y where that is what the argument was broadcast to.
pub type Rule = for<'t> fn(op: Op, k: usize, args: &[Var<'t>], y: Var<'t>, g: Var<'t>) -> Var<'t>;

/// What has been traced so far: the graph, and what its leaves stand for.
pub(super) struct Recording {
    pub(super) graph: Graph,
    pub(super) table: Arc<ParamTable>,
    /// how often an effect has moved the parameters of every group
    versions: Vec<u32>,
    pub(super) inputs: Vec<InputSpec>,
    pub(super) hypers: Vec<HyperSpec>,
    pub(super) noises: Vec<NoiseSpec>,
    /// how gradients are made
    pub(super) rule: Rule,
}

impl Recording {
    pub(super) fn new(table: Arc<ParamTable>, rule: Rule) -> Recording {
        let versions = vec![0; table.groups().len()];
        Recording {
            graph: Graph::default(),
            table,
            versions,
            inputs: Vec::new(),
            hypers: Vec::new(),
            noises: Vec::new(),
            rule,
        }
    }

    /// See [`Tracer::input`](super::tracer::Tracer::input).
    pub(super) fn input(&mut self, name: &'static str, shape: Shape) -> NodeId {
        let index = match self.inputs.iter().position(|i| i.name == name) {
            Some(i) => {
                assert_eq!(self.inputs[i].shape, shape, "column {name} was traced with another shape");
                i
            }
            None => {
                self.inputs.push(InputSpec { name, shape });
                self.inputs.len() - 1
            }
        };
        self.graph.push(Op::Input(index), &[], shape)
    }

    /// A parameter tensor as it stands now.
    pub(super) fn param(&mut self, id: ParamId) -> NodeId {
        let spec = self.table.param(id);
        let version = self.versions[spec.group.index()];
        self.graph.push(Op::Param { id, version }, &[], spec.shape)
    }

    pub(super) fn constant(&mut self, x: f64) -> NodeId {
        self.graph.push(Op::Const(x.into()), &[], Shape::SCALAR)
    }

    pub(super) fn hyper(&mut self, name: &str, schedule: &Schedule) -> NodeId {
        let index = self.hyper_index(name, schedule);
        self.graph.push(Op::Hyper(index), &[], Shape::SCALAR)
    }

    pub(super) fn hyper_index(&mut self, name: &str, schedule: &Schedule) -> usize {
        match self.hypers.iter().position(|h| h.name == name) {
            Some(i) => {
                let known = &self.hypers[i].schedule;
                assert_eq!(known, schedule, "hyper {name} was traced with another schedule");
                i
            }
            None => {
                self.hypers.push(HyperSpec { name: name.into(), schedule: *schedule });
                self.hypers.len() - 1
            }
        }
    }

    pub(super) fn noise(&mut self, name: &str, kind: NoiseKind, shape: Shape) -> NodeId {
        self.noises.push(NoiseSpec { name: name.into(), kind, shape });
        self.graph.push(Op::Noise(self.noises.len() - 1), &[], shape)
    }

    /// From here on the parameters of a group are others.
    pub(super) fn moved(&mut self, group: GroupId) {
        self.versions[group.index()] += 1;
    }
}

/// A value to be: a handle into the graph that is being traced. It cannot be read.
#[derive(Clone, Copy)]
pub struct Var<'t> {
    pub(super) recording: &'t RefCell<Recording>,
    pub(super) id: NodeId,
}

impl<'t> Var<'t> {
    /// Another node of the same trace.
    pub(super) fn at(self, id: NodeId) -> Var<'t> {
        Var { id, ..self }
    }

    /// A parameter tensor as it stands at this point of the trace.
    pub fn param(self, id: ParamId) -> Var<'t> {
        self.at(self.recording.borrow_mut().param(id))
    }

    /// A literal.
    pub fn constant(self, x: f64) -> Var<'t> {
        self.at(self.recording.borrow_mut().constant(x))
    }

    /// A scalar that follows its schedule from round to round.
    pub fn hyper(self, name: &str, schedule: &Schedule) -> Var<'t> {
        self.at(self.recording.borrow_mut().hyper(name, schedule))
    }

    /// Fresh random numbers; every call is a stream of its own.
    pub fn noise(self, name: &str, kind: NoiseKind, shape: Shape) -> Var<'t> {
        self.at(self.recording.borrow_mut().noise(name, kind, shape))
    }

    /// Shape of the result.
    pub fn shape(self) -> Shape {
        self.recording.borrow().graph.node(self.id).shape
    }

    /// Gives the node the name that `explain` prints. The first name stays.
    pub fn named(self, label: impl Into<String>) -> Var<'t> {
        self.recording.borrow_mut().graph.label(self.id, label.into());
        self
    }

    /// How `explain` calls it: its name, that of a batch column, or a dot.
    pub fn name(self) -> String {
        let recording = self.recording.borrow();
        let node = recording.graph.node(self.id);
        match (&node.label, node.op) {
            (Some(label), _) => label.clone(),
            (None, Op::Input(k)) => recording.inputs[k].name.to_string(),
            _ => "·".into(),
        }
    }

    pub(super) fn push(self, op: Op, args: &[NodeId], shape: Shape) -> Var<'t> {
        self.at(self.recording.borrow_mut().graph.push(op, args, shape))
    }

    pub(super) fn unary(self, f: Unary) -> Var<'t> {
        self.push(Op::Unary(f), &[self.id], self.shape())
    }

    pub(super) fn binary(self, f: Binary, other: Var<'t>) -> Var<'t> {
        let shape = self.shape().broadcast(other.shape());
        self.push(Op::Binary(f), &[self.id, other.id], shape)
    }
}
