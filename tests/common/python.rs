//! Programs of the Python world that files are read with.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// `python3` with these packages.
pub fn python(packages: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", path(packages));
    command
}

/// The folder of these packages, which are fetched into the target directory when they are asked for first.
pub fn path(packages: &[&str]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python").join(packages.join("-"));
    fs::create_dir_all(&folder).unwrap();
    let (lock, done) = (File::create(folder.join("lock")).unwrap(), folder.join("done"));
    // Suites run beside one another.
    lock.lock().unwrap();
    if !done.exists() {
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade", "--target"];
        let out = Command::new("python3").args(pip).arg(&folder).args(packages).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(
            out.status.success(),
            "cannot fetch {packages:?}; python3 and pip are needed, and a network: {said}"
        );
        File::create(done).unwrap();
    }
    folder
}

/// Runs a script with these arguments; it says by its exit code whether all is well.
pub fn check(packages: &[&str], script: &str, arguments: &[&Path]) -> String {
    let out = python(packages).args(["-c", script]).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    said
}
