//! How every room opens a file that somebody else named: regular files only, never a pipe or a device.

pub use baq_datasets::files::{open, read, read_to_string};
