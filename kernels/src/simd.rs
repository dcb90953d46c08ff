//! The vector vocabulary in which the kernels are written once.
//!
//! [`Simd`] has one implementation per instruction set. Generic kernels are
//! `#[inline(always)]` and only ever instantiated inside a function that enables the
//! instruction set ([`variants!`]), so every method becomes one or a few instructions.
//!
//! Methods are `unsafe` for one common reason: *the processor must have the instruction set*.
//! Those that take pointers also need them valid for the number of floats named.
//! Semantics of `min`, `max` and comparisons are those of x86: `min(a, b)` is `a < b ? a : b`, so a
//! NaN in either argument yields `b`; comparisons with NaN are false.
//!
//! Above 400 lines, so that the three implementations of a method stand in one place.

use std::ops::Range;

/// Work on numbered tiles that an instruction set can be enabled around: see [`Simd::enter`].
///
/// A closure would not do: it is compiled without the instruction set of the function that
/// calls it, so that every vector operation in it becomes a call.
pub(crate) trait Job<S>: Sync {
    /// Does these tiles. Implementations are `#[inline(always)]`.
    unsafe fn run(&self, tiles: Range<usize>);
}

/// One instruction set seen as `LANES` floats at a time.
pub(crate) trait Simd: Copy + 'static {
    /// Floats per vector, 8 or 16.
    const LANES: usize;
    /// Vector of `LANES` floats.
    type V: Copy;
    /// One truth value per lane.
    type M: Copy;

    /// All lanes `x`.
    unsafe fn splat(x: f32) -> Self::V;
    /// `LANES` floats from `p`, any alignment.
    unsafe fn load(p: *const f32) -> Self::V;
    /// `n` floats from `p`, zeros in the other lanes; `n >= LANES` loads all lanes.
    unsafe fn load_part(p: *const f32, n: usize) -> Self::V;
    /// `LANES` floats to `p`, any alignment.
    unsafe fn store(p: *mut f32, v: Self::V);
    /// The first `n` lanes to `p`; `n >= LANES` stores all lanes. Only a true part is stored under a mask, which takes
    /// some processors (Zen 4 and 5) twenty cycles.
    unsafe fn store_part(p: *mut f32, v: Self::V, n: usize);
    /// a + b
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// a - b
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// a · b
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// a / b
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// a < b ? a : b
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// a > b ? a : b
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// a · b + c, rounded once where the instruction set can
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// c - a · b, rounded once where the instruction set can
    unsafe fn fnma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// √a, correctly rounded
    unsafe fn sqrt(a: Self::V) -> Self::V;
    /// |a|
    unsafe fn abs(a: Self::V) -> Self::V;
    /// |a| with the sign of b
    unsafe fn copysign(a: Self::V, b: Self::V) -> Self::V;
    /// nearest integer, ties to even
    unsafe fn round(a: Self::V) -> Self::V;
    /// a < b
    unsafe fn lt(a: Self::V, b: Self::V) -> Self::M;
    /// a <= b
    unsafe fn le(a: Self::V, b: Self::V) -> Self::M;
    /// a == b
    unsafe fn eq(a: Self::V, b: Self::V) -> Self::M;
    /// m ? a : b
    unsafe fn select(m: Self::M, a: Self::V, b: Self::V) -> Self::V;
    /// a · 2ⁿ for integral |n| <= 252
    unsafe fn scale2(a: Self::V, n: Self::V) -> Self::V;
    /// For normal positive a: (m, e) with a = m · 2ᵉ and √½ <= m < √2 (to rounding of the bound).
    unsafe fn split2(a: Self::V) -> (Self::V, Self::V);
    /// Lane i of the result is the sum of `v[i]`, added as a tree of halves: l + (l + LANES/2), ...
    unsafe fn sum_each(v: &[Self::V]) -> Self::V;
    /// Transposes the `LANES` x `LANES` matrix whose rows are `v`.
    unsafe fn transpose(v: &mut [Self::V]);

    /// `job.run(tiles)`, compiled with the instruction set enabled.
    unsafe fn enter<J: Job<Self>>(job: &J, tiles: Range<usize>);

    /// All lanes 0.
    #[inline(always)]
    unsafe fn zero() -> Self::V {
        // SAFETY: same requirement as this method.
        unsafe { Self::splat(0.0) }
    }
}

