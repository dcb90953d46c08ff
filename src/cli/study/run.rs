//! `baq study run`: makes what is missing of a study.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::super::learn::cores;
use super::super::suite::ready;
use super::super::{Common, Outcome, Verdict, hints};
use super::asked::{Asked, cell_threads};
use super::plan;
use super::resolve::Commands;
use crate::files::{check_space, shell_word};
use crate::study::local::{self, Manner, Peaks};
use crate::study::memory::Memory;
use crate::study::slurm::{self, Submission};
use crate::study::{State, Study, cost};
use crate::suite::PREFIX;
use crate::train::TrainError;
use crate::train::progress::Stop;

/// Where cells are run.
#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq)]
enum On {
    /// on this machine, as many at once as it has cores
    Local,
    /// as job arrays
    Slurm,
}

/// Run a study.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    asked: Asked,
    /// where
    #[arg(long, value_enum, default_value = "local")]
    on: On,
    /// cells at once on this machine (default: cores divided by the threads of a cell); on Slurm tasks of every array
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// with --on slurm: an option of sbatch, as in --time=04:00:00; may be repeated
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    sbatch: Vec<String>,
    /// with --on slurm: write the scripts, show them and submit nothing
    #[arg(long)]
    dry_run: bool,
    /// no progress
    #[arg(long)]
    quiet: bool,
}

impl Run {
    /// Runs the command.
    pub fn run(self, common: Common) -> Outcome {
        let refuse = |what: &str| Err(TrainError::Input(what.into()));
        match self.on {
            On::Local if self.dry_run => {
                return refuse(
                    "--dry-run: belongs to --on slurm; what would be run here is told by baq study plan",
                );
            }
            On::Local if !self.sbatch.is_empty() => return refuse("--sbatch: belongs to --on slurm"),
            On::Slurm if self.quiet => return refuse("--quiet: belongs to --on local; tasks have logs"),
            _ => {}
        }
        if let Some(option) = self.sbatch.iter().find(|o| !o.starts_with('-') || o.contains(char::is_control))
        {
            return Err(TrainError::Input(format!(
                "--sbatch: expected an option, as in --time=04:00:00, got {option:?}"
            )));
        }
        let is_array = |o: &&String| o.starts_with("--array") || o.starts_with("-a");
        if let Some(option) = self.sbatch.iter().find(is_array) {
            return Err(TrainError::Input(format!(
                "--sbatch {option}: every array has the tasks of its cells; --jobs N bounds how many of them run at once"
            )));
        }
        let study = self.asked.study(common)?;
        let left = study.graph.cells.iter().zip(study.left()).filter(|(_, share)| *share == Some(0.0));
        let runs: f64 = left.map(|(cell, _)| cost::bytes(&cell.config)).sum();
        let bytes = (runs + plan::shared(&study)?).ceil() as u64;
        check_space(&study.dir, bytes, "choose another --out").map_err(TrainError::Input)?;
        if self.dry_run && !study.is_current() {
            check_idle(&study.dir, common)?;
        }
        study.write()?;
        if !self.dry_run {
            // Once and here, with its progress, rather than in the first cell that needs it.
            for data in study.data().filter(|data| data.file.starts_with(PREFIX)) {
                ready(&data.file)?;
            }
        }
        match self.on {
            On::Local => self.locally(&study, common),
            On::Slurm => self.submit(&study, common),
        }
    }

    fn locally(&self, study: &Study, common: Common) -> Outcome {
        let stop = Stop::on_signal()?;
        let threads = usize::from(cell_threads(common));
        let jobs = self.jobs.map_or((cores() / threads).max(1), NonZeroUsize::get);
        let mut options = arithmetic(study);
        options.extend(["--threads".to_string(), threads.to_string()]);
        // Cores that no cell has.
        if jobs.min(study.graph.cells.len()) * threads < cores() {
            options.extend(["--evaluate-beside", "on"].map(String::from));
        }
        let manner = Manner { jobs, program: program()?, options, quiet: self.quiet || common.json };
        let (tally, peaks) = local::run(study, &manner, &stop)?;
        study.tidy();
        let dir = hints::path(&study.dir);
        let unfinished = tally.left + tally.held_up + tally.failed;
        // A signal that came when nothing was left to begin has interrupted nothing.
        let again = (stop.requested() && tally.left > 0).then(|| self.again(common));
        if common.json {
            println!(
                "{}",
                json!({
                    "study": study.dir, "cells": study.graph.cells.len(), "done": tally.done,
                    "failed": tally.failed, "held_up": tally.held_up, "left": tally.left,
                    "ended": again.as_ref().map(|_| "interrupted"), "again": again,
                    "memory": told(&peaks).map(|(kind, data, m)| json!({
                        "kind": kind, "data": data, "peak": m.peak, "own": m.own, "shared": m.shared,
                    })).collect::<Vec<_>>(),
                })
            );
        } else {
            for (kind, data, Memory { peak, own, shared, .. }) in told(&peaks) {
                let [peak, own, shared] = [peak, own, shared].map(|bytes| bytes as f64 / 1e6);
                println!(
                    "memory of a cell ({kind}, {data}): {peak:.0} MB at most; {own:.0} MB at most its own, {shared:.0} MB shared"
                );
            }
            println!("{} of {} cells done, {} failed", tally.done, study.graph.cells.len(), tally.failed);
            let next = |verb| println!("next: {}", hints::command(common, &["study", verb, &dir]));
            match &again {
                Some(again) => println!("interrupted, saved; go on with: {again}"),
                None if unfinished == 0 => next("table"),
                None => next("status"),
            }
        }
        Ok(match (again.is_some(), tally.failed) {
            (true, _) => Verdict::Interrupted,
            (false, 0) => Verdict::Done,
            (false, _) => Verdict::CheckFailed,
        })
    }

