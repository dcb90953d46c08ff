//! The element-wise functions, written once for all instruction sets.

use super::{check_binary, collapse};
use crate::simd::{Job, Simd};
use crate::tile::{Shared, run};
use crate::{Binary, Broadcast, Unary};
use std::marker::PhantomData;
use std::ops::Range;

/// Elements of one parallel tile.
const TILE: usize = 1 << 14;

/// A function of one vector.
trait Op1: Copy + Sync {
    unsafe fn at<S: Simd>(self, x: S::V) -> S::V;
}

/// A function of two vectors.
trait Op2: Sync {
    unsafe fn at<S: Simd>(a: S::V, b: S::V) -> S::V;
}

/// ln 2 in two parts; the first has 9 significant bits, so that n · LN2_HI is exact.
const LN2_HI: f32 = 0.693_359_4;
const LN2_LO: f32 = -2.121_944_4e-4;

/// (eʳ - 1 - r) / r² on |r| <= ln 2 / 2: our own minimax fit, error below 1.4e-8.
const EXP: [f32; 5] = [0.5, 0.166_665_43, 0.041_666_28, 0.008_366_583, 0.001_394_644_8];

/// eˣ as (n, eʳ - 1): x = n ln 2 + r.
#[inline(always)]
unsafe fn exp_parts<S: Simd>(x: S::V) -> (S::V, S::V) {
    // SAFETY: the caller promises the instruction set.
    unsafe {
        let n = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
        let r = S::fnma(n, S::splat(LN2_HI), x);
        let r = S::fnma(n, S::splat(LN2_LO), r);
        let mut p = S::splat(EXP[4]);
        for c in [EXP[3], EXP[2], EXP[1], EXP[0]] {
            p = S::fma(p, r, S::splat(c));
        }
        (n, S::fma(S::mul(r, r), p, r))
    }
}

/// eˣ
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller promises the instruction set.
    unsafe {
        // Beyond these the result is 0 or ∞ anyway; NaN passes, being the second argument.
        let x = S::max(S::splat(-104.0), S::min(S::splat(89.0), x));
        let (n, q) = exp_parts::<S>(x);
        S::scale2(S::add(q, S::splat(1.0)), n)
    }
}

/// (ln(1 + f) - f + f²/2 or the like) for f = m - 1, m in [√½, √2): f - (f²/2 - s (f²/2 + R)), s = f / (2 + f).
#[inline(always)]
unsafe fn log_of_mantissa<S: Simd>(f: S::V, e: S::V) -> S::V {
    // SAFETY: the caller promises the instruction set.
    unsafe {
        let s = S::div(f, S::add(f, S::splat(2.0)));
        let z = S::mul(s, s);
        let mut r = S::splat(2.0 / 9.0);
        for c in [2.0 / 7.0, 2.0 / 5.0, 2.0 / 3.0] {
            r = S::fma(r, z, S::splat(c));
        }
        let r = S::mul(r, z);
        let half_square = S::mul(S::mul(f, f), S::splat(0.5));
        let low = S::fma(e, S::splat(LN2_LO), S::mul(s, S::add(half_square, r)));
        S::fma(e, S::splat(LN2_HI), S::sub(f, S::sub(half_square, low)))
    }
}

/// ln x
#[inline(always)]
pub(crate) unsafe fn log<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller promises the instruction set.
    unsafe {
        let (m, e) = S::split2(x);
        let y = log_of_mantissa::<S>(S::sub(m, S::splat(1.0)), e);
        let y = S::select(S::lt(x, S::splat(f32::INFINITY)), y, x);
        let y = S::select(S::le(S::zero(), x), y, S::splat(f32::NAN));
        S::select(S::lt(S::abs(x), S::splat(f32::MIN_POSITIVE)), S::splat(f32::NEG_INFINITY), y)
    }
}

/// tanh x = t / (t + 2), t = e^(2|x|) - 1, without cancellation for small x.
#[inline(always)]
pub(crate) unsafe fn tanh<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller promises the instruction set.
    unsafe {
        // tanh 10 rounds to 1.
        let two_x = S::min(S::splat(20.0), S::add(S::abs(x), S::abs(x)));
        let (n, q) = exp_parts::<S>(two_x);
        let one = S::splat(1.0);
        let power = S::scale2(one, n);
        let t = S::fma(power, q, S::sub(power, one));
        S::copysign(S::div(t, S::add(t, S::splat(2.0))), x)
    }
}

/// ln(1 + eˣ) = max(x, 0) + ln(1 + u), u = e^-|x|; ln(1 + u) = 2 artanh(s), s = u / (2 + u) <= 1/3.
#[inline(always)]
unsafe fn softplus<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller promises the instruction set.
    unsafe {
        let u = exp::<S>(S::sub(S::zero(), S::abs(x)));
        let s = S::div(u, S::add(u, S::splat(2.0)));
        let z = S::mul(s, s);
        let mut p = S::splat(2.0 / 17.0);
        for c in [2.0 / 15.0, 2.0 / 13.0, 2.0 / 11.0, 2.0 / 9.0, 2.0 / 7.0, 2.0 / 5.0, 2.0 / 3.0] {
            p = S::fma(p, z, S::splat(c));
        }
        let tail = S::fma(S::mul(p, z), s, S::add(s, s));
        S::add(S::max(S::zero(), x), tail)
    }
}

