//! The life of a worker: it is confined, then runs what comes until the engine has gone.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{ExitCode, exit};

use super::super::wire::{self, Frame, Work};
use super::super::{Stop, Tool};
use super::confine::{self, MemoryGauge};
use super::{NOT_CONFINED, javascript, jq};
use crate::limits::PROGRAM_STACK_BYTES;

/// Gives up all rights, then works on a thread of its own until that or the engine ends.
pub(super) fn confined(work: impl FnOnce(&MemoryGauge) + Send + 'static) -> ExitCode {
    let Ok(memory) = confine::renounce_files() else { exit(NOT_CONFINED) };
    let work = move || {
        if confine::renounce_calls().is_err() {
            exit(NOT_CONFINED);
        }
        // The gauge is never dropped: closing its file is one of the calls that are given up.
        work(&memory);
        exit(0);
    };
    let builder = std::thread::Builder::new().stack_size(PROGRAM_STACK_BYTES);
    match builder.spawn(work) {
        // A program that never ends must not outlive the engine.
        Ok(_) => confine::await_hangup(),
        Err(_) => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}

/// Runs what comes until the engine has gone.
pub(super) fn work_off(memory: &MemoryGauge) {
    // What a panic says would be taken for last words.
    std::panic::set_hook(Box::new(|_| ()));
    let mut input = io::stdin().lock();
    while let Some(work) = wire::read_work(&mut input) {
        memory.limit(work.memory_bytes);
        let ended = run(&work);
        memory.release();
        if wire::write(&mut io::stdout(), &ended).is_err() {
            return;
        }
    }
}

fn run(work: &Work) -> Frame {
    let ended = catch_unwind(AssertUnwindSafe(|| match work.tool {
        Tool::Javascript => javascript::run(work),
        Tool::Jq => jq::run(work),
    }));
    match ended.unwrap_or_else(|_| Err(Stop::violation("it broke its interpreter"))) {
        Ok(json) if json.len() > work.output_bytes => Frame::Stopped(Stop::output()),
        Ok(json) => Frame::Result(json),
        Err(stop) => Frame::Stopped(stop),
    }
}
