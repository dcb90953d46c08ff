//! The reductions, written once for all instruction sets.

use super::check;
use crate::elementwise::vector::{exp, log};
use crate::flush::Flush;
use crate::simd::Simd;

/// Elements of a tile of a contiguous sum.
const ROW_TILE: usize = 256;
/// Steps of a tile of a strided sum.
const STEP_TILE: usize = 64;
/// Columns that are summed together, in vectors: hides the latency of the addition.
const TOGETHER: usize = 4;

/// Sizes of groups of tiles; 2³² tiles would not fit any memory.
const GROUPS: usize = 32;

/// Joins the sums of tiles like the carries of a binary counter.
struct Counter<V> {
    /// slot k holds the sum of a group of 2ᵏ tiles where bit k of `tiles` is set
    groups: [V; GROUPS],
    tiles: usize,
}

impl<V: Copy> Counter<V> {
    #[inline(always)]
    fn new(zero: V) -> Self {
        Self { groups: [zero; GROUPS], tiles: 0 }
    }

    #[inline(always)]
    fn push(&mut self, mut sum: V, add: impl Fn(V, V) -> V) {
        let mut k = 0;
        while self.tiles >> k & 1 == 1 {
            sum = add(self.groups[k], sum);
            k += 1;
        }
        self.groups[k] = sum;
        self.tiles += 1;
    }

    #[inline(always)]
    fn total(&self, zero: V, add: impl Fn(V, V) -> V) -> V {
        let mut sum = None;
        for k in 0..GROUPS {
            if self.tiles >> k & 1 == 1 {
                sum = Some(match sum {
                    None => self.groups[k],
                    Some(sum) => add(self.groups[k], sum),
                });
            }
        }
        sum.unwrap_or(zero)
    }
}

/// The sixteen lane sums of at most a tile, folded to LANES.
#[inline(always)]
unsafe fn lane_sums<S: Simd>(x: *const f32, len: usize) -> S::V {
    // SAFETY: the caller promises the instruction set and `len` floats.
    unsafe {
        let (mut lo, mut hi) = (S::zero(), S::zero());
        let mut i = 0;
        while i < len {
            lo = S::add(lo, S::load_part(x.add(i), len - i));
            if S::LANES == 8 && i + 8 < len {
                hi = S::add(hi, S::load_part(x.add(i + 8), len - i - 8));
            }
            i += 16;
        }
        if S::LANES == 8 { S::add(lo, hi) } else { lo }
    }
}

/// The sum of one contiguous row.
#[inline(always)]
unsafe fn sum_row<S: Simd>(x: *const f32, len: usize) -> f32 {
    let mut counter = Counter::new(0.0f32);
    for first in (0..len).step_by(ROW_TILE) {
        let mut sum = [0.0; 16];
        // SAFETY: the caller promises the instruction set and `len` floats.
        unsafe {
            let lanes = lane_sums::<S>(x.add(first), (len - first).min(ROW_TILE));
            S::store(sum.as_mut_ptr(), S::sum_each(&[lanes]));
        }
        counter.push(sum[0], |a, b| a + b);
    }
    counter.total(0.0, |a, b| a + b)
}

/// See the contract.
#[inline(always)]
pub(crate) unsafe fn sum<S: Simd>(dims: [usize; 3], x: &[f32], y: &mut [f32]) {
    let _flush = Flush::begin();
    let [outer, n, inner] = dims;
    check("x", x.len(), &dims);
    check("y", y.len(), &[outer, inner]);
    // SAFETY: the lengths were checked; the caller promises the instruction set.
    unsafe {
        if inner == 1 {
            let mut o = 0;
            // Short rows: as many as there are lanes share the final additions.
            while n <= ROW_TILE && o + S::LANES <= outer {
                let mut lanes = [S::zero(); 16];
                for (i, lanes) in lanes.iter_mut().enumerate().take(S::LANES) {
                    *lanes = lane_sums::<S>(x.as_ptr().add((o + i) * n), n);
                }
                S::store(y.as_mut_ptr().add(o), S::sum_each(&lanes[..S::LANES]));
                o += S::LANES;
            }
            for o in o..outer {
                y[o] = sum_row::<S>(x.as_ptr().add(o * n), n);
            }
            return;
        }
        for o in 0..outer {
            let (x, y) = (x.as_ptr().add(o * n * inner), y.as_mut_ptr().add(o * inner));
            let mut col = 0;
            while col + TOGETHER * S::LANES <= inner {
                sum_columns::<S, TOGETHER>(x.add(col), n, inner, TOGETHER * S::LANES, y.add(col));
                col += TOGETHER * S::LANES;
            }
            while col < inner {
                sum_columns::<S, 1>(x.add(col), n, inner, inner - col, y.add(col));
                col += S::LANES;
            }
        }
    }
}

