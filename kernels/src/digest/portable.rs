//! The digest for plain Rust.

use super::Digest;

crate::simd::variants! {
    Plain;
    fn digest(x: &[f32]) -> Digest;
}
