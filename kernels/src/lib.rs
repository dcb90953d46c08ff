//! The hot arithmetic of baq.
//!
//! Every operation has one *contract* (its module documentation), one naive *reference*
//! (the specification, sums in f64), and one variant per instruction set. The variants are
//! collected in a table of function pointers, [`Kernels`], which is chosen once at start:
//!
//! ```
//! let kernels = baq_kernels::best();
//! let mut y = [0.0; 2];
//! (kernels.unary)(baq_kernels::Unary::Relu, &[-1.0, 2.0], &mut y);
//! assert_eq!(y, [0.0, 2.0]);
//! ```
//!
//! Letters for shapes: J heads, B rows, K inputs, N outputs. All tensors are dense, row-major
//! `f32`: activations `[J, B, N]`, weights `[J, K, N]`, biases `[J, 1, N]`.
//!
//! **Promise.** On one ISA every kernel gives the same bits for any number of threads.
//! Across ISAs only the tolerance that a contract states holds.
//!
//! **Subnormal numbers** count as zeros of their sign, as arguments and as results, on every thread that does a kernel's
//! work and only meanwhile. What only chooses or copies (`Abs`, `Relu`, `Clamp`, `Min`, `Max`, gathering) may pass one on; the
//! next kernel that computes takes it for zero. References compute in f64 and keep them, but for that of [`digest`]: a float that a
//! contract bounds in units in the last place may differ by 2⁻¹²⁵, twice the smallest normal number, as well.

#![deny(missing_docs)]
// Register blocks are indexed by row and vector; iterators would hide which register is meant.
#![allow(clippy::needless_range_loop)]

pub mod adam;
mod allocations;
mod beside;
mod buffer;
pub mod digest;
pub mod elementwise;
mod flush;
pub mod layer_norm;
pub mod linear;
pub mod numerics;
mod pace;
mod peak;
pub mod polyak;
pub mod reduce;
mod simd;
mod table;
mod team;
mod tile;

pub use allocations::{CountingAllocator, allocations};
pub use beside::{Beside, Pending};
pub use buffer::Buffer;
pub use digest::Digest;
pub use elementwise::Unary;
pub use flush::subnormals;
#[cfg(target_arch = "x86_64")]
#[doc(hidden)]
pub use linear::bf16::amx::assume_amx;
pub use numerics::{Numerics, Unit, UnknownName};
pub use peak::{layer_gflops, peak_gflops, probe_gflops};
pub use table::{CannotChoose, active, available, best, choose, for_isa, units};
pub use team::{Team, WORTH_A_TEAM};
pub use tile::{for_each, for_each_unflushed, threads};

pub mod gather;
pub mod philox;

/// Instruction set of a kernel table, from the most portable to the fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain Rust and `matrixmultiply`.
    Portable,
    /// AVX2 with FMA, 8 lanes.
    Avx2,
    /// AVX-512F, 16 lanes.
    Avx512,
}

/// What follows a dense layer inside the same kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// y = z
    Identity,
    /// y = max(z, 0)
    Relu,
    /// y = tanh(z)
    Tanh,
}

/// Sizes of a dense layer, for all of its heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Linear {
    /// J, independent layers of the same size; weights are `[J, K, N]`.
    pub heads: usize,
    /// B, rows of the input.
    pub rows: usize,
    /// K, columns of the input.
    pub inputs: usize,
    /// N, columns of the output.
    pub outputs: usize,
    /// All heads read the same input `[1, B, K]` instead of their own `[J, B, K]`.
    pub shared_input: bool,
}

/// Sizes of a layer normalisation, for all of its heads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// J, with a gain and a bias of their own
    pub heads: usize,
    /// B, rows of a head, each normalised by itself
    pub rows: usize,
    /// N, columns
    pub cols: usize,
    /// ε, added to the variance
    pub eps: f32,
}

/// What `layer_norm_grad` writes, and how.
#[derive(Debug)]
pub struct NormGradients<'a> {
    /// gradient of the input `[J, B, N]`, if wanted
    pub dx: Option<&'a mut [f32]>,
    /// gradient of the gain `[J, 1, N]`, if wanted
    pub dgain: Option<&'a mut [f32]>,
    /// gradient of the bias `[J, 1, N]`, if wanted
    pub dbias: Option<&'a mut [f32]>,
    /// add dgain and dbias to what is there
    pub add: bool,
    /// at least [`Norm::scratch`] floats of any content
    pub scratch: &'a mut [f32],
}

