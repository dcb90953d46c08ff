//! The linear family on products of bf16: see [`numerics`](crate::numerics) for what the modes are and cost.
//!
//! The contract of the [linear family](crate::linear) holds, except for the following, which is about sizes that the mode
//! serves: at least 64 of each of B, K and N. All other sizes take the f32 kernels of the table's instruction set, bit
//! for bit.
//!
//! **Formula.** Each f32 of x, w and dy is replaced by the sum of its first 1 (`bf16`), 2 (`bf16x3`) or 3 (`bf16x6`) parts: the
//! nearest bf16, ties to even, then the nearest bf16 of what is missing, and so on. Of the products of parts those of ranks
//! p + q <= PARTS + 1 are summed, p and q from 1. Bias, activation, mask and db stay f32.
//!
//! **NaN.** NaN or ∞ anywhere in a sum make it NaN or ∞, not always the same of both. Numbers from 3.3962e38 on round to ∞.
//! Numbers below 2⁻¹²⁶ count as zero, in x, w and dy, in their parts and in running sums.
//!
//! **Order of additions.** It depends on the mode, the unit, K and N, and, for dw, B; never on threads. Sums are cut into
//! stretches of 256 terms that are added in order, a stretch into chunks of 32 terms; sums shorter than that are filled up
//! with zeros. The bias is added to the sum of the first stretch, db is the columns' sums of blocks of 256 rows, added in
//! order.
//! - `amx` and `emulated`: chunk by chunk, and in a chunk product by product of parts, in the order 1·1 (`bf16`); 1·2, 1·1,
//!   2·1 (`bf16x3`); 1·3, 1·2, 2·2, 2·1, 3·1, 1·1 (`bf16x6`). The 16 even terms of a product are one chain of fused
//!   multiply-adds from zero, the 16 odd ones another; both are added, and the sum is added to what is there.
//! - `avx512_bf16`: product by product, in the order 1·1; 2·1, 1·2, 1·1; 3·1, 2·2, 1·3, 2·1, 1·2, 1·1, each over the whole
//!   stretch; all in one chain, of each pair of terms the odd one first.
//!
//! Unlike in f32, a row of y or dx may have other bits among fewer than 64 rows than among more.
//!
//! **Tolerance to the reference.** |error| <= (m + 2⁻²³ · (10 + √n)) · Σ|terms| for sums of n terms, with m = 2⁻⁷ + 2⁻¹⁶ for
//! `bf16`, 2⁻¹⁴ for `bf16x3` and 2⁻²³ for `bf16x6`.

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod emulated;
mod product;
mod split;
mod unit;
mod weights;

use crate::numerics::Numerics;
use crate::simd::Simd;
use crate::{Activation, Kernels, Linear, Scratch};
use split::{SIDE, block_len};
pub(crate) use unit::TileProduct;

/// Whether sizes are those that the modes serve.
fn pays(s: &Linear) -> bool {
    s.heads > 0 && s.rows.min(s.inputs).min(s.outputs) >= Numerics::LEAST
}

/// An instruction set with its table for all other sizes.
pub(crate) trait Single: Simd {
    /// the f32 kernels
    const F32: Kernels;
}

pub(crate) fn linear<S: Single, U: TileProduct, const PARTS: usize>(
    s: &Linear,
    x: &[f32],
    w: &[f32],
    b: Option<&[f32]>,
    act: Activation,
    y: &mut [f32],
    scratch: Scratch<'_>,
) {
    if !pays(s) {
        return (S::F32.linear)(s, x, w, b, act, y, scratch);
    }
    // SAFETY: reachable only through a table whose instruction set and unit were detected; the sizes pay.
    unsafe { product::linear::<S, U, PARTS>(s, x, w, b, act, y, scratch) }
}

pub(crate) fn linear_dx<S: Single, U: TileProduct, const PARTS: usize>(
    s: &Linear,
    dy: &[f32],
    w: &[f32],
    mask: Option<(Activation, &[f32])>,
    dx: &mut [f32],
    scratch: Scratch<'_>,
) {
    if !pays(s) {
        return (S::F32.linear_dx)(s, dy, w, mask, dx, scratch);
    }
    // SAFETY: as in `linear`.
    unsafe { product::linear_dx::<S, U, PARTS>(s, dy, w, mask, dx, scratch) }
}

pub(crate) fn linear_dw<S: Single, U: TileProduct, const PARTS: usize>(
    s: &Linear,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    db: Option<&mut [f32]>,
    add: bool,
    scratch: &mut [f32],
) {
    if !pays(s) {
        return (S::F32.linear_dw)(s, x, dy, dw, db, add, scratch);
    }
    // SAFETY: as in `linear`.
    unsafe { weights::linear_dw::<S, U, PARTS>(s, x, dy, dw, db, add, scratch) }
}

pub(crate) fn linear_scratch<S: Single, const PARTS: usize>(s: &Linear) -> usize {
    if !pays(s) {
        return (S::F32.linear_scratch)(s);
    }
    let y = s.outputs.div_ceil(SIDE) * block_len(PARTS, s.inputs);
    let dx = s.inputs.div_ceil(SIDE) * block_len(PARTS, s.outputs);
    let (_, dw) = weights::room(PARTS, s);
    (s.heads * y.max(dx)).max(dw) + 16
}
