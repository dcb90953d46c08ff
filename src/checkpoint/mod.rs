//! The complete training state in one file.
