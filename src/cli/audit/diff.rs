//! `baq audit diff`: where two runs part.
//!
//! Their ledgers tell the first update; both are then replayed up to it, each with its own instruction set and
//! numerics, and the first operation of it tells the rest. Where this processor would multiply with another unit than a
//! run did, nothing is replayed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use baq_kernels::{Isa, Numerics};
use clap::Args;
use serde_json::json;

use super::step::capture;
use crate::audit::MODEL;
use crate::audit::capture::{Capture, first_difference, widest_gradient};
use crate::audit::f32_check::TOLERANCE_F32;
use crate::audit::ledger::{Entry, Header, Kind, Ledger, Record};
use crate::cli::{Common, Outcome, Verdict};
use crate::train::{TrainError, rundir};

/// Compare two runs.
#[derive(Debug, Args)]
pub struct Diff {
    /// directory of a run with a ledger
    a: PathBuf,
    /// directory of another one
    b: PathBuf,
    /// where the data of both are now, if not where the runs read them
    #[arg(long, value_name = "FILE")]
    data: Option<String>,
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
        if a.header.mujoco != b.header.mujoco {
            let [a, b] = [&a, &b].map(|run| match run.header.mujoco.as_str() {
                "" => "none",
                mujoco => mujoco,
            });
            notes.push(format!("simulators differ: {a} and {b}"));
        }
        if a.header.dataset_sha256 != b.header.dataset_sha256 {
            if let Some(data) = &self.data {
                return Err(TrainError::Input(format!(
                    "--data {data}: expected runs on the same data, got {} and {}; leave it out, and put the data where the runs read them",
                    a.header.dataset, b.header.dataset
                )));
            }
            notes.push(format!("data differ: {} and {}", a.header.dataset, b.header.dataset));
        }
        if a.header.seed != b.header.seed {
            notes.push(format!("seeds differ: {} and {}", a.header.seed, b.header.seed));
        }
        let (others, first) = first(&a, &b, &mut notes);
        let Some(first) = first else {
            let verdict = match (others, a.len() == b.len()) {
                (0, true) => format!("equal: {} records", a.len()),
                (0, false) => format!("equal as far as both go: {} and {} records", a.len(), b.len()),
                (n, true) => format!("all updates are equal; other records that differ: {n}"),
                (n, false) => {
                    format!("all updates are equal as far as both go; other records that differ: {n}")
                }
            };
            self.print(common, &notes, None, &verdict);
            return Ok(Verdict::Done);
        };
        notes.push(format!("the ledgers part at record {}: {}", first.record, first.what));
        let here = baq_kernels::active();
        let mine = |l: &Ledger| l.header.isa == here.isa.name() && l.header.numerics == here.arithmetic();
        let verdict = match first.round {
            Some(round) if mine(&a) && mine(&b) => {
                let of = |run: &Path| capture(run, self.data.as_deref(), round + 1).map(|(_, c)| c);
                parting(round, &of(&self.a)?, &of(&self.b)?)
            }
            Some(round) => {
                check_unit(&a)?;
                check_unit(&b)?;
                notes.extend(drift(&a, &b));
                let of = |run: &Path, l: &Ledger| self.elsewhere(run, &l.header, round + 1, common);
                let (x, y) = (of(&self.a, &a)?, of(&self.b, &b)?);
                let alike = a.header.numerics == b.header.numerics && a.header.isa != b.header.isa;
                let gradients = widest_gradient(&x, &y).map_or(String::new(), |(gap, name)| {
                    let bound = 2.0 * TOLERANCE_F32;
                    let within = match (alike, gap <= bound) {
                        (false, _) => String::new(),
                        (true, true) => format!(": within the tolerance {bound:.0e}"),
                        (true, false) => format!(": BEYOND the tolerance {bound:.0e}, unless a ReLU is at 0"),
                    };
                    format!("; its gradients differ by {gap:.1e} in norm at most, in {name}{within}")
                });
                parting(round, &x, &y) + &gradients
            }
            None => format!("different from record {} on", first.record),
        };
        self.print(common, &notes, Some(&first), &verdict);
        Ok(Verdict::CheckFailed)
    }

    fn print(&self, common: Common, notes: &[String], first: Option<&First>, verdict: &str) {
        if common.json {
            println!(
                "{}",
                json!({
                    "a": self.a, "b": self.b, "notes": notes, "updates_equal": first.is_none(),
                    "record": first.map(|f| f.record), "update": first.and_then(|f| f.round).map(|r| r + 1),
                    "verdict": verdict,
                })
            );
            return;
        }
        notes.iter().for_each(|note| println!("{note}"));
        println!("{verdict}");
    }

    /// A capture by a process of its own: instruction set and numerics are chosen once in the life of one.
    fn elsewhere(
        &self,
        run: &Path,
        header: &Header,
        update: u64,
        common: Common,
    ) -> Result<Capture, TrainError> {
        let (isa, numerics) = (header.isa.as_str(), header.mode());
        let file = std::env::temp_dir().join(format!("baq-diff-{}-{isa}.safetensors", std::process::id()));
        let fail = |what: String| TrainError::Input(format!("{}: {what}", run.display()));
        let program = std::env::current_exe().map_err(|e| fail(format!("cannot find this program ({e})")))?;
        let mut command = Command::new(program);
        command.args(["audit", "step", "--isa", isa, "--numerics", numerics]);
        command.args(["--update", &update.to_string(), "--export"]);
        command.arg(&file).arg(run);
        if let Some(data) = &self.data {
            command.args(["--data", data]);
        }
        if let Some(threads) = common.threads {
            command.args(["--threads", &threads.to_string()]);
        }
        let ran = command.output();
        let ran = ran.map_err(|e| fail(format!("cannot start this program again ({e})")))?;
        if !ran.status.success() {
            let why = String::from_utf8_lossy(&ran.stderr);
            return Err(fail(format!("cannot be replayed with {isa} and {numerics}: {}", why.trim())));
        }
        let found = Capture::import(&file).map_err(|e| fail(e.to_string()));
        let _ = std::fs::remove_file(&file); // of no further use; nothing depends on its absence
        found
    }
}

