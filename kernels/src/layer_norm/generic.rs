//! Layer normalisation, written once for all instruction sets: passes over a few rows that stay in L1 meanwhile.

use super::{ROWS, check_dense, check_rows};
use crate::simd::{Job, Simd};
use crate::tile::{MOVED, Shared, run};
use crate::{Norm, NormGradients};
use std::ops::Range;

/// One number for each of as many rows as there are lanes: what they share is computed for all of them at once.
type Each = [f32; 16];

/// The body for every strip of two vectors of columns: its first column and how many it has. Written out twice, so that whole strips
/// know that they are whole.
macro_rules! strips {
    ($S:ident, $cols:expr, |$at:ident, $n:ident| $body:block) => {
        let mut $at = 0;
        while $at + 2 * $S::LANES <= $cols {
            let $n = 2 * $S::LANES;
            $body
            $at += $n;
        }
        if $at < $cols {
            let $n = $cols - $at;
            $body
        }
    };
}

/// Two vectors of columns, of which `n` exist; the others are zero.
#[inline(always)]
unsafe fn load<S: Simd>(p: *const f32, n: usize) -> [S::V; 2] {
    // SAFETY: the caller promises the instruction set and `n` floats.
    unsafe {
        if n >= 2 * S::LANES {
            [S::load(p), S::load(p.add(S::LANES))]
        } else {
            let rest = n.saturating_sub(S::LANES);
            [S::load_part(p, n), S::load_part(p.wrapping_add(S::LANES), rest)]
        }
    }
}

/// x in the first `n` columns of two vectors, zero in the others.
#[inline(always)]
unsafe fn splat<S: Simd>(x: f32, n: usize) -> [S::V; 2] {
    // SAFETY: the caller promises the instruction set; two vectors have at most 32 lanes.
    unsafe { if n >= 2 * S::LANES { [S::splat(x); 2] } else { load::<S>([x; 32].as_ptr(), n) } }
}

/// The first `n` of two vectors of columns.
#[inline(always)]
unsafe fn store<S: Simd>(p: *mut f32, [a, b]: [S::V; 2], n: usize) {
    // SAFETY: the caller promises the instruction set and `n` floats.
    unsafe {
        if n >= 2 * S::LANES {
            S::store(p, a);
            S::store(p.add(S::LANES), b);
        } else {
            S::store_part(p, a, n);
            S::store_part(p.wrapping_add(S::LANES), b, n.saturating_sub(S::LANES));
        }
    }
}

/// Means over the columns of what is summed in two vectors for every row.
#[inline(always)]
unsafe fn means<S: Simd>(sums: &[[S::V; 2]; 16], cols: usize) -> S::V {
    // SAFETY: the caller promises the instruction set.
    unsafe {
        let mut both = [S::zero(); 16];
        for i in 0..S::LANES {
            both[i] = S::add(sums[i][0], sums[i][1]);
        }
        S::div(S::sum_each(&both[..S::LANES]), S::splat(cols as f32))
    }
}

#[inline(always)]
unsafe fn each<S: Simd>(v: S::V) -> Each {
    let mut each = [0.0; 16];
    // SAFETY: the caller promises the instruction set; a vector has at most 16 lanes.
    unsafe { S::store(each.as_mut_ptr(), v) };
    each
}

