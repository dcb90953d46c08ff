//! The ledger: what every update of a run computed, in a file that cannot be changed unnoticed.
//!
//! Two lines of text, then binary records; everything is little-endian. Binary, because a record is written several
//! times per round: about 110 bytes and no formatting, where text would take four times the room.
//!
//! ```text
//! baq-ledger 2
//! {"code":"0.1.0","isa":"avx512","numerics":"f32","subnormals":"zero","config":"<sha256>", ...}        the header, see Header
//! length u32 | body [length] | chain [16]                         a record, and so on
//! ```
//!
//! `chain` = first 16 bytes of SHA-256(chain of the record before, body); before the first record it is that of the two
//! lines of text. A record that was changed breaks its own link; a dropped, inserted or exchanged one the link at its place.
//!
//! A body begins with a `u32`. 0: JSON follows. A phase begins (see [`Phase`]), the simulator is another from here on
//! ([`Change`]), or the run has ended ([`Closing`], the last record of a run that did). k > 0: an update, the k-th of
//! those that the phases have declared so far:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | round, from 0: the position of batch, noise and schedules, so that (seed, stream, round, element) names every random number |
//! | 4 | loss, f32 |
//! | 8 | checksum of the batch's row indices |
//! | 8 | checksum of all gradients of the update |
//! | 8 | checksum of all parameters that it trains, after it |
//! | 4 n | norm of each gradient, f32 |
//! | 4 n | norm of each parameter after the update, f32 |
//!
//! Checksums and norms are those of [`baq_kernels::digest`], equal on every instruction set for equal tensors.

mod read;
mod scribe;
mod write;

pub use read::{Break, Entry, Ledger, Tail};
pub use scribe::{Scribe, Sink};
pub use write::{Writer, text};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::autodiff::print::instruction;
use crate::autodiff::{Effect, NOISE_STREAMS, Trace};

/// The first line; the number is the version of the layout.
pub(super) const MAGIC: &str = "baq-ledger 2\n";
/// Bytes of a link.
pub(in crate::audit) const LINK: usize = 16;

/// A link of the chain.
pub type Link = [u8; LINK];

/// What a ledger belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// version of the program
    pub code: String,
    /// instruction set: bits hold for it
    pub isa: String,
    /// factors of large products and the unit that multiplies them: bits hold for them
    pub numerics: String,
    /// what kernels made of subnormal numbers, `zero` or `kept`: bits hold for it
    pub subnormals: String,
    /// the simulator, its release and its library's SHA-256: bits hold for it; empty where there is none
    pub mujoco: String,
    /// SHA-256 of the resolved configuration
    pub config: String,
    /// the data
    pub dataset: String,
    /// SHA-256 of the data
    pub dataset_sha256: String,
    /// SHA-256 of the checkpoint that fine-tuning began from
    pub origin: Option<String>,
    /// that of the one with the model of the data, where it was given
    pub model: Option<String>,
    /// that of the evaluations before fine-tuning
    pub earlier: Option<String>,
    /// seed of batches and noise
    pub seed: u64,
}

impl Header {
    /// The mode among the numerics, without the unit: what `--numerics` takes.
    pub fn mode(&self) -> &str {
        self.numerics.split(' ').next().unwrap_or(&self.numerics)
    }
}

/// A record of text.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Note {
    Phase(Phase),
    Change(Change),
    Closing(Closing),
}

/// The simulator of the updates that follow is another: somebody accepted it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// round, from 0, from which on
    pub from: u64,
    /// which one
    pub simulator: String,
}

/// The end of a run: what its other files were then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// SHA-256 of each file that the run determines, by its name in the directory
    pub files: BTreeMap<String, String>,
}

/// Declaration of a phase: the updates of its rounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// `model`, `offline`, `online`, `collected` or `priorities`
    pub phase: String,
    /// SHA-256 of the listing of everything that a round computes
    pub program: String,
    /// the updates, in order
    pub updates: Vec<Kind>,
    /// names of the noise streams; the first has this number, the others follow
    pub noise: (u32, Vec<String>),
}

/// An update as a phase declares it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kind {
    /// its name
    pub name: String,
    /// the group that it trains
    pub group: String,
    /// the tensors of the group, all heads of an ensemble together
    pub tensors: Vec<String>,
}

