//! `baq audit`: are the numbers right?

mod again;
mod diff;
mod every;
mod findings;
mod gradients;
mod report;
mod stated;
mod step;
mod verify;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Common, Outcome, Verdict};
use crate::audit::golden::{self, Report};
use crate::env::process;
use crate::train::TrainError;

/// Checks of gradients and updates.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Compare with recorded updates of a foreign program; exit code 1 beyond the tolerance
    Trace(TraceArgs),
    /// Compare gradients with central differences; exit code 1 beyond the tolerance
    Gradients(gradients::Gradients),
    /// Compute a run again and compare it with its ledger; exit code 1 if anything differs
    Verify(verify::Verify),
    /// Find the first update, operation and element in which two runs differ; exit code 1 if updates do
    Diff(diff::Diff),
    /// Make a page of norms, round-off, weights and priorities
    Report(report::Report),
    /// Print everything that one update computes, or write it to a file
    Step(step::Step),
}

/// Compare with recorded updates.
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// either file of the pair NAME.safetensors, NAME.json
    file: PathBuf,
}

impl Audit {
    /// Runs the command. Errors: `--seed`, except with `gradients`; runs and files that cannot be read; what the check
    /// that is asked for refuses.
    pub fn run(self, common: Common) -> Outcome {
        if let (Some(seed), false) = (common.seed, matches!(self, Audit::Gradients(_))) {
            return Err(TrainError::Input(format!(
                "--seed {seed}: expected none, since what is looked at has a seed of its own; leave it out"
            )));
        }
        process::end_with_this_process()?;
        match self {
            Audit::Trace(c) => c.run(common),
            Audit::Gradients(c) if c.all => every::run(&c, common),
            Audit::Gradients(c) => c.run(common),
            Audit::Verify(c) => c.run(common),
            Audit::Diff(c) => c.run(common),
            Audit::Report(c) => c.run(common),
            Audit::Step(c) => c.run(common),
        }
    }
}

impl TraceArgs {
    fn run(self, common: Common) -> Outcome {
        let report = golden::compare(&self.file).map_err(|e| TrainError::Input(e.to_string()))?;
        if common.json {
            println!("{}", trace_json(&report));
        } else {
            print_trace(&report);
        }
        Ok(if report.passed() { Verdict::Done } else { Verdict::CheckFailed })
    }
}

/// JSON has no word for NaN; it becomes null.
fn trace_json(r: &Report) -> Value {
    let tensors: Vec<Value> = r
        .tensors
        .iter()
        .map(|d| json!({ "update": d.after, "tensor": d.path, "f64": d.f64, "f32": d.f32, "f32_rms": d.rms_f32 }))
        .collect();
    let losses: Vec<Value> = r
        .losses
        .iter()
        .map(|l| {
            json!({
                "update": l.update + 1, "loss": l.name, "expected": l.expected,
                "f64": l.f64, "f32": l.f32,
            })
        })
        .collect();
    json!({
        "method": r.method, "updates": r.updates, "passed": r.passed(),
        "worst_f64": r.worst_f64(), "worst_f32": r.worst_f32(),
        "tolerance_f64": r.tolerance_f64, "tolerance_f32": r.tolerance_f32,
        "tensors": tensors, "losses": losses, "notes": r.notes, "verdict": r.verdict(),
    })
}

fn print_trace(r: &Report) {
    let names = r.tensors.iter().map(|d| d.path.len()).chain(r.losses.iter().map(|l| l.name.len() + 5));
    let width = names.max().unwrap_or(0);
    println!("worst relative difference, |x - y| / max(|y|, rms y)");
    println!("{:>6}  {:width$}  {:>9}  {:>9}", "update", "tensor", "f64", "f32");
    for update in 1..=r.updates {
        for l in r.losses.iter().filter(|l| l.update + 1 == update) {
            println!("{update:>6}  {:width$}  {:>9.1e}  {:>9.1e}", format!("loss {}", l.name), l.f64, l.f32);
        }
        for d in r.tensors.iter().filter(|d| d.after == update) {
            println!("{update:>6}  {:width$}  {:>9.1e}  {:>9.1e}", d.path, d.f64, d.f32);
        }
    }
    for note in &r.notes {
        println!("note: {note}");
    }
    println!("{}", r.verdict());
}
