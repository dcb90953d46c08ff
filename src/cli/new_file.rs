//! Files that a user asks for: they appear whole or not at all, and replace nothing.

use std::fs::File;
use std::io::{Error, ErrorKind};
use std::path::Path;

use crate::checkpoint::atomic::{self, Draft};
use crate::train::TrainError;
use crate::train::rundir::RunError;

/// Finds before the work what would stand against writing after it.
pub fn check(path: &Path) -> Result<(), TrainError> {
    let file = path.display();
    if path.exists() {
        // Where a file is put in its place in two steps, a kill between them leaves its temporary name.
        let _ = atomic::sweep_file(path);
        return Err(exists(path));
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => return Ok(()),
    };
    match folder.is_dir() {
        true => Ok(()),
        false => Err(TrainError::Input(format!(
            "{file}: expected a file in an existing folder, and {} is not one; create it first",
            folder.display()
        ))),
    }
}

/// Creates a file of what `write` writes.
pub fn create(
    path: &Path,
    write: impl FnOnce(&mut File) -> Result<(), TrainError>,
) -> Result<(), TrainError> {
    let fail = |e: Error| match e.kind() {
        ErrorKind::AlreadyExists => exists(path),
        _ => RunError::io(path, "write the file")(e).into(),
    };
    let mut draft = Draft::of(path).map_err(fail)?;
    write(draft.file())?;
    draft.create().map_err(fail)
}

fn exists(path: &Path) -> TrainError {
    baq_datasets::Error::Exists { file: path.display().to_string() }.into()
}
