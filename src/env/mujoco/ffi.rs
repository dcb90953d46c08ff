//! MuJoCo's C interface: the dozen functions that the tasks need, resolved at run time.
//!
//! The two structs are opaque. Everything that crosses the border is a number, a string or a state
//! vector whose size the library itself has told us, so one binary works with every MuJoCo from
//! 3.0 on although the struct layouts move in almost every release.
//!
//! The wrappers are safe: every argument is checked here, because MuJoCo answers a wrong one by
//! printing and ending the process.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use libloading::Library;

/// `mjModel`, never looked into.
#[repr(C)]
struct RawModel {
    _opaque: [u8; 0],
}

/// `mjData`, never looked into.
#[repr(C)]
struct RawData {
    _opaque: [u8; 0],
}

type WarningHandler = unsafe extern "C" fn(*const c_char);

/// Simulation time, `[1]`.
pub const TIME: u32 = 1;
/// Generalised positions, `[nq]`.
pub const QPOS: u32 = 1 << 1;
/// Generalised velocities, `[nv]`.
pub const QVEL: u32 = 1 << 2;
/// `mjOBJ_JOINT`.
const JOINT: c_int = 3;
/// Bits above the 7th differ between versions and an unknown one ends the process.
const KNOWN_PARTS: u32 = (1 << 7) - 1;

/// A release of MuJoCo: major, minor, patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// Decodes `mj_version()`: 337 is 3.3.7; from 3.5.0 on the number is 3005000.
    fn decode(raw: c_int) -> Version {
        let n = raw.max(0) as u32;
        if n >= 1_000_000 {
            Version(n / 1_000_000, n / 1000 % 1000, n % 1000)
        } else {
            Version(n / 100, n / 10 % 10, n % 10)
        }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// The functions of one loaded libmujoco. It is never unloaded.
pub struct Api {
    version: Version,
    release: String,
    load_xml: unsafe extern "C" fn(*const c_char, *const c_void, *mut c_char, c_int) -> *mut RawModel,
    delete_model: unsafe extern "C" fn(*mut RawModel),
    make_data: unsafe extern "C" fn(*const RawModel) -> *mut RawData,
    delete_data: unsafe extern "C" fn(*mut RawData),
    reset_data: unsafe extern "C" fn(*const RawModel, *mut RawData),
    step: unsafe extern "C" fn(*const RawModel, *mut RawData),
    forward: unsafe extern "C" fn(*const RawModel, *mut RawData),
    state_size: unsafe extern "C" fn(*const RawModel, c_uint) -> c_int,
    get_state: unsafe extern "C" fn(*const RawModel, *const RawData, *mut f64, c_uint),
    set_state: unsafe extern "C" fn(*const RawModel, *mut RawData, *const f64, c_uint),
    name_to_id: unsafe extern "C" fn(*const RawModel, c_int, *const c_char) -> c_int,
}

/// Looks up one function.
///
/// # Safety
/// `F` must be the C type of the function called `name`.
unsafe fn symbol<F: Copy>(library: &Library, name: &str) -> Result<F, String> {
    // SAFETY: the caller vouches for the type; the address is copied out and stays valid because
    // the library is never unloaded once it is accepted.
    unsafe { library.get::<F>(name) }.map(|found| *found).map_err(|_| format!("it has no function {name}"))
}

impl Api {
    /// Opens a libmujoco of at least 3.0.0; the error is half a sentence ("it ...").
    pub fn open(path: &Path) -> Result<&'static Api, String> {
        // SAFETY: loading runs the library's initialisers; the user chose this file as MuJoCo.
        let library = unsafe { Library::new(path) }.map_err(|e| {
            // The loader's own words are one level down.
            let why = std::error::Error::source(&e).map_or(e.to_string(), |s| s.to_string());
            format!("it cannot be loaded ({})", one_line(&why))
        })?;
        // SAFETY: `int mj_version(void)` in every release.
        let version = unsafe {
            let mj_version = symbol::<unsafe extern "C" fn() -> c_int>(&library, "mj_version")?;
            Version::decode(mj_version())
        };
        if version < Version(3, 0, 0) {
            return Err(format!("it is MuJoCo {version}, older than 3.0.0"));
        }
        // SAFETY: `const char* mj_versionString(void)` in every release; the text is a constant of the library.
        let release = unsafe {
            let text = symbol::<unsafe extern "C" fn() -> *const c_char>(&library, "mj_versionString")?();
            if text.is_null() {
                return Err("it does not say its release".into());
            }
            one_line(&CStr::from_ptr(text).to_string_lossy())
        };
        // SAFETY: the types above are those of mujoco.h, unchanged since 3.0.0 up to the width of
        // the result of mj_stateSize, whose lower half is what we read.
        let api = unsafe {
            Api {
                version,
                release,
                load_xml: symbol(&library, "mj_loadXML")?,
                delete_model: symbol(&library, "mj_deleteModel")?,
                make_data: symbol(&library, "mj_makeData")?,
                delete_data: symbol(&library, "mj_deleteData")?,
                reset_data: symbol(&library, "mj_resetData")?,
                step: symbol(&library, "mj_step")?,
                forward: symbol(&library, "mj_forward")?,
                state_size: symbol(&library, "mj_stateSize")?,
                get_state: symbol(&library, "mj_getState")?,
                set_state: symbol(&library, "mj_setState")?,
                name_to_id: symbol(&library, "mj_name2id")?,
            }
        };
        // SAFETY: `mju_user_warning` is a global pointer to a function, read by MuJoCo only while
        // it simulates, and no simulation of this library exists yet. Left empty, MuJoCo
        // writes MUJOCO_LOG.TXT into the working directory.
        unsafe {
            let handler = symbol::<*mut Option<WarningHandler>>(&library, "mju_user_warning")?;
            *handler = Some(on_warning);
        }
        std::mem::forget(library);
        Ok(Box::leak(Box::new(api)))
    }

    /// The release of this library.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The same in its own words.
    pub fn release(&self) -> &str {
        &self.release
    }
}

