//! The two register kernels of the linear family, written once for AVX2 and AVX-512.
//!
//! Both exist for several heights, so that 17 rows become 8 + 9 instead of 12 + 5 (see `even_parts`): fewer
//! than eight running sums would wait for the latency of the multiply-add.

use crate::gather::prefetch_at;
use crate::simd::Simd;

/// What happens to a finished sum before it is stored.
#[derive(Clone, Copy)]
pub(crate) enum Finish {
    /// nothing
    Plain,
    /// max(z, 0)
    Relu,
    /// z where the other array, laid out like c, is positive, else 0
    ReluMask(*const f32),
    /// z · (1 - other²)
    TanhMask(*const f32),
}

impl Finish {
    /// The same for an element `n` further on.
    #[inline(always)]
    pub(crate) fn at(self, n: usize) -> Self {
        match self {
            Self::Plain | Self::Relu => self,
            Self::ReluMask(p) => Self::ReluMask(p.wrapping_add(n)),
            Self::TanhMask(p) => Self::TanhMask(p.wrapping_add(n)),
        }
    }
}

/// Arguments of [`tile`].
pub(crate) struct Tile {
    /// length of the sums
    pub inner: usize,
    /// left operand
    pub a: *const f32,
    /// distance between rows of a, or between steps of the sum if a is transposed; the other is 1
    pub a_stride: usize,
    /// right operand
    pub b: *const f32,
    /// distance between steps of the sum
    pub b_step: usize,
    /// result
    pub c: *mut f32,
    /// distance between rows of c
    pub c_stride: usize,
    /// columns, at most the width of the tile
    pub cols: usize,
    /// where sums start, one per column; null for zero
    pub start: *const f32,
    /// add what c holds before finishing
    pub add: bool,
    /// last operation
    pub finish: Finish,
    /// column sums of b, if wanted
    pub sums: *mut f32,
    /// what to ask the caches for meanwhile, one step of it per step of the sum, as far as they reach
    pub ahead: [Ahead; 4],
}

/// Memory that will be wanted soon: in each step two vectors that are neighbours. Nothing of an update of several
/// networks stays in L2 from one update to the next; without this, kernels wait for L3 a quarter of their time.
#[derive(Clone, Copy)]
pub(crate) struct Ahead {
    first: *const f32,
    stride: usize,
    steps: usize,
}

impl Ahead {
    /// Nothing.
    pub(crate) const NONE: Self = Self { first: std::ptr::null(), stride: 0, steps: 0 };

    /// `steps` times two vectors, `stride` floats apart. The addresses need not exist.
    pub(crate) fn new(first: *const f32, stride: usize, steps: usize) -> Self {
        Self { first, stride, steps }
    }

    /// `len` floats in a row.
    pub(crate) fn dense<S: Simd>(first: *const f32, len: usize) -> Self {
        Self::new(first, 2 * S::LANES, len.div_ceil(2 * S::LANES))
    }
}

/// A register kernel for given rows and vectors per row.
pub(crate) type TileFn = unsafe fn(&Tile);

/// The register kernels of an instruction set, compiled with it enabled.
pub(crate) trait Micro: Simd {
    /// Rows of the tallest tile (of two vectors).
    const TALL: usize;
    /// Vectors of the widest kernel of [`tile`] for so few rows.
    fn wide(rows: usize) -> usize;
    /// The kernel for `rows` rows of `vectors` vectors (2 or `wide(rows)`); `transposed`: a is; `sums`:
    /// also the sums of b's columns (two vectors, transposed only); `part`: fewer columns (two vectors only).
    fn tile(rows: usize, vectors: usize, transposed: bool, sums: bool, part: bool) -> TileFn;
    /// Rows of dw up to which panels of dy are not packed.
    const UNPACKED: usize;
    /// Columns of the widest kernel of [`dots`].
    const DOTS: usize;
    /// Rows of the kernel of [`dots`] for so many columns.
    fn dots_rows(cols: usize) -> usize;
    /// The kernel for so many columns, for one row or `dots_rows`.
    fn dots(cols: usize, one_row: bool) -> unsafe fn(&Dots);
}

