//! The graph: shapes and operations, nothing computed.
//!
//! A [`Var`] is a copyable handle to a node. Arithmetic on handles adds nodes; equal nodes are
//! shared. A parameter node carries the number of optimiser steps its group has had in this trace,
//! so "V before its update" and "V after its update" are different nodes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::{Add, Div, Mul, Neg, Sub};

use baq_kernels::Binary;

use super::trace::{Inner, Tracer};

/// Extents of a tensor: heads J, rows B, columns N. Row-major, heads outermost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// J: independent copies (critics of an ensemble)
    pub heads: usize,
    /// B: rows (batch), or K, the inputs of a weight
    pub rows: usize,
    /// N: columns (features)
    pub cols: usize,
}

impl Shape {
    /// `[heads, rows, cols]`
    pub const fn new(heads: usize, rows: usize, cols: usize) -> Shape {
        Shape { heads, rows, cols }
    }

    /// One number.
    pub const SCALAR: Shape = Shape::new(1, 1, 1);

    /// Number of elements.
    #[expect(clippy::len_without_is_empty, reason = "an empty shape has no use")]
    pub const fn len(self) -> usize {
        self.heads * self.rows * self.cols
    }

    /// The three extents.
    pub const fn dims(self) -> [usize; 3] {
        [self.heads, self.rows, self.cols]
    }

    /// The shape both broadcast to; panics if they do not agree.
    pub fn broadcast(self, other: Shape) -> Shape {
        let join = |a: usize, b: usize| match (a, b) {
            (1, n) | (n, 1) => n,
            (a, b) if a == b => a,
            _ => panic!("shapes {self} and {other} do not broadcast"),
        };
        Shape::new(join(self.heads, other.heads), join(self.rows, other.rows), join(self.cols, other.cols))
    }

    /// Element strides, 0 along extents of 1.
    pub(super) fn strides(self) -> [usize; 3] {
        let step = |extent: usize, stride: usize| if extent == 1 { 0 } else { stride };
        [step(self.heads, self.rows * self.cols), step(self.rows, self.cols), step(self.cols, 1)]
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.heads {
            1 => write!(f, "[{}, {}]", self.rows, self.cols),
            j => write!(f, "[{j}, {}, {}]", self.rows, self.cols),
        }
    }
}

/// One of the three extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Axis {
    /// over the heads of an ensemble
    Heads,
    /// over the batch
    Rows,
    /// over the features
    Cols,
}

impl Axis {
    pub(super) fn index(self) -> usize {
        match self {
            Axis::Heads => 0,
            Axis::Rows => 1,
            Axis::Cols => 2,
        }
    }

    /// `[outer, along the axis, inner]` of a dense tensor.
    pub(super) fn split(self, s: Shape) -> [usize; 3] {
        match self {
            Axis::Heads => [1, s.heads, s.rows * s.cols],
            Axis::Rows => [s.heads, s.rows, s.cols],
            Axis::Cols => [s.heads * s.rows, s.cols, 1],
        }
    }
}

/// Index of a node in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(super) u32);

impl NodeId {
    /// Position in the graph, and in the values of a reference pass.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// An f64 that can be compared and hashed by its bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Number(u64);

impl Number {
    /// The value.
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl From<f64> for Number {
    fn from(x: f64) -> Number {
        Number(x.to_bits())
    }
}

impl std::fmt::Debug for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.get())
    }
}

/// Element-wise functions of one argument; formulas as in [`baq_kernels::Unary`].
#[expect(missing_docs, reason = "named after their formulas in baq_kernels::Unary")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unary {
    Exp,
    Log,
    Tanh,
    Relu,
    Softplus,
    Sigmoid,
    Square,
    Sqrt,
    Abs,
    Sign,
    Affine { scale: Number, shift: Number },
    Clamp { lo: Number, hi: Number },
    Inside { lo: Number, hi: Number },
}

/// Distribution of a noise node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoiseKind {
    /// N(0, 1)
    Normal,
    /// U(0, 1)
    Uniform,
}

impl std::fmt::Display for NoiseKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            NoiseKind::Normal => "normal",
            NoiseKind::Uniform => "uniform on [0, 1)",
        })
    }
}

