//! y = act(x w + b) and dx = (dy wᵀ) ⊙ act′, for AVX2 and AVX-512; dw is in `weights.rs`.
//!
//! Three loops around the register kernels of `micro.rs`:
//! - [`tile`](super::micro::tile) holds a block of c in registers and adds outer products, lanes along the
//!   columns of c. The right operand is read as *panels*, strips of two vectors packed contiguously: rows of 256 floats
//!   are 1,024 bytes apart and would share 4 of the 64 sets of the L1 cache. The weights are packed once per call.
//! - Short sums (first layers, gradients of narrow last layers) store more than they multiply: tiles of
//!   three whole rows, which go through memory in order, with the weights read in place.
//! - [`dots`](super::micro::dots) holds dot products, lanes along the summed index: for few columns and
//!   long sums.
//!
//! Above 400 lines because the two products share their loops and the choice between them.

pub(crate) use super::weights::linear_dw;

use super::micro::{Dots, Finish, Micro, Tile};
use super::pack::{Layout, packed};
use super::{bias_rows, check_dx, check_linear};
use crate::elementwise::generic::tanh;
use crate::simd::{Job, Simd};
use crate::tile::{even_parts, run};
use crate::{Activation, Linear, Scratch};
use std::ops::Range;

/// Length of the blocks into which sums are cut: a panel of 256 x 2 vectors is 32 KiB (AVX-512),
/// which leaves room for the rows of the other operand in L1.
pub(crate) const BLOCK: usize = 256;
/// Rows that stay in L1 while [`dots`] goes through the columns; a multiple of its heights.
const DOTS_CHUNK: usize = 16;
/// Rows of one parallel tile.
const ROWS: usize = 64;
/// Rows that one thread takes through all panels at a time; a multiple of `ROWS`.
const CHUNK: usize = 128;

/// Whether c has so few columns that dot products are cheaper than padding them to vectors.
fn narrow<S: Micro>(inner: usize, cols: usize) -> bool {
    let as_dots = cols * (inner.div_ceil(S::LANES) + 3);
    let as_tiles = 2 * inner * cols.div_ceil(2 * S::LANES);
    as_dots < as_tiles
}

/// Sums up to here are short: storing c, not multiplying, sets the pace.
const SHORT: usize = 32;
/// Rows of a tile for short sums, few so that the tile is wide and goes along the rows of c.
const FLAT: usize = 3;

