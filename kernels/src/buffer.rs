//! Aligned memory.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Alignment of ordinary buffers: a cache line, and an AVX-512 vector.
const LINE: usize = 64;
/// Buffers from this size on are aligned to it and ask for huge pages.
const HUGE: usize = 2 << 20;

/// Zero-initialised `f32` memory of fixed length, aligned to 64 bytes (2 MiB from that size on, with a request
/// for huge pages). It dereferences to a slice. An empty buffer owns no memory.
pub struct Buffer {
    start: NonNull<f32>,
    len: usize,
}

impl Buffer {
    /// `len` zeros. Aborts like `Vec` if there is no memory.
    pub fn new(len: usize) -> Self {
        if len == 0 {
            return Self::default();
        }
        let layout = Self::layout(len);
        // SAFETY: the layout has a size above zero.
        let start = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(start.cast::<f32>()) else { handle_alloc_error(layout) };
        if layout.align() == HUGE {
            request_huge_pages(start.as_ptr().cast(), layout.size());
        }
        // SAFETY: just allocated for `len` floats; all zero bits are 0.0.
        unsafe { start.as_ptr().write_bytes(0, len) };
        Self { start, len }
    }

    fn layout(len: usize) -> Layout {
        let layout = Layout::array::<f32>(len).expect("invariant: buffers fit the address space");
        let align = if layout.size() >= HUGE { HUGE } else { LINE };
        layout.align_to(align).expect("invariant: buffers fit the address space")
    }
}

/// Advice only: on failure ordinary pages serve as well, more slowly.
#[cfg(target_os = "linux")]
fn request_huge_pages(start: *mut u8, bytes: usize) {
    // Whole huge pages only: what follows the buffer is not ours.
    // SAFETY: the range was just allocated by us, and the advice does not change its content.
    unsafe { libc::madvise(start.cast(), bytes / HUGE * HUGE, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn request_huge_pages(_: *mut u8, _: usize) {}

impl Default for Buffer {
    fn default() -> Self {
        Self { start: NonNull::dangling(), len: 0 }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: allocated in `new` with this layout.
            unsafe { dealloc(self.start.as_ptr().cast(), Self::layout(self.len)) };
        }
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: `start` is valid for `len` initialised floats, or dangling and aligned with len 0.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`; the borrow is unique.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        let mut copy = Self::new(self.len);
        copy.copy_from_slice(self);
        copy
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

// SAFETY: a buffer owns its memory like a `Vec<f32>`.
unsafe impl Send for Buffer {}
// SAFETY: shared access only reads.
unsafe impl Sync for Buffer {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned_zeroed_and_independent_copies() {
        for len in [0, 1, 15, 16, 1000, HUGE / 4 - 1, HUGE / 4, HUGE] {
            let mut a = Buffer::new(len);
            assert_eq!(a.len(), len);
            assert!(a.iter().all(|&x| x == 0.0));
            let align = if len * 4 >= HUGE {
                HUGE
            } else if len > 0 {
                LINE
            } else {
                4
            };
            assert_eq!(a.as_ptr().align_offset(align), 0, "{len}");
            a.fill(1.0);
            let b = a.clone();
            a.fill(2.0);
            assert!(b.iter().all(|&x| x == 1.0));
        }
    }
}
