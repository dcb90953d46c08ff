//! Rows in one flat array: an offline prefix, then online rows, then a plain ring.
//!
//! The prefix is loaded once. Online rows are appended behind it; at capacity the write position goes
//! back to slot 0 and overwrites the oldest row there, whatever its origin. With a capacity of at
//! least (offline rows + online steps) nothing is ever lost. Sampling is bounded by the *current
//! size*, never by the write position.
//!
//! Above 400 lines because the tests stand beside the code.

use std::ops::Range;

use baq_kernels::Buffer;
use baq_kernels::gather::{Part, gather};

use super::{Column, Error, Layout, Origin, SumTree};

/// Fixed capacity, records of one [`Layout`], no overhead per row.
#[derive(Debug)]
pub struct Ring {
    layout: Layout,
    /// `[capacity, stride]`, aligned so that padded records do not straddle lines, on huge pages if large
    records: Buffer,
    capacity: usize,
    /// rows loaded from the data file, at slots 0..offline until they are overwritten
    offline: usize,
    /// online rows ever pushed
    pushed: u64,
}

/// Everything about a ring that its layout, capacity and data file do not determine, except the
/// online records themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingState {
    /// rows that the ring can hold
    pub capacity: u64,
    /// rows loaded from the data file
    pub offline: u64,
    /// online rows ever pushed
    pub pushed: u64,
}

impl RingState {
    /// The online records of such a ring, `[n, width]`, from the order of slots to that of time.
    pub fn by_age(&self, records: &[f32], width: usize) -> Vec<f32> {
        let rows = records.len().checked_div(width).unwrap_or(0);
        let filled = self.offline.saturating_add(self.pushed);
        // Once it is full, online rows in the slots before the next one to be written are newer than all others.
        let newer = if filled > self.capacity { filled.checked_rem(self.capacity).unwrap_or(0) } else { 0 };
        let newer = (newer as usize).min(rows) * width;
        [&records[newer..], &records[..newer]].concat()
    }
}

impl Ring {
    /// An empty ring for `capacity` rows, whose memory is taken at once. Panics if the capacity is 0 or beyond 2^32 rows.
    pub fn new(layout: Layout, capacity: usize) -> Self {
        assert!(
            capacity > 0 && u32::try_from(capacity).is_ok(),
            "capacity of the replay must be in 1..2^32, got {capacity}"
        );
        let records = Buffer::new(capacity * layout.stride());
        Self { layout, records, capacity, offline: 0, pushed: 0 }
    }

    /// Loads the offline prefix: each column by name with `[rows, len]` values; columns that are not
    /// given stay 0. Panics if the ring is not empty, or a column is unknown or of another length.
    ///
    /// # Errors
    /// [`Error::Capacity`] if the rows do not fit.
    pub fn load(&mut self, rows: usize, columns: &[(&str, &[f32])]) -> Result<(), Error> {
        assert!(self.is_empty(), "invariant: the offline rows are loaded into an empty ring");
        if rows > self.capacity {
            return Err(Error::Capacity { capacity: self.capacity, rows });
        }
        self.offline = rows;
        for &(name, values) in columns {
            let column = self.layout.column(name);
            self.write_column(column, 0..rows, values);
        }
        Ok(())
    }

    /// Rows in the ring, the bound of every draw.
    pub fn len(&self) -> usize {
        let filled = self.offline as u64 + self.pushed;
        filled.min(self.capacity as u64) as usize
    }

    /// Whether there is no row at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows that fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The shape of a record.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The column of this name; panics if there is none.
    pub fn column(&self, name: &str) -> Column {
        self.layout.column(name)
    }

    /// Slot that the next push writes.
    pub fn next_slot(&self) -> usize {
        ((self.offline as u64 + self.pushed) % self.capacity as u64) as usize
    }

    /// Appends one online row, `[width]`, and returns its slot. O(1).
    pub fn push(&mut self, record: &[f32]) -> usize {
        assert_eq!(record.len(), self.layout.width(), "floats of a record");
        let slot = self.next_slot();
        let start = slot * self.layout.stride();
        self.records[start..start + record.len()].copy_from_slice(record);
        self.pushed += 1;
        slot
    }

    /// Appends one online row whose slot gets this mass in the tree first, so that neither a stale
    /// mass nor a row without mass is ever exposed. Returns the slot.
    pub fn push_with_priority(&mut self, record: &[f32], tree: &mut SumTree, priority: f64) -> usize {
        tree.set(self.next_slot(), priority);
        self.push(record)
    }

    /// Slots of offline rows: what is left of the prefix.
    pub fn offline_rows(&self) -> Range<usize> {
        self.overwritten().min(self.offline)..self.offline
    }

    /// How many online rows there are.
    pub fn online_len(&self) -> usize {
        self.pushed.min(self.capacity as u64) as usize
    }

