//! Studies: which method is better, on which data, by how much, how sure.
//!
//! A [`spec`] states the question, read from a [`mod@file`]; [`graph`] expands it to runs that share what they can; [`directory`] is where they are
//! kept and how far they are; [`local`] and [`slurm`] make what is missing. Every run is what `baq train` or `baq finetune`
//! makes of the same options, so a single cell can be looked at, verified and repeated by hand.
//!
//! [`results`] reads what the runs have come to, [`metric`] judges each by one number, [`answers`] compares methods by them with
//! [`statistics`], beside what papers report ([`published`]). [`table`] and [`figures`] show the answers, [`actions`] what policies
//! do in the states of the data.

pub mod actions;
pub mod answers;
pub mod cost;
pub mod curve;
pub mod directory;
pub mod figures;
pub mod file;
pub mod graph;
mod hours;
pub mod local;
pub mod memory;
pub mod metric;
mod notes;
mod options;
pub mod paper;
pub mod pictures;
pub mod published;
pub mod results;
pub mod sheet;
pub mod signals;
pub mod slurm;
pub mod source;
pub mod spec;
pub mod statistics;
pub mod table;
pub mod values;

pub use directory::{Place, State, Study};
pub use graph::{Cell, Graph, Kind, Resolve};
pub use spec::Spec;

#[cfg(test)]
mod tests;
