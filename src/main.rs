//! The `baq` command.
fn main() {}
