//! Layer normalisation and its gradients in f64, row by row; `s` is the shape of x.

use crate::autodiff::trace::shape::Shape;

/// x̂ and √(var x + ε) of one row.
fn normalised(x: &[f64], eps: f64) -> (Vec<f64>, f64) {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let deviation = (x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n + eps).sqrt();
    (x.iter().map(|x| (x - mean) / deviation).collect(), deviation)
}

/// Of (x, gain, bias).
pub(super) fn forward(s: Shape, eps: f64, [x, gain, bias]: [&[f64]; 3]) -> Vec<f64> {
    let mut y = Vec::with_capacity(x.len());
    for (i, x) in x.chunks_exact(s.cols).enumerate() {
        let own = i / s.rows * s.cols;
        let (x_hat, _) = normalised(x, eps);
        y.extend((0..s.cols).map(|c| x_hat[c] * gain[own + c] + bias[own + c]));
    }
    y
}

/// Of (x, gain, dy).
pub(super) fn dx(s: Shape, eps: f64, [x, gain, dy]: [&[f64]; 3]) -> Vec<f64> {
    let mut dx = Vec::with_capacity(x.len());
    for (i, (x, dy)) in x.chunks_exact(s.cols).zip(dy.chunks_exact(s.cols)).enumerate() {
        let gain = &gain[i / s.rows * s.cols..][..s.cols];
        let (x_hat, deviation) = normalised(x, eps);
        let g: Vec<f64> = dy.iter().zip(gain).map(|(dy, gain)| dy * gain).collect();
        let mean = g.iter().sum::<f64>() / s.cols as f64;
        let along = g.iter().zip(&x_hat).map(|(g, x)| g * x).sum::<f64>() / s.cols as f64;
        dx.extend(g.iter().zip(&x_hat).map(|(g, x)| (g - mean - x * along) / deviation));
    }
    dx
}

/// Of x and dy.
pub(super) fn dgain(s: Shape, eps: f64, x: &[f64], dy: &[f64]) -> Vec<f64> {
    let mut dgain = vec![0.0; s.heads * s.cols];
    for (i, (x, dy)) in x.chunks_exact(s.cols).zip(dy.chunks_exact(s.cols)).enumerate() {
        let (x_hat, _) = normalised(x, eps);
        let own = &mut dgain[i / s.rows * s.cols..][..s.cols];
        own.iter_mut().zip(dy.iter().zip(&x_hat)).for_each(|(sum, (dy, x))| *sum += dy * x);
    }
    dgain
}
