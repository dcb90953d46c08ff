//! The one place where rows become the inputs of a program.

use super::error::TrainError;
use crate::autodiff::{Program, Trace, Workspace};
use crate::replay::{self, Layout, Part, Pools};

/// Columns that are not in rows: the loop knows the pool of a row, how it was drawn, what is near and what all rows are like.
const BY_LOOP: [&str; 7] = [
    replay::ONLINE,
    replay::IMPORTANCE,
    replay::FROM_ALL,
    replay::NEAREST,
    replay::ROW_MEAN,
    replay::ROW_STD,
    replay::NEGATIVES,
];
/// More columns than any record has.
const MOST_COLUMNS: usize = 16;

/// An error if a trace reads a column that is neither in rows of this layout nor filled by the loop.
pub fn check_columns(trace: &Trace, layout: &Layout) -> Result<(), TrainError> {
    let known = |name| BY_LOOP.contains(&name) || layout.find(name).is_some();
    match trace.inputs.iter().find(|input| !known(input.name)) {
        None => Ok(()),
        Some(input) => {
            let columns: Vec<&str> = layout.columns().map(|(name, _)| name).collect();
            Err(TrainError::Input(format!(
                "the losses read the column `{}`, expected one of {}; the method's column is not part of its replay",
                input.name,
                columns.join(", "),
            )))
        }
    }
}

/// Copies the columns that a program reads from rows of the pools into its inputs, except those that only a drawn batch
/// has. Panics for any other column that the pools lack, which [`check_columns`] has refused.
pub fn gather(workspace: &mut Workspace, program: &Program, pools: &Pools, rows: &[u32]) {
    // Filled from the front; the rest are empty parts, which copy nothing.
    let mut parts: [Part; MOST_COLUMNS] = std::array::from_fn(|_| Part { offset: 0, len: 0, out: &mut [] });
    let mut free = parts.iter_mut();
    for (name, out) in workspace.inputs_mut(program) {
        let Some(column) = pools.layout().find(name) else {
            assert!(
                BY_LOOP.contains(&name),
                "invariant: rows have the column `{name}`, which the losses read"
            );
            continue;
        };
        *free.next().expect("invariant: a batch has few columns") =
            Part { offset: column.offset, len: column.len, out };
    }
    pools.gather(rows, &mut parts);
}
