//! The whole store in one file, taken beside the process that owns it, and put back.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use waystation_core::error::{Code, Error};

use super::{owner, schema};
use crate::store::{Result, StoreError};

/// What a backup is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Bytes of the file.
    pub bytes: u64,
    /// Runs in it.
    pub runs: u64,
    /// Of these, runs that have not ended.
    pub unfinished: u64,
}

/// Writes all that is durable at this moment into a new file, also while the store is written to. The
/// file appears when it is whole and checked.
pub fn backup(dir: &Path, target: &Path) -> Result<Copied> {
    let source = schema::open_reader(&existing(dir)?)?;
    // Copying into another file is what this connection is for.
    source.execute_batch("PRAGMA query_only = OFF")?;
    let partial = Partial::new(target)?;
    let path = partial.path.to_str().ok_or_else(|| refuse("the file's name is not UTF-8", ""))?;
    source.execute("VACUUM INTO ?1", [path])?;
    let copied = inspect(&partial.path)?;
    partial.finish(target)?;
    Ok(copied)
}

/// How many bytes a backup will have at the most, roughly.
pub fn size(dir: &Path) -> Result<u64> {
    let about = std::fs::metadata(existing(dir)?);
    Ok(about.map_or(0, |about| about.len()))
}

/// Where a backup grows before it is whole.
pub fn partial_path(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

/// Puts a backup into a data directory that has no data.
pub fn restore(source: &Path, dir: &Path) -> Result<Copied> {
    let target = owner::database(dir);
    if target.exists() {
        let message = format!("{} has data already", dir.display());
        return Err(refuse(
            &message,
            "name a directory without data with --data, or move that away",
        ));
    }
    let copied = inspect(source)?;
    owner::create_directory(dir).map_err(|error| failed("the directory", &error))?;
    let partial = Partial::new(&target)?;
    // A copy of the content alone: whoever may read the backup need not read the data.
    let copying = File::open(source).and_then(|mut source| {
        std::io::copy(&mut source, &mut OpenOptions::new().write(true).open(&partial.path)?)
    });
    copying.map_err(|error| failed("the backup cannot be copied", &error))?;
    forget_readers(&partial.path)?;
    partial.finish(&target)?;
    Ok(copied)
}

/// What readers outside have got since the backup is not known: they begin anew, with ids of their own.
fn forget_readers(file: &Path) -> Result<()> {
    let connection = Connection::open(file)?;
    // No side file may stay behind.
    connection.execute_batch("PRAGMA journal_mode = DELETE")?;
    if schema::has_table(&connection, "marks")? {
        connection.execute("DELETE FROM marks", [])?;
    }
    Ok(())
}

fn existing(dir: &Path) -> Result<PathBuf> {
    let file = owner::database(dir);
    match file.exists() {
        true => Ok(file),
        false => Err(super::no_data(dir)),
    }
}

/// Refuses a file that is no whole store of a version that this program knows.
fn inspect(file: &Path) -> Result<Copied> {
    let about = std::fs::metadata(file).map_err(|error| failed("the backup", &error))?;
    let name = file.display();
    let hint = "take a file that `waystation backup` has written";
    let broken = |why: &str| refuse(&format!("{name} {why}"), hint);
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let verdict = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    match verdict {
        Ok(verdict) if verdict == "ok" => {}
        Ok(_) => return Err(broken("is damaged")),
        Err(_) => return Err(broken("is no database")),
    }
    schema::check_version(&connection)?;
    if !schema::has_table(&connection, "runs")? {
        return Err(broken("is no backup of this program's data"));
    }
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get(0)).map(super::unsigned);
    Ok(Copied {
        bytes: about.len(),
        runs: count("SELECT count(*) FROM runs")?,
        unfinished: count("SELECT count(*) FROM runs WHERE status = 0")?,
    })
}

/// A file that is not whole yet; it goes again if it never is.
struct Partial {
    path: PathBuf,
    is_done: bool,
}

