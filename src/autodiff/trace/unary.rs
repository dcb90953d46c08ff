//! Element-wise functions of one argument: what formulas call them, and their derivatives. A new one has its entry here and
//! its kernel in `baq_kernels::elementwise`, and that is all.

use std::f64::consts::{FRAC_2_PI, FRAC_PI_2};

use baq_kernels::Binary;

use super::operation::Unary;
use super::var::Var;

impl<'t> Var<'t> {
    /// e^x
    pub fn exp(self) -> Var<'t> {
        self.unary(Unary::Exp)
    }
    /// ln x
    pub fn log(self) -> Var<'t> {
        self.unary(Unary::Log)
    }
    /// tanh x
    pub fn tanh(self) -> Var<'t> {
        self.unary(Unary::Tanh)
    }
    /// max(x, 0); its slope at 0 is 0
    pub fn relu(self) -> Var<'t> {
        self.unary(Unary::Relu)
    }
    /// ln(1 + e^x)
    pub fn softplus(self) -> Var<'t> {
        self.unary(Unary::Softplus)
    }
    /// 1 / (1 + e^-x)
    pub fn sigmoid(self) -> Var<'t> {
        self.unary(Unary::Sigmoid)
    }
    /// x / (1 + e^-2u), u = √(2/π) (x + 0.044715 x³)
    pub fn gelu(self) -> Var<'t> {
        self.unary(Unary::Gelu)
    }
    /// x / (1 + e^-x)
    pub fn silu(self) -> Var<'t> {
        self * self.sigmoid()
    }
    /// sin x
    pub fn sin(self) -> Var<'t> {
        self.unary(Unary::Sin)
    }
    /// cos x
    pub fn cos(self) -> Var<'t> {
        (self + FRAC_PI_2).sin()
    }
    /// x²
    pub fn square(self) -> Var<'t> {
        self.unary(Unary::Square)
    }
    /// √x
    pub fn sqrt(self) -> Var<'t> {
        self.unary(Unary::Sqrt)
    }
    /// |x|; its slope at 0 is 0
    pub fn abs(self) -> Var<'t> {
        self.unary(Unary::Abs)
    }
    /// scale · x + shift
    pub fn affine(self, scale: f64, shift: f64) -> Var<'t> {
        self.unary(Unary::Affine { scale: scale.into(), shift: shift.into() })
    }
    /// min(max(x, lo), hi); the gradient is 0 outside, and passes at the bounds
    pub fn clamp(self, lo: f64, hi: f64) -> Var<'t> {
        self.unary(Unary::Clamp { lo: lo.into(), hi: hi.into() })
    }
    /// 1 where lo <= x <= hi, else 0
    pub fn inside(self, lo: f64, hi: f64) -> Var<'t> {
        self.unary(Unary::Inside { lo: lo.into(), hi: hi.into() })
    }
}

/// Gradient in x of y = f(x), given that in y.
pub(super) fn derivative<'t>(f: Unary, x: Var<'t>, y: Var<'t>, g: Var<'t>) -> Var<'t> {
    match f {
        Unary::Exp => g * y,
        Unary::Log => g / x,
        Unary::Tanh => g.binary(Binary::TanhGrad, y),
        Unary::Relu => g.binary(Binary::ReluGrad, y),
        Unary::Softplus => g * x.sigmoid(),
        Unary::Sigmoid => g * (y - y.square()),
        Unary::Gelu => g * x.unary(Unary::GeluSlope),
        Unary::GeluSlope => g * gelu_curvature(x),
        Unary::Sin => g * x.cos(),
        Unary::Square => g * x * 2.0,
        Unary::Sqrt => g / y * 0.5,
        Unary::Abs => g * x.unary(Unary::Sign),
        Unary::Affine { scale, .. } => g * scale.get(),
        Unary::Clamp { lo, hi } => g * x.unary(Unary::Inside { lo, hi }),
        Unary::Sign | Unary::Inside { .. } => unreachable!("invariant: steps pass no gradient"),
    }
}

/// The second derivative of `Gelu`: y (1 - y) (2 w' + x w'' + x w'² (1 - 2y)), y = 1 / (1 + e^-w), w = c (x + k x³).
fn gelu_curvature(x: Var<'_>) -> Var<'_> {
    let (c, k) = (2.0 * FRAC_2_PI.sqrt(), 0.044715);
    let square = x.square();
    let y = (x * square.affine(c * k, c)).sigmoid();
    let rise = square.affine(3.0 * c * k, c);
    (y - y.square()) * (rise * 2.0 + square * (6.0 * c * k) + x * rise.square() * y.affine(-2.0, 1.0))
}
