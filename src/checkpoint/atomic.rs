//! Files that are either the old one or the new one, never half of one.
//!
//! Every file that is not appended to is written so: under a temporary name beside it, fsync, rename, fsync of the
//! directory. The temporary name is a function of the file's own, so that whoever writes the file again after a kill
//! removes what was left behind; [`sweep`] does so for a whole directory. The process that writes holds a lock on its
//! temporary file, and what is locked is not taken for left behind.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use tempfile::NamedTempFile;

/// How temporary names end; they begin with a dot.
const ENDING: &str = ".baq-tmp";

/// A file on its way: what is written to it appears at its path whole, or not at all.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    temporary: NamedTempFile,
}

impl Draft {
    /// Begins a file that is to appear at `path`. An error of kind `ResourceBusy` if another process is writing it.
    /// Errors name no file; the caller does.
    pub fn of(path: &Path) -> io::Result<Draft> {
        let (folder, name) = (directory(path), temporary_name(path)?);
        // No random letters: see above.
        let mut builder = tempfile::Builder::new();
        builder.prefix(&name).suffix("").rand_bytes(0);
        let create = |path: &Path| OpenOptions::new().write(true).create_new(true).open(path);
        loop {
            match builder.make_in(folder, create) {
                Ok(mut temporary) => {
                    // On file systems without locks two writers of one file are not told apart.
                    let lost = matches!(temporary.as_file().try_lock(), Err(TryLockError::WouldBlock));
                    // Between creation and lock someone may have taken it for left behind.
                    if !lost && is_at(temporary.as_file(), temporary.path()) {
                        return Ok(Draft { path: path.to_path_buf(), temporary });
                    }
                    // The name is another writer's now.
                    temporary.disable_cleanup(true);
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => discard(&folder.join(&name))?,
                Err(e) => return Err(e),
            }
        }
    }

    /// To write to.
    pub fn file(&mut self) -> &mut File {
        self.temporary.as_file_mut()
    }

    /// Puts the file in its place, instead of an older one. Errors: what was written does not reach the disk, or the
    /// name cannot be given, as that of a directory; where only the directory cannot be flushed, the file is in its
    /// place all the same.
    pub fn replace(self) -> io::Result<()> {
        self.temporary.as_file().sync_all()?;
        self.temporary.persist(&self.path)?;
        sync(directory(&self.path))
    }

    /// Puts the file in its place. An error of kind `AlreadyExists` if there is anything.
    pub fn create(self) -> io::Result<()> {
        self.temporary.as_file().sync_all()?;
        self.temporary.persist_noclobber(&self.path)?;
        sync(directory(&self.path))
    }
}

/// Writes `bytes` to `path` so that a reader, or a machine that loses power, sees either what was there before or all of
/// `bytes`. Errors name no file; the caller does.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut draft = Draft::of(path)?;
    draft.file().write_all(bytes)?;
    draft.replace()
}

/// Writes a file that another process may be writing too, and is done with soon: after it. Errors: as [`write_atomic`];
/// it is still being written after five seconds.
pub fn write_after_others(path: &Path, bytes: &[u8]) -> io::Result<()> {
    for _ in 0..100 {
        match write_atomic(path, bytes) {
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy => thread::sleep(Duration::from_millis(50)),
            done => return done,
        }
    }
    write_atomic(path, bytes)
}

/// Makes a directory and those above it, durably. Errors: something on the way is no directory, or does not let one be
/// made; the one above it cannot be flushed.
pub fn create_directories(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = directory(path);
    create_directories(above)?;
    match fs::create_dir(path) {
        // Another process was first.
        Err(_) if path.is_dir() => Ok(()),
        made => made.and_then(|()| sync(above)),
    }
}

/// Removes temporary files that killed processes have left in a directory; there need not be one. Errors: it is no
/// directory or cannot be read; a file that nobody is writing cannot be opened or removed.
pub fn sweep(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if is_temporary(&entry.file_name()) {
            match discard(&entry.path()) {
                // Its writer lives.
                Err(e) if e.kind() == io::ErrorKind::ResourceBusy => {}
                other => other?,
            }
        }
    }
    Ok(())
}

/// Removes what a killed writer of the file at `path` has left beside it. Errors: `path` ends in no name; another
/// process is writing the file (`ResourceBusy`); what is left cannot be opened or removed.
pub fn sweep_file(path: &Path) -> io::Result<()> {
    discard(&directory(path).join(temporary_name(path)?))
}

