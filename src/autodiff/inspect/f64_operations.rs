//! Every operation of the graph in f64, with plain loops.

use baq_kernels::Binary;
use baq_kernels::elementwise::reference::unary_at;

use super::layer_norm;
use crate::autodiff::trace::operation::{Number, Op};
use crate::autodiff::trace::shape::Shape;

/// Numbers in an order: dense, row-major.
#[derive(Clone, Copy)]
pub(super) struct Tensor<'a> {
    pub(super) x: &'a [f64],
    pub(super) shape: Shape,
}

/// The result, of shape `out`, of an operation that is no leaf. `single_expectiles` as in
/// [`Trace`](crate::autodiff::Trace).
pub(super) fn operation(op: Op, out: Shape, args: &[Tensor<'_>], single_expectiles: bool) -> Vec<f64> {
    let of = |k: usize| args[k].x;
    let shape = |k: usize| args[k].shape;
    match op {
        Op::Unary(f) => {
            let f = f.map(Number::get);
            of(0).iter().map(|&x| unary_at(f, x)).collect()
        }
        Op::Binary(f) => {
            let (a, b) = (broadcast(out, shape(0)), broadcast(out, shape(1)));
            let share = |u: f64, tau: f64| {
                let share = (tau - truth(u < 0.0)).abs();
                choose(single_expectiles, f64::from(share as f32), share)
            };
            (0..out.len()).map(|i| binary(f, of(0)[a(i)], of(1)[b(i)], share)).collect()
        }
        Op::Linear => linear(args[0], args[1], args[2]),
        Op::LinearDx => linear_dx(out, args[0], args[1]),
        Op::LinearDw => linear_dw(out, args[0], args[1]),
        Op::LayerNorm { eps } => layer_norm::forward(shape(0), eps.get(), [of(0), of(1), of(2)]),
        Op::LayerNormDx { eps } => layer_norm::dx(shape(0), eps.get(), [of(0), of(1), of(2)]),
        Op::LayerNormDgain { eps } => layer_norm::dgain(shape(0), eps.get(), of(0), of(2)),
        Op::Sum(axis) => reduce(of(0), axis.split(shape(0)), 0.0, |s, x| s + x),
        Op::Min(axis) => reduce(of(0), axis.split(shape(0)), f64::INFINITY, smaller),
        Op::MinGrad(axis) => min_grad(axis.split(shape(0)), of(0), of(1), of(2)),
        Op::LogSumExp => of(0).chunks_exact(shape(0).cols).map(log_sum_exp).collect(),
        Op::Concat => {
            let rows = of(0).chunks_exact(shape(0).cols).zip(of(1).chunks_exact(shape(1).cols));
            rows.flat_map(|(a, b)| a.iter().chain(b)).copied().collect()
        }
        Op::Slice { start, cols } => {
            of(0).chunks_exact(shape(0).cols).flat_map(|row| &row[start..start + cols]).copied().collect()
        }
        Op::Pad { start, cols } => {
            let have = shape(0).cols;
            let at = |(r, c): (usize, usize)| {
                if (start..start + have).contains(&c) { of(0)[r * have + c - start] } else { 0.0 }
            };
            (0..out.len()).map(|i| at((i / cols, i % cols))).collect()
        }
        Op::PickHeads => of(1).iter().flat_map(|&j| part(of(0), out, j)).copied().collect(),
        Op::PutHeads(_) => put_heads(out, of(0), of(1)),
        Op::Repeat(k) => (0..out.len()).map(|i| of(0)[i / out.cols / k * out.cols + i % out.cols]).collect(),
        Op::SumRepeats(k) => {
            let n = out.cols;
            (0..out.len()).map(|i| (0..k).map(|q| of(0)[(i / n * k + q) * n + i % n]).sum()).collect()
        }
        Op::Reshape | Op::Detach => of(0).to_vec(),
        Op::Expand => {
            let a = broadcast(out, shape(0));
            (0..out.len()).map(|i| of(0)[a(i)]).collect()
        }
        Op::Input(_) | Op::Param { .. } | Op::Hyper(_) | Op::Const(_) | Op::Noise(_) => {
            unreachable!("invariant: a leaf is no operation")
        }
        Op::Region(_) | Op::RegionResult(_) | Op::View(_) => {
            unreachable!("invariant: regions are not traced")
        }
    }
}

/// Walks `[J, B, N]` and gives every element's index in a tensor that may be broadcast.
fn broadcast(out: Shape, arg: Shape) -> impl Fn(usize) -> usize {
    let (o, a) = (out.dims(), arg.dims());
    move |i| {
        let (h, r, c) = (i / (o[1] * o[2]), i / o[2] % o[1], i % o[2]);
        let pick = |i: usize, extent: usize| if extent == 1 { 0 } else { i };
        (pick(h, a[0]) * a[1] + pick(r, a[1])) * a[2] + pick(c, a[2])
    }
}

/// Head j of a tensor whose heads are as large as those of `s`.
fn part(x: &[f64], s: Shape, j: f64) -> &[f64] {
    &x[j as usize * s.rows * s.cols..][..s.rows * s.cols]
}

fn put_heads(out: Shape, x: &[f64], indices: &[f64]) -> Vec<f64> {
    let size = out.rows * out.cols;
    let mut y = vec![0.0; out.len()];
    for (x, &j) in x.chunks_exact(size).zip(indices) {
        y[j as usize * size..].iter_mut().zip(x).for_each(|(y, x)| *y += x);
    }
    y
}

fn linear(x: Tensor<'_>, w: Tensor<'_>, b: Tensor<'_>) -> Vec<f64> {
    let (s, k, n, own) = (x.shape, x.shape.cols, w.shape.cols, b.shape.rows);
    let mut y = vec![0.0; w.shape.heads * s.rows * n];
    for (i, y) in y.chunks_exact_mut(n).enumerate() {
        let (h, r) = (i / s.rows, i % s.rows);
        let row = (if s.heads == 1 { 0 } else { h } * s.rows + r) * k;
        for q in 0..k {
            let w = &w.x[(h * k + q) * n..][..n];
            y.iter_mut().zip(w).for_each(|(y, w)| *y += x.x[row + q] * w);
        }
        let b = &b.x[(h * own + r * own / s.rows) * n..][..n];
        y.iter_mut().zip(b).for_each(|(y, b)| *y += b);
    }
    y
}

fn linear_dx(out: Shape, dy: Tensor<'_>, w: Tensor<'_>) -> Vec<f64> {
    let (s, k, n) = (dy.shape, out.cols, dy.shape.cols);
    let of_head = |h: usize, r: usize, q: usize| -> f64 {
        (0..n).map(|c| dy.x[(h * s.rows + r) * n + c] * w.x[(h * k + q) * n + c]).sum()
    };
    let at = |(h, r, q): (usize, usize, usize)| match out.heads {
        1 => (0..w.shape.heads).map(|h| of_head(h, r, q)).sum(),
        _ => of_head(h, r, q),
    };
    (0..out.len()).map(|i| at((i / (s.rows * k), i / k % s.rows, i % k))).collect()
}

fn linear_dw(out: Shape, x: Tensor<'_>, dy: Tensor<'_>) -> Vec<f64> {
    let (s, n) = (x.shape, out.cols);
    let mut dw = vec![0.0; out.len()];
    for (h, dw) in dw.chunks_exact_mut(s.cols * n).enumerate() {
        let hx = if s.heads == 1 { 0 } else { h };
        for r in 0..s.rows {
            let dy = &dy.x[(h * s.rows + r) * n..][..n];
            for (q, dw) in dw.chunks_exact_mut(n).enumerate() {
                let x = x.x[(hx * s.rows + r) * s.cols + q];
                dw.iter_mut().zip(dy).for_each(|(dw, dy)| *dw += x * dy);
            }
        }
    }
    dw
}

fn reduce(x: &[f64], [outer, n, inner]: [usize; 3], start: f64, f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    (0..outer * inner)
        .map(|i| {
            let (o, c) = (i / inner, i % inner);
            (0..n).fold(start, |s, k| f(s, x[(o * n + k) * inner + c]))
        })
        .collect()
}

fn log_sum_exp(row: &[f64]) -> f64 {
    let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let top = choose(top.is_finite(), top, 0.0);
    top + row.iter().map(|x| (x - top).exp()).sum::<f64>().ln()
}

fn min_grad([outer, n, inner]: [usize; 3], x: &[f64], min: &[f64], g: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; x.len()];
    for o in 0..outer {
        for c in 0..inner {
            let m = min[o * inner + c];
            let is_least = |x: f64| x == m || (x.is_nan() && m.is_nan());
            if let Some(k) = (0..n).find(|k| is_least(x[(o * n + k) * inner + c])) {
                out[(o * n + k) * inner + c] = g[o * inner + c];
            }
        }
    }
    out
}

fn choose(condition: bool, yes: f64, no: f64) -> f64 {
    if condition { yes } else { no }
}

fn truth(condition: bool) -> f64 {
    choose(condition, 1.0, 0.0)
}

/// The minimum; NaN wins, so that a divergence shows in both executors.
fn smaller(a: f64, b: f64) -> f64 {
    choose(a.is_nan() || a < b, a, b)
}

/// f(a, b); `share` gives |τ - 1(u < 0)|.
fn binary(f: Binary, a: f64, b: f64, share: impl Fn(f64, f64) -> f64) -> f64 {
    match f {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Min => smaller(a, b),
        Binary::Max => -smaller(-a, -b),
        Binary::Le => truth(a <= b),
        Binary::Lt => truth(a < b),
        Binary::ReluGrad => choose(b > 0.0, a, 0.0),
        Binary::TanhGrad => a * (1.0 - b * b),
        Binary::Expectile => share(a, b) * a * a,
        Binary::ExpectileGrad => 2.0 * share(a, b) * a,
    }
}
