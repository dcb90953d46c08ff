//! Automatic differentiation: trace once, compile, replay.
//!
//! An algorithm runs once on shapes ([`Tracer`], [`Var`]) and leaves a [`Trace`]: a graph with
//! optimiser steps at fixed places. [`Program::compile`] turns the parts that a round needs into a
//! constant list of kernel calls; [`Program::run`] replays it on a [`Workspace`] in f32.
//! [`reference`](mod@reference) interprets the same graph in f64.

mod blocks;
mod call;
mod cost;
mod emit;
mod fuse;
pub mod graph;
mod isolate;
mod memory;
mod metric;
mod places;
mod plan;
pub mod print;
mod probe;
pub mod reference;
mod region;
mod replay;
pub mod schedule;
mod store;
mod table;
mod trace;
mod var;
mod vjp;

pub use baq_kernels::Digest;
pub use baq_kernels::digest::join;
pub use blocks::Blocking;
pub use cost::Cost;
pub use graph::{Axis, NoiseKind, ParamId, Shape};
pub use isolate::{Isolated, differentiable, isolate};
pub use metric::Metric;
pub use plan::{Program, Select, Update};
pub use probe::{Flow, NoProbe, OpView, Pass, Probe, RoundView, UpdateView};
pub use replay::{Clock, NOISE_STREAMS, Noise, Workspace};
pub use schedule::{Adam, Schedule};
pub use store::Store;
pub use table::{GroupId, GroupSpec, ParamSpec, ParamTable};
pub use trace::{Effect, HyperSpec, InputSpec, Item, NoiseSpec, Role, Trace, Tracer};
pub use var::Var;
