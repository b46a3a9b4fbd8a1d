//! Workers: confined processes of this program that wait for programs to run. A worker serves many
//! programs, one after another, each in a fresh interpreter; one that died or was stopped is replaced.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use super::wire::{self, Frame, Request};
use super::{Log, Program, Stop, Tool};
use crate::limits::{PROGRAM_LINE_BYTES, PROGRAMS_PER_WORKER};

/// Bytes of a worker's last words that are read.
const LAST_WORDS_BYTES: u64 = 4_096;

/// How a worker is started.
#[derive(Clone, Debug)]
pub struct WorkerCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// Workers that wait for work.
pub(super) struct Pool {
    command: WorkerCommand,
    idle: Mutex<Vec<Worker>>,
    idle_max: usize,
}

/// One process. Dropping it kills it.
struct Worker {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    stderr: ChildStderr,
    served: u32,
}

impl Pool {
    /// A pool that keeps so many workers at the most. None is started before it is needed.
    pub(super) fn new(command: WorkerCommand, idle_max: usize) -> Pool {
        Pool { command, idle: Mutex::default(), idle_max }
    }

    /// Runs a program and gives its result as JSON text. A worker whose program is dropped dies with it.
    pub(super) async fn run(
        &self,
        tool: Tool,
        program: &Program,
        log: &mut Log,
    ) -> Result<String, Stop> {
        if !cfg!(target_os = "linux") {
            return Err(Stop::unavailable(super::worker::UNCONFINED));
        }
        let Program { code, input, memory_bytes, output_bytes } = program;
        let (memory_bytes, output_bytes) = (*memory_bytes, *output_bytes);
        let request = wire::request(&Request { tool, code, input, memory_bytes, output_bytes });
        let request = request.map_err(|_| Stop::unavailable("the program's input is no JSON"))?;
        let mut worker = self.start_with(&request).await?;
        let most = output_bytes.max(PROGRAM_LINE_BYTES);
        loop {
            match wire::read(&mut worker.stdout, most).await {
                Ok(Frame::Log(level, line)) => log.line(level, &line),
                Ok(Frame::Result(json)) => {
                    self.keep(worker);
                    return Ok(json);
                }
                Ok(Frame::Stopped(stop)) => {
                    self.keep(worker);
                    return Err(stop);
                }
                Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                    return Err(Stop::output());
                }
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(worker.epitaph().await);
                }
                Err(_) => return Err(Stop::violation("it broke its interpreter")),
            }
        }
    }

    /// A worker that has been given a request. One that died while it was idle is passed over.
    async fn start_with(&self, request: &[u8]) -> Result<Worker, Stop> {
        while let Some(mut worker) = self.take() {
            if worker.stdin.write_all(request).await.is_ok() {
                return Ok(worker);
            }
        }
        let started = Worker::start(&self.command);
        let mut worker = started.map_err(|error| {
            tracing::error!(%error, "a sandbox worker could not be started");
            Stop::unavailable("No sandbox worker could be started")
        })?;
        match worker.stdin.write_all(request).await {
            Ok(()) => Ok(worker),
            Err(_) => Err(worker.epitaph().await),
        }
    }

    /// A worker that waits, if there is one that lives.
    fn take(&self) -> Option<Worker> {
        let mut idle = self.idle();
        while let Some(mut worker) = idle.pop() {
            if matches!(worker.child.try_wait(), Ok(None)) {
                return Some(worker);
            }
        }
        None
    }

    /// Keeps a worker for the next program, unless it has served long enough.
    fn keep(&self, mut worker: Worker) {
        worker.served += 1;
        let mut idle = self.idle();
        if worker.served < PROGRAMS_PER_WORKER && idle.len() < self.idle_max {
            idle.push(worker);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Worker>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    fn start(command: &WorkerCommand) -> io::Result<Worker> {
        let mut child = Command::new(&command.program)
            .args(&command.arguments)
            .env_clear()
            .envs(super::worker::ENVIRONMENT)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            // Ctrl-C in a terminal is for the program, which lets what is under way finish.
            .process_group(0)
            .spawn()?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        Ok(Worker { child, stdin, stdout, stderr, served: 0 })
    }

    /// Why a worker broke off, from how it ended and its last words.
    async fn epitaph(mut self) -> Stop {
        // It may have closed its output and live on.
        let _ = self.child.start_kill();
        let Ok(status) = self.child.wait().await else {
            return Stop::unavailable("A sandbox worker was lost");
        };
        let mut words = Vec::new();
        // Without last words the status has to do.
        let _ = self.stderr.take(LAST_WORDS_BYTES).read_to_end(&mut words).await;
        let words = String::from_utf8_lossy(&words);
        let stop = reason(status, &words);
        if stop.reason == super::Reason::Unavailable {
            tracing::error!(%status, words = words.trim(), "a sandbox worker ended");
        }
        stop
    }
}

/// What an end means. The allocator, the guard below the stack and the filter of system calls each end
/// the process in a way of their own.
fn reason(status: ExitStatus, words: &str) -> Stop {
    if words.contains("memory allocation of") {
        return Stop::memory();
    }
    if words.contains("has overflowed its stack") {
        return Stop::exception("it recurses too deeply");
    }
    if status.code() == Some(super::worker::NOT_CONFINED) {
        let text = "This system cannot confine a process with landlock and seccomp, so that JavaScript \
                    and jq do not run here";
        return Stop::unavailable(text);
    }
    match signal(status) {
        Some(Signal::Forbidden) => Stop::violation("it tried what the sandbox forbids"),
        Some(Signal::Crash) => Stop::violation("it broke its interpreter"),
        Some(Signal::Killed) => Stop::memory(),
        None => Stop::unavailable("A sandbox worker ended unexpectedly"),
    }
}

enum Signal {
    /// By the filter of system calls.
    Forbidden,
    /// By a fault of the interpreter.
    Crash,
    /// By the system, which is short of memory.
    Killed,
}

#[cfg(target_os = "linux")]
fn signal(status: ExitStatus) -> Option<Signal> {
    use std::os::unix::process::ExitStatusExt;

    match status.signal()? {
        libc::SIGSYS => Some(Signal::Forbidden),
        libc::SIGKILL => Some(Signal::Killed),
        _ => Some(Signal::Crash),
    }
}

#[cfg(not(target_os = "linux"))]
fn signal(_: ExitStatus) -> Option<Signal> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::super::Reason;
    use super::*;

    #[test]
    fn each_end_has_its_meaning() {
        let exited = |code: i32| code << 8;
        for (status, words, expected) in [
            (libc::SIGABRT, "memory allocation of 8 bytes failed", Reason::Memory),
            (libc::SIGABRT, "thread 'x' has overflowed its stack", Reason::Exception),
            (libc::SIGABRT, "assertion failed", Reason::Violation),
            (libc::SIGSEGV, "", Reason::Violation),
            (libc::SIGSYS, "", Reason::Violation),
            (libc::SIGKILL, "", Reason::Memory),
            (exited(super::super::worker::NOT_CONFINED), "", Reason::Unavailable),
            (exited(0), "", Reason::Unavailable),
        ] {
            let stop = reason(ExitStatus::from_raw(status), words);
            assert_eq!(stop.reason, expected, "{status} {words}: {}", stop.message);
        }
    }

    #[tokio::test]
    async fn a_worker_that_cannot_be_started_is_told() {
        let command = WorkerCommand { program: "/nowhere".into(), arguments: Vec::new() };
        let (code, input) = (String::new(), serde_json::Value::Null);
        let program = Program { code, input, memory_bytes: 1, output_bytes: 1 };
        let mut log = Log::new(&crate::node::AttemptContext::alone());
        let stop = Pool::new(command, 1).run(Tool::Jq, &program, &mut log).await;
        assert_eq!(stop.expect_err("no worker").reason, Reason::Unavailable);
    }
}
