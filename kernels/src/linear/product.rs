//! Some rows of one product: the loops around the register kernels of `micro.rs`.
//!
//! - [`tile`](super::micro::tile) holds a block of c in registers and adds outer products, lanes along the
//!   columns of c. The right operand is read as *panels*, strips of two vectors packed contiguously: rows of 256 floats
//!   are 1,024 bytes apart and would share 4 of the 64 sets of the L1 cache. Many rows, or weights that are used
//!   again, are worth packing all panels first; otherwise each is packed on the stack when its turn comes.
//! - Short sums (first layers, gradients of narrow last layers) store more than they multiply: tiles of
//!   three whole rows, which go through memory in order, with the weights read in place. Sums of one term (the gradient
//!   of a layer with one output) take `outer`, a row at a time.
//! - [`dots`](super::micro::dots) holds dot products, lanes along the summed index: for few columns and
//!   long sums.

use super::micro::{Ahead, Dots, Finish, Micro, Tile};
use super::pack::{BLOCK, Panel, pack_panel, pack_turned};
use crate::elementwise::vector::tanh;
use crate::simd::Simd;
use crate::tile::even_parts;
use std::ops::Range;

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

/// How b is laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    /// dense `[inner, cols]`, read in place
    Dense,
    /// dense `[inner, cols]`; each panel is packed when its turn comes
    Fresh,
    /// dense `[cols, inner]`; likewise
    FreshTurned,
    /// packed panels
    Panels,
}

/// c `[.., cols]` = finish(a b + start [+ c]) for one head.
#[derive(Clone, Copy)]
pub(super) struct Product {
    pub(super) inner: usize,
    pub(super) cols: usize,
    /// `[rows, inner]`, dense
    pub(super) a: *const f32,
    pub(super) b: *const f32,
    pub(super) right: Right,
    /// most rows of a tile that reads b in place
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
    // SAFETY: promised by the caller.
    unsafe {
        match p.right {
            Right::Dense => in_place::<S>(p, rows),
            Right::Fresh | Right::FreshTurned => panels::<S>(p, rows),
            Right::Panels => {
                for first in rows.clone().step_by(CHUNK) {
                    panels::<S>(p, first..rows.end.min(first + CHUNK));
                }
            }
        }
    }
}

/// Blocks of the sum: (first, length). A sum of no terms has one, which is empty.
fn blocks(inner: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..inner.max(1)).step_by(BLOCK).map(move |k| (k, (inner - k).min(BLOCK)))
}

impl Product {
    /// The tile of `cols` columns at (row, col) for the block of the sum that begins at k.
    #[inline(always)]
    fn tile(&self, row: usize, (col, cols): (usize, usize), (k, inner): (usize, usize)) -> Tile {
        let at = row * self.cols + col;
        Tile {
            inner,
            a: self.a.wrapping_add(row * self.inner + k),
            a_stride: self.inner,
            b: self.b.wrapping_add(k * self.cols + col),
            b_step: self.cols,
            c: self.c.wrapping_add(at),
            c_stride: self.cols,
            cols,
            start: if k == 0 && !self.start.is_null() {
                self.start.wrapping_add(col)
            } else {
                std::ptr::null()
            },
            add: self.add || k > 0,
            finish: if k + inner == self.inner { self.finish.at(at) } else { Finish::Plain },
            sums: std::ptr::null_mut(),
            ahead: [Ahead::NONE; 4],
        }
    }
}

/// Some rows, b read where it is.
#[inline(always)]
unsafe fn in_place<S: Micro>(p: &Product, rows: Range<usize>) {
    for chunk in rows.clone().step_by(CHUNK) {
        for block in blocks(p.inner) {
            for (row, height) in even_parts((rows.end - chunk).min(CHUNK), p.tall) {
                for (col, nv, cols) in strips::<S>(p.cols, S::wide(height)) {
                    let tile = p.tile(chunk + row, (col, cols), block);
                    // SAFETY: the caller's arrays cover these rows; col + cols <= p.cols.
                    unsafe { S::tile(height, nv, false, false, cols < nv * S::LANES)(&tile) }
                }
            }
        }
    }
}

/// Some rows, panel after panel of b; while one is worked on, what the next needs is fetched.
#[inline(always)]
unsafe fn panels<S: Micro>(p: &Product, rows: Range<usize>) {
    let width = 2 * S::LANES;
    let mut panel = Panel::new();
    for (k, inner) in blocks(p.inner) {
        for col in (0..p.cols).step_by(width) {
            let (cols, next) = ((p.cols - col).min(width), col + width);
            // SAFETY: the caller's b covers the panel, which has room for a block of two vectors.
            let b = unsafe {
                match p.right {
                    Right::Fresh => {
                        pack_panel::<S>(p.b.add(k * p.cols + col), inner, p.cols, cols, panel.ptr());
                        panel.ptr().cast_const()
                    }
                    Right::FreshTurned => {
                        pack_turned::<S>(p.b.add(col * p.inner + k), p.inner, inner, cols, panel.ptr());
                        panel.ptr().cast_const()
                    }
                    Right::Panels | Right::Dense => p.b.wrapping_add(col * p.inner + k * width),
                }
            };
            for (row, height) in even_parts(rows.len(), S::TALL) {
                let mut tile = p.tile(rows.start + row, (col, cols), (k, inner));
                (tile.b, tile.b_step) = (b, width);
                let below = row + height < rows.len();
                // This tile's share of the next panel, or of the lines it is packed from (whole rows of w if turned).
                let share = |n: usize| (n * row / rows.len(), n * (row + height) / rows.len());
                let source = match p.right {
                    _ if next >= p.cols => Ahead::NONE,
                    Right::Fresh => {
                        let (from, to) = share(inner);
                        Ahead::new(p.b.wrapping_add((k + from) * p.cols + next), p.cols, to - from)
                    }
                    Right::FreshTurned => {
                        let (from, to) = share((p.cols - next).min(width) * p.inner);
                        Ahead::dense::<S>(p.b.wrapping_add(next * p.inner + from), to - from)
                    }
                    Right::Panels | Right::Dense => {
                        let (from, to) = share(inner * width);
                        Ahead::dense::<S>(p.b.wrapping_add(next * p.inner + k * width + from), to - from)
                    }
                };
                tile.ahead[0] = source;
                if below {
                    let under = height * p.cols;
                    tile.ahead[1] = Ahead::new(tile.c.wrapping_add(under), p.cols, height);
                    if let Finish::ReluMask(x) | Finish::TanhMask(x) = tile.finish {
                        tile.ahead[2] = Ahead::new(x.wrapping_add(under), p.cols, height);
                    }
                    if col == 0 {
                        tile.ahead[3] =
                            Ahead::dense::<S>(tile.a.wrapping_add(height * p.inner), height * p.inner);
                    }
                }
                // SAFETY: the caller's arrays cover these rows; col + cols <= p.cols.
                unsafe { S::tile(height, 2, false, false, cols < width)(&tile) }
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
