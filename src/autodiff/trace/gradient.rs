//! Gradients: the rule of every operation, and the reverse sweep that reads them.
//!
//! The sweep first marks the nodes on a path from what is trained to the loss and ignores the rest; that, not a flag, is
//! why everything else is a constant. A gradient may be *smaller* than its node along extents where it is constant
//! (that of a mean is one number); it is expanded only where a kernel wants it dense.
//!
//! Gradients are made of operations that have rules themselves, so that a formula may contain one.

use baq_kernels::Binary;

use super::graph::{Node, NodeId};
use super::layer_norm;
use super::operation::{Op, Unary};
use super::shape::{Axis, Shape};
use super::unary;
use super::var::Var;

impl<'t> Var<'t> {
    /// Gradient of this scalar in `x`, in the shape of x: for use in a formula, which may train through it. Whatever
    /// x was computed from is a constant.
    ///
    /// ∇_a Q(s, a) for every row is `q.total().gradient(a)`, since no row of Q reads another row's action.
    ///
    /// # Panics
    /// If this is not a scalar, or does not depend on x.
    pub fn gradient(self, x: Var<'t>) -> Var<'t> {
        self.gradients(&[x])[0]
    }

    /// The same in several variables, in their order, by one sweep.
    pub fn gradients(self, wrt: &[Var<'t>]) -> Vec<Var<'t>> {
        assert_eq!(self.shape(), Shape::SCALAR, "the gradient of {}, which is not a scalar", self.name());
        let all = gradients(self, self.constant(1.0), wrt).into_iter().zip(wrt);
        let of = |(g, x): (Option<Var<'t>>, &Var<'t>)| {
            g.unwrap_or_else(|| {
                panic!("the gradient of {} in {}, which it does not depend on", self.name(), x.name())
            })
        };
        all.map(of).collect()
    }
}

/// Gradients in each of `wrt`, given the one in y; `None` where y does not depend on it.
pub(super) fn gradients<'t>(y: Var<'t>, in_y: Var<'t>, wrt: &[Var<'t>]) -> Vec<Option<Var<'t>>> {
    let last = y.id.index();
    let (nodes, rule) = {
        let recording = y.recording.borrow();
        (recording.graph.nodes()[..=last].to_vec(), recording.rule)
    };
    let marked = marked(&nodes, wrt);
    let mut gradients: Vec<Option<Var<'t>>> = vec![None; last + 1];
    gradients[last] = Some(in_y);
    for (i, node) in nodes.iter().enumerate().rev() {
        let (true, Some(g)) = (marked[i], gradients[i]) else { continue };
        let y = y.at(NodeId(i as u32));
        let args: Vec<Var<'t>> = node.args.iter().map(|&a| y.at(a)).collect();
        for (k, &x) in args.iter().enumerate() {
            let slot = x.id.index();
            if !marked[slot] || !node.op.passes(k) {
                continue;
            }
            let mut share = rule(node.op, k, &args, y, g);
            if matches!(node.op, Op::Binary(_) | Op::Expand) {
                share = unbroadcast(share, y.shape(), x.shape());
            }
            gradients[slot] = Some(match gradients[slot] {
                Some(sum) => sum + share,
                None => share,
            });
        }
    }
    wrt.iter().map(|v| gradients.get(v.id.index()).copied().flatten().map(|g| g.expand(v.shape()))).collect()
}

