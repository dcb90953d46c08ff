//! From a trace to a [`Program`]: what is needed, what is fused, in which buffers.
//!
//! Passes, in order: keep the selected roles' effects; keep the nodes they need; fuse
//! `linear + activation`, `linear_dx + activation gradient` and `linear_dw + column sums`; look
//! through reshapes; lay out memory by liveness. The result is constant and can be printed.

use std::sync::Arc;

use baq_kernels::{self as kernels, Activation, Binary, Broadcast, Linear};

use super::graph::{Axis, Graph, NodeId, Op, ParamId, Shape, Unary};
use super::memory::{self, Layout, Lifetime};
use super::metric::Metric;
use super::schedule::{Adam, Schedule};
use super::trace::{Effect, GroupId, InputSpec, NoiseSpec, ParamTable, Role, Trace};

/// Which parts of a trace a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Select {
    /// effects of [`Role::Critic`]
    pub critic: bool,
    /// effects of [`Role::Actor`]
    pub actor: bool,
    /// metrics
    pub metrics: bool,
}

impl Select {
    /// Everything.
    pub const ALL: Select = Select { critic: true, actor: true, metrics: true };

    fn role(self, role: Role) -> bool {
        match role {
            Role::Critic => self.critic,
            Role::Actor => self.actor,
        }
    }
}

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loc {
    /// a buffer of the workspace
    Buffer(usize),
    /// a parameter of the store
    Param(ParamId),
    /// a gradient of the store
    Gradient(ParamId),
}

/// A value: where and how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) loc: Loc,
    pub(super) len: usize,
}

/// One kernel call.
#[derive(Clone, Debug)]
pub(super) enum Kernel {
    Linear {
        sizes: Linear,
        act: Activation,
        x: Slot,
        w: Slot,
        b: Slot,
    },
    LinearDx {
        sizes: Linear,
        dy: Slot,
        w: Slot,
        mask: Option<(Activation, Slot)>,
    },
    LinearDw {
        sizes: Linear,
        x: Slot,
        dy: Slot,
        db: Option<Slot>,
    },
    Unary {
        f: kernels::Unary,
        x: Slot,
    },
    Binary {
        f: Binary,
        how: Broadcast,
        a: Slot,
        b: Slot,
    },
    Sum {
        dims: [usize; 3],
        x: Slot,
    },
    Min {
        dims: [usize; 3],
        x: Slot,
    },
    MinGrad {
        dims: [usize; 3],
        x: Slot,
        min: Slot,
        g: Slot,
    },
    LogSumExp {
        dims: [usize; 2],
        x: Slot,
    },
    /// rows of a and b side by side
    Concat {
        a_cols: usize,
        b_cols: usize,
        a: Slot,
        b: Slot,
    },
    /// `cols` columns of x from `start`
    Slice {
        start: usize,
        cols: usize,
        x_cols: usize,
        x: Slot,
    },
    /// x from column `start` on, zeros elsewhere
    Pad {
        start: usize,
        cols: usize,
        x_cols: usize,
        x: Slot,
    },
    /// every row `k` times
    Repeat {
        k: usize,
        cols: usize,
        x: Slot,
    },
    Copy {
        x: Slot,
    },
    Noise {
        index: usize,
    },
}

/// A step of a program.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Run { kernel: Kernel, out: Slot },
    Train { group: GroupId, optimiser: Adam },
    Polyak { source: GroupId, target: GroupId, rate: usize },
}

/// One optimiser step as a program sees it.
#[derive(Clone, Debug)]
pub struct Update {
    /// name given while tracing
    pub name: &'static str,
    /// what it trains
    pub group: GroupId,
    pub(super) loss: Slot,
}

