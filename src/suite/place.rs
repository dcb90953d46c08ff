//! Where the data sets lie on this machine: their folder, whether a file there is whole, and whether there is room.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use baq_datasets::Source;

use super::recipe::Recorded;
use crate::checkpoint::atomic;
use crate::train::TrainError;
use crate::train::progress::Stop;

/// Names the folder.
pub const DATA: &str = "BAQ_SUITE_DATA";

/// The folder: [`DATA`], else `suite` in this program's cache. Errors: no [`DATA`], `XDG_CACHE_HOME` or `HOME`.
pub fn folder() -> Result<PathBuf, TrainError> {
    let named = std::env::var_os(DATA).filter(|v| !v.is_empty()).map(PathBuf::from);
    let cache = || crate::files::cache().map(|cache| cache.join("suite"));
    named.or_else(cache).ok_or_else(|| {
        TrainError::Input(format!(
            "there is no place for the data sets of the suite: neither XDG_CACHE_HOME nor HOME is set; name a folder with {DATA}"
        ))
    })
}

/// What is found where a data set should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// nothing
    Missing,
    /// the file that was recorded
    Whole,
    /// another one; why
    Damaged(String),
}

/// Looks at a file, all of it if its length is right. Errors: what is there cannot be read, such as a directory.
pub fn look(path: &Path, recorded: &Recorded) -> Result<Found, TrainError> {
    let fail = |e: std::io::Error| {
        TrainError::Input(format!("{}: cannot read: {e}; {DATA} names another folder", path.display()))
    };
    let there = match fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Missing),
        there => there.map_err(fail)?,
    };
    if there.is_file() && there.len() != recorded.bytes {
        return Ok(Found::Damaged(format!("expected {} bytes, got {}", recorded.bytes, there.len())));
    }
    let got = Source::of_files(path, &[])?.sha256;
    match got == recorded.sha256 {
        true => Ok(Found::Whole),
        false => Ok(Found::Damaged(format!("expected sha256 {}, got {got}", recorded.sha256))),
    }
}

/// Whether a file of the recorded length is there; [`look`] reads it.
pub fn seems_there(path: &Path, recorded: &Recorded) -> bool {
    fs::metadata(path).is_ok_and(|there| there.is_file() && there.len() == recorded.bytes)
}

/// An error unless so many bytes fit into the folder.
pub fn check_space(folder: &Path, needed: u64) -> Result<(), TrainError> {
    let otherwise = format!("name another folder with {DATA}");
    crate::files::check_space(folder, needed, &otherwise).map_err(TrainError::Input)
}

/// Makes the folder. Errors: it is not there and cannot be made.
pub fn make(folder: &Path) -> Result<(), TrainError> {
    atomic::create_directories(folder).map_err(|e| {
        let folder = folder.display();
        TrainError::Input(format!("{folder}: cannot make the folder: {e}; name another with {DATA}"))
    })
}

/// Waits until no other process builds the file at `path`; `None` if a signal came first. Where the file system has no
/// locks, several may build it at once, and the first that is ready stays.
pub fn lock(path: &Path, stop: &Stop) -> Result<Option<File>, TrainError> {
    let lock = path.with_extension("lock");
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).open(&lock).map_err(|e| {
        let lock = lock.display();
        TrainError::Input(format!("{lock}: cannot open the lock: {e}; name a folder to write to with {DATA}"))
    })?;
    let mut waits = false;
    while let Err(TryLockError::WouldBlock) = file.try_lock() {
        if !waits {
            eprintln!("baq: {}: another process is building it; waiting", path.display());
            waits = true;
        }
        if stop.requested() {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(Some(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::recipe::Figures;

    #[test]
    fn a_file_is_whole_or_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.hdf5");
        let figures = Figures { rows: 1, episodes: 1, return_mean: None, return_max: None };
        let sha256 = Source::of_bytes("", b"abc").sha256;
        let recorded = Recorded { bytes: 3, sha256, figures };
        assert_eq!(look(&path, &recorded).unwrap(), Found::Missing);
        fs::write(&path, "abc").unwrap();
        assert_eq!(look(&path, &recorded).unwrap(), Found::Whole);
        fs::write(&path, "abd").unwrap();
        assert!(matches!(look(&path, &recorded).unwrap(), Found::Damaged(why) if why.contains("sha256")));
        fs::write(&path, "ab").unwrap();
        assert_eq!(look(&path, &recorded).unwrap(), Found::Damaged("expected 3 bytes, got 2".into()));
    }

    #[test]
    fn room_is_looked_for_before() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check_space(folder.path(), 1).is_ok());
        let error = check_space(folder.path(), u64::MAX).unwrap_err().to_string();
        assert!(error.contains("17179869184.0 GiB on the disk") && error.contains(DATA), "{error}");
    }

    #[test]
    fn one_process_builds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.hdf5");
        let stop = Stop::default();
        let held = lock(&path, &stop).unwrap();
        assert!(held.is_some());
        stop.request();
        assert!(lock(&path, &stop).unwrap().is_none(), "a signal ends the waiting");
        drop(held);
        assert!(lock(&path, &stop).unwrap().is_some());
    }
}