/// μ and 1 / s of at most LANES rows.
#[inline(always)]
unsafe fn statistics<S: Simd>(x: *const f32, rows: usize, cols: usize, eps: f32) -> (Each, Each) {
    // SAFETY: the caller promises the instruction set and x `[rows, cols]`.
    unsafe {
        let mut sums = [[S::zero(); 2]; 16];
        for (i, sum) in sums.iter_mut().enumerate().take(rows) {
            let x = x.add(i * cols);
            strips!(S, cols, |at, n| {
                let v = load::<S>(x.add(at), n);
                *sum = [S::add(sum[0], v[0]), S::add(sum[1], v[1])];
            });
        }
        let rough = means::<S>(&sums, cols);
        let (mut rest, mut squares) = ([[S::zero(); 2]; 16], [[S::zero(); 2]; 16]);
        for (i, &mean) in each::<S>(rough).iter().enumerate().take(rows) {
            let x = x.add(i * cols);
            let (rest, squares) = (&mut rest[i], &mut squares[i]);
            strips!(S, cols, |at, n| {
                // Beyond the last column both are zero.
                let (v, mean) = (load::<S>(x.add(at), n), splat::<S>(mean, n));
                let d = [S::sub(v[0], mean[0]), S::sub(v[1], mean[1])];
                *rest = [S::add(rest[0], d[0]), S::add(rest[1], d[1])];
                *squares = [S::fma(d[0], d[0], squares[0]), S::fma(d[1], d[1], squares[1])];
            });
        }
        let (rest, squares) = (means::<S>(&rest, cols), means::<S>(&squares, cols));
        // Rounding may take it below zero; infinite squares stay so.
        let variance = S::max(S::zero(), S::min(S::fnma(rest, rest, squares), squares));
        let inverse = S::div(S::splat(1.0), S::sqrt(S::add(variance, S::splat(eps))));
        (each::<S>(S::add(rough, rest)), each::<S>(inverse))
    }
}

/// x̂ of two vectors.
#[inline(always)]
unsafe fn normalised<S: Simd>(x: [S::V; 2], mean: S::V, inverse: S::V) -> [S::V; 2] {
    // SAFETY: the caller promises the instruction set.
    unsafe { [S::mul(S::sub(x[0], mean), inverse), S::mul(S::sub(x[1], mean), inverse)] }
}

/// mean(g) and mean(g x̂) of at most LANES rows, with g = dy ⊙ gain; pointers to x, gain and dy.
#[inline(always)]
unsafe fn gradient_means<S: Simd>(
    [x, gain, dy]: [*const f32; 3],
    rows: usize,
    cols: usize,
    (mean, inverse): (&Each, &Each),
) -> (Each, Each) {
    // SAFETY: the caller promises the instruction set, x and dy `[rows, cols]`, gain `[cols]`.
    unsafe {
        let (mut plain, mut along) = ([[S::zero(); 2]; 16], [[S::zero(); 2]; 16]);
        for i in 0..rows {
            let (x, dy) = (x.add(i * cols), dy.add(i * cols));
            let (mean, inverse) = (S::splat(mean[i]), S::splat(inverse[i]));
            let (plain, along) = (&mut plain[i], &mut along[i]);
            strips!(S, cols, |at, n| {
                let v = normalised::<S>(load::<S>(x.add(at), n), mean, inverse);
                let (dy, gain) = (load::<S>(dy.add(at), n), load::<S>(gain.add(at), n));
                let g = [S::mul(dy[0], gain[0]), S::mul(dy[1], gain[1])];
                *plain = [S::add(plain[0], g[0]), S::add(plain[1], g[1])];
                *along = [S::fma(g[0], v[0], along[0]), S::fma(g[1], v[1], along[1])];
            });
        }
        (each::<S>(means::<S>(&plain, cols)), each::<S>(means::<S>(&along, cols)))
    }
}

/// The head of a tile and its rows, counted from the first of that head.
fn tile_rows(s: &Norm, tile: usize) -> (usize, Range<usize>) {
    let tiles = s.rows.div_ceil(ROWS);
    let first = tile % tiles * ROWS;
    (tile / tiles, first..s.rows.min(first + ROWS))
}

/// y of all heads.
struct Forward<'a> {
    s: &'a Norm,
    x: &'a [f32],
    gain: &'a [f32],
    bias: &'a [f32],
    /// what y is not below
    floor: f32,
    y: Shared<f32>,
}

