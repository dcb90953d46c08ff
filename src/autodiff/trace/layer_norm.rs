//! Layer normalisation: its operations, and the same in smaller ones for derivatives of its derivatives.

use super::operation::{Number, Op};
use super::shape::{Axis, Shape};
use super::var::Var;

impl<'t> Var<'t> {
    /// Every row with mean 0 and variance 1 over the columns, times a gain, plus a bias, both `[J, 1, N]`: x̂ ⊙ gain + bias with
    /// x̂ = (x - mean x) / √(var x + ε) and the biased variance. Ba, Kiros and Hinton 2016, arXiv:1607.06450.
    ///
    /// # Panics
    /// If the shapes do not fit, or ε is not above 0.
    pub fn layer_norm(self, gain: Var<'t>, bias: Var<'t>, eps: f64) -> Var<'t> {
        let (x, g, b) = (self.shape(), gain.shape(), bias.shape());
        let one = Shape { rows: 1, ..x };
        assert!(
            g == one && b == one,
            "layer norm: input {x}, gain {g}, bias {b}; gain and bias must be {one}"
        );
        assert!(eps > 0.0, "layer norm: ε is {eps}, must be above 0, or a constant row has no derivative");
        self.push(Op::LayerNorm { eps: eps.into() }, &[self.id, gain.id, bias.id], x)
    }
}

/// Gradient in argument `k` of x, gain and bias, given the one in the result.
pub(super) fn derivative<'t>(eps: Number, k: usize, args: &[Var<'t>], g: Var<'t>) -> Var<'t> {
    let read = [args[0].id, args[1].id, g.id];
    match k {
        0 => g.push(Op::LayerNormDx { eps }, &read, args[0].shape()),
        1 => g.push(Op::LayerNormDgain { eps }, &read, args[1].shape()),
        _ => g.sum(Axis::Rows),
    }
}

/// x̂ and √(var x + ε).
fn normalised(x: Var<'_>, eps: Number) -> (Var<'_>, Var<'_>) {
    let centred = x - x.mean_over(Axis::Cols);
    let deviation = (centred.square().mean_over(Axis::Cols) + eps.get()).sqrt();
    (centred / deviation, deviation)
}

/// `LayerNormDx` of (x, gain, dy).
pub(super) fn dx<'t>(eps: Number, args: &[Var<'t>]) -> Var<'t> {
    let (x_hat, deviation) = normalised(args[0], eps);
    let g = args[2] * args[1];
    let along = (g * x_hat).mean_over(Axis::Cols);
    (g - g.mean_over(Axis::Cols) - x_hat * along) / deviation
}

/// `LayerNormDgain` of (x, gain, dy).
pub(super) fn dgain<'t>(eps: Number, args: &[Var<'t>]) -> Var<'t> {
    (args[2] * normalised(args[0], eps).0).sum(Axis::Rows)
}
