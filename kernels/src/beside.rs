//! Work on a thread of its own, beside those of the pool.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, sync_channel};
use std::{io, thread};

/// A thread that does one job after another. It is a rayon pool of one, so that kernels called on it share their work
/// with nobody: neither a [`Team`](crate::Team) of the caller's pool nor this thread ever waits for the other.
pub struct Beside(rayon::ThreadPool);

impl Beside {
    /// # Errors
    /// The system gives no thread.
    pub fn new() -> io::Result<Beside> {
        rayon::ThreadPoolBuilder::new().num_threads(1).build().map(Beside).map_err(io::Error::other)
    }

    /// Begins a job.
    pub fn start<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Pending<T> {
        let (done, result) = sync_channel(1);
        self.0.spawn(move || {
            // It fails where nobody waits for the result any more.
            let _ = done.send(catch_unwind(AssertUnwindSafe(job)));
        });
        Pending(result)
    }
}

/// The result of a job, once it is there. Whoever drops it waits for the end of the job.
pub struct Pending<T>(Receiver<thread::Result<T>>);

impl<T> Pending<T> {
    /// A result that is there.
    pub fn done(value: T) -> Pending<T> {
        let (done, result) = sync_channel(1);
        let _ = done.send(Ok(value)); // there is room for it
        Pending(result)
    }

    /// The result, if it is there or this is to `wait` for it; `None` also if it was taken before.
    ///
    /// # Panics
    /// With the job's own panic.
    pub fn take(&self, wait: bool) -> Option<T> {
        let outcome = if wait { self.0.recv().ok() } else { self.0.try_recv().ok() };
        outcome.map(|outcome| outcome.unwrap_or_else(|panic| resume_unwind(panic)))
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        let _ = self.0.recv(); // nobody wants it
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Team, for_each, threads};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    /// The threads that take part in a program, and what they would be called on.
    fn program() -> (usize, Vec<thread::ThreadId>) {
        let mut who = vec![None; 64];
        Team::default().run(u64::MAX, || for_each(&mut who, &|_, who| *who = Some(thread::current().id())));
        let mut who: Vec<_> = who.into_iter().flatten().collect();
        assert_eq!(who.len(), 64);
        who.dedup();
        (threads(), who)
    }

    #[test]
    fn a_job_has_one_thread_whatever_the_pool_has() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("threads");
        pool.install(|| {
            let beside = Beside::new().expect("a thread");
            let job = beside.start(program);
            assert_eq!(threads(), 3);
            let (threads, who) = job.take(true).expect("there");
            assert_eq!((threads, who.len()), (1, 1));
            assert!(job.take(true).is_none() && job.take(false).is_none(), "it was taken");
            assert_eq!(beside.start(program).take(true).expect("there").1, who, "one job after another");
        });
        assert_eq!(Pending::done(5).take(false), Some(5));
    }

    #[test]
    fn a_panic_goes_on_where_the_result_is_taken() {
        let beside = Beside::new().expect("a thread");
        let job = beside.start(|| -> u32 { panic!("in the job") });
        let panic = catch_unwind(AssertUnwindSafe(|| job.take(true))).expect_err("it panics");
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"in the job"));
        assert_eq!(beside.start(|| 2).take(true), Some(2), "the thread goes on");
    }

    #[test]
    fn a_job_does_not_outlive_who_waits_for_it() {
        let over = Arc::new(AtomicBool::new(false));
        let end = over.clone();
        let job = Beside::new().expect("a thread").start(move || {
            thread::sleep(Duration::from_millis(20));
            end.store(true, Ordering::Relaxed);
        });
        assert_eq!(job.take(false), None);
        drop(job);
        assert!(over.load(Ordering::Relaxed));
    }
}
