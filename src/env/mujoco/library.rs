//! The libmujoco of this process: found, opened and asked how it lays out a state.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::ffi::{Api, Model};
use super::find::{self, Origin};
use super::version::Version;
use super::{elf, fetch};
use crate::env::EnvError;

/// The libmujoco of this process.
pub struct MuJoCo {
    api: &'static Api,
    /// Bit of the solver's memory in state vectors.
    pub(super) warmstart: u32,
    /// Bit of the control in state vectors.
    pub(super) control: u32,
    path: PathBuf,
    sha256: String,
    origin: Origin,
}

impl MuJoCo {
    /// Its release.
    pub fn version(&self) -> Version {
        self.api.version()
    }

    /// Its release in its own words.
    pub fn release(&self) -> &str {
        self.api.release()
    }

    /// SHA-256 of the file it was loaded from.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The file it was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How the file was found.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    fn open(path: &Path, origin: Origin) -> Result<MuJoCo, String> {
        // A name without a slash would be looked for elsewhere than it is read here.
        let path = &std::path::absolute(path).map_err(|e| format!("it cannot be read ({e})"))?;
        elf::check(path)?;
        let sha256 = fetch::sha256(path).map_err(|e| format!("it cannot be read ({e})"))?;
        let api = Api::open(path)?;
        let (warmstart, control) = state_bits(api)?;
        Ok(MuJoCo { api, warmstart, control, path: path.to_path_buf(), sha256, origin })
    }

    /// Compiles MJCF text, by way of a temporary file (see [`Model::load`]).
    pub(super) fn compile(&self, mjcf: &str) -> Result<Arc<Model>, String> {
        compile(self.api, mjcf).map(Arc::new)
    }
}

impl std::fmt::Display for MuJoCo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (version, path) = (self.version(), self.path.display());
        write!(f, "MuJoCo {version} ({path}, {})", self.origin)
    }
}

/// Finds, if need be fetches, and opens MuJoCo; once per process.
///
/// # Errors
/// One sentence that ends with the two cures. A later call tries again.
pub fn library() -> Result<&'static MuJoCo, EnvError> {
    open(true)
}

/// As [`library`], but downloads nothing.
///
/// # Errors
/// As [`library`]; where a download would help, the sentence says so.
pub fn installed() -> Result<&'static MuJoCo, EnvError> {
    open(false)
}

/// The library in the cache, downloaded if it is not there or not whole; and whether it was downloaded.
///
/// # Errors
/// As [`library`].
pub fn fetched() -> Result<(MuJoCo, bool), EnvError> {
    into_cache(&find::Surroundings::here()).map_err(|e| EnvError::MuJoCo(format!("{e}; {}", find::CURES)))
}

fn into_cache(surroundings: &find::Surroundings) -> Result<(MuJoCo, bool), String> {
    let whole = |path: &PathBuf| surroundings.check_cached(path).is_ok();
    let (path, downloaded) = match surroundings.cached().filter(whole) {
        Some(path) => (path, false),
        None => (surroundings.fetch().map_err(|e| format!("MuJoCo is not in the cache {e}"))?, true),
    };
    let library = MuJoCo::open(&path, Origin::Cache);
    Ok((library.map_err(|e| format!("{} cannot be used: {e}", path.display()))?, downloaded))
}

fn open(fetch: bool) -> Result<&'static MuJoCo, EnvError> {
    static LIBRARY: Mutex<Option<&'static MuJoCo>> = Mutex::new(None);
    let mut library = LIBRARY.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(library) = *library {
        return Ok(library);
    }
    let found = search(&find::Surroundings::here(), fetch)
        .map_err(|e| EnvError::MuJoCo(format!("{e}; {}", find::CURES)))?;
    Ok(*library.insert(Box::leak(Box::new(found))))
}

