//! The slow copy, written once for all instruction sets.

use crate::simd::{Job, Simd};
use crate::tile::{MOVED, Shared, run};
use std::ops::Range;

/// Elements of one parallel tile.
const TILE: usize = 1 << 14;

/// See the contract.
#[inline(always)]
pub(crate) unsafe fn polyak<S: Simd>(rate: f32, target: &mut [f32], source: &[f32]) {
    let len = target.len();
    assert!(source.len() == len, "target: {len} elements, source has {}", source.len());
    let job = Blend { rate, target: Shared::new(target), source };
    // SAFETY: the caller promises the instruction set.
    unsafe { run::<S>(len.div_ceil(TILE), len * MOVED, &job) }
}

/// Arrays of equal length.
struct Blend<'a> {
    rate: f32,
    target: Shared<f32>,
    source: &'a [f32],
}

impl<S: Simd> Job<S> for Blend<'_> {
    #[inline(always)]
    unsafe fn run(&self, tiles: Range<usize>) {
        let (first, end) = (tiles.start * TILE, (tiles.end * TILE).min(self.source.len()));
        // SAFETY: tiles are disjoint parts of arrays of equal length.
        unsafe {
            let rate = S::splat(self.rate);
            let mut i = first;
            while i < end {
                let n = end - i;
                let (t, s) = (self.target.ptr().add(i), self.source.as_ptr().add(i));
                if n >= S::LANES {
                    let old = S::load(t);
                    S::store(t, S::fma(rate, S::sub(S::load(s), old), old));
                } else {
                    let old = S::load_part(t, n);
                    S::store_part(t, S::fma(rate, S::sub(S::load_part(s, n), old), old), n);
                }
                i += S::LANES;
            }
        }
    }
}
