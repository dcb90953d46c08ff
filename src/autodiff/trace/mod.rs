//! Tracing: formulas leave a graph.
//!
//! A new function of one number has its method and derivative in `unary`, and its kernel in `baq_kernels::elementwise`. Any
//! other operation has its facts in `operation`, its method in `arithmetic`, its derivative in `gradient`, its definition in
//! `inspect::f64_operations` and its kernel in `run::call`; what is fused with others, also in `compile`.

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
