//! Dense layers: forward, gradient of the input, gradient of weights and bias.
//!
//! **Formula.** For each head j (j dropped from x when the input is shared):
//! - `linear`: y_j = act(x_j w_j + b_j), where row r of y takes row r · R / B of b
//! - `linear_dx`: dx_j = (dy_j w_jᵀ) ⊙ act′(x_j), where act′ is expressed by the activation's *output* x:
//!   1(x > 0) for ReLU, 1 - x² for tanh. Shared input: dx = (Σ_j dy_j w_jᵀ) ⊙ act′(x), j ascending.
//! - `linear_dw`: dw_j = x_jᵀ dy_j; db_j = Σ_rows dy_j; with `add`, dw_j and db_j plus these
//!
//! **Shapes.** x, dx `[J, B, K]` (`[1, B, K]` if shared); w, dw `[J, K, N]`; b `[J, R, N]`, R a divisor of B, usually 1;
//! db `[J, 1, N]`; y, dy `[J, B, N]`; all dense and row-major. Scratch: at least `linear_scratch` floats, of any content,
//! or as an equal call has been asked to leave them, and then the weights are not packed again.
//!
//! **Aliasing.** No output overlaps anything else. Outputs are overwritten without being read first (unless `add`).
//!
//! **Zero sizes.** B, N or J zero: nothing to do. K = 0: y = act(b). N = 0: dx = 0. B = 0: dw = 0, db = 0.
//!
//! **NaN.** As the formula in IEEE arithmetic: NaN or ∞ anywhere in a sum reaches the result, and ReLU keeps
//! NaN. Exception: a ReLU mask of 0 gives exactly 0 whatever the gradient (and a NaN x masks to 0).
//!
//! **Order of additions.** It depends on ISA, K, N and, for dw, B; never on threads, and for y and dx never
//! on B: row b of y is the same bits whether computed alone or among others.
//! - Wide outputs: each element is one chain of fused multiply-adds, ascending in the summed index, in
//!   blocks of 256 whose sums are added in order; in y the chain of the first block starts from the bias.
//! - Narrow outputs (a few columns and a longer sum): lane l sums the indices ≡ l modulo the lane count, in
//!   ascending order; lanes are added as a tree of halves; then the bias.
//! - dw and db: chains over the rows of a block of 256 rows; block sums added in order, with `add` to what is there.
//! - Portable: as `matrixmultiply` does it, then the bias.
//!
//! **Tolerance to the reference.** |error| <= 2⁻²³ · (8 + √n) · Σ|terms| for sums of n terms (tanh: 4 ulp more).

pub mod bf16;
pub(crate) mod portable;
pub mod reference;

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "x86_64")]
mod generic;
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "bf16 needs only a part"))]
mod micro;
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "bf16 needs only a part"))]
mod pack;
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "bf16 needs only a part"))]
mod product;
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "bf16 needs only a part"))]
mod weights;

use crate::tile::MOVED;
use crate::{Activation, Linear};

/// Element counts of one call, checked for overflow.
pub(crate) struct Counts {
    /// x and dx, all heads
    pub x: usize,
    /// w and dw, all heads
    pub w: usize,
    /// b and db, all heads
    pub b: usize,
    /// y and dy, all heads
    pub y: usize,
    /// distance between the inputs of two heads: 0 if shared
    pub x_head: usize,
    /// floating point operations, and what moving the activations is worth in such. A layer of one output has few
    /// operations; were it computed by one thread alone, the others would fetch what it read and wrote from that one's cache.
    pub work: usize,
}

impl Counts {
    pub(crate) fn new(s: &Linear) -> Self {
        let product = |f: &[usize]| {
            f.iter()
                .try_fold(1usize, |a, &b| a.checked_mul(b))
                .expect("invariant: sizes of a layer overflow usize")
        };
        let x_heads = if s.shared_input { 1 } else { s.heads };
        let (x, y) = (product(&[x_heads, s.rows, s.inputs]), product(&[s.heads, s.rows, s.outputs]));
        let operations = product(&[2, s.heads, s.rows, s.inputs]).saturating_mul(s.outputs);
        Self {
            x,
            w: product(&[s.heads, s.inputs, s.outputs]),
            b: product(&[s.heads, s.outputs]),
            y,
            x_head: if s.shared_input { 0 } else { product(&[s.rows, s.inputs]) },
            work: operations.saturating_add(MOVED.saturating_mul(x.saturating_add(y))),
        }
    }
}

/// Panics unless a slice has the length that the sizes imply.
#[track_caller]
pub(crate) fn check(what: &str, got: usize, expected: usize) {
    assert!(got == expected, "{what}: {got} elements, the sizes imply {expected}");
}

/// Checks all slices of `linear`.
#[track_caller]
pub(crate) fn check_linear(s: &Linear, x: &[f32], w: &[f32], b: Option<&[f32]>, y: &[f32]) -> Counts {
    let n = Counts::new(s);
    check("x", x.len(), n.x);
    check("w", w.len(), n.w);
    check("y", y.len(), n.y);
    if let Some(b) = b {
        check("b", b.len(), n.b * bias_rows(s, b));
    }
    n
}

/// R, the rows of a bias for one head; panics unless it divides B.
#[track_caller]
pub(crate) fn bias_rows(s: &Linear, b: &[f32]) -> usize {
    let rows = b.len().checked_div(s.heads * s.outputs).unwrap_or(1).max(1);
    assert!(rows == 1 || s.rows.is_multiple_of(rows), "b: {rows} rows a head, not a divisor of {}", s.rows);
    rows
}

/// Checks all slices of `linear_dx`.
#[track_caller]
pub(crate) fn check_dx(
    s: &Linear,
    dy: &[f32],
    w: &[f32],
    mask: Option<(Activation, &[f32])>,
    dx: &[f32],
) -> Counts {
    let n = Counts::new(s);
    check("dy", dy.len(), n.y);
    check("w", w.len(), n.w);
    check("dx", dx.len(), n.x);
    if let Some((_, x)) = mask {
        check("x", x.len(), n.x);
    }
    n
}

/// Checks all slices of `linear_dw`.
#[track_caller]
pub(crate) fn check_dw(s: &Linear, x: &[f32], dy: &[f32], dw: &[f32], db: Option<&[f32]>) -> Counts {
    let n = Counts::new(s);
    check("x", x.len(), n.x);
    check("dy", dy.len(), n.y);
    check("dw", dw.len(), n.w);
    if let Some(db) = db {
        check("db", db.len(), n.b);
    }
    n
}
