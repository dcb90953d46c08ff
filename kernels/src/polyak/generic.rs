//! The slow copy, written once for all instruction sets.

use crate::simd::Simd;
use crate::tile::{Shared, for_ranges};

/// Elements of one parallel tile.
const TILE: usize = 1 << 14;

/// See the contract.
#[inline(always)]
pub(crate) unsafe fn polyak<S: Simd>(rate: f32, target: &mut [f32], source: &[f32]) {
    let len = target.len();
    assert!(
        source.len() == len,
        "target: {len} elements, source has {}",
        source.len()
    );
    let target = Shared::new(target);
    for_ranges(len.div_ceil(TILE), len * 4, &|tiles| {
        let (first, end) = (tiles.start * TILE, (tiles.end * TILE).min(len));
        // SAFETY: tiles are disjoint parts of arrays of equal length; the caller promises the instruction set.
        unsafe {
            let rate = S::splat(rate);
            let mut i = first;
            while i < end {
                let n = end - i;
                let (t, s) = (target.ptr().add(i), source.as_ptr().add(i));
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
    });
}
