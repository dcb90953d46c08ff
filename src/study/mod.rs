//! Studies: which method is better, on which data, by how much, how sure.
//!
//! A [`spec`] states the question, read from a [`file`]; [`graph`] expands it to runs that share what they can; [`directory`] is where they are
//! kept and how far they are; [`local`] and [`slurm`] make what is missing. Every run is what `baq train` or `baq finetune`
//! makes of the same options, so a single cell can be looked at, verified and repeated by hand. [`results`] reads what
//! the runs have come to.

pub mod cost;
pub mod directory;
pub mod file;
pub mod graph;
pub mod local;
pub mod results;
pub mod slurm;
pub mod spec;

pub use directory::{Place, State, Study};
pub use graph::{Cell, Graph, Kind, Resolve};
pub use spec::Spec;
