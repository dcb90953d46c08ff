//! The directory of one run: what is in it, who may write to it.

use crate::checkpoint::atomic::write_atomic;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The resolved configuration.
pub const CONFIG: &str = "config.toml";
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
/// Wall-clock times; the only file that differs between two equal runs.
pub const TIMING: &str = "timing.csv";
/// Facts about the dataset.
pub const DATASET: &str = "dataset.json";
/// Histograms of weights and priorities by origin.
pub const DISTRIBUTIONS: &str = "distributions.json";
/// Means and quantiles of weights and priorities by origin.
pub const CALIBRATION: &str = "calibration.json";
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
/// Lock; holds the process id of the writer. Never removed, so that two processes cannot
/// hold locks on two files of the same name.
pub const LOCK: &str = ".lock";

/// What can go wrong with a run's files, each in one line. The command line exits with 2.
#[derive(Debug, Error)]
pub enum RunError {
    /// The directory already has something in it.
    #[error("{}: {what}; choose another --out{hint}", path.display())]
    Occupied {
        /// The directory.
        path: PathBuf,
        /// What is there.
        what: String,
        /// A second way out, or nothing.
        hint: &'static str,
    },
    /// A file that this program did not make stands where it would write.
    #[error("{}: not made by this program, so it is not replaced; choose another --out or move it away", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Another process is writing to it.
    #[error("{}: in use by process {pid}; wait for it or choose another --out", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The other process.
        pid: String,
    },
    /// There is nothing to continue.
    #[error("{}: no run to resume ({missing} is missing)", path.display())]
    NoRun {
        /// The directory.
        path: PathBuf,
        /// The file that a run would have.
        missing: &'static str,
    },
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// File or directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A file of the run is not what this program writes.
    #[error("{}, line {line}: expected {expected}, got {got}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// What was expected.
        expected: String,
        /// What was found.
        got: String,
    },
}

impl RunError {
    /// For `map_err` on operations with files.
    pub fn io<'a>(path: &'a Path, action: &'static str) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { path: path.to_path_buf(), action, source }
    }
}

/// A run directory that this process may write to until the value is dropped. The lock is the
/// operating system's, so a killed process leaves none behind.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    _lock: File,
}

impl RunDir {
    /// A new, empty run directory. Refuses one that holds anything at all; nothing is changed then.
    pub fn create(path: &Path) -> Result<Self, RunError> {
        if path.exists() {
            refuse_occupied(path)?;
        }
        fs::create_dir_all(path).map_err(RunError::io(path, "create the run directory"))?;
        let lock = lock(path)?;
        // Someone may have come first between the look and the lock.
        refuse_occupied(path)?;
        Ok(Self { path: path.to_path_buf(), _lock: lock })
    }

    /// The directory of an interrupted run: it must have a configuration and no living writer.
    pub fn resume(path: &Path) -> Result<Self, RunError> {
        if !path.join(CONFIG).is_file() {
            return Err(RunError::NoRun { path: path.to_path_buf(), missing: CONFIG });
        }
        Ok(Self { path: path.to_path_buf(), _lock: lock(path)? })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of one of its files, by the names of this module.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes one of its files, whole or not at all.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), RunError> {
        let path = self.file(name);
        write_atomic(&path, bytes).map_err(RunError::io(&path, "write the file"))
    }

    /// Keeps the present checkpoint, as that after so many updates, when later ones replace it.
    pub fn keep(&self, updates: u64) -> Result<(), RunError> {
        let folder = self.file(KEPT);
        fs::create_dir_all(&folder).map_err(RunError::io(&folder, "create the directory"))?;
        let path = folder.join(format!("update-{updates:010}.safetensors"));
        let link = || -> io::Result<()> {
            if path.exists() {
                fs::remove_file(&path)?;
            }
            // The checkpoint is replaced by renaming, never written to: a second name keeps it.
            fs::hard_link(self.file(CHECKPOINT), &path)
                .or_else(|_| fs::copy(self.file(CHECKPOINT), &path).map(|_| ()))
        };
        link().map_err(RunError::io(&path, "keep the checkpoint"))
    }

    /// Text of one of its files.
    pub fn read(&self, name: &str) -> Result<String, RunError> {
        let path = self.file(name);
        crate::files::read_to_string(&path).map_err(RunError::io(&path, "read the file"))
    }
}

fn refuse_occupied(path: &Path) -> Result<(), RunError> {
    let occupied = |what: String, hint| Err(RunError::Occupied { path: path.to_path_buf(), what, hint });
    if !path.is_dir() {
        return occupied("is a file, expected a directory".into(), "");
    }
    if path.join(CONFIG).exists() {
        return occupied(format!("already holds a run ({CONFIG})"), " or continue this one with --resume");
    }
    let entries = fs::read_dir(path).map_err(RunError::io(path, "read the directory"))?;
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(RunError::io(path, "read the directory"))?.file_name();
        if name != LOCK {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    match names.first() {
        None => Ok(()),
        Some(first) => occupied(format!("is not empty (it holds {first})"), ""),
    }
}

fn lock(path: &Path) -> Result<File, RunError> {
    let file_path = path.join(LOCK);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&file_path)
        .map_err(RunError::io(&file_path, "open the lock"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // The number only helps the message; without it the refusal stands.
            let _ = file.read_to_string(&mut pid);
            let pid = pid.trim();
            return Err(RunError::InUse {
                path: path.to_path_buf(),
                pid: if pid.is_empty() { "?" } else { pid }.to_string(),
            });
        }
        Err(TryLockError::Error(e)) => return Err(RunError::io(&file_path, "lock the file")(e)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(RunError::io(&file_path, "write the lock"))?;
    Ok(file)
}

/// The process that writes to a run directory, if one does; changes nothing.
pub fn writer(path: &Path) -> Option<String> {
    let mut file = crate::files::open(&path.join(LOCK)).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid); // the number only helps the message
            Some(pid.trim().to_string())
        }
        _ => None,
    }
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