/// Most rows of a tile that reads b in place.
fn tallest<S: Micro>(inner: usize) -> usize {
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
struct Product {
    inner: usize,
    cols: usize,
    /// `[rows, inner]`, dense
    a: *const f32,
    /// packed panels, or the dense `[inner, cols]` if `direct`
    b: *const f32,
    direct: bool,
    /// most rows of a tile if `direct`
    tall: usize,
    /// `[rows, cols]`, dense
    c: *mut f32,
    start: *const f32,
    add: bool,
    finish: Finish,
}

/// Computes some rows of a product.
#[inline(always)]
unsafe fn product<S: Micro>(p: &Product, rows: Range<usize>) {
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

/// Some rows of c `[.., cols]` = a wᵀ + bias [+ c], w `[cols, inner]`.
#[inline(always)]
unsafe fn narrow_product<S: Micro>(p: &Product, rows: Range<usize>) {
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
    // SAFETY: the caller's c, and the mask laid out like it, cover these rows.
    unsafe {
        let c = p.c.add(at);
        for i in (0..len).step_by(S::LANES) {
            let n = len - i;
            let v = S::load_part(c.add(i), n);
            let v = match finish {
                Finish::Plain => return,
                Finish::Relu => S::max(S::zero(), v),
                Finish::ReluMask(x) => S::select(S::lt(S::zero(), S::load_part(x.add(i), n)), v, S::zero()),
                Finish::TanhMask(x) => {
                    let x = S::load_part(x.add(i), n);
                    S::mul(v, S::fnma(x, x, S::splat(1.0)))
                }
            };
            S::store_part(c.add(i), v, n);
        }
    }
}

/// tanh in place.
#[inline(always)]
unsafe fn tanh_dense<S: Simd>(y: *mut f32, len: usize) {
    for i in (0..len).step_by(S::LANES) {
        // SAFETY: the caller's array has `len` floats.
        unsafe {
            let v = S::load_part(y.add(i), len - i);
            S::store_part(y.add(i), tanh::<S>(v), len - i);
        }
    }
}

/// Products of all heads; tiles are blocks of rows, those of one result after those of the one before.
struct Multiply {
    /// the product of head 0
    first: Product,
    /// rows of one head
    rows: usize,
    /// distances between heads
    a_head: usize,
    b_head: usize,
    c_head: usize,
    start_head: usize,
    /// rows that share a row of `start`
    start_rows: usize,
    narrow: bool,
    /// how many heads are added into the one result; 1: each has its own
    added: usize,
    tanh: bool,
}

// SAFETY: a and b are only read; tiles write disjoint rows of c.
unsafe impl Sync for Multiply {}

impl<S: Micro> Job<S> for Multiply {
    #[inline(always)]
    unsafe fn run(&self, tiles: Range<usize>) {
        for (result, rows) in head_rows(tiles, self.rows) {
            for (start, rows) in groups(rows, self.start_rows) {
                // SAFETY: lengths were checked; a tile writes its own rows of its own result.
                unsafe { self.part::<S>(result, start, rows) }
            }
        }
    }
}

impl Multiply {
    /// Some rows of a result, all of which start from the same row of `start`.
    #[inline(always)]
    unsafe fn part<S: Micro>(&self, result: usize, start: usize, rows: Range<usize>) {
        for term in 0..self.added {
            let j = result * self.added + term;
            let p = Product {
                a: self.first.a.wrapping_add(j * self.a_head),
                b: self.first.b.wrapping_add(j * self.b_head),
                c: self.first.c.wrapping_add(result * self.c_head),
                start: if self.first.start.is_null() {
                    self.first.start
                } else {
                    self.first.start.wrapping_add(j * self.start_head + start * self.first.cols)
                },
                add: term > 0,
                finish: if term + 1 == self.added {
                    self.first.finish.at(result * self.c_head)
                } else {
                    Finish::Plain
                },
                ..self.first
            };
            // SAFETY: promised by the caller.
            unsafe {
                if self.narrow {
                    narrow_product::<S>(&p, rows.clone());
                } else {
                    product::<S>(&p, rows.clone());
                }
                if self.tanh {
                    tanh_dense::<S>(p.c.add(rows.start * p.cols), rows.len() * p.cols);
                }
            }
        }
    }
}

/// Rows cut where groups of `size` rows meet, each with the number of its group.
fn groups(rows: Range<usize>, size: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
    let mut at = rows.start;
    std::iter::from_fn(move || {
        (at < rows.end).then(|| {
            let group = at / size;
            let part = at..rows.end.min((group + 1) * size);
            at = part.end;
            (group, part)
        })
    })
}

/// The row ranges, one per result, of consecutive tiles of `ROWS` rows.
fn head_rows(tiles: Range<usize>, rows: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
    let blocks = rows.div_ceil(ROWS).max(1);
    let results = tiles.start / blocks..tiles.end.div_ceil(blocks);
    results.map(move |j| {
        let first = tiles.start.max(j * blocks) - j * blocks;
        let last = tiles.end.min((j + 1) * blocks) - j * blocks;
        (j, first * ROWS..(last * ROWS).min(rows))
    })
}

/// See the contract.
#[inline(always)]
pub(crate) unsafe fn linear<S: Micro>(
    s: &Linear,
    x: &[f32],
    w: &[f32],
    b: Option<&[f32]>,
    act: Activation,
    y: &mut [f32],
    scratch: Scratch<'_>,
) {
    let count = check_linear(s, x, w, b, y);
    let Linear { heads, rows, inputs, outputs, .. } = *s;
    if count.y == 0 {
        return;
    }
    let narrow = narrow::<S>(inputs, outputs);
    let start_rows = b.map_or(1, |b| bias_rows(s, b));
    // Packing costs about one pass over the weights, which few rows do not earn back.
    let direct = !narrow && (rows <= 2 * S::TALL || inputs <= SHORT);
    let layout = match (narrow, direct) {
        (true, _) if outputs > 1 => Layout::Turned,
        (false, false) => Layout::Panels,
        _ => Layout::Asis,
    };
    // SAFETY: the lengths were checked; the caller promises the instruction set.
    unsafe {
        let (packed, head) = packed::<S>(layout, w, heads, inputs, outputs, scratch);
        let job = Multiply {
            first: Product {
                inner: inputs,
                cols: outputs,
                a: x.as_ptr(),
                b: packed,
                direct,
                tall: tallest::<S>(inputs),
                c: y.as_mut_ptr(),
                start: b.map_or(std::ptr::null(), |b| b.as_ptr()),
                add: false,
                finish: if act == Activation::Relu { Finish::Relu } else { Finish::Plain },
            },
            rows,
            a_head: count.x_head,
            b_head: head,
            c_head: rows * outputs,
            start_head: start_rows * outputs,
            start_rows: rows / start_rows,
            narrow,
            added: 1,
            tanh: act == Activation::Tanh,
        };
        run::<S>(heads * rows.div_ceil(ROWS), count.work, &job);
    }
}

/// See the contract.
#[inline(always)]
pub(crate) unsafe fn linear_dx<S: Micro>(
    s: &Linear,
    dy: &[f32],
    w: &[f32],
    mask: Option<(Activation, &[f32])>,
    dx: &mut [f32],
    scratch: Scratch<'_>,
) {
    let count = check_dx(s, dy, w, mask, dx);
    let Linear { heads, rows, inputs, outputs, shared_input } = *s;
    if count.x == 0 || heads == 0 {
        return dx.fill(0.0);
    }
    // Each row of w is contiguous along the sum already, so narrow dx needs no packing.
    let narrow = narrow::<S>(outputs, inputs);
    let direct = !narrow && outputs <= SHORT;
    let layout = match (narrow, direct) {
        (false, false) => Layout::TurnedPanels,
        (false, true) if outputs > 1 => Layout::TurnedDense,
        _ => Layout::Asis,
    };
    let (results, added) = if shared_input { (1, heads) } else { (heads, 1) };
    // SAFETY: the lengths were checked; the caller promises the instruction set.
    unsafe {
        let (packed, head) = packed::<S>(layout, w, heads, outputs, inputs, scratch);
        let job = Multiply {
            first: Product {
                inner: outputs,
                cols: inputs,
                a: dy.as_ptr(),
                b: packed,
                direct,
                tall: tallest::<S>(outputs),
                c: dx.as_mut_ptr(),
                start: std::ptr::null(),
                add: false,
                finish: match mask {
                    None | Some((Activation::Identity, _)) => Finish::Plain,
                    Some((Activation::Relu, x)) => Finish::ReluMask(x.as_ptr()),
                    Some((Activation::Tanh, x)) => Finish::TanhMask(x.as_ptr()),
                },
            },
            rows,
            a_head: rows * outputs,
            b_head: head,
            c_head: rows * inputs,
            start_head: 0,
            start_rows: rows,
            narrow,
            added,
            tanh: false,
        };
        run::<S>(results * rows.div_ceil(ROWS), count.work, &job);
    }
}
