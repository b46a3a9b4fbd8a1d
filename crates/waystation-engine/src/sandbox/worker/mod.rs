//! Inside a worker: a process that gives up its rights, then runs one program after another.

#[cfg(target_os = "linux")]
mod confine;
#[cfg(target_os = "linux")]
mod javascript;
#[cfg(target_os = "linux")]
mod jq;
#[cfg(target_os = "linux")]
mod service;

use std::process::ExitCode;

/// What is said where a process cannot be confined.
pub(super) const UNCONFINED: &str =
    "JavaScript and jq run on Linux only, where a process can be confined";

/// How a worker ends that could not give up its rights: it runs nothing.
pub(super) const NOT_CONFINED: i32 = 3;

/// The whole environment of a worker: it is for the allocators. The one of Rust must not set memory aside
/// in advance, which the limit of a program would not count. The one of C must not ask the system how to
/// give memory back, as it does with several arenas: that opens a file.
pub(super) const ENVIRONMENT: [(&str, &str); 2] =
    [("MIMALLOC_ARENA_RESERVE", "0"), ("MALLOC_ARENA_MAX", "1")];

/// Does something with the rights that programs have, and no more: for tests of the confinement itself.
#[cfg(target_os = "linux")]
pub fn confined(work: fn()) -> ExitCode {
    service::confined(move |_| work())
}

/// Serves programs that come on standard input until there are no more. This is all that a worker
/// process does; it never returns to whoever started it with a program still running.
#[cfg(target_os = "linux")]
pub fn serve() -> ExitCode {
    service::confined(service::work_off)
}

/// Refuses: without confinement nothing runs.
#[cfg(not(target_os = "linux"))]
pub fn confined(_: fn()) -> ExitCode {
    serve()
}

/// Refuses: without confinement nothing runs.
#[cfg(not(target_os = "linux"))]
pub fn serve() -> ExitCode {
    tracing::error!("{UNCONFINED}");
    ExitCode::FAILURE
}
