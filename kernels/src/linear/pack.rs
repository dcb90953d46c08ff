//! Moving operands to where the register kernels want them.

use super::micro::Micro;
use crate::simd::{Job, Simd};
use crate::tile::{MOVED, Shared, run};
use crate::{Linear, Scratch};
use std::ops::Range;

/// How the weights are laid out for a product.
#[derive(Clone, Copy)]
pub(crate) enum Layout {
    /// as they are
    Asis,
    /// panels of two vectors
    Panels,
    /// panels of the transpose
    TurnedPanels,
    /// `[inner, cols]` to `[cols, inner]`
    Turned,
    /// `[cols, inner]` to `[inner, cols]`
    TurnedDense,
}

/// Length of the blocks into which sums are cut: a panel of 256 x 2 vectors is 32 KiB (AVX-512),
/// which leaves room for the rows of the other operand in L1.
pub(super) const BLOCK: usize = 256;

/// Room for one panel of a block of the sum, on the stack: it stays in L1, and never travels to memory.
#[repr(C, align(64))]
pub(crate) struct Panel(std::mem::MaybeUninit<[f32; BLOCK * 32]>);

impl Panel {
    /// Of any content.
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self(std::mem::MaybeUninit::uninit())
    }

    /// The first float.
    #[inline(always)]
    pub(crate) fn ptr(&mut self) -> *mut f32 {
        self.0.as_mut_ptr().cast()
    }
}

/// Rows of w that a tile of panels takes.
const PACK_ROWS: usize = 32;

/// Lays out the weights of all heads; tiles are blocks of rows of w of all heads, or heads if there are no panels.
struct Pack<'a> {
    layout: Layout,
    w: &'a [f32],
    inner: usize,
    cols: usize,
    dst: Shared<f32>,
    /// floats per head of `dst`
    head: usize,
    /// tiles per head
    tiles: usize,
}

impl<S: Simd> Job<S> for Pack<'_> {
    #[inline(always)]
    unsafe fn run(&self, tiles: Range<usize>) {
        let (inner, cols) = (self.inner, self.cols);
        for tile in tiles {
            let (j, first) = (tile / self.tiles, tile % self.tiles * PACK_ROWS);
            // SAFETY: head j exists in w; each tile has its own part of `dst`.
            unsafe {
                let w = self.w.as_ptr().add(j * inner * cols);
                let dst = self.dst.ptr().add(j * self.head);
                match self.layout {
                    Layout::Asis => {}
                    Layout::Panels => {
                        pack_rows::<S>(w, first..inner.min(first + PACK_ROWS), inner, cols, dst);
                    }
                    Layout::TurnedPanels => {
                        const { assert!(PACK_ROWS.is_multiple_of(2 * S::LANES)) };
                        for col in (first..cols.min(first + PACK_ROWS)).step_by(2 * S::LANES) {
                            let width = (cols - col).min(2 * S::LANES);
                            pack_turned::<S>(w.add(col * inner), inner, inner, width, dst.add(col * inner));
                        }
                    }
                    Layout::Turned => turn::<S>(w, inner, cols, dst),
                    Layout::TurnedDense => turn::<S>(w, cols, inner, dst),
                }
            }
        }
    }
}

/// Packs the weights of all heads into the scratch, if the layout asks for it: pointer and floats per head.
#[inline(always)]
pub(crate) unsafe fn packed<S: Simd>(
    layout: Layout,
    w: &[f32],
    heads: usize,
    inner: usize,
    cols: usize,
    scratch: Scratch<'_>,
) -> (*const f32, usize) {
    let (head, tiles) = match layout {
        Layout::Asis => return (w.as_ptr(), inner * cols),
        Layout::Turned | Layout::TurnedDense => (inner * cols, 1),
        Layout::Panels => (packed_len::<S>(inner, cols), inner.div_ceil(PACK_ROWS)),
        Layout::TurnedPanels => (packed_len::<S>(inner, cols), cols.div_ceil(PACK_ROWS)),
    };
    let scratch = match scratch {
        Scratch::Packed(done) => return (done[skip(done)..][..heads * head].as_ptr(), head),
        Scratch::Empty(scratch) | Scratch::Keep(scratch) => scratch,
    };
    let skip = skip(scratch);
    let dst = Shared::new(&mut scratch[skip..][..heads * head]);
    let job = Pack { layout, w, inner, cols, dst, head, tiles };
    // SAFETY: the caller promises the instruction set and that w has these sizes.
    unsafe { run::<S>(heads * tiles, w.len() * MOVED, &job) };
    (dst.ptr(), head)
}

/// Floats of one head's packed panels.
fn packed_len<S: Simd>(inner: usize, cols: usize) -> usize {
    inner * cols.next_multiple_of(2 * S::LANES)
}

/// Floats that [`Micro`] kernels of these sizes need, with room to align.
pub(crate) fn scratch<S: Micro>(s: &Linear) -> usize {
    let head = packed_len::<S>(s.inputs, s.outputs).max(packed_len::<S>(s.outputs, s.inputs));
    s.heads * head + 16
}

