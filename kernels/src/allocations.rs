//! Counting what is allocated.
//!
//! A program that installs the counter pays one relaxed addition per allocation: nothing where nothing is
//! allocated.
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: baq_kernels::CountingAllocator = baq_kernels::CountingAllocator;
//!
//! let before = baq_kernels::allocations().expect("installed");
//! drop(Box::new(1));
//! assert!(baq_kernels::allocations() > Some(before));
//! ```

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

static COUNT: AtomicU64 = AtomicU64::new(0);

/// The system's allocator with a counter of its calls that give memory.
pub struct CountingAllocator;

/// Allocations of this process so far, on all threads; `None` unless [`CountingAllocator`] is its global
/// allocator (every Rust program has allocated before `main`).
pub fn allocations() -> Option<u64> {
    match COUNT.load(Ordering::Relaxed) {
        0 => None,
        n => Some(n),
    }
}

fn count() {
    COUNT.fetch_add(1, Ordering::Relaxed);
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(p, layout, size) }
    }
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(p, layout) }
    }
}
