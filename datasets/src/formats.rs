//! Own data: what files are accepted, on one page.
//!
//! Everything is rows in the order in which they were recorded, in columns of N rows: D4RL's layout. The same keys make an
//! HDF5 file (`.hdf5`, `.h5`), NumPy's archive (`.npz`) or a table (`.csv`, where column K of a matrix is called `KEY_K`,
//! from `observations_0` on).
//!
//! | key | shape | type | |
//! |---|---|---|---|
//! | `observations` | (N, S) | f32 or f64 | s, what was seen |
//! | `actions` | (N, A) | f32 or f64 | a, what was done then; in [-1, 1] |
//! | `rewards` | (N,) or (N, 1) | f32 or f64 | r, what that brought |
//! | `terminals` | (N,) or (N, 1) | bool, integer or float; each 0 or 1 | the task ended with this row: failure or success, not a time limit |
//! | `timeouts` (optional) | as `terminals` | as `terminals` | the recording was cut after this row, the task had not ended |
//! | `next_observations` (optional) | (N, S) | f32 or f64 | s', what was seen after that; without it the next row's |
//! | `infos/action_log_probs` (optional) | (N,) | f32 or f64 | log pi(a given s) of whoever acted |
//! | `metadata/algorithm` (optional) | () or (1,) | text | who acted |
//! | `metadata/action_low`, `metadata/action_high` (optional) | (A,) | f32 or f64 | what -1 and 1 stand for in actions that have been rescaled |
//!
//! In NumPy:
//!
//! ```python
#![doc = include_str!("example.py")]
//! ```
//!
//! `baq train --algo iql --data mine.npz` learns from that file. f64 is rounded to f32; other keys are left out.
//! A row with `timeouts` and the last row of a file, even where the task ended with it, are no transitions unless s' is recorded
//! and asked for (`--set data.mode=next_observations --set data.keep_timeout_transitions=true`); of a file without
//! `next_observations` and `timeouts` nobody can tell where one episode was cut and the next begins: give the length of
//! episodes with `--max-episode-steps`.
//!
//! # Observations that are dictionaries
//!
//! Instead of the matrix there may be a group (in `.npz` and `.csv` by names such as `observations/achieved_goal`), in D4RL's layout
//! as in Minari's. Its parts, of any shape, are flattened and laid side by side: `observation`, `achieved_goal`, `desired_goal`, then what
//! else there is by name, parts of a tuple by number, inner groups where their name stands. So does `--env gym:ID`.
//!
//! # OGBench
//!
//! OGBench's `.npz` files have `observations`, `actions` and `terminals`, where a 1 is the last row of a trajectory, whose action
//! leads nowhere: such rows are read as `timeouts`; with `next_observations` they stay transitions and only end the trajectory.
//! `masks` (0 where the task ended) are read as `terminals`. A file is taken for OGBench's if it has no `timeouts`, and `masks` or
//! neither `rewards` nor `next_observations`; `--layout` decides otherwise, and in D4RL's layout `masks` are left out. Rewards are not in the files as they are published,
//! OGBench computes them by the task (`relabel_dataset`); `--zero-rewards` writes 0, from which cloning learns.
//!
//! # Minari
//!
//! A folder of Minari's, whichever `data_format` its `metadata.json` says: `hdf5`, where each group is an episode; `arrow` or
//! `parquet` (since 0.5), where each folder `0`, `1`, ... holds a file that is an episode. All three give the same rows to the bit.
//! Of the last two, what pyarrow writes by default is read: Arrow uncompressed, Parquet uncompressed or with Snappy.
//!
//! # From one to another
//!
//! `baq data convert IN OUT` writes `.hdf5`, `.npz` or `.csv` by OUT's name, and back to equal bits. Actions in another unit
//! become such in [-1, 1] with `--rescale-actions`, and the bounds stand in the file. A table has no place for `metadata`: there `algorithm` is left out and rescaled actions are
//! refused. `--max-episode-steps` writes
//! `timeouts`. `--skip-bad` leaves out episodes with numbers that are not finite or columns of other lengths; otherwise the first of them
//! is an error.
//!
//! D4RL's layout knows ends of episodes by flags alone. One that the file's structure says without a flag (Minari's groups, OGBench's
//! trajectories with `next_observations`) is seen by `next_observations` from then on, and its episode counts as unfinished; where they
//! would not show it, the row becomes one with `timeouts`. The command says how many there are of either kind.

use crate::error::{Error, Result};
use std::path::Path;

/// What kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// HDF5.
    Hdf5,
    /// NumPy's archive.
    Npz,
    /// A table.
    Csv,
}

impl Format {
    /// The kind by the end of a name; `None` for any other end.
    pub fn of(path: &Path) -> Option<Format> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "hdf5" | "h5" => Some(Format::Hdf5),
            "npz" => Some(Format::Npz),
            "csv" => Some(Format::Csv),
            _ => None,
        }
    }

    /// The kind of a file that is to be written. Error: a name that says none.
    pub fn to_write(path: &Path) -> Result<Format> {
        Format::of(path).ok_or_else(|| Error::UnknownFormat { file: path.display().to_string() })
    }
}
