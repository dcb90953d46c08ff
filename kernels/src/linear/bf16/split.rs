//! Splitting f32 into bf16 parts, in the layout that every unit reads.
//!
//! An operand is cut into *blocks* of 32 lines (rows of a, columns of b), a block into *chunks* of 32 summed
//! elements, and a chunk holds, part after part, two *tiles* of 16 lines: 16 x 16 pairs of neighbouring summed elements,
//! the first of a pair in the low half. In memory a tile of a has a row of 16 pairs for each of its lines, a tile of b a row of
//! 16 lines for each pair: what `tdpbf16ps` asks for. Lines and elements that do not exist are zeros.

use super::super::micro::Lines;
use super::super::pack::turn;
use crate::simd::Simd;

/// Lines of a block, and summed elements of a chunk.
pub(super) const SIDE: usize = 32;
/// Lines of a tile, pairs of a line.
const HALF: usize = SIDE / 2;
/// Pairs of a tile.
pub(super) const TILE: usize = HALF * HALF;
/// Summed elements that are split at a time; the sums of such stretches are added in order.
pub(super) const STRETCH: usize = 256;

/// Pairs of one block with so many summed elements.
pub(super) const fn block_len(parts: usize, inner: usize) -> usize {
    inner.div_ceil(SIDE) * parts * 2 * TILE
}

/// The nearest bf16, ties to even, as an f32 whose low half is zero. Subnormals become zeros, as in the processor's
/// own conversion; NaN stays NaN.
#[inline(always)]
fn nearest(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) & 0xffff_0000;
    let rounded = if x.is_nan() { 0x7fc0_0000 } else { rounded };
    if bits & 0x7f80_0000 == 0 { bits & 0x8000_0000 } else { rounded }
}

/// Where the elements of an operand are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// summed elements of a line are neighbours: the a of `linear` and `linear_dx`
    Along,
    /// lines of a summed element are neighbours: the b of `linear` and `linear_dw`
    Across,
}

/// One operand in memory.
#[derive(Clone, Copy)]
pub(super) struct Source {
    pub(super) order: Order,
    /// first element of the first line
    pub(super) at: *const f32,
    /// between elements that are not neighbours
    pub(super) stride: usize,
    /// lines, at most [`SIDE`] of which are taken
    pub(super) lines: usize,
    /// summed elements
    pub(super) inner: usize,
}

/// Splits one block. `b`: it becomes a right operand.
///
/// # Safety
/// The instruction set is present; the source exists; `dst` has room for [`block_len`] pairs.
#[inline(always)]
pub(super) unsafe fn split<S: Simd, const PARTS: usize>(s: &Source, b: bool, dst: *mut u32) {
    // As read, a line of the tile is a line of `Along` and a pair of `Across`.
    let turned = b == (s.order == Order::Along);
    let mut read = Lines([[0u32; TILE]; PARTS]);
    for chunk in 0..s.inner.div_ceil(SIDE) {
        let first = chunk * SIDE;
        let inner = (s.inner - first).min(SIDE);
        for half in 0..2 {
            let lines = s.lines.saturating_sub(half * HALF).min(HALF);
            // SAFETY: promised by the caller; only the lines and elements that exist are read.
            unsafe {
                let dst = dst.add((chunk * PARTS * 2 + half) * TILE);
                let (to, part) =
                    if turned { (read.0.as_mut_ptr().cast::<u32>(), TILE) } else { (dst, 2 * TILE) };
                if lines < HALF || inner < SIDE {
                    for p in 0..PARTS {
                        to.add(p * part).write_bytes(0, TILE);
                    }
                }
                match s.order {
                    Order::Along => {
                        let at = s.at.wrapping_add(half * HALF * s.stride + first);
                        along::<PARTS>(at, s.stride, lines, inner, to, part);
                    }
                    Order::Across => {
                        let at = s.at.wrapping_add(first * s.stride + half * HALF);
                        across::<PARTS>(at, s.stride, lines, inner, to, part);
                    }
                }
                if turned {
                    for p in 0..PARTS {
                        turn::<S>(to.add(p * part).cast(), HALF, HALF, dst.add(p * 2 * TILE).cast());
                    }
                }
            }
        }
    }
}