thread_local! {
    static WARNING: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps MuJoCo's last warning of this thread. Must not panic: the caller is C.
unsafe extern "C" fn on_warning(message: *const c_char) {
    if message.is_null() {
        return;
    }
    // SAFETY: MuJoCo passes a zero-terminated string that lives until we return.
    let text = unsafe { CStr::from_ptr(message) };
    let _ = WARNING.try_with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            *last = text.to_string_lossy().into_owned();
        }
    });
}

/// Takes the last warning that MuJoCo gave on this thread; empty when there was none.
pub fn take_warning() -> String {
    WARNING.with(|last| one_line(&std::mem::take(&mut *last.borrow_mut())))
}

/// A compiled model; constant, so any number of threads may simulate it.
pub struct Model {
    api: &'static Api,
    raw: NonNull<RawModel>,
}

// SAFETY: after mj_loadXML the model is only ever passed as `const mjModel*`.
unsafe impl Send for Model {}
// SAFETY: as above; MuJoCo documents a constant model as shareable between threads.
unsafe impl Sync for Model {}

impl Model {
    /// Compiles an MJCF file; the error is MuJoCo's, in one line.
    pub fn load(api: &'static Api, file: &Path) -> Result<Model, String> {
        let name = CString::new(file.as_os_str().as_encoded_bytes())
            .map_err(|_| "its path contains a zero byte".to_string())?;
        let mut error = [0 as c_char; 1024];
        // SAFETY: `name` is zero-terminated, a null VFS means the file system (the struct changed
        // its size between releases, so we never make one), and `error` is as long as we say.
        let raw =
            unsafe { (api.load_xml)(name.as_ptr(), ptr::null(), error.as_mut_ptr(), error.len() as c_int) };
        NonNull::new(raw).map(|raw| Model { api, raw }).ok_or_else(|| {
            // SAFETY: MuJoCo terminates the message, and the buffer began as zeros.
            one_line(&unsafe { CStr::from_ptr(error.as_ptr()) }.to_string_lossy())
        })
    }

    /// Numbers in the named parts of the state, a sum of [`TIME`], [`QPOS`], ... bits.
    pub fn size(&self, parts: u32) -> usize {
        assert_eq!(parts & !KNOWN_PARTS, 0, "invariant: only known state bits");
        // SAFETY: the model is alive and the bits are ones that every release knows.
        unsafe { (self.api.state_size)(self.raw.as_ptr(), parts) }.max(0) as usize
    }

