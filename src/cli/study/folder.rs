//! Data sets by name in a folder.

use std::path::{Path, PathBuf};

use baq_datasets::checksums::{known_files, plain};

use crate::train::TrainError;

/// The file of a data set in a folder: `NAME.hdf5`, or else the only one that begins with the name and is not another data
/// set's: `hopper-medium` is `hopper_medium-v2.hdf5`, and never `hopper_medium_replay-v2.hdf5`.
pub fn find(folder: &Path, name: &str) -> Result<PathBuf, TrainError> {
    let refuse = |what: String| TrainError::Input(format!("--data {}: {what}", folder.display()));
    let entries = std::fs::read_dir(folder)
        .map_err(|e| refuse(format!("expected a folder with the data sets of the study, got {e}")))?;
    let mut files: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|file| file.ends_with(".hdf5"))
        .collect();
    files.sort();
    if let Some(exact) = files.iter().find(|file| file.strip_suffix(".hdf5") == Some(name)) {
        return Ok(folder.join(exact));
    }
    let found: Vec<&String> = files.iter().filter(|file| is_of(file, name)).collect();
    match found[..] {
        [one] => Ok(folder.join(one)),
        [] => {
            let there = if files.is_empty() { "no HDF5 files".into() } else { files.join(", ") };
            Err(refuse(format!("expected {name}.hdf5 or one file {name}-*.hdf5, got {there}")))
        }
        _ => {
            let found: Vec<&str> = found.iter().map(|f| f.as_str()).collect();
            let found = found.join(", ");
            Err(refuse(format!("expected one file for {name}, got {found}; call the right one {name}.hdf5")))
        }
    }
}

/// Whether the file is of this data set: its name goes on with a version or the like.
fn is_of(file: &str, name: &str) -> bool {
    let (file, name) = (plain(file), plain(name));
    let begins = |name: &str| file.strip_prefix(name).is_some_and(|rest| rest.starts_with(['-', '.']));
    let longer = |other: &str| other.len() > name.len() && other.starts_with(&name) && begins(other);
    begins(&name) && !published().iter().any(|other| longer(other))
}

/// Names of D4RL's data sets, without version.
fn published() -> Vec<String> {
    let name = |file: &str| plain(file.split_once("-v").map_or(file, |(name, _)| name));
    known_files().iter().map(|known| name(known.file())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_find_their_files_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let write = |file: &str| std::fs::write(folder.path().join(file), "").unwrap();
        let found = |name: &str| find(folder.path(), name).map(|p| p.file_name().unwrap().to_owned());
        let said = |name: &str| found(name).unwrap_err().to_string();
        assert!(said("hopper-medium").ends_with("got no HDF5 files"), "{}", said("hopper-medium"));
        for file in
            ["hopper_medium-v2.hdf5", "hopper_medium_replay-v2.hdf5", "walker2d-medium-regen.hdf5", "x.txt"]
        {
            write(file);
        }
        assert_eq!(found("hopper-medium").unwrap(), "hopper_medium-v2.hdf5");
        assert_eq!(found("hopper-medium-replay").unwrap(), "hopper_medium_replay-v2.hdf5");
        assert_eq!(found("walker2d-medium").unwrap(), "walker2d-medium-regen.hdf5");
        for missing in ["hopper", "hopper-med", "walker2d-medium-replay", "hopper-medium-expert"] {
            let e = said(missing);
            assert!(e.contains("expected") && e.contains("got hopper_medium-v2.hdf5, "), "{missing}: {e}");
        }
        write("hopper-medium-regen.hdf5");
        let e = said("hopper-medium");
        assert!(e.contains("got hopper-medium-regen.hdf5, hopper_medium-v2.hdf5; call"), "{e}");
        write("hopper-medium.hdf5");
        assert_eq!(found("hopper-medium").unwrap(), "hopper-medium.hdf5");
        let none = find(&folder.path().join("none"), "x").unwrap_err().to_string();
        assert!(none.contains("none: expected a folder"), "{none}");
    }
}
