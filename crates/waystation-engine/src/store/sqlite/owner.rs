//! The data directory and its one owner among processes.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use waystation_core::error::{Code, Error};

use crate::store::{Result, StoreError};

const DATABASE: &str = "waystation.db";
const LOCK: &str = "waystation.lock";

/// Keeps other processes from writing to a data directory for as long as it lives.
#[derive(Debug)]
pub(super) struct Owner {
    _locked: File,
}

/// Where the database of a data directory is.
pub(super) fn database(dir: &Path) -> PathBuf {
    dir.join(DATABASE)
}

/// Makes the directory and its files exist, readable by nobody else, and takes possession.
pub(super) fn claim(dir: &Path) -> Result<Owner> {
    let prepared = create_directory(dir)
        .and_then(|()| private_file(&dir.join(LOCK)))
        .and_then(|lock| private_file(&database(dir)).map(|_| lock));
    let mut lock = prepared.map_err(|error| unusable(dir, &error))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(in_use(dir, lock)),
        Err(TryLockError::Error(error)) => return Err(unusable(dir, &error)),
    }
    let noted = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
    noted.map_err(|error| unusable(dir, &error))?;
    Ok(Owner { _locked: lock })
}

/// Whether a process has possession of a data directory at this moment.
pub fn is_owned(dir: &Path) -> bool {
    let lock = File::open(dir.join(LOCK));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

pub(super) fn create_directory(dir: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// SQLite gives its side files the permissions of the database.
fn private_file(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn in_use(dir: &Path, mut lock: File) -> StoreError {
    let mut owner = String::new();
    let pid = match lock.read_to_string(&mut owner) {
        Ok(_) if !owner.trim().is_empty() => format!("process {}", owner.trim()),
        _ => "another process".to_owned(),
    };
    let message = format!("the data directory {} is in use by {pid}", dir.display());
    let error = Error::new(Code::Store, message.clone())
        .with_hint("stop that process, or give this one another directory with --data");
    StoreError { error, detail: message }
}

fn unusable(dir: &Path, cause: &std::io::Error) -> StoreError {
    let message = format!("the data directory {} cannot be used: {cause}", dir.display());
    StoreError { error: Error::new(Code::Store, message.clone()), detail: message }
}