    /// The number of the joint of that name.
    pub fn joint(&self, name: &str) -> Option<usize> {
        let name = CString::new(name).ok()?;
        // SAFETY: the model is alive, the kind of object is one that every release knows, and `name` is zero-terminated.
        let id = unsafe { (self.api.name_to_id)(self.raw.as_ptr(), JOINT, name.as_ptr()) };
        usize::try_from(id).ok()
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: made by mj_loadXML and freed once; every `Data` holds an `Arc` to us.
        unsafe { (self.api.delete_model)(self.raw.as_ptr()) }
    }
}

/// One simulation of a model.
pub struct Data {
    model: Arc<Model>,
    raw: NonNull<RawData>,
}

// SAFETY: mjData has no thread affinity; it may be used by one thread at a time, which `&mut` and
// the absence of `Sync` enforce.
unsafe impl Send for Data {}

impl Data {
    /// A simulation in the model's initial state; `None` when there is no memory.
    pub fn new(model: Arc<Model>) -> Option<Data> {
        // SAFETY: the model is alive.
        let raw = unsafe { (model.api.make_data)(model.raw.as_ptr()) };
        NonNull::new(raw).map(|raw| Data { model, raw })
    }

    /// The model that is simulated.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Back to the initial state, including the memory of the solver.
    pub fn reset(&mut self) {
        // SAFETY: both are alive and belong together.
        unsafe { (self.model.api.reset_data)(self.model.raw.as_ptr(), self.raw.as_ptr()) }
    }

    /// All computations of a step except the integration.
    pub fn forward(&mut self) {
        // SAFETY: both are alive and belong together.
        unsafe { (self.model.api.forward)(self.model.raw.as_ptr(), self.raw.as_ptr()) }
    }

    /// `count` steps with the present control.
    pub fn step(&mut self, count: usize) {
        for _ in 0..count {
            // SAFETY: both are alive and belong together.
            unsafe { (self.model.api.step)(self.model.raw.as_ptr(), self.raw.as_ptr()) }
        }
    }

    /// Reads parts of the state, in the order of their bits; `out` must have exactly their size.
    pub fn get(&self, parts: u32, out: &mut [f64]) {
        assert_eq!(out.len(), self.model.size(parts), "invariant: size of the state");
        // SAFETY: `out` has room for all numbers of these parts.
        unsafe {
            (self.model.api.get_state)(self.model.raw.as_ptr(), self.raw.as_ptr(), out.as_mut_ptr(), parts)
        }
    }

    /// Writes parts of the state; `from` must have exactly their size.
    pub fn set(&mut self, parts: u32, from: &[f64]) {
        assert_eq!(from.len(), self.model.size(parts), "invariant: size of the state");
        // SAFETY: `from` holds all numbers of these parts.
        unsafe {
            (self.model.api.set_state)(self.model.raw.as_ptr(), self.raw.as_ptr(), from.as_ptr(), parts)
        }
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        // SAFETY: made by mj_makeData and freed once.
        unsafe { (self.model.api.delete_data)(self.raw.as_ptr()) }
    }
}

/// Messages of other programs, made fit for one line.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_encodings_of_the_version() {
        assert_eq!(Version::decode(337), Version(3, 3, 7));
        assert_eq!(Version::decode(3_005_000), Version(3, 5, 0));
        assert_eq!(Version::decode(4_000_001), Version(4, 0, 1));
        assert!(Version::decode(237) < Version(3, 0, 0));
        assert_eq!(Version(3, 17, 0).to_string(), "3.17.0");
    }

    #[test]
    fn the_warning_handler_keeps_the_last_message_and_survives_null() {
        let _ = take_warning();
        // SAFETY: null is allowed, and the other argument is a zero-terminated literal.
        unsafe {
            on_warning(ptr::null());
            on_warning(c"first\n".as_ptr());
            on_warning(c"Nan in\n QACC".as_ptr());
        }
        assert_eq!(take_warning(), "Nan in QACC");
        assert_eq!(take_warning(), "");
    }

    #[test]
    fn a_file_that_is_no_library_is_refused() {
        let file = tempfile::NamedTempFile::new().expect("invariant: a temporary file");
        let error = Api::open(file.path()).err().expect("must be refused");
        assert!(error.starts_with("it cannot be loaded"), "{error}");
    }
}