/// What a node computes. Arguments are listed in [`Node::args`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// A column of the batch, by index into the trace's inputs.
    Input(usize),
    /// A parameter tensor after `version` optimiser steps of its group within this trace.
    Param {
        /// which
        id: ParamId,
        /// after how many steps
        version: u32,
    },
    /// A scalar read at every replay, by index into the trace's hypers.
    Hyper(usize),
    /// A literal.
    Const(Number),
    /// Fresh random numbers, by index into the trace's noise streams.
    Noise(usize),
    /// x w + b of (x `[J or 1, B, K]`, w `[J, K, N]`, b `[J, 1, N]`).
    Linear,
    /// Gradient of `Linear` in x, of (dy, w); heads are summed when x is shared.
    LinearDx,
    /// Gradient of `Linear` in w, of (x, dy).
    LinearDw,
    /// f(x)
    Unary(Unary),
    /// f(a, b), broadcasting
    Binary(Binary),
    /// Σ over an axis
    Sum(Axis),
    /// min over an axis
    Min(Axis),
    /// Gradient of `Min`, of (x, min, g): to the first minimum only.
    MinGrad(Axis),
    /// ln Σ exp over the columns
    LogSumExp,
    /// (a, b) side by side
    Concat,
    /// `cols` columns from `start`
    Slice {
        /// first column
        start: usize,
        /// number of columns
        cols: usize,
    },
    /// The inverse of `Slice`: x in the middle of `cols` columns of zeros
    Pad {
        /// columns of zeros before x
        start: usize,
        /// columns of the result
        cols: usize,
    },
    /// Every row `k` times in succession: `[J, B, N]` to `[J, B·k, N]`
    Repeat(usize),
    /// Its transpose: sums of `k` successive rows
    SumRepeats(usize),
    /// The same numbers in the same order under another shape
    Reshape,
    /// The same numbers repeated along extents of 1
    Expand,
    /// The same numbers; no gradient passes
    Detach,
}

/// One operation, its arguments and the shape of its result.
#[derive(Clone, Debug)]
pub struct Node {
    /// what
    pub op: Op,
    /// of which nodes
    pub args: Vec<NodeId>,
    /// result
    pub shape: Shape,
    /// how the printer calls it, if anybody gave it a name
    pub label: Option<String>,
}

/// Index of a parameter tensor in its [`ParamTable`](super::ParamTable).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId(pub(super) u32);

impl ParamId {
    /// Position in the table.
    pub fn index(self) -> usize {
        self.0 as usize
    }
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
    pub(super) fn push(&mut self, op: Op, args: &[NodeId], shape: Shape) -> NodeId {
        let key = (op, args.to_vec(), shape);
        if let Some(&id) = self.known.get(&key) {
            return id;
        }
        let id = NodeId(u32::try_from(self.nodes.len()).expect("invariant: fewer than 2^32 nodes"));
        self.nodes.push(Node { op, args: key.1.clone(), shape, label: None });
        self.known.insert(key, id);
        id
    }

    pub(super) fn label(&mut self, id: NodeId, label: String) {
        self.nodes[id.index()].label.get_or_insert(label);
    }
}

/// A value to be: a handle into the graph that is being traced. It cannot be read.
#[derive(Clone, Copy)]
pub struct Var<'t> {
    pub(super) tracer: &'t Tracer,
    pub(super) id: NodeId,
}

