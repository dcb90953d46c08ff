//! `baq audit diff`: where two runs part.
//!
//! Their ledgers tell the first update; both are then replayed up to it, and the first operation of it tells the rest.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::step::capture;
use crate::audit::MODEL;
use crate::audit::capture::{Capture, first_difference};
use crate::audit::ledger::{Entry, Kind, Ledger, Record};
use crate::cli::{Common, Outcome, Verdict};
use crate::train::{TrainError, rundir};

/// Compare two runs.
#[derive(Debug, Args)]
pub struct Diff {
    /// directory of a run with a ledger
    a: PathBuf,
    /// directory of another one
    b: PathBuf,
}

/// The first records of two ledgers that differ.
struct First {
    /// number of the record
    record: usize,
    /// round of the update, from 0; `None` where a phase begins, and in that of a model, which counts by itself
    round: Option<u64>,
    /// in words
    what: String,
}

impl Diff {
    pub(super) fn run(self, common: Common) -> Outcome {
        let open = |run: &Path| {
            let path = run.join(rundir::LEDGER);
            if path.exists() {
                return Ok(Ledger::read(&path)?);
            }
            Err(TrainError::Input(format!(
                "{}: expected the directory of a run with a ledger, got none; train with --ledger",
                run.display()
            )))
        };
        let (a, b) = (open(&self.a)?, open(&self.b)?);
        let mut notes = Vec::new();
        if a.header.isa != b.header.isa {
            notes.push(format!(
                "instruction sets differ: {} and {}; bits hold for one",
                a.header.isa, b.header.isa
            ));
        }
        if a.header.numerics != b.header.numerics {
            notes.push(format!(
                "numerics differ: {} and {}; bits hold for one",
                a.header.numerics, b.header.numerics
            ));
        }
        if a.header.dataset_sha256 != b.header.dataset_sha256 {
            notes.push(format!("data differ: {} and {}", a.header.dataset, b.header.dataset));
        }
        if a.header.seed != b.header.seed {
            notes.push(format!("seeds differ: {} and {}", a.header.seed, b.header.seed));
        }
        let Some(first) = first(&a, &b, &mut notes) else {
            let verdict = match a.len() == b.len() {
                true => format!("equal: {} records", a.len()),
                false => format!("equal as far as both go: {} and {} records", a.len(), b.len()),
            };
            self.print(common, &notes, None, &verdict);
            return Ok(Verdict::Done);
        };
        notes.push(format!("the ledgers part at record {}: {}", first.record, first.what));
        let verdict = match first.round {
            Some(round) if a.header.isa == b.header.isa && a.header.numerics == b.header.numerics => {
                let of = |run: &Path| capture(run, None, round + 1).map(|(_, c)| c);
                parting(round, &of(&self.a)?, &of(&self.b)?)
            }
            _ => format!("different from record {} on", first.record),
        };
        self.print(common, &notes, Some(&first), &verdict);
        Ok(Verdict::CheckFailed)
    }

    fn print(&self, common: Common, notes: &[String], first: Option<&First>, verdict: &str) {
        if common.json {
            println!(
                "{}",
                json!({
                    "a": self.a, "b": self.b, "notes": notes, "equal": first.is_none(),
                    "record": first.map(|f| f.record), "update": first.and_then(|f| f.round).map(|r| r + 1),
                    "verdict": verdict,
                })
            );
            return;
        }
        notes.iter().for_each(|note| println!("{note}"));
        println!("{verdict}");
    }
}

/// In words where two replays of the same update part.
fn parting(round: u64, a: &Capture, b: &Capture) -> String {
    let update = round + 1;
    match first_difference(a, b) {
        Err(what) => format!("different in update {update}: {what}"),
        Ok(None) => format!(
            "update {update} is computed alike from both directories: one of the ledgers is not what its run computes, \
             `baq audit verify` tells which"
        ),
        Ok(Some(p)) => {
            let op = if p.text.is_empty() { String::new() } else { format!(", `{}`", p.text) };
            format!(
                "different in update {update}, first in {}{op}: element {} of {:?} is {:?} and {:?}; {} elements differ",
                p.name, p.element, p.shape, p.values.0, p.values.1, p.differing
            )
        }
    }
}

/// The first updates that differ. Phases that are declared differently are noted on the way; what counts is what they
/// compute.
fn first(a: &Ledger, b: &Ledger, notes: &mut Vec<String>) -> Option<First> {
    for record in 0..a.len().min(b.len()) {
        if a.body(record) == b.body(record) {
            continue;
        }
        let kinds = |l: &Ledger| -> Vec<(String, Kind)> {
            let phases = l.phases_before(record).into_iter();
            phases.flat_map(|p| p.updates.into_iter().map(move |k| (p.phase.clone(), k))).collect()
        };
        let found = |round, what| Some(First { record, round, what });
        match (a.entry(record), b.entry(record)) {
            (Some(Entry::Phase(x)), Some(Entry::Phase(y))) if x.phase == y.phase => {
                notes.push(format!(
                    "the {} phases are different programs or have different constants",
                    x.phase
                ));
            }
            (Some(Entry::Update(x)), Some(Entry::Update(y))) => {
                let (of_a, of_b) = (kinds(a), kinds(b));
                let kind = of_a.get(x.kind).filter(|_| x.kind == y.kind && of_a == of_b);
                let what = match kind.and_then(|(_, kind)| x.difference(&y, kind)) {
                    Some((what, x, y)) => format!(": {what} is {x} and {y}"),
                    None => format!(" and {}", place(&of_b, &y)),
                };
                let model = of_a.get(x.kind).is_none_or(|(phase, _)| phase == MODEL);
                return found((!model).then_some(x.round), format!("{}{what}", place(&of_a, &x)));
            }
            _ => return found(None, "a phase begins in one and not in the other".into()),
        }
    }
    None
}

fn place(kinds: &[(String, Kind)], r: &Record) -> String {
    match kinds.get(r.kind) {
        Some((phase, kind)) => format!("{phase} update {}, {}", r.round + 1, kind.name),
        None => format!("update {}", r.round + 1),
    }
}
