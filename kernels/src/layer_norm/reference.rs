//! The specification of layer normalisation: plain loops, in f64.

use crate::Norm;

/// x̂ and 1 / s of one row.
fn normalised(x: &[f32], eps: f32) -> (Vec<f64>, f64) {
    let n = x.len() as f64;
    let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let variance = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
    let inverse = 1.0 / (variance + f64::from(eps)).sqrt();
    (x.iter().map(|&x| (f64::from(x) - mean) * inverse).collect(), inverse)
}

/// y = x̂ ⊙ gain + bias, see the contract of the module.
pub fn layer_norm(s: &Norm, x: &[f32], gain: &[f32], bias: &[f32], relu: bool, y: &mut [f32]) {
    let Norm { rows, cols, eps, .. } = *s;
    if cols == 0 {
        return;
    }
    for (i, (x, y)) in x.chunks_exact(cols).zip(y.chunks_exact_mut(cols)).enumerate() {
        let j = i / rows;
        let (x_hat, _) = normalised(x, eps);
        for c in 0..cols {
            let z = x_hat[c] * f64::from(gain[j * cols + c]) + f64::from(bias[j * cols + c]);
            y[c] = if relu && z < 0.0 { 0.0 } else { z as f32 };
        }
    }
}

/// dx, dgain and dbias, see the contract of the module.
pub fn layer_norm_grad(
    s: &Norm,
    x: &[f32],
    gain: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    [dgain, dbias]: [&mut [f32]; 2],
) {
    let Norm { rows, cols, eps, .. } = *s;
    if cols == 0 {
        return;
    }
    let mut sums = vec![[0.0; 2]; dgain.len()];
    for (i, dx) in dx.chunks_exact_mut(cols).enumerate() {
        let (x, dy) = (&x[i * cols..][..cols], &dy[i * cols..][..cols]);
        let gain = &gain[i / rows * cols..][..cols];
        let (x_hat, inverse) = normalised(x, eps);
        let g: Vec<f64> = dy.iter().zip(gain).map(|(&dy, &gain)| f64::from(dy) * f64::from(gain)).collect();
        let mean = g.iter().sum::<f64>() / cols as f64;
        let along = g.iter().zip(&x_hat).map(|(g, x)| g * x).sum::<f64>() / cols as f64;
        for c in 0..cols {
            dx[c] = ((g[c] - mean - x_hat[c] * along) * inverse) as f32;
            let sum = &mut sums[i / rows * cols + c];
            *sum = [sum[0] + f64::from(dy[c]) * x_hat[c], sum[1] + f64::from(dy[c])];
        }
    }
    for (i, [gain, bias]) in sums.into_iter().enumerate() {
        (dgain[i], dbias[i]) = (gain as f32, bias as f32);
    }
}
