//! Automatic differentiation: trace once, compile, execute.
//!
//! An algorithm runs once on shapes ([`Tracer`], [`Var`]) and leaves a [`Trace`]: a graph with
//! optimiser steps at fixed places. [`Program::compile`] turns the parts that a round needs into a
//! constant list of kernel calls; [`Program::run`] executes it on a [`Workspace`] in f32.
//! [`reference`](mod@reference) interprets the same graph in f64.
//!
//! Four rooms, each of which uses only those before it: `trace`, `run`, `inspect`, `compile`.

mod compile;
mod inspect;
mod run;
mod trace;

pub use baq_kernels::Digest;
pub use baq_kernels::digest::join;
pub use compile::regions::Blocking;
pub use inspect::cost::Cost;
pub use inspect::{explain, print, reference};
pub use run::clock::{Clock, NOISE_STREAMS, Noise};
pub use run::probe::{Flow, NoProbe, OpView, Pass, Probe, RoundView, UpdateView};
pub use run::program::{Program, Update};
pub use run::store::Store;
pub use run::workspace::Workspace;
pub use trace::gradient::derivative;
pub use trace::graph::{Graph, Node, NodeId};
pub use trace::isolate::{Isolated, isolate};
pub use trace::leaves::{HyperSpec, InputSpec, NoiseSpec};
pub use trace::metric::Metric;
pub use trace::operation::{NoiseKind, Number, Op, Unary};
pub use trace::parameters::{GroupId, GroupSpec, ParamId, ParamSpec, ParamTable};
pub use trace::recorded::{Effect, Item, Role, Select, Trace};
pub use trace::schedule::{Adam, Schedule};
pub use trace::shape::{Axis, Shape};
pub use trace::tracer::Tracer;
pub use trace::var::{Rule, Var};
