//! Some rows of one product: the loops around the register kernels of `micro.rs`.
//!
//! - [`tile`](super::micro::tile) holds a block of c in registers and adds outer products, lanes along the
//!   columns of c. The right operand is read as *panels*, strips of two vectors packed contiguously: rows of 256 floats
//!   are 1,024 bytes apart and would share 4 of the 64 sets of the L1 cache. The weights are packed once per call.
//! - Short sums (first layers, gradients of narrow last layers) store more than they multiply: tiles of
//!   three whole rows, which go through memory in order, with the weights read in place. Sums of one term (the gradient
//!   of a layer with one output) take `outer`, a row at a time.
//! - [`dots`](super::micro::dots) holds dot products, lanes along the summed index: for few columns and
//!   long sums.

use super::micro::{Dots, Finish, Micro, Tile};
use crate::elementwise::generic::tanh;
use crate::simd::Simd;
use crate::tile::even_parts;
use std::ops::Range;

/// Length of the blocks into which sums are cut: a panel of 256 x 2 vectors is 32 KiB (AVX-512),
/// which leaves room for the rows of the other operand in L1.
pub(super) const BLOCK: usize = 256;
/// Rows that stay in L1 while [`dots`] goes through the columns; a multiple of its heights.
const DOTS_CHUNK: usize = 16;
/// Rows that one thread takes through all panels at a time; a multiple of `ROWS`.
const CHUNK: usize = 128;

/// Whether c has so few columns that dot products are cheaper than padding them to vectors.
pub(super) fn narrow<S: Micro>(inner: usize, cols: usize) -> bool {
    let as_dots = cols * (inner.div_ceil(S::LANES) + 3);
    let as_tiles = 2 * inner * cols.div_ceil(2 * S::LANES);
    as_dots < as_tiles
}

/// Sums up to here are short: storing c, not multiplying, sets the pace.
pub(super) const SHORT: usize = 32;
/// Rows of a tile for short sums, few so that the tile is wide and goes along the rows of c.
const FLAT: usize = 3;

/// Most rows of a tile that reads b in place.
pub(super) fn tallest<S: Micro>(inner: usize) -> usize {
    if inner <= SHORT { FLAT } else { S::TALL }
}

/// Strips of columns: (first, vectors, columns) with `vectors` wide as long as they are full, then two.
#[inline(always)]
pub(crate) fn strips<S: Simd>(cols: usize, vectors: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= cols {
            return None;
        }
        let nv = if cols - at >= vectors * S::LANES { vectors } else { 2 };
        let n = (cols - at).min(nv * S::LANES);
        let strip = (at, nv, n);
        at += n;
        Some(strip)
    })
}

/// c `[.., cols]` = finish(a b + start [+ c]) for one head.
#[derive(Clone, Copy)]
pub(super) struct Product {
    pub(super) inner: usize,
    pub(super) cols: usize,
    /// `[rows, inner]`, dense
    pub(super) a: *const f32,
    /// packed panels, or the dense `[inner, cols]` if `direct`
    pub(super) b: *const f32,
    pub(super) direct: bool,
    /// most rows of a tile if `direct`
    pub(super) tall: usize,
    /// `[rows, cols]`, dense
    pub(super) c: *mut f32,
    pub(super) start: *const f32,
    pub(super) add: bool,
    pub(super) finish: Finish,
}

/// Computes some rows of a product.
#[inline(always)]
pub(super) unsafe fn product<S: Micro>(p: &Product, rows: Range<usize>) {
    let width = 2 * S::LANES;
    for chunk in rows.clone().step_by(CHUNK) {
        let chunk_rows = (rows.end - chunk).min(CHUNK);
        let mut k = 0;
        loop {
            let inner = (p.inner - k).min(BLOCK);
            let last = k + inner == p.inner;
            let tile = |row: usize,
                        height: usize,
                        col: usize,
                        nv: usize,
                        cols: usize,
                        b: *const f32,
                        b_step: usize| {
                let at = row * p.cols + col;
                let part = cols < nv * S::LANES;
                // SAFETY: the caller's arrays cover these rows; col + cols <= p.cols.
                unsafe {
                    S::tile(height, nv, false, false, part)(&Tile {
                        inner,
                        a: p.a.add(row * p.inner + k),
                        a_stride: p.inner,
                        b,
                        b_step,
                        c: p.c.add(at),
                        c_stride: p.cols,
                        cols,
                        start: if k == 0 && !p.start.is_null() { p.start.add(col) } else { std::ptr::null() },
                        add: p.add || k > 0,
                        finish: if last { p.finish.at(at) } else { Finish::Plain },
                        sums: std::ptr::null_mut(),
                    });
                }
            };
            if p.direct {
                for (row, height) in even_parts(chunk_rows, p.tall) {
                    for (col, nv, cols) in strips::<S>(p.cols, S::wide(height)) {
                        let b = p.b.wrapping_add(k * p.cols + col);
                        tile(chunk + row, height, col, nv, cols, b, p.cols);
                    }
                }
            } else {
                for col in (0..p.cols).step_by(width) {
                    let b = p.b.wrapping_add(col * p.inner + k * width);
                    for (row, height) in even_parts(chunk_rows, S::TALL) {
                        tile(chunk + row, height, col, 2, (p.cols - col).min(width), b, width);
                    }
                }
            }
            k += inner;
            if last {
                break;
            }
        }
    }
}

