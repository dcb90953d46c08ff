//! Adam for plain Rust.

use crate::AdamStep;

crate::simd::variants! {
    Plain;
    fn adam(step: &AdamStep, theta: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]);
}
