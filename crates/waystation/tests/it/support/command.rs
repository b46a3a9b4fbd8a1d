//! The program's commands as processes of their own.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The program on a data directory, with a clean environment.
pub(crate) fn program(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waystation"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.arg("--data").arg(data).current_dir(data);
    command
}

/// How a command ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end.
pub(crate) async fn run(data: &Path, arguments: &[&str]) -> Ended {
    run_with(data, arguments, &[], "").await
}

/// A key made by the command line, beside the server.
pub(crate) async fn key(data: &Path, arguments: &[&str]) -> String {
    let arguments = [&["key", "create", "test"][..], arguments].concat();
    let made = run(data, &arguments).await;
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    made.stdout.trim().to_owned()
}

/// Runs a command to its end with settings and something on its standard input.
pub(crate) async fn run_with(
    data: &Path,
    arguments: &[&str],
    settings: &[(&str, &str)],
    input: &str,
) -> Ended {
    let mut command = program(data);
    command.args(arguments).envs(settings.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = input.to_owned();
    let ended = tokio::task::spawn_blocking(move || -> Output {
        let mut child = command.spawn().unwrap();
        // A command that reads no input may end before it is written.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    });
    let output = ended.await.unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Sends a signal to a process.
pub(crate) fn signal(process: u32, name: &str) {
    let status = Command::new("kill").args(["-s", name, &process.to_string()]).status().unwrap();
    assert!(status.success());
}
