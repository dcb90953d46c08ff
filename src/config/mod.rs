//! One declaration per option.
//!
//! An option is declared once, by [`config!`](crate::config!); from the declaration come its
//! parsing, its range check, its help and its place in the resolved file. [`resolve`] builds
//! a [`Config`] from presets, files and `--set`; the sections are read out of it as plain
//! structs. A run is its configuration, its dataset and its code version: nothing else.

pub mod error;
pub mod field;
pub mod file;
pub mod help;
mod net;
pub mod presets;
pub mod sections;
pub mod stated;
pub mod value;

pub use crate::autodiff::{Metric, Schedule};
/// For what the macros make in other crates.
#[doc(hidden)]
pub use ::toml;
pub use error::{ConfigError, hint, nearest};
pub use field::{Class, Field, Limits, Section, above, limits};
pub use file::{AnySection, Config, inherits, resolve, resolve_over, section};
pub use help::help_text;
pub use net::{Activation, InitScheme, NetSpec, Norm};
pub use presets::{DEMO, PRESETS, Preset};
pub use sections::{
    AuditConfig, Begin, BufferMode, DataConfig, DataMode, Exploration, MujocoConfig, ObservationScaling,
    OfflineConfig, OfflineRows, OnlineActorLr, OnlineConfig, RewardScaling, RunConfig, SHARED,
};
pub use stated::{By, Stated};
pub use value::{AdamConfig, AutoOr, Choice};

#[cfg(test)]
mod tests;
