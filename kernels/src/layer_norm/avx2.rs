//! Layer normalisation for AVX2 with FMA.

use crate::{Norm, NormGradients};

crate::simd::variants! {
    Avx2, "avx2,fma";
    fn layer_norm(s: &Norm, x: &[f32], gain: &[f32], bias: &[f32], relu: bool, y: &mut [f32]);
    fn layer_norm_grad(s: &Norm, x: &[f32], gain: &[f32], dy: &[f32], gradients: NormGradients<'_>);
}
