//! Operations: what a node of the graph computes.

use baq_kernels::Binary;

use super::parameters::ParamId;
use super::shape::Axis;

/// An f64 that can be compared and hashed by its bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Number(u64);

impl Number {
    /// The value.
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl From<f64> for Number {
    fn from(x: f64) -> Number {
        Number(x.to_bits())
    }
}

impl std::fmt::Debug for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.get())
    }
}

/// Element-wise functions of one argument, with the constants of the graph.
pub type Unary = baq_kernels::Unary<Number>;

/// Distribution of a noise node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoiseKind {
    /// N(0, 1)
    Normal,
    /// U(0, 1)
    Uniform,
    /// different whole numbers below `of`, in random order: indices drawn without replacement
    Subset {
        /// how many there are to draw from
        of: usize,
    },
    /// whole numbers below `of`: indices drawn with replacement
    Choices {
        /// how many there are to draw from
        of: usize,
    },
}

impl std::fmt::Display for NoiseKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            NoiseKind::Normal => "normal",
            NoiseKind::Uniform => "uniform on [0, 1)",
            NoiseKind::Subset { of } => return write!(f, "different numbers below {of}"),
            NoiseKind::Choices { of } => return write!(f, "numbers below {of}"),
        })
    }
}

/// What a node computes. Its arguments are listed in [`Node::args`](super::graph::Node::args).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// A column of the batch, by index into the trace's inputs.
    Input(usize),
    /// A parameter tensor after `version` optimiser steps of its group within this trace.
    Param {
        /// its declaration
        id: ParamId,
        /// after how many steps
        version: u32,
    },
    /// A scalar read whenever the program runs, by index into the trace's hypers.
    Hyper(usize),
    /// A literal.
    Const(Number),
    /// Fresh random numbers, by index into the trace's noise streams.
    Noise(usize),
    /// x w + b of (x `[J or 1, B, K]`, w `[J, K, N]`, b `[J, R, N]`); R divides B, and row r of the result takes
    /// row r · R / B of b.
    Linear,
    /// Gradient of `Linear` in x, of (dy, w); heads are summed when x is shared.
    LinearDx,
    /// Gradient of `Linear` in w, of (x, dy).
    LinearDw,
    /// Every row of x `[J, B, N]` normalised, times gain, plus bias, both `[J, 1, N]`, of (x, gain, bias).
    LayerNorm {
        /// added to the variance
        eps: Number,
    },
    /// Gradient of `LayerNorm` in x, of (x, gain, dy).
    LayerNormDx {
        /// added to the variance
        eps: Number,
    },
    /// Gradient of `LayerNorm` in the gain, of (x, gain, dy).
    LayerNormDgain {
        /// added to the variance
        eps: Number,
    },
    /// f(x)
    Unary(Unary),
    /// f(a, b), broadcasting
    Binary(Binary),
    /// Σ over an axis
    Sum(Axis),
    /// min over an axis
    Min(Axis),
    /// Gradient of `Min`, of (x, min, g): to the first minimum only.
    MinGrad(Axis),
    /// ln Σ exp over the columns
    LogSumExp,
    /// (a, b) side by side
    Concat,
    /// `cols` columns from `start`
    Slice {
        /// first column
        start: usize,
        /// number of columns
        cols: usize,
    },
    /// The inverse of `Slice`: x in the middle of `cols` columns of zeros
    Pad {
        /// columns of zeros before x
        start: usize,
        /// columns of the result
        cols: usize,
    },
    /// Heads by index, of (x `[J, B, N]`, indices `[1, 1, Z]`): `[Z, B, N]`.
    PickHeads,
    /// The inverse of `PickHeads`, of (x `[Z, B, N]`, indices): so many heads, zero where no index leads, sums where several do.
    PutHeads(usize),
    /// Every row `k` times in succession: `[J, B, N]` to `[J, B·k, N]`
    Repeat(usize),
    /// Its transpose: sums of `k` successive rows
    SumRepeats(usize),
    /// The same numbers in the same order under another shape
    Reshape,
    /// The same numbers repeated along extents of 1
    Expand,
    /// The same numbers; no gradient passes
    Detach,
    /// A region that runs in blocks, by index, of what it reads; made by the compiler, as are the next two
    Region(usize),
    /// A result of a `Region`, by index
    RegionResult(usize),
    /// Within a region: the part of an argument that belongs to the head and the block, by index
    View(usize),
}

impl Op {
    /// Whether it reads no other node.
    pub fn is_leaf(self) -> bool {
        matches!(self, Op::Input(_) | Op::Param { .. } | Op::Hyper(_) | Op::Const(_) | Op::Noise(_))
    }

    /// Whether its numbers are those of its argument, in their place.
    pub fn is_alias(self) -> bool {
        matches!(self, Op::Reshape | Op::Detach)
    }

    /// Whether it only moves or repeats numbers.
    pub fn moves(self) -> bool {
        matches!(
            self,
            Op::Repeat(_) | Op::Expand | Op::Concat | Op::Slice { .. } | Op::Pad { .. } | Op::PickHeads
        )
    }

    /// Whether a gradient passes to argument `k`: not out of a `detach`, and not out of a step, whose derivative is 0
    /// wherever it has one.
    pub fn passes(self, k: usize) -> bool {
        match self {
            Op::Detach => false,
            Op::Unary(f) => !f.is_step(),
            Op::Binary(Binary::Le | Binary::Lt) => false,
            Op::Binary(Binary::ReluGrad) => k == 0,
            Op::MinGrad(_) => k == 2,
            Op::PickHeads | Op::PutHeads(_) => k == 0,
            _ => true,
        }
    }

    /// Of the gradient of a weight: the argument whose sums over rows are the gradient of the bias.
    pub fn summed(self) -> Option<usize> {
        match self {
            Op::LinearDw => Some(1),
            Op::LayerNormDgain { .. } => Some(2),
            _ => None,
        }
    }

    /// Whether it has a derivative. Regions have none: they are made after all gradients.
    pub fn is_differentiable(self) -> bool {
        let region = matches!(self, Op::Region(_) | Op::RegionResult(_) | Op::View(_));
        !self.is_leaf() && !region && (0..3).any(|k| self.passes(k))
    }

    /// Its name without constants, as in `affine`.
    pub fn name(self) -> String {
        let word = self.word();
        word.split('[').next().unwrap_or_default().to_string()
    }

    /// Its name in one word, its constants in brackets.
    pub fn word(self) -> String {
        let debug = match self {
            Op::Unary(f) => format!("{f:?}"),
            Op::Binary(f) => format!("{f:?}"),
            other => format!("{other:?}"),
        };
        let mut word = String::new();
        for c in debug.chars() {
            if c.is_uppercase() && word.chars().last().is_some_and(char::is_lowercase) {
                word.push('_');
            }
            word.extend(c.to_lowercase());
        }
        word.replace('(', "_").replace(')', "").replace(" { ", "[").replace(" }", "]")
    }
}
