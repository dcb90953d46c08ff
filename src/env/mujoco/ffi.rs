//! MuJoCo's C interface: the dozen functions that the tasks need, resolved at run time.
//!
//! The two structs are opaque. What crosses the border is a number, a string or a state vector whose size the library
//! itself has told us, so one binary works with every MuJoCo from 3.0 on although the struct layouts move in almost every
//! release. The exception are six arrays that no function returns: [`Layout`] knows where they are.
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

use super::layout::{Layout, Quantity};
use super::version::Version;

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
/// `mjOBJ_BODY`.
const BODY: c_int = 1;
/// Every release has more state bits than these; an unknown one ends the process. From the 4th on they moved in 3.5.0.
const KNOWN_PARTS: u32 = (1 << 9) - 1;

/// The functions of one loaded libmujoco. It is never unloaded.
pub struct Api {
    version: Version,
    layout: Option<&'static Layout>,
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
    rne_post_constraint: unsafe extern "C" fn(*const RawModel, *mut RawData),
    local_to_global: unsafe extern "C" fn(
        *mut RawData,
        *mut [f64; 3],
        *mut [f64; 9],
        *const [f64; 3],
        *const [f64; 4],
        c_int,
        u8,
    ),
    kinematics: unsafe extern "C" fn(*const RawModel, *mut RawData),
    print_model: unsafe extern "C" fn(*const RawModel, *const c_char, *const c_char),
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
                layout: Layout::of(version),
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
                rne_post_constraint: symbol(&library, "mj_rnePostConstraint")?,
                local_to_global: symbol(&library, "mj_local2Global")?,
                kinematics: symbol(&library, "mj_kinematics")?,
                print_model: symbol(&library, "mj_printFormattedModel")?,
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

    /// The number of the body of that name.
    pub fn body(&self, name: &str) -> Option<usize> {
        let name = CString::new(name).ok()?;
        // SAFETY: the model is alive, the kind of object is one that every release knows, and `name` is zero-terminated.
        let id = unsafe { (self.api.name_to_id)(self.raw.as_ptr(), BODY, name.as_ptr()) };
        usize::try_from(id).ok()
    }

    /// Bodies, the world included: each has six numbers of applied forces in the state.
    pub fn bodies(&self) -> usize {
        self.size(if self.api.version >= Version(3, 5, 0) { 1 << 8 } else { 1 << 7 }) / 6
    }

    /// What the library prints of it: a block of lines `key value ...` for each body, geom and so on.
    pub fn print(&self) -> Result<String, String> {
        let file = tempfile::Builder::new().prefix("baq-").suffix(".txt").tempfile();
        let file = file.map_err(|e| format!("no temporary file can be made ({e})"))?;
        let name = CString::new(file.path().as_os_str().as_encoded_bytes())
            .map_err(|_| "the path of temporary files contains a zero byte".to_string())?;
        // SAFETY: the model is alive, both strings are zero-terminated, and the format is one of a single f64.
        unsafe { (self.api.print_model)(self.raw.as_ptr(), name.as_ptr(), c"%.17g".as_ptr()) }
        let text = std::fs::read(file.path());
        let text = text.map_err(|e| format!("{} cannot be read ({e})", file.path().display()))?;
        // Names of parts may be in any encoding.
        Ok(String::from_utf8_lossy(&text).into_owned())
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

    /// Another simulation of the same model in its initial state; `None` when there is no memory.
    pub fn another(&self) -> Option<Data> {
        Data::new(self.model.clone())
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

    /// Computes [`Quantity::ExternalForces`], which steps do not need.
    pub fn find_forces(&mut self) {
        // SAFETY: both are alive and belong together.
        unsafe { (self.model.api.rne_post_constraint)(self.model.raw.as_ptr(), self.raw.as_ptr()) }
    }

    /// Computes where bodies are, and nothing else.
    pub fn kinematics(&mut self) {
        // SAFETY: both are alive and belong together.
        unsafe { (self.model.api.kinematics)(self.model.raw.as_ptr(), self.raw.as_ptr()) }
    }

    /// Where a body's frame is and how it is turned (row by row), when positions were last computed: by
    /// [`Data::forward`], or by the last of the steps, which is before that step moved anything.
    pub fn frame(&self, body: usize) -> ([f64; 3], [f64; 9]) {
        assert!(body < self.model.bodies(), "invariant: a body of the model");
        let (mut position, mut rotation) = ([0.0; 3], [0.0; 9]);
        let body = body as c_int;
        // SAFETY: the data are only read, the body is one of the model's, and the arrays have the lengths that are asked for.
        unsafe {
            (self.model.api.local_to_global)(
                self.raw.as_ptr(),
                &mut position,
                &mut rotation,
                &[0.0; 3],
                &[1.0, 0.0, 0.0, 0.0],
                body,
                0,
            );
        }
        (position, rotation)
    }

    /// A quantity as it was last computed; `None` if this release's layout is not known.
    pub fn quantity(&self, of: Quantity) -> Option<&[f64]> {
        let offset = self.model.api.layout?.offset(of);
        let base: *const u8 = match of {
            Quantity::Masses => self.model.raw.as_ptr().cast(),
            _ => self.raw.as_ptr().cast(),
        };
        let count = of.count(self.model.bodies(), self.model.size(QVEL));
        // SAFETY: the offset is that of a pointer in this release's struct (tests/environments.rs holds what it leads to
        // against Gymnasium's own reading), aligned as C aligns it. The array has `count` numbers and is neither moved
        // nor freed while `self` lives; nothing writes to it while `self` is borrowed.
        unsafe { Some(std::slice::from_raw_parts(base.add(offset).cast::<*const f64>().read(), count)) }
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
