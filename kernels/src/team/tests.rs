use super::*;
use std::sync::Barrier;
use std::sync::atomic::AtomicU32;

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads")
}

/// How often each tile of a post in a post was done.
fn nested(outer: usize, inner: usize) -> Vec<u32> {
    let seen: Vec<AtomicU32> = (0..outer * inner).map(|_| AtomicU32::new(0)).collect();
    share(outer, usize::MAX, &|range| {
        for i in range {
            share(inner, LARGE, &|range| {
                // A third depth has no posts: direct.
                share(range.len(), LARGE, &|part| {
                    for k in part {
                        seen[i * inner + range.start + k].fetch_add(1, Ordering::Relaxed);
                    }
                });
            });
        }
    });
    seen.into_iter().map(AtomicU32::into_inner).collect()
}

#[test]
fn every_tile_is_done_once_by_teams_of_any_size() {
    for threads in [1, 2, 3, 5, 70] {
        let pool = pool(threads);
        let mut team = Team::default();
        for (outer, inner) in [(0, 1), (1, 9), (2, 4), (3, 1), (7, 5), (130, 3)] {
            let seen = pool.install(|| team.run(u64::MAX, || nested(outer, inner)));
            assert!(seen.iter().all(|&n| n == 1), "{threads} threads, {outer} of {inner}: {seen:?}");
        }
    }
}

/// Waits until another thread of the team looks for work.
fn await_company() {
    let seat = SEAT.get().expect("a seat");
    // SAFETY: a seat is given back before its team ends.
    let team = unsafe { seat.team.as_ref() };
    while team.idle.load(Ordering::Relaxed) == 0 {
        std::thread::yield_now();
    }
}

#[test]
fn both_threads_take_their_own_parts() {
    // Each part waits for the other, so that one thread cannot do both; a hundred posts in one team.
    let who = |part: usize| (part, rayon::current_thread_index().expect("in the pool"));
    pool(2).install(|| {
        Team::default().run(u64::MAX, || {
            for _ in 0..100 {
                await_company();
                let (barrier, done) = (Barrier::new(2), std::sync::Mutex::new(Vec::new()));
                share(2, LARGE, &|range| {
                    assert_eq!(range.len(), 1);
                    barrier.wait();
                    done.lock().expect("no panic").push(who(range.start));
                });
                let mut done = done.into_inner().expect("no panic");
                done.sort_unstable();
                assert_eq!(done, [(0, 0), (1, 1)]);
            }
        });
    });
}

#[test]
fn a_panic_in_any_part_ends_the_program_with_it() {
    for bad in 0..4 {
        let outcome = std::panic::catch_unwind(|| {
            pool(2).install(|| {
                Team::default().run(u64::MAX, || {
                    for _ in 0..50 {
                        share(4, usize::MAX, &|range| assert!(!range.contains(&bad), "tile {bad}"));
                    }
                });
            });
        });
        let text = outcome.expect_err("it panics");
        assert_eq!(text.downcast_ref::<String>().map(String::as_str), Some(&*format!("tile {bad}")));
        assert!(SEAT.get().is_none());
    }
}

#[test]
fn a_panic_in_a_part_of_another_post_does_not_end_ones_own() {
    static BOTH: Barrier = Barrier::new(2);
    static TAKEN: AtomicBool = AtomicBool::new(false);
    static DROPPED: AtomicBool = AtomicBool::new(false);
    static EARLY: AtomicBool = AtomicBool::new(false);
    /// What a program owns.
    struct Data;
    impl Drop for Data {
        fn drop(&mut self) {
            DROPPED.store(true, Ordering::SeqCst);
        }
    }
    let program = || {
        let (_data, poster) = (Data, rayon::current_thread_index());
        await_company();
        share(2, LARGE, &move |_| {
            BOTH.wait();
            if rayon::current_thread_index() == poster {
                return;
            }
            // The poster has done its part and helps.
            await_company();
            share(2, LARGE, &move |_| {
                let theirs = rayon::current_thread_index() == poster;
                TAKEN.fetch_or(theirs, Ordering::SeqCst);
                assert!(!theirs, "in a nested part");
                while !TAKEN.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
            });
            std::thread::sleep(std::time::Duration::from_millis(100));
            EARLY.store(DROPPED.load(Ordering::SeqCst), Ordering::SeqCst);
        });
    };
    let outcome = std::panic::catch_unwind(|| pool(2).install(|| Team::default().run(u64::MAX, program)));
    assert!(outcome.is_err() && DROPPED.load(Ordering::SeqCst));
    assert!(!EARLY.load(Ordering::SeqCst), "what the program owned was gone before the last part had ended");
}

#[test]
fn parts_have_owners_side_by_side() {
    for threads in 1..9 {
        for parts in 1..=MOST_PARTS {
            let all: Vec<u64> = (0..threads).map(|i| owned(parts, i, threads)).collect();
            assert_eq!(all.iter().fold(0, |a, b| a | b), u64::MAX >> (MOST_PARTS - parts));
            assert_eq!(all.iter().map(|m| m.count_ones() as usize).sum::<usize>(), parts, "disjoint");
            let (least, most) = (parts / threads, parts.div_ceil(threads));
            assert!(all.iter().all(|m| (least..=most).contains(&(m.count_ones() as usize))));
            let firsts = all.iter().filter(|m| **m != 0).map(|m| m.trailing_zeros());
            assert!(firsts.is_sorted());
        }
    }
}
