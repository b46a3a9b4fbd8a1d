//! The component's machine code: where it lies, and that nobody else has written it.
//!
//! Machine code is trusted with this whole process. It is loaded only from a directory and files that
//! belong to the user of this process or to root, and that nobody else may write; and only if it is what
//! the build wrote down at its end, so that a half-written one is never run.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256, digest};
use wasmtime::component::Component;
use wasmtime::{Config, Engine, Error, Result};

/// What builds the component.
pub const COMMAND: &str = "make python";

/// The machine code.
const CODE: &str = "component.cwasm";
/// Its SHA-256, in hexadecimal digits; written last.
const SUM: &str = "component.cwasm.sha256";
/// What the component is made of. A program looks for the component of its own sources.
const SOURCES: [&[u8]; 4] = [
    include_bytes!("app.py"),
    include_bytes!("precompile.py"),
    include_bytes!("program.wit"),
    include_bytes!("requirements.txt"),
];
/// Digits of the sources' sum that name the directory.
const KEY_DIGITS: usize = 16;

/// Where the component of this program's sources lies among those of others.
pub fn component_directory(all: &Path) -> PathBuf {
    let mut context = Context::new(&SHA256);
    SOURCES.iter().for_each(|source| context.update(source));
    let key = hexadecimal(context.finish().as_ref());
    all.join(&key[..KEY_DIGITS])
}

/// Whether a component has been built there.
pub(super) fn is_there(directory: &Path) -> bool {
    directory.join(SUM).is_file() && directory.join(CODE).is_file()
}

/// An engine as the component was compiled for: `precompile.py` has the same settings.
pub(super) fn engine() -> Result<Engine> {
    let mut config = Config::new();
    config.epoch_interruption(true);
    Engine::new(&config)
}

/// Loads the component.
pub(super) fn load(engine: &Engine, directory: &Path) -> Result<Component> {
    let code = directory.join(CODE);
    for path in [directory, &code, &directory.join(SUM)] {
        check_owner(path)?;
    }
    let expected = fs::read_to_string(directory.join(SUM))?;
    let found = hexadecimal(digest(&SHA256, &fs::read(&code)?).as_ref());
    if expected.split_whitespace().next() != Some(found.as_str()) {
        return Err(Error::msg(format!("{} is not what was built", code.display())));
    }
    #[expect(unsafe_code, reason = "machine code can only be trusted, and this is our own")]
    // SAFETY: the file is complete, and only who runs this process could write it.
    unsafe {
        Component::deserialize_file(engine, &code)
    }
}

/// Refuses what others could have written.
#[cfg(unix)]
fn check_owner(path: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt;

    let found: Metadata = fs::symlink_metadata(path)?;
    #[expect(unsafe_code, reason = "the standard library does not tell who runs this process")]
    // SAFETY: a question without arguments, which cannot fail.
    let own = unsafe { libc::geteuid() };
    let is_own = found.uid() == 0 || found.uid() == own;
    if found.file_type().is_symlink() || !is_own || found.mode() & 0o022 != 0 {
        let text = format!("{} could be written by others", path.display());
        return Err(Error::msg(text));
    }
    Ok(())
}

/// Nothing is known about owners.
#[cfg(not(unix))]
fn check_owner(_: &Path) -> Result<()> {
    Err(Error::msg("Python needs a system where files have owners"))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
