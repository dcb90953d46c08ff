//! MuJoCo without a compile-time dependency: found (or fetched) and opened when first needed.

pub(super) mod command;
mod elf;
mod fetch;
mod ffi;
mod find;
mod layout;
mod library;
mod reader;
mod scene_reader;
mod sim;
mod version;

pub use find::{Origin, flag};
pub(super) use layout::Quantity;
pub use library::{MuJoCo, fetched, installed, library};
pub(super) use reader::{Part, Reader};
pub use scene_reader::SceneReader;
pub(super) use sim::{ModelText, Sim};
pub use version::Version;
