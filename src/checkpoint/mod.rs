//! The complete training state in one file.

pub mod atomic;
pub mod container;