    /// Slot of the k-th online row in order of slots, k < [`Ring::online_len`].
    #[inline]
    pub fn online_slot(&self, k: usize) -> usize {
        let head = self.overwritten().min(self.offline);
        if k < head { k } else { k - head + self.offline }
    }

    /// Where the row in this slot came from.
    pub fn origin(&self, slot: usize) -> Origin {
        assert!(slot < self.len(), "row {slot} of a ring with {}", self.len());
        if self.offline_rows().contains(&slot) { Origin::Offline } else { Origin::Online }
    }

    /// Slots written again since they were first filled, counted from slot 0, at most all.
    fn overwritten(&self) -> usize {
        let room = (self.capacity - self.offline) as u64;
        self.pushed.saturating_sub(room).min(self.capacity as u64) as usize
    }

    /// The used floats of one record, `[width]`.
    #[inline]
    pub fn record(&self, slot: usize) -> &[f32] {
        assert!(slot < self.len(), "row {slot} of a ring with {}", self.len());
        &self.records[slot * self.layout.stride()..][..self.layout.width()]
    }

    /// One column of one row, `[len]`.
    #[inline]
    pub fn get(&self, slot: usize, column: Column) -> &[f32] {
        &self.record(slot)[column.offset..][..column.len]
    }

    /// Writes one column of one row, `[len]`.
    pub fn set(&mut self, slot: usize, column: Column, values: &[f32]) {
        assert!(slot < self.len(), "row {slot} of a ring with {}", self.len());
        let start = slot * self.layout.stride() + column.offset;
        self.records[start..start + column.len].copy_from_slice(values);
    }

    /// Copies one column of a range of slots to `out`, `[rows, len]`.
    pub fn read_column(&self, column: Column, slots: Range<usize>, out: &mut [f32]) {
        assert!(slots.end <= self.len(), "rows {slots:?} of a ring with {}", self.len());
        assert_eq!(out.len(), slots.len() * column.len, "floats of a column");
        if column.len == 0 {
            return;
        }
        for (slot, y) in slots.zip(out.chunks_exact_mut(column.len)) {
            y.copy_from_slice(self.get(slot, column));
        }
    }

