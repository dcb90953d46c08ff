//! Adam for AVX2 with FMA.

use crate::AdamStep;

crate::simd::variants! {
    Avx2, "avx2,fma";
    fn adam(step: &AdamStep, theta: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]);
}
