//! The element-wise functions for AVX2 with FMA.

use crate::{Binary, Broadcast, Unary};

crate::simd::variants! {
    Avx2, "avx2,fma";
    fn unary(f: Unary, x: &[f32], y: &mut [f32]);
    fn binary(f: Binary, shape: &Broadcast, a: &[f32], b: &[f32], y: &mut [f32]);
}
