//! The suite: data sets that are built on this machine from recipes, to the recorded bits.
//!
//! D4RL's files cannot be redistributed here; its way of making them can be. Of each task there are four sets: rollouts of
//! a medium and of an expert policy, both together, and the replay of the training up to the medium checkpoint.

pub mod build;
pub mod catalogue;
mod join;
pub mod pick;
pub mod place;
pub mod recipe;
pub mod replay;

pub use build::{Builder, bytes, ready, trained_otherwise, unbuilt};
pub use catalogue::{Name, PREFIX, Suite};
pub use recipe::Recipe;
