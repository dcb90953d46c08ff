//! The command line: one file per subcommand.
//!
//! | exit code | when |
//! |---|---|
//! | 0 | done; early stopping is done too |
//! | 1 | a check failed, training diverged, or a simulation became unstable |
//! | 2 | bad usage or input |
//! | 3 | interrupted by Ctrl-C, TERM, HUP, USR1 or USR2: training has saved, and says how to go on |
//! | 130 | ended at once by a second Ctrl-C; what was saved before can be resumed |
//!
//! Errors are one line on stderr. With `--json` stdout holds one JSON object and nothing else; without it the last line says what to do next
//! or gives the verdict.

#[macro_use]
mod output;

mod act;
mod audit;
mod bench;
mod collect;
mod command;
pub mod contents;
mod convert;
mod data;
mod demo;
mod env;
pub mod evaluate;
mod explain;
mod export;
mod fetch;
pub mod finetune;
mod hints;
pub mod learn;
mod named_runs;
pub mod names;
mod new_file;
mod notes;
mod options;
mod outcome;
mod probes;
mod render;
mod report;
mod rerun;
mod resume;
pub mod setup;
mod study;
mod suite;
pub mod train;
mod watch;

pub use command::main;
pub use outcome::{Common, Outcome, Verdict};
use output::say_notes;
