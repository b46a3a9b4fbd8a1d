//! JavaScript: a script that defines `process`, in a fresh QuickJS for each call.

use std::cell::Cell;
use std::io;

use rquickjs::context::EvalOptions;
use rquickjs::function::Rest;
use rquickjs::{
    CatchResultExt, CaughtError, Coerced, Context, Ctx, Error, Exception, Function, Object, Result,
    Runtime, Value,
};
use waystation_core::entry::Level;
use waystation_core::limits::LOG_LINES_PER_RUN;

use super::super::Stop;
use super::super::wire::{self, Frame, Work};
use crate::limits::PROGRAM_LINE_BYTES;

/// What the user's script is called in stack traces.
const FILE: &str = "code.js";
/// Of the interpreter's own stack; deeper recursion is an exception in the program. It is a part of
/// the thread's.
const STACK_BYTES: usize = 1 << 20;
/// What QuickJS says when its memory is used up.
const OUT_OF_MEMORY: &str = "out of memory";
/// The script's function, also where it is a constant.
const FIND_PROCESS: &str = "typeof process === 'function' ? process : undefined";

/// Runs a script, calls its `process` with the input, and gives the result as JSON.
pub(super) fn run(work: &Work) -> std::result::Result<String, Stop> {
    let runtime = Runtime::new().map_err(|_| Stop::memory())?;
    runtime.set_memory_limit(work.memory_bytes);
    runtime.set_max_stack_size(STACK_BYTES);
    let context = Context::full(&runtime).map_err(|_| Stop::memory())?;
    context.with(|ctx| {
        give_console(&ctx).map_err(|_| Stop::memory())?;
        let value = call(&ctx, work).catch(&ctx).map_err(|error| exception(&error))?;
        if value.is_undefined() {
            return Ok("null".to_owned());
        }
        match json(&ctx, value).catch(&ctx) {
            Ok(Some(json)) => Ok(json),
            Ok(None) => Err(Stop::not_json("it is a function or a symbol")),
            Err(error) => {
                let stop = exception(&error);
                let is_memory = stop.reason == super::super::Reason::Memory;
                Err(if is_memory { stop } else { Stop::not_json(&stop.message) })
            }
        }
    })
}

/// What `process` gives; a promise is waited for.
fn call<'js>(ctx: &Ctx<'js>, work: &Work) -> Result<Value<'js>> {
    let mut options = EvalOptions::default();
    options.strict = false;
    options.filename = Some(FILE.to_owned());
    ctx.eval_with_options::<(), _>(work.code.as_str(), options)?;
    let process: Option<Function> = ctx.eval(FIND_PROCESS)?;
    let Some(process) = process else {
        return Err(Exception::throw_type(ctx, "the code defines no function `process`"));
    };
    let value: Value = process.call((ctx.json_parse(work.input.get())?,))?;
    match value.as_promise() {
        Some(promise) => promise.finish(),
        None => Ok(value),
    }
}

fn json<'js>(ctx: &Ctx<'js>, value: Value<'js>) -> Result<Option<String>> {
    ctx.json_stringify(value)?.map(|text| text.to_string()).transpose()
}

/// Why the script came to no result.
fn exception(error: &CaughtError<'_>) -> Stop {
    match error {
        CaughtError::Error(Error::WouldBlock) => {
            Stop::exception("the promise that `process` returns is never settled")
        }
        CaughtError::Error(Error::Allocation) => Stop::memory(),
        CaughtError::Error(error) => Stop::exception(error.to_string()),
        CaughtError::Exception(thrown) => {
            let message = thrown.message().unwrap_or_default();
            if message == OUT_OF_MEMORY {
                return Stop::memory();
            }
            let name =
                thrown.get::<_, Coerced<String>>("name").map_or("Error".into(), |name| name.0);
            let line = thrown.stack().as_deref().and_then(line_of);
            Stop::exception(format!("{name}: {message}")).at(line)
        }
        // With no memory left there is none for an exception either.
        CaughtError::Value(value) if value.is_null() => Stop::memory(),
        CaughtError::Value(value) => Stop::exception(format!("{} was thrown", text_of(value))),
    }
}

/// The innermost line of the user's script in a stack trace.
fn line_of(stack: &str) -> Option<u32> {
    let (_, place) = stack.split_once(FILE)?;
    let digits = place.strip_prefix(':')?.split(|letter: char| !letter.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// Gives the script a `console`, whose lines go out as they are said.
fn give_console(ctx: &Ctx<'_>) -> Result<()> {
    let console = Object::new(ctx.clone())?;
    for (name, level) in [
        ("debug", Level::Info),
        ("log", Level::Info),
        ("info", Level::Info),
        ("warn", Level::Warning),
        ("error", Level::Error),
    ] {
        let said = Cell::new(0);
        let say = move |values: Rest<Value<'_>>| {
            // One more than is kept, so that the engine can say that there was more.
            if said.get() <= LOG_LINES_PER_RUN {
                said.set(said.get() + 1);
                say(level, &values);
            }
        };
        console.set(name, Function::new(ctx.clone(), say)?)?;
    }
    ctx.globals().set("console", console)
}

fn say(level: Level, values: &[Value<'_>]) {
    let mut line = String::new();
    for value in values {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&text_of(value));
        if line.len() > PROGRAM_LINE_BYTES {
            line.truncate(line.floor_char_boundary(PROGRAM_LINE_BYTES));
            break;
        }
    }
    // An engine that no longer listens also ends this process.
    let _ = wire::write(&mut io::stdout(), &Frame::Log(level, line));
}

/// A value as `console` shows it: texts as they are, objects as JSON where they have one.
fn text_of(value: &Value<'_>) -> String {
    let ctx = value.ctx();
    if value.is_object() && !value.is_function() && !value.is_error() {
        match json(ctx, value.clone()) {
            Ok(Some(json)) => return json,
            Ok(None) => {}
            Err(_) => drop(ctx.catch()),
        }
    }
    match value.get::<Coerced<String>>() {
        Ok(text) => text.0,
        Err(_) => {
            drop(ctx.catch());
            value.type_name().to_owned()
        }
    }
}
