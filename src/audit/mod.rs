//! Every gradient step can be checked, replayed and proved.
//!
//! # The promise
//!
//! On one instruction set a run is a function of its configuration and its data: **equal bits for any number of
//! threads, and across kill and resume**, offline and in an environment. `baq audit verify RUN` puts it to the test on any
//! run that was trained with `--ledger`: it computes the run again, in another process, with as many threads as one likes,
//! and compares every record, checkpoint, metric and evaluation with what was written down. What its "verified" covers and
//! what it cannot know stands in `cli::audit::verify`.
//!
//! Across instruction sets bits differ, since sums are added in other orders. What holds is a tolerance: from the same state,
//! batch and noise, every gradient is within [`f32_check::TOLERANCE_F32`] of the one in f64, in norm, on each of them, and so
//! within twice that of each other; where a unit of a ReLU layer is at 0 to within rounding, within it of the one in f64
//! at parameters moved by rounding, see [`f32_check`]. The tests check it for every method on every instruction set of the
//! machine. Over many updates such differences grow, as they do from one seed to the next. A ledger therefore names its
//! instruction set, `verify` asks for it, and `diff` of two such runs names the first operation in which they part (or the
//! first result of a region, see below), the distance of their gradients there, and that of their parameters at the end.
//!
//! # What there is to look at
//!
//! | question | command |
//! |---|---|
//! | Is this run what its directory says? | `baq audit verify RUN [--from K --to L]` |
//! | Where do two runs part? | `baq audit diff A B` |
//! | What exactly happened in update K? | `baq audit step RUN --update K --export step.safetensors` |
//! | Are the derivatives right? | `baq audit gradients --algo iql --adapt baq [--data FILE]`, or `--all` |
//! | Are they those of the reference programs? | `baq audit trace FILE` |
//! | How did norms and round-off develop? | `baq audit report RUN` |
//! | Where does this NaN come from? | train with `--probe finite` |
//! | How far is f32 from f64? | train with `--probe reference:every=1000` |
//!
//! All of it is built on [`Probe`](crate::autodiff::Probe), who is told everything a program does and changes nothing; no algorithm
//! contains a word about it. The [`ledger`] is one such probe.
//!
//! Layers of at least 1024 rows and what lies between them run in blocks of rows
//! ([`Blocking::USUAL`](crate::autodiff::Blocking::USUAL)). What such a *region* computes on its way is nowhere whole, so probes
//! see its results alone: there `diff`, `step` and `--probe finite` name `region_result_0(..)`, not an operation within.
//!
//! # How a change is found
//!
//! | changed | found by |
//! |---|---|
//! | a record of the ledger, its order, a missing one | the chain of hashes, at the record; then the replay, in words |
//! | a checkpoint, or its metadata | the checksum in it; then the replay, at the tensor and element |
//! | metrics, evaluations, any other file that a run determines | its SHA-256 in the ledger's last record; then the replay, at the line |
//! | the length of the run, a checkpoint that is gone or added | the replay, which goes as far as configuration and checkpoint say |
//! | a row of the data | the SHA-256 of the file; then the checksums of all rows, at the row |
//! | the configuration | its SHA-256 in the header; the line, if a checkpoint still has the text |
//! | the origin of a fine-tuning run | its SHA-256 in the header |
//! | the simulator, instruction set, numerics | their names in the header and in each checkpoint; a run goes on under no others |
//! | the program | the SHA-256 of the listing of each phase |
//!
//! The chain and the digests show accidents and careless hands. Somebody who writes them anew is found by the replay, which
//! needs the data; who has neither data nor patience can note the SHA-256 of a finished run's ledger and compare that.
//! Reports, curves and wall-clock times are not covered, and `verify` lists them as that.
//!
//! A run that is killed leaves a ledger that ends anywhere, also in the middle of a record. It is compared as far as its
//! checkpoint goes and called interrupted, not verified; resumed, it is cut back to what the checkpoint knows and ends with
//! the same bytes as if nothing had happened.
//!
//! Replays begin at the last kept checkpoint before `--from`, otherwise at the beginning. `--set audit.keep_every=N` keeps
//! one every N updates. What an adaptation trains beside the rounds (Off2On's density ratio) is a phase of its own with the
//! clock of the online one: its updates have records as all others.
//!
//! # What it costs
//!
//! | what | figure |
//! |---|---|
//! | a ledger on the disk | about 110 bytes a record: 6.6 MB for 20,000 rounds of IQL, three updates each |
//! | writing it | 0.5 % of a round with one thread, 0.9 % with two (IQL, batch 256, 2x256; median of the ratios to the round just before without a probe; a second contestant without one: -0.2 and -1.0 %) |
//! | a probe that is not there | nothing: it compiles to the same program |
//! | `--probe finite` | as much as the round itself, since it reads every intermediate result outside regions |
//! | `verify` | what the training cost, evaluations included; without any: 20,000 updates of IQL were trained in 66 s with one thread, and verified with two, in another process, in 62 s of processor time: 60,001 records and the checkpoint equal |
//!
//! `cargo bench --bench probes` measures the second to the fourth.
//!
#![doc = include_str!("bounds.md")]
//!
//! # Following one update
#![doc = ""]
#![doc = include_str!("example.md")]

pub mod capture;
pub mod f32_check;
pub mod finite;
pub mod golden;
pub mod gradcheck;
pub mod ledger;
pub mod ledger_compare;
pub mod operations;
mod probes;
pub mod roundoff;

pub use probes::{Probes, Recorder};

use std::io;
use std::path::{Path, PathBuf};

/// The phase in which an adaptation's model of the data is fitted.
pub const MODEL: &str = "model";
/// Training on the data.
pub const OFFLINE: &str = "offline";
/// Training in an environment.
pub const ONLINE: &str = "online";
/// A network fitted to collected transitions before the first round of the online phase.
pub const COLLECTED: &str = "collected";
/// A model that gives priorities, trained beside the rounds of the online phase.
pub const PRIORITIES: &str = "priorities";

/// Why a probe has stopped a run, or what is wrong with its files. Each is one line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// which file
        path: PathBuf,
        /// what was tried
        action: &'static str,
        /// why not
        source: io::Error,
    },
    /// A ledger that cannot be read, or is not the one expected.
    #[error("{}: {what}", path.display())]
    Ledger {
        /// which file
        path: PathBuf,
        /// expected, got, what to do
        what: String,
    },
    /// NaN or an infinity.
    #[error("{0}")]
    NotFinite(String),
}

impl Error {
    /// For `map_err` on operations with files.
    pub fn io<'a>(path: &'a Path, action: &'static str) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { path: path.to_path_buf(), action, source }
    }
}

/// |x - y| / max(|y|, rms(y)) of every element.
fn differences(x: impl Iterator<Item = f64>, y: &[f64]) -> Vec<f64> {
    let floor = rms(y).max(f64::MIN_POSITIVE);
    x.zip(y).map(|(x, y)| (x - y).abs() / y.abs().max(floor)).collect()
}

fn rms(x: &[f64]) -> f64 {
    (x.iter().map(|x| x * x).sum::<f64>() / x.len().max(1) as f64).sqrt()
}

/// The larger; NaN is the largest.
pub fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

#[cfg(test)]
mod tests;