/// NV vectors of columns; with NV = 1 there may be fewer columns.
#[inline(always)]
unsafe fn sum_columns<S: Simd, const NV: usize>(
    x: *const f32,
    n: usize,
    stride: usize,
    cols: usize,
    y: *mut f32,
) {
    // SAFETY: the caller promises the instruction set and the sizes.
    unsafe {
        let zero = [S::zero(); NV];
        if n <= STEP_TILE {
            let sum = tile_columns::<S, NV>(x, n, stride, cols);
            return store_columns::<S, NV>(y, sum, cols);
        }
        let add = |a: [S::V; NV], b: [S::V; NV]| {
            let mut y = a;
            for j in 0..NV {
                y[j] = S::add(a[j], b[j]);
            }
            y
        };
        let mut counter = Counter::new(zero);
        for first in (0..n).step_by(STEP_TILE) {
            let steps = (n - first).min(STEP_TILE);
            counter.push(tile_columns::<S, NV>(x.add(first * stride), steps, stride, cols), add);
        }
        store_columns::<S, NV>(y, counter.total(zero, add), cols);
    }
}

/// The column sums of one tile, from zero.
#[inline(always)]
unsafe fn tile_columns<S: Simd, const NV: usize>(
    x: *const f32,
    steps: usize,
    stride: usize,
    cols: usize,
) -> [S::V; NV] {
    // SAFETY: the caller promises the instruction set and the sizes.
    unsafe {
        let mut sum = [S::zero(); NV];
        for r in 0..steps {
            let x = x.add(r * stride);
            for j in 0..NV {
                let v = if NV == 1 { S::load_part(x, cols) } else { S::load(x.add(j * S::LANES)) };
                sum[j] = S::add(sum[j], v);
            }
        }
        sum
    }
}

/// Stores NV vectors, or one with at most `cols` columns.
#[inline(always)]
unsafe fn store_columns<S: Simd, const NV: usize>(y: *mut f32, v: [S::V; NV], cols: usize) {
    for (j, v) in v.into_iter().enumerate() {
        // SAFETY: the caller promises the instruction set and the sizes.
        unsafe { if NV == 1 { S::store_part(y, v, cols) } else { S::store(y.add(j * S::LANES), v) } }
    }
}

/// See the contract.
#[inline(always)]
pub(crate) unsafe fn min<S: Simd>(dims: [usize; 3], x: &[f32], y: &mut [f32]) {
    let [outer, n, inner] = dims;
    check("x", x.len(), &dims);
    check("y", y.len(), &[outer, inner]);
    if inner == 1 {
        for (o, y) in y.iter_mut().enumerate() {
            let row = &x[o * n..(o + 1) * n];
            *y = row.iter().fold(f32::INFINITY, |m, &v| if m.is_nan() || m < v { m } else { v });
        }
        return;
    }
    for o in 0..outer {
        for col in (0..inner).step_by(S::LANES) {
            let cols = inner - col;
            // SAFETY: the lengths were checked; the caller promises the instruction set.
            unsafe {
                let x = x.as_ptr().add(o * n * inner + col);
                let mut m = S::splat(f32::INFINITY);
                for r in 0..n {
                    let v = S::load_part(x.add(r * inner), cols);
                    m = S::select(S::eq(m, m), S::min(m, v), m);
                }
                S::store_part(y.as_mut_ptr().add(o * inner + col), m, cols);
            }
        }
    }
}

