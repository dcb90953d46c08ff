//! Checks of gradients and updates against other programs.
