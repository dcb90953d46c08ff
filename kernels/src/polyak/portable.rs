//! The slow copy for plain Rust.

crate::simd::variants! {
    Plain;
    fn polyak(rate: f32, target: &mut [f32], source: &[f32]);
}
