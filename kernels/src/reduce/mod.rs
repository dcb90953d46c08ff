//! Sums, minima and log-sum-exp along one axis.
//!
//! **Formula.** `sum`: y`[o, i]` = Σ_n x`[o, n, i]`. `min`: the minimum instead. `min_grad`: dx`[o, n, i]` = g`[o, i]` at the
//! first n where x equals m`[o, i]`, else 0. `log_sum_exp`: y`[o]` = M + ln Σ_n e^(x`[o, n]` - M), M the row's
//! maximum (0 if that is not finite).
//!
//! **Shapes.** x, dx `[o, n, i]`; y, m, g `[o, i]`; log_sum_exp: x `[o, n]`, y `[o]`. Dense.
//!
//! **Aliasing.** Outputs overlap nothing.
//!
//! **Zero sizes.** n = 0: sum 0, min +∞, log_sum_exp -∞. o or i zero: nothing to do.
//!
//! **NaN.** A NaN summand gives NaN, in `min` too. `min_grad` with a NaN m gives the gradient to the first NaN of x.
//!
//! **Order of additions.** `sum`, the same on every ISA:
//! - i = 1: tiles of 256 elements. In a tile, sixteen lanes: lane l adds elements l, l + 16, ... in order, starting
//!   from 0; lanes are added as a tree of halves (l and l + 8, l + 4, l + 2, l + 1).
//! - i > 1: tiles of 64 steps, added in order starting from 0, for each column.
//! - Tiles are joined like the carries of a binary counter: equal power-of-two groups first, in order; at
//!   the end the remaining groups from the smallest to the largest.
//!
//! `log_sum_exp`: lane l of LANES adds the terms ≡ l in order; lanes as a tree of halves.
//!
//! **Tolerance to the reference.** `sum`: 2⁻²³ · (8 + log₂ n) · Σ|terms| holds easily; `min` and `min_grad`: exact;
//! `log_sum_exp`: 2⁻²² · (|M| + 4 + n/LANES).

pub(crate) mod generic;
pub mod reference;

crate::simd::family! {
    fn sum(dims: [usize; 3], x: &[f32], y: &mut [f32]);
    fn min(dims: [usize; 3], x: &[f32], y: &mut [f32]);
    fn min_grad(dims: [usize; 3], x: &[f32], m: &[f32], g: &[f32], dx: &mut [f32]);
    fn log_sum_exp(dims: [usize; 2], x: &[f32], y: &mut [f32]);
}

/// Panics unless a slice has the length that `dims` imply.
#[track_caller]
pub(crate) fn check(what: &str, got: usize, dims: &[usize]) {
    let size = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    assert!(size == Some(got), "{what}: {got} elements, the dims are {dims:?}");
}
