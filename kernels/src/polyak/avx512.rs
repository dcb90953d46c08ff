//! The slow copy for AVX-512F.

crate::simd::variants! {
    Avx512, "avx512f";
    fn polyak(rate: f32, target: &mut [f32], source: &[f32]);
}
