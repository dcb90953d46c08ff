//! A round allocates nothing after warm-up: composing, gathering and replaying, for every method.
//!
//! The allocator counts on the threads of the pool under test only, so that the test harness cannot disturb.

#![allow(unsafe_code, reason = "a counting global allocator")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use baq::algo::Dims;
use baq::audit::Probes;
use baq::audit::ledger::{Header, Scribe};
use baq::autodiff::{Flow, Probe as _, Select};
use rayon::{ThreadPool, ThreadPoolBuilder};

use common::{Learning, SMALL, agent, methods, online};

struct Counting;

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
}

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if WATCHED.get() {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A pool whose threads are watched. Pools live to the end of the test: a thread that ends may still allocate.
fn pool(threads: usize) -> ThreadPool {
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .start_handler(|_| WATCHED.set(true))
        .build()
        .expect("threads")
}

/// Allocations of `rounds` rounds in a pool, after ten rounds to warm up.
fn allocations(pool: &ThreadPool, learning: &mut Learning, rounds: usize) -> u64 {
    pool.install(|| {
        for _ in 0..10 {
            learning.round();
        }
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for _ in 0..rounds {
            learning.round();
        }
        ALLOCATIONS.load(Ordering::Relaxed) - before
    })
}

/// One test, because the count is shared.
#[test]
fn a_hundred_rounds_allocate_nothing() {
    let dims = Dims { s: 11, a: 3, batch: 256 };
    let pools = [pool(1), pool(2)];
    for select in [Select::ALL, Select::WITHOUT_METRICS] {
        for (algo, adapt, sets) in [
            ("bc", "plain", &["bc.model=gaussian"][..]),
            ("iql", "plain", &[][..]),
            ("prdc", "plain", &["td3.hidden=[32]"][..]),
            ("iql", "baq", &["baq.is_exponent=0.4"][..]),
            ("iql", "baq", &["baq.offline_priority=mean_match(0.5)"][..]),
            ("iql", "baq", &["iql.hidden=64x64 simba", "baq.model_hidden=64 simba"][..]),
            // Layers of 1536 rows, which run in blocks.
            (
                "cql",
                "plain",
                &["cql.samples=2", "cql.policy_hidden=[32, 32]", "cql.critic_hidden=[32, 32]"][..],
            ),
        ] {
            let mut learning = Learning::new(agent(algo, adapt, dims, sets), &online(1000), select);
            assert_eq!(learning.batches.tree().is_some(), adapt == "baq");
            assert_eq!(learning.program.regions().count() > 0, algo == "cql", "{algo} in blocks");
            for pool in &pools {
                let n = allocations(pool, &mut learning, 100);
                let threads = pool.current_num_threads();
                assert_eq!(n, 0, "{algo} + {adapt}, {threads} threads: allocations in 100 rounds");
            }
        }
        for (algo, adapt) in methods() {
            let dims = Dims { batch: 16, ..dims };
            let mut learning = Learning::new(agent(algo, adapt, dims, &SMALL), &online(1000), select);
            let n = allocations(&pools[0], &mut learning, 100);
            assert_eq!(n, 0, "{algo} + {adapt}: allocations in 100 small rounds");
        }
    }

    // A ledger writes from memory that it has from the beginning on; finding nothing costs nothing.
    let folder = tempfile::tempdir().expect("a folder");
    let header = Header::default();
    let select = Select::WITHOUT_METRICS;
    let small = Dims { batch: 16, ..dims };
    // The latter writes the updates of a model beside the rounds as well.
    for (algo, adapt, dims, sets) in [("iql", "baq", dims, &[][..]), ("sac", "off2on", small, &SMALL)] {
        let mut learning = Learning::new(agent(algo, adapt, dims, sets), &online(1000), select);
        let path = folder.path().join(adapt);
        let mut probe =
            Probes { ledger: Some(Scribe::create(&path, &header).expect("a file")), ..Probes::default() };
        assert_eq!(probe.phase("online", &learning.trace), Flow::Continue);
        assert_eq!(learning.reprioritiser.is_some(), adapt == "off2on");
        if let Some(balance) = &learning.reprioritiser {
            assert_eq!(balance.begin(&mut probe), Flow::Continue);
        }
        for pool in &pools {
            let n = pool.install(|| {
                let mut rounds =
                    |n| (0..n).for_each(|_| assert_eq!(learning.round_with(&mut probe), Flow::Continue));
                rounds(10);
                let before = ALLOCATIONS.load(Ordering::Relaxed);
                // More than the ledger keeps in memory.
                rounds(250);
                ALLOCATIONS.load(Ordering::Relaxed) - before
            });
            let threads = pool.current_num_threads();
            assert_eq!(n, 0, "{algo} + {adapt}, {threads} threads: allocations in 250 rounds with a ledger");
        }
        assert!(std::fs::metadata(path).expect("a file").len() > 1 << 16);
    }

    // The count can fail.
    let mut learning = Learning::new(agent("bc", "plain", dims, &[]), &online(1000), Select::ALL);
    let seen = pools[0].install(|| {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        std::hint::black_box(vec![0; 256]);
        learning.round();
        ALLOCATIONS.load(Ordering::Relaxed) - before
    });
    assert!(seen >= 1, "an allocation was not counted");
}
