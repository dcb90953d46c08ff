//! Transitions in memory, in named pools: what the data file holds, what was collected, what a model made up.
//!
//! Every pool is a ring of its own: a capacity, and once that is reached the oldest row gives way. They share one
//! [`Layout`] and one flat array, one after another, so that a batch may come from several of them in one gather and
//! one tree of priorities spans all. A *row* is a place in that array: the slot in its pool, behind the capacities of
//! the pools before. Drawing is bounded by what is in the pools, never by what fits.
//!
//! Generated rows lie behind all others and stand apart: what concerns all rows, as a uniform draw or a tree, means the
//! recorded and collected ones.
//!
//! Above 400 lines because the tests stand beside the code.

use std::ops::Range;

use baq_kernels::Buffer;
use baq_kernels::gather::{Part, gather};

use super::{Column, Error, Layout, SumTree};

/// Name of the pool of the data file's rows.
pub const OFFLINE: &str = "offline";
/// Name of the pool of collected rows.
pub const ONLINE: &str = "online";
/// Names of the pools of generated rows: those like the data's, and those like collected ones.
pub const GENERATED: [&str; 2] = ["generated_offline", "generated_online"];

/// One pool: a ring of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    name: &'static str,
    start: usize,
    capacity: usize,
    /// rows ever put into it
    pushed: u64,
}

impl Pool {
    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Rows in it.
    pub fn len(&self) -> usize {
        self.pushed.min(self.capacity as u64) as usize
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.pushed == 0
    }

    /// Rows that fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Rows ever put into it.
    pub fn pushed(&self) -> u64 {
        self.pushed
    }

    /// Its rows.
    pub fn rows(&self) -> Range<usize> {
        self.start..self.start + self.len()
    }

    /// The rows that were put into it after the first `pushed` ones.
    pub fn rows_since(&self, pushed: u64) -> impl Iterator<Item = usize> {
        let first = pushed.max(self.pushed.saturating_sub(self.capacity as u64));
        (first..self.pushed).map(|k| self.start + (k % self.capacity as u64) as usize)
    }

    /// The row `back` pushes ago, 1 being the last one.
    pub(super) fn row_back(&self, back: usize) -> usize {
        let slot = (self.pushed - back as u64) % self.capacity as u64;
        self.start + slot as usize
    }

    /// Of [`Pool::len`] things in the order of slots, where the oldest stands.
    fn oldest(&self) -> usize {
        if self.pushed > self.capacity as u64 { (self.pushed % self.capacity as u64) as usize } else { 0 }
    }
}

/// All pools of a run.
#[derive(Debug)]
pub struct Pools {
    layout: Layout,
    /// `[Σ capacities, stride]`, aligned so that padded records do not straddle lines, on huge pages if large
    records: Buffer,
    pools: Vec<Pool>,
    /// how many of the pools are not generated
    real: usize,
}