/// An error if a process with the instruction set and the mode of a run would multiply with another unit: it takes the
/// fastest of this processor.
fn check_unit(ledger: &Ledger) -> Result<(), TrainError> {
    let path = ledger.path().display();
    let Header { isa, numerics: then, .. } = &ledger.header;
    let fail = |what: String| TrainError::Input(format!("{path}: {what}"));
    let set = isa.parse::<Isa>().map_err(|e| fail(format!("{e}")))?;
    let mode = ledger.header.mode().parse::<Numerics>().map_err(|e| fail(format!("{e}")))?;
    match baq_kernels::units(set, mode).last().map(|k| k.arithmetic()) {
        Some(now) if now != *then => Err(fail(format!(
            "bits hold for one kind of numerics: expected {then}, this processor uses {now} with {isa}; compare the runs on a processor with the same unit"
        ))),
        // Without the instruction set the process says what there is.
        _ => Ok(()),
    }
}

/// How far two runs have gone from each other at the end of what both have done.
fn drift(a: &Ledger, b: &Ledger) -> Option<String> {
    let of = |l: &Ledger| l.updates().map(|(_, r)| ((r.kind, r.round), r)).collect::<BTreeMap<_, _>>();
    let (a, mut b) = (of(a), of(b));
    let pairs: Vec<_> = a.into_iter().filter_map(|(k, x)| Some((x, b.remove(&k)?))).collect();
    let last = pairs.iter().map(|(x, _)| x.round).max()?;
    let gaps = pairs.iter().filter(|(x, _)| x.round == last).flat_map(|(x, y)| {
        let both = x.parameter_norms.iter().zip(&y.parameter_norms);
        both.map(|(x, y)| f64::from((x - y).abs() / y.abs().max(f32::MIN_POSITIVE)))
    });
    let widest = gaps.fold(0.0, f64::max);
    Some(format!("after update {} the norms of the parameters differ by {widest:.1e} at most", last + 1))
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

/// The first updates that differ, and how many other records differ before them. Phases that are declared differently are
/// noted on the way; what counts is what they compute.
fn first(a: &Ledger, b: &Ledger, notes: &mut Vec<String>) -> (usize, Option<First>) {
    let mut others = 0;
    for record in 0..a.len().min(b.len()) {
        if a.body(record) == b.body(record) {
            continue;
        }
        let kinds = |l: &Ledger| -> Vec<(String, Kind)> {
            let phases = l.phases_before(record).into_iter();
            phases.flat_map(|p| p.updates.into_iter().map(move |k| (p.phase.clone(), k))).collect()
        };
        let found = |round, what| (others, Some(First { record, round, what }));
        match (a.entry(record), b.entry(record)) {
            (Some(Entry::Phase(x)), Some(Entry::Phase(y))) if x.phase == y.phase => {
                others += 1;
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
            (Some(Entry::Closing(x)), Some(Entry::Closing(y))) => {
                others += 1;
                let names: BTreeSet<&String> = x.files.keys().chain(y.files.keys()).collect();
                let differ = names.into_iter().filter(|name| x.files.get(*name) != y.files.get(*name));
                let differ: Vec<&str> = differ.map(String::as_str).collect();
                notes.push(format!("files differ: {}", differ.join(", ")));
            }
            // One run ends, the other goes on: they are equal as far as both go.
            (Some(Entry::Closing(_)), _) | (_, Some(Entry::Closing(_))) => return (others, None),
            _ => return found(None, "they are of different kinds, or one cannot be read".into()),
        }
    }
    (others, None)
}

fn place(kinds: &[(String, Kind)], r: &Record) -> String {
    match kinds.get(r.kind) {
        Some((phase, kind)) => format!("{phase} update {}, {}", r.round + 1, kind.name),
        None => format!("update {}", r.round + 1),
    }
}
