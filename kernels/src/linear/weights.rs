//! dw = xᵀ dy with db, for AVX2 and AVX-512.
//!
//! Lanes run along the longer side of dw. Along N, a panel of dy is packed on the stack unless dw has few
//! rows, and the first tile of rows also adds up its columns: db for two more additions per step. Along K (narrow layers)
//! the tile is transposed on its way to dw.

use super::check_dw;
use super::micro::{Ahead, Finish, Lines, Micro, Tile};
use super::pack::{BLOCK, Panel, pack_panel, turn_into};
use super::product::strips;
use crate::Linear;
use crate::flush::Flush;
use crate::simd::{Job, Simd};
use crate::tile::{Shared, even_parts, run};
use std::ops::Range;

/// Weight gradients; tiles are strips of them, those of one head after those of the one before.
struct Gradient<'a> {
    sizes: &'a Linear,
    x: &'a [f32],
    x_head: usize,
    dy: &'a [f32],
    dw: Shared<f32>,
    db: Option<Shared<f32>>,
    /// lanes along K
    transposed: bool,
    /// vectors of the widest tile
    vectors: usize,
    /// columns of dw per strip; if transposed, rows
    strip: usize,
    /// strips per head
    strips: usize,
    add: bool,
}

impl<S: Micro> Job<S> for Gradient<'_> {
    #[inline(always)]
    unsafe fn run(&self, tiles: Range<usize>) {
        let Linear { rows, inputs, outputs, .. } = *self.sizes;
        for j in tiles.start / self.strips..tiles.end.div_ceil(self.strips) {
            // Blocks outside, strips inside: a block of x stays in L2 for all strips.
            let mut first = 0;
            loop {
                let n = (rows - first).min(BLOCK);
                for tile in tiles.start.max(j * self.strips)..tiles.end.min((j + 1) * self.strips) {
                    let at = (tile - j * self.strips) * self.strip;
                    // SAFETY: lengths were checked; a tile writes its own rows or columns of dw and db.
                    unsafe {
                        let x = self.x.as_ptr().add(j * self.x_head + first * inputs);
                        let dy = self.dy.as_ptr().add((j * rows + first) * outputs);
                        let dw = self.dw.ptr().add(j * inputs * outputs);
                        let block = Block { rows: n, inputs, outputs, add: self.add || first > 0 };
                        if self.transposed {
                            let count = (inputs - at).min(self.strip);
                            let dw = dw.add(at * outputs);
                            dw_transposed::<S>(&block, x.wrapping_add(at), count, self.vectors, dy, dw);
                        } else {
                            let count = (outputs - at).min(self.strip);
                            let db = self.db.map(|db| db.ptr().add(j * outputs + at));
                            let place = (at == 0, at + count < outputs);
                            dw_panel::<S>(&block, x, dy.wrapping_add(at), count, place, dw.add(at), db);
                        }
                    }
                }
                first += n;
                if first >= rows {
                    break;
                }
            }
        }
    }
}

/// A block of rows on its way into dw.
struct Block {
    rows: usize,
    inputs: usize,
    outputs: usize,
    /// add to what is there
    add: bool,
}

/// See the contract.
#[inline(always)]
pub(crate) unsafe fn linear_dw<S: Micro>(
    s: &Linear,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    mut db: Option<&mut [f32]>,
    add: bool,
    _: &mut [f32],
) {
    let count = check_dw(s, x, dy, dw, db.as_deref());
    let Linear { heads, rows, inputs, outputs, .. } = *s;
    // Lanes along K when that wastes fewer: the result is then stored transposed.
    let vectors = |n: usize| n.div_ceil(2 * S::LANES) * 2;
    let transposed = vectors(inputs) * outputs < vectors(outputs) * inputs;
    if let Some(db) = db.as_deref_mut()
        && (transposed || inputs == 0)
    {
        let _flush = Flush::begin();
        for j in 0..heads {
            // SAFETY: head j exists in dy and db.
            unsafe {
                let dy = dy.as_ptr().add(j * rows * outputs);
                column_sums::<S>(dy, rows, outputs, outputs, db.as_mut_ptr().add(j * outputs), add);
            }
        }
    }
    if count.w == 0 {
        return;
    }
    let tallest = even_parts(outputs, S::TALL).last().map_or(1, |p| p.1);
    let vectors = if transposed { S::wide(tallest) } else { 2 };
    let strip = vectors * S::LANES;
    let strips = if transposed { inputs } else { outputs }.div_ceil(strip);
    let job = Gradient {
        sizes: s,
        x,
        x_head: count.x_head,
        dy,
        dw: Shared::new(dw),
        db: db.map(Shared::new),
        transposed,
        vectors,
        strip,
        strips,
        add,
    };
    // SAFETY: the lengths were checked; the caller promises the instruction set.
    unsafe { run::<S>(heads * strips, count.work, &job) }
}

