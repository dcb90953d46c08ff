//! The specification of the element-wise functions: one element at a time, in f64.

pub use super::unary::unary_at;
use crate::{Binary, Broadcast, Unary};

/// One value of a binary function.
pub fn binary_at(f: Binary, a: f64, b: f64) -> f64 {
    let expectile = (b - f64::from(a < 0.0)).abs();
    match f {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Min => {
            if a.is_nan() || a < b {
                a
            } else {
                b
            }
        }
        Binary::Max => {
            if a.is_nan() || a > b {
                a
            } else {
                b
            }
        }
        Binary::Le => f64::from(a <= b),
        Binary::Lt => f64::from(a < b),
        Binary::ReluGrad => {
            if b > 0.0 {
                a
            } else {
                0.0
            }
        }
        Binary::TanhGrad => a * (1.0 - b * b),
        Binary::Expectile => expectile * a * a,
        Binary::ExpectileGrad => 2.0 * expectile * a,
    }
}

/// y = f(x)
pub fn unary(f: Unary, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    for (y, &x) in y.iter_mut().zip(x) {
        *y = unary_at(f.map(f64::from), x as f64) as f32;
    }
}

/// y = f(a, b) with broadcasting
pub fn binary(f: Binary, shape: &Broadcast, a: &[f32], b: &[f32], y: &mut [f32]) {
    let [d0, d1, d2] = shape.dims;
    assert_eq!(y.len(), d0 * d1 * d2);
    for i in 0..d0 {
        for j in 0..d1 {
            for k in 0..d2 {
                let at = |s: [usize; 3]| i * s[0] + j * s[1] + k * s[2];
                let value = binary_at(f, a[at(shape.a)] as f64, b[at(shape.b)] as f64);
                y[(i * d1 + j) * d2 + k] = value as f32;
            }
        }
    }
}