/// See the contract.
#[inline(always)]
pub(crate) unsafe fn layer_norm<S: Simd>(
    s: &Norm,
    x: &[f32],
    gain: &[f32],
    bias: &[f32],
    relu: bool,
    y: &mut [f32],
) {
    check_dense(s, &[("x", x.len()), ("y", y.len())]);
    check_rows(s, &[("gain", gain.len()), ("bias", bias.len())]);
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    let job = Forward { s, x, gain, bias, floor, y: Shared::new(y) };
    // SAFETY: the lengths were checked; the caller promises the instruction set.
    unsafe { run::<S>(s.heads * s.rows.div_ceil(ROWS), x.len() * MOVED, &job) }
}

impl<S: Simd> Job<S> for Forward<'_> {
    #[inline(always)]
    unsafe fn run(&self, tiles: Range<usize>) {
        let Norm { rows, cols, eps, .. } = *self.s;
        for tile in tiles {
            let (j, range) = tile_rows(self.s, tile);
            for row in range.clone().step_by(S::LANES) {
                let count = (range.end - row).min(S::LANES);
                let first = (j * rows + row) * cols;
                // SAFETY: the lengths were checked; rows of y are disjoint.
                unsafe {
                    let (x, y) = (self.x.as_ptr().add(first), self.y.ptr().add(first));
                    let (gain, bias) = (self.gain.as_ptr().add(j * cols), self.bias.as_ptr().add(j * cols));
                    let floor = S::splat(self.floor);
                    let (mean, inverse) = statistics::<S>(x, count, cols, eps);
                    for i in 0..count {
                        let (x, y) = (x.add(i * cols), y.add(i * cols));
                        let (mean, inverse) = (S::splat(mean[i]), S::splat(inverse[i]));
                        strips!(S, cols, |at, n| {
                            let v = normalised::<S>(load::<S>(x.add(at), n), mean, inverse);
                            let (gain, bias) = (load::<S>(gain.add(at), n), load::<S>(bias.add(at), n));
                            let z = [S::fma(v[0], gain[0], bias[0]), S::fma(v[1], gain[1], bias[1])];
                            store::<S>(y.add(at), [S::max(floor, z[0]), S::max(floor, z[1])], n);
                        });
                    }
                }
            }
        }
    }
}

/// Gradients of all heads, sums over rows by tile.
struct Backward<'a> {
    s: &'a Norm,
    x: &'a [f32],
    gain: &'a [f32],
    dy: &'a [f32],
    dx: Option<Shared<f32>>,
    /// dgain and dbias of every tile
    sums: Shared<f32>,
}

/// See the contract.
#[inline(always)]
pub(crate) unsafe fn layer_norm_grad<S: Simd>(
    s: &Norm,
    x: &[f32],
    gain: &[f32],
    dy: &[f32],
    gradients: NormGradients<'_>,
) {
    let NormGradients { dx, dgain, dbias, add, scratch: room } = gradients;
    check_dense(s, &[("x", x.len()), ("dy", dy.len())]);
    check_rows(s, &[("gain", gain.len())]);
    dx.iter().for_each(|dx| check_dense(s, &[("dx", dx.len())]));
    dgain.iter().for_each(|dgain| check_rows(s, &[("dgain", dgain.len())]));
    dbias.iter().for_each(|dbias| check_rows(s, &[("dbias", dbias.len())]));
    let sums = Shared::new(&mut room[..s.scratch()]);
    let tiles = s.rows.div_ceil(ROWS);
    let job = Backward { s, x, gain, dy, dx: dx.map(Shared::new), sums };
    let join = Join { cols: s.cols, tiles, sums, out: [dgain, dbias].map(|out| out.map(Shared::new)), add };
    // SAFETY: the lengths were checked; the caller promises the instruction set.
    unsafe {
        run::<S>(s.heads * tiles, 2 * x.len() * MOVED, &job);
        run::<S>(s.heads, s.scratch() * MOVED, &join);
    }
}

