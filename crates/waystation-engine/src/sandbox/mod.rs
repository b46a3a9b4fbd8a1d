//! User code: programs of those who write workflows, run where they can do no harm.
//!
//! - `pool`: workers, which are confined processes of this program, and who waits for one
//! - `worker`: what happens inside such a process: JavaScript and jq
//! - `python`: CPython as WebAssembly, in this process
//!
//! A program has no files, no network, no environment and no other processes. Its time is that of its
//! attempt: dropping the call stops it. Its memory, its result and what it says are bounded.

pub mod python;
pub mod worker;

mod pool;
mod stop;
mod wire;

use std::sync::Arc;
use std::thread::available_parallelism;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use waystation_core::entry::Level;
use waystation_core::limits::LOG_LINES_PER_RUN;

use self::pool::Pool;
pub use self::pool::WorkerCommand;
use self::python::Python;
pub use self::stop::{Reason, Stop};
use crate::limits::PROGRAM_LOG_BYTES;
use crate::node::AttemptContext;

/// What runs a program in a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tool {
    /// QuickJS: `process(input)` of a script.
    Javascript,
    /// A jq filter.
    Jq,
}

/// A program, what it works on, and what it may use.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its source.
    pub code: String,
    /// What it works on.
    pub input: Value,
    /// Bytes of memory that it may use.
    pub memory_bytes: usize,
    /// Bytes that its result may have as JSON.
    pub output_bytes: usize,
}

/// Where all programs of this process run.
pub struct Sandbox {
    pool: Pool,
    python: Arc<Python>,
    /// One for each core: more programs at once would only make each of them slower.
    places: Arc<Semaphore>,
}

impl Sandbox {
    /// A sandbox with workers that this command starts, and the Python that lies there, if any.
    pub fn new(worker: WorkerCommand, python: Python) -> Sandbox {
        let cores = available_parallelism().map_or(1, usize::from);
        let places = Arc::new(Semaphore::new(cores));
        Sandbox { pool: Pool::new(worker, cores), python: Arc::new(python), places }
    }

    /// The interpreter of Python.
    pub fn python(&self) -> &Python {
        &self.python
    }

    /// Runs a program in a worker. What it prints goes to the run's log.
    pub async fn run(
        &self,
        tool: Tool,
        program: &Program,
        context: &AttemptContext,
    ) -> Result<Value, Stop> {
        let _place = self.place(context).await?;
        let json = self.pool.run(tool, program, &mut Log::new(context)).await?;
        parse(&json)
    }

    /// Runs `process(**input)` of a Python program. What it prints goes to the run's log.
    pub async fn run_python(
        &self,
        program: Program,
        context: &AttemptContext,
    ) -> Result<Value, Stop> {
        let place = self.place(context).await?;
        let json = self.python.run(program, Log::new(context), place).await?;
        parse(&json)
    }

    /// Waits for a place; that does not use up the attempt's time.
    async fn place(&self, context: &AttemptContext) -> Result<OwnedSemaphorePermit, Stop> {
        let places = Arc::clone(&self.places);
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            return Ok(place);
        }
        let wait = places.acquire_owned();
        let place = context.waiting("waits for a place among the programs under way", wait).await;
        place.map_err(|_| Stop::unavailable("the sandbox is closed"))
    }
}

/// The value of a result's JSON.
fn parse(json: &str) -> Result<Value, Stop> {
    serde_json::from_str(json).map_err(|error| {
        let text = error.to_string();
        let deep = text.starts_with("recursion limit");
        Stop::not_json(if deep { "it is nested too deeply" } else { &text })
    })
}

/// What a program says, on its way to the run's log.
struct Log {
    context: AttemptContext,
    lines_left: u32,
    bytes_left: usize,
}

impl Log {
    fn new(context: &AttemptContext) -> Log {
        let (lines_left, bytes_left) = (LOG_LINES_PER_RUN, PROGRAM_LOG_BYTES);
        Log { context: context.clone(), lines_left, bytes_left }
    }

    /// Passes a line on, up to a bound; then once says that there is more.
    fn line(&mut self, level: Level, line: &str) {
        if self.lines_left == 0 {
            return;
        }
        if self.lines_left == 1 || line.len() > self.bytes_left {
            self.lines_left = 0;
            let text = "the program printed more, which is not kept";
            return self.context.log(Level::Warning, text);
        }
        self.lines_left -= 1;
        self.bytes_left -= line.len();
        self.context.log(level, line);
    }
}