/// Exponent field of √½: adding `1.0 - √½` in bits before cutting the exponent centres the mantissa.
const SQRT_HALF: u32 = 0x3f35_04f3;
const ONE: u32 = 0x3f80_0000;
const MANTISSA: u32 = 0x007f_ffff;

/// Plain Rust; the compiler vectorises for the baseline target.
#[derive(Clone, Copy)]
pub(crate) struct Plain;

#[inline(always)]
fn each2(a: [f32; 8], b: [f32; 8], f: impl Fn(f32, f32) -> f32) -> [f32; 8] {
    let mut y = [0.0; 8];
    for i in 0..8 {
        y[i] = f(a[i], b[i]);
    }
    y
}

#[inline(always)]
fn test2(a: [f32; 8], b: [f32; 8], f: impl Fn(f32, f32) -> bool) -> [bool; 8] {
    let mut y = [false; 8];
    for i in 0..8 {
        y[i] = f(a[i], b[i]);
    }
    y
}

/// Nearest integer, ties to even, for |x| < 2²²; larger values and NaN pass through.
/// `f32::round_ties_even` would be a library call on the baseline target.
#[inline(always)]
fn round_even(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0; // 1.5 · 2²³
    if x.abs() < 4_194_304.0 { (x + SHIFT) - SHIFT } else { x }
}

impl Simd for Plain {
    const LANES: usize = 8;
    type V = [f32; 8];
    type M = [bool; 8];

