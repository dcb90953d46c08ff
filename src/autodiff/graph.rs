//! The graph: shapes and operations, nothing computed.
//!
//! Equal nodes are shared. A parameter node carries the number of optimiser steps its group has had in this trace,
//! so "V before its update" and "V after its update" are different nodes.

use std::collections::HashMap;

use baq_kernels::Binary;

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
    /// x w + b of (x `[J or 1, B, K]`, w `[J, K, N]`, b `[J, R, N]`); R divides B, and row r of the result takes
    /// row r · R / B of b.
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
    /// A region that runs in blocks, by index, of what it reads; made by the compiler, as are the next two
    Blocks(usize),
    /// A result of a `Blocks`, by index
    Part(usize),
    /// Within a region: the part of an argument that belongs to the head and the block, by index
    View(usize),
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