fn search(surroundings: &find::Surroundings, fetch: bool) -> Result<MuJoCo, String> {
    if let Some(path) = surroundings.named()? {
        return MuJoCo::open(&path, Origin::MujocoPath)
            .map_err(|e| format!("MUJOCO_PATH={} cannot be used: {e}", path.display()));
    }
    let fetched = || {
        let path = surroundings.fetch()?;
        MuJoCo::open(&path, Origin::Cache).map_err(|e| format!("but {} cannot be used: {e}", path.display()))
    };
    // What the user did not name is tried quietly; unusable files are mentioned in the end.
    let mut passed_over = Vec::new();
    let skip = |path: &Path, e: String| format!("{} was passed over: {e}", path.display());
    let cached = surroundings.cached();
    if let Some(path) = &cached {
        if let Err(e) = surroundings.check_cached(path) {
            passed_over.push(skip(path, e));
            if fetch {
                eprintln!("baq: {}", passed_over[0]);
                match fetched() {
                    Ok(found) => return Ok(found),
                    Err(e) => passed_over.push(format!("no whole copy of it was found {e}")),
                }
            }
        } else {
            match MuJoCo::open(path, Origin::Cache) {
                Ok(found) => return Ok(found),
                Err(e) => passed_over.push(skip(path, e)),
            }
        }
    }
    let in_python = surroundings.in_python().unwrap_or_else(|e| {
        passed_over.push(e);
        None
    });
    let others = in_python.map(|path| (path, Origin::Python)).into_iter();
    for (path, origin) in
        others.chain(surroundings.in_system().into_iter().map(|path| (path, Origin::System)))
    {
        match MuJoCo::open(&path, origin) {
            Ok(found) => return Ok(found),
            Err(e) => passed_over.push(skip(&path, e)),
        }
    }
    let why = match cached {
        Some(_) => "no usable MuJoCo was found".into(),
        // Where fetching is forbidden, asking for it only gives the sentence that says so.
        None if !fetch && !surroundings.no_fetch => {
            "MuJoCo is not installed; baq downloads it when it first needs it".into()
        }
        None => match fetched() {
            Ok(found) => return Ok(found),
            Err(e) => format!("MuJoCo was not found {e}"),
        },
    };
    passed_over.insert(0, why);
    Err(passed_over.join("; "))
}

/// The bits of the solver's memory and of the control, which moved in 3.5.0.
///
/// In a model whose parts all have different sizes, the control is the part with five numbers; in
/// every release the warm start stands just below it.
fn state_bits(api: &'static Api) -> Result<(u32, u32), String> {
    const PROBE: &str = r#"<mujoco><worldbody><body><geom size="1"/>
        <joint name="a" axis="1 0 0"/><joint name="b" axis="0 1 0"/></body></worldbody>
        <actuator><motor joint="a"/><motor joint="a"/><motor joint="a"/><motor joint="b"/>
        <motor joint="b"/></actuator></mujoco>"#;
    let model = compile(api, PROBE)?;
    let sizes: Vec<usize> = (0..7).map(|bit| model.size(1 << bit)).collect();
    let control = sizes.iter().position(|&size| size == 5);
    match control {
        Some(bit) if sizes[..3] == [1, 2, 2] && bit > 3 && sizes[bit - 1] == 2 => {
            Ok((1 << (bit - 1), 1 << bit))
        }
        _ => Err(format!("it lays out its state in an unknown way {sizes:?}")),
    }
}

fn compile(api: &'static Api, mjcf: &str) -> Result<Model, String> {
    let mut file = tempfile::Builder::new()
        .prefix("baq-")
        .suffix(".xml")
        .tempfile()
        .map_err(|e| format!("no temporary file can be made ({e})"))?;
    file.write_all(mjcf.as_bytes())
        .and_then(|()| file.flush())
        .map_err(|e| format!("{} cannot be written ({e})", file.path().display()))?;
    Model::load(api, file.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cut-off library in the cache ended the process with SIGBUS, another release in its place was taken unseen.
    #[test]
    fn a_cached_file_that_is_not_the_library_is_named_and_never_loaded() {
        let folder = tempfile::tempdir().expect("invariant: a temporary folder");
        let cached = folder.path().join("mujoco-3.3.7").join("libmujoco.so.3.3.7");
        std::fs::create_dir(cached.parent().expect("invariant: has a parent")).expect("invariant: writable");
        std::fs::write(&cached, b"\x7fELF\x02\x01").expect("invariant: writable");
        let surroundings = find::Surroundings {
            mujoco_path: None,
            cache: Some(folder.path().into()),
            no_fetch: true,
            python: Vec::new(),
            system: Vec::new(),
            ..find::Surroundings::here()
        };
        let error = search(&surroundings, true).err().expect("must be refused");
        for words in ["libmujoco.so.3.3.7 was passed over: it is not the library", "BAQ_NO_FETCH=1"] {
            assert!(error.contains(words), "{error}");
        }
        let named = find::Surroundings { mujoco_path: Some(cached), ..surroundings };
        let error = search(&named, true).err().expect("must be refused");
        assert!(error.starts_with("MUJOCO_PATH=") && error.contains("it is no shared library"), "{error}");
    }
}
