//! The tables, and the choice between them.

use crate::{Isa, Kernels};
use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

/// The table whose entries live in the module `$isa` of every family.
macro_rules! table {
    ($name:ident, $isa:expr, $variant:ident) => {
        static $name: Kernels = Kernels {
            isa: $isa,
            linear: crate::linear::$variant::linear,
            linear_dx: crate::linear::$variant::linear_dx,
            linear_dw: crate::linear::$variant::linear_dw,
            linear_scratch: crate::linear::$variant::linear_scratch,
            unary: crate::elementwise::$variant::unary,
            binary: crate::elementwise::$variant::binary,
            sum: crate::reduce::$variant::sum,
            min: crate::reduce::$variant::min,
            min_grad: crate::reduce::$variant::min_grad,
            log_sum_exp: crate::reduce::$variant::log_sum_exp,
            adam: crate::adam::$variant::adam,
            polyak: crate::polyak::$variant::polyak,
            digest: crate::digest::$variant::digest,
        };
    };
}

table!(PORTABLE, Isa::Portable, portable);
#[cfg(target_arch = "x86_64")]
table!(AVX2, Isa::Avx2, avx2);
#[cfg(target_arch = "x86_64")]
table!(AVX512, Isa::Avx512, avx512);

impl Isa {
    /// All instruction sets that have a table, from the most portable to the fastest.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];

    /// The name used on the command line: `portable`, `avx2`, `avx512`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The name given is none of [`Isa::ALL`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownIsa(String);

impl fmt::Display for UnknownIsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown instruction set '{}', expected portable, avx2 or avx512", self.0)
    }
}

impl std::error::Error for UnknownIsa {}

impl FromStr for Isa {
    type Err = UnknownIsa;
    fn from_str(name: &str) -> Result<Self, UnknownIsa> {
        Self::ALL.into_iter().find(|isa| isa.name() == name).ok_or_else(|| UnknownIsa(name.to_owned()))
    }
}

/// The kernels of one instruction set; `None` if this processor does not have it.
pub fn for_isa(isa: Isa) -> Option<&'static Kernels> {
    match isa {
        Isa::Portable => Some(&PORTABLE),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(&AVX2),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => {
            (is_x86_feature_detected!("avx512f") && for_isa(Isa::Avx2).is_some()).then_some(&AVX512)
        }
        #[cfg(not(target_arch = "x86_64"))]
        _ => None,
    }
}

/// The kernels of every instruction set of this processor, from the most portable to the fastest.
pub fn available() -> impl Iterator<Item = &'static Kernels> {
    Isa::ALL.into_iter().filter_map(for_isa)
}

/// The fastest kernels of this processor. The processor is asked once.
pub fn best() -> &'static Kernels {
    static BEST: OnceLock<&'static Kernels> = OnceLock::new();
    BEST.get_or_init(|| available().last().expect("invariant: the portable table always exists"))
}

static ACTIVE: OnceLock<&'static Kernels> = OnceLock::new();

/// The kernels that programs of this process run on: those of [`choose`], otherwise [`best`].
pub fn active() -> &'static Kernels {
    ACTIVE.get_or_init(best)
}

/// Fixes what [`active`] gives, for the rest of the process; to be called before anything else is.
///
/// # Errors
/// [`CannotChoose`] if the processor lacks the instruction set, or if another one is in use already.
pub fn choose(isa: Isa) -> Result<&'static Kernels, CannotChoose> {
    let kernels = for_isa(isa).ok_or(CannotChoose { isa, in_use: None })?;
    match ACTIVE.get_or_init(|| kernels) {
        k if k.isa == isa => Ok(k),
        other => Err(CannotChoose { isa, in_use: Some(other.isa) }),
    }
}

/// Why an instruction set cannot be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CannotChoose {
    isa: Isa,
    /// the one in use; `None` if the processor lacks what was asked for
    in_use: Option<Isa>,
}

impl fmt::Display for CannotChoose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.in_use {
            Some(other) => write!(f, "cannot switch to {}: {other} is in use already", self.isa),
            None => {
                let here: Vec<_> = available().map(|k| k.isa.name()).collect();
                write!(f, "this processor does not have {}; it has {}", self.isa, here.join(", "))
            }
        }
    }
}

impl std::error::Error for CannotChoose {}
