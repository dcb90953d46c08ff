//! y = act(x w + b) and dx = (dy wᵀ) ⊙ act′, for AVX2 and AVX-512: how the products of `product.rs` are laid out and
//! shared among threads. dw is in `weights.rs`.

pub(crate) use super::weights::linear_dw;

use super::micro::{Finish, Micro};
use super::pack::{Layout, packed};
use super::product::{Product, Right, SHORT, narrow, narrow_product, outer, product, tallest, tanh_dense};
use super::{bias_rows, check_dx, check_linear};
use crate::simd::Job;
use crate::tile::run;
use crate::{Activation, Linear, Scratch};
use std::ops::Range;

/// Rows of one parallel tile.
const ROWS: usize = 64;
/// Rows up to which all of x stays in L2 while the panels go by.
const FRESH: usize = 256;

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
                } else if p.right == Right::Dense && p.inner == 1 {
                    outer::<S>(&p, rows.clone());
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

/// Whether panels are packed when their turn comes, on the stack, rather than all of them before: once per call
/// unless there are many rows or several threads, and without a trip through memory.
fn fresh(rows: usize, scratch: &Scratch<'_>) -> bool {
    rows <= FRESH && matches!(scratch, Scratch::Empty(_))
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
    let (layout, right) = match (narrow, direct) {
        (true, _) if outputs > 1 => (Layout::Turned, Right::Dense),
        (false, false) if fresh(rows, &scratch) => (Layout::Asis, Right::Fresh),
        (false, false) => (Layout::Panels, Right::Panels),
        _ => (Layout::Asis, Right::Dense),
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
                right,
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
    let (layout, right) = match (narrow, direct) {
        (false, false) if fresh(rows, &scratch) => (Layout::Asis, Right::FreshTurned),
        (false, false) => (Layout::TurnedPanels, Right::Panels),
        (false, true) if outputs > 1 => (Layout::TurnedDense, Right::Dense),
        _ => (Layout::Asis, Right::Dense),
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
                right,
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
