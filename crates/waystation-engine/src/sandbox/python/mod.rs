//! Python: CPython as WebAssembly, a fresh instance for each program, on a thread of its own.

mod component;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::task::JoinSet;
use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime::{Engine, ResourceLimiter, Store, Trap, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use waystation_core::entry::Level;

use super::{Log, Program, Stop};
use crate::limits::PROGRAM_LINE_BYTES;

pub use component::{COMMAND, component_directory};

/// How often a program that computes looks whether it has been stopped.
const TICK: Duration = Duration::from_millis(5);
/// Elements of the component's tables; what CPython needs is far below.
const TABLE_ELEMENTS: usize = 1 << 20;

mod bindings {
    wasmtime::component::bindgen!({
        path: "src/sandbox/python/program.wit",
        world: "program",
        exports: { default: async },
    });
}

/// The interpreter. It is loaded when it is first needed.
pub struct Python {
    directory: PathBuf,
    loaded: Mutex<Option<Arc<Loaded>>>,
}

/// The component made ready for instances.
struct Loaded {
    engine: Engine,
    prepared: bindings::ProgramPre<State>,
}

/// What belongs to one instance.
struct State {
    wasi: WasiCtx,
    resources: ResourceTable,
    memory: Memory,
    log: Log,
}

/// The bound of an instance's memory.
struct Memory {
    bytes: usize,
    bytes_max: usize,
    was_refused: bool,
}

impl Python {
    /// The interpreter that lies in a directory, if one does.
    pub fn new(directory: PathBuf) -> Python {
        Python { directory, loaded: Mutex::default() }
    }

    /// Whether there is one.
    pub fn is_there(&self) -> bool {
        component::is_there(&self.directory)
    }

    /// Where it is looked for.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Runs a program on a thread of its own, so that one that computes holds nobody up. Dropping the
    /// future stops it soon; its place is free when it has stopped.
    pub(super) async fn run(
        self: &Arc<Self>,
        program: Program,
        log: Log,
        place: OwnedSemaphorePermit,
    ) -> Result<String, Stop> {
        let (python, runtime) = (Arc::clone(self), Handle::current());
        let (sender, unwanted) = oneshot::channel::<()>();
        let wanted = Wanted { sender: Some(sender), python: self };
        let work = tokio::task::spawn_blocking(move || {
            let _place = place;
            let loaded = python.loaded()?;
            let mut ticks = JoinSet::new();
            ticks.spawn_on(tick(loaded.engine.clone()), &runtime);
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    // Nothing is ever sent: it ends when nobody waits any more.
                    _ = unwanted => Err(Stop::unavailable("the program was stopped")),
                    result = loaded.run(program, log) => result,
                }
            })
        });
        let result = work.await;
        drop(wanted);
        result.unwrap_or_else(|_| Err(Stop::violation("it broke its interpreter")))
    }

    fn loaded(&self) -> Result<Arc<Loaded>, Stop> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = &*loaded {
            return Ok(Arc::clone(loaded));
        }
        let fresh = Loaded::new(&self.directory).map_err(|error| {
            tracing::error!(error = format!("{error:#}"), "the Python component");
            let place = self.directory.display();
            Stop::unavailable(format!(
                "Python could not be loaded from {place}; `{COMMAND}` builds it"
            ))
        })?;
        Ok(Arc::clone(loaded.insert(Arc::new(fresh))))
    }
}

/// Stands for somebody who waits for a program.
struct Wanted<'a> {
    sender: Option<oneshot::Sender<()>>,
    python: &'a Python,
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        drop(self.sender.take());
        // The program looks up at once, also where the runtime that ticks is about to end. One that is
        // being loaded looks before it begins.
        if let Ok(loaded) = self.python.loaded.try_lock()
            && let Some(loaded) = &*loaded
        {
            loaded.engine.increment_epoch();
        }
    }
}

impl Loaded {
    fn new(directory: &Path) -> wasmtime::Result<Loaded> {
        let engine = component::engine()?;
        let component = component::load(&engine, directory)?;
        let mut linker = Linker::<State>::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        bindings::Program::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
        let prepared = bindings::ProgramPre::new(linker.instantiate_pre(&component)?)?;
        Ok(Loaded { engine, prepared })
    }

    async fn run(&self, program: Program, log: Log) -> Result<String, Stop> {
        let Program { code, input, memory_bytes, output_bytes } = program;
        let mut store = self.store(log, memory_bytes);
        let input = input.to_string();
        let called = async {
            let program = self.prepared.instantiate_async(&mut store).await?;
            program.call_run(&mut store, &code, &input).await
        };
        let called = called.await;
        let was_refused = store.data().memory.was_refused;
        match called {
            Ok(Ok(json)) if json.len() > output_bytes => Err(Stop::output()),
            Ok(Ok(json)) => Ok(json),
            Ok(Err(why)) => Err(told(&why)),
            // A program that cannot have more memory may break in any way.
            Err(_) if was_refused => Err(Stop::memory()),
            Err(error) => Err(trapped(&error)),
        }
    }

    fn store(&self, log: Log, memory_bytes: usize) -> Store<State> {
        let memory = Memory { bytes: 0, bytes_max: memory_bytes, was_refused: false };
        let (wasi, resources) = (WasiCtxBuilder::new().build(), ResourceTable::new());
        let mut store = Store::new(&self.engine, State { wasi, resources, memory, log });
        store.limiter(|state| &mut state.memory);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
        store
    }
}

/// Lets programs that compute look up, again and again.
async fn tick(engine: Engine) {
    loop {
        tokio::time::sleep(TICK).await;
        engine.increment_epoch();
    }
}

/// What the component says in place of a result. It may be anything: a program can take the place of
/// whoever says it.
fn told(why: &str) -> Stop {
    serde_json::from_str(why).unwrap_or_else(|_| Stop::violation("it broke its interpreter"))
}

/// What an end of the component means that it did not intend.
fn trapped(error: &wasmtime::Error) -> Stop {
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => Stop::exception("it recurses too deeply"),
        _ => Stop::violation("it broke its interpreter"),
    }
}

impl bindings::ProgramImports for State {
    fn log(&mut self, level: u8, mut line: String) {
        let level = if level == 0 { Level::Info } else { Level::Warning };
        line.truncate(line.floor_char_boundary(PROGRAM_LINE_BYTES));
        self.log.line(level, &line);
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.resources }
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let bytes = self.bytes + (desired - current);
        if bytes > self.bytes_max {
            self.was_refused = true;
            return Ok(false);
        }
        self.bytes = bytes;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS)
    }
}
