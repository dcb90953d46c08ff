//! Slow copies of parameters.
//!
//! **Formula.** target ← target + rate · (source - target).
//!
//! **Shapes.** Both of equal length.
//!
//! **Aliasing.** They do not overlap.
//!
//! **Zero sizes.** Nothing to do.
//!
//! **NaN.** As the formula; in particular a rate of 0 with a NaN source gives NaN.
//!
//! **Order of additions.** None across elements. Rate 0 leaves finite targets as they are, rate 1 copies up
//! to one rounding of the difference.
//!
//! **Tolerance to the reference.** 2⁻²³ · (|target| + rate · |source - target|).

pub(crate) mod generic;
pub mod reference;

crate::simd::family! {
    fn polyak(rate: f32, target: &mut [f32], source: &[f32]);
}
