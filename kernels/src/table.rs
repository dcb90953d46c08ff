//! The tables, and the choice between them.

use crate::linear::bf16::{self, Single, TileProduct, emulated::Emulated};
#[cfg(target_arch = "x86_64")]
use crate::linear::bf16::{amx::Amx, avx512::Avx512Bf16};
use crate::numerics::UnknownName;
use crate::simd::Plain;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::{Isa, Kernels, Numerics};
use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

/// The table whose entries live in the module `$variant` of every family.
macro_rules! table {
    ($name:ident, $isa:expr, $variant:ident, $simd:ty) => {
        impl Single for $simd {
            const F32: Kernels = Kernels {
                isa: $isa,
                numerics: Numerics::F32,
                unit: None,
                linear: crate::linear::$variant::linear,
                linear_dx: crate::linear::$variant::linear_dx,
                linear_dw: crate::linear::$variant::linear_dw,
                linear_scratch: crate::linear::$variant::linear_scratch,
                layer_norm: crate::layer_norm::$variant::layer_norm,
                layer_norm_grad: crate::layer_norm::$variant::layer_norm_grad,
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
        }
        static $name: Kernels = <$simd>::F32;
    };
}

table!(PORTABLE, Isa::Portable, portable, Plain);
#[cfg(target_arch = "x86_64")]
table!(AVX2, Isa::Avx2, avx2, Avx2);
#[cfg(target_arch = "x86_64")]
table!(AVX512, Isa::Avx512, avx512, Avx512);

/// The table of an instruction set with its large products by a unit.
const fn mode<S: Single, U: TileProduct, const PARTS: usize>() -> Kernels {
    Kernels {
        numerics: match PARTS {
            1 => Numerics::Bf16,
            2 => Numerics::Bf16x3,
            _ => Numerics::Bf16x6,
        },
        unit: Some(U::UNIT),
        linear: bf16::linear::<S, U, PARTS>,
        linear_dx: bf16::linear_dx::<S, U, PARTS>,
        linear_dw: bf16::linear_dw::<S, U, PARTS>,
        linear_scratch: bf16::linear_scratch::<S, PARTS>,
        ..S::F32
    }
}

/// The tables of all modes of one instruction set and unit.
type Modes = [Kernels; 3];

const fn modes<S: Single, U: TileProduct>() -> Modes {
    [mode::<S, U, 3>(), mode::<S, U, 2>(), mode::<S, U, 1>()]
}

static PORTABLE_EMULATED: Modes = modes::<Plain, Emulated>();
#[cfg(target_arch = "x86_64")]
static AVX2_EMULATED: Modes = modes::<Avx2, Emulated>();
#[cfg(target_arch = "x86_64")]
static AVX512_EMULATED: Modes = modes::<Avx512, Emulated>();
#[cfg(target_arch = "x86_64")]
static AVX512_BF16: Modes = modes::<Avx512, Avx512Bf16>();
#[cfg(target_arch = "x86_64")]
static AVX512_AMX: Modes = modes::<Avx512, Amx>();

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

impl FromStr for Isa {
    type Err = UnknownName;
    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let unknown = || UnknownName::new("instruction set", "portable, avx2 or avx512", name);
        Self::ALL.into_iter().find(|isa| isa.name() == name).ok_or_else(unknown)
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

/// The kernels of one instruction set with other factors in its large products: one table for each [`Unit`](crate::Unit) that
/// this processor has beside the instruction set, the fastest last. For f32 it is the table of [`for_isa`].
pub fn units(isa: Isa, numerics: Numerics) -> impl Iterator<Item = &'static Kernels> {
    let here = for_isa(isa);
    let modes: [Option<&'static Modes>; 3] = match isa {
        // AMX is not asked for where nobody wants it.
        _ if here.is_none() || numerics == Numerics::F32 => [None; 3],
        Isa::Portable => [Some(&PORTABLE_EMULATED), None, None],
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => [Some(&AVX2_EMULATED), None, None],
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => [
            Some(&AVX512_EMULATED),
            Avx512Bf16::present().then_some(&AVX512_BF16),
            Amx::present().then_some(&AVX512_AMX),
        ],
        #[cfg(not(target_arch = "x86_64"))]
        _ => [None; 3],
    };
    let single = here.filter(|_| numerics == Numerics::F32);
    let tables = modes.into_iter().flatten().flatten();
    single.into_iter().chain(tables.filter(move |k| k.numerics == numerics))
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

/// Fixes what [`active`] gives, for the rest of the process; to be called before anything else is. Products other than
/// f32 are given to the fastest [`Unit`](crate::Unit).
///
/// # Errors
/// [`CannotChoose`] if the processor lacks the instruction set, or if another choice is in use already.
pub fn choose(isa: Isa, numerics: Numerics) -> Result<&'static Kernels, CannotChoose> {
    let wanted = (isa, numerics);
    let kernels = units(isa, numerics).last().ok_or(CannotChoose { wanted, in_use: None })?;
    let active = ACTIVE.get_or_init(|| kernels);
    match (active.isa, active.numerics) {
        in_use if in_use == wanted => Ok(active),
        in_use => Err(CannotChoose { wanted, in_use: Some(in_use) }),
    }
}

/// Why an instruction set and numerics cannot be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CannotChoose {
    wanted: (Isa, Numerics),
    /// what is in use; `None` if the processor lacks what was asked for
    in_use: Option<(Isa, Numerics)>,
}

impl fmt::Display for CannotChoose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (isa, numerics) = self.wanted;
        match self.in_use {
            Some((i, n)) => write!(f, "cannot switch to {isa}, {numerics}: {i}, {n} is in use already"),
            None => {
                let here: Vec<_> = available().map(|k| k.isa.name()).collect();
                write!(f, "this processor does not have {isa}; it has {}", here.join(", "))
            }
        }
    }
}

impl std::error::Error for CannotChoose {}

impl Kernels {
    /// What the bits depend on besides the instruction set: `f32`, or for example `bf16x6 by amx`.
    pub fn arithmetic(&self) -> String {
        match self.unit {
            None => self.numerics.to_string(),
            Some(unit) => format!("{} by {unit}", self.numerics),
        }
    }
}
