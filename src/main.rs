//! The `baq` command.

use std::process::ExitCode;

/// Free where nothing is allocated; `baq bench` reports it.
#[global_allocator]
static ALLOCATOR: baq_kernels::CountingAllocator = baq_kernels::CountingAllocator;

fn main() -> ExitCode {
    baq::cli::main()
}
