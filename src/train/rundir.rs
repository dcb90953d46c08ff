//! The directory of one run: what is in it, who may write to it, and what a kill at any point leaves.
//!
//! Files are written in one order. First what the run starts from, and [`CONFIG`] last of it: a directory without it
//! holds nothing of worth, and the same command begins it again. Then, at every checkpoint, the logs (metrics,
//! evaluations, times, ledger, round-off), then the checkpoint under the name that is kept, if it is, then
//! [`CHECKPOINT`]; so logs reach at least as far as every checkpoint, and kept ones at least as far as [`CHECKPOINT`].
//! Last, what is made from the finished run alone: it can be made again.
//!
//! Recovery, at every start: temporary files are removed ([`RunDir::resume`]), a kept checkpoint beyond [`CHECKPOINT`]
//! becomes it ([`super::state::Saved::last`]), and each log is cut back to it when it is opened.

use super::lock::{LOCK, Lock, OWNER};
pub use super::run_error::RunError;
use crate::checkpoint::atomic::{self, write_atomic};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The resolved configuration.
pub const CONFIG: &str = "config.toml";
/// Machines, jobs and builds that worked on the run; no part of its results.
pub const PROVENANCE: &str = "provenance.jsonl";
/// The complete training state.
pub const CHECKPOINT: &str = "checkpoint.safetensors";
/// Metrics, one row per logging point.
pub const METRICS_CSV: &str = "metrics.csv";
/// The same rows as one JSON object per line.
pub const METRICS_JSONL: &str = "metrics.jsonl";
/// Formula, unit and chart of each column of the metrics.
pub const METRICS_ABOUT: &str = "metrics_about.json";
/// Evaluations, one row each.
pub const EVALUATIONS_CSV: &str = "evaluations.csv";
/// The same rows as one JSON object per line.
pub const EVALUATIONS_JSONL: &str = "evaluations.jsonl";
/// Wall-clock times. It, [`PROVENANCE`] and what is in [`TENSORBOARD`] are all that differs between two equal runs.
pub const TIMING: &str = "timing.csv";
/// Facts about the dataset.
pub const DATASET: &str = "dataset.json";
/// Histograms of weights and priorities by origin.
pub const DISTRIBUTIONS: &str = "distributions.json";
/// Means and quantiles of weights and priorities by origin.
pub const CALIBRATION: &str = "calibration.json";
/// Why it has diverged, in one line; gone when the run goes on.
pub const DIVERGED: &str = "diverged.txt";
/// The page.
pub const REPORT: &str = "report.html";
/// Learning curve for documents.
pub const CURVES_SVG: &str = "curves.svg";
/// Learning curve as a picture.
pub const CURVES_PNG: &str = "curves.png";
/// What every update computed.
pub const LEDGER: &str = "ledger.bin";
/// Checksums of the transitions that the ledger's run read.
pub const LEDGER_ROWS: &str = "ledger_rows.bin";
/// Round-off against f64.
pub const ROUNDOFF: &str = "roundoff.csv";
/// Page of the audit.
pub const AUDIT: &str = "audit.html";
/// Checkpoints that are kept.
pub const KEPT: &str = "checkpoints";
/// Where a fine-tuning run came from.
pub const ORIGIN: &str = "origin.safetensors";
/// The behaviour model's origin, where it was given.
pub const MODEL: &str = "model.safetensors";
/// The offline evaluations that a fine-tuning run goes on from.
pub const EARLIER: &str = "offline_evaluations";
/// Where the scalars are repeated for TensorBoard, in a run that was asked to, with the time of day.
pub const TENSORBOARD: &str = "tensorboard";
/// What may be there before [`CONFIG`] is.
const START: [&str; 4] = [ORIGIN, MODEL, EARLIER, TENSORBOARD];

/// A run directory that this process may write to until the value is dropped. A killed process leaves no lock behind.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    _lock: Lock,
}

impl RunDir {
    /// A new, empty run directory. Refuses one that holds anything, and changes nothing then; but what a run has left
    /// that was killed before it began is removed. Errors: such a directory, a file, one that another process writes
    /// to; what cannot be made, read or removed.
    pub fn create(path: &Path) -> Result<Self, RunError> {
        Self::claim(path, &[])
    }

