//! `baq study cell`: begins or goes on with one run of a study.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::super::learn::Beside;
use super::super::outcome::exit_code;
use super::super::{Common, Outcome, Verdict};
use super::resolve::{self, Commands};
use crate::config::RunConfig;
use crate::study::directory::Failure;
use crate::study::{State, Study, signals};
use crate::train::TrainError;
use crate::train::lock;
use crate::train::rundir::{self, RunError};
use crate::train::shelf::Shelf;

/// Run one cell.
#[derive(Debug, Args)]
pub struct Cell {
    /// directory of the study
    dir: PathBuf,
    /// number of the cell, as `baq study status` has it, or its folder in `cells/`
    cell: String,
    /// process that ends this one, saved, when it ends itself
    #[arg(long, hide = true)]
    parent: Option<u32>,
    /// play evaluation episodes on a thread of their own while training goes on; by default other cells have the cores
    #[arg(long, value_name = "WHEN", default_value = "off")]
    evaluate_beside: Beside,
}

impl Cell {
    /// Runs the command.
    pub fn run(self, common: Common) -> Outcome {
        if let Some(parent) = self.parent {
            signals::die_with(parent)?;
        }
        let study = Study::open(&self.dir, &Commands(common))?;
        let here = baq_kernels::active();
        let arithmetic = study.place.check_arithmetic(&study.dir, (here.isa.name(), here.numerics.name()));
        let cells = &study.graph.cells;
        let found = match self.cell.parse::<usize>() {
            Ok(index) => cells.get(index),
            Err(_) => cells.iter().find(|cell| cell.folder() == self.cell),
        };
        let Some(cell) = found else {
            // Another arithmetic is another folder.
            arithmetic?;
            return Err(TrainError::Input(format!(
                "{}: expected a cell from 0 to {} or the folder of one, got {}; baq study status --all lists them",
                self.dir.display(),
                cells.len().saturating_sub(1),
                self.cell
            )));
        };
        if study.state(cell) == State::Done {
            let run = study.folder(cell);
            match common.json {
                true => println!("{}", json!({ "run": run })),
                false => println!("done before: {}", run.display()),
            }
            return Ok(Verdict::Done);
        }
        arithmetic?;
        // What cannot begin yet has not failed.
        let words = words(&study, cell)?;
        study.note_failure(cell, None)?;
        let beside = if self.evaluate_beside.holds() { "on" } else { "off" };
        let beside = ["--evaluate-beside", beside].map(String::from);
        let shelf = Shelf::new(study.shared());
        let outcome = resolve::run(cell.kind.verb(), &[&beside[..], &words].concat(), common, shelf);
        // What is interrupted, its data while they are built as well, goes on.
        if let Some(e) = outcome.as_ref().err().filter(|e| !matches!(e, TrainError::Interrupted(_))) {
            if is_made_elsewhere(&study, cell, e) {
                eprintln!("baq: {}: {e}; left to it", cell.name());
                return Ok(Verdict::Interrupted);
            }
            let failure = Failure { code: Some(exit_code(e).into()), reason: study.wherever(&e.to_string()) };
            study.note_failure(cell, Some(&failure))?;
        }
        // On a cluster nobody comes after the last cell.
        study.tidy();
        outcome
    }
}

/// Whether this error is that another process has come first.
fn is_made_elsewhere(study: &Study, cell: &crate::study::Cell, e: &TrainError) -> bool {
    let in_use = matches!(e, TrainError::Run(RunError::InUse { .. }));
    in_use || lock::holder(&study.folder(cell)).is_some() || study.state(cell) == State::Done
}

/// What the command is given: everything, or where to go on.
fn words(study: &Study, cell: &crate::study::Cell) -> Result<Vec<String>, TrainError> {
    let run = study.folder(cell);
    let shown = run.display().to_string();
    let mut words = vec!["--quiet".to_string()];
    let dataset = cell.config.section::<RunConfig>().dataset;
    // The data may have been moved since; what they are is checked.
    let moved = |run: &Path| match read_from(run) {
        Some(file) if file == dataset => Vec::new(),
        _ => vec!["--data".to_string(), dataset.clone()],
    };
    if run.join(rundir::CONFIG).exists() {
        words.extend(["--resume".to_string(), shown]);
        words.extend(moved(&run));
        return Ok(words);
    }
    words.extend(cell.words.iter().cloned());
    words.extend(["--out".to_string(), shown]);
    for (option, need) in [("--from", cell.origin), ("--model", cell.model)] {
        let Some(need) = need else { continue };
        let origin = &study.graph.cells[need];
        let got = match study.state(origin) {
            State::Done => None,
            State::Failed(failure) => Some(format!("failed: {}", failure.reason)),
            _ => Some(format!("unfinished; run cell {need} first")),
        };
        if let Some(got) = got {
            let (origin, cell) = (origin.name(), cell.name());
            return Err(TrainError::Input(format!(
                "{origin}: expected it to be done before {cell}, got it {got}"
            )));
        }
        let origin = study.folder(origin);
        words.extend([option.to_string(), origin.display().to_string()]);
        if option == "--from" {
            let moved = moved(&origin);
            let sha256 = &study.place.data[&cell.data].sha256;
            if !moved.is_empty() && !sha256.is_empty() {
                words.push(format!("--set=run.dataset_sha256={sha256}"));
            }
            words.extend(moved);
        }
    }
    Ok(words)
}

/// Where a run has read its data.
fn read_from(run: &Path) -> Option<String> {
    let config = crate::files::read_to_string(&run.join(rundir::CONFIG)).ok()?;
    let config: toml::Table = config.parse().ok()?;
    Some(config.get("run")?.get("dataset")?.as_str()?.to_string())
}
