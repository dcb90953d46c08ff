//! Networks, policy heads, initialisation.

pub mod diffusion;
pub mod init;
mod mlp;
mod params;
mod policy;
pub mod simba;

pub use mlp::{Critics, Mlp, ValueNet};
pub use params::{Beginnings, Params};
pub use policy::{Acting, Head, Input, Mean, Policy, Within};