    /// The same, for a directory that may hold these already. Errors: those of [`RunDir::create`], but for what is
    /// allowed.
    pub fn claim(path: &Path, allowed: &[&str]) -> Result<Self, RunError> {
        if path.exists() {
            refuse_occupied(path, allowed)?;
        }
        atomic::create_directories(path).map_err(RunError::io(path, "create the run directory"))?;
        let lock = Lock::of(path)?;
        // Someone may have come first between the look and the lock.
        let dir = Self { path: path.to_path_buf(), _lock: lock };
        for left in refuse_occupied(path, allowed)? {
            let entry = dir.file(&left);
            let removed = if entry.is_dir() { fs::remove_dir_all(&entry) } else { fs::remove_file(&entry) };
            removed.map_err(RunError::io(&entry, "remove what a killed run has left"))?;
        }
        dir.sweep()?;
        Ok(dir)
    }

    /// The directory of an interrupted run: it must have a configuration and no living writer. Errors: one without
    /// [`CONFIG`] or that another process writes to; temporary files that cannot be removed.
    pub fn resume(path: &Path) -> Result<Self, RunError> {
        if !path.join(CONFIG).is_file() {
            let begun = path.join(LOCK).exists() && refuse_occupied(path, &[]).is_ok();
            let hint = if begun { ": it had not begun; begin it again with the same --out" } else { "" };
            return Err(RunError::NoRun { path: path.to_path_buf(), missing: CONFIG, hint });
        }
        let dir = Self { path: path.to_path_buf(), _lock: Lock::of(path)? };
        dir.sweep()?;
        Ok(dir)
    }

    /// Removes temporary files of writers that were killed.
    fn sweep(&self) -> Result<(), RunError> {
        [self.path.clone(), self.file(KEPT), self.file(EARLIER)].iter().try_for_each(|folder| {
            atomic::sweep(folder).map_err(RunError::io(folder, "remove temporary files"))
        })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of one of its files, by the names of this module.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes one of its files, whole or not at all. Errors: it cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), RunError> {
        let path = self.file(name);
        write_atomic(&path, bytes).map_err(RunError::io(&path, "write the file"))
    }

    /// Removes one of its files, if it is there. Errors: it is there and cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), RunError> {
        let path = self.file(name);
        atomic::remove(&path).map_err(RunError::io(&path, "remove the file"))
    }

    /// Makes a directory in it. Errors: it cannot be made.
    pub fn folder(&self, name: &str) -> Result<PathBuf, RunError> {
        let path = self.file(name);
        atomic::create_directories(&path).map_err(RunError::io(&path, "create the directory"))?;
        Ok(path)
    }

    /// Replaces the checkpoint; with updates and environment steps it is also kept as that after so many. Errors: a
    /// file cannot be written, or the folder of kept ones not be made.
    pub fn save(&self, bytes: &[u8], keep: Option<(u64, u64)>) -> Result<(), RunError> {
        if let Some(at) = keep {
            self.folder(KEPT)?;
            self.write(&format!("{KEPT}/{}", kept_name(at)), bytes)?;
        }
        self.write(CHECKPOINT, bytes)
    }

    /// The last of the checkpoints that are kept. Errors: their folder is there and cannot be read.
    pub fn last_kept(&self) -> Result<Option<PathBuf>, RunError> {
        let folder = self.file(KEPT);
        let entries = match fs::read_dir(&folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            entries => entries.map_err(RunError::io(&folder, "read the directory"))?,
        };
        let mut last = None;
        for entry in entries {
            let path = entry.map_err(RunError::io(&folder, "read the directory"))?.path();
            last = last.max(kept_at(&path).map(|at| (at, path)));
        }
        Ok(last.map(|(_, path)| path))
    }

    /// Text of one of its files. Errors: it cannot be read, or is not UTF-8.
    pub fn read(&self, name: &str) -> Result<String, RunError> {
        let path = self.file(name);
        crate::files::read_to_string(&path).map_err(RunError::io(&path, "read the file"))
    }
}

/// The name of a checkpoint that was kept after so many updates and environment steps: not every step makes an update.
pub fn kept_name((updates, env_steps): (u64, u64)) -> String {
    match env_steps {
        0 => format!("update-{updates:010}.safetensors"),
        _ => format!("update-{updates:010}-step-{env_steps:010}.safetensors"),
    }
}

/// Updates and environment steps in such a name.
pub fn kept_at(path: &Path) -> Option<(u64, u64)> {
    let name = path.file_name()?.to_str()?.strip_prefix("update-")?.strip_suffix(".safetensors")?;
    let (updates, env_steps) = name.split_once("-step-").unwrap_or((name, "0"));
    Some((updates.parse().ok()?, env_steps.parse().ok()?))
}

