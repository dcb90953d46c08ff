//! Where libmujoco comes from on a machine that may never have seen it.
//!
//! Order: `MUJOCO_PATH`; our cache; the `mujoco` package of the active Python; the system's library
//! folders; a download by pip, checked against a fixed SHA-256, into the cache. All of it happens
//! when the first simulation is made, so that building needs neither MuJoCo nor a network.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::command::run;

/// The release that is fetched: the reference traces were recorded with it.
pub const RELEASE: &str = "3.3.7";

/// Both ways out of every failure of the search.
pub const CURES: &str =
    "run `pip install mujoco==3.3.7`, or `export MUJOCO_PATH=/path/to/libmujoco.so.3.3.7`";

/// How a library was found, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The user named it.
    MujocoPath,
    /// Fetched earlier, or just now.
    Cache,
    /// Part of the Python package.
    Python,
    /// In a library folder of the system.
    System,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Origin::MujocoPath => "MUJOCO_PATH",
            Origin::Cache => "cache",
            Origin::Python => "Python package",
            Origin::System => "system library",
        })
    }
}

/// Everything outside the program that the search depends on; tests make their own.
pub struct Surroundings {
    /// `MUJOCO_PATH`: the library or a folder that holds it.
    pub mujoco_path: Option<PathBuf>,
    /// Our own cache folder, `.../baq`; `None` when there is no home.
    pub cache: Option<PathBuf>,
    /// `BAQ_NO_FETCH=1` forbids the download.
    pub no_fetch: bool,
    /// Names of the Python interpreter, tried in order.
    pub python: Vec<OsString>,
    /// Library folders.
    pub system: Vec<PathBuf>,
    /// Operating system and processor, as Rust calls them.
    pub platform: (&'static str, &'static str),
    /// How long Python may take to answer, and pip to download.
    pub patience: (Duration, Duration),
}

impl Surroundings {
    /// Of this process.
    pub fn here() -> Surroundings {
        let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
        Surroundings {
            mujoco_path: variable("MUJOCO_PATH").map(PathBuf::from),
            cache: crate::files::cache(),
            no_fetch: flag("BAQ_NO_FETCH"),
            python: vec!["python3".into(), "python".into()],
            system: [
                "/usr/local/lib".to_string(),
                "/usr/lib".to_string(),
                format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH),
            ]
            .map(PathBuf::from)
            .to_vec(),
            platform: (std::env::consts::OS, std::env::consts::ARCH),
            patience: (Duration::from_secs(10), Duration::from_secs(120)),
        }
    }

    pub fn cached_folder(&self) -> Option<PathBuf> {
        self.cache.as_ref().map(|cache| cache.join(format!("mujoco-{RELEASE}")))
    }

    /// The library that the user named; anything wrong with it is an error, never passed over.
    pub fn named(&self) -> Result<Option<PathBuf>, String> {
        let Some(path) = &self.mujoco_path else {
            return Ok(None);
        };
        if path.is_file() {
            return Ok(Some(path.clone()));
        }
        for folder in [path.clone(), path.join("lib"), path.join("mujoco")] {
            if let Some(found) = library_in(&folder) {
                return Ok(Some(found));
            }
        }
        let what = if path.is_dir() { "holds no libmujoco.so*" } else { "does not exist" };
        Err(format!(
            "MUJOCO_PATH={} {what}; set it to the library (or its folder) or unset it to let baq search",
            path.display()
        ))
    }

    /// The library in our cache.
    pub fn cached(&self) -> Option<PathBuf> {
        library_in(&self.cached_folder()?)
    }

    /// The library inside the `mujoco` package of the first Python that has one; an error for one that does not answer.
    pub fn in_python(&self) -> Result<Option<PathBuf>, String> {
        // The working directory is no place for packages.
        let program = "import sys; sys.path = [p for p in sys.path if p]; \
                       import importlib.util as u; s = u.find_spec('mujoco'); \
                       print(list(s.submodule_search_locations)[0] if s else '')";
        for python in &self.python {
            let output = match run(Command::new(python).args(["-c", program]), self.patience.0) {
                Ok(output) => output,
                Err(e) if e.kind() == ErrorKind::TimedOut => {
                    return Err(format!("{} {e}", Path::new(python).display()));
                }
                Err(_) => continue,
            };
            let Ok(folder) = String::from_utf8(output.stdout) else { continue };
            let folder = folder.trim_end_matches(['\r', '\n']);
            if output.status.success()
                && !folder.is_empty()
                && let Some(library) = library_in(Path::new(folder))
            {
                return Ok(Some(library));
            }
        }
        Ok(None)
    }

    /// Libraries in the system's folders.
    pub fn in_system(&self) -> Vec<PathBuf> {
        self.system.iter().filter_map(|folder| library_in(folder)).collect()
    }
}

