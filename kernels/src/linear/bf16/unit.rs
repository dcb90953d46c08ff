//! What multiplies blocks: one implementation per [`Unit`].

use crate::numerics::Unit;

/// A way to multiply blocks of pairs of bf16; all read the layout of `split.rs`.
pub(crate) trait TileProduct: 'static {
    /// its name
    const UNIT: Unit;

    /// Called by a thread before its share of a call.
    ///
    /// # Safety
    /// The unit is present; [`TileProduct::end`] follows.
    #[inline(always)]
    unsafe fn begin() {}

    /// Called after it.
    ///
    /// # Safety
    /// [`TileProduct::begin`] was called.
    #[inline(always)]
    unsafe fn end() {}

    /// c `[32, 32]` = Σ over chunks and products of parts.
    ///
    /// # Safety
    /// Between `begin` and `end`; a and b are blocks of at least so many chunks, 1 or more, on 64-byte boundaries.
    unsafe fn block<const PARTS: usize>(a: *const u32, b: *const u32, chunks: usize, c: *mut f32);
}

/// Which parts of a and b are multiplied, numbered from 0.
pub(crate) struct Products<const PARTS: usize>;

impl<const PARTS: usize> Products<PARTS> {
    /// Neighbours share an operand.
    pub(crate) const SHARING: &'static [(usize, usize)] = match PARTS {
        1 => &[(0, 0)],
        2 => &[(0, 1), (0, 0), (1, 0)],
        _ => &[(0, 2), (0, 1), (1, 1), (1, 0), (2, 0), (0, 0)],
    };
    /// The largest come last.
    #[cfg(target_arch = "x86_64")]
    pub(crate) const SMALL_FIRST: &'static [(usize, usize)] = match PARTS {
        1 => &[(0, 0)],
        2 => &[(1, 0), (0, 1), (0, 0)],
        _ => &[(2, 0), (1, 1), (0, 2), (1, 0), (0, 1), (0, 0)],
    };
}
