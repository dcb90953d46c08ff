//! One kernel call of a program, on slices.

use baq_kernels::{Binary, Broadcast, Kernels, NormGradients, Scratch};

use super::program::{Kernel, Slot};
use crate::autodiff::trace::operation::Op;
use crate::autodiff::trace::shape::Shape;

/// What a call writes and how.
pub(super) struct Target<'a> {
    pub(super) y: &'a mut [f32],
    /// what the kernel writes beside
    pub(super) beside: [Option<&'a mut [f32]>; 2],
    /// add sums over rows to what is there
    pub(super) add: bool,
    pub(super) scratch: Scratch<'a>,
}

/// Runs a kernel that needs nothing but the values that `at` finds.
pub(super) fn call<'v>(k: &Kernels, kernel: &Kernel, at: impl Fn(&Slot) -> &'v [f32], target: Target<'_>) {
    let Target { y, beside, add, scratch } = target;
    let [first, second] = beside;
    match kernel {
        Kernel::Linear { sizes, act, x, w, b } => {
            (k.linear)(sizes, at(x), at(w), Some(at(b)), *act, y, scratch)
        }
        Kernel::LinearDx { sizes, dy, w, mask } => {
            let mask = mask.as_ref().map(|(act, x)| (*act, at(x)));
            (k.linear_dx)(sizes, at(dy), at(w), mask, y, scratch)
        }
        Kernel::LinearDw { sizes, x, dy, .. } => {
            let Scratch::Empty(scratch) = scratch else { unreachable!("invariant: no weights are packed") };
            (k.linear_dw)(sizes, at(x), at(dy), y, first, add, scratch);
        }
        Kernel::LayerNorm { sizes, relu, x, gain, bias } => {
            (k.layer_norm)(sizes, at(x), at(gain), at(bias), *relu, y);
        }
        Kernel::LayerNormGrad { sizes, x, gain, dy, dx, .. } => {
            let Scratch::Empty(scratch) = scratch else { unreachable!("invariant: no weights are packed") };
            let (dx, dgain) = if *dx { (Some(y), first) } else { (None, Some(y)) };
            let gradients = NormGradients { dx, dgain, dbias: second, add, scratch };
            (k.layer_norm_grad)(sizes, at(x), at(gain), at(dy), gradients);
        }
        Kernel::Operation { op, shape, args } => {
            let arg = |i: usize| (at(&args[i].0), args[i].1);
            operation(k, *op, *shape, arg, y);
        }
        Kernel::Copy { x } => y.copy_from_slice(at(x)),
        Kernel::Noise { .. } | Kernel::Region { .. } | Kernel::RegionResult { .. } => {
            unreachable!("invariant: these need more than values")
        }
    }
}

/// Runs the kernel of an operation by itself; `arg` gives an argument with its extents.
fn operation<'v>(k: &Kernels, op: Op, out: Shape, arg: impl Fn(usize) -> (&'v [f32], Shape), y: &mut [f32]) {
    let (x, s) = arg(0);
    let other = |i: usize| arg(i).0;
    match op {
        Op::Unary(f) => (k.unary)(f.map(|x| x.get() as f32), x, y),
        Op::Binary(f) => {
            let (b, t) = arg(1);
            (k.binary)(f, &loops(out, s, t), x, b, y);
        }
        // max(x, x), walked with the strides of a broadcast, is a copy.
        Op::Expand => (k.binary)(Binary::Max, &loops(out, s, s), x, x, y),
        Op::Sum(axis) => (k.sum)(axis.split(s), x, y),
        Op::SumRepeats(n) => (k.sum)([out.heads * out.rows, n, out.cols], x, y),
        Op::Min(axis) => (k.min)(axis.split(s), x, y),
        Op::MinGrad(axis) => (k.min_grad)(axis.split(s), x, other(1), other(2), y),
        Op::LogSumExp => (k.log_sum_exp)([s.heads * s.rows, s.cols], x, y),
        Op::Concat => {
            let rows = x.chunks_exact(s.cols).zip(other(1).chunks_exact(out.cols - s.cols));
            for (row, (a, b)) in y.chunks_exact_mut(out.cols).zip(rows) {
                row[..s.cols].copy_from_slice(a);
                row[s.cols..].copy_from_slice(b);
            }
        }
        Op::Slice { start, cols } => {
            for (row, x) in y.chunks_exact_mut(cols).zip(x.chunks_exact(s.cols)) {
                row.copy_from_slice(&x[start..start + cols]);
            }
        }
        Op::Pad { start, cols } => {
            for (row, x) in y.chunks_exact_mut(cols).zip(x.chunks_exact(s.cols)) {
                row.fill(0.0);
                row[start..start + s.cols].copy_from_slice(x);
            }
        }
        Op::Repeat(n) => {
            for (rows, x) in y.chunks_exact_mut(n * s.cols).zip(x.chunks_exact(s.cols)) {
                for row in rows.chunks_exact_mut(s.cols) {
                    row.copy_from_slice(x);
                }
            }
        }
        Op::PickHeads => {
            let size = out.rows * out.cols;
            for (y, &j) in y.chunks_exact_mut(size).zip(other(1)) {
                y.copy_from_slice(&x[j as usize * size..][..size]);
            }
        }
        Op::PutHeads(_) => {
            let size = out.rows * out.cols;
            y.fill(0.0);
            for (x, &j) in x.chunks_exact(size).zip(other(1)) {
                y[j as usize * size..].iter_mut().zip(x).for_each(|(y, x)| *y += x);
            }
        }
        _ => unreachable!("invariant: {op:?} has a kernel of another kind, or none"),
    }
}

/// Loops for an element-wise kernel, which merges them itself where it can.
fn loops(y: Shape, a: Shape, b: Shape) -> Broadcast {
    Broadcast { dims: y.dims(), a: a.strides(), b: b.strides() }
}
