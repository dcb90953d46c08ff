//! Subnormal numbers count as zero wherever kernels compute.
//!
//! A dead unit's moments shrink by Adam's decay rates for ever and end among the subnormal numbers, where several
//! processors take an assist of some hundred cycles for every touch. So a thread flushes while it does tiles: a
//! subnormal argument counts as a zero of its sign, and a result that would be subnormal becomes one. The mode is set
//! where a thread takes up tiles and given back behind them, because the same thread, a library user's or one of the
//! pool's, next runs code that has a right to IEEE arithmetic: a simulator, a parser, a stolen job.

/// The bits that make a thread flush, and the register that has them.
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod control {
    use std::arch::asm;

    /// MXCSR: flush results to zero, take subnormal arguments for zero.
    pub(super) const FLUSH: u64 = 1 << 15 | 1 << 6;

    pub(super) fn get() -> u64 {
        let mut word = 0u32;
        // SAFETY: stores four bytes where `word` is.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut word, options(nostack, preserves_flags)) };
        word.into()
    }

    pub(super) fn set(word: u64) {
        let word = word as u32;
        // SAFETY: `word` was read by `get`, with `FLUSH` added or not: rounding and masks stay those of Rust. The
        // compiler takes arithmetic for IEEE; what it may compute early differs by subnormal numbers only, and those
        // that could, constants of kernels, are none.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const word, options(nostack, preserves_flags, readonly)) };
    }
}

/// The bits that make a thread flush, and the register that has them.
#[cfg(all(target_arch = "aarch64", not(miri)))]
mod control {
    use std::arch::asm;

    /// FPCR.FZ: flush arguments and results.
    pub(super) const FLUSH: u64 = 1 << 24;

    pub(super) fn get() -> u64 {
        let word: u64;
        // SAFETY: reads a register.
        unsafe { asm!("mrs {}, fpcr", out(reg) word, options(nomem, nostack, preserves_flags)) };
        word
    }

    pub(super) fn set(word: u64) {
        // SAFETY: as on x86-64. Not `nomem`, so that no load of a number moves across.
        unsafe { asm!("msr fpcr, {}", in(reg) word, options(nostack, preserves_flags)) };
    }
}

/// Elsewhere, and in Miri, which knows no assembly, subnormal numbers are what the processor makes of them.
#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod control {
    pub(super) const FLUSH: u64 = 0;
    pub(super) fn get() -> u64 {
        0
    }
    pub(super) fn set(_: u64) {}
}

/// What kernels make of subnormal numbers here, in a word for records: `zero`, or `kept` on a processor without such
/// a mode.
pub fn subnormals() -> &'static str {
    if control::FLUSH == 0 { "kept" } else { "zero" }
}

/// The calling thread flushes until this is dropped.
pub(crate) struct Flush {
    before: u64,
}

impl Flush {
    #[inline(always)]
    pub(crate) fn begin() -> Flush {
        let before = control::get();
        if before & control::FLUSH != control::FLUSH {
            control::set(before | control::FLUSH);
        }
        Flush { before }
    }
}

impl Drop for Flush {
    #[inline(always)]
    fn drop(&mut self) {
        if self.before & control::FLUSH != control::FLUSH {
            control::set(self.before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    fn tiny_halved() -> f32 {
        black_box(f32::MIN_POSITIVE) * black_box(0.5)
    }

    #[test]
    fn the_mode_nests_and_is_given_back() {
        let before = control::get();
        assert!(tiny_halved() > 0.0);
        {
            let _outer = Flush::begin();
            assert_eq!(tiny_halved(), 0.0);
            assert_eq!(black_box(1e-45f32) * black_box(1e38), 0.0, "an argument counts as zero too");
            drop(Flush::begin());
            assert_eq!(tiny_halved(), 0.0, "the inner one has not ended the outer");
        }
        assert!(tiny_halved() > 0.0);
        let panicked = std::panic::catch_unwind(|| {
            let _flush = Flush::begin();
            panic!("in a kernel");
        });
        assert!(panicked.is_err() && tiny_halved() > 0.0);
        assert_eq!(control::get() & control::FLUSH, before & control::FLUSH);
    }
}
