//! What stands against reading a file, before file and key are named.

/// Result of the functions that follow a file's structure.
pub(super) type Found<T> = Result<T, Fault>;

/// Why a structure was not read.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// The structure contradicts itself.
    Damaged(String),
    /// The structure is whole, and of a kind that this reader does not know.
    Unsupported(String),
    /// The operating system refused.
    Io(String),
}

pub(super) fn damaged(reason: impl Into<String>) -> Fault {
    Fault::Damaged(reason.into())
}

pub(super) fn unsupported(what: impl Into<String>) -> Fault {
    Fault::Unsupported(what.into())
}
