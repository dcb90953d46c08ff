//! Training loops.

pub mod metrics;
pub mod rundir;