/// `n` floats, zeros after them.
#[inline(always)]
unsafe fn load<const N: usize>(src: *const f32, n: usize) -> [f32; N] {
    // SAFETY: the caller owns n <= N floats at src; an array may be read unaligned.
    unsafe {
        if n == N {
            return src.cast::<[f32; N]>().read_unaligned();
        }
        let mut part = [0.0; N];
        part.as_mut_ptr().copy_from_nonoverlapping(src, n);
        part
    }
}

/// Tiles, `part` pairs apart, whose lines are contiguous in memory.
#[inline(always)]
unsafe fn along<const PARTS: usize>(
    src: *const f32,
    stride: usize,
    lines: usize,
    inner: usize,
    dst: *mut u32,
    part: usize,
) {
    for line in 0..lines {
        // SAFETY: the caller's source has `inner` <= SIDE elements in each line, and each tile a place for it.
        unsafe {
            let mut rest: [f32; SIDE] = load(src.add(line * stride), inner);
            for p in 0..PARTS {
                let mut halves = [0u16; SIDE];
                for i in 0..SIDE {
                    let near = nearest(rest[i]);
                    halves[i] = (near >> 16) as u16;
                    rest[i] -= f32::from_bits(near);
                }
                // 32 halves are 16 pairs, on a little-endian machine with the first of each in the low half.
                #[cfg(target_endian = "big")]
                halves.as_chunks_mut::<2>().0.iter_mut().for_each(|pair| pair.reverse());
                dst.add(p * part + line * HALF).cast::<[u16; SIDE]>().write(halves);
            }
        }
    }
}

/// Tiles, `part` pairs apart, whose pairs are contiguous in memory.
#[inline(always)]
unsafe fn across<const PARTS: usize>(
    src: *const f32,
    stride: usize,
    lines: usize,
    inner: usize,
    dst: *mut u32,
    part: usize,
) {
    for pair in 0..inner.div_ceil(2) {
        // SAFETY: the caller's source has `lines` <= HALF neighbours at each of `inner` elements, and each tile a
        // place for this pair of them.
        unsafe {
            let row = src.wrapping_add(2 * pair * stride);
            let mut low: [f32; HALF] = load(row, lines);
            let mut high: [f32; HALF] =
                if 2 * pair + 1 < inner { load(row.wrapping_add(stride), lines) } else { [0.0; HALF] };
            for p in 0..PARTS {
                let mut pairs = [0u32; HALF];
                for i in 0..HALF {
                    let (l, h) = (nearest(low[i]), nearest(high[i]));
                    pairs[i] = (l >> 16) | h;
                    low[i] -= f32::from_bits(l);
                    high[i] -= f32::from_bits(h);
                }
                dst.add(p * part + pair * HALF).cast::<[u32; HALF]>().write(pairs);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn rounds_to_the_nearest_even() {
        for (x, want) in [
            (1.0, 1.0),
            (1.0 + 2f32.powi(-8), 1.0),
            (1.0 + 3.0 * 2f32.powi(-8), 1.0 + 2f32.powi(-6)),
            (-1.0 - 2f32.powi(-8) - 2f32.powi(-20), -1.0 - 2f32.powi(-7)),
            (f32::MAX, f32::INFINITY),
            (f32::NEG_INFINITY, f32::NEG_INFINITY),
            (f32::MIN_POSITIVE, f32::MIN_POSITIVE),
            (f32::MIN_POSITIVE / 2.0, 0.0),
        ] {
            assert_eq!(f32::from_bits(nearest(x)), want, "{x}");
        }
        assert!(f32::from_bits(nearest(f32::from_bits(0x7fff_ffff))).is_nan());
    }

    #[test]
    fn three_parts_are_the_whole() {
        let mut state = 1u32;
        for _ in 0..10_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let x = (state >> 8) as f32 * 2f32.powi((state & 31) as i32 - 40) - 1.0;
            let mut rest = x;
            for _ in 0..3 {
                rest -= f32::from_bits(nearest(rest));
            }
            assert_eq!(rest, 0.0, "{x}");
        }
    }
}
