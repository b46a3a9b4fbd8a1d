//! A sandbox worker of its own: what `waystation sandbox-worker` is in the whole program.

fn main() -> std::process::ExitCode {
    waystation_engine::sandbox::worker::serve()
}
