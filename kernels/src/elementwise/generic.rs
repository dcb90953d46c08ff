//! The element-wise functions of two arguments, written once for all instruction sets.

use super::vector::TILE;
use super::{check_binary, collapse};
use crate::simd::{Job, Simd};
use crate::tile::{Shared, run};
use crate::{Binary, Broadcast};
use std::marker::PhantomData;
use std::ops::Range;

pub(crate) use super::unary::unary;

/// A function of two vectors.
trait Op2: Sync {
    unsafe fn at<S: Simd>(a: S::V, b: S::V) -> S::V;
}

/// Defines binary functions: name, body over the vectors `a` and `b`.
macro_rules! op2 {
    ($( $name:ident |$a:ident, $b:ident| $body:expr; )*) => {
        $(
            struct $name;
            impl Op2 for $name {
                #[inline(always)]
                unsafe fn at<S: Simd>($a: S::V, $b: S::V) -> S::V {
                    // SAFETY: the caller promises the instruction set.
                    unsafe { $body }
                }
            }
        )*
    };
}

op2! {
    Add |a, b| S::add(a, b);
    Sub |a, b| S::sub(a, b);
    Mul |a, b| S::mul(a, b);
    Div |a, b| S::div(a, b);
    Min |a, b| S::select(S::eq(a, a), S::min(a, b), a);
    Max |a, b| S::select(S::eq(a, a), S::max(a, b), a);
    Le |a, b| S::select(S::le(a, b), S::splat(1.0), S::zero());
    Lt |a, b| S::select(S::lt(a, b), S::splat(1.0), S::zero());
    ReluGrad |a, b| S::select(S::lt(S::zero(), b), a, S::zero());
    TanhGrad |a, b| S::mul(a, S::fnma(b, b, S::splat(1.0)));
    Expectile |a, b| {
        let below = S::select(S::lt(a, S::zero()), S::splat(1.0), S::zero());
        S::mul(S::abs(S::sub(b, below)), S::mul(a, a))
    };
    ExpectileGrad |a, b| {
        let below = S::select(S::lt(a, S::zero()), S::splat(1.0), S::zero());
        S::mul(S::abs(S::sub(b, below)), S::add(a, a))
    };
}

/// `n` <= LANES elements of an argument with any stride.
#[inline(always)]
unsafe fn walk<S: Simd>(p: *const f32, at: usize, stride: usize, n: usize) -> S::V {
    // SAFETY: the caller's argument has elements at, .. at + n - 1, each `stride` apart.
    unsafe {
        match stride {
            0 => S::splat(*p),
            1 => S::load_part(p.add(at), n),
            _ => {
                let mut v = [0.0; 16];
                for (i, v) in v.iter_mut().enumerate().take(n.min(S::LANES)) {
                    *v = *p.add((at + i) * stride);
                }
                S::load(v.as_ptr())
            }
        }
    }
}

/// y = f(a, b) for one row; strides of a and b.
#[inline(always)]
unsafe fn zip<S: Simd, F: Op2>(a: *const f32, sa: usize, b: *const f32, sb: usize, y: *mut f32, len: usize) {
    // SAFETY: the caller promises the instruction set and `len` elements in all three.
    unsafe {
        let mut i = 0;
        match (sa, sb) {
            (1, 1) => {
                while i + S::LANES <= len {
                    S::store(y.add(i), F::at::<S>(S::load(a.add(i)), S::load(b.add(i))));
                    i += S::LANES;
                }
            }
            (1, 0) => {
                let b = S::splat(*b);
                while i + S::LANES <= len {
                    S::store(y.add(i), F::at::<S>(S::load(a.add(i)), b));
                    i += S::LANES;
                }
            }
            (0, 1) => {
                let a = S::splat(*a);
                while i + S::LANES <= len {
                    S::store(y.add(i), F::at::<S>(a, S::load(b.add(i))));
                    i += S::LANES;
                }
            }
            _ => {}
        }
        while i < len {
            let n = len - i;
            let v = F::at::<S>(walk::<S>(a, i, sa, n), walk::<S>(b, i, sb, n));
            S::store_part(y.add(i), v, n);
            i += S::LANES;
        }
    }
}

/// y = F(a, b). Tiles are parts of the one row if all is contiguous, else rows.
struct Zip<'a, F> {
    shape: &'a Broadcast,
    flat: bool,
    a: &'a [f32],
    b: &'a [f32],
    y: Shared<f32>,
    f: PhantomData<F>,
}

impl<S: Simd, F: Op2> Job<S> for Zip<'_, F> {
    #[inline(always)]
    unsafe fn run(&self, tiles: Range<usize>) {
        let Broadcast { dims: [_, d1, d2], a: sa, b: sb } = *self.shape;
        let (a, b, y) = (self.a.as_ptr(), self.b.as_ptr(), self.y.ptr());
        if self.flat {
            let first = tiles.start * TILE;
            let n = (tiles.end * TILE).min(d2) - first;
            // SAFETY: tiles are disjoint parts of y; a and b are as long.
            unsafe { zip::<S, F>(a.add(first), 1, b.add(first), 1, y.add(first), n) };
            return;
        }
        for row in tiles {
            let (i, j) = (row / d1, row % d1);
            // SAFETY: the lengths were checked against these strides; rows of y are disjoint.
            unsafe {
                let a = a.add(i * sa[0] + j * sa[1]);
                let b = b.add(i * sb[0] + j * sb[1]);
                zip::<S, F>(a, sa[2], b, sb[2], y.add(row * d2), d2);
            }
        }
    }
}

/// See the contract.
#[inline(always)]
pub(crate) unsafe fn binary<S: Simd>(f: Binary, shape: &Broadcast, a: &[f32], b: &[f32], y: &mut [f32]) {
    if !check_binary(shape, a, b, y) {
        return;
    }
    let shape = &collapse(shape);
    let [d0, d1, d2] = shape.dims;
    let flat = (d0, d1, shape.a[2], shape.b[2]) == (1, 1, 1, 1);
    let tiles = if flat { d2.div_ceil(TILE) } else { d0 * d1 };
    let y = Shared::new(y);
    macro_rules! zip {
        ($f:ident) => {
            // SAFETY: the lengths were checked; the caller promises the instruction set.
            unsafe { run::<S>(tiles, d0 * d1 * d2, &Zip::<$f> { shape, flat, a, b, y, f: PhantomData }) }
        };
    }
    match f {
        Binary::Add => zip!(Add),
        Binary::Sub => zip!(Sub),
        Binary::Mul => zip!(Mul),
        Binary::Div => zip!(Div),
        Binary::Min => zip!(Min),
        Binary::Max => zip!(Max),
        Binary::Le => zip!(Le),
        Binary::Lt => zip!(Lt),
        Binary::ReluGrad => zip!(ReluGrad),
        Binary::TanhGrad => zip!(TanhGrad),
        Binary::Expectile => zip!(Expectile),
        Binary::ExpectileGrad => zip!(ExpectileGrad),
    }
}
