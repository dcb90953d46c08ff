//! The element-wise functions for AVX-512F.

use crate::{Binary, Broadcast, Unary};

crate::simd::variants! {
    Avx512, "avx512f";
    fn unary(f: Unary, x: &[f32], y: &mut [f32]);
    fn binary(f: Binary, shape: &Broadcast, a: &[f32], b: &[f32], y: &mut [f32]);
}
