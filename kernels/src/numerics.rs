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

/// The name given is none of [`Numerics::ALL`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownNumerics(String);

impl fmt::Display for UnknownNumerics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown numerics '{}', expected f32, bf16x6, bf16x3 or bf16", self.0)
    }
}

impl std::error::Error for UnknownNumerics {}

impl FromStr for Numerics {
    type Err = UnknownNumerics;
    fn from_str(name: &str) -> Result<Self, UnknownNumerics> {
        Self::ALL.into_iter().find(|n| n.name() == name).ok_or_else(|| UnknownNumerics(name.to_owned()))
    }
}

/// What multiplies pairs of bf16, from the slowest to the fastest. `amx` and `emulated` give the same bits, but for products
/// below 2⁻¹²⁶; those of `avx512_bf16` differ within the tolerance.
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
