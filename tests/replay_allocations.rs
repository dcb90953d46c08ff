//! Drawing, gathering, pushing and reweighting do not allocate. The allocator counts per thread, so the
//! test harness cannot disturb.

#![allow(unsafe_code, reason = "a counting global allocator")]

use std::alloc::{GlobalAlloc, Layout as MemoryLayout, System};
use std::cell::Cell;

use baq::replay::pools::{OFFLINE, ONLINE};
use baq::replay::{Draw, Layout, Part, Pools, R, RETURN_TO_GO, Recipe, S, SumTree};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn allocations() -> u64 {
    ALLOCATIONS.get()
}

// SAFETY: every call is passed on to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: MemoryLayout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, start: *mut u8, layout: MemoryLayout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_hundred_updates_allocate_nothing() {
    const B: usize = 256;
    let layout = Layout::transitions(11, 3, &[(RETURN_TO_GO, 1)]);
    let mut pools = Pools::new(layout, &[(OFFLINE, 4900), (ONLINE, 100)]);
    pools.load(OFFLINE, 4900, &[]).expect("the rows fit");
    let mut tree = SumTree::new(5000);
    tree.assign(0, &vec![1.0; 4900]);
    let (s, r) = (pools.column(S), pools.column(R));
    let (mut rows, mut weights) = (vec![0; B], vec![0.0; B]);
    let (mut s_out, mut r_out) = (vec![0.0; B * s.len], vec![0.0; B]);
    let masses = vec![1.5; B];
    let record = vec![0.5; pools.layout().width()];
    let recipes = [
        Recipe::Uniform { stratified: false },
        Recipe::Prioritised { stratified: true, online_share: None },
        Recipe::Prioritised { stratified: false, online_share: None },
        Recipe::mix(0.5, B),
        Recipe::concat(20, B),
        Recipe::Proportional,
    ];

    let before = allocations();
    drop(vec![1u8]);
    assert_eq!(allocations(), before + 1, "allocations are counted");

    let before = allocations();
    for update in 0..200 {
        pools.push_with_priority(ONLINE, &record, &mut tree, 2.0 + update as f64);
        for recipe in &recipes {
            let draw = Draw { seed: 1, stream: 1, update };
            recipe.compose(draw, &pools, Some(&tree), 0.5, &mut rows, &mut weights);
            pools.gather(
                &rows,
                &mut [
                    Part { offset: s.offset, len: s.len, out: &mut s_out },
                    Part { offset: r.offset, len: r.len, out: &mut r_out },
                ],
            );
            tree.update(&rows, &masses);
        }
    }
    assert_eq!(allocations() - before, 0);
    assert!(r_out.contains(&0.5) || s_out.contains(&0.5), "online rows are drawn");
}
