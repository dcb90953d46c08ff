//! Shared by the tests: paths, and the formulas of the fixtures (60 rows, S = 3, A = 2).
#![allow(dead_code)]

use std::path::PathBuf;

/// Path of a fixture.
pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Observation component k of row i.
pub fn s(i: usize, k: usize) -> f32 {
    ((i * 7 + k * 3) % 32) as f32 / 32.0 - 0.5
}

/// Recorded next observation.
pub fn s2(i: usize, k: usize) -> f32 {
    if [19, 44, 59].contains(&i) { s(i, k) + 1.0 / 64.0 } else { s(i + 1, k) }
}

/// Action component k of row i.
pub fn a(i: usize, k: usize) -> f32 {
    ((i * 5 + k * 11) % 33) as f32 / 16.0 - 1.0
}

/// Reward of row i.
pub fn r(i: usize) -> f32 {
    (i % 8) as f32 / 4.0 - 0.5
}

/// Runs a generic check through every backend that is compiled in.
#[macro_export]
macro_rules! every_backend {
    ($check:ident) => {{
        $check::<baq_datasets::backend::pure::PureFile>();
        #[cfg(feature = "libhdf5")]
        $check::<baq_datasets::backend::libhdf5::LibFile>();
    }};
}
