//! Looking at traces and programs: as text, in f64, by cost.

pub mod cost;
pub mod explain;
pub mod print;
pub mod reference;
