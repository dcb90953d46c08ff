//! The `baq` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    baq::cli::main()
}
