//! Columns that a frozen model gives to every row once, such as the distance to the behaviour policy.

use std::ops::Range;

use super::{Column, Ring};

/// Rows per call while whole ranges are annotated.
pub const BLOCK: usize = 256;

/// Fills `column` of a range of slots in blocks. `f(ring, rows, values)` reads what it needs of the
/// rows `[BLOCK]` and writes `values` `[BLOCK, len]`. Every block has exactly [`BLOCK`] rows, so that a
/// program traced for that size can serve: the last one is filled up by repeating its last row, whose
/// surplus values are dropped.
pub fn annotate(
    ring: &mut Ring,
    column: Column,
    slots: Range<usize>,
    mut f: impl FnMut(&Ring, &[u32], &mut [f32]),
) {
    assert!(slots.end <= ring.len(), "rows {slots:?} of a ring with {}", ring.len());
    let mut rows = [0u32; BLOCK];
    let mut values = vec![0.0; BLOCK * column.len];
    for first in slots.clone().step_by(BLOCK) {
        let n = BLOCK.min(slots.end - first);
        for (k, row) in rows.iter_mut().enumerate() {
            *row = (first + k.min(n - 1)) as u32;
        }
        f(ring, &rows, &mut values);
        ring.write_column(column, first..first + n, &values[..n * column.len]);
    }
}

/// Refreshes `column` of the given rows, a new online row or a batch: one call of `f` with exactly
/// these rows and `values` `[B, len]`, which the caller provides so that nothing is allocated and who
/// then holds the new values.
pub fn refresh(
    ring: &mut Ring,
    column: Column,
    rows: &[u32],
    values: &mut [f32],
    mut f: impl FnMut(&Ring, &[u32], &mut [f32]),
) {
    f(ring, rows, values);
    ring.scatter(rows, column, values);
}

/// Writes the discounted return to go of one finished online episode: its rows are the last `steps`
/// pushed. G_t = r_t + discount · m_t · G_{t+1}, 0 after the last row; an episode whose rewards all are `failing` has
/// failing / (1 - discount) in every row. Sums in f64. Rows of the episode that the ring
/// has already overwritten are skipped; panics if fewer rows were ever pushed.
pub fn return_to_go(ring: &mut Ring, steps: usize, discount: f64, failing: Option<f32>) {
    let (r, m) = (ring.column(super::R), ring.column(super::M));
    let target = ring.column(super::RETURN_TO_GO);
    assert!(steps as u64 <= ring.state().pushed, "invariant: an episode is pushed before its returns");
    let capacity = ring.capacity();
    let (steps, next) = (steps.min(capacity), ring.next_slot());
    let slot = |back: usize| (next + 2 * capacity - back) % capacity;
    let failed = failing.filter(|f| (1..=steps).all(|k| ring.get(slot(k), r)[0] == *f));
    let mut g = 0.0;
    for slot in (1..=steps).map(slot) {
        g = match failed {
            Some(reward) => f64::from(reward) / (1.0 - discount),
            None => f64::from(ring.get(slot, r)[0]) + discount * f64::from(ring.get(slot, m)[0]) * g,
        };
        ring.set(slot, target, &[g as f32]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{A, D2, Layout, M, R, RETURN_TO_GO, S};
    use super::*;

    fn ring(capacity: usize, rows: usize) -> Ring {
        let layout = Layout::new(&[(S, 2), (A, 1), (D2, 1)]);
        let mut ring = Ring::new(layout, capacity);
        let s: Vec<f32> = (0..2 * rows).map(|i| i as f32).collect();
        let a: Vec<f32> = (0..rows).map(|i| 0.5 * i as f32).collect();
        ring.load(rows, &[(S, &s), (A, &a)]).unwrap();
        ring
    }

    fn distance(ring: &Ring, rows: &[u32], values: &mut [f32]) {
        for (v, &row) in values.iter_mut().zip(rows) {
            let row = row as usize;
            *v = ring.get(row, ring.column(S))[1] - ring.get(row, ring.column(A))[0];
        }
    }

    #[test]
    fn blocks_of_a_fixed_size() {
        for rows in [1, 255, 256, 257, 700] {
            let mut ring = ring(rows + 3, rows);
            let d2 = ring.column(D2);
            let mut calls = 0;
            annotate(&mut ring, d2, 0..rows, |ring, rows, values| {
                assert_eq!((rows.len(), values.len()), (BLOCK, BLOCK));
                calls += 1;
                distance(ring, rows, values);
            });
            assert_eq!(calls, rows.div_ceil(BLOCK));
            for row in 0..rows {
                assert_eq!(ring.get(row, d2), [1.5 * row as f32 + 1.0]);
            }
        }
        let mut ring = ring(5, 5);
        let d2 = ring.column(D2);
        annotate(&mut ring, d2, 2..2, |_, _, _| panic!("no rows, no call"));
    }

    #[test]
    fn single_rows() {
        let mut ring = ring(8, 5);
        let d2 = ring.column(D2);
        let slot = ring.push(&[1.0, 2.0, 0.5, 0.0]) as u32;
        let mut value = [0.0];
        refresh(&mut ring, d2, &[slot], &mut value, distance);
        assert_eq!((value, ring.get(5, d2)), ([1.5], &[1.5][..]));
        assert_eq!(ring.get(4, d2), [0.0]);
    }

    #[test]
    fn returns_of_the_last_episode() {
        let layout = Layout::new(&[(R, 1), (M, 1), (RETURN_TO_GO, 1)]);
        let mut ring = Ring::new(layout, 4);
        for (r, m) in [(5.0, 1.0), (1.0, 1.0), (2.0, 1.0), (4.0, 0.0)] {
            ring.push(&[r, m, -1.0]);
        }
        let g = ring.column(RETURN_TO_GO);
        let all = |ring: &Ring| -> Vec<f32> { (0..4).map(|i| ring.get(i, g)[0]).collect() };
        return_to_go(&mut ring, 3, 0.5, Some(4.0)); // not all rewards are the failing one
        assert_eq!(all(&ring), [-1.0, 3.0, 4.0, 4.0]);
        // truncated episodes that wrap around
        ring.push(&[1.0, 1.0, -1.0]);
        ring.push(&[1.0, 1.0, -1.0]);
        return_to_go(&mut ring, 2, 0.5, None);
        assert_eq!(all(&ring), [1.5, 1.0, 4.0, 4.0]);
        return_to_go(&mut ring, 2, 0.5, Some(1.0));
        assert_eq!(all(&ring), [2.0, 2.0, 4.0, 4.0]);
        ring.push(&[-1.0, 1.0, 0.0]);
        ring.push(&[-1.0, 1.0, 0.0]);
        ring.push(&[-1.0, 0.0, 0.0]);
        return_to_go(&mut ring, 3, 0.75, Some(-1.0));
        assert_eq!(all(&ring), [-4.0, 2.0, -4.0, -4.0]);
    }
}
