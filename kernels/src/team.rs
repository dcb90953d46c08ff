//! Threads that stay awake while a program runs, and share the kernels' tiles.
//!
//! Waking a thread through the system takes as long as a kernel, above all on a virtual machine. So a [`Team`] wakes the
//! threads of the current rayon pool once per program; until its end they look for work without sleeping. A kernel
//! *posts* its tiles as parts, one or more per thread, and whoever runs a kernel never waits for a thread that has not
//! begun a part: it takes the part itself. Every part has an owner, the same from kernel to kernel, because the rows of
//! one layer are read again by the next and are in its owner's cache; others take a part only when their own are done.
//!
//! A thread whose processor also runs something else may be stopped in the middle of a part, and then all wait. So now
//! and then a team does a program alone, and stays with what took less time (`pace.rs`).
//!
//! Which thread does which part cannot change a bit: tiles write disjoint outputs, and no sum crosses a tile.

use std::cell::{Cell, UnsafeCell};
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::pace::Pace;

/// Below this many floating point operations a program is not worth waking threads for: [`Team::run`] leaves it to the
/// calling thread.
pub const WORTH_A_TEAM: u64 = 1 << 23;
/// Floating point operations of a part; a post of more is cut into several for each thread, so that they end together.
const LARGE: usize = 1 << 26;
/// Most parts of a post for each thread.
const MOST_EACH: usize = 4;
/// Most parts of a post: the bits of a word.
const MOST_PARTS: usize = 64;
/// Posts of one thread: a region's heads, and the tiles of a kernel in a head.
const DEPTHS: usize = 2;
/// Looks for work before an idle thread lets others have the processor, some 20 microseconds.
const PATIENCE: u32 = 500;

/// The threads of the current rayon pool, together for one program at a time.
#[derive(Default)]
pub struct Team {
    /// of every thread of the pool, by its index, one for each depth
    posts: Vec<Post>,
    /// threads that are looking for work
    idle: AtomicUsize,
    over: AtomicBool,
    pace: Pace,
}

/// Tiles that are to be done, on lines of its own.
#[derive(Default)]
#[repr(align(128))]
struct Post {
    /// parts that nobody has begun
    open: AtomicU64,
    /// parts that are not complete
    left: AtomicUsize,
    /// how many there were
    parts: AtomicUsize,
    /// written by the owner while no part is open or left, read by who has taken a part
    job: UnsafeCell<Option<Job>>,
}

// SAFETY: `job` changes only while no part is open or left (see `post`); everything else is atomic.
unsafe impl Sync for Post {}
// SAFETY: the pointers in a job are used only before `left` is zero, which the poster waits for.
unsafe impl Send for Post {}

/// A function on ranges of tiles, its type erased.
#[derive(Clone, Copy)]
struct Job {
    data: *const (),
    call: unsafe fn(*const (), Range<usize>),
    tiles: usize,
    parts: usize,
}

/// Where the calling thread stands in a team.
#[derive(Clone, Copy)]
struct Seat {
    team: NonNull<Team>,
    index: usize,
    /// of the posts that it makes now
    depth: usize,
}

thread_local! {
    static SEAT: Cell<Option<Seat>> = const { Cell::new(None) };
}

impl Team {
    /// Runs `f`, a program of so many floating point operations. Kernels that it calls share their work with the other
    /// threads of the current rayon pool; alone, outside a pool or in another team they do not. Allocates only when the
    /// pool has more threads than ever before. The pool's threads are taken meanwhile: `f` must not wait for a job that
    /// only another thread of the pool can do, such as a broadcast.
    pub fn run<R: Send>(&mut self, work: u64, f: impl FnOnce() -> R + Send) -> R {
        let threads = rayon::current_num_threads();
        let index = rayon::current_thread_index().filter(|_| SEAT.get().is_none());
        let Some(index) = index.filter(|_| work >= WORTH_A_TEAM && threads > 1) else { return f() };
        let turn = self.pace.begin();
        let result = if turn.alone { f() } else { self.together(threads, index, f) };
        self.pace.end(turn);
        result
    }

    fn together<R: Send>(&mut self, threads: usize, index: usize, f: impl FnOnce() -> R + Send) -> R {
        if self.posts.len() < threads * DEPTHS {
            self.posts.resize_with(threads * DEPTHS, Post::default);
        }
        *self.over.get_mut() = false;
        let team = &*self;
        let work = || {
            let _over = OnDrop(|| team.over.store(true, Ordering::Release));
            team.seated(index, 0, f)
        };
        rayon::join(work, || team.gather(threads - 1)).0
    }

    /// `n` threads help, each that finds the time: who takes up a half offers the half of it.
    fn gather(&self, n: usize) {
        if n > 1 {
            rayon::join(|| self.gather(n / 2), || self.gather(n - n / 2));
        } else if let Some(index) = rayon::current_thread_index().filter(|_| SEAT.get().is_none()) {
            self.seated(index, 0, || self.help(index, 0, || self.over.load(Ordering::Acquire)));
        }
    }

    /// Runs `f` with a seat for this thread.
    fn seated<R>(&self, index: usize, depth: usize, f: impl FnOnce() -> R) -> R {
        let before = SEAT.replace(Some(Seat { team: NonNull::from(self), index, depth }));
        let _back = OnDrop(|| SEAT.set(before));
        f()
    }

