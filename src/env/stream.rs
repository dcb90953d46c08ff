//! Streams of the counter-based generator that resets draw from; training uses small numbers.

pub const RESET_UNIFORM: u32 = 0xE000_0001;
pub const RESET_NORMAL: u32 = 0xE000_0002;
pub const BENCH: u32 = 0xE000_0003;
pub const RESET_GOAL: u32 = 0xE000_0004;
