//! What the files of a run directory are to a proof of the run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::train::rundir::{self, RunError};

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// an input: the run is what follows from it
    Given,
    /// a function of the inputs, byte for byte
    Computed,
    /// the ledger, which is compared record by record
    Ledger,
    /// depends on the clock, is drawn from other files, or is none of the run's
    Free,
}

const GIVEN: [&str; 3] = [rundir::CONFIG, rundir::ORIGIN, rundir::MODEL];
const COMPUTED: [&str; 11] = [
    rundir::CHECKPOINT,
    rundir::METRICS_CSV,
    rundir::METRICS_JSONL,
    rundir::METRICS_ABOUT,
    rundir::EVALUATIONS_CSV,
    rundir::EVALUATIONS_JSONL,
    rundir::DATASET,
    rundir::DISTRIBUTIONS,
    rundir::CALIBRATION,
    rundir::LEDGER_ROWS,
    rundir::ROUNDOFF,
];

/// What a file is, by its name in the directory.
pub fn content(name: &str) -> Content {
    match name.split_once('/') {
        Some((folder, file)) if folder == rundir::EARLIER => match file {
            rundir::EVALUATIONS_CSV => Content::Given,
            rundir::EVALUATIONS_JSONL => Content::Computed,
            _ => Content::Free,
        },
        Some((folder, file)) if folder == rundir::KEPT && file.ends_with(".safetensors") => Content::Computed,
        None if GIVEN.contains(&name) => Content::Given,
        None if COMPUTED.contains(&name) => Content::Computed,
        None if name == rundir::LEDGER => Content::Ledger,
        _ => Content::Free,
    }
}

/// Whether it is a checkpoint that is kept.
pub fn is_kept(name: &str) -> bool {
    name.split_once('/').is_some_and(|(folder, _)| folder == rundir::KEPT)
}

/// Names of all files of a directory and of the folders in it, sorted; with `/` between folder and file. Errors: the
/// directory, or a folder in it, cannot be read.
pub fn files(run: &Path) -> Result<Vec<String>, RunError> {
    let list = |folder: &Path| -> Result<Vec<PathBuf>, RunError> {
        let entries = std::fs::read_dir(folder).map_err(RunError::io(folder, "read the directory"))?;
        let paths = entries.map(|e| e.map(|e| e.path()));
        paths.collect::<Result<_, _>>().map_err(RunError::io(folder, "read the directory"))
    };
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut names = Vec::new();
    for path in list(run)? {
        match path.is_dir() {
            true => names.extend(list(&path)?.iter().map(|inner| format!("{}/{}", name(&path), name(inner)))),
            false => names.push(name(&path)),
        }
    }
    names.sort();
    Ok(names)
}

/// The bytes of a regular file. Errors: there is none, it cannot be read, or it does not fit in memory.
pub fn read(path: &Path) -> Result<Vec<u8>, RunError> {
    crate::files::read(path).map_err(RunError::io(path, "read the file"))
}

/// SHA-256 of every file that is given or computed. Errors: those of [`files`]; one of these files cannot be read.
pub fn digests(run: &Path) -> Result<BTreeMap<String, String>, RunError> {
    let names = files(run)?.into_iter();
    let known = names.filter(|n| matches!(content(n), Content::Given | Content::Computed));
    known.map(|name| read(&run.join(&name)).map(|bytes| (name, crate::files::sha256(&bytes)))).collect()
}
