//! Exponentials, logarithms and what is made of them, of one vector.

use crate::simd::Simd;

/// Elements of one parallel tile.
pub(super) const TILE: usize = 1 << 14;

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

/// π in three parts; the first two have few significant bits, so that their products with a small n are exact.
const PI: [f32; 3] = [3.140_625, 9.675_026e-4, 1.509_958e-7];

/// (sin r - r) / r³ on |r| <= π / 2, as a polynomial in r².
const SIN: [f32; 4] = [-0.166_666_6, 0.008_333_079, -1.981_069e-4, 2.608_316e-6];

/// sin x = ±sin r, x = n π + r; the sign is that of (-1)ⁿ.
#[inline(always)]
pub(super) unsafe fn sin<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller promises the instruction set.
    unsafe {
        let n = S::round(S::mul(x, S::splat(std::f32::consts::FRAC_1_PI)));
        let r = PI.iter().fold(x, |r, part| S::fnma(n, S::splat(*part), r));
        // Where the period is no longer exact the result is none, but it stays a sine. NaN passes, being the second argument.
        let quarter = std::f32::consts::FRAC_PI_2;
        let r = S::max(S::splat(-quarter), S::min(S::splat(quarter), r));
        let z = S::mul(r, r);
        let p = SIN[..3].iter().rev().fold(S::splat(SIN[3]), |p, c| S::fma(p, z, S::splat(*c)));
        let y = S::fma(S::mul(r, z), p, r);
        // -1, 0 or 1
        let odd = S::fnma(S::splat(2.0), S::round(S::mul(n, S::splat(0.5))), n);
        S::mul(y, S::fnma(S::splat(2.0), S::abs(odd), S::splat(1.0)))
    }
}

/// ln(1 + eˣ) = max(x, 0) + ln(1 + u), u = e^-|x|; ln(1 + u) = 2 artanh(s), s = u / (2 + u) <= 1/3.
#[inline(always)]
pub(super) unsafe fn softplus<S: Simd>(x: S::V) -> S::V {
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
pub(super) unsafe fn sigmoid<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller promises the instruction set.
    unsafe {
        let one = S::splat(1.0);
        let u = exp::<S>(S::sub(S::zero(), S::abs(x)));
        let top = S::select(S::lt(x, S::zero()), u, one);
        S::div(top, S::add(one, u))
    }
}

/// 2 √(2/π), and 0.044715 times it.
const GELU: [f32; 2] = [1.595_769_2, 0.071_354_82];

/// x / (1 + e^-w), w = x (GELU₀ + GELU₁ x²).
#[inline(always)]
pub(super) unsafe fn gelu<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller promises the instruction set.
    unsafe {
        // Below it the result is 0; NaN passes, being the second argument.
        let x = S::max(S::splat(-30.0), x);
        let w = S::mul(x, S::fma(S::splat(GELU[1]), S::mul(x, x), S::splat(GELU[0])));
        S::mul(x, sigmoid::<S>(w))
    }
}

/// y + x y (1 - y) w', y = 1 / (1 + e^-w): the derivative of [`gelu`]; y (1 - y) by e^-|w|, without cancellation.
#[inline(always)]
pub(super) unsafe fn gelu_slope<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller promises the instruction set.
    unsafe {
        let one = S::splat(1.0);
        let x = S::max(S::splat(-30.0), S::min(S::splat(30.0), x));
        let square = S::mul(x, x);
        let w = S::mul(x, S::fma(S::splat(GELU[1]), square, S::splat(GELU[0])));
        let rise = S::fma(S::splat(3.0 * GELU[1]), square, S::splat(GELU[0]));
        let u = exp::<S>(S::sub(S::zero(), S::abs(w)));
        let down = S::div(one, S::add(one, u));
        let y = S::mul(S::select(S::lt(w, S::zero()), u, one), down);
        let slope = S::mul(S::mul(u, down), down);
        S::fma(S::mul(x, slope), rise, y)
    }
}
