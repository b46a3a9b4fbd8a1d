//! The `waystation` program.

use std::process::ExitCode;

/// A run is made of many small values, made and dropped on different threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    waystation::cli::main()
}
