//! Transitions in memory.
