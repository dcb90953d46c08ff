//! The linear family on `matrixmultiply`, for any processor.
//!
//! `matrixmultiply` allocates its packing buffer in every call; this is the one variant that is not
//! free of allocations. It chooses its own instructions at run time, so its bits differ between processors.

use super::{bias_rows, check_dw, check_dx, check_linear};
use crate::elementwise::portable::unary;
use crate::flush::Flush;
use crate::tile::{Shared, for_ranges};
use crate::{Activation, Linear, Scratch, Unary};

/// Rows of one tile.
const ROWS: usize = 64;

/// Scratch is not used.
pub(crate) fn linear_scratch(_: &Linear) -> usize {
    0
}

/// c `[m, n]` = a `[m, k]` b `[k, n]` + beta c, strides (row, column) of a and b given, c dense.
#[allow(clippy::too_many_arguments)]
unsafe fn gemm(
    m: usize,
    k: usize,
    n: usize,
    a: (*const f32, isize, isize),
    b: (*const f32, isize, isize),
    beta: f32,
    c: *mut f32,
) {
    // SAFETY: the caller's pointers cover the sizes and strides given; c is disjoint from a and b.
    unsafe { matrixmultiply::sgemm(m, k, n, 1.0, a.0, a.1, a.2, b.0, b.1, b.2, beta, c, n as isize, 1) }
}

pub(crate) fn linear(
    s: &Linear,
    x: &[f32],
    w: &[f32],
    b: Option<&[f32]>,
    act: Activation,
    y: &mut [f32],
    _: Scratch<'_>,
) {
    let count = check_linear(s, x, w, b, y);
    let Linear { heads, rows, inputs, outputs, .. } = *s;
    let blocks = rows.div_ceil(ROWS);
    let out = Shared::new(y);
    for_ranges(heads * blocks, count.work, &|range| {
        for tile in range {
            let (j, first) = (tile / blocks, tile % blocks * ROWS);
            let m = ROWS.min(rows - first);
            // SAFETY: rows first..first + m of head j exist in x and y, head j exists in w (lengths
            // were checked); no other tile writes these rows of y.
            let y = unsafe {
                let y = out.ptr().add((j * rows + first) * outputs);
                let x = x.as_ptr().add(j * count.x_head + first * inputs);
                let w = w.as_ptr().add(j * inputs * outputs);
                gemm(m, inputs, outputs, (x, inputs as isize, 1), (w, outputs as isize, 1), 0.0, y);
                std::slice::from_raw_parts_mut(y, m * outputs)
            };
            if let Some(b) = b
                && outputs > 0
            {
                let own = bias_rows(s, b);
                for (r, y) in y.chunks_exact_mut(outputs).enumerate() {
                    let row = j * own + (first + r) * own / rows;
                    for (y, b) in y.iter_mut().zip(&b[row * outputs..]) {
                        *y += b;
                    }
                }
            }
            activate(act, y);
        }
    });
}

/// Activation in place.
fn activate(act: Activation, y: &mut [f32]) {
    match act {
        Activation::Identity => {}
        Activation::Relu => y.iter_mut().for_each(|y| *y = if 0.0 > *y { 0.0 } else { *y }),
        Activation::Tanh => {
            let mut x = [0.0; 64];
            for y in y.chunks_mut(64) {
                x[..y.len()].copy_from_slice(y);
                unary(Unary::Tanh, &x[..y.len()], y);
            }
        }
    }
}

pub(crate) fn linear_dx(
    s: &Linear,
    dy: &[f32],
    w: &[f32],
    mask: Option<(Activation, &[f32])>,
    dx: &mut [f32],
    _: Scratch<'_>,
) {
    let count = check_dx(s, dy, w, mask, dx);
    let Linear { heads, rows, inputs, outputs, shared_input } = *s;
    if heads == 0 {
        return dx.fill(0.0);
    }
    let blocks = rows.div_ceil(ROWS);
    let results = if shared_input { 1 } else { heads };
    let out = Shared::new(dx);
    for_ranges(results * blocks, count.work, &|range| {
        for tile in range {
            let (result, first) = (tile / blocks, tile % blocks * ROWS);
            let m = ROWS.min(rows - first);
            let at = (result * rows + first) * inputs;
            // SAFETY: this tile alone writes rows first..first + m of this result.
            let dx = unsafe { out.ptr().add(at) };
            for j in if shared_input { 0..heads } else { result..result + 1 } {
                let beta = if shared_input && j > 0 { 1.0 } else { 0.0 };
                // SAFETY: head j and these rows exist in dy, w and dx (lengths were checked).
                unsafe {
                    let dy = dy.as_ptr().add((j * rows + first) * outputs);
                    let w = w.as_ptr().add(j * inputs * outputs);
                    gemm(m, outputs, inputs, (dy, outputs as isize, 1), (w, 1, outputs as isize), beta, dx);
                }
            }
            // SAFETY: as above.
            let dx = unsafe { std::slice::from_raw_parts_mut(dx, m * inputs) };
            match mask {
                None | Some((Activation::Identity, _)) => {}
                Some((Activation::Relu, x)) => {
                    for (g, &x) in dx.iter_mut().zip(&x[at..]) {
                        *g = if x > 0.0 { *g } else { 0.0 };
                    }
                }
                Some((Activation::Tanh, x)) => {
                    for (g, &x) in dx.iter_mut().zip(&x[at..]) {
                        *g *= 1.0 - x * x;
                    }
                }
            }
        }
    });
}

pub(crate) fn linear_dw(
    s: &Linear,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    db: Option<&mut [f32]>,
    add: bool,
    _: &mut [f32],
) {
    let count = check_dw(s, x, dy, dw, db.as_deref());
    let Linear { heads, rows, inputs, outputs, .. } = *s;
    let blocks = inputs.div_ceil(ROWS);
    let beta = f32::from(u8::from(add));
    let out = Shared::new(dw);
    for_ranges(heads * blocks, count.work, &|range| {
        for tile in range {
            let (j, first) = (tile / blocks, tile % blocks * ROWS);
            let m = ROWS.min(inputs - first);
            // SAFETY: columns first..first + m of x and rows of dw exist (lengths were checked);
            // no other tile writes these rows of dw.
            unsafe {
                let x = x.as_ptr().add(j * count.x_head + first);
                let dy = dy.as_ptr().add(j * rows * outputs);
                let dw = out.ptr().add((j * inputs + first) * outputs);
                gemm(m, rows, outputs, (x, 1, inputs as isize), (dy, outputs as isize, 1), beta, dw);
            }
        }
    });
    if let Some(db) = db
        && outputs > 0
    {
        let _flush = Flush::begin();
        for (db, dy) in db.chunks_exact_mut(outputs).zip(dy.chunks(rows.max(1) * outputs)) {
            if !add {
                db.fill(0.0);
            }
            // Blocks of 256 rows, so that long batches do not lose the small gradients.
            for block in dy.chunks(256 * outputs) {
                for (n, db) in db.iter_mut().enumerate() {
                    *db += block.iter().skip(n).step_by(outputs).sum::<f32>();
                }
            }
        }
        if rows == 0 && !add {
            db.fill(0.0);
        }
    }
}
