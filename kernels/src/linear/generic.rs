//! The linear family, written once for AVX2 and AVX-512.
//!
//! Three loops around two register kernels:
//! - [`tile`] holds a block of c in registers and adds outer products, lanes along the columns of c. The
//!   right operand is read as *panels*, strips of two vectors packed contiguously: rows of 256 floats are
//!   1,024 bytes apart and would share 4 of the 64 sets of the L1 cache. Forward and dx pack the weights
//!   once per call, dw packs one panel of dy at a time on the stack.
//! - [`dots`] holds dot products, lanes along the summed index: for few columns and long sums.
//!
//! Both exist for several heights, so that 17 rows become 9 + 8 instead of 12 + 5 (see `even_parts`): fewer
//! than eight running sums would wait for the latency of the multiply-add.

use super::{check_dw, check_dx, check_linear};
use crate::elementwise::generic::tanh;
use crate::simd::{Job, Simd};
use crate::tile::{Shared, even_parts, run};
use crate::{Activation, Linear};
use std::ops::Range;

/// Length of the blocks into which sums are cut: a panel of 256 x 2 vectors is 32 KiB (AVX-512),
/// which leaves room for the rows of the other operand in L1.
const BLOCK: usize = 256;
/// Rows that stay in L1 while [`dots`] goes through the columns; a multiple of its heights.
const DOTS_CHUNK: usize = 16;
/// Rows of one parallel tile.
const ROWS: usize = 64;
/// Rows that one thread takes through all panels at a time; a multiple of `ROWS`.
const CHUNK: usize = 128;

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
    fn at(self, n: usize) -> Self {
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
        for _ in 0..t.inner {
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

/// Floats on the stack, at the start of a cache line.
#[repr(C, align(64))]
struct Lines<const N: usize>([f32; N]);

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

/// Floats of one head's packed panels.
fn packed_len<S: Simd>(inner: usize, cols: usize) -> usize {
    inner * cols.next_multiple_of(2 * S::LANES)
}

/// Floats that [`Micro`] kernels of these sizes need, with room to align.
pub(crate) fn scratch<S: Micro>(s: &Linear) -> usize {
    let head = packed_len::<S>(s.inputs, s.outputs).max(packed_len::<S>(s.outputs, s.inputs));
    s.heads * head + 16
}

/// The first 64-byte boundary in the scratch.
fn aligned(scratch: &mut [f32], need: usize) -> &mut [f32] {
    let skip = scratch.as_ptr().align_offset(64).min(15);
    &mut scratch[skip..][..need]
}

/// One panel of `width` columns, zero-padded to two vectors.
#[inline(always)]
unsafe fn pack_panel<S: Simd>(b: *const f32, inner: usize, stride: usize, width: usize, dst: *mut f32) {
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

/// One panel of the transpose of w `[width, inner]`, zero-padded.
#[inline(always)]
unsafe fn pack_turned<S: Simd>(w: *const f32, inner: usize, width: usize, dst: *mut f32) {
    for half in 0..2 {
        let first = half * S::LANES;
        let rows = width.saturating_sub(first).min(S::LANES);
        // SAFETY: the caller's w covers width x inner, dst inner rows of two vectors.
        unsafe {
            let (w, dst) = (w.wrapping_add(first * inner), dst.add(first));
            turn_rows::<S>(w, inner, rows, inner, dst, 2 * S::LANES, S::LANES);
        }
    }
}

/// The transpose of w `[inner, cols]` to `[cols, inner]`, dense.
#[inline(always)]
unsafe fn turn<S: Simd>(w: *const f32, inner: usize, cols: usize, dst: *mut f32) {
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

/// Strips of columns: (first, vectors, columns) with `vectors` wide as long as they are full, then two.
#[inline(always)]
fn strips<S: Simd>(cols: usize, vectors: usize) -> impl Iterator<Item = (usize, usize, usize)> {
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

/// How the weights are laid out for a product.
#[derive(Clone, Copy)]
enum Layout {
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

/// Lays out the weights of all heads; tiles are the panels of all heads, or heads if there are no panels.
struct Pack<'a> {
    layout: Layout,
    w: &'a [f32],
    inner: usize,
    cols: usize,
    dst: Shared<f32>,
    /// floats per head of `dst`
    head: usize,
    /// tiles per head
    panels: usize,
}

impl<S: Simd> Job<S> for Pack<'_> {
    #[inline(always)]
    unsafe fn run(&self, tiles: Range<usize>) {
        let (inner, cols) = (self.inner, self.cols);
        for tile in tiles {
            let (j, panel) = (tile / self.panels, tile % self.panels);
            let col = panel * 2 * S::LANES;
            let width = (cols - col).min(2 * S::LANES);
            // SAFETY: head j exists in w; each tile has its own part of `dst`.
            unsafe {
                let w = self.w.as_ptr().add(j * inner * cols);
                let dst = self.dst.ptr().add(j * self.head + col * inner);
                match self.layout {
                    Layout::Asis => {}
                    Layout::Panels => pack_panel::<S>(w.add(col), inner, cols, width, dst),
                    Layout::TurnedPanels => pack_turned::<S>(w.add(col * inner), inner, width, dst),
                    Layout::Turned => turn::<S>(w, inner, cols, dst),
                    Layout::TurnedDense => turn::<S>(w, cols, inner, dst),
                }
            }
        }
    }
}

/// Packs the weights of all heads into the scratch, if the layout asks for it: pointer and floats per head.
#[inline(always)]
unsafe fn packed<S: Simd>(
    layout: Layout,
    w: &[f32],
    heads: usize,
    inner: usize,
    cols: usize,
    scratch: &mut [f32],
) -> (*const f32, usize) {
    let (head, panels) = match layout {
        Layout::Asis => return (w.as_ptr(), inner * cols),
        Layout::Turned | Layout::TurnedDense => (inner * cols, 1),
        Layout::Panels | Layout::TurnedPanels => (packed_len::<S>(inner, cols), cols.div_ceil(2 * S::LANES)),
    };
    let dst = Shared::new(aligned(scratch, heads * head));
    let job = Pack { layout, w, inner, cols, dst, head, panels };
    // A float moved costs about as much time as sixteen operations.
    // SAFETY: the caller promises the instruction set and that w has these sizes.
    unsafe { run::<S>(heads * panels, w.len() * 16, &job) };
    (dst.ptr(), head)
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
            for term in 0..self.added {
                let j = result * self.added + term;
                let p = Product {
                    a: self.first.a.wrapping_add(j * self.a_head),
                    b: self.first.b.wrapping_add(j * self.b_head),
                    c: self.first.c.wrapping_add(result * self.c_head),
                    start: if self.first.start.is_null() {
                        self.first.start
                    } else {
                        self.first.start.wrapping_add(j * self.start_head)
                    },
                    add: term > 0,
                    finish: if term + 1 == self.added {
                        self.first.finish.at(result * self.c_head)
                    } else {
                        Finish::Plain
                    },
                    ..self.first
                };
                // SAFETY: lengths were checked; a tile writes its own rows of its own result.
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
    scratch: &mut [f32],
) {
    let count = check_linear(s, x, w, b, y);
    let Linear { heads, rows, inputs, outputs, .. } = *s;
    if count.y == 0 {
        return;
    }
    let narrow = narrow::<S>(inputs, outputs);
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
            start_head: outputs,
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
    scratch: &mut [f32],
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
            narrow,
            added,
            tanh: false,
        };
        run::<S>(results * rows.div_ceil(ROWS), count.work, &job);
    }
}

/// A panel of dy, on the stack.
#[repr(C, align(64))]
struct Panel(std::mem::MaybeUninit<[f32; BLOCK * 32]>);

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
                        let block = Block { rows: n, inputs, outputs, add: first > 0 };
                        if self.transposed {
                            let count = (inputs - at).min(self.strip);
                            let dw = dw.add(at * outputs);
                            dw_transposed::<S>(&block, x.add(at), count, self.vectors, dy, dw);
                        } else {
                            let count = (outputs - at).min(self.strip);
                            let db = self.db.map(|db| db.ptr().add(j * outputs + at));
                            dw_panel::<S>(&block, x, dy.add(at), count, dw.add(at), db);
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
    /// not the first block: add to what is there
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
    _scratch: &mut [f32],
) {
    let count = check_dw(s, x, dy, dw, db.as_deref());
    let Linear { heads, rows, inputs, outputs, .. } = *s;
    // Lanes along K when that wastes fewer: the result is then stored transposed.
    let vectors = |n: usize| n.div_ceil(2 * S::LANES) * 2;
    let transposed = vectors(inputs) * outputs < vectors(outputs) * inputs;
    if let Some(db) = db.as_deref_mut()
        && (transposed || inputs == 0)
    {
        for j in 0..heads {
            // SAFETY: head j exists in dy and db.
            unsafe {
                let dy = dy.as_ptr().add(j * rows * outputs);
                column_sums::<S>(dy, rows, outputs, db.as_mut_ptr().add(j * outputs));
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
    };
    // SAFETY: the lengths were checked; the caller promises the instruction set.
    unsafe { run::<S>(heads * strips, count.work, &job) }
}

/// One panel of columns of dw, and of db.
#[inline(always)]
unsafe fn dw_panel<S: Micro>(
    block: &Block,
    x: *const f32,
    dy: *const f32,
    cols: usize,
    dw: *mut f32,
    db: Option<*mut f32>,
) {
    let width = 2 * S::LANES;
    let mut panel = Panel(std::mem::MaybeUninit::uninit());
    // SAFETY: the caller's arrays cover the block; the panel has room for BLOCK rows of two vectors.
    unsafe {
        // Few tiles read dy in place: packing would cost as much as it saves.
        let (b, b_step) = if block.inputs > S::UNPACKED {
            let dst = panel.0.as_mut_ptr().cast::<f32>();
            pack_panel::<S>(dy, block.rows, block.outputs, cols, dst);
            (dst.cast_const(), width)
        } else {
            (dy, block.outputs)
        };
        for (k, height) in even_parts(block.inputs, S::TALL) {
            let sums = db.filter(|_| k == 0);
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

/// dst`[c, r]` = src`[r, c]`, or += if `add`, for any number of rows and at most LANES columns.
#[inline(always)]
unsafe fn turn_into<S: Simd>(
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

/// Sums of the columns of dy `[rows, cols]`, in blocks of rows.
#[inline(always)]
unsafe fn column_sums<S: Simd>(dy: *const f32, rows: usize, cols: usize, out: *mut f32) {
    for col in (0..cols).step_by(S::LANES) {
        let n = cols - col;
        // SAFETY: the caller's arrays cover rows x cols and cols.
        unsafe {
            let mut total = S::zero();
            for first in (0..rows).step_by(BLOCK) {
                let mut sum = S::zero();
                for r in first..(first + BLOCK).min(rows) {
                    sum = S::add(sum, S::load_part(dy.add(r * cols + col), n));
                }
                total = if first == 0 { sum } else { S::add(total, sum) };
            }
            S::store_part(out.add(col), total, n);
        }
    }
}