/// A compiled trace: constant, shared between threads, replayed on a
/// [`Workspace`](super::Workspace).
#[derive(Clone, Debug)]
pub struct Program {
    pub(super) table: Arc<ParamTable>,
    pub(super) steps: Vec<Step>,
    pub(super) buffers: Vec<usize>,
    pub(super) constants: Vec<(usize, f32)>,
    pub(super) hypers: Vec<(Schedule, Option<usize>)>,
    pub(super) inputs: Vec<(InputSpec, Option<usize>)>,
    pub(super) noises: Vec<NoiseSpec>,
    pub(super) updates: Vec<Update>,
    pub(super) metrics: Vec<(&'static Metric, Slot)>,
    pub(super) outputs: Vec<(&'static str, Slot)>,
}

impl Program {
    /// Compiles the selected parts of a trace.
    pub fn compile(trace: &Trace, select: Select) -> Program {
        Compiler::new(trace, select).compile()
    }

    /// Parameters it runs on.
    pub fn table(&self) -> &Arc<ParamTable> {
        &self.table
    }

    /// Batch columns it reads.
    pub fn inputs(&self) -> impl Iterator<Item = &InputSpec> {
        self.inputs.iter().filter(|(_, b)| b.is_some()).map(|(i, _)| i)
    }

    /// Optimiser steps in order.
    pub fn updates(&self) -> &[Update] {
        &self.updates
    }

    /// Metrics it computes.
    pub fn metrics(&self) -> impl ExactSizeIterator<Item = &'static Metric> + '_ {
        self.metrics.iter().map(|(m, _)| *m)
    }

    /// Number of kernel calls.
    pub fn kernels(&self) -> usize {
        self.steps.iter().filter(|s| matches!(s, Step::Run { .. })).count()
    }

    /// Kernel calls and useful floating-point operations of each update: of all that runs since the update
    /// before it.
    pub fn stages(&self) -> Vec<(usize, u64)> {
        let mut stages = Vec::with_capacity(self.updates.len());
        let mut stage = (0, 0);
        for step in &self.steps {
            match step {
                Step::Run { kernel, .. } => stage = (stage.0 + 1, stage.1 + flops(kernel)),
                Step::Train { .. } => stages.push(std::mem::take(&mut stage)),
                Step::Polyak { .. } => {}
            }
        }
        stages
    }

    /// Bytes of its intermediate values.
    pub fn bytes(&self) -> usize {
        4 * self.buffers.iter().sum::<usize>()
    }

    /// Useful floating-point operations of its dense layers, a multiplication and an addition each.
    pub fn flops(&self) -> u64 {
        let one = |s: &Step| match s {
            Step::Run { kernel, .. } => flops(kernel),
            Step::Train { .. } | Step::Polyak { .. } => 0,
        };
        self.steps.iter().map(one).sum()
    }

    /// Sizes of its dense layers, for benches.
    pub fn layers(&self) -> Vec<Linear> {
        let mut all: Vec<Linear> = Vec::new();
        for s in &self.steps {
            if let Step::Run { kernel: Kernel::Linear { sizes, .. }, .. } = s
                && !all.contains(sizes)
            {
                all.push(*sizes);
            }
        }
        all
    }
}

fn flops(kernel: &Kernel) -> u64 {
    match kernel {
        Kernel::Linear { sizes: s, .. }
        | Kernel::LinearDx { sizes: s, .. }
        | Kernel::LinearDw { sizes: s, .. } => 2 * (s.heads * s.rows * s.inputs * s.outputs) as u64,
        _ => 0,
    }
}

/// What becomes of a node.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// a kernel of its own
    Alone,
    /// computed inside another node's kernel
    Inside,
    /// the same memory as another node
    Alias(NodeId),
    /// this activation ends the linear node's kernel
    Activates(NodeId, Activation),
    /// this activation gradient ends the `LinearDx` node's kernel; the activation's output
    Masks(NodeId, Activation, NodeId),
}

struct Compiler<'a> {
    trace: &'a Trace,
    graph: &'a Graph,
    select: Select,
    live: Vec<bool>,
    uses: Vec<u32>,
    fate: Vec<Fate>,
}

impl<'a> Compiler<'a> {
    fn new(trace: &'a Trace, select: Select) -> Self {
        let n = trace.graph.nodes().len();
        Compiler {
            trace,
            graph: &trace.graph,
            select,
            live: vec![false; n],
            uses: vec![0; n],
            fate: vec![Fate::Alone; n],
        }
    }

