//! The specification of the digest: one element at a time.

use super::{Digest, KEYS, STEP, STRIPE, TILE, WORDS, join};
use crate::subnormals;

/// See the contract of the module.
pub fn digest(x: &[f32]) -> Digest {
    let mut all = Digest { checksum: x.len() as u64, squares: 0.0 };
    for tile in x.chunks(TILE) {
        let one = of_tile(tile);
        all.checksum = join(all.checksum, one.checksum);
        all.squares += one.squares;
    }
    all
}

fn of_tile(x: &[f32]) -> Digest {
    let at = |i: usize| x.get(i).copied().unwrap_or(0.0);
    let stripes = x.len().div_ceil(STRIPE);
    let (mut sums, mut lanes) = ([0.0f64; STRIPE], [0u64; WORDS]);
    for s in 0..stripes {
        for (l, sum) in sums.iter_mut().enumerate() {
            let x = at(s * STRIPE + l);
            let flushed = x.is_subnormal() && subnormals() == "zero";
            *sum += if flushed { 0.0 } else { f64::from(x) * f64::from(x) };
        }
        for l in 0..WORDS {
            let word = |l: usize| {
                let pair = s * STRIPE + 2 * l;
                u64::from(at(pair).to_bits()) | u64::from(at(pair + 1).to_bits()) << 32
            };
            let key = KEYS[l].wrapping_add(STEP.wrapping_mul(s as u64));
            let k = word(l) ^ key;
            lanes[l] = lanes[l].wrapping_add((k & 0xffff_ffff) * (k >> 32)).wrapping_add(word(l ^ 1));
        }
    }
    let mut width = STRIPE;
    while width > 1 {
        width /= 2;
        for l in 0..width {
            sums[l] += sums[l + width];
        }
    }
    Digest { checksum: lanes.iter().fold(x.len() as u64, |h, &lane| join(h, lane)), squares: sums[0] }
}