/// Some rows of a product whose sums have one term: c = finish(a b + start [+ c]).
#[inline(always)]
pub(super) unsafe fn outer<S: Simd>(p: &Product, rows: Range<usize>) {
    let whole = p.cols / S::LANES * S::LANES;
    for row in rows {
        let at = row * p.cols;
        let finish = p.finish.at(at);
        // SAFETY: the caller's arrays cover these rows; the last vector touches the rest of a row only.
        unsafe {
            let (x, c) = (S::splat(*p.a.add(row)), p.c.add(at));
            macro_rules! vector {
                ($i:expr, $n:expr) => {{
                    let (i, n) = ($i, $n);
                    let start = if p.start.is_null() { S::zero() } else { S::load_part(p.start.add(i), n) };
                    let v = S::fma(x, S::load_part(p.b.add(i), n), start);
                    let v = if p.add { S::add(S::load_part(c.add(i), n), v) } else { v };
                    S::store_part(c.add(i), finished::<S>(finish, v, i, n), n);
                }};
            }
            // A constant length makes whole vectors of the parts.
            for i in (0..whole).step_by(S::LANES) {
                vector!(i, S::LANES);
            }
            if whole < p.cols {
                vector!(whole, p.cols - whole);
            }
        }
    }
}

/// The last operation on `n` elements from the i-th.
#[inline(always)]
pub(super) unsafe fn finished<S: Simd>(finish: Finish, v: S::V, i: usize, n: usize) -> S::V {
    // SAFETY: the caller's mask covers these elements.
    unsafe {
        match finish {
            Finish::Plain => v,
            Finish::Relu => S::max(S::zero(), v),
            Finish::ReluMask(x) => S::select(S::lt(S::zero(), S::load_part(x.add(i), n)), v, S::zero()),
            Finish::TanhMask(x) => {
                let x = S::load_part(x.add(i), n);
                S::mul(v, S::fnma(x, x, S::splat(1.0)))
            }
        }
    }
}

/// Some rows of c `[.., cols]` = a wᵀ + bias [+ c], w `[cols, inner]`.
#[inline(always)]
pub(super) unsafe fn narrow_product<S: Micro>(p: &Product, rows: Range<usize>) {
    for chunk in rows.clone().step_by(DOTS_CHUNK) {
        let end = rows.end.min(chunk + DOTS_CHUNK);
        for (col, cols) in even_parts(p.cols, S::DOTS) {
            let tall = S::dots_rows(cols);
            let (many, one) = (S::dots(cols, false), S::dots(cols, true));
            let mut row = chunk;
            while row < end {
                let (kernel, height) = if end - row >= tall { (many, tall) } else { (one, 1) };
                // SAFETY: the caller's arrays cover these rows and columns.
                unsafe {
                    kernel(&Dots {
                        inner: p.inner,
                        a: p.a.add(row * p.inner),
                        a_stride: p.inner,
                        w: p.b.add(col * p.inner),
                        w_stride: p.inner,
                        c: p.c.add(row * p.cols + col),
                        c_stride: p.cols,
                        bias: if p.start.is_null() { p.start } else { p.start.add(col) },
                        add: p.add,
                    });
                }
                row += height;
            }
        }
    }
    // SAFETY: these rows are dense, and complete.
    unsafe { finish_dense::<S>(p, rows) }
}

/// Applies `finish` to complete rows in memory.
#[inline(always)]
unsafe fn finish_dense<S: Simd>(p: &Product, rows: Range<usize>) {
    let at = rows.start * p.cols;
    let len = rows.len() * p.cols;
    let finish = p.finish.at(at);
    if matches!(finish, Finish::Plain) {
        return;
    }
    // SAFETY: the caller's c, and the mask laid out like it, cover these rows.
    unsafe {
        let c = p.c.add(at);
        for i in (0..len).step_by(S::LANES) {
            let n = len - i;
            let v = S::load_part(c.add(i), n);
            S::store_part(c.add(i), finished::<S>(finish, v, i, n), n);
        }
    }
}

/// tanh in place.
#[inline(always)]
pub(super) unsafe fn tanh_dense<S: Simd>(y: *mut f32, len: usize) {
    for i in (0..len).step_by(S::LANES) {
        // SAFETY: the caller's array has `len` floats.
        unsafe {
            let v = S::load_part(y.add(i), len - i);
            S::store_part(y.add(i), tanh::<S>(v), len - i);
        }
    }
}