    fn roots(&self) -> Vec<NodeId> {
        let mut roots: Vec<NodeId> = self.trace.outputs.iter().map(|(_, id)| *id).collect();
        if self.select.metrics {
            roots.extend(self.trace.metrics.iter().map(|(_, id)| *id));
        }
        for item in self.trace.items.iter().filter(|i| self.select.role(i.role)) {
            if let Effect::Train { loss, gradients, .. } = &item.effect {
                roots.push(*loss);
                roots.extend(gradients.iter().map(|(_, g)| *g));
            }
        }
        roots
    }

    fn mark_live(&mut self) {
        let mut stack = self.roots();
        for r in &stack {
            self.uses[r.index()] += 1;
        }
        while let Some(id) = stack.pop() {
            if std::mem::replace(&mut self.live[id.index()], true) {
                continue;
            }
            for &a in &self.graph.node(id).args {
                self.uses[a.index()] += 1;
                stack.push(a);
            }
        }
    }

    fn fuse(&mut self) {
        for (i, node) in self.graph.nodes().iter().enumerate() {
            if !self.live[i] {
                continue;
            }
            self.fate[i] = match node.op {
                Op::Reshape | Op::Detach => Fate::Alias(node.args[0]),
                Op::Unary(f @ (Unary::Relu | Unary::Tanh)) => {
                    let z = node.args[0];
                    let act = if f == Unary::Relu { Activation::Relu } else { Activation::Tanh };
                    if self.graph.node(z).op == Op::Linear && self.uses[z.index()] == 1 {
                        self.fate[z.index()] = Fate::Inside;
                        Fate::Activates(z, act)
                    } else {
                        Fate::Alone
                    }
                }
                Op::Binary(f @ (Binary::ReluGrad | Binary::TanhGrad)) => {
                    let (g, y) = (node.args[0], node.args[1]);
                    let act = if f == Binary::ReluGrad { Activation::Relu } else { Activation::Tanh };
                    let dx = self.graph.node(g);
                    let fits = dx.op == Op::LinearDx
                        && self.uses[g.index()] == 1
                        && dx.shape == self.graph.node(y).shape;
                    if fits {
                        self.fate[g.index()] = Fate::Inside;
                        Fate::Masks(g, act, y)
                    } else {
                        Fate::Alone
                    }
                }
                _ => self.fate[i],
            };
        }
    }

    /// The node whose memory a node uses.
    fn source(&self, mut id: NodeId) -> NodeId {
        while let Fate::Alias(of) = self.fate[id.index()] {
            id = of;
        }
        id
    }

    /// The column sum of `dy` that can be computed together with `xᵀ dy`.
    fn bias_of(&self, dy: NodeId) -> Option<NodeId> {
        self.graph
            .nodes()
            .iter()
            .enumerate()
            .find(|(i, n)| self.live[*i] && n.op == Op::Sum(Axis::Rows) && n.args[0] == dy)
            .map(|(i, _)| NodeId(i as u32))
    }

