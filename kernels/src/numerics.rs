//! What the numbers in the products of dense layers are.
//!
//! Everything is stored and added in f32. A mode other than [`Numerics::F32`] replaces the f32 *factors* of the large products
//! by sums of bf16 parts (8 bits each), because processors multiply those faster:
//!
//! | mode | parts of a factor | products added | bits of a factor |
//! |---|---|---|---|
//! | `f32` | | | 24 |
//! | `bf16x6` | 3 | 1·1, 1·2, 2·1, 2·2, 1·3, 3·1 | 24 |
//! | `bf16x3` | 2 | 1·1, 1·2, 2·1 | 16 |
//! | `bf16` | 1 | 1·1 | 8 |
//!
//! Only layers with at least 64 rows, 64 inputs and 64 outputs are computed so; all others, and everything that is not a
//! dense layer, are the f32 kernels of the instruction set, bit for bit. What is computed in which order is in
//! [`linear::bf16`](crate::linear::bf16).
//!
//! # Errors
//!
//! Root mean square / largest error against f64, in units of the result's root mean square, on normal data, beside f32's (AVX-512).
//! `kernels/tests/numerics.rs` prints them (`-- --nocapture errors`), and fails where `bf16x6` has more than 1.5 times f32's or
//! `bf16x3` more than 1e-5. The emulation gives AMX's bits; figures of `bf16x3` and `bf16` are those of every unit.
//!
//! | B x K x N | | f32 | `bf16x6`, amx | `bf16x6`, avx512_bf16 | `bf16x3` | `bf16` |
//! |---|---|---|---|---|---|---|
//! | 256 x 256 x 256 | y | 2.9e-7 / 2.4e-6 | 1.2e-7 / 1.2e-6 | 1.1e-7 / 1.2e-6 | 4.4e-6 / 2.0e-5 | 2.4e-3 / 1.1e-2 |
//! | | dx | 2.9e-7 / 2.8e-6 | 1.3e-7 / 1.1e-6 | 1.1e-7 / 1.3e-6 | 4.4e-6 / 2.2e-5 | 2.4e-3 / 1.1e-2 |
//! | | dw | 2.9e-7 / 2.7e-6 | 1.2e-7 / 1.1e-6 | 1.1e-7 / 1.4e-6 | 4.4e-6 / 2.1e-5 | 2.4e-3 / 1.1e-2 |
//! | 2560 x 256 x 256 | y | 2.9e-7 / 3.4e-6 | 1.2e-7 / 1.2e-6 | 1.1e-7 / 1.4e-6 | 4.4e-6 / 2.4e-5 | 2.3e-3 / 1.3e-2 |
//! | | dx | 2.9e-7 / 3.6e-6 | 1.2e-7 / 1.6e-6 | 1.1e-7 / 1.8e-6 | 4.4e-6 / 2.3e-5 | 2.3e-3 / 1.3e-2 |
//! | | dw | 2.9e-7 / 1.9e-6 | 1.4e-7 / 8.6e-7 | 1.2e-7 / 9.5e-7 | 4.4e-6 / 2.1e-5 | 2.3e-3 / 1.2e-2 |
//! | 256 x 17 x 256 | y | 7.6e-8 / 7.8e-7 | as f32 | as f32 | as f32 | as f32 |
//! | | dx | 9.2e-8 / 5.2e-7 | as f32 | as f32 | as f32 | as f32 |
//! | | dw | 2.9e-7 / 2.0e-6 | as f32 | as f32 | as f32 | as f32 |
//!
//! `bf16x6` is *more* exact than f32: what its products leave out is below f32's rounding, and its sums are short ones added up,
//! or small ones first, where f32 has one chain.
//!
//! # When a mode pays
//!
//! - AMX: a prototype on Sapphire Rapids (one thread, 256 x 256 x 256, weights packed before) took 52 us in `bf16x3` and 31 us in
//!   `bf16`, where f32 took 260 us. The kernels here have not been timed on AMX yet.
//! - AVX512-BF16: only `bf16`, and only where `vdpbf16ps` runs at the rate of the f32 multiply-add. On Zen 5 it does: 1.7 times
//!   f32's speed for each product of 256 x 256 x 256, packing included, and 1.6 times for a whole update of IQL (Hopper sizes, one
//!   thread, best times). Three and six products at twice the rate of one are slower than f32: `bf16x3` has 0.6 times its speed,
//!   `bf16x6` 0.3 times, in products and updates alike. On Sapphire Rapids `vdpbf16ps` has about half the rate of the f32
//!   multiply-add, so without AMX no mode pays there.
//! - Emulation: never. It is what a processor without either runs, and what AMX is tested against.

use std::fmt;
use std::str::FromStr;

/// What the factors in the products of large dense layers are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Numerics {
    /// f32
    #[default]
    F32,
    /// three bf16 parts of each factor, six products: as exact as f32
    Bf16x6,
    /// two bf16 parts of each factor, three products
    Bf16x3,
    /// bf16
    Bf16,
}

impl Numerics {
    /// All modes, from the most exact to the fastest.
    pub const ALL: [Self; 4] = [Self::F32, Self::Bf16x6, Self::Bf16x3, Self::Bf16];

    /// Rows, inputs and outputs from which a layer is large: from there splitting costs less than it saves.
    pub const LEAST: usize = 64;

    /// The name used on the command line: `f32`, `bf16x6`, `bf16x3`, `bf16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16x6 => "bf16x6",
            Self::Bf16x3 => "bf16x3",
            Self::Bf16 => "bf16",
        }
    }
}

impl fmt::Display for Numerics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The name given is none of those that there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    what: &'static str,
    expected: &'static str,
    got: String,
}

impl UnknownName {
    pub(crate) fn new(what: &'static str, expected: &'static str, got: &str) -> Self {
        Self { what, expected, got: got.to_owned() }
    }
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown {} '{}', expected {}", self.what, self.got, self.expected)
    }
}

impl std::error::Error for UnknownName {}

impl FromStr for Numerics {
    type Err = UnknownName;
    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let unknown = || UnknownName::new("numerics", "f32, bf16x6, bf16x3 or bf16", name);
        Self::ALL.into_iter().find(|n| n.name() == name).ok_or_else(unknown)
    }
}

/// What multiplies pairs of bf16, from the slowest to the fastest. `amx` and `emulated` give the same bits, but for products
/// below 2⁻¹²⁶ or beyond the largest f32; those of `avx512_bf16` differ within the tolerance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// plain Rust, on any processor; slower than f32
    Emulated,
    /// `vdpbf16ps`
    Avx512Bf16,
    /// `tdpbf16ps`
    Amx,
}

impl Unit {
    /// `emulated`, `avx512_bf16` or `amx`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Emulated => "emulated",
            Self::Avx512Bf16 => "avx512_bf16",
            Self::Amx => "amx",
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