/// The nodes that a gradient on its way to `wrt` passes.
fn marked(nodes: &[Node], wrt: &[Var<'_>]) -> Vec<bool> {
    let mut marked = vec![false; nodes.len()];
    for v in wrt {
        if v.id.index() < nodes.len() {
            marked[v.id.index()] = true;
        }
    }
    for (i, node) in nodes.iter().enumerate() {
        if node.args.iter().enumerate().any(|(k, a)| marked[a.index()] && node.op.passes(k)) {
            marked[i] = true;
        }
    }
    marked
}

/// The right [`Rule`](super::var::Rule) of every operation.
pub fn derivative<'t>(op: Op, k: usize, args: &[Var<'t>], y: Var<'t>, g: Var<'t>) -> Var<'t> {
    let x = args[k];
    let dense = || g.expand(y.shape());
    match op {
        Op::Linear => match k {
            0 => dense().linear_dx(args[1], x.shape()),
            1 => args[0].linear_dw(dense(), x.shape()),
            _ if x.shape().rows == 1 => dense().sum(Axis::Rows),
            _ => dense().sum_repeats(y.shape().rows / x.shape().rows),
        },
        // Of (dy, w) and of (x, dy): both are linear in both.
        Op::LinearDx => match k {
            0 => dense().linear_without_bias(args[1]),
            _ => dense().linear_dw(args[0], x.shape()),
        },
        Op::LinearDw => match k {
            0 => args[1].linear_dx(dense(), x.shape()),
            _ => args[0].linear_without_bias(dense()),
        },
        Op::LayerNorm { eps } => layer_norm::derivative(eps, k, args, dense()),
        Op::LayerNormDx { eps } => of_formula(k, args, g, |args| layer_norm::dx(eps, args)),
        Op::LayerNormDgain { eps } => of_formula(k, args, g, |args| layer_norm::dgain(eps, args)),
        Op::Unary(f) => unary::derivative(f, x, y, g),
        Op::Binary(f) => binary(f, k, args, y, g),
        Op::Sum(_) | Op::Expand => g,
        Op::Min(axis) => x.min_grad(y, dense(), axis),
        Op::MinGrad(axis) => {
            let first = args[0].min_grad(args[1], g.constant(1.0).expand(x.shape()), axis);
            (g * first).sum(axis)
        }
        Op::LogSumExp => g * (x - y).exp(),
        Op::Concat => {
            let start = if k == 0 { 0 } else { args[0].shape().cols };
            dense().slice(start, x.shape().cols)
        }
        Op::Slice { start, .. } => dense().pad(start, x.shape().cols),
        Op::Pad { start, .. } => dense().slice(start, x.shape().cols),
        Op::PickHeads => dense().put_heads(args[1], x.shape().heads),
        Op::PutHeads(_) => dense().pick_heads(args[1]),
        Op::Repeat(n) => dense().sum_repeats(n),
        Op::SumRepeats(n) => dense().repeat(n),
        Op::Reshape => dense().reshape(x.shape()),
        Op::Region(_) | Op::RegionResult(_) | Op::View(_) => {
            unreachable!("invariant: regions are not traced")
        }
        Op::Detach | Op::Input(_) | Op::Param { .. } | Op::Hyper(_) | Op::Const(_) | Op::Noise(_) => {
            unreachable!("invariant: no gradient passes a leaf or a detached value")
        }
    }
}

/// Gradient in argument `k` of an operation that a formula of smaller ones equals.
fn of_formula<'t>(
    k: usize,
    args: &[Var<'t>],
    g: Var<'t>,
    formula: impl Fn(&[Var<'t>]) -> Var<'t>,
) -> Var<'t> {
    // Arguments may depend on each other, which is not this operation's concern.
    let held: Vec<_> = args.iter().enumerate().map(|(i, a)| if i == k { *a } else { a.detach() }).collect();
    match gradients(formula(&held), g, &[args[k]])[..] {
        [Some(share)] => share,
        _ => g.constant(0.0).expand(args[k].shape()),
    }
}

/// Gradient in argument `k` of y = f(a, b).
fn binary<'t>(f: Binary, k: usize, args: &[Var<'t>], y: Var<'t>, g: Var<'t>) -> Var<'t> {
    let (a, b) = (args[0], args[1]);
    // b - 1(a < 0), whose absolute value is the share of an expectile.
    let signed_share = || b - a.less(a.constant(0.0));
    match (f, k) {
        (Binary::Add, _) | (Binary::Sub, 0) => g,
        (Binary::Sub, _) => -g,
        (Binary::Mul, 0) => g * b,
        (Binary::Mul, _) => g * a,
        (Binary::Div, 0) => g / b,
        (Binary::Div, _) => -(g * y / b),
        (Binary::Min, 0) => g * a.binary(Binary::Le, b),
        (Binary::Min, _) => g * b.binary(Binary::Lt, a),
        (Binary::Max, 0) => g * b.binary(Binary::Le, a),
        (Binary::Max, _) => g * a.binary(Binary::Lt, b),
        (Binary::Expectile, 0) => g * a.binary(Binary::ExpectileGrad, b),
        (Binary::Expectile, _) => g * signed_share().unary(Unary::Sign) * a.square(),
        (Binary::ExpectileGrad, 0) => g * signed_share().abs() * 2.0,
        (Binary::ExpectileGrad, _) => g * signed_share().unary(Unary::Sign) * a * 2.0,
        (Binary::ReluGrad, _) => g.binary(Binary::ReluGrad, b),
        (Binary::TanhGrad, 0) => g.binary(Binary::TanhGrad, b),
        (Binary::TanhGrad, _) => g * a * b * -2.0,
        (Binary::Le | Binary::Lt, _) => unreachable!("invariant: steps pass no gradient"),
    }
}

/// Sums a gradient over the extents along which an argument was broadcast from `to` to `from`. Where the
/// gradient itself is still one number for all of them, that sum is a product.
fn unbroadcast<'t>(mut g: Var<'t>, from: Shape, to: Shape) -> Var<'t> {
    for axis in [Axis::Heads, Axis::Rows, Axis::Cols] {
        let extent = |s: Shape| s.dims()[axis.index()];
        if extent(to) == 1 && extent(from) > 1 {
            g = match extent(g.shape()) {
                1 => g * extent(from) as f64,
                _ => g.sum(axis),
            };
        }
    }
    g
}
