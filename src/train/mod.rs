//! Training loops.

pub mod facts;
pub mod metrics;
pub mod rundir;
mod sheet;