/// Floats before the first 64-byte boundary of the scratch.
pub(super) fn skip(scratch: &[f32]) -> usize {
    scratch.as_ptr().align_offset(64).min(15)
}

/// One panel of `width` columns, zero-padded to two vectors.
#[inline(always)]
pub(crate) unsafe fn pack_panel<S: Simd>(
    b: *const f32,
    inner: usize,
    stride: usize,
    width: usize,
    dst: *mut f32,
) {
    // SAFETY: the caller's b covers inner rows of `width` floats, dst inner rows of two vectors.
    unsafe {
        let (mut b, mut dst) = (b, dst);
        for _ in 0..inner {
            let (lo, hi) = if width == 2 * S::LANES {
                (S::load(b), S::load(b.add(S::LANES)))
            } else {
                let hi = b.wrapping_add(S::LANES);
                (S::load_part(b, width), S::load_part(hi, width.saturating_sub(S::LANES)))
            };
            S::store(dst, lo);
            S::store(dst.add(S::LANES), hi);
            b = b.wrapping_add(stride);
            dst = dst.wrapping_add(2 * S::LANES);
        }
    }
}

/// Some rows of b `[inner, cols]` into all its panels: b may be far away, and is read in order.
#[inline(always)]
unsafe fn pack_rows<S: Simd>(b: *const f32, rows: Range<usize>, inner: usize, cols: usize, dst: *mut f32) {
    let width = 2 * S::LANES;
    for row in rows {
        for col in (0..cols).step_by(width) {
            // SAFETY: the caller's b covers the row, dst its place in every panel.
            unsafe {
                let src = b.add(row * cols + col);
                pack_panel::<S>(src, 1, cols, (cols - col).min(width), dst.add(col * inner + row * width));
            }
        }
    }
}

/// One panel of the transpose of w `[width, inner]`, whose rows are `stride` apart, zero-padded.
#[inline(always)]
pub(crate) unsafe fn pack_turned<S: Simd>(
    w: *const f32,
    stride: usize,
    inner: usize,
    width: usize,
    dst: *mut f32,
) {
    for half in 0..2 {
        let first = half * S::LANES;
        let rows = width.saturating_sub(first).min(S::LANES);
        // SAFETY: the caller's w covers width x inner, dst inner rows of two vectors.
        unsafe {
            let (w, dst) = (w.wrapping_add(first * stride), dst.add(first));
            turn_rows::<S>(w, stride, rows, inner, dst, 2 * S::LANES, S::LANES);
        }
    }
}

/// The transpose of w `[inner, cols]` to `[cols, inner]`, dense.
#[inline(always)]
pub(super) unsafe fn turn<S: Simd>(w: *const f32, inner: usize, cols: usize, dst: *mut f32) {
    for i in (0..inner).step_by(S::LANES) {
        let rows = (inner - i).min(S::LANES);
        // SAFETY: the caller's arrays cover inner x cols.
        unsafe { turn_rows::<S>(w.add(i * cols), cols, rows, cols, dst.add(i), inner, rows) }
    }
}

/// dst`[c, r]` = src`[r, c]` for at most LANES rows and any columns; of each row of dst `width` floats are
/// written, zeros after the last row of src.
#[inline(always)]
unsafe fn turn_rows<S: Simd>(
    src: *const f32,
    src_stride: usize,
    rows: usize,
    cols: usize,
    dst: *mut f32,
    dst_stride: usize,
    width: usize,
) {
    for c in (0..cols).step_by(S::LANES) {
        let n = (cols - c).min(S::LANES);
        // SAFETY: the caller's arrays cover the sizes; partial blocks are read and written by part.
        unsafe {
            let mut block = [S::zero(); 16];
            let block = &mut block[..S::LANES];
            for (r, v) in block.iter_mut().enumerate().take(rows) {
                let p = src.add(r * src_stride + c);
                *v = if n == S::LANES { S::load(p) } else { S::load_part(p, n) };
            }
            S::transpose(block);
            for (r, &v) in block.iter().enumerate().take(n) {
                let p = dst.add((c + r) * dst_stride);
                if width == S::LANES { S::store(p, v) } else { S::store_part(p, v, width) }
            }
        }
    }
}

/// dst`[c, r]` = src`[r, c]`, or += if `add`, for any number of rows and at most LANES columns.
#[inline(always)]
pub(crate) unsafe fn turn_into<S: Simd>(
    src: *const f32,
    src_stride: usize,
    rows: usize,
    cols: usize,
    dst: *mut f32,
    dst_stride: usize,
    add: bool,
) {
    for first in (0..rows).step_by(S::LANES) {
        let n = (rows - first).min(S::LANES);
        // SAFETY: the caller's src holds whole vectors, dst covers the sizes.
        unsafe {
            let mut block = [S::zero(); 16];
            let block = &mut block[..S::LANES];
            for (r, v) in block.iter_mut().enumerate().take(n) {
                *v = S::load(src.add((first + r) * src_stride));
            }
            S::transpose(block);
            for (c, &v) in block.iter().enumerate().take(cols) {
                let p = dst.add(c * dst_stride + first);
                let v = if add { S::add(S::load_part(p, n), v) } else { v };
                S::store_part(p, v, n);
            }
        }
    }
}
