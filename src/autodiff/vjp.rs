//! Derivatives: one table, and the reverse sweep that reads it.
//!
//! The sweep first marks the nodes on a path from the trained parameters to the loss and ignores the
//! rest; that, not a flag, is why everything else is a constant. A cotangent may be *smaller* than
//! its node along extents where it is constant (the gradient of a mean is one number); it is expanded
//! only where a kernel wants it dense.

use baq_kernels::Binary;

use super::graph::{Axis, Node, Op, Shape, Unary};
use super::isolate::differentiable;
use super::var::Var;

/// Gradients of a scalar in each of `wrt`; `None` where the loss does not depend on it.
pub(super) fn gradients<'t>(loss: Var<'t>, wrt: &[Var<'t>]) -> Vec<Option<Var<'t>>> {
    let last = loss.id.index();
    let nodes: Vec<Node> = loss.tracer.inner.borrow().graph.nodes()[..=last].to_vec();
    let (wrong, right_from) = {
        let inner = loss.tracer.inner.borrow();
        (inner.wrong, inner.right_from)
    };

    let mut marked = vec![false; last + 1];
    for v in wrt {
        if v.id.index() <= last {
            marked[v.id.index()] = true;
        }
    }
    for (i, node) in nodes.iter().enumerate() {
        if passes(node.op) && node.args.iter().any(|a| marked[a.index()]) {
            marked[i] = true;
        }
    }

    let mut cotangents: Vec<Option<Var<'t>>> = vec![None; last + 1];
    cotangents[last] = Some(loss.tracer.constant(1.0));
    for i in (0..=last).rev() {
        let (true, Some(g)) = (marked[i], cotangents[i]) else { continue };
        let y = at(loss, i);
        let args: Vec<Var<'t>> = nodes[i].args.iter().map(|a| at(loss, a.index())).collect();
        for (k, &x) in args.iter().enumerate() {
            let slot = x.id.index();
            if !marked[slot] {
                continue;
            }
            let mut contribution = derivative(nodes[i].op, k, &args, y, g);
            if wrong.is_some() && i < right_from && differentiable(nodes[i].op).as_deref() == wrong {
                contribution = contribution * 1.001;
            }
            let contribution = match nodes[i].op {
                Op::Binary(_) | Op::Expand => unbroadcast(contribution, y.shape(), x.shape()),
                _ => contribution,
            };
            cotangents[slot] = Some(match cotangents[slot] {
                Some(sum) => sum + contribution,
                None => contribution,
            });
        }
    }
    wrt.iter().map(|v| cotangents.get(v.id.index()).copied().flatten().map(|g| g.expand(v.shape()))).collect()
}

/// Whether a gradient passes: not a `detach`, and not a step, whose derivative is 0 wherever it has one.
fn passes(op: Op) -> bool {
    !matches!(
        op,
        Op::Detach | Op::Unary(Unary::Sign | Unary::Inside { .. }) | Op::Binary(Binary::Le | Binary::Lt)
    )
}

fn at<'t>(like: Var<'t>, index: usize) -> Var<'t> {
    Var { tracer: like.tracer, id: super::graph::NodeId(index as u32) }
}

/// The table: gradient of the result in argument `k`, given the result's cotangent g.
fn derivative<'t>(op: Op, k: usize, args: &[Var<'t>], y: Var<'t>, g: Var<'t>) -> Var<'t> {
    let x = args[k];
    let dense = || g.expand(y.shape());
    match op {
        Op::Linear => match k {
            0 => dense().linear_dx(args[1], x.shape()),
            1 => args[0].linear_dw(dense(), x.shape()),
            _ if x.shape().rows == 1 => dense().sum(Axis::Rows),
            _ => dense().sum_repeats(y.shape().rows / x.shape().rows),
        },
        Op::Unary(f) => match f {
            Unary::Exp => g * y,
            Unary::Log => g / x,
            Unary::Tanh => g.binary(Binary::TanhGrad, y),
            Unary::Relu => g.binary(Binary::ReluGrad, y),
            Unary::Softplus => g * x.sigmoid(),
            Unary::Sigmoid => g * (y - y.square()),
            Unary::Square => g * x * 2.0,
            Unary::Sqrt => g / y * 0.5,
            Unary::Abs => g * x.unary(Unary::Sign),
            Unary::Affine { scale, .. } => g * scale.get(),
            Unary::Clamp { lo, hi } => g * x.unary(Unary::Inside { lo, hi }),
            Unary::Sign | Unary::Inside { .. } => unreachable!("invariant: steps pass no gradient"),
        },
        Op::Binary(f) => {
            let (a, b) = (args[0], args[1]);
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
                // d|τ - 1(u<0)|u²/dτ = ±u²; nothing trains an expectile, so it is not offered.
                (Binary::Expectile, _) => unreachable!("invariant: expectiles are hypers"),
                (Binary::Le | Binary::Lt, _) => unreachable!("invariant: steps pass no gradient"),
                (Binary::ReluGrad | Binary::TanhGrad | Binary::ExpectileGrad, _) => {
                    unreachable!("invariant: second derivatives are not traced")
                }
            }
        }
        Op::Sum(_) => g,
        Op::Min(axis) => x.min_grad(y, dense(), axis),
        Op::LogSumExp => g * (x - y).exp(),
        Op::Concat => {
            let start = if k == 0 { 0 } else { args[0].shape().cols };
            dense().slice(start, x.shape().cols)
        }
        Op::Slice { start, .. } => dense().pad(start, x.shape().cols),
        Op::Pad { start, .. } => dense().slice(start, x.shape().cols),
        Op::Repeat(n) => dense().sum_repeats(n),
        Op::SumRepeats(n) => dense().repeat(n),
        Op::Reshape => dense().reshape(x.shape()),
        Op::Expand => g,
        Op::LinearDx | Op::LinearDw | Op::MinGrad(_) => {
            unreachable!("invariant: second derivatives are not traced")
        }
        Op::Blocks(_) | Op::Part(_) | Op::View(_) => unreachable!("invariant: regions are not traced"),
        Op::Detach | Op::Input(_) | Op::Param { .. } | Op::Hyper(_) | Op::Const(_) | Op::Noise(_) => {
            unreachable!("invariant: no gradient passes a leaf or a detached value")
        }
    }
}

/// Sums a cotangent over the extents along which an argument was broadcast from `to` to `from`. Where the
/// cotangent itself is still one number for all of them, that sum is a product.
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
