//! The slow copy for AVX2 with FMA.

crate::simd::variants! {
    Avx2, "avx2,fma";
    fn polyak(rate: f32, target: &mut [f32], source: &[f32]);
}