/// c = finish(start + a b [+ c]) for MR rows and NV vectors of columns.
///
/// TR: a is transposed. SUMS: also add up the columns of b. PART: `cols` is less than NV vectors.
///
/// # Safety
/// The instruction set is present; a, b, c and the optional arrays cover the sizes.
#[inline(always)]
pub(crate) unsafe fn tile<
    S: Simd,
    const MR: usize,
    const NV: usize,
    const TR: bool,
    const SUMS: bool,
    const PART: bool,
>(
    t: &Tile,
) {
    // SAFETY: promised by the caller; partial vectors touch `cols` floats only.
    unsafe {
        macro_rules! load {
            ($p:expr, $j:expr) => {
                if PART {
                    S::load_part($p.wrapping_add($j * S::LANES), t.cols.saturating_sub($j * S::LANES))
                } else {
                    S::load($p.add($j * S::LANES))
                }
            };
        }
        macro_rules! store {
            ($p:expr, $j:expr, $v:expr) => {
                if PART {
                    S::store_part($p.wrapping_add($j * S::LANES), $v, t.cols.saturating_sub($j * S::LANES))
                } else {
                    S::store($p.add($j * S::LANES), $v)
                }
            };
        }
        let mut acc = [[S::zero(); NV]; MR];
        if !t.start.is_null() {
            for j in 0..NV {
                let v = load!(t.start, j);
                for row in &mut acc {
                    row[j] = v;
                }
            }
        }
        let mut sums = [S::zero(); NV];
        let (row, step) = if TR { (1, t.a_stride) } else { (t.a_stride, 1) };
        let (mut a, mut b) = (t.a, t.b);
        macro_rules! step {
            () => {{
                // Whichever operand has fewer registers waits in registers for the other.
                if MR < NV {
                    let mut x = [S::zero(); MR];
                    for r in 0..MR {
                        x[r] = S::splat(*a.add(r * row));
                    }
                    for j in 0..NV {
                        let v = load!(b, j);
                        if SUMS {
                            sums[j] = S::add(sums[j], v);
                        }
                        for r in 0..MR {
                            acc[r][j] = S::fma(x[r], v, acc[r][j]);
                        }
                    }
                } else {
                    let mut v = [S::zero(); NV];
                    for j in 0..NV {
                        v[j] = load!(b, j);
                        if SUMS {
                            sums[j] = S::add(sums[j], v[j]);
                        }
                    }
                    for r in 0..MR {
                        let x = S::splat(*a.add(r * row));
                        for j in 0..NV {
                            acc[r][j] = S::fma(x, v[j], acc[r][j]);
                        }
                    }
                }
                a = a.wrapping_add(step);
                b = b.wrapping_add(t.b_step);
            }};
        }
        let mut left = t.inner;
        for ahead in &t.ahead {
            let steps = ahead.steps.min(left);
            let mut p = ahead.first;
            for _ in 0..steps {
                prefetch_at(p);
                prefetch_at(p.wrapping_add(S::LANES));
                p = p.wrapping_add(ahead.stride);
                step!();
            }
            left -= steps;
        }
        for _ in 0..left {
            step!();
        }
        if t.add {
            for r in 0..MR {
                for j in 0..NV {
                    acc[r][j] = S::add(load!(t.c.add(r * t.c_stride), j), acc[r][j]);
                }
            }
        }
        match t.finish {
            Finish::Plain => {}
            Finish::Relu => {
                for row in &mut acc {
                    for v in row {
                        *v = S::max(S::zero(), *v);
                    }
                }
            }
            Finish::ReluMask(x) => {
                for r in 0..MR {
                    for j in 0..NV {
                        let x = load!(x.add(r * t.c_stride), j);
                        acc[r][j] = S::select(S::lt(S::zero(), x), acc[r][j], S::zero());
                    }
                }
            }
            Finish::TanhMask(x) => {
                for r in 0..MR {
                    for j in 0..NV {
                        let x = load!(x.add(r * t.c_stride), j);
                        acc[r][j] = S::mul(acc[r][j], S::fnma(x, x, S::splat(1.0)));
                    }
                }
            }
        }
        for r in 0..MR {
            for j in 0..NV {
                store!(t.c.add(r * t.c_stride), j, acc[r][j]);
            }
        }
        if SUMS {
            for j in 0..NV {
                let v = if t.add { S::add(load!(t.sums, j), sums[j]) } else { sums[j] };
                store!(t.sums, j, v);
            }
        }
    }
}