/// Removes a file, if it is there. Errors: it is a directory, or may not be removed.
pub fn remove(path: &Path) -> io::Result<()> {
    unless_gone(fs::remove_file(path))
}

fn unless_gone(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Whether a file of this name is one that [`sweep`] removes.
pub fn is_temporary(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(b".") && name.ends_with(ENDING.as_bytes())
}

fn temporary_name(path: &Path) -> io::Result<OsString> {
    let name =
        path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a file name"))?;
    Ok([OsStr::new("."), name, OsStr::new(ENDING)].into_iter().collect())
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Removes a temporary file, unless the process that writes it lives.
fn discard(temporary: &Path) -> io::Result<()> {
    match fs::symlink_metadata(temporary) {
        // Opening a FIFO would wait, and a link would lead away.
        Ok(there) if !there.is_file() => return remove(temporary),
        Ok(_) => {}
        Err(e) => return unless_gone(Err(e)),
    }
    let file = match File::open(temporary) {
        Ok(file) => file,
        Err(e) => return unless_gone(Err(e)),
    };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            Err(io::Error::new(io::ErrorKind::ResourceBusy, "another process is writing it"))
        }
        _ if is_at(&file, temporary) => remove(temporary),
        // Its writer has finished, and another has begun.
        _ => Ok(()),
    }
}

/// Whether an open file is the one of this name.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let number = |m: fs::Metadata| (m.dev(), m.ino());
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(a), Ok(b)) => number(a) == number(b),
        _ => false,
    }
}

/// Whether an open file is the one of this name: nobody can remove an open file here.
#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

/// A new name is durable only once its directory is.
fn sync(directory: &Path) -> io::Result<()> {
    match File::open(directory)?.sync_all() {
        // Not every file system can do it.
        Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_the_whole_file_or_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        write_atomic(&path, b"first").unwrap();
        write_atomic(&path, b"2").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
        assert_eq!(names(folder.path()), ["a.bin"]);

        let target = folder.path().join("directory");
        fs::create_dir_all(target.join("full")).unwrap();
        assert!(write_atomic(&target, b"x").is_err());
        assert_eq!(names(folder.path()), ["a.bin", "directory"], "no temporary file is left");
    }

    #[test]
    fn creation_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        let mut draft = Draft::of(&path).unwrap();
        draft.file().write_all(b"new").unwrap();
        assert_eq!(names(folder.path()), [".a.bin.baq-tmp"]);
        draft.create().unwrap();
        let mut draft = Draft::of(&path).unwrap();
        draft.file().write_all(b"other").unwrap();
        assert_eq!(draft.create().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["a.bin"]);
    }

    #[test]
    fn what_a_kill_leaves_is_removed_and_what_lives_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        // As a kill leaves it: a second name of a file that must not be touched, and half a file.
        fs::write(at("kept"), "precious").unwrap();
        fs::hard_link(at("kept"), at(".a.bin.baq-tmp")).unwrap();
        write_atomic(&at("a.bin"), b"whole").unwrap();
        fs::write(at(".b.bin.baq-tmp"), "ha").unwrap();
        fs::write(at(".c.bin.other"), "not ours").unwrap();
        let living = Draft::of(&at("d.bin")).unwrap();
        sweep(folder.path()).unwrap();
        assert_eq!(names(folder.path()), [".c.bin.other", ".d.bin.baq-tmp", "a.bin", "kept"]);
        assert_eq!(fs::read(at("kept")).unwrap(), b"precious");
        assert_eq!(fs::read(at("a.bin")).unwrap(), b"whole");
        assert_eq!(Draft::of(&at("d.bin")).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        drop(living);
        write_atomic(&at("d.bin"), b"after").unwrap();
        sweep(&at("nowhere")).unwrap();
        assert_eq!(names(folder.path()), [".c.bin.other", "a.bin", "d.bin", "kept"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_of_the_temporary_name_leads_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("victim"), "precious").unwrap();
        std::os::unix::fs::symlink(at("victim"), at(".a.bin.baq-tmp")).unwrap();
        write_atomic(&at("a.bin"), b"whole").unwrap();
        assert_eq!(fs::read(at("victim")).unwrap(), b"precious");
        assert_eq!(names(folder.path()), ["a.bin", "victim"]);
    }
}
