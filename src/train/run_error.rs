//! What can go wrong with a run's files.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// What can go wrong with a run's files, each in one line. The command line exits with 2.
#[derive(Debug, Error)]
pub enum RunError {
    /// The directory already has something in it.
    #[error("{}: {what}; choose another --out{hint}", path.display())]
    Occupied {
        /// The directory.
        path: PathBuf,
        /// What is there.
        what: String,
        /// A second way out, or nothing.
        hint: &'static str,
    },
    /// A file that this program did not make stands where it would write.
    #[error("{}: not made by this program, so it is not replaced; choose another --out or move it away", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Another process is writing to it.
    #[error("{}: in use by {by}; wait for it or choose another --out{hint}", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The other process.
        by: String,
        /// What else there is to do, or nothing.
        hint: String,
    },
    /// There is nothing to continue.
    #[error("{}: no run to resume ({missing} is missing){hint}", path.display())]
    NoRun {
        /// The directory.
        path: PathBuf,
        /// The file that a run would have.
        missing: &'static str,
        /// What to do instead, or nothing.
        hint: &'static str,
    },
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// File or directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A file of the run is not what this program writes.
    #[error("{}, line {line}: expected {expected}, got {got}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// What was expected.
        expected: String,
        /// What was found.
        got: String,
    },
}

impl RunError {
    /// For `map_err` on operations with files.
    pub fn io<'a>(path: &'a Path, action: &'static str) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { path: path.to_path_buf(), action, source }
    }
}
