//! Pairs of bf16 multiplied by `vdpbf16ps`.
//!
//! The instruction adds the odd product of a pair to the running sum, then the even one. A running sum that goes through
//! the largest products first would round all others at its size, so the products of parts are taken one kind after
//! the other, the smallest first.

use super::split::{SIDE, TILE};
use super::unit::{Products, TileProduct};
use crate::numerics::Unit;
use std::arch::x86_64::*;

/// AVX512-BF16.
pub(crate) struct Avx512Bf16;

/// Rows of c in registers: with two vectors each, 16 running sums.
const ROWS: usize = 8;

impl Avx512Bf16 {
    pub(crate) fn present() -> bool {
        is_x86_feature_detected!("avx512bf16")
    }
}

impl TileProduct for Avx512Bf16 {
    const UNIT: Unit = Unit::Avx512Bf16;

    #[inline(always)]
    unsafe fn block<const PARTS: usize>(a: *const u32, b: *const u32, chunks: usize, c: *mut f32) {
        // SAFETY: the caller promises the instruction set and the blocks.
        unsafe { enabled::<PARTS>(a, b, chunks, c) }
    }
}

#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn enabled<const PARTS: usize>(a: *const u32, b: *const u32, chunks: usize, c: *mut f32) {
    for row in (0..SIDE).step_by(ROWS) {
        let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
        for &(p, q) in Products::<PARTS>::SMALL_FIRST {
            for chunk in 0..chunks {
                // SAFETY: the caller's blocks have so many chunks of PARTS parts of two tiles.
                unsafe {
                    let a = a.add((chunk * PARTS + p) * 2 * TILE + row * 16);
                    let b = b.add((chunk * PARTS + q) * 2 * TILE);
                    for k in 0..16 {
                        let b = [pairs(b.add(k * 16)), pairs(b.add(TILE + k * 16))];
                        for r in 0..ROWS {
                            // SAFETY: vectors of equal size, any bits of which are numbers.
                            let a: __m512bh =
                                std::mem::transmute(_mm512_set1_epi32(*a.add(r * 16 + k) as i32));
                            for j in 0..2 {
                                sums[r][j] = _mm512_dpbf16_ps(sums[r][j], a, b[j]);
                            }
                        }
                    }
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            // SAFETY: the caller's c has 32 x 32 floats.
            unsafe {
                _mm512_storeu_ps(c.add((row + r) * SIDE), sums[0]);
                _mm512_storeu_ps(c.add((row + r) * SIDE + 16), sums[1]);
            }
        }
    }
}

/// 16 pairs.
#[inline(always)]
unsafe fn pairs(p: *const u32) -> __m512bh {
    // SAFETY: the caller owns 16 pairs at p; the vectors have the same size, and any bits are numbers.
    unsafe { std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(p.cast())) }
}
