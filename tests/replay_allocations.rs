//! Drawing, gathering, pushing and reweighting do not allocate. The allocator counts per thread, so the
//! test harness cannot disturb.

#![allow(unsafe_code, reason = "a counting global allocator")]

use std::alloc::{GlobalAlloc, Layout as MemoryLayout, System};
use std::cell::Cell;

use baq::replay::annotate::{refresh, return_to_go};
use baq::replay::{Composer, D2, Draw, Layout, Part, R, RETURN_TO_GO, Ring, S, SumTree};

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
    let mut ring = Ring::new(Layout::transitions(11, 3, &[(D2, 1), (RETURN_TO_GO, 1)]), 5000);
    ring.load(4900, &[]).expect("the rows fit");
    let mut tree = SumTree::new(5000);
    tree.assign(0, &vec![1.0; 4900]);
    let (s, r, d2) = (ring.column(S), ring.column(R), ring.column(D2));
    let (mut rows, mut weights) = (vec![0; B], vec![0.0; B]);
    let (mut s_out, mut r_out) = (vec![0.0; B * s.len], vec![0.0; B]);
    let (mut values, mut masses) = (vec![0.0; B], vec![0.0; B]);
    let record = vec![0.5; ring.layout().width()];
    let composers = [
        Composer::Uniform { stratified: false },
        Composer::Prioritised { stratified: true, online_share: None },
        Composer::Prioritised { stratified: false, online_share: None },
        Composer::Mix(0.5),
    ];

    let before = allocations();
    drop(vec![1u8]);
    assert_eq!(allocations(), before + 1, "allocations are counted");

    let before = allocations();
    for update in 0..200 {
        ring.push_with_priority(&record, &mut tree, 2.0 + update as f64);
        for composer in composers {
            let draw = Draw { seed: 1, stream: 1, update };
            composer.compose(draw, &ring, Some(&tree), 0.5, &mut rows, &mut weights);
            ring.gather(
                &rows,
                &mut [
                    Part { offset: s.offset, len: s.len, out: &mut s_out },
                    Part { offset: r.offset, len: r.len, out: &mut r_out },
                ],
            );
            refresh(&mut ring, d2, &rows, &mut values, |_, rows, values| {
                for (v, &row) in values.iter_mut().zip(rows) {
                    *v = row as f32;
                }
            });
            for (mass, v) in masses.iter_mut().zip(&values) {
                *mass = f64::from(*v) + 1.0;
            }
            tree.update(&rows, &masses);
        }
        return_to_go(&mut ring, 1, 0.99, Some(-1.0));
    }
    assert_eq!(allocations() - before, 0);
    assert!(r_out.contains(&0.5) || s_out.contains(&0.5), "online rows are drawn");
}
