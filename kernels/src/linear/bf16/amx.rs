//! Pairs of bf16 multiplied by AMX: `tdpbf16ps`, 16 x 16 sums of 16 pairs in 16 cycles.
//!
//! The intrinsics are not stable yet, so a block of c is one piece of assembly, loop included: tiles 0 to 3 hold c, 4
//! and 5 two halves of a, 6 and 7 two halves of b, and no tile outlives the piece. Only the *shape* of the tiles, eight
//! times 16 rows of 64 bytes, stays set while a thread works on its share of a call.
//!
//! The operating system saves tiles of threads that are interrupted only for processes that have asked for it;
//! [`Amx::present`] asks once.

use super::unit::TileProduct;
use crate::numerics::Unit;
use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// AMX with bf16.
pub(crate) struct Amx;

/// The memory that `ldtilecfg` reads.
#[repr(C, align(64))]
struct Shape {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static EIGHT_TILES: Shape = Shape {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

static ASSUMED: AtomicBool = AtomicBool::new(false);

impl Amx {
    /// Whether processor and operating system let this process use it.
    pub(crate) fn present() -> bool {
        static PRESENT: OnceLock<bool> = OnceLock::new();
        ASSUMED.load(Ordering::Relaxed) || *PRESENT.get_or_init(|| in_processor() && permitted())
    }
}

/// Takes AMX for present, whatever the processor says; for a test that does its instructions in software.
///
/// # Safety
/// From now on tile instructions work in every thread of this process.
#[doc(hidden)]
pub unsafe fn assume_amx() {
    ASSUMED.store(true, Ordering::Relaxed);
}

/// Asks the processor: CPUID leaf 7 for tiles and their bf16 product, XCR0 for the state the system saves.
fn in_processor() -> bool {
    const TILE: u32 = 1 << 24;
    const BF16: u32 = 1 << 22;
    const OSXSAVE: u32 = 1 << 27;
    const TILE_STATE: u32 = 0b11 << 17;
    if __cpuid(0).eax < 7 || __cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    let found = __cpuid_count(7, 0).edx;
    if found & TILE == 0 || found & BF16 == 0 {
        return false;
    }
    let saved: u32;
    // SAFETY: OSXSAVE says that the instruction may be used; it writes eax and edx.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") saved, out("edx") _, options(nomem, nostack)) };
    saved & TILE_STATE == TILE_STATE
}

/// Asks Linux for the permission, which holds for the process.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_TILE_DATA: libc::c_long = 18;
    // SAFETY: this request has two numbers for arguments and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_TILE_DATA) == 0 }
}

/// Elsewhere nobody has tried.
#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// Two halves of a part of a into tiles 4 and 5. Offset: 2,048 bytes per part.
macro_rules! a {
    ($low:literal, $high:literal) => {
        concat!(
            "tileloadd tmm4, [{a} + {line}*1 + ",
            $low,
            "]\n",
            "tileloadd tmm5, [{a} + {line}*1 + ",
            $high,
            "]\n",
        )
    };
}

/// The same of b into tiles 6 and 7.
macro_rules! b {
    ($low:literal, $high:literal) => {
        concat!(
            "tileloadd tmm6, [{b} + {line}*1 + ",
            $low,
            "]\n",
            "tileloadd tmm7, [{b} + {line}*1 + ",
            $high,
            "]\n",
        )
    };
}

/// c += what is loaded of a times what is loaded of b.
macro_rules! multiply {
    () => {
        "tdpbf16ps tmm0, tmm4, tmm6
         tdpbf16ps tmm1, tmm4, tmm7
         tdpbf16ps tmm2, tmm5, tmm6
         tdpbf16ps tmm3, tmm5, tmm7"
    };
}

/// All chunks of a block: c = Σ of these products, in this order for each chunk.
macro_rules! block {
    ($a:expr, $b:expr, $chunks:expr, $c:expr, $parts:literal; $($product:expr),*) => {
        asm!(
            "tilezero tmm0
             tilezero tmm1
             tilezero tmm2
             tilezero tmm3",
            "2:",
            $($product,)*
            "add {a}, {chunk}",
            "add {b}, {chunk}",
            "sub {chunks}, 1",
            "jnz 2b",
            "tilestored [{c} + {row}*1], tmm0
             tilestored [{c} + {row}*1 + 64], tmm1
             tilestored [{c} + {row}*1 + 2048], tmm2
             tilestored [{c} + {row}*1 + 2112], tmm3",
            a = inout(reg) $a => _,
            b = inout(reg) $b => _,
            chunks = inout(reg) $chunks => _,
            c = in(reg) $c,
            line = in(reg) 64usize,
            row = in(reg) 128usize,
            chunk = const 2048 * $parts,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

impl TileProduct for Amx {
    const UNIT: Unit = Unit::Amx;

    #[inline(always)]
    unsafe fn begin() {
        // SAFETY: the caller promises AMX; the shape is a valid one of palette 1.
        unsafe {
            asm!(
                "ldtilecfg [{}]", in(reg) &raw const EIGHT_TILES,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, readonly, preserves_flags),
            );
        }
    }

    #[inline(always)]
    unsafe fn end() {
        // SAFETY: the caller promises AMX. Tiles at rest cost the system nothing to save.
        unsafe {
            asm!(
                "tilerelease",
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, nomem, preserves_flags),
            );
        }
    }

    // The products are those of `Products::SHARING`: neighbours share an operand, which is not loaded again.
    #[inline(always)]
    unsafe fn block<const PARTS: usize>(a: *const u32, b: *const u32, chunks: usize, c: *mut f32) {
        debug_assert!(chunks > 0, "invariant: sums have terms");
        // SAFETY: the caller promises AMX, that `begin` has set the shape, blocks of so many (more than 0) chunks of
        // PARTS parts of two tiles of 1,024 bytes, and 32 x 32 floats at c. The loop reads and writes nothing else.
        unsafe {
            match PARTS {
                1 => block!(a, b, chunks, c, 1; a!("0", "1024"), b!("0", "1024"), multiply!()),
                2 => block!(a, b, chunks, c, 2;
                    a!("0", "1024"), b!("2048", "3072"), multiply!(),
                    b!("0", "1024"), multiply!(),
                    a!("2048", "3072"), multiply!()),
                _ => block!(a, b, chunks, c, 3;
                    a!("0", "1024"), b!("4096", "5120"), multiply!(),
                    b!("2048", "3072"), multiply!(),
                    a!("2048", "3072"), multiply!(),
                    b!("0", "1024"), multiply!(),
                    a!("4096", "5120"), multiply!(),
                    a!("0", "1024"), multiply!()),
            }
        }
    }
}
