//! Runs named on the command line, as by `runs/*`.

use std::path::{Path, PathBuf};

use crate::train::{TrainError, rundir};

/// What was named, once each.
pub struct Named {
    /// directories of runs
    pub runs: Vec<PathBuf>,
    /// files and folders that are none
    pub left_out: Vec<PathBuf>,
}

/// Finds the runs among what was named and warns of what is none. Nothing at all, or no run, is an error.
pub fn sort(named: &[PathBuf]) -> Result<Named, TrainError> {
    let mut all: Vec<PathBuf> = Vec::new();
    for dir in named {
        // One run named twice is not two seeds.
        if !all.iter().any(|known| same(known, dir)) {
            all.push(dir.clone());
        }
    }
    let (runs, left_out): (Vec<PathBuf>, Vec<PathBuf>) =
        all.into_iter().partition(|dir| dir.join(rundir::CONFIG).is_file());
    if let Some(dir) = left_out.iter().find(|dir| !dir.exists() || runs.is_empty()) {
        let got = match (dir.is_dir(), dir.exists()) {
            (true, _) => "a directory without it",
            (false, true) => "a file",
            (false, false) => "nothing",
        };
        return Err(TrainError::Input(format!(
            "{}: expected the directory of a run, with {} in it, got {got}; name what `baq train` created",
            dir.display(),
            rundir::CONFIG,
        )));
    }
    for dir in &left_out {
        eprintln!("baq: {}: no run ({} is missing), left out", dir.display(), rundir::CONFIG);
    }
    Ok(Named { runs, left_out })
}

/// Whether two paths lead to one place.
pub fn same(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}
