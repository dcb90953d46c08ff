//! Folders in which commands and runs leave their files.

use std::fs;
use std::path::{Path, PathBuf};

use baq::cli::Common;
use baq_datasets::{Columns, synthetic, write};
use baq_kernels::Numerics;
use tempfile::TempDir;

/// What a command is given beside its own options.
pub const COMMON: Common =
    Common { threads: None, isa: None, numerics: Numerics::F32, seed: None, json: true };

/// A folder with toy data and the runs made from them.
pub struct Place(pub TempDir);

impl Place {
    pub fn new() -> Place {
        Place::of(300)
    }

    /// With so many rows, of states of 3 and actions of 1 as in the toy task.
    pub fn of(rows: usize) -> Place {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let columns = synthetic::point(5, rows, 3, 1);
        write_d4rl(&dir.path().join("toy.hdf5"), &columns);
        Place(dir)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// A file in D4RL's layout.
pub fn write_d4rl(path: &Path, columns: &Columns) {
    let file = fs::File::create(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    write::encode(path, columns, &write::Options::default(), file).unwrap_or_else(|e| panic!("{e}"));
}

/// Copies a folder with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &target),
            false => drop(fs::copy(&path, &target).unwrap()),
        }
    }
}

/// An empty folder of this name in the target directory, which stays for whoever looks at what a test has left.
pub fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Asks a process to end, as a cluster does.
pub fn terminate(process: &std::process::Child) {
    let id = rustix::process::Pid::from_child(process);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it is not waited for yet");
}
