//! Checks of gradients and updates against other programs.

pub mod golden;
pub mod gradcheck;
