//! The download of libmujoco by pip, checked against a fixed SHA-256, into the cache.

use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sha2::{Digest, Sha256};

use super::command::{last_line, run};
use super::find::{RELEASE, Surroundings, files_in, library_in};

/// What pip downloads for one processor.
struct Wheel {
    arch: &'static str,
    platform: &'static str,
    wheel_sha256: &'static str,
    library_sha256: &'static str,
}

/// Always the CPython 3.11 wheels, whatever Python runs pip: the library in them is the same.
const WHEELS: [Wheel; 2] = [
    Wheel {
        arch: "x86_64",
        platform: "manylinux_2_28_x86_64",
        wheel_sha256: "9371506f0df2d82152685fc8d38465843abcea8d371745ea7c125001e8f3f2d8",
        library_sha256: "23841520ecf60ad648405674a757f260949f7cf6b44deb284398b9851b3f061d",
    },
    Wheel {
        arch: "aarch64",
        platform: "manylinux_2_28_aarch64",
        wheel_sha256: "9381bf5364eb2da86f0b1388c98b57e706123c8370660f977004fb5f94ef900f",
        library_sha256: "8e810a626a3ce394cd638b299785427fb48d3af77b62f3fa71095b9cf6bda1f0",
    },
];

impl Surroundings {
    fn wheel(&self) -> Result<&'static Wheel, String> {
        let (os, arch) = self.platform;
        let found = WHEELS.iter().find(|wheel| os == "linux" && wheel.arch == arch);
        found.ok_or_else(|| {
            format!("and there is no package of MuJoCo {RELEASE} for {os} on {arch} to download")
        })
    }

    /// An error, half a sentence ("it ..."), unless the file in the cache is the library that was downloaded: it may have
    /// been cut off since, or exchanged.
    pub fn check_cached(&self, path: &Path) -> Result<(), String> {
        let expected = self.wheel().map_or("that of no release", |wheel| wheel.library_sha256);
        match sha256(path).map_err(|e| format!("it cannot be read ({e})"))? {
            found if found == expected => Ok(()),
            found => Err(format!(
                "it is not the library of MuJoCo {RELEASE} (SHA-256 {found}, expected {expected})"
            )),
        }
    }

    /// A Python that starts.
    fn working_python(&self) -> Result<&OsString, String> {
        let mut silent = None;
        for python in &self.python {
            match run(Command::new(python).arg("--version"), self.patience.0) {
                Ok(output) if output.status.success() => return Ok(python),
                Err(e) if e.kind() == ErrorKind::TimedOut => {
                    silent.get_or_insert(format!("and {} {e}", Path::new(python).display()));
                }
                _ => {}
            }
        }
        Err(silent.unwrap_or_else(|| "and there is no python3 to download it with".into()))
    }

    /// Downloads the release into the cache and gives the library's path.
    ///
    /// Any number of processes may do so at once: each unpacks in its own temporary folder, and
    /// the first rename wins. The error is one sentence without the cures.
    pub fn fetch(&self) -> Result<PathBuf, String> {
        if self.no_fetch {
            return Err("and BAQ_NO_FETCH=1 forbids to download it (unset it to allow that)".into());
        }
        let wheel = self.wheel()?;
        let (Some(cache), Some(target)) = (&self.cache, self.cached_folder()) else {
            return Err("and neither XDG_CACHE_HOME nor HOME says where to keep a download".into());
        };
        let python = self.working_python()?;
        fs::create_dir_all(cache)
            .map_err(|e| format!("and the cache {} cannot be made ({e})", cache.display()))?;
        sweep(cache);
        let unwritable = |e| format!("and the cache {} is not writable ({e})", cache.display());
        let temporary = tempfile::Builder::new().prefix(FETCHING).tempdir_in(cache).map_err(unwritable)?;
        let living = fs::File::create(temporary.path().join(LIVING)).map_err(unwritable)?;
        // Where there are no locks, what a killed download leaves stays.
        let _ = living.try_lock();
        let broken =
            |what: &str, e: std::io::Error| format!("and {what} in {} failed ({e})", cache.display());
        let started = |module: &str, e: std::io::Error| format!("and python3 -m {module} {e}");

        eprintln!("baq: downloading MuJoCo {RELEASE} (7 MB, once) to {}", target.display());
        let at = temporary.path();
        let wish = at.join("requirements.txt");
        fs::write(&wish, format!("mujoco=={RELEASE} --hash=sha256:{}\n", wheel.wheel_sha256))
            .map_err(|e| broken("writing", e))?;
        let pip = run(
            Command::new(python)
                .args(["-m", "pip", "download", "--quiet", "--no-deps"])
                .args(["--disable-pip-version-check", "--no-input", "--retries", "2"])
                .args(["--require-hashes", "--only-binary=:all:"])
                .args(["--platform", wheel.platform, "--python-version", "3.11"])
                .args(["--implementation", "cp", "--abi", "cp311"])
                .arg("--dest")
                .arg(at)
                .arg("--requirement")
                .arg(&wish)
                // Python would run a module of this name in the working directory.
                .current_dir(at),
            self.patience.1,
        )
        .map_err(|e| started("pip", e))?;
        if !pip.status.success() {
            return Err(pip_failure(&pip));
        }
        let file = files_in(at)
            .into_iter()
            .find(|p| p.extension().is_some_and(|e| e == "whl"))
            .ok_or("and pip said it downloaded MuJoCo but left no wheel")?;
        let unpacked = at.join("unpacked");
        let zip = run(
            Command::new(python).args(["-m", "zipfile", "-e"]).arg(&file).arg(&unpacked).current_dir(at),
            self.patience.1,
        )
        .map_err(|e| broken("starting python3 -m zipfile", e))?;
        if !zip.status.success() {
            return Err(format!("and the downloaded wheel cannot be unpacked ({})", last_line(&zip.stderr)));
        }

        let library =
            library_in(&unpacked.join("mujoco")).ok_or("and the downloaded wheel holds no libmujoco.so")?;
        let found = sha256(&library).map_err(|e| broken("reading the download", e))?;
        if found != wheel.library_sha256 {
            return Err(format!(
                "and the downloaded library has SHA-256 {found}, expected {}",
                wheel.library_sha256
            ));
        }
        let staged = at.join("staged");
        let name = format!("libmujoco.so.{RELEASE}");
        fs::create_dir(&staged)
            .and_then(|()| fs::rename(&library, staged.join(&name)))
            .and_then(|()| fs::File::open(staged.join(&name))?.sync_all())
            .map_err(|e| broken("unpacking", e))?;
        let path = target.join(name);
        if fs::rename(&staged, &target).is_err() {
            // Another process was faster, or something else is in the way.
            if self.check_cached(&path).is_err() {
                let _ = fs::rename(&target, at.join("damaged")); // whether it went is seen at the next line
                fs::rename(&staged, &target)
                    .or_else(|e| self.check_cached(&path).map_err(|_| e))
                    .map_err(|e| broken("renaming the download", e))?;
            }
        }
        Ok(path)
    }
}

