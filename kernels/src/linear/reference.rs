//! The specification of the linear family: plain loops, sums in f64.

use super::bias_rows;
use crate::{Activation, Linear};

fn head<'a>(s: &Linear, x: &'a [f32], j: usize) -> &'a [f32] {
    let n = s.rows * s.inputs;
    let j = if s.shared_input { 0 } else { j };
    &x[j * n..(j + 1) * n]
}

/// act(z)
fn activate(act: Activation, z: f64) -> f64 {
    match act {
        Activation::Identity => z,
        Activation::Relu => {
            if z < 0.0 {
                0.0
            } else {
                z
            }
        }
        Activation::Tanh => z.tanh(),
    }
}

/// y = act(x w + b), see the contract of the module.
pub fn linear(s: &Linear, x: &[f32], w: &[f32], b: Option<&[f32]>, act: Activation, y: &mut [f32]) {
    let Linear { heads, rows, inputs, outputs, .. } = *s;
    for j in 0..heads {
        let x = head(s, x, j);
        for r in 0..rows {
            for n in 0..outputs {
                let mut z = b.map_or(0.0, |b| {
                    let own = bias_rows(s, b);
                    b[(j * own + r * own / rows) * outputs + n] as f64
                });
                for k in 0..inputs {
                    z += x[r * inputs + k] as f64 * w[(j * inputs + k) * outputs + n] as f64;
                }
                y[(j * rows + r) * outputs + n] = activate(act, z) as f32;
            }
        }
    }
}

/// dx = (dy wᵀ) ⊙ act′, see the contract of the module.
pub fn linear_dx(s: &Linear, dy: &[f32], w: &[f32], mask: Option<(Activation, &[f32])>, dx: &mut [f32]) {
    let Linear { heads, rows, inputs, outputs, shared_input } = *s;
    for j in 0..if shared_input { 1 } else { heads } {
        for r in 0..rows {
            for k in 0..inputs {
                let mut g = 0.0;
                for j in if shared_input { 0..heads } else { j..j + 1 } {
                    for n in 0..outputs {
                        g += dy[(j * rows + r) * outputs + n] as f64
                            * w[(j * inputs + k) * outputs + n] as f64;
                    }
                }
                let i = (j * rows + r) * inputs + k;
                let masked = match mask {
                    None | Some((Activation::Identity, _)) => g,
                    Some((Activation::Relu, x)) => {
                        if x[i] > 0.0 {
                            g
                        } else {
                            0.0
                        }
                    }
                    Some((Activation::Tanh, x)) => g * (1.0 - x[i] as f64 * x[i] as f64),
                };
                dx[i] = masked as f32;
            }
        }
    }
}

/// dw = xᵀ dy and db = Σ dy, see the contract of the module.
pub fn linear_dw(s: &Linear, x: &[f32], dy: &[f32], dw: &mut [f32], db: Option<&mut [f32]>) {
    let Linear { heads, rows, inputs, outputs, .. } = *s;
    for j in 0..heads {
        let x = head(s, x, j);
        for k in 0..inputs {
            for n in 0..outputs {
                let sum: f64 = (0..rows)
                    .map(|r| x[r * inputs + k] as f64 * dy[(j * rows + r) * outputs + n] as f64)
                    .sum();
                dw[(j * inputs + k) * outputs + n] = sum as f32;
            }
        }
    }
    if let Some(db) = db {
        for j in 0..heads {
            for n in 0..outputs {
                let sum: f64 = (0..rows).map(|r| dy[(j * rows + r) * outputs + n] as f64).sum();
                db[j * outputs + n] = sum as f32;
            }
        }
    }
}