    /// Writes one column of a range of slots from `[rows, len]` values.
    pub fn write_column(&mut self, column: Column, slots: Range<usize>, values: &[f32]) {
        assert!(slots.end <= self.len(), "rows {slots:?} of a ring with {}", self.len());
        assert_eq!(values.len(), slots.len() * column.len, "floats of a column");
        if column.len == 0 {
            return;
        }
        for (slot, x) in slots.zip(values.chunks_exact(column.len)) {
            self.set(slot, column, x);
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
        gather(&self.records[..self.len() * stride], stride, rows, parts);
    }

    /// What a checkpoint must hold besides [`Ring::online_records`].
    pub fn state(&self) -> RingState {
        RingState { capacity: self.capacity as u64, offline: self.offline as u64, pushed: self.pushed }
    }

    /// The records of all online rows in order of slots, `[online_len, width]`.
    pub fn online_records(&self) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.online_len() * self.layout.width());
        for k in 0..self.online_len() {
            out.extend_from_slice(self.record(self.online_slot(k)));
        }
        out
    }

    /// Puts saved online rows back into a ring whose offline prefix has just been loaded from the same
    /// data file. Annotated columns of offline rows are the caller's to restore.
    ///
    /// # Errors
    /// [`Error::State`] if capacity, offline rows or the number of floats differ; the ring is then unchanged.
    pub fn restore(&mut self, state: RingState, online_records: &[f32]) -> Result<(), Error> {
        assert_eq!(self.pushed, 0, "invariant: online rows are restored into a ring without any");
        let differ = |what, expected: u64, got: u64| {
            if expected == got { Ok(()) } else { Err(Error::State { what, expected, got }) }
        };
        differ("capacity", self.capacity as u64, state.capacity)?;
        differ("offline rows", self.offline as u64, state.offline)?;
        let width = self.layout.width();
        let rows = state.pushed.min(state.capacity);
        differ("floats of online rows", rows * width as u64, online_records.len() as u64)?;
        self.pushed = state.pushed;
        for (k, record) in online_records.chunks_exact(width).enumerate() {
            let start = self.online_slot(k) * self.layout.stride();
            self.records[start..start + width].copy_from_slice(record);
        }
        Ok(())
    }
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

    fn loaded(capacity: usize, rows: usize) -> Ring {
        let mut ring = Ring::new(layout(), capacity);
        let s: Vec<f32> = (0..rows).flat_map(|i| record(i as f32)[..3].to_vec()).collect();
        let r: Vec<f32> = (0..rows).map(|i| -(i as f32)).collect();
        ring.load(rows, &[(S, &s), (R, &r)]).unwrap();
        ring
    }

    #[test]
    fn prefix_then_online_then_wrap() {
        let mut ring = loaded(6, 4);
        assert_eq!((ring.len(), ring.next_slot()), (4, 4));
        assert_eq!(ring.offline_rows(), 0..4);
        for tag in 100..105 {
            ring.push(&record(tag as f32));
        }
        // slots: 102 103 104 | 3 | 100 101
        assert_eq!(ring.len(), 6);
        assert_eq!(ring.next_slot(), 3);
        assert_eq!(ring.offline_rows(), 3..4);
        assert_eq!(ring.origin(2), Origin::Online);
        assert_eq!(ring.origin(3), Origin::Offline);
        let tags: Vec<f32> = (0..5).map(|k| ring.record(ring.online_slot(k))[0]).collect();
        assert_eq!(tags, [102.0, 103.0, 104.0, 100.0, 101.0]);
        ring.push(&record(105.0));
        assert_eq!((ring.offline_rows().len(), ring.online_len()), (0, 6));
        ring.push(&record(106.0));
        assert_eq!(ring.online_slot(4), 4);
        assert_eq!(ring.record(4)[0], 106.0);
    }

    #[test]
    fn too_many_offline_rows() {
        let mut ring = Ring::new(layout(), 2);
        let e = ring.load(3, &[]).unwrap_err();
        assert_eq!(
            e.to_string(),
            "replay.capacity = 2 is smaller than the 3 offline rows: set it to at least 3 plus the number of online steps"
        );
    }

    #[test]
    fn columns() {
        let mut ring = loaded(10, 7);
        let d2 = ring.column(D2);
        ring.write_column(d2, 2..5, &[1.0, 2.0, 3.0]);
        ring.scatter(&[6, 0, 6], d2, &[9.0, 8.0, 7.0]);
        let mut out = [0.0; 7];
        ring.read_column(d2, 0..7, &mut out);
        assert_eq!(out, [8.0, 0.0, 1.0, 2.0, 3.0, 0.0, 7.0]);
        assert_eq!(ring.get(3, ring.column(S)), &record(3.0)[..3]);
        let (mut s, mut r) = ([0.0; 6], [0.0; 2]);
        let (cs, cr) = (ring.column(S), ring.column(R));
        ring.gather(
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
        let ring = loaded(10, 7);
        ring.gather(&[7], &mut [Part { offset: 0, len: 1, out: &mut [0.0] }]);
    }

    proptest! {
        #[test]
        fn as_a_naive_ring(capacity in 1usize..20, share in 0.0f64..=1.0, pushes in 0usize..70) {
            let offline = (share * capacity as f64) as usize;
            let mut ring = loaded(capacity, offline);
            let mut naive: Vec<(f32, Origin)> =
                (0..offline).map(|i| (i as f32, Origin::Offline)).collect();
            for k in 0..pushes {
                let tag = 1000.0 + k as f32;
                let slot = ring.next_slot();
                prop_assert_eq!(ring.push(&record(tag)), slot);
                if naive.len() < capacity {
                    prop_assert_eq!(slot, naive.len());
                    naive.push((tag, Origin::Online));
                } else {
                    prop_assert_eq!(slot, (offline + k) % capacity);
                    naive[slot] = (tag, Origin::Online);
                }
            }
            prop_assert_eq!(ring.len(), naive.len());
            let mut online = vec![];
            for (slot, &(tag, origin)) in naive.iter().enumerate() {
                prop_assert_eq!(ring.record(slot), &record(tag)[..]);
                prop_assert_eq!(ring.origin(slot), origin);
                if origin == Origin::Online { online.push(slot) }
            }
            prop_assert_eq!(ring.online_len(), online.len());
            for (k, &slot) in online.iter().enumerate() {
                prop_assert_eq!(ring.online_slot(k), slot);
            }

            let by_age = ring.state().by_age(&ring.online_records(), 5);
            let newest = by_age.chunks_exact(5).rev().map(|r| r[0]);
            let pushed = (0..pushes).rev().map(|k| 1000.0 + k as f32);
            prop_assert!(newest.eq(pushed.take(capacity)));

            let mut again = loaded(capacity, offline);
            again.restore(ring.state(), &ring.online_records()).unwrap();
            prop_assert_eq!(again.state(), ring.state());
            for slot in 0..ring.len() {
                prop_assert_eq!(again.record(slot), ring.record(slot));
            }
        }
    }

    #[test]
    fn foreign_state_is_refused() {
        let mut ring = loaded(6, 4);
        let state = RingState { capacity: 6, offline: 4, pushed: 2 };
        let e = ring.restore(RingState { capacity: 7, ..state }, &[0.0; 10]).unwrap_err();
        assert_eq!(e, Error::State { what: "capacity", expected: 6, got: 7 });
        assert!(ring.restore(RingState { offline: 3, ..state }, &[0.0; 10]).is_err());
        assert!(ring.restore(state, &[0.0; 9]).is_err());
        assert_eq!(ring.len(), 4);
        ring.restore(state, &[0.0; 10]).unwrap();
        assert_eq!(ring.len(), 6);
    }
}