impl Phase {
    /// The declaration of a trace.
    pub fn of(phase: &str, trace: &Trace) -> Phase {
        let table = &trace.table;
        let updates = trace.items.iter().filter_map(|item| match &item.effect {
            Effect::Polyak { .. } => None,
            Effect::Train { name, group, .. } => {
                let tensors = table.members(*group).map(|p| table.name(p)).collect();
                Some(Kind { name: (*name).into(), group: table.group(*group).name.clone(), tensors })
            }
        });
        let mut listing = Sha256::new();
        for (id, node) in trace.graph.ids().zip(trace.graph.nodes()) {
            listing.update(format!("{} {}\n", instruction(trace, id), node.shape));
        }
        for item in &trace.items {
            listing.update(format!("{item:?}\n"));
        }
        for hyper in &trace.hypers {
            listing.update(format!("{hyper:?}\n"));
        }
        Phase {
            phase: phase.into(),
            program: crate::files::hex(&listing.finalize()),
            updates: updates.collect(),
            noise: (NOISE_STREAMS, trace.noises.iter().map(|n| n.name.clone()).collect()),
        }
    }
}

/// What one update computed.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// which update, counted over all phases declared before
    pub kind: usize,
    /// round, from 0
    pub round: u64,
    /// the loss
    pub loss: f32,
    /// checksum of the row indices
    pub rows: u64,
    /// checksum of the gradients
    pub gradients: u64,
    /// checksum of the parameters after the update
    pub parameters: u64,
    /// norm of each gradient
    pub gradient_norms: Vec<f32>,
    /// norm of each parameter after the update
    pub parameter_norms: Vec<f32>,
}

/// Bytes of an update's body before the norms.
pub(super) const FIXED: usize = 4 + 8 + 4 + 3 * 8;

impl Record {
    /// The record in a body; `None` if it cannot be one.
    pub fn decode(body: &[u8]) -> Option<Record> {
        let norms = body.len().checked_sub(FIXED).filter(|n| n % 8 == 0)?;
        let word = |at: usize| u64::from_le_bytes(body[at..at + 8].try_into().expect("invariant: 8 bytes"));
        let half = |at: usize| u32::from_le_bytes(body[at..at + 4].try_into().expect("invariant: 4 bytes"));
        let float = |at: usize| f32::from_bits(half(at));
        let (first, second) = (FIXED, FIXED + norms / 2);
        let floats = |from: usize| (from..from + norms / 2).step_by(4).map(float).collect();
        Some(Record {
            kind: (half(0) as usize).checked_sub(1)?,
            round: word(4),
            loss: float(12),
            rows: word(16),
            gradients: word(24),
            parameters: word(32),
            gradient_norms: floats(first),
            parameter_norms: floats(second),
        })
    }

    /// Kind and round of the update in a body; `None` if it cannot be one.
    pub fn place(body: &[u8]) -> Option<(usize, u64)> {
        let kind = u32::from_le_bytes(body.get(..4)?.try_into().expect("invariant: 4 bytes"));
        let round = u64::from_le_bytes(body.get(4..12)?.try_into().expect("invariant: 8 bytes"));
        Some(((kind as usize).checked_sub(1)?, round))
    }

    /// The first thing in which two records differ, and the two values; bits decide.
    pub fn difference(&self, other: &Record, kind: &Kind) -> Option<(String, String, String)> {
        let hex = |x: u64| format!("{x:016x}");
        let pair = |what: String, a: f32, b: f32| {
            (a.to_bits() != b.to_bits()).then(|| (what, format!("{a:?}"), format!("{b:?}")))
        };
        let words = |what: &str, a: u64, b: u64| (a != b).then(|| (what.to_string(), hex(a), hex(b)));
        let norms = |what: &str, a: &[f32], b: &[f32]| {
            let all = kind.tensors.iter().zip(a.iter().zip(b));
            all.into_iter().find_map(|(path, (a, b))| pair(format!("norm of the {what} of {path}"), *a, *b))
        };
        // In the order of computation.
        words("checksum of the batch's rows", self.rows, other.rows)
            .or_else(|| pair("loss".into(), self.loss, other.loss))
            .or_else(|| norms("gradient", &self.gradient_norms, &other.gradient_norms))
            .or_else(|| words("checksum of the gradients", self.gradients, other.gradients))
            .or_else(|| norms("parameter", &self.parameter_norms, &other.parameter_norms))
            .or_else(|| words("checksum of the parameters", self.parameters, other.parameters))
    }
}

/// Where a ledger stands: kept in checkpoints, so that a resumed run goes on from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// records so far
    pub records: u64,
    /// bytes so far
    pub bytes: u64,
    /// the last link
    pub chain: Link,
}

/// The link after a body.
pub(in crate::audit) fn link(before: &Link, body: &[u8]) -> Link {
    shortened(Sha256::new().chain_update(before).chain_update(body))
}

/// The link before the first record.
pub(super) fn root(text: &[u8]) -> Link {
    shortened(Sha256::new().chain_update(text))
}

fn shortened(hash: Sha256) -> Link {
    hash.finalize()[..LINK].try_into().expect("invariant: a digest is longer")
}

#[cfg(test)]
mod tests;
