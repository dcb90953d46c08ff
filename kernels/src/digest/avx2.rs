//! The digest for AVX2 with FMA.

use super::Digest;

crate::simd::variants! {
    Avx2, "avx2,fma";
    fn digest(x: &[f32]) -> Digest;
}