/// 1 / (1 + e^-x), by e^-|x| so that it never overflows.
#[inline(always)]
unsafe fn sigmoid<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller promises the instruction set.
    unsafe {
        let one = S::splat(1.0);
        let u = exp::<S>(S::sub(S::zero(), S::abs(x)));
        let top = S::select(S::lt(x, S::zero()), u, one);
        S::div(top, S::add(one, u))
    }
}

/// Defines unary functions: name, fields, body over the vector `x`.
macro_rules! op1 {
    ($( $name:ident { $($field:ident),* } |$x:ident| $body:expr; )*) => {
        $(
            #[derive(Clone, Copy)]
            struct $name { $($field: f32),* }
            impl Op1 for $name {
                #[inline(always)]
                unsafe fn at<S: Simd>(self, $x: S::V) -> S::V {
                    let Self { $($field),* } = self;
                    // SAFETY: the caller promises the instruction set.
                    unsafe { $body }
                }
            }
        )*
    };
}

op1! {
    Exp {} |x| exp::<S>(x);
    Log {} |x| log::<S>(x);
    Tanh {} |x| tanh::<S>(x);
    Relu {} |x| S::max(S::zero(), x);
    Softplus {} |x| softplus::<S>(x);
    Sigmoid {} |x| sigmoid::<S>(x);
    Square {} |x| S::mul(x, x);
    Sqrt {} |x| S::sqrt(x);
    Abs {} |x| S::abs(x);
    // 0 and NaN are neither below nor above 0 and pass.
    Sign {} |x| {
        let y = S::select(S::lt(S::zero(), x), S::splat(1.0), x);
        S::select(S::lt(x, S::zero()), S::splat(-1.0), y)
    };
    Recip {} |x| S::div(S::splat(1.0), x);
    Affine { scale, shift } |x| S::fma(S::splat(scale), x, S::splat(shift));
    Clamp { lo, hi } |x| S::min(S::splat(hi), S::max(S::splat(lo), x));
    Inside { lo, hi } |x| {
        let y = S::select(S::le(S::splat(lo), x), S::splat(1.0), S::zero());
        S::select(S::le(x, S::splat(hi)), y, S::zero())
    };
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

/// y = f(x).
struct Map<'a, F> {
    f: F,
    x: &'a [f32],
    y: Shared<f32>,
}

impl<S: Simd, F: Op1> Job<S> for Map<'_, F> {
    #[inline(always)]
    unsafe fn run(&self, tiles: Range<usize>) {
        let (mut i, end) = (tiles.start * TILE, (tiles.end * TILE).min(self.x.len()));
        // SAFETY: tiles are disjoint parts of y, which is as long as x.
        unsafe {
            let (x, y) = (self.x.as_ptr(), self.y.ptr());
            while i + S::LANES <= end {
                S::store(y.add(i), self.f.at::<S>(S::load(x.add(i))));
                i += S::LANES;
            }
            if i < end {
                let n = end - i;
                S::store_part(y.add(i), self.f.at::<S>(S::load_part(x.add(i), n)), n);
            }
        }
    }
}

/// See the contract.
#[inline(always)]
pub(crate) unsafe fn unary<S: Simd>(f: Unary, x: &[f32], y: &mut [f32]) {
    assert!(x.len() == y.len(), "x: {} elements, y has {}", x.len(), y.len());
    let y = Shared::new(y);
    let tiles = x.len().div_ceil(TILE);
    macro_rules! map {
        ($cost:literal, $f:expr) => {
            // SAFETY: the caller promises the instruction set.
            unsafe { run::<S>(tiles, x.len() * $cost, &Map { f: $f, x, y }) }
        };
    }
    match f {
        Unary::Exp => map!(16, Exp {}),
        Unary::Log => map!(16, Log {}),
        Unary::Tanh => map!(16, Tanh {}),
        Unary::Relu => map!(1, Relu {}),
        Unary::Softplus => map!(16, Softplus {}),
        Unary::Sigmoid => map!(16, Sigmoid {}),
        Unary::Square => map!(1, Square {}),
        Unary::Sqrt => map!(4, Sqrt {}),
        Unary::Abs => map!(1, Abs {}),
        Unary::Sign => map!(1, Sign {}),
        Unary::Recip => map!(4, Recip {}),
        Unary::Affine { scale, shift } => map!(1, Affine { scale, shift }),
        Unary::Clamp { lo, hi } => map!(1, Clamp { lo, hi }),
        Unary::Inside { lo, hi } => map!(1, Inside { lo, hi }),
    }
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
