//! Operations on variables, as formulas write them.

use std::ops::{Add, Div, Mul, Neg, Sub};

use baq_kernels::Binary;

use super::operation::Op;
use super::shape::{Axis, Shape};
use super::var::Var;

impl<'t> Var<'t> {
    /// min(a, b); ties send their gradient to a
    pub fn minimum(self, other: Var<'t>) -> Var<'t> {
        self.binary(Binary::Min, other)
    }
    /// max(a, b); ties send their gradient to a
    pub fn maximum(self, other: Var<'t>) -> Var<'t> {
        self.binary(Binary::Max, other)
    }
    /// 1 where a < b, else 0
    pub fn less(self, other: Var<'t>) -> Var<'t> {
        self.binary(Binary::Lt, other)
    }
    /// L₂^τ(u) = |τ - 1(u < 0)| · u², with u = self
    pub fn expectile(self, tau: Var<'t>) -> Var<'t> {
        self.binary(Binary::Expectile, tau)
    }

    fn reduced(self, axis: Axis) -> Shape {
        let mut s = self.shape();
        match axis {
            Axis::Heads => s.heads = 1,
            Axis::Rows => s.rows = 1,
            Axis::Cols => s.cols = 1,
        }
        s
    }

    /// Σ over an axis
    pub fn sum(self, axis: Axis) -> Var<'t> {
        if self.shape().dims()[axis.index()] == 1 {
            return self;
        }
        self.push(Op::Sum(axis), &[self.id], self.reduced(axis))
    }

    /// min over an axis; ties send their gradient to the first
    pub fn min(self, axis: Axis) -> Var<'t> {
        if self.shape().dims()[axis.index()] == 1 {
            return self;
        }
        self.push(Op::Min(axis), &[self.id], self.reduced(axis))
    }

    /// max over an axis; ties likewise
    pub fn max(self, axis: Axis) -> Var<'t> {
        -(-self).min(axis)
    }

    /// Mean over an axis.
    pub fn mean_over(self, axis: Axis) -> Var<'t> {
        let n = self.shape().dims()[axis.index()];
        self.sum(axis).affine(1.0 / n as f64, 0.0)
    }

