//! Layer normalisation over the columns, Ba, Kiros and Hinton 2016, arXiv:1607.06450, and its gradients.
//!
//! **Formula.** Of each row, with μ = Σ x / N and s = √(Σ (x - μ)² / N + ε), the biased variance, and x̂ = (x - μ) / s:
//! - `layer_norm`: y = x̂ ⊙ gain + bias, or max(that, 0) if asked
//! - `layer_norm_grad`: with g = dy ⊙ gain, dx = (g - mean(g) - x̂ · mean(g ⊙ x̂)) / s, means over the columns;
//!   dgain = Σ_rows dy ⊙ x̂; dbias = Σ_rows dy; each only if asked. dy is the gradient of x̂ ⊙ gain + bias: the mask of a ReLU is in it
//!   already, as `linear_dx` applies it where dy is made. With `add`, dgain and dbias plus what is there.
//!
//! **Shapes.** x, y, dx, dy `[J, B, N]`; gain, bias, dgain, dbias `[J, 1, N]`; all dense and row-major.
//!
//! **Aliasing.** No output overlaps anything else. Outputs are overwritten without being read first (unless `add`).
//!
//! **Zero sizes.** J or N zero: nothing to do. B = 0: dgain = 0, dbias = 0 (unchanged with `add`).
//!
//! **NaN.** As the formula in IEEE arithmetic: NaN or ∞ in a row makes all of y, with ReLU too, and of dx NaN there and reaches dgain,
//! but no other row. Where Σ (x - μ)² overflows (beyond 10³⁸), s = ∞: y is the bias and dx is 0. Where Σ x does, the row is NaN.
//!
//! **Order of additions.** It depends on the ISA and N, never on threads, and for y and dx never on B. Statistics are computed again
//! in the gradient rather than kept.
//! - Sums over columns: 2 · LANES running sums, element i goes to sum i mod 2 · LANES; the upper half of them is added to the lower, then
//!   lanes as a tree of halves.
//! - μ is a mean m of x plus the mean of x - m, and the variance is the mean of (x - m)² minus the square of that correction (Chan,
//!   Golub and LeVeque 1983): two passes, so that rows far from zero lose nothing and a constant row has x̂ = 0 exactly.
//! - dgain and dbias: chains over the rows of a tile of 64 rows; sums of tiles added in order, from zero or, with `add`, from what is there.
//!
//! **Tolerance to the reference.** With c = 16 + √N + max|x| / s of a row, x̂ has |error| <= 2⁻²³ · c · (1 + |x̂|), and so with
//! e = c · (1 + |x̂|): y 2⁻²³ · (e · |gain| + |bias|); dx 2⁻²² · (c · (|g| + mean|g|) + e · mean(e · |g|)) / s; dgain
//! 2⁻²³ · Σ |dy| · (e + (8 + √B) · |x̂|); dbias 2⁻²³ · (8 + √B) · Σ|dy|.

pub(crate) mod generic;
pub mod reference;

use crate::Norm;
use crate::reduce::check;

crate::simd::family! {
    fn layer_norm(s: &crate::Norm, x: &[f32], gain: &[f32], bias: &[f32], relu: bool, y: &mut [f32]);
    fn layer_norm_grad(s: &crate::Norm, x: &[f32], gain: &[f32], dy: &[f32], gradients: crate::NormGradients<'_>);
}

/// Rows of one parallel tile.
const ROWS: usize = 64;

impl Norm {
    /// Floats of scratch that `layer_norm_grad` needs: two rows of sums for every tile.
    pub fn scratch(&self) -> usize {
        2 * self.heads * self.rows.div_ceil(ROWS) * self.cols
    }
}

/// Checks the slices that have the extents of x.
#[track_caller]
pub(crate) fn check_dense(s: &Norm, slices: &[(&str, usize)]) {
    slices.iter().for_each(|(name, got)| check(name, *got, &[s.heads, s.rows, s.cols]));
}

/// Checks the slices that have one row per head.
#[track_caller]
pub(crate) fn check_rows(s: &Norm, slices: &[(&str, usize)]) {
    slices.iter().for_each(|(name, got)| check(name, *got, &[s.heads, s.cols]));
}