    fn compile(mut self) -> Program {
        self.mark_live();
        self.fuse();
        let nodes = self.graph.nodes();
        let n = nodes.len();

        // Pair each xᵀdy with the column sums of dy.
        let mut bias: Vec<Option<NodeId>> = vec![None; n];
        for i in 0..n {
            if self.live[i]
                && nodes[i].op == Op::LinearDw
                && let Some(db) = self.bias_of(nodes[i].args[1])
                && self.fate[db.index()] == Fate::Alone
            {
                self.fate[db.index()] = Fate::Inside;
                bias[i] = Some(db);
            }
        }

        // Gradients are written where the optimiser reads them; a node that is already somewhere is copied.
        let mut loc: Vec<Option<Loc>> = vec![None; n];
        let mut copies: Vec<(usize, NodeId, ParamId)> = Vec::new();
        let mut layout = Layout::default();
        let mut constants = Vec::new();
        let mut hypers: Vec<(Schedule, Option<usize>)> =
            self.trace.hypers.iter().map(|h| (h.schedule, None)).collect();
        let mut inputs: Vec<(InputSpec, Option<usize>)> =
            self.trace.inputs.iter().map(|i| (i.clone(), None)).collect();
        for (i, node) in nodes.iter().enumerate().filter(|(i, _)| self.live[*i]) {
            loc[i] = match node.op {
                Op::Param { id, .. } => Some(Loc::Param(id)),
                Op::Const(x) => {
                    let b = layout.fixed(1);
                    constants.push((b, x.get() as f32));
                    Some(Loc::Buffer(b))
                }
                Op::Hyper(k) => {
                    let b = layout.fixed(1);
                    hypers[k].1 = Some(b);
                    Some(Loc::Buffer(b))
                }
                Op::Input(k) => {
                    let b = layout.fixed(node.shape.len());
                    inputs[k].1 = Some(b);
                    Some(Loc::Buffer(b))
                }
                _ => None,
            };
        }
        for item in self.trace.items.iter().filter(|i| self.select.role(i.role)) {
            let Effect::Train { gradients, .. } = &item.effect else { continue };
            for &(p, g) in gradients {
                let free = loc[g.index()].is_none() && !matches!(self.fate[g.index()], Fate::Alias(_));
                if free {
                    loc[g.index()] = Some(Loc::Gradient(p));
                } else {
                    copies.push((item.after, g, p));
                }
            }
        }

        // Lifetimes, in units of node indices; a fused node reads where its kernel runs.
        let mut last_read: Vec<usize> = (0..n).collect();
        let mut written: Vec<usize> = (0..n).collect();
        for i in 0..n {
            if let Some(db) = bias[i] {
                written[db.index()] = i;
            }
        }
        for i in (0..n).filter(|&i| self.live[i]) {
            let at = match self.fate[i] {
                Fate::Inside if nodes[i].op == Op::Linear || nodes[i].op == Op::LinearDx => {
                    // Its arguments are read by the one node that contains it.
                    (i + 1..n)
                        .find(|&j| self.live[j] && nodes[j].args.contains(&NodeId(i as u32)))
                        .expect("invariant: a fused node has one user")
                }
                _ => i,
            };
            for &a in &nodes[i].args {
                let s = self.source(a).index();
                last_read[s] = last_read[s].max(at);
            }
        }
        for r in self.roots() {
            last_read[self.source(r).index()] = n;
        }
        let mut order: Vec<usize> = (0..n)
            .filter(|&i| {
                let owns = match self.fate[i] {
                    Fate::Alias(_) => false,
                    Fate::Inside => bias.contains(&Some(NodeId(i as u32))),
                    _ => true,
                };
                self.live[i] && owns && loc[i].is_none()
            })
            .collect();
        order.sort_by_key(|&i| (written[i], i));
        let values: Vec<Lifetime> = order
            .iter()
            .map(|&i| Lifetime { len: nodes[i].shape.len(), written: written[i], last_read: last_read[i] })
            .collect();
        for (&i, b) in order.iter().zip(memory::assign(&values, &mut layout)) {
            loc[i] = Some(Loc::Buffer(b));
        }

        let slot = |id: NodeId| {
            let s = self.source(id);
            Slot {
                loc: loc[s.index()].expect("invariant: a live node has a place"),
                len: nodes[id.index()].shape.len(),
            }
        };

        let mut steps = Vec::new();
        let mut updates = Vec::new();
        let mut items = self.trace.items.iter().filter(|i| self.select.role(i.role)).peekable();
        for i in 0..=n {
            while let Some(item) = items.next_if(|item| item.after <= i) {
                for &(_, g, p) in copies.iter().filter(|(after, ..)| *after == item.after) {
                    let out = Slot { loc: Loc::Gradient(p), len: slot(g).len };
                    steps.push(Step::Run { kernel: Kernel::Copy { x: slot(g) }, out });
                }
                copies.retain(|(after, ..)| *after != item.after);
                match &item.effect {
                    Effect::Train { name, group, optimiser, loss, .. } => {
                        updates.push(Update { name, group: *group, loss: slot(*loss) });
                        steps.push(Step::Train { group: *group, optimiser: *optimiser });
                    }
                    &Effect::Polyak { source, target, rate } => {
                        steps.push(Step::Polyak { source, target, rate });
                    }
                }
            }
            if i == n || !self.live[i] {
                continue;
            }
            let id = NodeId(i as u32);
            let kernel = match self.fate[i] {
                Fate::Inside | Fate::Alias(_) => None,
                Fate::Activates(z, act) => {
                    let args = &self.graph.node(z).args;
                    let sizes = self.linear_sizes(args[0], args[1]);
                    Some(Kernel::Linear { sizes, act, x: slot(args[0]), w: slot(args[1]), b: slot(args[2]) })
                }
                Fate::Masks(dx, act, y) => Some(self.linear_dx(dx, Some((act, slot(y))), &slot)),
                Fate::Alone => match nodes[i].op {
                    Op::LinearDx => Some(self.linear_dx(id, None, &slot)),
                    Op::LinearDw => {
                        let (x, dy) = (nodes[i].args[0], nodes[i].args[1]);
                        let (xs, ds) = (nodes[x.index()].shape, nodes[dy.index()].shape);
                        let sizes = Linear {
                            heads: ds.heads,
                            rows: xs.rows,
                            inputs: xs.cols,
                            outputs: ds.cols,
                            shared_input: xs.heads == 1 && ds.heads > 1,
                        };
                        Some(Kernel::LinearDw { sizes, x: slot(x), dy: slot(dy), db: bias[i].map(slot) })
                    }
                    _ => self.kernel(id, &slot),
                },
            };
            if let Some(kernel) = kernel {
                steps.push(Step::Run { kernel, out: slot(id) });
            }
        }

        let metrics = if self.select.metrics {
            self.trace.metrics.iter().map(|&(m, id)| (m, slot(id))).collect()
        } else {
            Vec::new()
        };
        let outputs = self.trace.outputs.iter().map(|&(name, id)| (name, slot(id))).collect();
        Program {
            table: self.trace.table.clone(),
            steps,
            buffers: layout.lens,
            constants,
            hypers,
            inputs,
            noises: self.trace.noises.clone(),
            updates,
            metrics,
            outputs,
        }
    }

