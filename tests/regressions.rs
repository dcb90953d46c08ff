//! Faults that were found, each mended with its kind; never deleted.

mod common;

#[path = "regressions/boundaries.rs"]
mod boundaries;
#[path = "regressions/continuing.rs"]
mod continuing;
#[path = "regressions/crafted.rs"]
mod crafted;
#[path = "regressions/files.rs"]
mod files;
#[path = "regressions/options.rs"]
mod options;
#[path = "regressions/proof.rs"]
mod proof;
#[path = "regressions/recovery.rs"]
mod recovery;
#[path = "regressions/streams.rs"]
mod streams;
#[path = "regressions/switches.rs"]
mod switches;
