//! Why a program gave no result, and how users are told.

use serde::{Deserialize, Serialize};
use waystation_core::error::{Code, Failure};

use crate::limits::PROGRAM_MEMORY_MB_MAX;

/// Letters of a message about a program; it may quote the program's own exceptions.
const MESSAGE_LETTERS: usize = 2_000;

/// The kinds of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The program raised an exception, or is none.
    Exception,
    /// It used more memory than it may.
    Memory,
    /// Its result is larger than allowed.
    Output,
    /// Its result is not JSON.
    NotJson,
    /// It tried what no program may, or broke its interpreter.
    Violation,
    /// It could not be run.
    Unavailable,
}

/// Why a program gave no result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stop {
    /// The kind of reason.
    pub reason: Reason,
    /// The reason in words.
    pub message: String,
    /// The line of the program where it happened, from 1.
    #[serde(default)]
    pub line: Option<u32>,
}

impl Stop {
    fn new(reason: Reason, message: impl Into<String>) -> Stop {
        Stop { reason, message: message.into(), line: None }
    }

    /// The program raised this.
    pub(super) fn exception(message: impl Into<String>) -> Stop {
        Stop::new(Reason::Exception, message)
    }

    /// The program used more memory than it may.
    pub(super) fn memory() -> Stop {
        Stop::new(Reason::Memory, "")
    }

    /// The result is too large.
    pub(super) fn output() -> Stop {
        Stop::new(Reason::Output, "")
    }

    /// The result is not JSON.
    pub(super) fn not_json(why: &str) -> Stop {
        Stop::new(Reason::NotJson, why)
    }

    /// The program tried what no program may, or broke its interpreter.
    pub(super) fn violation(message: impl Into<String>) -> Stop {
        Stop::new(Reason::Violation, message)
    }

    /// The program could not be run.
    pub(super) fn unavailable(message: impl Into<String>) -> Stop {
        Stop::new(Reason::Unavailable, message)
    }

    /// The same reason at a line.
    pub(super) fn at(mut self, line: Option<u32>) -> Stop {
        self.line = line;
        self
    }

    /// What users are told. A program that failed will fail again; a sandbox may come back.
    pub fn into_failure(self, memory_bytes: usize, output_bytes: usize) -> Failure {
        let message: String = self.message.chars().take(MESSAGE_LETTERS).collect();
        match self.reason {
            Reason::Exception => {
                let place = self.line.map(|line| format!(" in line {line}")).unwrap_or_default();
                Failure::fatal(Code::CodeFailed, format!("The code failed{place}: {message}"))
            }
            Reason::Memory => {
                let text =
                    format!("The code used more than its {} MB of memory", memory_bytes >> 20);
                let hint = format!(
                    "keep less in memory, or raise memory_mb (up to {PROGRAM_MEMORY_MB_MAX})"
                );
                let failure = Failure::fatal(Code::CodeMemory, text);
                Failure { hint: Some(hint), ..failure }
            }
            Reason::Output => {
                let text = format!("The code's result is larger than {output_bytes} bytes of JSON");
                Failure::fatal(Code::CodeOutput, text)
            }
            Reason::NotJson => {
                let text = format!("The code's result is not JSON: {message}");
                Failure::fatal(Code::CodeResult, text)
            }
            Reason::Violation => {
                Failure::fatal(Code::CodeViolation, format!("The code was stopped: {message}"))
            }
            Reason::Unavailable => Failure::retryable(Code::SandboxUnavailable, message, None),
        }
    }
}
