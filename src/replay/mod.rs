//! Transitions in memory: where they lie, how they are drawn, how batches are composed.
//!
//! | file | what |
//! |---|---|
//! | [`pools`] | records of all rows in one flat array, a ring for each origin |
//! | [`sum_tree`] | priorities, eight children per node, one node per cache line |
//! | [`recipe`] | which rows make a batch, and their importance weights |
//! | [`nearest`] | the row nearest to a point |
//! | [`returns`] | the returns of a finished episode |
//! | [`stats`] | mean and quantiles |
//!
//! A row is a *record*: its columns side by side, so that one draw touches two or three neighbouring
//! cache lines instead of one line per column.

pub mod nearest;
pub mod pools;
pub mod recipe;
pub mod returns;
pub mod stats;
pub mod sum_tree;

pub use baq_kernels::gather::Part;
pub use pools::{GENERATED, OFFLINE, ONLINE as ONLINE_POOL, Pools};
pub use recipe::{Draw, Recipe, Source};
pub use sum_tree::SumTree;

/// Observation, `[S]`.
pub const S: &str = "s";
/// Action that was executed, `[A]`, after clipping.
pub const A: &str = "a";
/// Reward, `[1]`, after scaling.
pub const R: &str = "r";
/// Bootstrap mask, `[1]`: 1 - terminated (a time limit does not clear it).
pub const M: &str = "m";
/// Next observation, `[S]`.
pub const S2: &str = "s2";
/// Mean over dimensions of the squared distance to the behaviour model's mode, `[1]`.
pub const D2: &str = "d2";
/// Norm of the difference between the action and the behaviour model's mode, `[1]`.
pub const DISTANCE: &str = "distance";
/// Discounted return to go of the row's own episode, `[1]`.
pub const RETURN_TO_GO: &str = "return_to_go";

/// Action recorded in the next observation, and 1; zeros where none is recorded, after the last row of an episode, `[A + 1]`.
pub const NEXT_ACTION: &str = "next_action";

/// New priority of a row, `[1]`: a result, not a column.
pub const PRIORITY: &str = "priority";
/// Importance-sampling weight of a draw, `[1]`: a column of batches, not of records.
pub const IMPORTANCE: &str = "importance";
/// Action of the row nearest to the state and the policy's action in it, `[A]`: a column of batches, not of records.
pub const NEAREST: &str = "nearest_action";
/// 1 where a row was collected online, `[1]`: a column of batches, not of records.
pub const ONLINE: &str = "online";
/// Mean of each number of a row that a generator normalises, one row: a column of batches.
pub const ROW_MEAN: &str = "row_mean";
/// Its standard deviation, plus 1e-5.
pub const ROW_STD: &str = "row_std";
/// Rows that a generator has drawn beside those of the batch: a column of batches.
pub const NEGATIVES: &str = "negatives";
/// 0 where the whole batch was drawn from recent rows, 1 otherwise, `[1]`: a column of batches, not of records.
pub const FROM_ALL: &str = "from_all";

/// Floats in a cache line of 64 bytes.
const LINE: usize = 16;

/// Place of a column inside a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Column {
    /// first float inside the record
    pub offset: usize,
    /// floats per row
    pub len: usize,
}

/// Columns of a record, in the order given, and the distance between records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    columns: Vec<(String, Column)>,
    width: usize,
    stride: usize,
}

impl Layout {
    /// Lays out the columns (name, floats per row) side by side. Records of up to 16 floats are padded
    /// to 1, 2, 4, 8 or 16, so that none straddles a cache line; longer ones to whole lines, so that
    /// each touches as few lines as possible. Panics on a repeated name or an empty record.
    pub fn new(columns: &[(&str, usize)]) -> Self {
        let mut laid: Vec<(String, Column)> = Vec::with_capacity(columns.len());
        let mut width = 0;
        for &(name, len) in columns {
            assert!(laid.iter().all(|(other, _)| other != name), "column {name} appears twice");
            laid.push((name.to_owned(), Column { offset: width, len }));
            width += len;
        }
        assert!(width > 0, "a record must hold at least one float");
        let stride = if width <= LINE { width.next_power_of_two() } else { width.next_multiple_of(LINE) };
        Self { columns: laid, width, stride }
    }

    /// The training columns s, a, r, m, s2, followed by others (name, floats per row).
    pub fn transitions(observation: usize, action: usize, annotated: &[(&str, usize)]) -> Self {
        let mut columns = vec![(S, observation), (A, action), (R, 1), (M, 1), (S2, observation)];
        columns.extend_from_slice(annotated);
        Self::new(&columns)
    }

    /// The column of this name, if there is one.
    pub fn find(&self, name: &str) -> Option<Column> {
        self.columns.iter().find(|(n, _)| n == name).map(|&(_, c)| c)
    }

    /// The column of this name; panics if there is none (a mistake of the program, not of its input).
    pub fn column(&self, name: &str) -> Column {
        self.find(name).unwrap_or_else(|| {
            let known: Vec<&str> = self.columns.iter().map(|(n, _)| n.as_str()).collect();
            panic!("invariant: replay has no column {name}, only {}", known.join(", "))
        })
    }

    /// Names and places, in record order.
    pub fn columns(&self) -> impl Iterator<Item = (&str, Column)> {
        self.columns.iter().map(|(n, c)| (n.as_str(), *c))
    }

    /// Floats of a record that are used.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Floats between the beginnings of two records.
    pub fn stride(&self) -> usize {
        self.stride
    }
}

/// What a user can get wrong about the replay.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The data does not fit.
    #[error("replay: expected at most {capacity} rows, got {rows}; raise online.capacity")]
    Capacity {
        /// rows that the pool can hold
        capacity: usize,
        /// rows of the data
        rows: usize,
    },
    /// Saved state does not fit the pool that is to receive it.
    #[error(
        "replay state: {what}: expected {expected}, got {got}; the checkpoint belongs to another configuration or data file"
    )]
    State {
        /// which quantity
        what: &'static str,
        /// what the pool implies
        expected: u64,
        /// what the state holds
        got: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides() {
        let stride = |w| Layout::new(&[("x", w)]).stride();
        assert_eq!([1, 2, 3, 5, 9, 16].map(stride), [1, 2, 4, 8, 16, 16]);
        assert_eq!([17, 28, 32, 33, 43].map(stride), [32, 32, 32, 48, 48]);
    }

    #[test]
    fn transition_columns() {
        let l = Layout::transitions(11, 3, &[(D2, 1)]);
        assert_eq!(l.column(S), Column { offset: 0, len: 11 });
        assert_eq!(l.column(M), Column { offset: 15, len: 1 });
        assert_eq!(l.column(S2), Column { offset: 16, len: 11 });
        assert_eq!(l.column(D2), Column { offset: 27, len: 1 });
        assert_eq!((l.width(), l.stride()), (28, 32));
        assert_eq!(l.find(RETURN_TO_GO), None);
        assert_eq!(l.columns().count(), 6);
    }

    #[test]
    #[should_panic(expected = "no column d2, only s, a, r, m, s2")]
    fn an_unknown_column() {
        Layout::transitions(1, 1, &[]).column(D2);
    }

    #[test]
    #[should_panic(expected = "column s appears twice")]
    fn a_repeated_column() {
        Layout::new(&[("s", 1), ("s", 2)]);
    }
}