impl Pools {
    /// Empty pools (name, rows that fit), whose memory is taken at once; those of generated rows are the last. Panics on a
    /// repeated name, and if all capacities together are 0 or beyond 2^32 rows.
    pub fn new(layout: Layout, pools: &[(&'static str, usize)]) -> Pools {
        Pools::laid(layout, pools, Buffer::new)
    }

    /// The same in memory that already holds the records of the first pool, which is full.
    pub fn holding(layout: Layout, pools: &[(&'static str, usize)], records: Buffer) -> Pools {
        let mut all = Pools::laid(layout, pools, |len| {
            assert_eq!(records.len(), len, "invariant: memory of all records");
            records
        });
        all.pools[0].pushed = all.pools[0].capacity as u64;
        all
    }

    fn laid(layout: Layout, pools: &[(&'static str, usize)], memory: impl FnOnce(usize) -> Buffer) -> Pools {
        let mut made: Vec<Pool> = Vec::with_capacity(pools.len());
        let mut start = 0;
        for &(name, capacity) in pools {
            assert!(made.iter().all(|p| p.name != name), "pool {name} appears twice");
            made.push(Pool { name, start, capacity, pushed: 0 });
            start += capacity;
        }
        assert!(
            start > 0 && u32::try_from(start).is_ok(),
            "capacity of the replay must be in 1..2^32, got {start}"
        );
        let records = memory(start * layout.stride());
        let real = made.iter().position(|p| GENERATED.contains(&p.name)).unwrap_or(made.len());
        Pools { layout, records, pools: made, real }
    }

    /// The pool of this name; panics if there is none.
    pub fn pool(&self, name: &str) -> &Pool {
        self.find(name).unwrap_or_else(|| panic!("invariant: there is no pool {name}"))
    }

    /// The pool of this name, if there is one.
    pub fn find(&self, name: &str) -> Option<&Pool> {
        self.pools.iter().find(|p| p.name == name)
    }

    fn pool_mut(&mut self, name: &str) -> &mut Pool {
        self.pools.iter_mut().find(|p| p.name == name).expect("invariant: the pool is there")
    }

    /// All pools but generated ones, in the order of their rows.
    pub fn iter(&self) -> impl Iterator<Item = &Pool> {
        self.pools[..self.real].iter()
    }

    /// The pools of generated rows.
    pub fn generated(&self) -> impl Iterator<Item = &Pool> {
        self.pools[self.real..].iter()
    }

    /// The pool that a row belongs to.
    pub fn pool_of(&self, row: usize) -> &Pool {
        let found = self.pools.iter().find(|p| p.rows().contains(&row));
        found.unwrap_or_else(|| panic!("row {row} is in no pool"))
    }

    /// Whether a row was collected, or generated like those.
    pub fn is_online(&self, row: usize) -> bool {
        [ONLINE, GENERATED[1]].contains(&self.pool_of(row).name)
    }

    /// Rows in all pools, the bound of a draw from all.
    pub fn len(&self) -> usize {
        self.iter().map(Pool::len).sum()
    }

    /// Whether there is no row at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows that fit into all pools, the size of a tree over them.
    pub fn capacity(&self) -> usize {
        self.iter().map(|p| p.capacity).sum()
    }

    /// The k-th row of all, k < [`Pools::len`].
    #[inline]
    pub fn nth(&self, mut k: usize) -> usize {
        for pool in self.iter() {
            if k < pool.len() {
                return pool.start + k;
            }
            k -= pool.len();
        }
        panic!("row number {k} beyond the last one")
    }

    /// The shape of a record.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The column of this name; panics if there is none.
    pub fn column(&self, name: &str) -> Column {
        self.layout.column(name)
    }

    /// Fills an empty pool: each column by name with `[rows, len]` values; columns that are not given stay 0. Panics if
    /// the pool has rows, or a column is unknown or of another length.
    ///
    /// # Errors
    /// [`Error::Capacity`] if the rows do not fit.
    pub fn load(&mut self, pool: &str, rows: usize, columns: &[(&str, &[f32])]) -> Result<(), Error> {
        let to = self.pool_mut(pool);
        assert!(to.is_empty(), "invariant: rows are loaded into an empty pool");
        if rows > to.capacity {
            return Err(Error::Capacity { capacity: to.capacity, rows });
        }
        to.pushed = rows as u64;
        let range = to.rows();
        for &(name, values) in columns {
            let column = self.layout.column(name);
            self.write_column(column, range.clone(), values);
        }
        Ok(())
    }

    /// The row that the next push into a pool writes.
    fn next_row(&self, pool: &str) -> usize {
        let pool = self.pool(pool);
        pool.start + (pool.pushed % pool.capacity as u64) as usize
    }

    /// Puts one record `[width]` into a pool, and returns its row. O(1).
    pub fn push(&mut self, pool: &str, record: &[f32]) -> usize {
        assert_eq!(record.len(), self.layout.width(), "floats of a record");
        let row = self.next_row(pool);
        let start = row * self.layout.stride();
        self.records[start..start + record.len()].copy_from_slice(record);
        self.pool_mut(pool).pushed += 1;
        row
    }

    /// The same for a row that gets this mass in the tree first, so that neither a stale mass nor a row without mass is
    /// ever exposed.
    pub fn push_with_priority(
        &mut self,
        pool: &str,
        record: &[f32],
        tree: &mut SumTree,
        priority: f64,
    ) -> usize {
        tree.set(self.next_row(pool), priority);
        self.push(pool, record)
    }

    /// The rows of the last `n` pushes into a pool that are still there, the newest first.
    pub fn newest(&self, pool: &str, n: usize) -> impl Iterator<Item = usize> + use<> {
        let pool = self.pool(pool).clone();
        (1..=n.min(pool.len())).map(move |back| pool.row_back(back))
    }

    fn check(&self, rows: Range<usize>) {
        let held = rows.is_empty()
            || self.pools.iter().any(|p| p.rows().start <= rows.start && rows.end <= p.rows().end);
        assert!(held, "rows {rows:?} are in no pool");
    }

    /// The used floats of one record, `[width]`.
    #[inline]
    pub fn record(&self, row: usize) -> &[f32] {
        self.check(row..row + 1);
        &self.records[row * self.layout.stride()..][..self.layout.width()]
    }

    /// One column of one row, `[len]`.
    #[inline]
    pub fn get(&self, row: usize, column: Column) -> &[f32] {
        &self.record(row)[column.offset..][..column.len]
    }

    /// Writes one column of one row, `[len]`.
    pub fn set(&mut self, row: usize, column: Column, values: &[f32]) {
        self.check(row..row + 1);
        let start = row * self.layout.stride() + column.offset;
        self.records[start..start + column.len].copy_from_slice(values);
    }

    /// One column of a range of rows of one pool, `[rows, len]`.
    pub fn read_column(&self, column: Column, rows: Range<usize>) -> Vec<f32> {
        self.check(rows.clone());
        rows.flat_map(|row| self.get(row, column)).copied().collect()
    }

    /// Writes one column of a range of rows of one pool from `[rows, len]` values.
    pub fn write_column(&mut self, column: Column, rows: Range<usize>, values: &[f32]) {
        self.check(rows.clone());
        assert_eq!(values.len(), rows.len() * column.len, "floats of a column");
        if column.len == 0 {
            return;
        }
        for (row, x) in rows.zip(values.chunks_exact(column.len)) {
            self.set(row, column, x);
        }
    }

    /// Writes one column of the given rows, `[B, len]`; of a repeated row the last value stays.
    pub fn scatter(&mut self, rows: &[u32], column: Column, values: &[f32]) {
        assert_eq!(values.len(), rows.len() * column.len, "floats of a column");
        for (k, &row) in rows.iter().enumerate() {
            self.set(row as usize, column, &values[k * column.len..][..column.len]);
        }
    }

    /// Copies columns of the given rows into dense arrays, asking for rows ahead.
    pub fn gather(&self, rows: &[u32], parts: &mut [Part]) {
        let stride = self.layout.stride();
        // Pools fill from their beginnings; no row lies behind what the last one holds.
        let end = self.pools.iter().map(|p| p.rows().end).max().unwrap_or(0);
        gather(&self.records[..end * stride], stride, rows, parts);
    }

    /// The memory of all records.
    pub fn into_memory(self) -> Buffer {
        self.records
    }

    /// The records of a pool in the order of rows, `[len, width]`.
    pub fn records(&self, pool: &str) -> Vec<f32> {
        self.pool(pool).rows().flat_map(|row| self.record(row)).copied().collect()
    }

    /// Puts saved records, in the order of rows, back into an empty pool into which `pushed` were ever put.
    ///
    /// # Errors
    /// [`Error::State`] if the number of floats differs; the pool then is unchanged.
    pub fn restore(&mut self, pool: &str, pushed: u64, records: &[f32]) -> Result<(), Error> {
        let (width, stride) = (self.layout.width(), self.layout.stride());
        let to = self.pool(pool);
        assert!(to.is_empty(), "invariant: rows are restored into an empty pool");
        let expected = pushed.min(to.capacity as u64) * width as u64;
        if expected != records.len() as u64 {
            return Err(Error::State {
                what: "floats of collected rows",
                expected,
                got: records.len() as u64,
            });
        }
        let first = to.start * stride;
        for (to, record) in self.records[first..].chunks_mut(stride).zip(records.chunks_exact(width)) {
            to[..width].copy_from_slice(record);
        }
        self.pool_mut(pool).pushed = pushed;
        Ok(())
    }
}

/// Records `[n, width]` of a ring of this capacity into which `pushed` were ever put, from the order of slots to that of
/// time.
pub fn by_age(records: &[f32], width: usize, capacity: usize, pushed: u64) -> Vec<f32> {
    let oldest = Pool { name: ONLINE, start: 0, capacity: capacity.max(1), pushed }.oldest();
    let cut = (oldest * width).min(records.len());
    [&records[cut..], &records[..cut]].concat()
}

#[cfg(test)]
mod tests {
    use super::super::{D2, R, S};
    use super::*;
    use proptest::prelude::*;

    fn layout() -> Layout {
        Layout::new(&[(S, 3), (R, 1), (D2, 1)])
    }

    fn record(tag: f32) -> [f32; 5] {
        [tag, tag + 0.25, tag + 0.5, -tag, 0.0]
    }

    /// `offline` rows in a pool that they fill, and an empty one of this capacity.
    fn loaded(offline: usize, capacity: usize) -> Pools {
        let mut pools = Pools::new(layout(), &[(OFFLINE, offline), (ONLINE, capacity)]);
        let s: Vec<f32> = (0..offline).flat_map(|i| record(i as f32)[..3].to_vec()).collect();
        let r: Vec<f32> = (0..offline).map(|i| -(i as f32)).collect();
        pools.load(OFFLINE, offline, &[(S, &s), (R, &r)]).unwrap();
        pools
    }

    #[test]
    fn each_pool_is_a_ring_of_its_own() {
        let mut pools = loaded(4, 2);
        assert_eq!((pools.len(), pools.next_row(ONLINE)), (4, 4));
        for tag in 100..103 {
            pools.push(ONLINE, &record(tag as f32));
        }
        // 0 1 2 3 | 102 101
        assert_eq!((pools.len(), pools.capacity()), (6, 6));
        assert_eq!(pools.pool(OFFLINE).rows(), 0..4);
        assert_eq!(pools.pool(ONLINE).rows(), 4..6);
        assert_eq!(pools.next_row(ONLINE), 5);
        let tags =
            |pools: &Pools| -> Vec<f32> { (0..pools.len()).map(|k| pools.record(pools.nth(k))[0]).collect() };
        assert_eq!(tags(&pools), [0.0, 1.0, 2.0, 3.0, 102.0, 101.0]);
        assert_eq!(pools.newest(ONLINE, 9).collect::<Vec<_>>(), [4, 5]);
        assert!(pools.is_online(5) && !pools.is_online(3));
    }

    #[test]
    fn rows_between_pools_are_in_none() {
        let mut pools = Pools::new(layout(), &[(OFFLINE, 3), ("generated", 4), (ONLINE, 2)]);
        pools.load(OFFLINE, 1, &[]).unwrap();
        pools.push(ONLINE, &record(7.0));
        assert_eq!([pools.nth(0), pools.nth(1)], [0, 7]);
        assert_eq!(pools.pool_of(7).name(), ONLINE);
        assert!(std::panic::catch_unwind(|| pools.pool_of(1)).is_err());
        assert!(std::panic::catch_unwind(|| pools.record(3)).is_err());
    }

    #[test]
    fn too_many_rows() {
        let mut pools = Pools::new(layout(), &[(OFFLINE, 2)]);
        let e = pools.load(OFFLINE, 3, &[]).unwrap_err();
        assert_eq!(e.to_string(), "replay: expected at most 2 rows, got 3; raise online.capacity");
    }

    #[test]
    fn columns() {
        let mut pools = loaded(7, 3);
        let d2 = pools.column(D2);
        pools.write_column(d2, 2..5, &[1.0, 2.0, 3.0]);
        pools.scatter(&[6, 0, 6], d2, &[9.0, 8.0, 7.0]);
        assert_eq!(pools.read_column(d2, 0..7), [8.0, 0.0, 1.0, 2.0, 3.0, 0.0, 7.0]);
        assert_eq!(pools.get(3, pools.column(S)), &record(3.0)[..3]);
        let (mut s, mut r) = ([0.0; 6], [0.0; 2]);
        let (cs, cr) = (pools.column(S), pools.column(R));
        pools.gather(
            &[6, 1],
            &mut [
                Part { offset: cs.offset, len: 3, out: &mut s },
                Part { offset: cr.offset, len: 1, out: &mut r },
            ],
        );
        assert_eq!((s[0], s[3], r), (6.0, 1.0, [-6.0, -1.0]));
    }

    #[test]
    #[should_panic(expected = "row 7 of a table of 7")]
    fn gather_is_bounded_by_the_size() {
        loaded(7, 3).gather(&[7], &mut [Part { offset: 0, len: 1, out: &mut [0.0] }]);
    }

    proptest! {
        #[test]
        fn as_naive_rings(offline in 0usize..20, capacity in 1usize..20, pushes in 0usize..70) {
            let mut pools = loaded(offline, capacity);
            let mut naive: Vec<f32> = Vec::new();
            for k in 0..pushes {
                let tag = 1000.0 + k as f32;
                let row = pools.next_row(ONLINE);
                prop_assert_eq!(pools.push(ONLINE, &record(tag)), row);
                prop_assert_eq!(row, offline + k % capacity);
                if k < capacity { naive.push(tag) } else { naive[k % capacity] = tag }
            }
            prop_assert_eq!(pools.len(), offline + naive.len());
            for (slot, &tag) in naive.iter().enumerate() {
                prop_assert_eq!(pools.record(offline + slot), &record(tag)[..]);
                prop_assert!(pools.is_online(offline + slot));
                prop_assert_eq!(pools.nth(offline + slot), offline + slot);
            }
            for slot in 0..offline {
                prop_assert_eq!(pools.record(slot), &record(slot as f32)[..]);
            }
            let newest: Vec<f32> = pools.newest(ONLINE, pushes).map(|row| pools.record(row)[0]).collect();
            let pushed = (0..pushes).rev().map(|k| 1000.0 + k as f32);
            prop_assert!(newest.iter().copied().eq(pushed.take(capacity)));
            let saved = pools.records(ONLINE);
            let aged = by_age(&saved, 5, capacity, pushes as u64);
            prop_assert!(aged.chunks_exact(5).rev().map(|r| r[0]).eq(newest));

            let mut again = loaded(offline, capacity);
            again.restore(ONLINE, pushes as u64, &saved).unwrap();
            prop_assert_eq!(again.pool(ONLINE), pools.pool(ONLINE));
            prop_assert_eq!(again.records(ONLINE), saved);
        }
    }

    #[test]
    fn a_foreign_state_is_refused() {
        let mut pools = loaded(4, 2);
        assert!(pools.restore(ONLINE, 2, &[0.0; 9]).is_err());
        assert_eq!(pools.len(), 4);
        pools.restore(ONLINE, 2, &[0.0; 10]).unwrap();
        assert_eq!(pools.len(), 6);
    }
}