    fn linear_sizes(&self, x: NodeId, w: NodeId) -> Linear {
        let (x, w) = (self.graph.node(x).shape, self.graph.node(w).shape);
        Linear {
            heads: w.heads,
            rows: x.rows,
            inputs: w.rows,
            outputs: w.cols,
            shared_input: x.heads == 1 && w.heads > 1,
        }
    }

    fn linear_dx(
        &self,
        id: NodeId,
        mask: Option<(Activation, Slot)>,
        slot: &impl Fn(NodeId) -> Slot,
    ) -> Kernel {
        let node = self.graph.node(id);
        let (dy, w) = (node.args[0], node.args[1]);
        let (dx, ws) = (node.shape, self.graph.node(w).shape);
        let sizes = Linear {
            heads: ws.heads,
            rows: dx.rows,
            inputs: ws.rows,
            outputs: ws.cols,
            shared_input: dx.heads == 1 && ws.heads > 1,
        };
        Kernel::LinearDx { sizes, dy: slot(dy), w: slot(w), mask }
    }

    fn kernel(&self, id: NodeId, slot: &impl Fn(NodeId) -> Slot) -> Option<Kernel> {
        let node = self.graph.node(id);
        let shape = |k: usize| self.graph.node(node.args[k]).shape;
        let arg = |k: usize| slot(node.args[k]);
        Some(match node.op {
            Op::Input(_) | Op::Param { .. } | Op::Hyper(_) | Op::Const(_) => return None,
            Op::Noise(index) => Kernel::Noise { index },
            Op::Linear => {
                let sizes = self.linear_sizes(node.args[0], node.args[1]);
                Kernel::Linear { sizes, act: Activation::Identity, x: arg(0), w: arg(1), b: arg(2) }
            }
            Op::Unary(f) => Kernel::Unary { f: single(f), x: arg(0) },
            Op::Binary(f) => {
                Kernel::Binary { f, how: collapse(node.shape, shape(0), shape(1)), a: arg(0), b: arg(1) }
            }
            Op::Sum(axis) => Kernel::Sum { dims: axis.split(shape(0)), x: arg(0) },
            Op::Min(axis) => Kernel::Min { dims: axis.split(shape(0)), x: arg(0) },
            Op::MinGrad(axis) => {
                Kernel::MinGrad { dims: axis.split(shape(0)), x: arg(0), min: arg(1), g: arg(2) }
            }
            Op::LogSumExp => {
                Kernel::LogSumExp { dims: [shape(0).heads * shape(0).rows, shape(0).cols], x: arg(0) }
            }
            Op::Concat => {
                Kernel::Concat { a_cols: shape(0).cols, b_cols: shape(1).cols, a: arg(0), b: arg(1) }
            }
            Op::Slice { start, cols } => Kernel::Slice { start, cols, x_cols: shape(0).cols, x: arg(0) },
            Op::Pad { start, cols } => Kernel::Pad { start, cols, x_cols: shape(0).cols, x: arg(0) },
            Op::Repeat(k) => Kernel::Repeat { k, cols: node.shape.cols, x: arg(0) },
            Op::SumRepeats(k) => {
                Kernel::Sum { dims: [node.shape.heads * node.shape.rows, k, node.shape.cols], x: arg(0) }
            }
            Op::Expand => {
                // max(x, x), walked with the strides of a broadcast, is a copy.
                Kernel::Binary {
                    f: Binary::Max,
                    how: collapse(node.shape, shape(0), shape(0)),
                    a: arg(0),
                    b: arg(0),
                }
            }
            Op::Reshape | Op::Detach | Op::LinearDx | Op::LinearDw => {
                unreachable!("invariant: handled by its fate")
            }
        })
    }
}

