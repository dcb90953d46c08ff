//! MuJoCo without a compile-time dependency: found (or fetched) and opened when first needed.

mod ffi;
mod find;
mod sim;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

pub use ffi::Version;
use ffi::{Api, Data, Model};
pub use find::{Origin, flag};
pub(crate) use sim::{ModelText, Sim};

use super::EnvError;

/// The libmujoco of this process.
pub struct MuJoCo {
    api: &'static Api,
    /// Bit of the solver's memory in state vectors.
    warmstart: u32,
    /// Bit of the control in state vectors.
    control: u32,
    path: PathBuf,
    origin: Origin,
}

impl MuJoCo {
    /// Its release.
    pub fn version(&self) -> Version {
        self.api.version()
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
        let api = Api::open(path)?;
        let (warmstart, control) = state_bits(api)?;
        Ok(MuJoCo { api, warmstart, control, path: path.to_path_buf(), origin })
    }

    /// Compiles MJCF text, by way of a temporary file (see [`Model::load`]).
    fn compile(&self, mjcf: &str) -> Result<Arc<Model>, String> {
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
    // What the user did not name is tried quietly; unusable files are mentioned in the end.
    let mut passed_over = Vec::new();
    let mut attempt = |path: Option<PathBuf>, origin| {
        let path = path?;
        MuJoCo::open(&path, origin)
            .map_err(|e| passed_over.push(format!("{} was passed over: {e}", path.display())))
            .ok()
    };
    let cached = surroundings.cached();
    if let Some(found) = attempt(cached.clone(), Origin::Cache) {
        return Ok(found);
    }
    if let Some(found) = attempt(surroundings.in_python(), Origin::Python) {
        return Ok(found);
    }
    for path in surroundings.in_system() {
        if let Some(found) = attempt(Some(path), Origin::System) {
            return Ok(found);
        }
    }
    let fetched = match cached {
        Some(_) => Err("no usable MuJoCo was found; delete the cached one to fetch it again".into()),
        // Where fetching is forbidden, asking for it only gives the sentence that says so.
        None if !fetch && !surroundings.no_fetch => {
            Err("MuJoCo is not installed; baq downloads it when it first needs it".into())
        }
        None => surroundings.fetch().map_err(|e| format!("MuJoCo was not found {e}")),
    };
    fetched
        .and_then(|path| {
            MuJoCo::open(&path, Origin::Cache).map_err(|e| format!("{} cannot be used: {e}", path.display()))
        })
        .map_err(|e| {
            passed_over.insert(0, e);
            passed_over.join("; ")
        })
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