/// True when an environment variable is set to something other than "" or "0".
pub fn flag(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|v| !v.is_empty() && v != "0")
}

/// The library in a folder: the unversioned link, else the last name in order.
pub fn library_in(folder: &Path) -> Option<PathBuf> {
    files_in(folder)
        .into_iter()
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name == "libmujoco.so"
                || name == "libmujoco.dylib"
                || name.starts_with("libmujoco.so.")
                || (name.starts_with("libmujoco.") && name.ends_with(".dylib"))
        })
        .max_by_key(|path| (path.extension().is_some_and(|e| e == "so"), path.clone()))
}

/// The files of a folder; none when it cannot be read.
pub fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// One test at a time: Linux refuses to run a script while a child that another thread is just
    /// starting still holds the descriptor through which it was written.
    pub fn alone() -> MutexGuard<'static, ()> {
        static LOCK: Mutex<()> = Mutex::new(());
        LOCK.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A machine with nothing on it but, perhaps, a fake Python made of a shell script.
    pub fn machine(folder: &Path, python: Option<&str>) -> Surroundings {
        let name = folder.join("python3");
        if let Some(script) = python {
            fs::write(&name, format!("#!/bin/sh\n{script}\n")).expect("invariant: writable");
            fs::set_permissions(&name, fs::Permissions::from_mode(0o755)).expect("invariant: ours");
        }
        Surroundings {
            mujoco_path: None,
            cache: Some(folder.join("cache")),
            no_fetch: false,
            python: vec![name.into()],
            system: vec![folder.join("lib")],
            platform: ("linux", "x86_64"),
            patience: (Duration::from_secs(5), Duration::from_secs(5)),
        }
    }

    #[test]
    fn the_places_are_searched_as_promised() {
        let _alone = alone();
        let folder = tempfile::tempdir().expect("invariant: a temporary folder");
        let at = folder.path();
        let package = at.join("site/mujoco");
        let mut machine = machine(at, Some(&format!("echo {}", package.display())));
        assert_eq!(machine.named(), Ok(None));
        assert_eq!(machine.cached(), None);
        assert_eq!(machine.in_python(), Ok(None), "the 4.0 stub package has no library");
        assert!(machine.in_system().is_empty());

        let put = |path: PathBuf| {
            fs::create_dir_all(path.parent().expect("invariant: has a parent"))
                .and_then(|()| fs::write(&path, ""))
                .expect("invariant: writable");
            path
        };
        let python = put(package.join("libmujoco.so.3.17.0"));
        assert_eq!(machine.in_python(), Ok(Some(python)));
        put(at.join("lib/libmujoco.so.3.3.7"));
        let link = put(at.join("lib/libmujoco.so"));
        put(at.join("lib/libmujoco_other.so"));
        assert_eq!(machine.in_system(), [link]);
        let cached = put(at.join("cache/mujoco-3.3.7/libmujoco.so.3.3.7"));
        assert_eq!(machine.cached(), Some(cached));

        machine.mujoco_path = Some(at.join("site"));
        assert_eq!(machine.named(), Ok(Some(package.join("libmujoco.so.3.17.0"))));
        machine.mujoco_path = Some(at.join("cache"));
        assert!(machine.named().unwrap_err().contains("holds no libmujoco.so"));
        machine.mujoco_path = Some(at.join("nowhere"));
        assert!(machine.named().unwrap_err().contains("does not exist"));
    }
}