/// Loops for an element-wise kernel: neighbouring extents are merged where both arguments allow it.
fn collapse(y: Shape, a: Shape, b: Shape) -> Broadcast {
    let (ys, sa, sb) = (y.dims(), a.strides(), b.strides());
    let mut loops: Vec<(usize, usize, usize)> = Vec::new(); // innermost first
    for k in (0..3).rev().filter(|&k| ys[k] > 1) {
        match loops.last_mut() {
            Some((n, ia, ib)) if sa[k] == *ia * *n && sb[k] == *ib * *n => *n *= ys[k],
            _ => loops.push((ys[k], sa[k], sb[k])),
        }
    }
    let mut how = Broadcast { dims: [1; 3], a: [0; 3], b: [0; 3] };
    for (i, (n, ia, ib)) in loops.into_iter().enumerate() {
        (how.dims[2 - i], how.a[2 - i], how.b[2 - i]) = (n, ia, ib);
    }
    how
}

fn single(f: Unary) -> kernels::Unary {
    use kernels::Unary as K;
    let c = |x: super::graph::Number| x.get() as f32;
    match f {
        Unary::Exp => K::Exp,
        Unary::Log => K::Log,
        Unary::Tanh => K::Tanh,
        Unary::Relu => K::Relu,
        Unary::Softplus => K::Softplus,
        Unary::Sigmoid => K::Sigmoid,
        Unary::Square => K::Square,
        Unary::Sqrt => K::Sqrt,
        Unary::Abs => K::Abs,
        Unary::Sign => K::Sign,
        Unary::Recip => K::Recip,
        Unary::Affine { scale, shift } => K::Affine { scale: c(scale), shift: c(shift) },
        Unary::Clamp { lo, hi } => K::Clamp { lo: c(lo), hi: c(hi) },
        Unary::Inside { lo, hi } => K::Inside { lo: c(lo), hi: c(hi) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_merge_where_both_arguments_are_dense() {
        let s = Shape::new;
        let dense = collapse(s(2, 5, 3), s(2, 5, 3), s(2, 5, 3));
        assert_eq!(dense, Broadcast { dims: [1, 1, 30], a: [0, 0, 1], b: [0, 0, 1] });
        let scalar = collapse(s(1, 5, 3), s(1, 5, 3), Shape::SCALAR);
        assert_eq!(scalar, Broadcast { dims: [1, 1, 15], a: [0, 0, 1], b: [0, 0, 0] });
        let row = collapse(s(1, 5, 3), s(1, 5, 3), s(1, 1, 3));
        assert_eq!(row, Broadcast { dims: [1, 5, 3], a: [0, 3, 1], b: [0, 0, 1] });
        let heads = collapse(s(2, 5, 1), s(2, 5, 1), s(1, 5, 1));
        assert_eq!(heads, Broadcast { dims: [1, 2, 5], a: [0, 5, 1], b: [0, 0, 1] });
    }
}