impl<'t> Var<'t> {
    fn inner(self) -> &'t RefCell<Inner> {
        &self.tracer.inner
    }

    fn push(self, op: Op, args: &[NodeId], shape: Shape) -> Var<'t> {
        let id = self.inner().borrow_mut().graph.push(op, args, shape);
        Var { tracer: self.tracer, id }
    }

    /// Shape of the result.
    pub fn shape(self) -> Shape {
        self.inner().borrow().graph.node(self.id).shape
    }

    /// Number of elements that a mean over everything divides by.
    fn count(self) -> f64 {
        self.shape().len() as f64
    }

    /// Gives the node the name that `explain` prints. The first name stays.
    pub fn named(self, label: impl Into<String>) -> Var<'t> {
        self.inner().borrow_mut().graph.label(self.id, label.into());
        self
    }

    pub(super) fn unary(self, f: Unary) -> Var<'t> {
        self.push(Op::Unary(f), &[self.id], self.shape())
    }

    pub(super) fn binary(self, f: Binary, other: Var<'t>) -> Var<'t> {
        let shape = self.shape().broadcast(other.shape());
        self.push(Op::Binary(f), &[self.id, other.id], shape)
    }

    /// e^x
    pub fn exp(self) -> Var<'t> {
        self.unary(Unary::Exp)
    }
    /// ln x
    pub fn log(self) -> Var<'t> {
        self.unary(Unary::Log)
    }
    /// tanh x
    pub fn tanh(self) -> Var<'t> {
        self.unary(Unary::Tanh)
    }
    /// max(x, 0)
    pub fn relu(self) -> Var<'t> {
        self.unary(Unary::Relu)
    }
    /// ln(1 + e^x)
    pub fn softplus(self) -> Var<'t> {
        self.unary(Unary::Softplus)
    }
    /// 1 / (1 + e^-x)
    pub fn sigmoid(self) -> Var<'t> {
        self.unary(Unary::Sigmoid)
    }
    /// x²
    pub fn square(self) -> Var<'t> {
        self.unary(Unary::Square)
    }
    /// √x
    pub fn sqrt(self) -> Var<'t> {
        self.unary(Unary::Sqrt)
    }
    /// |x|
    pub fn abs(self) -> Var<'t> {
        self.unary(Unary::Abs)
    }
    /// scale · x + shift
    pub fn affine(self, scale: f64, shift: f64) -> Var<'t> {
        self.unary(Unary::Affine { scale: scale.into(), shift: shift.into() })
    }
    /// min(max(x, lo), hi); the gradient is 0 outside
    pub fn clamp(self, lo: f64, hi: f64) -> Var<'t> {
        self.unary(Unary::Clamp { lo: lo.into(), hi: hi.into() })
    }
    /// 1 where lo <= x <= hi, else 0
    pub fn inside(self, lo: f64, hi: f64) -> Var<'t> {
        self.unary(Unary::Inside { lo: lo.into(), hi: hi.into() })
    }
    /// min(a, b); ties send their gradient to a
    pub fn minimum(self, other: Var<'t>) -> Var<'t> {
        self.binary(Binary::Min, other)
    }
    /// max(a, b); ties send their gradient to a
    pub fn maximum(self, other: Var<'t>) -> Var<'t> {
        self.binary(Binary::Max, other)
    }
    /// 1 where a < b, else 0
    pub fn less(self, other: Var<'t>) -> Var<'t> {
        self.binary(Binary::Lt, other)
    }
    /// L₂^τ(u) = |τ - 1(u < 0)| · u², with u = self
    pub fn expectile(self, tau: Var<'t>) -> Var<'t> {
        self.binary(Binary::Expectile, tau)
    }

    fn reduced(self, axis: Axis) -> Shape {
        let mut s = self.shape();
        match axis {
            Axis::Heads => s.heads = 1,
            Axis::Rows => s.rows = 1,
            Axis::Cols => s.cols = 1,
        }
        s
    }

    /// Σ over an axis
    pub fn sum(self, axis: Axis) -> Var<'t> {
        if self.shape().dims()[axis.index()] == 1 {
            return self;
        }
        self.push(Op::Sum(axis), &[self.id], self.reduced(axis))
    }

    /// min over an axis
    pub fn min(self, axis: Axis) -> Var<'t> {
        if self.shape().dims()[axis.index()] == 1 {
            return self;
        }
        self.push(Op::Min(axis), &[self.id], self.reduced(axis))
    }

    /// max over an axis
    pub fn max(self, axis: Axis) -> Var<'t> {
        -(-self).min(axis)
    }

    /// Mean over an axis.
    pub fn mean_over(self, axis: Axis) -> Var<'t> {
        let n = self.shape().dims()[axis.index()];
        self.sum(axis).affine(1.0 / n as f64, 0.0)
    }

    /// Mean of all elements.
    pub fn mean(self) -> Var<'t> {
        self.total().affine(1.0 / self.count(), 0.0)
    }

    /// Sum of all elements.
    pub fn total(self) -> Var<'t> {
        self.sum(Axis::Rows).sum(Axis::Cols).sum(Axis::Heads)
    }

    /// Mean of `weight · x` over all elements of x, or the plain mean without a weight.
    pub fn weighted_mean(self, weight: Option<Var<'t>>) -> Var<'t> {
        match weight {
            Some(w) => (w * self).mean(),
            None => self.mean(),
        }
    }

    /// ln Σ exp over the columns
    pub fn log_sum_exp(self) -> Var<'t> {
        self.push(Op::LogSumExp, &[self.id], self.reduced(Axis::Cols))
    }

    /// self and other side by side; rows and heads must agree
    pub fn concat(self, other: Var<'t>) -> Var<'t> {
        let (a, b) = (self.shape(), other.shape());
        assert!((a.heads, a.rows) == (b.heads, b.rows), "cannot put {a} beside {b}: rows and heads differ");
        let shape = Shape { cols: a.cols + b.cols, ..a };
        self.push(Op::Concat, &[self.id, other.id], shape)
    }

    /// `cols` columns from `start`
    pub fn slice(self, start: usize, cols: usize) -> Var<'t> {
        let s = self.shape();
        assert!(start + cols <= s.cols, "no columns {start}..{} in {s}", start + cols);
        self.push(Op::Slice { start, cols }, &[self.id], Shape { cols, ..s })
    }

    pub(super) fn pad(self, start: usize, cols: usize) -> Var<'t> {
        self.push(Op::Pad { start, cols }, &[self.id], Shape { cols, ..self.shape() })
    }

    /// One of several heads: `[J, B, N]` to `[1, B, N]`
    pub fn head(self, j: usize) -> Var<'t> {
        let s = self.shape();
        assert!(j < s.heads, "no head {j} in {s}");
        if s.heads == 1 {
            return self;
        }
        let size = s.rows * s.cols;
        self.reshape(Shape::new(1, 1, s.len())).slice(j * size, size).reshape(Shape { heads: 1, ..s })
    }

    /// Every row `k` times in succession: `[J, B, N]` to `[J, B·k, N]`
    pub fn repeat(self, k: usize) -> Var<'t> {
        if k == 1 {
            return self;
        }
        let s = self.shape();
        self.push(Op::Repeat(k), &[self.id], Shape { rows: s.rows * k, ..s })
    }

    pub(super) fn sum_repeats(self, k: usize) -> Var<'t> {
        let s = self.shape();
        self.push(Op::SumRepeats(k), &[self.id], Shape { rows: s.rows / k, ..s })
    }

    /// The same numbers under another shape of equal length
    pub fn reshape(self, shape: Shape) -> Var<'t> {
        assert_eq!(self.shape().len(), shape.len(), "reshape {} to {shape}", self.shape());
        if shape == self.shape() {
            return self;
        }
        self.push(Op::Reshape, &[self.id], shape)
    }

    pub(super) fn expand(self, shape: Shape) -> Var<'t> {
        if shape == self.shape() {
            return self;
        }
        self.push(Op::Expand, &[self.id], shape)
    }

    /// The value as a constant. Rarely needed: what an update does not train is a constant anyway.
    pub fn detach(self) -> Var<'t> {
        self.push(Op::Detach, &[self.id], self.shape())
    }

    /// x w + b
    pub fn linear(self, weight: Var<'t>, bias: Var<'t>) -> Var<'t> {
        let (x, w, b) = (self.shape(), weight.shape(), bias.shape());
        assert!(
            x.cols == w.rows && (x.heads == w.heads || x.heads == 1) && b == Shape::new(w.heads, 1, w.cols),
            "linear layer: input {x}, weight {w}, bias {b}"
        );
        let shape = Shape::new(w.heads, x.rows, w.cols);
        self.push(Op::Linear, &[self.id, weight.id, bias.id], shape)
    }

    pub(super) fn linear_dx(self, weight: Var<'t>, input: Shape) -> Var<'t> {
        self.push(Op::LinearDx, &[self.id, weight.id], input)
    }

    pub(super) fn linear_dw(self, dy: Var<'t>, weight: Shape) -> Var<'t> {
        self.push(Op::LinearDw, &[self.id, dy.id], weight)
    }

    pub(super) fn min_grad(self, min: Var<'t>, g: Var<'t>, axis: Axis) -> Var<'t> {
        self.push(Op::MinGrad(axis), &[self.id, min.id, g.id], self.shape())
    }

    fn literal(self, x: f64) -> Var<'t> {
        self.tracer.constant(x)
    }
}

