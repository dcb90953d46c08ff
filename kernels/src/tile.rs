//! How work is cut so that threads can share it (`team.rs`).
//!
//! Work is cut into *tiles*, a numbered list fixed by the sizes alone. Tiles write disjoint
//! outputs and no sum crosses a tile, so which thread runs which tiles, and how many threads
//! there are, cannot change a bit. Small work takes the direct call.
//!
//! Whoever does tiles flushes subnormal numbers meanwhile (`flush.rs`).

use crate::flush::Flush;
use crate::simd::{Job, Simd};
use crate::team::share;
use std::ops::Range;

/// Floating point operations that take about as long as moving a float.
pub(crate) const MOVED: usize = 16;

/// Below this many floating point operations a second thread costs more than it gives.
const WORTH_SHARING: usize = 1 << 20;

/// Threads that a [`Team`](crate::Team) would have here: those of the current rayon pool.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// Calls `f` on each item and its index, shared among the threads of the [`Team`](crate::Team). For work worth a thread
/// each.
pub fn for_each<T: Send>(items: &mut [T], f: &(impl Fn(usize, &mut T) + Sync)) {
    let (n, items) = (items.len(), Shared::new(items));
    for_ranges(n, usize::MAX, &|range| {
        // SAFETY: the index is in the slice, and each is in one range.
        range.for_each(|i| f(i, unsafe { &mut *items.ptr().add(i) }));
    });
}

/// Calls `f` on each item and its index, as far as the rayon pool has threads, for work that is no kernel, as a
/// simulator's: subnormal numbers stay.
pub fn for_each_unflushed<T: Send>(items: &mut [T], f: &(impl Fn(usize, &mut T) + Sync)) {
    fn split<T: Send>(first: usize, items: &mut [T], f: &(impl Fn(usize, &mut T) + Sync)) {
        match items {
            [] => {}
            [one] => f(first, one),
            _ => {
                let middle = items.len() / 2;
                let (a, b) = items.split_at_mut(middle);
                rayon::join(|| split(first, a, f), || split(first + middle, b, f));
            }
        }
    }
    if rayon::current_num_threads() < 2 {
        items.iter_mut().enumerate().for_each(|(i, item)| f(i, item));
    } else {
        split(0, items, f);
    }
}

/// Calls `f` on ranges that cover `0..tiles`, possibly from several threads.
///
/// `work` is the number of floating point operations of all tiles together.
pub(crate) fn for_ranges(tiles: usize, work: usize, f: &(impl Fn(Range<usize>) + Sync)) {
    let flushed = |range| {
        let _flush = Flush::begin();
        f(range);
    };
    if work < WORTH_SHARING {
        flushed(0..tiles);
    } else {
        share(tiles, work, &flushed);
    }
}

/// [`for_ranges`] for a job that needs an instruction set.
///
/// # Safety
/// The instruction set is present, and the job's own requirements hold.
pub(crate) unsafe fn run<S: Simd>(tiles: usize, work: usize, job: &impl Job<S>) {
    // SAFETY: promised by the caller.
    for_ranges(tiles, work, &|range| unsafe { S::enter(job, range) });
}

/// A pointer that tiles of one call may carry to other threads.
pub(crate) struct Shared<T>(*mut T);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

impl<T> Shared<T> {
    /// Shares a slice that is written; tiles must write disjoint parts.
    pub(crate) fn new(slice: &mut [T]) -> Self {
        Self(slice.as_mut_ptr())
    }
    /// The first element.
    pub(crate) fn ptr(&self) -> *mut T {
        self.0
    }
    /// The same memory as other things.
    pub(crate) fn cast<U>(self) -> Shared<U> {
        Shared(self.0.cast())
    }
    /// What begins `n` elements further on.
    pub(crate) fn skip(self, n: usize) -> Self {
        Self(self.0.wrapping_add(n))
    }
}

// SAFETY: the pointer is dereferenced only within the call that made it, while that call holds
// the `&mut` borrow, and tiles touch disjoint elements.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

/// Lengths of the parts when `len` is cut into as few parts of at most `most` as possible, all
/// within one of each other, the shorter first: 17 by 8 gives 5, 6, 6 rather than 8, 8, 1.
pub(crate) fn even_parts(len: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let parts = len.div_ceil(most);
    let (base, longer) = (len.checked_div(parts).unwrap_or(0), len.checked_rem(parts).unwrap_or(0));
    (0..parts).scan(0, move |start, i| {
        let n = base + usize::from(parts - i <= longer);
        let at = *start;
        *start += n;
        Some((at, n))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Team;

    #[test]
    fn even_parts_cover_without_short_tail() {
        assert_eq!(even_parts(17, 8).collect::<Vec<_>>(), [(0, 5), (5, 6), (11, 6)]);
        assert_eq!(even_parts(0, 8).count(), 0);
        for len in 1..100 {
            for most in 1..20 {
                let parts: Vec<_> = even_parts(len, most).collect();
                assert_eq!(parts.iter().map(|p| p.1).sum::<usize>(), len);
                assert!(parts.iter().all(|p| p.1 <= most && p.1 > 0));
                assert!(parts.windows(2).all(|p| p[0].0 + p[0].1 == p[1].0));
            }
        }
    }

    #[test]
    fn ranges_cover_each_tile_once() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("threads");
        for tiles in [0, 1, 2, 7, 64] {
            let mut seen = vec![0u8; tiles];
            let out = Shared::new(&mut seen);
            pool.install(|| {
                Team::default().run(u64::MAX, || {
                    for_ranges(tiles, tiles << 20, &|range| {
                        for i in range {
                            // SAFETY: each tile is an element of its own.
                            unsafe { *out.ptr().add(i) += 1 };
                        }
                    });
                });
            });
            assert!(seen.iter().all(|&n| n == 1), "{tiles}: {seen:?}");
        }
    }
}
