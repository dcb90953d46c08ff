//! The element-wise functions for plain Rust.

use crate::{Binary, Broadcast, Unary};

crate::simd::variants! {
    Plain;
    fn unary(f: Unary, x: &[f32], y: &mut [f32]);
    fn binary(f: Binary, shape: &Broadcast, a: &[f32], b: &[f32], y: &mut [f32]);
}
