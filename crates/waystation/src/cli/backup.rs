//! `waystation backup`, `waystation restore`: all data in one file, and back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use waystation_core::error::{Code, Error};
use waystation_engine::store::StoreError;
use waystation_engine::store::sqlite::backup::{self, Copied};

use super::{Outcome, terminal};

/// How often the progress is looked at.
const TICK: Duration = Duration::from_millis(100);

#[derive(Args)]
pub(super) struct Backup {
    /// The file to write. It must not exist yet.
    file: PathBuf,
}

#[derive(Args)]
pub(super) struct Restore {
    /// A file that `waystation backup` has written.
    file: PathBuf,
}

impl Backup {
    /// Beside a running server too: it goes on meanwhile.
    pub(super) async fn execute(self, data: PathBuf) -> Outcome {
        let size = backup::size(&data).map_err(Error::from)?;
        let (file, growing) = (self.file.clone(), backup::partial_path(&self.file));
        let copied = with_progress(size, &growing, move || backup::backup(&data, &file)).await?;
        tell("Backed up", &copied, &self.file);
        terminal::say(
            "The key of the secrets is not in it: keep secret.key, or WAYSTATION_SECRET_KEY, apart",
        );
        Ok(())
    }
}

impl Restore {
    pub(super) async fn execute(self, data: PathBuf) -> Outcome {
        let size = std::fs::metadata(&self.file).map_or(0, |about| about.len());
        let (file, directory) = (self.file.clone(), data.clone());
        let growing = data.join("waystation.db.partial");
        let copied =
            with_progress(size, &growing, move || backup::restore(&file, &directory)).await?;
        tell("Restored", &copied, &data);
        if copied.unfinished > 0 {
            terminal::say(&format!(
                "At its start the server goes on with {} unfinished runs. Steps that they did after the \
                 backup are done again; `waystation runs cancel ID` ends what shall not",
                copied.unfinished
            ));
        }
        if !data.join("secret.key").exists() {
            terminal::say(
                "Put secret.key there too, or set WAYSTATION_SECRET_KEY, for the secrets",
            );
        }
        Ok(())
    }
}

fn tell(what: &str, copied: &Copied, place: &Path) {
    let (runs, size) = (copied.runs, HumanBytes(copied.bytes));
    terminal::print(&format!("{what} {runs} runs, {size}: {}", place.display()));
}

/// Does the work on a thread of its own, and shows how the file grows.
async fn with_progress(
    bytes: u64,
    growing: &Path,
    work: impl FnOnce() -> Result<Copied, StoreError> + Send + 'static,
) -> Result<Copied, Error> {
    let bar = if terminal::is_watched() { ProgressBar::new(bytes) } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{bar:30} {bytes} of about {total_bytes}  {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut ticks = tokio::time::interval(TICK);
    let mut working = tokio::task::spawn_blocking(work);
    let done = loop {
        tokio::select! {
            done = &mut working => break done,
            _ = ticks.tick() => {
                bar.set_position(std::fs::metadata(growing).map_or(0, |about| about.len()));
            }
        }
    };
    bar.finish_and_clear();
    let failed = |_| Error::new(Code::Internal, "the work broke off");
    done.map_err(failed)?.map_err(Error::from)
}