/// See the contract.
#[inline(always)]
pub(crate) unsafe fn min_grad<S: Simd>(dims: [usize; 3], x: &[f32], m: &[f32], g: &[f32], dx: &mut [f32]) {
    let [outer, n, inner] = dims;
    check("x", x.len(), &dims);
    check("dx", dx.len(), &dims);
    check("m", m.len(), &[outer, inner]);
    check("g", g.len(), &[outer, inner]);
    if inner == 1 {
        dx.fill(0.0);
        for o in 0..outer {
            let same = |v: f32| v == m[o] || (v.is_nan() && m[o].is_nan());
            if let Some(at) = x[o * n..(o + 1) * n].iter().position(|&v| same(v)) {
                dx[o * n + at] = g[o];
            }
        }
        return;
    }
    for o in 0..outer {
        for col in (0..inner).step_by(S::LANES) {
            let cols = inner - col;
            // SAFETY: the lengths were checked; the caller promises the instruction set.
            unsafe {
                let m = S::load_part(m.as_ptr().add(o * inner + col), cols);
                let mut left = S::load_part(g.as_ptr().add(o * inner + col), cols);
                for r in 0..n {
                    let at = (o * n + r) * inner + col;
                    let v = S::load_part(x.as_ptr().add(at), cols);
                    // What remains to be given goes to equal elements, then nothing remains.
                    let mut given = S::select(S::eq(v, m), left, S::zero());
                    let mut rest = S::select(S::eq(v, m), S::zero(), left);
                    // Both NaN: m differs from itself, and so does v.
                    let v_nan = S::select(S::eq(v, v), S::zero(), left);
                    let v_nan_rest = S::select(S::eq(v, v), left, S::zero());
                    given = S::select(S::eq(m, m), given, v_nan);
                    rest = S::select(S::eq(m, m), rest, v_nan_rest);
                    S::store_part(dx.as_mut_ptr().add(at), given, cols);
                    left = rest;
                }
            }
        }
    }
}

/// See the contract.
#[inline(always)]
pub(crate) unsafe fn log_sum_exp<S: Simd>(dims: [usize; 2], x: &[f32], y: &mut [f32]) {
    let _flush = Flush::begin();
    let [outer, n] = dims;
    check("x", x.len(), &dims);
    check("y", y.len(), &[outer]);
    let whole = n / S::LANES * S::LANES;
    // As many rows as there are lanes share one pass of maxima, one of final additions and one logarithm.
    for first in (0..outer).step_by(S::LANES) {
        let rows = (outer - first).min(S::LANES);
        // SAFETY: loads stay within a row or its padded tail; the caller promises the instruction set.
        unsafe {
            let mut tails = [[f32::NEG_INFINITY; 16]; 16];
            let mut tops = [S::splat(f32::NEG_INFINITY); 16];
            for i in 0..rows {
                let row = x.as_ptr().add((first + i) * n);
                std::ptr::copy_nonoverlapping(row.add(whole), tails[i].as_mut_ptr(), n - whole);
                let mut top = S::load(tails[i].as_ptr());
                for k in (0..whole).step_by(S::LANES) {
                    top = S::max(top, S::load(row.add(k)));
                }
                tops[i] = top;
            }
            S::transpose(&mut tops[..S::LANES]);
            let mut top = tops[0];
            for &other in &tops[1..S::LANES] {
                top = S::max(top, other);
            }
            // A maximum of ±∞ (or NaN) must not be subtracted from itself.
            let finite = S::lt(S::abs(top), S::splat(f32::INFINITY));
            let shifts = S::select(finite, top, S::zero());
            let mut shift = [0.0; 16];
            S::store(shift.as_mut_ptr(), shifts);
            let mut sums = [S::zero(); 16];
            for i in 0..rows {
                let row = x.as_ptr().add((first + i) * n);
                let shift = S::splat(shift[i]);
                let mut sum = S::zero();
                for k in (0..whole).step_by(S::LANES) {
                    sum = S::add(sum, exp::<S>(S::sub(S::load(row.add(k)), shift)));
                }
                sums[i] = S::add(sum, exp::<S>(S::sub(S::load(tails[i].as_ptr()), shift)));
            }
            let total = log::<S>(S::sum_each(&sums[..S::LANES]));
            S::store_part(y.as_mut_ptr().add(first), S::add(shifts, total), rows);
        }
    }
}
