//! Looking at traces and programs: as text, in f64, by cost.

pub mod cost;
pub mod explain;
mod f64_operations;
mod layer_norm;
pub mod print;
pub mod reference;
