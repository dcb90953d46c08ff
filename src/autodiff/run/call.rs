//! One kernel call of a program, on slices.

use baq_kernels::{Kernels, NormGradients, Scratch};

use super::program::{Kernel, Slot};

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
        Kernel::Unary { f, x } => (k.unary)(*f, at(x), y),
        Kernel::Binary { f, how, a, b } => (k.binary)(*f, how, at(a), at(b), y),
        Kernel::Sum { dims, x } => (k.sum)(*dims, at(x), y),
        Kernel::Min { dims, x } => (k.min)(*dims, at(x), y),
        Kernel::MinGrad { dims, x, min, g } => (k.min_grad)(*dims, at(x), at(min), at(g), y),
        Kernel::LogSumExp { dims, x } => (k.log_sum_exp)(*dims, at(x), y),
        Kernel::Concat { a_cols, b_cols, a, b } => {
            let rows = at(a).chunks_exact(*a_cols).zip(at(b).chunks_exact(*b_cols));
            for (row, (a, b)) in y.chunks_exact_mut(a_cols + b_cols).zip(rows) {
                row[..*a_cols].copy_from_slice(a);
                row[*a_cols..].copy_from_slice(b);
            }
        }
        Kernel::Slice { start, cols, x_cols, x } => {
            for (row, x) in y.chunks_exact_mut(*cols).zip(at(x).chunks_exact(*x_cols)) {
                row.copy_from_slice(&x[*start..start + cols]);
            }
        }
        Kernel::Pad { start, cols, x_cols, x } => {
            for (row, x) in y.chunks_exact_mut(*cols).zip(at(x).chunks_exact(*x_cols)) {
                row.fill(0.0);
                row[*start..start + x_cols].copy_from_slice(x);
            }
        }
        Kernel::Repeat { k, cols, x } => {
            for (rows, x) in y.chunks_exact_mut(k * cols).zip(at(x).chunks_exact(*cols)) {
                for row in rows.chunks_exact_mut(*cols) {
                    row.copy_from_slice(x);
                }
            }
        }
        Kernel::PickHeads { size, x, indices } => {
            for (y, &j) in y.chunks_exact_mut(*size).zip(at(indices)) {
                y.copy_from_slice(&at(x)[j as usize * size..][..*size]);
            }
        }
        Kernel::PutHeads { size, x, indices } => {
            y.fill(0.0);
            for (x, &j) in at(x).chunks_exact(*size).zip(at(indices)) {
                y[j as usize * size..].iter_mut().zip(x).for_each(|(y, x)| *y += x);
            }
        }
        Kernel::Copy { x } => y.copy_from_slice(at(x)),
        Kernel::Noise { .. } | Kernel::Region { .. } | Kernel::RegionResult { .. } => {
            unreachable!("invariant: these need more than values")
        }
    }
}