    /// Takes parts of posts at this depth or deeper until `done`.
    fn help(&self, index: usize, depth: usize, done: impl Fn() -> bool) {
        let mut looks = 0;
        self.idle.fetch_add(1, Ordering::Relaxed);
        let _gone = OnDrop(|| {
            self.idle.fetch_sub(1, Ordering::Relaxed);
        });
        while !done() {
            let taken =
                self.posts.iter().enumerate().filter(|(i, _)| i % DEPTHS >= depth).find_map(|(i, post)| {
                    let part = post.take(index, self.threads())?;
                    Some((post, part, i % DEPTHS))
                });
            if let Some((post, part, depth)) = taken {
                self.idle.fetch_sub(1, Ordering::Relaxed);
                // Idle again before the part counts as done, so that who waits for it and posts more sees this thread.
                let again = OnDrop(|| {
                    self.idle.fetch_add(1, Ordering::Relaxed);
                });
                self.seated(index, depth + 1, || post.run(part, again));
                looks = 0;
            } else if looks < PATIENCE {
                looks += 1;
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }

    fn threads(&self) -> usize {
        self.posts.len() / DEPTHS
    }
}

/// Whether the calling thread is in a team, which has the threads of the pool.
pub(crate) fn within() -> bool {
    SEAT.get().is_some()
}

/// Calls `f` on ranges that cover `0..tiles`, from all threads of the team that the calling one is in.
///
/// `work` is the number of floating point operations of all tiles together.
pub(crate) fn share(tiles: usize, work: usize, f: &(impl Fn(Range<usize>) + Sync)) {
    let seat = SEAT.get().filter(|seat| {
        // SAFETY: a seat is given back before its team ends (`seated`).
        let team = unsafe { seat.team.as_ref() };
        tiles > 1 && seat.depth < DEPTHS && team.idle.load(Ordering::Relaxed) > 0
    });
    let Some(Seat { team, index, depth }) = seat else { return f(0..tiles) };
    // SAFETY: as above.
    let team = unsafe { team.as_ref() };
    team.post(index, depth, Job::new(tiles, work, team.threads(), f));
}

impl Team {
    /// Has all parts of a job done.
    fn post(&self, index: usize, depth: usize, job: Job) {
        let post = &self.posts[index * DEPTHS + depth];
        // SAFETY: this thread's post for this depth: its last job is complete, and nobody reads it before parts are open.
        unsafe { *post.job.get() = Some(job) };
        post.left.store(job.parts, Ordering::Relaxed);
        post.parts.store(job.parts, Ordering::Relaxed);
        let done = || post.left.load(Ordering::Acquire) == 0;
        // Nobody may use `f` after this function, also where a part panics: one of these, or of another post in `help`.
        let _complete = OnDrop(|| {
            let dropped = post.open.swap(0, Ordering::Relaxed).count_ones() as usize;
            post.left.fetch_sub(dropped, Ordering::Relaxed);
            // No help, in which a second panic would abort: who has begun a part needs nobody else to end it.
            while !done() {
                std::thread::yield_now();
            }
        });
        post.open.store(u64::MAX >> (MOST_PARTS - job.parts), Ordering::Release);
        self.seated(index, depth + 1, || {
            while let Some(part) = post.take(index, self.threads()) {
                post.run(part, OnDrop(|| {}));
            }
        });
        self.help(index, depth + 1, done);
    }
}

impl Post {
    /// Takes a part, one of the thread's own if there is one.
    fn take(&self, index: usize, threads: usize) -> Option<usize> {
        let mut open = self.open.load(Ordering::Relaxed);
        while open != 0 {
            // A stale number of parts only gives another owner.
            let own = open & owned(self.parts.load(Ordering::Relaxed), index, threads);
            let part = if own == 0 { open } else { own }.trailing_zeros();
            let rest = open & !(1 << part);
            match self.open.compare_exchange_weak(open, rest, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(part as usize),
                Err(now) => open = now,
            }
        }
        None
    }

    /// Does a part that this thread has taken; `then` goes before it counts as complete.
    fn run<F: FnMut()>(&self, part: usize, then: OnDrop<F>) {
        // Dropped in reverse, also when the part panics.
        let _complete = OnDrop(|| {
            self.left.fetch_sub(1, Ordering::Release);
        });
        let _then = then;
        // SAFETY: the job was written before its parts were open, and is kept while one is left.
        unsafe {
            let job = (*self.job.get()).expect("invariant: parts belong to a job");
            let at = |part: usize| job.tiles * part / job.parts;
            (job.call)(job.data, at(part)..at(part + 1));
        }
    }
}

/// The parts of a post that belong to a thread, as a mask: as even a share as there is, side by side.
fn owned(parts: usize, index: usize, threads: usize) -> u64 {
    let below = |part: usize| 1u64.checked_shl(part as u32).map_or(u64::MAX, |bit| bit - 1);
    let at = |index: usize| (index * parts).div_ceil(threads);
    below(at(index + 1)) & !below(at(index))
}

impl Job {
    fn new<F: Fn(Range<usize>) + Sync>(tiles: usize, work: usize, threads: usize, f: &F) -> Job {
        /// # Safety
        /// `data` points to an `F`.
        unsafe fn call<F: Fn(Range<usize>)>(data: *const (), tiles: Range<usize>) {
            // SAFETY: promised by the caller.
            unsafe { (*data.cast::<F>())(tiles) }
        }
        let each = (work / LARGE / threads).clamp(1, MOST_EACH);
        let parts = tiles.min(threads * each).min(MOST_PARTS);
        Job { data: std::ptr::from_ref(f).cast(), call: call::<F>, tiles, parts }
    }
}

/// Calls a function when it is dropped, also by a panic.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[cfg(test)]
mod tests;