/// How the folders of downloads begin.
const FETCHING: &str = "fetching-";
/// The file in such a folder that its process holds a lock on.
const LIVING: &str = "living";

/// Removes the folders of downloads that were killed.
fn sweep(cache: &Path) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        let folder = entry.path();
        let fetching = entry.file_name().to_string_lossy().starts_with(FETCHING);
        let dead = || fs::File::open(folder.join(LIVING)).is_ok_and(|file| file.try_lock().is_ok());
        if fetching && dead() {
            // One that stays is tried again next time.
            let _ = fs::remove_dir_all(&folder);
        }
    }
}

/// Digest of a file, in hexadecimal.
pub fn sha256(path: &Path) -> std::io::Result<String> {
    let (mut file, mut hash) = (crate::files::open(path)?, Sha256::new());
    let mut block = vec![0; 1 << 16];
    loop {
        match file.read(&mut block)? {
            0 => break,
            n => hash.update(&block[..n]),
        }
    }
    Ok(crate::files::hex(&hash.finalize()))
}

/// Says in one sentence what pip says in thirty lines.
fn pip_failure(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    if text.contains("No module named pip") {
        return "and python3 has no pip to download it with (Debian: `apt install python3-pip`)".into();
    }
    if text.contains("DO NOT MATCH THE HASHES") {
        return "and the package that pip was given does not have the expected SHA-256: \
                the package index or its cache is damaged or not to be trusted"
            .into();
    }
    let unreachable = [
        "NewConnectionError",
        "Temporary failure in name resolution",
        "Network is unreachable",
        "ConnectTimeoutError",
        "ReadTimeoutError",
        "ProxyError",
    ];
    if unreachable.iter().any(|word| text.contains(word)) {
        return "and pip cannot reach the package index to download it".into();
    }
    if text.contains("No matching distribution found") {
        return format!("and the package index has no MuJoCo {RELEASE} for this machine");
    }
    format!("and pip could not download it ({})", last_line(&output.stderr))
}

#[cfg(test)]
mod tests {
    use super::super::find::tests::{alone, machine};
    use super::*;
    use std::time::Duration;

    #[test]
    fn killed_downloads_leave_nothing_for_ever() {
        let folder = tempfile::tempdir().expect("invariant: a temporary folder");
        let living = |name: &str| {
            fs::create_dir(folder.path().join(name)).expect("invariant: writable");
            fs::File::create(folder.path().join(name).join(LIVING)).expect("invariant: writable")
        };
        drop(living("fetching-dead"));
        drop(living("mujoco"));
        let other = living("fetching-living");
        other.try_lock().expect("invariant: nobody else knows it");
        sweep(folder.path());
        let mut names: Vec<_> =
            fs::read_dir(folder.path()).expect("invariant: there").flatten().map(|e| e.file_name()).collect();
        names.sort();
        assert_eq!(names, ["fetching-living", "mujoco"]);
    }