impl<S: Simd> Job<S> for Backward<'_> {
    #[inline(always)]
    unsafe fn run(&self, tiles: Range<usize>) {
        let Norm { rows, cols, .. } = *self.s;
        for tile in tiles {
            let (j, range) = tile_rows(self.s, tile);
            // SAFETY: the lengths were checked; every tile has rows of dx and two rows of sums of its own.
            unsafe {
                let sums = self.sums.ptr().add(2 * tile * cols);
                std::slice::from_raw_parts_mut(sums, 2 * cols).fill(0.0);
                for row in range.clone().step_by(S::LANES) {
                    let count = (range.end - row).min(S::LANES);
                    self.rows::<S>(j, (j * rows + row) * cols, count, sums);
                }
            }
        }
    }
}

impl Backward<'_> {
    /// At most LANES rows of head j, beginning with element `first`.
    #[inline(always)]
    unsafe fn rows<S: Simd>(&self, j: usize, first: usize, rows: usize, sums: *mut f32) {
        let Norm { cols, eps, .. } = *self.s;
        // SAFETY: promised by the caller, who has checked the lengths.
        unsafe {
            let (x, dy) = (self.x.as_ptr().add(first), self.dy.as_ptr().add(first));
            let gain = self.gain.as_ptr().add(j * cols);
            let (mean, inverse) = statistics::<S>(x, rows, cols, eps);
            let (plain, along) = match self.dx {
                Some(_) => gradient_means::<S>([x, gain, dy], rows, cols, (&mean, &inverse)),
                None => ([0.0; 16], [0.0; 16]),
            };
            strips!(S, cols, |at, n| {
                let gain = load::<S>(gain.add(at), n);
                let (dgain, dbias) = (sums.add(at), sums.add(cols + at));
                let mut sum_gain = load::<S>(dgain, n);
                let mut sum_bias = load::<S>(dbias, n);
                for i in 0..rows {
                    let (mean, inverse) = (S::splat(mean[i]), S::splat(inverse[i]));
                    let v = normalised::<S>(load::<S>(x.add(i * cols + at), n), mean, inverse);
                    let dy = load::<S>(dy.add(i * cols + at), n);
                    for k in 0..2 {
                        sum_gain[k] = S::fma(dy[k], v[k], sum_gain[k]);
                        sum_bias[k] = S::add(sum_bias[k], dy[k]);
                    }
                    if let Some(dx) = self.dx {
                        let (plain, along) = (S::splat(plain[i]), S::splat(along[i]));
                        let mut g = [S::zero(); 2];
                        for k in 0..2 {
                            let centred = S::sub(S::mul(dy[k], gain[k]), plain);
                            g[k] = S::mul(S::fnma(v[k], along, centred), inverse);
                        }
                        store::<S>(dx.ptr().add(first + i * cols + at), g, n);
                    }
                }
                store::<S>(dgain, sum_gain, n);
                store::<S>(dbias, sum_bias, n);
            });
        }
    }
}

/// dgain and dbias from those of the tiles; its tiles are heads.
struct Join {
    cols: usize,
    tiles: usize,
    sums: Shared<f32>,
    out: [Option<Shared<f32>>; 2],
    add: bool,
}

impl<S: Simd> Job<S> for Join {
    #[inline(always)]
    unsafe fn run(&self, heads: Range<usize>) {
        let Join { cols, tiles, .. } = *self;
        for j in heads {
            for (which, out) in self.out.iter().enumerate() {
                let Some(out) = out else { continue };
                // SAFETY: the lengths were checked; a head has its own part of the outputs.
                unsafe {
                    let sums = self.sums.ptr().add((2 * j * tiles + which) * cols);
                    let out = out.ptr().add(j * cols);
                    strips!(S, cols, |at, n| {
                        let nothing = [S::zero(); 2];
                        let mut sum = if self.add { load::<S>(out.add(at), n) } else { nothing };
                        for tile in 0..tiles {
                            let more = load::<S>(sums.add(2 * tile * cols + at), n);
                            sum = [S::add(sum[0], more[0]), S::add(sum[1], more[1])];
                        }
                        store::<S>(out.add(at), sum, n);
                    });
                }
            }
        }
    }
}