/// An error if there is anything but `allowed` and what a run leaves that was killed before it began; the names of the
/// latter.
fn refuse_occupied(path: &Path, allowed: &[&str]) -> Result<Vec<String>, RunError> {
    let occupied = |what: String, hint| Err(RunError::Occupied { path: path.to_path_buf(), what, hint });
    if !path.is_dir() {
        return occupied("is a file, expected a directory".into(), "");
    }
    if path.join(CONFIG).exists() {
        return occupied(format!("already holds a run ({CONFIG})"), " or continue this one with --resume");
    }
    let entries = fs::read_dir(path).map_err(RunError::io(path, "read the directory"))?;
    let (mut left, mut others) = (Vec::new(), Vec::new());
    // A run locks its directory before it writes anything else.
    let locked = path.join(LOCK).exists();
    for entry in entries {
        let name = entry.map_err(RunError::io(path, "read the directory"))?.file_name();
        let text = name.to_string_lossy().into_owned();
        let own = text == LOCK || text == OWNER || atomic::is_temporary(&name) || allowed.contains(&&*text);
        match (locked && START.contains(&&*text), own) {
            (true, _) => left.push(text),
            (_, true) => {}
            (_, false) => others.push(text),
        }
    }
    others.sort();
    match others.first() {
        None => Ok(left),
        Some(first) => occupied(format!("is not empty (it holds {first})"), ""),
    }
}

/// Writes a JSON file of a run.
pub(super) fn write_json<T: Serialize + ?Sized>(path: &Path, value: &T) -> Result<(), RunError> {
    let text = serde_json::to_string_pretty(value).expect("invariant: plain data serialise");
    write_atomic(path, text.as_bytes()).map_err(RunError::io(path, "write the file"))
}

/// Reads one.
pub(super) fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, RunError> {
    let text = crate::files::read_to_string(path).map_err(RunError::io(path, "read the file"))?;
    serde_json::from_str(&text).map_err(|e| RunError::Format {
        path: path.to_path_buf(),
        line: e.line(),
        expected: "the JSON this program writes".into(),
        got: e.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(result: Result<RunDir, RunError>, folder: &Path) -> String {
        let text = result.unwrap_err().to_string();
        assert!(!text.contains('\n'));
        text.replace(&folder.display().to_string(), "F")
    }

    #[test]
    fn a_directory_has_one_writer_and_one_run() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let path = at.join("runs").join("a");
        let run = RunDir::create(&path).unwrap();
        let pid = std::process::id();
        let busy = format!("F/runs/a: in use by process {pid}; wait for it or choose another --out");
        assert_eq!(message(RunDir::create(&path), at), busy);
        run.write(CONFIG, b"[run]\n").unwrap();
        assert_eq!(
            message(RunDir::create(&path), at),
            "F/runs/a: already holds a run (config.toml); choose another --out or continue this one with --resume"
        );
        assert_eq!(message(RunDir::resume(&path), at), busy);
        drop(run);
        let run = RunDir::resume(&path).unwrap();
        assert_eq!(run.read(CONFIG).unwrap(), "[run]\n");
    }

    #[test]
    fn kept_checkpoints_are_named_by_updates_and_steps() {
        for at in [(0, 0), (40, 0), (40, 7), (1_300_000, 1_310_000)] {
            assert_eq!(kept_at(Path::new(&kept_name(at))), Some(at));
        }
        assert_eq!(kept_at(Path::new("update-x.safetensors")), None);
    }

    #[test]
    fn what_is_there_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        fs::write(at.join("precious"), "x").unwrap();
        assert_eq!(
            message(RunDir::create(at), at),
            "F: is not empty (it holds precious); choose another --out"
        );
        assert_eq!(fs::read_dir(at).unwrap().count(), 1, "not even a lock was added");
        assert_eq!(
            message(RunDir::create(&at.join("precious")), at),
            "F/precious: is a file, expected a directory; choose another --out"
        );
        assert_eq!(message(RunDir::resume(at), at), "F: no run to resume (config.toml is missing)");
        // An empty directory made by hand is fine.
        fs::create_dir(at.join("empty")).unwrap();
        RunDir::create(&at.join("empty")).unwrap();
    }
}