    unsafe fn enter<J: Job<Self>>(job: &J, tiles: Range<usize>) {
        // SAFETY: same requirements.
        unsafe { job.run(tiles) }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        [x; 8]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::V {
        // SAFETY: the caller owns 8 floats at p; an array of f32 may be read unaligned.
        unsafe { p.cast::<[f32; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize) -> Self::V {
        let mut y = [0.0; 8];
        // SAFETY: the caller owns n floats at p; y has 8.
        unsafe { std::ptr::copy_nonoverlapping(p, y.as_mut_ptr(), n.min(8)) };
        y
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::V) {
        // SAFETY: the caller owns 8 floats at p.
        unsafe { p.cast::<[f32; 8]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn store_part(p: *mut f32, v: Self::V, n: usize) {
        // SAFETY: the caller owns n floats at p; v has 8.
        unsafe { std::ptr::copy_nonoverlapping(v.as_ptr(), p, n.min(8)) }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        each2(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        each2(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        each2(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
        each2(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        each2(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        each2(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        each2(each2(a, b, |a, b| a * b), c, |p, c| p + c)
    }
    #[inline(always)]
    unsafe fn fnma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        each2(each2(a, b, |a, b| a * b), c, |p, c| c - p)
    }
    #[inline(always)]
    unsafe fn sqrt(a: Self::V) -> Self::V {
        a.map(f32::sqrt)
    }
    #[inline(always)]
    unsafe fn abs(a: Self::V) -> Self::V {
        a.map(f32::abs)
    }
    #[inline(always)]
    unsafe fn copysign(a: Self::V, b: Self::V) -> Self::V {
        each2(a, b, f32::copysign)
    }
    #[inline(always)]
    unsafe fn round(a: Self::V) -> Self::V {
        a.map(round_even)
    }
    #[inline(always)]
    unsafe fn lt(a: Self::V, b: Self::V) -> Self::M {
        test2(a, b, |a, b| a < b)
    }
    #[inline(always)]
    unsafe fn le(a: Self::V, b: Self::V) -> Self::M {
        test2(a, b, |a, b| a <= b)
    }
    #[inline(always)]
    unsafe fn eq(a: Self::V, b: Self::V) -> Self::M {
        test2(a, b, |a, b| a == b)
    }
    #[inline(always)]
    unsafe fn select(m: Self::M, a: Self::V, b: Self::V) -> Self::V {
        let mut y = b;
        for i in 0..8 {
            if m[i] {
                y[i] = a[i];
            }
        }
        y
    }
    #[inline(always)]
    unsafe fn scale2(a: Self::V, n: Self::V) -> Self::V {
        each2(a, n, |a, n| {
            let half = (n as i32) >> 1;
            let rest = n as i32 - half;
            let power = |e: i32| f32::from_bits(((e + 127) as u32) << 23);
            a * power(half) * power(rest)
        })
    }
    #[inline(always)]
    unsafe fn split2(a: Self::V) -> (Self::V, Self::V) {
        let (mut m, mut e) = (a, a);
        for i in 0..8 {
            let bits = a[i].to_bits().wrapping_add(ONE - SQRT_HALF);
            e[i] = ((bits >> 23) as i32 - 127) as f32;
            m[i] = f32::from_bits((bits & MANTISSA) + SQRT_HALF);
        }
        (m, e)
    }
    #[inline(always)]
    unsafe fn sum_each(v: &[Self::V]) -> Self::V {
        let mut y = [0.0; 8];
        for (y, v) in y.iter_mut().zip(v) {
            let h = [v[0] + v[4], v[1] + v[5], v[2] + v[6], v[3] + v[7]];
            *y = (h[0] + h[2]) + (h[1] + h[3]);
        }
        y
    }
    #[inline(always)]
    unsafe fn transpose(v: &mut [Self::V]) {
        for i in 0..8 {
            for j in 0..i {
                let t = v[i][j];
                v[i][j] = v[j][i];
                v[j][i] = t;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Job, MANTISSA, ONE, SQRT_HALF, Simd};
    use std::arch::x86_64::*;
    use std::ops::Range;

    /// Methods that are one expression of intrinsics.
    macro_rules! methods {
        ($( fn $name:ident($($arg:ident : $ty:ty),*) $(-> $ret:ty)? = $body:expr; )*) => {
            $(
                #[inline(always)]
                unsafe fn $name($($arg: $ty),*) $(-> $ret)? {
                    // SAFETY: the caller promises the instruction set and valid pointers.
                    unsafe { $body }
                }
            )*
        };
    }

    /// AVX2 and FMA, 8 lanes.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2;

    /// Eight ones followed by eight zeros: the window starting at 8 - n masks n lanes.
    static WINDOW: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

    #[inline(always)]
    unsafe fn mask8(n: usize) -> __m256i {
        // SAFETY: 8 - min(n, 8) + 8 <= 16 elements.
        unsafe { _mm256_loadu_si256(WINDOW.as_ptr().add(8 - n.min(8)).cast()) }
    }

    impl Simd for Avx2 {
        const LANES: usize = 8;
        type V = __m256;
        type M = __m256;

        unsafe fn enter<J: Job<Self>>(job: &J, tiles: Range<usize>) {
            #[target_feature(enable = "avx2,fma")]
            unsafe fn enabled<J: Job<Avx2>>(job: &J, tiles: Range<usize>) {
                // SAFETY: this function enables the instruction set; the rest is the caller's promise.
                unsafe { job.run(tiles) }
            }
            // SAFETY: the caller promises the instruction set.
            unsafe { enabled(job, tiles) }
        }

        methods! {
            fn splat(x: f32) -> __m256 = _mm256_set1_ps(x);
            fn load(p: *const f32) -> __m256 = _mm256_loadu_ps(p);
            fn load_part(p: *const f32, n: usize) -> __m256 = _mm256_maskload_ps(p, mask8(n));
            fn store(p: *mut f32, v: __m256) = _mm256_storeu_ps(p, v);
            fn store_part(p: *mut f32, v: __m256, n: usize) = match n {
                8.. => _mm256_storeu_ps(p, v),
                0 => {}
                _ => _mm256_maskstore_ps(p, mask8(n), v),
            };
            fn add(a: __m256, b: __m256) -> __m256 = _mm256_add_ps(a, b);
            fn sub(a: __m256, b: __m256) -> __m256 = _mm256_sub_ps(a, b);
            fn mul(a: __m256, b: __m256) -> __m256 = _mm256_mul_ps(a, b);
            fn div(a: __m256, b: __m256) -> __m256 = _mm256_div_ps(a, b);
            fn min(a: __m256, b: __m256) -> __m256 = _mm256_min_ps(a, b);
            fn max(a: __m256, b: __m256) -> __m256 = _mm256_max_ps(a, b);
            fn fma(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fmadd_ps(a, b, c);
            fn fnma(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fnmadd_ps(a, b, c);
            fn sqrt(a: __m256) -> __m256 = _mm256_sqrt_ps(a);
            fn abs(a: __m256) -> __m256 = _mm256_andnot_ps(_mm256_set1_ps(-0.0), a);
            fn copysign(a: __m256, b: __m256) -> __m256 = {
                let sign = _mm256_set1_ps(-0.0);
                _mm256_or_ps(_mm256_andnot_ps(sign, a), _mm256_and_ps(sign, b))
            };
            fn round(a: __m256) -> __m256 =
                _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
            fn lt(a: __m256, b: __m256) -> __m256 = _mm256_cmp_ps::<_CMP_LT_OQ>(a, b);
            fn le(a: __m256, b: __m256) -> __m256 = _mm256_cmp_ps::<_CMP_LE_OQ>(a, b);
            fn eq(a: __m256, b: __m256) -> __m256 = _mm256_cmp_ps::<_CMP_EQ_OQ>(a, b);
            fn select(m: __m256, a: __m256, b: __m256) -> __m256 = _mm256_blendv_ps(b, a, m);
            fn scale2(a: __m256, n: __m256) -> __m256 = {
                let n = _mm256_cvtps_epi32(n);
                let half = _mm256_srai_epi32::<1>(n);
                let bias = _mm256_set1_epi32(127);
                let first = _mm256_slli_epi32::<23>(_mm256_add_epi32(half, bias));
                let rest = _mm256_sub_epi32(n, half);
                let second = _mm256_slli_epi32::<23>(_mm256_add_epi32(rest, bias));
                let a = _mm256_mul_ps(a, _mm256_castsi256_ps(first));
                _mm256_mul_ps(a, _mm256_castsi256_ps(second))
            };
            fn split2(a: __m256) -> (__m256, __m256) = {
                let shift = _mm256_set1_epi32((ONE - SQRT_HALF) as i32);
                let bits = _mm256_add_epi32(_mm256_castps_si256(a), shift);
                let e = _mm256_sub_epi32(_mm256_srli_epi32::<23>(bits), _mm256_set1_epi32(127));
                let m = _mm256_and_si256(bits, _mm256_set1_epi32(MANTISSA as i32));
                let m = _mm256_add_epi32(m, _mm256_set1_epi32(SQRT_HALF as i32));
                (_mm256_castsi256_ps(m), _mm256_cvtepi32_ps(e))
            };
        }

        #[inline(always)]
        unsafe fn sum_each(v: &[__m256]) -> __m256 {
            // SAFETY: the caller promises AVX2.
            unsafe {
                let at = |i: usize| {
                    if i < v.len() { v[i] } else { _mm256_setzero_ps() }
                };
                // Lane l + 4, then l + 2, then l + 1. Order: output 4p + q is block p, element q.
                let halves = |a, b| {
                    _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b))
                };
                let pairs =
                    |a, b| _mm256_add_ps(_mm256_shuffle_ps::<0x44>(a, b), _mm256_shuffle_ps::<0xee>(a, b));
                let singles =
                    |a, b| _mm256_add_ps(_mm256_shuffle_ps::<0x88>(a, b), _mm256_shuffle_ps::<0xdd>(a, b));
                let q =
                    [halves(at(0), at(4)), halves(at(1), at(5)), halves(at(2), at(6)), halves(at(3), at(7))];
                singles(pairs(q[0], q[1]), pairs(q[2], q[3]))
            }
        }

        #[inline(always)]
        unsafe fn transpose(v: &mut [__m256]) {
            // SAFETY: the caller promises AVX2.
            unsafe {
                let v: &mut [__m256; 8] = v.try_into().expect("invariant: eight rows");
                let mut t = *v;
                for i in (0..8).step_by(2) {
                    t[i] = _mm256_unpacklo_ps(v[i], v[i + 1]);
                    t[i + 1] = _mm256_unpackhi_ps(v[i], v[i + 1]);
                }
                for i in [0, 4] {
                    v[i] = _mm256_shuffle_ps::<0x44>(t[i], t[i + 2]);
                    v[i + 1] = _mm256_shuffle_ps::<0xee>(t[i], t[i + 2]);
                    v[i + 2] = _mm256_shuffle_ps::<0x44>(t[i + 1], t[i + 3]);
                    v[i + 3] = _mm256_shuffle_ps::<0xee>(t[i + 1], t[i + 3]);
                }
                t = *v;
                for i in 0..4 {
                    v[i] = _mm256_permute2f128_ps::<0x20>(t[i], t[i + 4]);
                    v[i + 4] = _mm256_permute2f128_ps::<0x31>(t[i], t[i + 4]);
                }
            }
        }
    }

    /// AVX-512F, 16 lanes.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512;

    #[inline(always)]
    fn mask16(n: usize) -> __mmask16 {
        ((1u32 << n.min(16)) - 1) as __mmask16
    }

    impl Simd for Avx512 {
        const LANES: usize = 16;
        type V = __m512;
        type M = __mmask16;

        unsafe fn enter<J: Job<Self>>(job: &J, tiles: Range<usize>) {
            #[target_feature(enable = "avx512f")]
            unsafe fn enabled<J: Job<Avx512>>(job: &J, tiles: Range<usize>) {
                // SAFETY: this function enables the instruction set; the rest is the caller's promise.
                unsafe { job.run(tiles) }
            }
            // SAFETY: the caller promises the instruction set.
            unsafe { enabled(job, tiles) }
        }

        methods! {
            fn splat(x: f32) -> __m512 = _mm512_set1_ps(x);
            fn load(p: *const f32) -> __m512 = _mm512_loadu_ps(p);
            fn load_part(p: *const f32, n: usize) -> __m512 = _mm512_maskz_loadu_ps(mask16(n), p);
            fn store(p: *mut f32, v: __m512) = _mm512_storeu_ps(p, v);
            fn store_part(p: *mut f32, v: __m512, n: usize) = match n {
                16.. => _mm512_storeu_ps(p, v),
                0 => {}
                _ => _mm512_mask_storeu_ps(p, mask16(n), v),
            };
            fn add(a: __m512, b: __m512) -> __m512 = _mm512_add_ps(a, b);
            fn sub(a: __m512, b: __m512) -> __m512 = _mm512_sub_ps(a, b);
            fn mul(a: __m512, b: __m512) -> __m512 = _mm512_mul_ps(a, b);
            fn div(a: __m512, b: __m512) -> __m512 = _mm512_div_ps(a, b);
            fn min(a: __m512, b: __m512) -> __m512 = _mm512_min_ps(a, b);
            fn max(a: __m512, b: __m512) -> __m512 = _mm512_max_ps(a, b);
            fn fma(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps(a, b, c);
            fn fnma(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fnmadd_ps(a, b, c);
            fn sqrt(a: __m512) -> __m512 = _mm512_sqrt_ps(a);
            fn abs(a: __m512) -> __m512 = _mm512_abs_ps(a);
            fn copysign(a: __m512, b: __m512) -> __m512 = {
                let sign = _mm512_set1_epi32(i32::MIN);
                let (a, b) = (_mm512_castps_si512(a), _mm512_castps_si512(b));
                // 0xca: sign ? b : a
                _mm512_castsi512_ps(_mm512_ternarylogic_epi32::<0xca>(sign, b, a))
            };
            fn round(a: __m512) -> __m512 =
                _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
            fn lt(a: __m512, b: __m512) -> __mmask16 = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b);
            fn le(a: __m512, b: __m512) -> __mmask16 = _mm512_cmp_ps_mask::<_CMP_LE_OQ>(a, b);
            fn eq(a: __m512, b: __m512) -> __mmask16 = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b);
            fn select(m: __mmask16, a: __m512, b: __m512) -> __m512 = _mm512_mask_blend_ps(m, b, a);
            fn scale2(a: __m512, n: __m512) -> __m512 = _mm512_scalef_ps(a, n);
            fn split2(a: __m512) -> (__m512, __m512) = {
                let shift = _mm512_set1_epi32((ONE - SQRT_HALF) as i32);
                let bits = _mm512_add_epi32(_mm512_castps_si512(a), shift);
                let e = _mm512_sub_epi32(_mm512_srli_epi32::<23>(bits), _mm512_set1_epi32(127));
                let m = _mm512_and_si512(bits, _mm512_set1_epi32(MANTISSA as i32));
                let m = _mm512_add_epi32(m, _mm512_set1_epi32(SQRT_HALF as i32));
                (_mm512_castsi512_ps(m), _mm512_cvtepi32_ps(e))
            };
        }

        #[inline(always)]
        unsafe fn sum_each(v: &[__m512]) -> __m512 {
            // SAFETY: the caller promises AVX-512F.
            unsafe {
                let at = |i: usize| {
                    if i < v.len() { v[i] } else { _mm512_setzero_ps() }
                };
                // Lane l + 8, l + 4, l + 2, l + 1. Order: output 4p + q is block p, element q.
                let halves = |a, b| {
                    _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b))
                };
                let quarters = |a, b| {
                    _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b))
                };
                let pairs =
                    |a, b| _mm512_add_ps(_mm512_shuffle_ps::<0x44>(a, b), _mm512_shuffle_ps::<0xee>(a, b));
                let singles =
                    |a, b| _mm512_add_ps(_mm512_shuffle_ps::<0x88>(a, b), _mm512_shuffle_ps::<0xdd>(a, b));
                let q0 = quarters(halves(at(0), at(4)), halves(at(8), at(12)));
                let q1 = quarters(halves(at(1), at(5)), halves(at(9), at(13)));
                let q2 = quarters(halves(at(2), at(6)), halves(at(10), at(14)));
                let q3 = quarters(halves(at(3), at(7)), halves(at(11), at(15)));
                singles(pairs(q0, q1), pairs(q2, q3))
            }
        }

        #[inline(always)]
        unsafe fn transpose(v: &mut [__m512]) {
            // SAFETY: the caller promises AVX-512F.
            unsafe {
                let v: &mut [__m512; 16] = v.try_into().expect("invariant: sixteen rows");
                let mut t = *v;
                for i in (0..16).step_by(2) {
                    t[i] = _mm512_unpacklo_ps(v[i], v[i + 1]);
                    t[i + 1] = _mm512_unpackhi_ps(v[i], v[i + 1]);
                }
                // v[4i + c]: column c of every 4-column block, rows 4i..4i+4.
                for i in [0, 4, 8, 12] {
                    v[i] = _mm512_shuffle_ps::<0x44>(t[i], t[i + 2]);
                    v[i + 1] = _mm512_shuffle_ps::<0xee>(t[i], t[i + 2]);
                    v[i + 2] = _mm512_shuffle_ps::<0x44>(t[i + 1], t[i + 3]);
                    v[i + 3] = _mm512_shuffle_ps::<0xee>(t[i + 1], t[i + 3]);
                }
                // Then a 4 x 4 transposition of 128-bit blocks.
                for c in 0..4 {
                    let a = _mm512_shuffle_f32x4::<0x88>(v[c], v[c + 4]); // blocks 0, 2
                    let b = _mm512_shuffle_f32x4::<0xdd>(v[c], v[c + 4]); // blocks 1, 3
                    let d = _mm512_shuffle_f32x4::<0x88>(v[c + 8], v[c + 12]);
                    let e = _mm512_shuffle_f32x4::<0xdd>(v[c + 8], v[c + 12]);
                    t[c] = _mm512_shuffle_f32x4::<0x88>(a, d);
                    t[c + 8] = _mm512_shuffle_f32x4::<0xdd>(a, d);
                    t[c + 4] = _mm512_shuffle_f32x4::<0x88>(b, e);
                    t[c + 12] = _mm512_shuffle_f32x4::<0xdd>(b, e);
                }
                *v = t;
            }
        }
    }
}

/// Safe entry points of one instruction set for generic kernels of the parent module.
///
/// The functions are safe because they are reachable only through a [`Kernels`](crate::Kernels)
/// table, which is handed out after the processor has been asked.
macro_rules! variants {
    (Plain; $( fn $name:ident($($arg:ident : $ty:ty),* $(,)?) $(-> $ret:ty)?; )*) => {
        $(
            pub(crate) fn $name($($arg: $ty),*) $(-> $ret)? {
                // SAFETY: Plain needs no instruction beyond the baseline.
                unsafe { super::generic::$name::<$crate::simd::Plain>($($arg),*) }
            }
        )*
    };
    ($isa:ident, $features:literal; $( fn $name:ident($($arg:ident : $ty:ty),* $(,)?) $(-> $ret:ty)?; )*) => {
        $(
            pub(crate) fn $name($($arg: $ty),*) $(-> $ret)? {
                #[target_feature(enable = $features)]
                unsafe fn enabled($($arg: $ty),*) $(-> $ret)? {
                    // SAFETY: this function enables the instruction set.
                    unsafe { super::generic::$name::<$crate::simd::$isa>($($arg),*) }
                }
                // SAFETY: reachable only through a table whose instruction set was detected.
                unsafe { enabled($($arg),*) }
            }
        )*
    };
}

/// The modules of a family, one for each instruction set, each with these entry points ([`variants!`]). Types are named
/// from the crate on: the modules do not see what their parent imports.
macro_rules! family {
    ($($functions:tt)*) => {
        pub(crate) mod portable {
            $crate::simd::variants! { Plain; $($functions)* }
        }
        #[cfg(target_arch = "x86_64")]
        pub(crate) mod avx2 {
            $crate::simd::variants! { Avx2, "avx2,fma"; $($functions)* }
        }
        #[cfg(target_arch = "x86_64")]
        pub(crate) mod avx512 {
            $crate::simd::variants! { Avx512, "avx512f"; $($functions)* }
        }
    };
}
pub(crate) use {family, variants};
