//! Where a run was made: a line of `provenance.jsonl` for every machine, job and build that worked on it.
//!
//! Nothing reads it to compute: it is in no checkpoint and no proof, tables of studies name the commits. A process that is like the last one adds nothing, so
//! that a run which was interrupted and resumed in one place has the bytes of one that was not.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::conditions::COMMIT;
use super::lock::host;
use super::rundir::{PROVENANCE, RunDir, RunError};

/// A process that works on a run.
#[derive(Debug, Serialize)]
struct Place {
    host: String,
    /// Slurm's number of the job; empty outside of one
    job: String,
    version: &'static str,
    commit: &'static str,
}

/// Notes this process, whole or not at all.
///
/// # Errors
/// Where the file cannot be read or written.
pub fn note(dir: &RunDir) -> Result<(), RunError> {
    note_place(
        dir,
        &Place {
            host: host(),
            job: std::env::var("SLURM_JOB_ID").unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION"),
            commit: COMMIT,
        },
    )
}

/// The commits of the builds that worked on the run in a directory, in order; none where nothing is noted.
pub fn commits(run: &Path) -> Vec<String> {
    let text = crate::files::read_to_string(&run.join(PROVENANCE)).unwrap_or_default();
    let commit = |line: &str| Some(serde_json::from_str::<Value>(line).ok()?["commit"].as_str()?.to_string());
    text.lines().filter_map(commit).collect()
}

fn note_place(dir: &RunDir, place: &Place) -> Result<(), RunError> {
    let line = serde_json::to_string(place).expect("invariant: plain data serialise");
    let before = match dir.file(PROVENANCE).exists() {
        true => dir.read(PROVENANCE)?,
        false => String::new(),
    };
    if before.lines().last() == Some(line.as_str()) {
        return Ok(());
    }
    dir.write(PROVENANCE, format!("{before}{line}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_of_place_is_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let dir = RunDir::create(&folder.path().join("run")).unwrap();
        let place =
            |host: &str, job: &str| Place { host: host.into(), job: job.into(), version: "1", commit: "c" };
        for (host, job) in [("a", ""), ("a", ""), ("a", "7"), ("b", "7"), ("b", "7"), ("a", "")] {
            note_place(&dir, &place(host, job)).unwrap();
        }
        let text = dir.read(PROVENANCE).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], r#"{"host":"a","job":"7","version":"1","commit":"c"}"#);
        assert_eq!(lines.len(), 4, "{text}");
        assert_eq!(commits(dir.path()), ["c"; 4]);
        note(&dir).unwrap();
        assert!(dir.read(PROVENANCE).unwrap().ends_with(&format!("\"commit\":\"{COMMIT}\"}}\n")));
    }
}
