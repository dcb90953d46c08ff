//! The element-wise functions, written once for all instruction sets.

use super::{check_binary, collapse};
use crate::simd::Simd;
use crate::tile::{Shared, for_ranges};
use crate::{Binary, Broadcast, Unary};

/// Elements of one parallel tile.
const TILE: usize = 1 << 14;

/// A function of one vector.
trait Op1: Copy + Sync {
    unsafe fn at<S: Simd>(self, x: S::V) -> S::V;
}

/// A function of two vectors.
trait Op2 {
    unsafe fn at<S: Simd>(a: S::V, b: S::V) -> S::V;
}

/// ln 2 in two parts; the first has 11 trailing zero bits, so that n · LN2_HI is exact.
const LN2_HI: f32 = 0.693_359_4;
const LN2_LO: f32 = -2.121_944_4e-4;

/// (eʳ - 1 - r) / r² on |r| <= ln 2 / 2: our own minimax fit, error below 1.4e-8.
const EXP: [f32; 5] = [
    0.5,
    0.166_665_43,
    0.041_666_28,
    0.008_366_583,
    0.001_394_644_8,
];

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
        let small = S::lt(x, S::splat(f32::MIN_POSITIVE));
        let scaled = S::select(small, S::mul(x, S::splat(8_388_608.0)), x);
        let (m, e) = S::split2(scaled);
        let e = S::add(e, S::select(small, S::splat(-23.0), S::zero()));
        let y = log_of_mantissa::<S>(S::sub(m, S::splat(1.0)), e);
        let y = S::select(S::lt(x, S::splat(f32::INFINITY)), y, x);
        let y = S::select(S::le(S::zero(), x), y, S::splat(f32::NAN));
        S::select(S::eq(x, S::zero()), S::splat(f32::NEG_INFINITY), y)
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
        for c in [
            2.0 / 15.0,
            2.0 / 13.0,
            2.0 / 11.0,
            2.0 / 9.0,
            2.0 / 7.0,
            2.0 / 5.0,
            2.0 / 3.0,
        ] {
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

/// y = f(x) for a contiguous row.
#[inline(always)]
unsafe fn map<S: Simd>(f: impl Op1, x: *const f32, y: *mut f32, len: usize) {
    // SAFETY: the caller promises the instruction set and `len` floats in both.
    unsafe {
        let mut i = 0;
        while i + S::LANES <= len {
            S::store(y.add(i), f.at::<S>(S::load(x.add(i))));
            i += S::LANES;
        }
        if i < len {
            S::store_part(
                y.add(i),
                f.at::<S>(S::load_part(x.add(i), len - i)),
                len - i,
            );
        }
    }
}

/// See the contract.
#[inline(always)]
pub(crate) unsafe fn unary<S: Simd>(f: Unary, x: &[f32], y: &mut [f32]) {
    assert!(
        x.len() == y.len(),
        "x: {} elements, y has {}",
        x.len(),
        y.len()
    );
    let (len, out) = (x.len(), Shared::new(y));
    let cost = match f {
        Unary::Exp | Unary::Log | Unary::Tanh | Unary::Softplus | Unary::Sigmoid => 16,
        _ => 1,
    };
    for_ranges(len.div_ceil(TILE), len * cost, &|tiles| {
        let first = tiles.start * TILE;
        let n = (tiles.end * TILE).min(len) - first;
        // SAFETY: tiles are disjoint parts of y, and x is as long.
        unsafe {
            let (x, y) = (x.as_ptr().add(first), out.ptr().add(first));
            match f {
                Unary::Exp => map::<S>(Exp {}, x, y, n),
                Unary::Log => map::<S>(Log {}, x, y, n),
                Unary::Tanh => map::<S>(Tanh {}, x, y, n),
                Unary::Relu => map::<S>(Relu {}, x, y, n),
                Unary::Softplus => map::<S>(Softplus {}, x, y, n),
                Unary::Sigmoid => map::<S>(Sigmoid {}, x, y, n),
                Unary::Square => map::<S>(Square {}, x, y, n),
                Unary::Sqrt => map::<S>(Sqrt {}, x, y, n),
                Unary::Abs => map::<S>(Abs {}, x, y, n),
                Unary::Sign => map::<S>(Sign {}, x, y, n),
                Unary::Recip => map::<S>(Recip {}, x, y, n),
                Unary::Affine { scale, shift } => map::<S>(Affine { scale, shift }, x, y, n),
                Unary::Clamp { lo, hi } => map::<S>(Clamp { lo, hi }, x, y, n),
                Unary::Inside { lo, hi } => map::<S>(Inside { lo, hi }, x, y, n),
            }
        }
    });
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
unsafe fn zip<S: Simd, F: Op2>(
    a: *const f32,
    sa: usize,
    b: *const f32,
    sb: usize,
    y: *mut f32,
    len: usize,
) {
    // SAFETY: the caller promises the instruction set and `len` elements in all three.
    unsafe {
        let mut i = 0;
        if (sa, sb) == (1, 1) {
            while i + S::LANES <= len {
                S::store(y.add(i), F::at::<S>(S::load(a.add(i)), S::load(b.add(i))));
                i += S::LANES;
            }
        }
        while i < len {
            let n = len - i;
            let v = F::at::<S>(walk::<S>(a, i, sa, n), walk::<S>(b, i, sb, n));
            S::store_part(y.add(i), v, n);
            i += S::LANES;
        }
    }
}

/// All rows of one function.
#[inline(always)]
unsafe fn zip_all<S: Simd, F: Op2>(s: &Broadcast, a: *const f32, b: *const f32, y: &mut [f32]) {
    let [d0, d1, d2] = s.dims;
    let out = Shared::new(y);
    let (a, b) = (Shared::of(a), Shared::of(b));
    if (d0, d1, s.a[2], s.b[2]) == (1, 1, 1, 1) {
        for_ranges(d2.div_ceil(TILE), d2, &|tiles| {
            let first = tiles.start * TILE;
            let n = (tiles.end * TILE).min(d2) - first;
            // SAFETY: tiles are disjoint parts of y; a and b are as long.
            unsafe {
                zip::<S, F>(
                    a.ptr().add(first),
                    1,
                    b.ptr().add(first),
                    1,
                    out.ptr().add(first),
                    n,
                )
            };
        });
        return;
    }
    for i in 0..d0 {
        for j in 0..d1 {
            // SAFETY: the lengths were checked against these strides.
            unsafe {
                let a = a.ptr().add(i * s.a[0] + j * s.a[1]);
                let b = b.ptr().add(i * s.b[0] + j * s.b[1]);
                let y = out.ptr().add((i * d1 + j) * d2);
                zip::<S, F>(a, s.a[2], b, s.b[2], y, d2);
            }
        }
    }
}

/// See the contract.
#[inline(always)]
pub(crate) unsafe fn binary<S: Simd>(
    f: Binary,
    shape: &Broadcast,
    a: &[f32],
    b: &[f32],
    y: &mut [f32],
) {
    if !check_binary(shape, a, b, y) {
        return;
    }
    let s = &collapse(shape);
    let (a, b) = (a.as_ptr(), b.as_ptr());
    // SAFETY: the lengths were checked; the caller promises the instruction set.
    unsafe {
        match f {
            Binary::Add => zip_all::<S, Add>(s, a, b, y),
            Binary::Sub => zip_all::<S, Sub>(s, a, b, y),
            Binary::Mul => zip_all::<S, Mul>(s, a, b, y),
            Binary::Div => zip_all::<S, Div>(s, a, b, y),
            Binary::Min => zip_all::<S, Min>(s, a, b, y),
            Binary::Max => zip_all::<S, Max>(s, a, b, y),
            Binary::Le => zip_all::<S, Le>(s, a, b, y),
            Binary::Lt => zip_all::<S, Lt>(s, a, b, y),
            Binary::ReluGrad => zip_all::<S, ReluGrad>(s, a, b, y),
            Binary::TanhGrad => zip_all::<S, TanhGrad>(s, a, b, y),
            Binary::Expectile => zip_all::<S, Expectile>(s, a, b, y),
            Binary::ExpectileGrad => zip_all::<S, ExpectileGrad>(s, a, b, y),
        }
    }
}
