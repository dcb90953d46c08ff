//! Adam for AVX-512F.

use crate::AdamStep;

crate::simd::variants! {
    Avx512, "avx512f";
    fn adam(step: &AdamStep, theta: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]);
}