/// One panel of columns of dw, and of db; is it the first, and do more follow?
#[inline(always)]
unsafe fn dw_panel<S: Micro>(
    block: &Block,
    x: *const f32,
    dy: *const f32,
    cols: usize,
    (first, more): (bool, bool),
    dw: *mut f32,
    db: Option<*mut f32>,
) {
    let width = 2 * S::LANES;
    let mut panel = Panel::new();
    // SAFETY: the caller's arrays cover the block; the panel has room for BLOCK rows of two vectors.
    unsafe {
        // Few tiles read dy in place: packing would cost as much as it saves.
        let (b, b_step) = if block.inputs > S::UNPACKED {
            let dst = panel.ptr();
            pack_panel::<S>(dy, block.rows, block.outputs, cols, dst);
            (dst.cast_const(), width)
        } else {
            (dy, block.outputs)
        };
        for (k, height) in even_parts(block.inputs, S::TALL) {
            let sums = db.filter(|_| k == 0);
            let mut ahead = [Ahead::NONE; 4];
            // The rows below in dw, and this tile's share of the next panel of dy, if there is one.
            if k + height < block.inputs {
                let next = dw.wrapping_add((k + height) * block.outputs);
                ahead[0] = Ahead::new(next, block.outputs, height);
            }
            // The first strip brings x.
            if first && k + height < block.inputs {
                ahead[2] = Ahead::new(x.wrapping_add(k + height), block.inputs, block.rows);
            }
            if more {
                let share = |k: usize| block.rows * k / block.inputs;
                let (from, to) = (share(k), share(k + height));
                let next = dy.wrapping_add(from * block.outputs + width);
                ahead[1] = Ahead::new(next, block.outputs, to - from);
            }
            S::tile(height, 2, true, sums.is_some(), cols < width)(&Tile {
                inner: block.rows,
                a: x.wrapping_add(k),
                a_stride: block.inputs,
                b,
                b_step,
                c: dw.add(k * block.outputs),
                c_stride: block.outputs,
                cols,
                start: std::ptr::null(),
                add: block.add,
                finish: Finish::Plain,
                sums: sums.unwrap_or(std::ptr::null_mut()),
                ahead,
            });
        }
    }
}

/// `count` rows of dw, lanes along them: dwᵀ = dyᵀ x.
#[inline(always)]
unsafe fn dw_transposed<S: Micro>(
    block: &Block,
    x: *const f32,
    count: usize,
    vectors: usize,
    dy: *const f32,
    dw: *mut f32,
) {
    let outputs = block.outputs;
    for (at, nv, cols) in strips::<S>(count, vectors) {
        for (row, height) in even_parts(outputs, S::TALL) {
            let mut turned = Lines([0.0; 512]);
            let stride = nv * S::LANES;
            debug_assert!(height * stride <= turned.0.len());
            // SAFETY: the caller's arrays cover the block; `turned` has height x stride floats.
            unsafe {
                let dw = dw.add(at * outputs + row);
                // A single row is its own transpose.
                let (c, add) = if outputs == 1 { (dw, block.add) } else { (turned.0.as_mut_ptr(), false) };
                S::tile(height, nv, true, false, cols < stride)(&Tile {
                    inner: block.rows,
                    a: dy.wrapping_add(row),
                    a_stride: outputs,
                    b: x.wrapping_add(at),
                    b_step: block.inputs,
                    c,
                    c_stride: stride,
                    cols,
                    start: std::ptr::null(),
                    add,
                    finish: Finish::Plain,
                    sums: std::ptr::null_mut(),
                    ahead: [Ahead::NONE; 4],
                });
                if outputs == 1 {
                    continue;
                }
                for k in (0..cols).step_by(S::LANES) {
                    let n = (cols - k).min(S::LANES);
                    let (src, dst) = (c.add(k).cast_const(), dw.add(k * outputs));
                    turn_into::<S>(src, stride, height, n, dst, outputs, block.add);
                }
            }
        }
    }
}

/// Sums of the columns of dy `[rows, cols]`, rows `stride` apart, in blocks of rows; plus `out` if `add`.
#[inline(always)]
pub(super) unsafe fn column_sums<S: Simd>(
    dy: *const f32,
    rows: usize,
    stride: usize,
    cols: usize,
    out: *mut f32,
    add: bool,
) {
    for col in (0..cols).step_by(S::LANES) {
        let n = cols - col;
        // SAFETY: the caller's arrays cover rows x cols and cols.
        unsafe {
            let mut total = if add { S::load_part(out.add(col), n) } else { S::zero() };
            for first in (0..rows).step_by(BLOCK) {
                let mut sum = S::zero();
                for r in first..(first + BLOCK).min(rows) {
                    sum = S::add(sum, S::load_part(dy.add(r * stride + col), n));
                }
                total = if first == 0 && !add { sum } else { S::add(total, sum) };
            }
            S::store_part(out.add(col), total, n);
        }
    }
}