    /// The command that goes on with what was interrupted here.
    fn again(&self, common: Common) -> String {
        let mut words = vec!["study".to_string(), "run".into()];
        words.extend(self.asked.words());
        words.extend(self.jobs.iter().flat_map(|jobs| ["--jobs".to_string(), jobs.to_string()]));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        hints::command(common, &words)
    }

    fn submit(&self, study: &Study, common: Common) -> Outcome {
        let submission = Submission {
            program: program()?,
            options: arithmetic(study),
            threads: usize::from(cell_threads(common)),
            at_once: self.jobs.map(NonZeroUsize::get),
            sbatch: self.sbatch.clone(),
        };
        let scripts = slurm::write(study, &submission)?;
        let paths: Vec<&PathBuf> = scripts.iter().map(|(path, _)| path).collect();
        let script = paths.last().expect("invariant: one submits the others");
        if self.dry_run {
            if common.json {
                let out =
                    json!({ "study": study.dir, "script": script, "scripts": paths, "submitted": false });
                println!("{out}");
                return Ok(Verdict::Done);
            }
            scripts.iter().for_each(|(path, text)| println!("# {}\n{text}", path.display()));
            println!("submit them with: bash {}", shell_word(&script.display().to_string()));
            return Ok(Verdict::Done);
        }
        let mut command = Command::new("bash");
        if common.json {
            // Numbers of jobs are for people.
            command.stdout(std::io::stderr());
        }
        let status = command.arg(script).status();
        let status = status.map_err(|e| TrainError::Input(format!("bash {}: {e}", script.display())))?;
        if !status.success() {
            return Err(TrainError::Input(format!(
                "{}: ended with {status}; is Slurm's sbatch there? --dry-run writes the scripts only",
                script.display()
            )));
        }
        if common.json {
            println!(
                "{}",
                json!({ "study": study.dir, "script": script, "scripts": paths, "submitted": true })
            );
            return Ok(Verdict::Done);
        }
        let dir = hints::path(&study.dir);
        println!("next: {}", hints::command(common, &["study", "status", &dir]));
        Ok(Verdict::Done)
    }
}

/// What is known of the memory of cells, by kind and data.
fn told(peaks: &Peaks) -> impl Iterator<Item = (&'static str, &str, Memory)> {
    let known = peaks.iter().filter(|(_, most)| most.peak > 0);
    known.map(|((kind, data), most)| (kind.name(), data.as_str(), *most))
}

/// What decides bits is the same for every cell, on whatever machine.
fn arithmetic(study: &Study) -> Vec<String> {
    let place = &study.place;
    ["--isa", &place.isa, "--numerics", &place.numerics].map(String::from).to_vec()
}

fn program() -> Result<PathBuf, TrainError> {
    std::env::current_exe().map_err(|e| TrainError::Input(format!("cannot find this program: {e}")))
}

/// An error if processes are at work on the study that is there: `baq study run` would find it changed, and stop.
fn check_idle(dir: &Path, common: Common) -> Result<(), TrainError> {
    let Ok(there) = Study::open(dir, &Commands(common)) else { return Ok(()) };
    let held = there.graph.cells.iter().find_map(|cell| match there.state(cell) {
        State::Begun(_, Some(process)) => Some((cell.name(), process)),
        _ => None,
    });
    held.map_or(Ok(()), |(cell, process)| {
        Err(TrainError::Input(format!(
            "--dry-run: {}: process {process} works on {cell}, and the study would be another one, at which a `baq study run` would stop; wait for it, or choose another --out",
            dir.display()
        )))
    })
}