impl Partial {
    /// An empty file for its owner alone. A file that is there is not written over.
    fn new(target: &Path) -> Result<Partial> {
        if target.exists() {
            let message = format!("{} is there already", target.display());
            return Err(refuse(&message, "choose another name: nothing is written over"));
        }
        let path = partial_path(target);
        // What an interrupted one has left.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(failed("what an earlier one left cannot be removed", &error));
            }
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let made = options.open(&path);
        made.map_err(|error| failed(&format!("{} cannot be written", path.display()), &error))?;
        Ok(Partial { path, is_done: false })
    }

    /// Makes it last, and gives it its name.
    fn finish(mut self, target: &Path) -> Result<()> {
        let written = File::open(&self.path)
            .and_then(|file| file.sync_all())
            .and_then(|()| std::fs::rename(&self.path, target))
            .and_then(|()| {
                let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
                File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
            });
        self.is_done = written.is_ok();
        written.map_err(|error| failed("the file cannot be made to last", &error))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_done {
            // What stays is removed by the next one.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn failed(what: &str, cause: &std::io::Error) -> StoreError {
    refuse(&format!("{what}: {cause}"), "check the disk's room and permissions")
}

fn refuse(message: &str, hint: &str) -> StoreError {
    let error = Error::new(Code::Store, message);
    let error = if hint.is_empty() { error } else { error.with_hint(hint) };
    StoreError { error, detail: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::RunId;
    use crate::store::conformance::{first, whole};
    use crate::store::sqlite::{Options, SqliteStore};
    use crate::store::{FeedStore, RunStore};

    #[tokio::test]
    async fn a_backup_beside_a_writer_is_a_whole_store_of_one_moment() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("data");
        let store = SqliteStore::open(&dir, &Options::default()).unwrap();
        let begun: Vec<RunId> = (0..20).map(|_| RunId::new()).collect();
        for id in &begun {
            store.append(first(*id)).await.unwrap();
        }
        store.append(whole(RunId::new(), 7)).await.unwrap();
        store.put_mark("redis.events", 9).await.unwrap();
        let target = root.path().join("backup.db");
        let copied = backup(&dir, &target).unwrap();
        assert_eq!((copied.runs, copied.unfinished), (21, 20));
        assert!(copied.bytes > 0 && size(&dir).unwrap() > 0);
        store.append(whole(RunId::new(), 7)).await.unwrap();

        let other = root.path().join("other");
        std::fs::set_permissions(&target, std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .unwrap();
        assert_eq!(restore(&target, &other).unwrap(), copied);
        let about = std::fs::metadata(owner::database(&other)).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&about.permissions());
        assert_eq!(mode & 0o777, 0o600, "whatever the backup's is");
        let restored = SqliteStore::open(&other, &Options::default()).unwrap();
        for id in &begun {
            assert_eq!(
                restored.journal(*id, 0).await.unwrap(),
                store.journal(*id, 0).await.unwrap()
            );
        }
        assert_eq!(restored.mark("redis.events").await.unwrap(), None, "its readers begin anew");
        restored.append(whole(RunId::new(), 7)).await.unwrap();
    }

    #[test]
    fn nothing_is_written_over_and_nothing_half_is_left() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("data");
        drop(SqliteStore::open(&dir, &Options::default()).unwrap());
        let target = root.path().join("b.db");
        std::fs::write(partial_path(&target), "left by an interrupted one").unwrap();
        backup(&dir, &target).unwrap();
        assert!(!partial_path(&target).exists());
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(&target).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
        let told = |result: Result<Copied>| result.unwrap_err().error.message;
        assert!(told(backup(&dir, &target)).ends_with("is there already"));
        assert!(told(restore(&target, &dir)).ends_with("has data already"));
        assert!(told(backup(root.path(), &root.path().join("c.db"))).contains("there is no data"));
        assert!(told(backup(&dir, Path::new("/no/such/b.db"))).contains("cannot be written"));
    }

    #[test]
    fn only_whole_backups_are_put_back() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("data");
        drop(SqliteStore::open(&dir, &Options::default()).unwrap());
        let (good, file) = (root.path().join("good.db"), root.path().join("bad.db"));
        backup(&dir, &good).unwrap();
        let bytes = std::fs::read(&good).unwrap();
        let mut torn = bytes.clone();
        torn[4_096..].fill(0x5a);
        let refused = |content: &[u8]| {
            std::fs::write(&file, content).unwrap();
            restore(&file, &root.path().join("new")).unwrap_err().error.message
        };
        assert!(refused(b"no database at all").ends_with("is no database"));
        assert!(refused(&torn).contains("bad.db is"), "{}", refused(&torn));
        assert!(refused(&bytes[..bytes.len() / 2]).contains("bad.db is"));
        std::fs::remove_file(&file).unwrap();
        let foreign = Connection::open(&file).unwrap();
        foreign.execute_batch("CREATE TABLE other (a)").unwrap();
        drop(foreign);
        let foreign = std::fs::read(&file).unwrap();
        assert!(refused(&foreign).ends_with("is no backup of this program's data"));
        let newer = Connection::open(&good).unwrap();
        newer.pragma_update(None, "user_version", 999).unwrap();
        drop(newer);
        assert!(refused(&std::fs::read(&good).unwrap()).contains("knows formats up to"));
        assert!(!root.path().join("new/waystation.db").exists());
    }
}
