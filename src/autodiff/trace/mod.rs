//! Tracing: formulas leave a graph.

mod arithmetic;
pub mod gradient;
pub mod graph;
pub mod isolate;
mod layer_norm;
pub mod leaves;
pub mod metric;
pub mod operation;
pub mod parameters;
pub mod recorded;
pub mod schedule;
pub mod shape;
pub mod tracer;
mod unary;
pub mod var;
