//! Layer normalisation for plain Rust.

use crate::{Norm, NormGradients};

crate::simd::variants! {
    Plain;
    fn layer_norm(s: &Norm, x: &[f32], gain: &[f32], bias: &[f32], relu: bool, y: &mut [f32]);
    fn layer_norm_grad(s: &Norm, x: &[f32], gain: &[f32], dy: &[f32], gradients: NormGradients<'_>);
}