macro_rules! operators {
    ($($trait:ident $method:ident $op:ident,)*) => {$(
        impl<'t> $trait for Var<'t> {
            type Output = Var<'t>;
            fn $method(self, other: Var<'t>) -> Var<'t> {
                self.binary(Binary::$op, other)
            }
        }
        impl<'t> $trait<Var<'t>> for f64 {
            type Output = Var<'t>;
            fn $method(self, other: Var<'t>) -> Var<'t> {
                $trait::$method(other.literal(self), other)
            }
        }
    )*};
}
operators! { Add add Add, Sub sub Sub, Mul mul Mul, Div div Div, }

impl<'t> Add<f64> for Var<'t> {
    type Output = Var<'t>;
    fn add(self, x: f64) -> Var<'t> {
        self.affine(1.0, x)
    }
}
impl<'t> Sub<f64> for Var<'t> {
    type Output = Var<'t>;
    fn sub(self, x: f64) -> Var<'t> {
        self.affine(1.0, -x)
    }
}
impl<'t> Mul<f64> for Var<'t> {
    type Output = Var<'t>;
    fn mul(self, x: f64) -> Var<'t> {
        self.affine(x, 0.0)
    }
}
impl<'t> Div<f64> for Var<'t> {
    type Output = Var<'t>;
    fn div(self, x: f64) -> Var<'t> {
        self.affine(1.0 / x, 0.0)
    }
}
impl<'t> Neg for Var<'t> {
    type Output = Var<'t>;
    fn neg(self) -> Var<'t> {
        self.affine(-1.0, 0.0)
    }
}
