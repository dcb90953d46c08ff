//! Programs and their execution.

mod call;
pub mod clock;
mod execute;
pub mod probe;
pub mod program;
mod run_region;
pub mod store;
pub mod workspace;
