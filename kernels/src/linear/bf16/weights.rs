//! dw and db: blocks of 256 rows of x and dy, both split into the scratch.

use super::super::check_dw;
use super::super::micro::{Finish, Lines};
use super::super::pack::{BLOCK, skip};
use super::super::weights::column_sums;
use super::product::Store;
use super::split::{Order, SIDE, STRETCH, Source, block_len, split};
use super::unit::TileProduct;
use crate::Linear;
use crate::simd::{Job, Simd};
use crate::tile::{MOVED, Shared, run};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

const _: () = assert!(BLOCK == STRETCH);

/// A block of rows on its way into dw.
struct Gradient<'a, U, const PARTS: usize> {
    sizes: &'a Linear,
    /// first row of the block of head 0
    x: *const f32,
    x_head: usize,
    dy: *const f32,
    /// rows of the block
    rows: usize,
    /// x split, head after head (once if it is shared)
    a: Shared<u32>,
    /// dy split, head after head
    b: Shared<u32>,
    dw: Shared<f32>,
    db: Option<Shared<f32>>,
    /// add to what is there
    add: bool,
    unit: PhantomData<U>,
}

// SAFETY: x and dy are only read; tiles write disjoint parts of the rest.
unsafe impl<U, const PARTS: usize> Sync for Gradient<'_, U, PARTS> {}

impl<U, const PARTS: usize> Gradient<'_, U, PARTS> {
    /// Blocks of lines of x, or of dy, of one head.
    fn blocks(lines: usize) -> usize {
        lines.div_ceil(SIDE)
    }

    fn x_heads(&self) -> usize {
        if self.sizes.shared_input { 1 } else { self.sizes.heads }
    }
}

/// First part: tiles are the blocks of x of all heads, then those of dy.
struct Split<'a, 'b, U, const PARTS: usize>(&'a Gradient<'b, U, PARTS>);

impl<S: Simd, U, const PARTS: usize> Job<S> for Split<'_, '_, U, PARTS> {
    #[inline(always)]
    unsafe fn run(&self, tiles: Range<usize>) {
        let g = self.0;
        let Linear { rows, inputs, outputs, .. } = *g.sizes;
        let len = block_len(PARTS, g.rows);
        let of_x = g.x_heads() * Gradient::<U, PARTS>::blocks(inputs);
        for tile in tiles {
            // SAFETY: lengths were checked; each tile has its own part of the scratch, and of db.
            unsafe {
                let x = tile < of_x;
                let (tile, cols, at, head, to) = if x {
                    (tile, inputs, g.x, g.x_head, g.a)
                } else {
                    (tile - of_x, outputs, g.dy, rows * outputs, g.b)
                };
                let blocks = Gradient::<U, PARTS>::blocks(cols);
                let (j, first) = (tile / blocks, tile % blocks * SIDE);
                let at = at.add(j * head + first);
                let source =
                    Source { order: Order::Across, at, stride: cols, lines: cols - first, inner: g.rows };
                split::<S, PARTS>(&source, !x, to.ptr().add(tile * len));
                if let (false, Some(db)) = (x, g.db) {
                    let db = db.ptr().add(j * outputs + first);
                    column_sums::<S>(at, g.rows, outputs, (outputs - first).min(SIDE), db, g.add);
                }
            }
        }
    }
}

/// Second part: tiles are blocks of 32 rows of dw.
impl<S: Simd, U: TileProduct, const PARTS: usize> Job<S> for Gradient<'_, U, PARTS> {
    #[inline(always)]
    unsafe fn run(&self, tiles: Range<usize>) {
        let Linear { inputs, outputs, shared_input, .. } = *self.sizes;
        let len = block_len(PARTS, self.rows);
        let (high, wide) = (Self::blocks(inputs), Self::blocks(outputs));
        // SAFETY: the caller promises the instruction sets; lengths were checked; a tile writes its own rows of dw.
        unsafe {
            U::begin();
            for tile in tiles {
                let (j, row) = (tile / high, tile % high);
                let a = self.a.ptr().add(if shared_input { row } else { tile } * len);
                for col in 0..wide {
                    let b = self.b.ptr().add((j * wide + col) * len);
                    let mut c = Lines(MaybeUninit::<[f32; SIDE * SIDE]>::uninit());
                    U::block::<PARTS>(a, b, self.rows.div_ceil(SIDE), c.0.as_mut_ptr().cast());
                    let store = Store {
                        from: c.0.as_ptr().cast(),
                        rows: (inputs - row * SIDE).min(SIDE),
                        cols: (outputs - col * SIDE).min(SIDE),
                        to: self.dw.ptr().add((j * inputs + row * SIDE) * outputs + col * SIDE),
                        stride: outputs,
                        add: self.add,
                        finish: Finish::Plain,
                    };
                    store.run::<S>(|_| std::ptr::null());
                }
            }
            U::end();
        }
    }
}

/// Pairs of scratch: of x, and of both.
pub(super) fn room(parts: usize, s: &Linear) -> (usize, usize) {
    let len = block_len(parts, s.rows.min(BLOCK));
    let x = if s.shared_input { 1 } else { s.heads } * s.inputs.div_ceil(SIDE) * len;
    (x, x + s.heads * s.outputs.div_ceil(SIDE) * len)
}

/// See the contract; the sizes are among those that [`super::pays`] accepts.
#[inline(always)]
pub(super) unsafe fn linear_dw<S: Simd, U: TileProduct, const PARTS: usize>(
    s: &Linear,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    mut db: Option<&mut [f32]>,
    add: bool,
    scratch: &mut [f32],
) {
    let count = check_dw(s, x, dy, dw, db.as_deref());
    let Linear { heads, rows, inputs, outputs, .. } = *s;
    let (of_x, of_both) = room(PARTS, s);
    let skip = skip(scratch);
    let scratch: Shared<u32> = Shared::new(&mut scratch[skip..][..of_both]).cast();
    for first in (0..rows).step_by(BLOCK) {
        let n = (rows - first).min(BLOCK);
        let job = Gradient::<U, PARTS> {
            sizes: s,
            x: x.as_ptr().wrapping_add(first * inputs),
            x_head: count.x_head,
            dy: dy.as_ptr().wrapping_add(first * outputs),
            rows: n,
            a: scratch,
            b: scratch.skip(of_x),
            dw: Shared::new(dw),
            db: db.as_deref_mut().map(Shared::new),
            add: add || first > 0,
            unit: PhantomData,
        };
        let (high, wide) = (inputs.div_ceil(SIDE), outputs.div_ceil(SIDE));
        let moved = (job.x_heads() * inputs + heads * outputs) * n * PARTS * MOVED;
        // SAFETY: the lengths were checked; the caller promises the instruction sets.
        unsafe {
            run::<S>(job.x_heads() * high + heads * wide, moved, &Split(&job));
            run::<S>(heads * high, count.work / rows * n, &job);
        }
    }
}
