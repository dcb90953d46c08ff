//! One step of Adam, Kingma and Ba 2014, arXiv:1412.6980, algorithm 1.
//!
//! **Formula.** m ← β₁ m + (1 - β₁) g; v ← β₂ v + (1 - β₂) g²; θ ← θ - step_size · m / (√v · rsqrt_bias2 + ε).
//!
//! **Shapes.** θ, g, m, v of equal length.
//!
//! **Aliasing.** θ, m and v are updated in place; the four overlap nowhere.
//!
//! **Zero sizes.** Nothing to do.
//!
//! **NaN.** A NaN gradient makes θ, m and v NaN at that element, and at no other.
//!
//! **Order of additions.** None across elements; one pass, root and quotient correctly rounded.
//!
//! **Tolerance to the reference.** One step in f64 from the same state: m and v 2 ulp of the larger
//! summand, θ 2⁻²³ · |θ| + 2⁻²¹ · |change|.

pub(crate) mod generic;
pub mod reference;

crate::simd::family! {
    fn adam(step: &crate::AdamStep, theta: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]);
}
