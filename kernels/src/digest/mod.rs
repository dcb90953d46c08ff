//! A checksum of the bits and the sum of the squares of a tensor, in one pass.
//!
//! **Formula.** `squares` = Σ x²; subnormal x count as zero in it where kernels flush them ([`subnormals`](crate::subnormals)).
//! `checksum`: a 64-bit number that a change of any one bit changes, of several bits with all but one chance in 2⁶⁴. It finds
//! accidents and shows where two runs part; it is no signature.
//!
//! **Shapes.** x of any length; the length is part of the checksum.
//!
//! **Aliasing.** Nothing is written.
//!
//! **Zero sizes.** squares 0, and the checksum of nothing.
//!
//! **NaN.** squares is NaN. The checksum tells NaNs, zeros of both signs and subnormal numbers by their bits.
//!
//! **Order of additions.** The same on every ISA, and so are all bits of the result. Tiles of 2¹⁴ elements. In a tile
//! thirty-two lanes in f64: lane l adds the squares (which are exact) of elements l, l + 32, ... in order; lanes are added
//! as a tree of halves (l and l + 16, l + 8, ...). Tiles are added in order.
//!
//! The checksum of a tile has sixteen lanes of u64, each fed with two elements at a time. With d the word of a
//! lane and k = d ⊕ key: lane l adds low half · high half of k, and the d of its neighbour l ⊕ 1; then every key grows by
//! a constant, so that exchanged words do not cancel. Missing elements at the end are +0. Lanes and then tiles are
//! joined one after the other by [`join`].
//!
//! **Tolerance to the reference.** None: equal bits.

pub(crate) mod generic;
pub mod reference;

crate::simd::family! {
    fn digest(x: &[f32]) -> crate::Digest;
}

/// What one pass over a tensor finds.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Digest {
    /// checksum of all bits
    pub checksum: u64,
    /// Σ x²
    pub squares: f64,
}

/// The checksum of a sequence, from that of its beginning and what follows: for a fixed other argument each of the
/// two decides the result alone.
#[inline(always)]
pub fn join(before: u64, next: u64) -> u64 {
    // The finaliser of MurmurHash3, a bijection.
    let mut h = (before ^ next).wrapping_add(STEP);
    h = (h ^ h >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ h >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ h >> 33
}

/// Floats that are read together.
const STRIPE: usize = 32;
/// Lanes of the checksum.
const WORDS: usize = STRIPE / 2;
/// Elements of a tile.
const TILE: usize = 1 << 14;
/// 2⁶⁴ divided by the golden ratio: keys never repeat.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The first key of every lane: digits that nobody has chosen.
const KEYS: [u64; WORDS] = {
    let mut keys = [0; WORDS];
    let mut l = 0;
    while l < WORDS {
        // Splitmix64.
        let z = STEP.wrapping_mul(l as u64 + 1);
        let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        keys[l] = z ^ z >> 31;
        l += 1;
    }
    keys
};
