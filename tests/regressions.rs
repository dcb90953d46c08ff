//! Faults that were found, each mended with its kind; never deleted.

#[path = "regressions/switches.rs"]
mod switches;
//! Faults that were found, each with its test, by subject.

#[path = "regressions/proof.rs"]
mod proof;
