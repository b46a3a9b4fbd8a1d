//! The `waystation` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    waystation::cli::main()
}