/// Where `linear` and `linear_dx` keep the weights in the layout they want.
#[derive(Debug)]
pub enum Scratch<'a> {
    /// Any content, before and after.
    Empty(&'a mut [f32]),
    /// Any content before; afterwards the packed weights.
    Keep(&'a mut [f32]),
    /// What a call of the same kernel with the same sizes and weights and `Keep` has left there.
    Packed(&'a [f32]),
}

/// Element-wise functions of two arguments, either of which may be broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    /// a + b
    Add,
    /// a - b
    Sub,
    /// a · b
    Mul,
    /// a / b
    Div,
    /// min(a, b)
    Min,
    /// max(a, b)
    Max,
    /// 1 where a <= b, else 0
    Le,
    /// 1 where a < b, else 0
    Lt,
    /// a where b > 0, else 0: gradient a through a ReLU whose output was b
    ReluGrad,
    /// a · (1 - b²): gradient a through a tanh whose output was b
    TanhGrad,
    /// |b - 1(a < 0)| · a², the asymmetric square of expectile regression
    Expectile,
    /// 2 · |b - 1(a < 0)| · a, its derivative in a
    ExpectileGrad,
}

/// Loops of an element-wise kernel with broadcasting: y is dense `[d0, d1, d2]`, each argument
/// is walked with its own strides, 0 where it is broadcast. The innermost strides are 0 or 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Broadcast {
    /// extents of the result
    pub dims: [usize; 3],
    /// strides of the first argument, in elements
    pub a: [usize; 3],
    /// strides of the second argument, in elements
    pub b: [usize; 3],
}

/// One Adam step, with the bias corrections already computed by the caller.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// learning rate / (1 - β₁^t)
    pub step_size: f32,
    /// β₁
    pub beta1: f32,
    /// β₂
    pub beta2: f32,
    /// ε, added after the root
    pub eps: f32,
    /// 1 / √(1 - β₂^t)
    pub rsqrt_bias2: f32,
}

/// The kernels of one instruction set. Obtained from [`best`] or [`for_isa`] only, which prove
/// that the processor has the instructions; the entries are therefore safe to call.
///
/// Slices must have exactly the lengths that the sizes imply (scratch may be longer); a kernel panics otherwise.
/// Outputs never alias inputs, and are overwritten without being read unless an entry says that it adds.
///
/// Large calls share their work among the threads of the [`Team`] that they are called in; without one they run on the
/// calling thread, as those of [`reduce`] always do. Nothing allocates, except that the portable linear kernels do inside
/// `matrixmultiply`.
#[allow(clippy::type_complexity)] // the signatures are the documentation
pub struct Kernels {
    /// which instruction set this is
    pub isa: Isa,
    /// what the factors of large products are
    pub numerics: Numerics,
    /// what multiplies them if they are bf16
    pub unit: Option<Unit>,
    /// y = act(x w + b); b may have one row for every so many rows of y. Arguments: sizes, x, w, b, act, y, scratch.
    pub linear: fn(&Linear, &[f32], &[f32], Option<&[f32]>, Activation, &mut [f32], Scratch<'_>),
    /// dx = (dy wᵀ) ⊙ act′(x), where x `[J or 1, B, K]` is the *output* of the activation that
    /// produced this layer's input (`None`: no activation). With a shared input the heads are summed
    /// in head order. Arguments: sizes, dy, w, Some((act, x)), dx, scratch.
    pub linear_dx: fn(&Linear, &[f32], &[f32], Option<(Activation, &[f32])>, &mut [f32], Scratch<'_>),
    /// dw = xᵀ dy and, if asked, db = Σ_rows dy; with `add` both are added to what is there.
    /// Arguments: sizes, x, dy, dw, db, add, scratch.
    pub linear_dw: fn(&Linear, &[f32], &[f32], &mut [f32], Option<&mut [f32]>, bool, &mut [f32]),
    /// floats of scratch that each of the three needs at most for these sizes
    pub linear_scratch: fn(&Linear) -> usize,
    /// y = x̂ ⊙ gain + bias, x̂ each row of x with mean 0 and variance 1, or the maximum of that and 0 if asked for a ReLU.
    /// Arguments: sizes, x, gain, bias, relu, y.
    pub layer_norm: fn(&Norm, &[f32], &[f32], &[f32], bool, &mut [f32]),
    /// Its gradients, of dy before the ReLU. Arguments: sizes, x, gain, dy, what is written.
    pub layer_norm_grad: fn(&Norm, &[f32], &[f32], &[f32], NormGradients<'_>),
    /// y = f(x)
    pub unary: fn(Unary, &[f32], &mut [f32]),
    /// y = f(a, b) with broadcasting
    pub binary: fn(Binary, &Broadcast, &[f32], &[f32], &mut [f32]),
    /// y `[o, i]` = Σ over the middle axis of x `[o, n, i]`. Fixed order of additions.
    pub sum: fn([usize; 3], &[f32], &mut [f32]),
    /// y `[o, i]` = min over the middle axis of x `[o, n, i]`.
    pub min: fn([usize; 3], &[f32], &mut [f32]),
    /// Gradient g `[o, i]` of `min` goes to the first element of x equal to the minimum m `[o, i]`,
    /// 0 to the others. Arguments: dims, x, m, g, dx.
    pub min_grad: fn([usize; 3], &[f32], &[f32], &[f32], &mut [f32]),
    /// y `[o]` = ln Σ e^x over the rows of x `[o, n]`, shifted by the row maximum.
    pub log_sum_exp: fn([usize; 2], &[f32], &mut [f32]),
    /// One Adam step in place. Arguments: constants, parameters, gradients, first and second moments.
    pub adam: fn(&AdamStep, &mut [f32], &[f32], &mut [f32], &mut [f32]),
    /// target ← target + rate · (source - target). Arguments: rate, target, source.
    pub polyak: fn(f32, &mut [f32], &[f32]),
    /// Checksum of the bits and sum of the squares; the same on every instruction set.
    pub digest: fn(&[f32]) -> Digest,
}