    /// A Python whose pip prints `stderr` and fails.
    fn failing_pip(stderr: &str) -> String {
        format!("[ \"$1\" = --version ] && exit 0\necho '{stderr}' >&2\nexit 1")
    }

    #[test]
    fn every_failure_of_the_download_has_its_own_sentence() {
        let _alone = alone();
        for (python, expected) in [
            (None, "no python3"),
            (Some(failing_pip("/bin/python3: No module named pip")), "apt install python3-pip"),
            (Some(failing_pip("NewConnectionError: x")), "cannot reach the package index"),
            (Some(failing_pip("ERROR: No matching distribution found for mujoco")), "has no MuJoCo"),
            (Some(failing_pip("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM")), "SHA-256"),
            (Some(failing_pip("a\nERROR: disk full")), "(ERROR: disk full)"),
            (Some("exit 0".to_string()), "left no wheel"),
        ] {
            let folder = tempfile::tempdir().expect("invariant: a temporary folder");
            let error = machine(folder.path(), python.as_deref()).fetch().unwrap_err();
            assert!(error.contains(expected), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
            let left = fs::read_dir(folder.path().join("cache")).map_or(0, |d| d.count());
            assert_eq!(left, 0, "a failed download leaves nothing behind");
        }
    }

    #[test]
    fn a_wheel_with_another_library_is_refused() {
        let _alone = alone();
        let folder = tempfile::tempdir().expect("invariant: a temporary folder");
        // pip: $1 -m, $2 pip; the folder follows --dest. zipfile: -m zipfile -e FILE FOLDER.
        let python = "case \"$2\" in\n\
             pip) while [ \"$1\" != --dest ]; do shift; done; : > \"$2/m.whl\" ;;\n\
             zipfile) mkdir -p \"$5/mujoco\"; echo no > \"$5/mujoco/libmujoco.so.3.3.7\" ;;\n\
             esac";
        let error = machine(folder.path(), Some(python)).fetch().unwrap_err();
        assert!(error.contains("expected 23841520"), "{error}");
    }

    #[test]
    fn a_python_that_hangs_is_given_up() {
        let _alone = alone();
        let folder = tempfile::tempdir().expect("invariant: a temporary folder");
        let hangs = |script: &str| {
            let mut machine = machine(folder.path(), Some(script));
            machine.patience = (Duration::from_millis(300), Duration::from_millis(300));
            machine
        };
        // The child of a child that was ended holds its output open.
        let silent = hangs("sleep 60 & sleep 60");
        assert!(silent.in_python().unwrap_err().ends_with("python3 did not answer within 0 seconds"));
        assert!(silent.fetch().unwrap_err().contains("python3 did not answer within"));
        let error = hangs("[ \"$1\" = --version ] && exit 0\nsleep 60").fetch().unwrap_err();
        assert!(error.starts_with("and python3 -m pip did not answer within 0 seconds"), "{error}");
        let left = fs::read_dir(folder.path().join("cache")).map_or(0, |d| d.count());
        assert_eq!(left, 0, "a download that was given up leaves nothing behind");
    }

    #[test]
    fn what_is_in_the_cache_is_compared_with_what_was_downloaded() {
        let _alone = alone();
        let folder = tempfile::tempdir().expect("invariant: a temporary folder");
        let mut machine = machine(folder.path(), None);
        let path = folder.path().join("libmujoco.so.3.3.7");
        fs::write(&path, "cut off").expect("invariant: writable");
        let error = machine.check_cached(&path).unwrap_err();
        assert!(error.contains("not the library of MuJoCo 3.3.7") && error.contains("expected 23841520"));
        machine.platform = ("linux", "riscv64");
        assert!(machine.check_cached(&path).is_err(), "no such library can have been downloaded");
    }

    #[test]
    fn no_fetch_and_foreign_machines() {
        let _alone = alone();
        let folder = tempfile::tempdir().expect("invariant: a temporary folder");
        let mut machine = machine(folder.path(), None);
        machine.no_fetch = true;
        assert!(machine.fetch().unwrap_err().contains("BAQ_NO_FETCH=1"));
        machine.no_fetch = false;
        machine.platform = ("linux", "riscv64");
        assert!(machine.fetch().unwrap_err().contains("linux on riscv64"));
        machine.platform = ("linux", "x86_64");
        machine.cache = None;
        assert!(machine.fetch().unwrap_err().contains("XDG_CACHE_HOME"));
    }
}
