//! What there is to say about a run that has ended.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::setup;
use crate::config::OnlineConfig;
use crate::train::rundir::{self, ORIGIN};
use crate::train::state::Saved;
use crate::train::{TrainError, calibration, held_out};

/// What there is to say about a single run that has ended: which weights it kept, what it began with, and the verdict of
/// the calibration check.
pub fn notes(runs: &[PathBuf]) -> Vec<String> {
    let [run] = runs else { return Vec::new() };
    let early_stop = || {
        let saved = Saved::open(run).ok()?;
        let config = setup::from_text(saved.file(), saved.config().ok()?).ok()?;
        held_out::early_stop(&config, &saved.counters().ok()?)
    };
    let calibration = calibration_verdict(run).ok();
    early_stop().into_iter().chain(carried(run)).chain(calibration).collect()
}

/// How many transitions that its origin collected the run in `dir` began with; 0 unless it came from an online run.
/// Errors: the run has no checkpoint that can be read. An origin that cannot be read counts as none.
pub fn carried_rows(dir: &Path) -> Result<u64, TrainError> {
    let saved = Saved::open(dir)?;
    let config = setup::from_text(saved.file(), saved.config()?)?;
    match Saved::open(&dir.join(ORIGIN)) {
        Ok(origin) if config.section::<OnlineConfig>().carry => origin.collected_rows(),
        _ => Ok(0),
    }
}

/// The same in words; `None` for a run that came from an offline one.
pub fn carried(dir: &Path) -> Option<String> {
    let origin = Saved::open(&dir.join(ORIGIN)).ok()?;
    let there = origin.collected_rows().ok().filter(|n| *n > 0)?;
    let anew = "environment steps and the curve count from 0";
    Some(match carried_rows(dir).ok()? {
        0 => format!(
            "of {there} transitions that the origin had collected none are carried on (online.carry=false); {anew}"
        ),
        n => format!("{n} transitions that the origin had collected are carried on in the buffer; {anew}"),
    })
}

/// The calibration of a fine-tuned run. Errors: `calibration.json` is missing, cannot be read, or is no JSON.
pub fn read_calibration(run: &Path) -> Result<Value, TrainError> {
    let file = run.join(rundir::CALIBRATION);
    let fail = |e: String| TrainError::Input(format!("{}: {e}", file.display()));
    let text = crate::files::read_to_string(&file).map_err(|e| fail(e.to_string()))?;
    serde_json::from_str(&text).map_err(|e| fail(e.to_string()))
}

/// The verdict on a finished run's calibration. Errors: those of [`read_calibration`].
pub fn calibration_verdict(run: &Path) -> Result<String, TrainError> {
    Ok(calibration::lines(&read_calibration(run)?).pop().unwrap_or_default())
}
