//! Pairs of bf16 multiplied in plain Rust: the arithmetic of `tdpbf16ps`, for any processor.
//!
//! Products of two bf16 are exact in f32, so a product and an addition round once, as the instruction does. Like it, results
//! below the normal numbers become zeros. One difference remains: a *product* below 2^-126 is rounded, and
//! one beyond the largest f32 infinite, before it is added.

use super::split::{SIDE, TILE};
use super::unit::{Products, TileProduct};
use crate::numerics::Unit;

/// No instructions beyond those of the vectors around it.
pub(crate) struct Emulated;

/// What the instruction makes of a result below the normal numbers.
#[inline(always)]
fn flushed(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0f32.copysign(x) } else { x }
}

impl TileProduct for Emulated {
    const UNIT: Unit = Unit::Emulated;

    #[inline(always)]
    unsafe fn block<const PARTS: usize>(a: *const u32, b: *const u32, chunks: usize, c: *mut f32) {
        let mut sums = [[0.0f32; SIDE]; SIDE];
        for chunk in 0..chunks {
            for &(p, q) in Products::<PARTS>::SHARING {
                // SAFETY: the caller's blocks have so many chunks of PARTS parts of two tiles.
                let (a, b) = unsafe {
                    (
                        &*a.add((chunk * PARTS + p) * 2 * TILE).cast::<[[u32; 16]; SIDE]>(),
                        &*b.add((chunk * PARTS + q) * 2 * TILE).cast::<[[[u32; 16]; 16]; 2]>(),
                    )
                };
                for (a, sums) in a.iter().zip(&mut sums) {
                    for (half, sums) in sums.chunks_exact_mut(16).enumerate() {
                        let (mut even, mut odd) = ([0.0f32; 16], [0.0f32; 16]);
                        for (&a, b) in a.iter().zip(&b[half]) {
                            let (a_even, a_odd) = halves(a);
                            for n in 0..16 {
                                let (b_even, b_odd) = halves(b[n]);
                                even[n] = flushed(even[n] + a_even * b_even);
                                odd[n] = flushed(odd[n] + a_odd * b_odd);
                            }
                        }
                        for n in 0..16 {
                            sums[n] = flushed(sums[n] + flushed(even[n] + odd[n]));
                        }
                    }
                }
            }
        }
        // SAFETY: the caller's c has 32 x 32 floats.
        unsafe { c.cast::<[[f32; SIDE]; SIDE]>().write(sums) }
    }
}

/// The two numbers of a pair.
#[inline(always)]
fn halves(pair: u32) -> (f32, f32) {
    (f32::from_bits(pair << 16), f32::from_bits(pair & 0xffff_0000))
}
