//! The reductions for AVX-512F.

crate::simd::variants! {
    Avx512, "avx512f";
    fn sum(dims: [usize; 3], x: &[f32], y: &mut [f32]);
    fn min(dims: [usize; 3], x: &[f32], y: &mut [f32]);
    fn min_grad(dims: [usize; 3], x: &[f32], m: &[f32], g: &[f32], dx: &mut [f32]);
    fn log_sum_exp(dims: [usize; 2], x: &[f32], y: &mut [f32]);
}
