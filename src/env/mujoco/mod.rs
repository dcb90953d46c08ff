//! MuJoCo without a compile-time dependency: found (or fetched) and opened when first needed.

pub(super) mod command;
mod elf;
mod fetch;
mod ffi;
mod find;
mod library;
mod reader;
mod sim;

pub use ffi::Version;
pub use find::{Origin, flag};
pub use library::{MuJoCo, installed, library};
pub(super) use reader::{Part, Reader};
pub(super) use sim::{ModelText, Sim};