/// An array on the stack, at the start of a cache line.
#[repr(C, align(64))]
pub(crate) struct Lines<T>(pub T);

/// Arguments of [`dots`].
pub(crate) struct Dots {
    /// length of the sums
    pub inner: usize,
    /// left operand, rows of `inner` floats
    pub a: *const f32,
    /// distance between rows of a
    pub a_stride: usize,
    /// right operand, one row of `inner` floats per column of c
    pub w: *const f32,
    /// distance between rows of w
    pub w_stride: usize,
    /// result
    pub c: *mut f32,
    /// distance between rows of c
    pub c_stride: usize,
    /// added to each column; null for none
    pub bias: *const f32,
    /// add to what c holds
    pub add: bool,
}

/// c = a wᵀ + bias [+ c] for MR rows and NR columns.
///
/// # Safety
/// The instruction set is present; the pointers cover the sizes.
#[inline(always)]
pub(crate) unsafe fn dots<S: Simd, const MR: usize, const NR: usize>(t: &Dots) {
    // SAFETY: promised by the caller; the last, partial step reads `inner % LANES` floats only.
    unsafe {
        let mut acc = [[S::zero(); NR]; MR];
        let whole = t.inner / S::LANES * S::LANES;
        let mut at = 0;
        while at < whole {
            let mut w = [S::zero(); NR];
            for (n, w) in w.iter_mut().enumerate() {
                *w = S::load(t.w.add(n * t.w_stride + at));
            }
            for r in 0..MR {
                let x = S::load(t.a.add(r * t.a_stride + at));
                for n in 0..NR {
                    acc[r][n] = S::fma(x, w[n], acc[r][n]);
                }
            }
            at += S::LANES;
        }
        let rest = t.inner - whole;
        if rest > 0 {
            let mut w = [S::zero(); NR];
            for (n, w) in w.iter_mut().enumerate() {
                *w = S::load_part(t.w.add(n * t.w_stride + at), rest);
            }
            for r in 0..MR {
                let x = S::load_part(t.a.add(r * t.a_stride + at), rest);
                for n in 0..NR {
                    acc[r][n] = S::fma(x, w[n], acc[r][n]);
                }
            }
        }
        // Aligned: a store across two cache lines could not be forwarded to the reads below.
        let mut sums = Lines([0.0; 32]);
        let flat = acc.as_flattened();
        let mut i = 0;
        while i < MR * NR {
            let n = (MR * NR - i).min(S::LANES);
            S::store(sums.0.as_mut_ptr().add(i), S::sum_each(&flat[i..i + n]));
            i += S::LANES;
        }
        let bias: [f32; NR] = if t.bias.is_null() { [0.0; NR] } else { t.bias.cast::<[f32; NR]>().read() };
        for r in 0..MR {
            let c = t.c.add(r * t.c_stride).cast::<[f32; NR]>();
            let mut v: [f32; NR] = sums.0.as_ptr().add(r * NR).cast::<[f32; NR]>().read();
            if !t.bias.is_null() {
                for n in 0..NR {
                    v[n] += bias[n];
                }
            }
            if t.add {
                for n in 0..NR {
                    v[n] += (*c)[n];
                }
            }
            c.write(v);
        }
    }
}