    /// Mean of all elements.
    pub fn mean(self) -> Var<'t> {
        self.total().affine(1.0 / self.shape().len() as f64, 0.0)
    }

    /// Sum of all elements.
    pub fn total(self) -> Var<'t> {
        self.sum(Axis::Rows).sum(Axis::Cols).sum(Axis::Heads)
    }

    /// Mean of `weight · x` over all elements of x, or the plain mean without a weight.
    pub fn weighted_mean(self, weight: Option<Var<'t>>) -> Var<'t> {
        match weight {
            Some(w) => (w * self).mean(),
            None => self.mean(),
        }
    }

    /// ln Σ exp over the columns
    pub fn log_sum_exp(self) -> Var<'t> {
        self.push(Op::LogSumExp, &[self.id], self.reduced(Axis::Cols))
    }

    /// self and other side by side; rows and heads must agree
    pub fn concat(self, other: Var<'t>) -> Var<'t> {
        let (a, b) = (self.shape(), other.shape());
        assert!((a.heads, a.rows) == (b.heads, b.rows), "cannot put {a} beside {b}: rows and heads differ");
        let shape = Shape { cols: a.cols + b.cols, ..a };
        self.push(Op::Concat, &[self.id, other.id], shape)
    }

    /// `cols` columns from `start`
    pub fn slice(self, start: usize, cols: usize) -> Var<'t> {
        let s = self.shape();
        assert!(start + cols <= s.cols, "no columns {start}..{} in {s}", start + cols);
        self.push(Op::Slice { start, cols }, &[self.id], Shape { cols, ..s })
    }

    pub(super) fn pad(self, start: usize, cols: usize) -> Var<'t> {
        self.push(Op::Pad { start, cols }, &[self.id], Shape { cols, ..self.shape() })
    }

    /// One of several heads: `[J, B, N]` to `[1, B, N]`
    pub fn head(self, j: usize) -> Var<'t> {
        let s = self.shape();
        assert!(j < s.heads, "no head {j} in {s}");
        if s.heads == 1 {
            return self;
        }
        let size = s.rows * s.cols;
        self.reshape(Shape::new(1, 1, s.len())).slice(j * size, size).reshape(Shape { heads: 1, ..s })
    }

    /// The heads that `indices` `[1, 1, Z]` name: `[J, B, N]` to `[Z, B, N]`. Indices are whole numbers below J, such as those of a
    /// [`NoiseKind::Subset`](super::operation::NoiseKind::Subset).
    pub fn pick_heads(self, indices: Var<'t>) -> Var<'t> {
        let (s, i) = (self.shape(), indices.shape());
        assert!((i.heads, i.rows) == (1, 1), "indices of heads are {i}, must be [1, Z]");
        self.push(Op::PickHeads, &[self.id, indices.id], Shape { heads: i.cols, ..s })
    }

    pub(super) fn put_heads(self, indices: Var<'t>, heads: usize) -> Var<'t> {
        self.push(Op::PutHeads(heads), &[self.id, indices.id], Shape { heads, ..self.shape() })
    }

    /// `n` rows from `start` of every head
    pub fn rows(self, start: usize, n: usize) -> Var<'t> {
        let s = self.shape();
        assert!(start + n <= s.rows, "no rows {start}..{} in {s}", start + n);
        let all = self.reshape(Shape::new(s.heads, 1, s.rows * s.cols));
        all.slice(start * s.cols, n * s.cols).reshape(Shape { rows: n, ..s })
    }

    /// Every row `k` times in succession: `[J, B, N]` to `[J, B·k, N]`
    pub fn repeat(self, k: usize) -> Var<'t> {
        if k == 1 {
            return self;
        }
        let s = self.shape();
        self.push(Op::Repeat(k), &[self.id], Shape { rows: s.rows * k, ..s })
    }

    pub(super) fn sum_repeats(self, k: usize) -> Var<'t> {
        let s = self.shape();
        self.push(Op::SumRepeats(k), &[self.id], Shape { rows: s.rows / k, ..s })
    }

    /// The same numbers under another shape of equal length
    pub fn reshape(self, shape: Shape) -> Var<'t> {
        assert_eq!(self.shape().len(), shape.len(), "reshape {} to {shape}", self.shape());
        if shape == self.shape() {
            return self;
        }
        self.push(Op::Reshape, &[self.id], shape)
    }

    /// The same numbers repeated along extents of 1
    pub fn expand(self, shape: Shape) -> Var<'t> {
        if shape == self.shape() {
            return self;
        }
        self.push(Op::Expand, &[self.id], shape)
    }

    /// The value as a constant. Rarely needed: what an update does not train is a constant anyway.
    pub fn detach(self) -> Var<'t> {
        self.push(Op::Detach, &[self.id], self.shape())
    }

    /// x w + b. A bias of R rows, R a divisor of the rows of x, serves as many successive rows each.
    pub fn linear(self, weight: Var<'t>, bias: Var<'t>) -> Var<'t> {
        let (x, w, b) = (self.shape(), weight.shape(), bias.shape());
        assert!(
            x.cols == w.rows
                && (x.heads == w.heads || x.heads == 1)
                && b == Shape::new(w.heads, b.rows, w.cols)
                && x.rows % b.rows == 0,
            "linear layer: input {x}, weight {w}, bias {b}"
        );
        let shape = Shape::new(w.heads, x.rows, w.cols);
        self.push(Op::Linear, &[self.id, weight.id, bias.id], shape)
    }

    /// x wᵀ `[J, B, K]` of x `[J, B, N]` and w `[J, K, N]`: what [`Var::linear`] hands back to its input, to each head's own.
    pub fn linear_transposed(self, weight: Var<'t>) -> Var<'t> {
        let (x, w) = (self.shape(), weight.shape());
        assert!(x.cols == w.cols && x.heads == w.heads, "transposed layer: {x}, weight {w}");
        self.linear_dx(weight, Shape::new(w.heads, x.rows, w.rows))
    }

    /// x w
    pub fn linear_without_bias(self, weight: Var<'t>) -> Var<'t> {
        let zeros = self.constant(0.0).expand(Shape { rows: 1, ..weight.shape() });
        self.linear(weight, zeros)
    }

    pub(super) fn linear_dx(self, weight: Var<'t>, input: Shape) -> Var<'t> {
        self.push(Op::LinearDx, &[self.id, weight.id], input)
    }

    pub(super) fn linear_dw(self, dy: Var<'t>, weight: Shape) -> Var<'t> {
        self.push(Op::LinearDw, &[self.id, dy.id], weight)
    }

    pub(super) fn min_grad(self, min: Var<'t>, g: Var<'t>, axis: Axis) -> Var<'t> {
        self.push(Op::MinGrad(axis), &[self.id, min.id, g.id], self.shape())
    }
}

macro_rules! operators {
    ($($trait:ident $method:ident $op:ident,)*) => {$(
        impl<'t> $trait for Var<'t> {
            type Output = Var<'t>;
            fn $method(self, other: Var<'t>) -> Var<'t> {
                self.binary(Binary::$op, other)
            }
        }
        impl<'t> $trait<Var<'t>> for f64 {
            type Output = Var<'t>;
            fn $method(self, other: Var<'t>) -> Var<'t> {
                $trait::$method(other.constant(self), other)
            }
        }
    )*};
}
operators! { Add add Add, Sub sub Sub, Mul mul Mul, Div div Div, }

impl<'t> Add<f64> for Var<'t> {
    type Output = Var<'t>;
    fn add(self, x: f64) -> Var<'t> {
        self.affine(1.0, x)
    }
}
impl<'t> Sub<f64> for Var<'t> {
    type Output = Var<'t>;
    fn sub(self, x: f64) -> Var<'t> {
        self.affine(1.0, -x)
    }
}
impl<'t> Mul<f64> for Var<'t> {
    type Output = Var<'t>;
    fn mul(self, x: f64) -> Var<'t> {
        self.affine(x, 0.0)
    }
}
impl<'t> Div<f64> for Var<'t> {
    type Output = Var<'t>;
    fn div(self, x: f64) -> Var<'t> {
        self.affine(1.0 / x, 0.0)
    }
}
impl<'t> Neg for Var<'t> {
    type Output = Var<'t>;
    fn neg(self) -> Var<'t> {
        self.affine(-1.0, 0.0)
    }
}
