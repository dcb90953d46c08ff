//! Shared by the tests: paths, numbers, and the formulas of the fixtures (60 rows, S = 3, A = 2).
#![allow(dead_code)]

pub mod archive;

use baq_datasets::Recording;
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
    s2_of(60, i, k)
}

fn s2_of(n: usize, i: usize, k: usize) -> f32 {
    if [19, 44, n - 1].contains(&i) { s(i, k) + 1.0 / 64.0 } else { s(i + 1, k) }
}

/// Action component k of row i.
pub fn a(i: usize, k: usize) -> f32 {
    ((i * 5 + k * 11) % 33) as f32 / 16.0 - 1.0
}

/// Reward of row i.
pub fn r(i: usize) -> f32 {
    (i % 8) as f32 / 4.0 - 0.5
}

/// Every value of a recording of any length, by the formulas.
pub fn check_formulas(name: &str, rec: &Recording) {
    let n = rec.len();
    assert_eq!((rec.obs_dim(), rec.act_dim()), (3, 2), "{name}");
    for i in 0..n {
        for k in 0..3 {
            assert_eq!(rec.observations[[i, k]], s(i, k), "{name} s {i} {k}");
            if let Some(next) = &rec.next_observations {
                assert_eq!(next[[i, k]], s2_of(n, i, k), "{name} s2 {i} {k}");
            }
        }
        for k in 0..2 {
            assert_eq!(rec.actions[[i, k]], a(i, k), "{name} a {i} {k}");
        }
        assert_eq!(rec.rewards[i], r(i), "{name} r {i}");
        assert_eq!(rec.terminals[i], i == 19, "{name} terminal {i}");
        if let Some(timeouts) = &rec.timeouts {
            assert_eq!(timeouts[i], i == 44, "{name} timeout {i}");
        }
    }
}

/// Reproducible numbers (SplitMix64).
pub fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
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
