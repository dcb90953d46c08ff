//! Offline-to-online reinforcement learning on CPUs.
//!
//! The rooms, from the bottom up; each may use only the ones before it (`tests/house.rs` checks):
//!
//! | module | what |
//! |---|---|
//! | [`baq_kernels`] | the hot arithmetic, one table of function pointers per instruction set |
//! | [`baq_datasets`] | D4RL and Minari files to columns |
//! | [`files`] | opening files that others named |
//! | [`autodiff`] | trace a computation once, compile it, execute it; an f64 interpreter of the same graph |
//! | [`mod@config`] | one declaration per option |
//! | [`nn`] | networks, policy heads, initialisation |
//! | [`algo`], [`adapt`] | base algorithms and what may modify them online |
//! | [`replay`] | transitions in memory, prioritised sampling, batch composition |
//! | [`mod@env`] | MuJoCo tasks and a toy task |
//! | [`checkpoint`] | the complete training state in one file |
//! | [`audit`] | golden traces and gradient checks |
//! | [`train`] | offline and online loops, evaluation, collection |
//! | [`export`] | policies as files for other programs |
//! | [`suite`] | data sets that are built from recipes |
//! | [`report`] | runs as pictures and one self-contained page |
//! | [`render`] | episodes as pictures |
//! | [`study`] | questions as files: paired runs, statistics, tables, figures |
//! | [`cli`] | the command line |

#![deny(missing_docs)]

pub mod adapt;
pub mod algo;
pub mod audit;
pub mod autodiff;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod env;
pub mod export;
pub mod files;
pub mod nn;
pub mod render;
pub mod replay;
pub mod report;
pub mod rng;
pub mod study;
pub mod suite;
pub mod train;
