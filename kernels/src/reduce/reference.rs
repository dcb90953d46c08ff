//! The specification of the reductions: plain loops, in f64.

/// y`[o, i]` = Σ_n x`[o, n, i]`
pub fn sum([o, n, i]: [usize; 3], x: &[f32], y: &mut [f32]) {
    for a in 0..o {
        for c in 0..i {
            y[a * i + c] = (0..n).map(|b| x[(a * n + b) * i + c] as f64).sum::<f64>() as f32;
        }
    }
}

/// y`[o, i]` = min_n x`[o, n, i]`, NaN if any is.
pub fn min([o, n, i]: [usize; 3], x: &[f32], y: &mut [f32]) {
    for a in 0..o {
        for c in 0..i {
            let values = (0..n).map(|b| x[(a * n + b) * i + c]);
            y[a * i + c] = values.fold(f32::INFINITY, |m, v| if m.is_nan() || m < v { m } else { v });
        }
    }
}

/// dx = g at the first element equal to m, else 0.
pub fn min_grad([o, n, i]: [usize; 3], x: &[f32], m: &[f32], g: &[f32], dx: &mut [f32]) {
    dx.fill(0.0);
    for a in 0..o {
        for c in 0..i {
            let m = m[a * i + c];
            let same = |v: f32| v == m || (v.is_nan() && m.is_nan());
            if let Some(b) = (0..n).find(|b| same(x[(a * n + b) * i + c])) {
                dx[(a * n + b) * i + c] = g[a * i + c];
            }
        }
    }
}

/// y`[o]` = ln Σ_n e^x`[o, n]`
pub fn log_sum_exp([o, n]: [usize; 2], x: &[f32], y: &mut [f32]) {
    for a in 0..o {
        let row = &x[a * n..(a + 1) * n];
        let top = row.iter().fold(f64::NEG_INFINITY, |m, &v| m.max(v as f64));
        let shift = if top.is_finite() { top } else { 0.0 };
        let sum: f64 = row.iter().map(|&v| (v as f64 - shift).exp()).sum();
        y[a] = (shift + sum.ln()) as f32;
    }
}
