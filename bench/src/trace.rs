//! Counts a server's syncs by `strace`, where it is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Whether syncs can be counted here.
pub(crate) fn is_available() -> bool {
    let mut probe = Command::new("strace");
    probe.args(["-f", "-D", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=fsync", "true"]);
    probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

/// The file in a directory to which the syncs are written, one a line.
pub(crate) fn file_in(directory: &Path) -> PathBuf {
    directory.join("syncs")
}

/// The same command with its syncs written to a file. The tracer is not the parent, so that the
/// child is still the server; other system calls are not slowed down.
pub(crate) fn traced(command: &Command, file: &Path) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-D", "--seccomp-bpf", "-e", "trace=fsync,fdatasync", "-o"]).arg(file);
    strace.arg(command.get_program()).args(command.get_args());
    strace
}

/// The syncs written so far, if the server is traced.
pub(crate) fn syncs(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    Some(count_calls(&text))
}

/// A call that another thread interrupts has a second line, without the opening parenthesis.
fn count_calls(text: &str) -> u64 {
    text.lines().filter(|line| line.contains("sync(")).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupted_calls_count_once() {
        let text = "7 fdatasync(9) = 0\n7 fsync(9 <unfinished ...>\n7 <... fsync resumed>) = 0\n\
                    8 +++ exited with 0 +++\n";
        assert_eq!(count_calls(text), 2);
    }
}
