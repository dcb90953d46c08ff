//! y and dx: blocks of 32 rows, split on the stack, times the split weights.

use super::super::micro::{Finish, Lines};
use super::super::pack::skip;
use super::super::product::{finished, tanh_dense};
use super::super::{bias_rows, check_dx, check_linear};
use super::split::{Order, SIDE, STRETCH, Source, TILE, block_len, split};
use super::unit::TileProduct;
use crate::simd::{Job, Simd};
use crate::tile::{MOVED, Shared, run};
use crate::{Activation, Linear, Scratch};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

/// One stretch of a block of rows with the most parts.
type Rows = Lines<MaybeUninit<[u32; STRETCH / SIDE * 3 * 2 * TILE]>>;

/// Splits the weights of all heads; tiles are blocks of 32 columns of the product.
struct Weights<const PARTS: usize> {
    /// of head 0
    source: Source,
    /// between heads of w
    head: usize,
    /// of one head
    blocks: usize,
    /// of one block
    len: usize,
    dst: Shared<u32>,
}

// SAFETY: the source is only read; tiles write disjoint parts of `dst`.
unsafe impl<const PARTS: usize> Sync for Weights<PARTS> {}

impl<S: Simd, const PARTS: usize> Job<S> for Weights<PARTS> {
    #[inline(always)]
    unsafe fn run(&self, tiles: Range<usize>) {
        for tile in tiles {
            let (j, first) = (tile / self.blocks, tile % self.blocks * SIDE);
            let s = self.source;
            let along = if s.order == Order::Along { s.stride } else { 1 };
            let at = s.at.wrapping_add(j * self.head + first * along);
            // SAFETY: lengths were checked; the block exists, and has its own part of `dst`.
            unsafe {
                let s = Source { at, lines: s.lines - first, ..s };
                split::<S, PARTS>(&s, true, self.dst.ptr().add(tile * self.len));
            }
        }
    }
}

/// Products of all heads; tiles are blocks of 32 rows, those of one result after those of the one before.
struct Multiply<U, const PARTS: usize> {
    a: *const f32,
    /// between heads
    a_head: usize,
    /// split weights: blocks of columns, head after head
    b: *const u32,
    /// between heads
    b_head: usize,
    c: Shared<f32>,
    /// rows of one head
    rows: usize,
    inner: usize,
    cols: usize,
    /// added to each row; null for nothing
    start: *const f32,
    /// rows of `start` per head
    starts: usize,
    finish: Finish,
    tanh: bool,
    /// how many heads are added into the one result; 1: each has its own
    added: usize,
    unit: PhantomData<U>,
}

// SAFETY: a, b and start are only read; tiles write disjoint rows of c.
unsafe impl<U, const PARTS: usize> Sync for Multiply<U, PARTS> {}

impl<S: Simd, U: TileProduct, const PARTS: usize> Job<S> for Multiply<U, PARTS> {
    #[inline(always)]
    unsafe fn run(&self, tiles: Range<usize>) {
        let blocks = self.rows.div_ceil(SIDE);
        // SAFETY: the caller promises the instruction sets; lengths were checked; a tile writes its own rows.
        unsafe {
            U::begin();
            for tile in tiles {
                let (result, first) = (tile / blocks, tile % blocks * SIDE);
                self.rows::<S>(result, first, (self.rows - first).min(SIDE));
            }
            U::end();
        }
    }
}

impl<U: TileProduct, const PARTS: usize> Multiply<U, PARTS> {
    /// A block of rows of a result.
    #[inline(always)]
    unsafe fn rows<S: Simd>(&self, result: usize, first: usize, rows: usize) {
        let mut split_rows: Rows = Lines(MaybeUninit::uninit());
        let a = split_rows.0.as_mut_ptr().cast::<u32>();
        let b_len = block_len(PARTS, self.inner);
        let at = (result * self.rows + first) * self.cols;
        for term in 0..self.added {
            let j = result * self.added + term;
            for k in (0..self.inner).step_by(STRETCH) {
                let inner = (self.inner - k).min(STRETCH);
                let last = term + 1 == self.added && k + inner == self.inner;
                let source = Source {
                    order: Order::Along,
                    at: self.a.wrapping_add(j * self.a_head + first * self.inner + k),
                    stride: self.inner,
                    lines: rows,
                    inner,
                };
                // SAFETY: promised by the caller; the stack holds a stretch of the most parts.
                unsafe { split::<S, PARTS>(&source, false, a) };
                for col in (0..self.cols).step_by(SIDE) {
                    let mut c = Lines(MaybeUninit::<[f32; SIDE * SIDE]>::uninit());
                    let sums = c.0.as_mut_ptr().cast::<f32>();
                    let block = col / SIDE * b_len + block_len(PARTS, k);
                    let b = self.b.wrapping_add(j * self.b_head + block);
                    let store = Store {
                        from: sums,
                        rows,
                        cols: (self.cols - col).min(SIDE),
                        to: self.c.ptr().wrapping_add(at + col),
                        stride: self.cols,
                        add: term > 0 || k > 0,
                        finish: if last { self.finish.at(at + col) } else { Finish::Plain },
                    };
                    // SAFETY: promised by the caller; the unit fills c.
                    unsafe {
                        U::block::<PARTS>(a, b, inner.div_ceil(SIDE), sums);
                        if self.start.is_null() || k > 0 {
                            store.run::<S>(|_| std::ptr::null());
                        } else {
                            let (start, starts) = (self.start.wrapping_add(col), self.starts);
                            let own = self.rows / starts;
                            store.run::<S>(|r| {
                                start.wrapping_add((j * starts + (first + r) / own) * self.cols)
                            });
                        }
                    }
                }
            }
        }
        if self.tanh {
            // SAFETY: these rows are dense, and complete.
            unsafe { tanh_dense::<S>(self.c.ptr().add(at), rows * self.cols) }
        }
    }
}

