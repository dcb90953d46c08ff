//! The digest, written once for all instruction sets: plain arrays, which the compiler turns into vectors of the
//! instruction set that the entry point enables.

use super::{Digest, KEYS, STEP, STRIPE, TILE, WORDS, join};
use crate::simd::{Job, Simd};
use crate::tile::{Shared, run};
use std::ops::Range;

/// Tiles whose results wait on the stack.
const TOGETHER: usize = 64;

/// See the contract.
#[inline(always)]
pub(crate) unsafe fn digest<S: Simd>(x: &[f32]) -> Digest {
    let mut all = Digest { checksum: x.len() as u64, squares: 0.0 };
    for part in x.chunks(TOGETHER * TILE) {
        let mut tiles = [Digest::default(); TOGETHER];
        let tiles = &mut tiles[..part.len().div_ceil(TILE)];
        let job = Tiles { x: part, out: Shared::new(tiles) };
        // SAFETY: the caller promises the instruction set.
        unsafe { run::<S>(tiles.len(), part.len() * 6, &job) };
        for tile in tiles {
            all.checksum = join(all.checksum, tile.checksum);
            all.squares += tile.squares;
        }
    }
    all
}

struct Tiles<'a> {
    x: &'a [f32],
    out: Shared<Digest>,
}

impl<S: Simd> Job<S> for Tiles<'_> {
    #[inline(always)]
    unsafe fn run(&self, tiles: Range<usize>) {
        for tile in tiles {
            let x = &self.x[tile * TILE..self.x.len().min((tile + 1) * TILE)];
            // SAFETY: each tile has a result of its own.
            unsafe { *self.out.ptr().add(tile) = of_tile(x) };
        }
    }
}

struct State {
    sums: [f64; STRIPE],
    lanes: [u64; WORDS],
    keys: [u64; WORDS],
}

#[inline(always)]
fn of_tile(x: &[f32]) -> Digest {
    let mut state = State { sums: [0.0; STRIPE], lanes: [0; WORDS], keys: KEYS };
    let (stripes, rest) = x.as_chunks::<STRIPE>();
    for s in stripes {
        state.take(s);
    }
    if !rest.is_empty() {
        let mut last = [0.0; STRIPE];
        last[..rest.len()].copy_from_slice(rest);
        state.take(&last);
    }
    let mut sums = state.sums;
    let mut width = STRIPE;
    while width > 1 {
        width /= 2;
        for l in 0..width {
            sums[l] += sums[l + width];
        }
    }
    Digest { checksum: state.lanes.iter().fold(x.len() as u64, |h, &lane| join(h, lane)), squares: sums[0] }
}

impl State {
    #[inline(always)]
    fn take(&mut self, x: &[f32; STRIPE]) {
        for l in 0..STRIPE {
            let v = f64::from(x[l]);
            self.sums[l] += v * v;
        }
        // SAFETY: 32 floats are 16 words of 8 bytes, which may be read unaligned.
        let words: [u64; WORDS] = unsafe { x.as_ptr().cast::<[u64; WORDS]>().read_unaligned() };
        for l in 0..WORDS {
            let k = u64::from_le(words[l]) ^ self.keys[l];
            let product = (k & 0xffff_ffff) * (k >> 32);
            self.lanes[l] = self.lanes[l].wrapping_add(product).wrapping_add(u64::from_le(words[l ^ 1]));
            self.keys[l] = self.keys[l].wrapping_add(STEP);
        }
    }
}
