//! Adam, written once for all instruction sets.

use crate::AdamStep;
use crate::simd::{Job, Simd};
use crate::tile::{MOVED, Shared, run};
use std::ops::Range;

/// Elements of one parallel tile.
const TILE: usize = 1 << 14;

/// See the contract.
#[inline(always)]
pub(crate) unsafe fn adam<S: Simd>(
    step: &AdamStep,
    theta: &mut [f32],
    g: &[f32],
    m: &mut [f32],
    v: &mut [f32],
) {
    let len = theta.len();
    assert!(
        g.len() == len && m.len() == len && v.len() == len,
        "lengths differ: parameters {len}, gradients {}, moments {} and {}",
        g.len(),
        m.len(),
        v.len(),
    );
    let job = Step { step, len, theta: Shared::new(theta), g, m: Shared::new(m), v: Shared::new(v) };
    // A root and a quotient per element: about ten multiplications each.
    // SAFETY: the caller promises the instruction set.
    unsafe { run::<S>(len.div_ceil(TILE), len * MOVED, &job) }
}

/// Arrays of equal length.
struct Step<'a> {
    step: &'a AdamStep,
    len: usize,
    theta: Shared<f32>,
    g: &'a [f32],
    m: Shared<f32>,
    v: Shared<f32>,
}

impl<S: Simd> Job<S> for Step<'_> {
    #[inline(always)]
    unsafe fn run(&self, tiles: Range<usize>) {
        let first = tiles.start * TILE;
        let n = (tiles.end * TILE).min(self.len) - first;
        // SAFETY: tiles are disjoint parts of arrays of equal length.
        unsafe {
            update::<S>(
                self.step,
                self.theta.ptr().add(first),
                self.g.as_ptr().add(first),
                self.m.ptr().add(first),
                self.v.ptr().add(first),
                n,
            )
        }
    }
}

#[inline(always)]
unsafe fn update<S: Simd>(
    step: &AdamStep,
    theta: *mut f32,
    g: *const f32,
    m: *mut f32,
    v: *mut f32,
    len: usize,
) {
    // SAFETY: the caller promises the instruction set and `len` floats in each.
    unsafe {
        let (beta1, rest1) = (S::splat(step.beta1), S::splat(1.0 - step.beta1));
        let (beta2, rest2) = (S::splat(step.beta2), S::splat(1.0 - step.beta2));
        let (size, scale, eps) = (S::splat(step.step_size), S::splat(step.rsqrt_bias2), S::splat(step.eps));
        let mut i = 0;
        while i < len {
            let n = len - i;
            let whole = n >= S::LANES;
            macro_rules! load {
                ($p:expr) => {
                    if whole { S::load($p.add(i)) } else { S::load_part($p.add(i), n) }
                };
            }
            macro_rules! store {
                ($p:expr, $v:expr) => {
                    if whole { S::store($p.add(i), $v) } else { S::store_part($p.add(i), $v, n) }
                };
            }
            let grad = load!(g);
            let first = S::fma(beta1, load!(m), S::mul(rest1, grad));
            let second = S::fma(beta2, load!(v), S::mul(rest2, S::mul(grad, grad)));
            let change = S::div(S::mul(size, first), S::fma(S::sqrt(second), scale, eps));
            store!(m, first);
            store!(v, second);
            store!(theta, S::sub(load!(theta), change));
            i += S::LANES;
        }
    }
}
