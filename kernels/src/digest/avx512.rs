//! The digest for AVX-512F.

use super::Digest;

crate::simd::variants! {
    Avx512, "avx512f";
    fn digest(x: &[f32]) -> Digest;
}