/// A finished block on its way to memory.
pub(super) struct Store {
    /// `[32, 32]`
    pub(super) from: *const f32,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) to: *mut f32,
    /// between rows of `to`
    pub(super) stride: usize,
    /// add to what is there
    pub(super) add: bool,
    pub(super) finish: Finish,
}

impl Store {
    /// to = finish(from + start [+ to]); `start` gives the place that a row's summands begin at, or null.
    ///
    /// # Safety
    /// The instruction set is present; the pointers cover the sizes.
    #[inline(always)]
    pub(super) unsafe fn run<S: Simd>(&self, start: impl Fn(usize) -> *const f32) {
        // SAFETY: promised by the caller; the branch makes whole vectors of a full width.
        unsafe {
            if self.cols == SIDE { self.rows::<S>(start, SIDE) } else { self.rows::<S>(start, self.cols) }
        }
    }

    #[inline(always)]
    unsafe fn rows<S: Simd>(&self, start: impl Fn(usize) -> *const f32, cols: usize) {
        for r in 0..self.rows {
            let start = start(r);
            for i in (0..cols).step_by(S::LANES) {
                let n = cols - i;
                // SAFETY: promised by the caller of `run`; partial vectors touch the columns that exist.
                unsafe {
                    let to = self.to.wrapping_add(r * self.stride + i);
                    let mut v = S::load(self.from.add(r * SIDE + i));
                    if !start.is_null() {
                        v = S::add(S::load_part(start.wrapping_add(i), n), v);
                    }
                    if self.add {
                        v = S::add(S::load_part(to, n), v);
                    }
                    let v = finished::<S>(self.finish.at(r * self.stride), v, i, n);
                    S::store_part(to, v, n);
                }
            }
        }
    }
}

/// Splits the weights into the scratch unless they are there: pointer and pairs per head.
#[inline(always)]
unsafe fn weights<S: Simd, const PARTS: usize>(
    source: Source,
    w: &[f32],
    heads: usize,
    scratch: Scratch<'_>,
) -> (*const u32, usize) {
    let blocks = source.lines.div_ceil(SIDE);
    let len = block_len(PARTS, source.inner);
    let scratch = match scratch {
        Scratch::Packed(done) => {
            return (done[skip(done)..][..heads * blocks * len].as_ptr().cast(), blocks * len);
        }
        Scratch::Empty(scratch) | Scratch::Keep(scratch) => scratch,
    };
    let skip = skip(scratch);
    let dst = Shared::new(&mut scratch[skip..][..heads * blocks * len]);
    let job = Weights::<PARTS> { source, head: w.len() / heads, blocks, len, dst: dst.cast() };
    // SAFETY: the caller promises the instruction set and that w is what the source describes.
    unsafe { run::<S>(heads * blocks, w.len() * PARTS * MOVED, &job) };
    (dst.cast().ptr(), blocks * len)
}

/// See the contract; the sizes are among those that [`super::pays`] accepts.
#[inline(always)]
pub(super) unsafe fn linear<S: Simd, U: TileProduct, const PARTS: usize>(
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
    let source =
        Source { order: Order::Across, at: w.as_ptr(), stride: outputs, lines: outputs, inner: inputs };
    // SAFETY: the lengths were checked; the caller promises the instruction sets.
    unsafe {
        let (split, head) = weights::<S, PARTS>(source, w, heads, scratch);
        let job = Multiply::<U, PARTS> {
            a: x.as_ptr(),
            a_head: count.x_head,
            b: split,
            b_head: head,
            c: Shared::new(y),
            rows,
            inner: inputs,
            cols: outputs,
            start: b.map_or(std::ptr::null(), |b| b.as_ptr()),
            starts: b.map_or(1, |b| bias_rows(s, b)),
            finish: if act == Activation::Relu { Finish::Relu } else { Finish::Plain },
            tanh: act == Activation::Tanh,
            added: 1,
            unit: PhantomData,
        };
        run::<S>(heads * rows.div_ceil(SIDE), count.work, &job);
    }
}

/// See the contract; the sizes are among those that [`super::pays`] accepts.
#[inline(always)]
pub(super) unsafe fn linear_dx<S: Simd, U: TileProduct, const PARTS: usize>(
    s: &Linear,
    dy: &[f32],
    w: &[f32],
    mask: Option<(Activation, &[f32])>,
    dx: &mut [f32],
    scratch: Scratch<'_>,
) {
    let count = check_dx(s, dy, w, mask, dx);
    let Linear { heads, rows, inputs, outputs, shared_input } = *s;
    let source =
        Source { order: Order::Along, at: w.as_ptr(), stride: outputs, lines: inputs, inner: outputs };
    let (results, added) = if shared_input { (1, heads) } else { (heads, 1) };
    // SAFETY: the lengths were checked; the caller promises the instruction sets.
    unsafe {
        let (split, head) = weights::<S, PARTS>(source, w, heads, scratch);
        let job = Multiply::<U, PARTS> {
            a: dy.as_ptr(),
            a_head: rows * outputs,
            b: split,
            b_head: head,
            c: Shared::new(dx),
            rows,
            inner: outputs,
            cols: inputs,
            start: std::ptr::null(),
            starts: 1,
            finish: match mask {
                None | Some((Activation::Identity, _)) => Finish::Plain,
                Some((Activation::Relu, x)) => Finish::ReluMask(x.as_ptr()),
                Some((Activation::Tanh, x)) => Finish::TanhMask(x.as_ptr()),
            },
            tanh: false,
            added,
            unit: PhantomData,
        };
        run::<S>(results * rows.div_ceil(SIDE), count.work, &job);
    }
}
