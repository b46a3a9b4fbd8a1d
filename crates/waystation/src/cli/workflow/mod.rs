//! `waystation workflow`: stored workflows, listed, saved, and exchanged with files.
//!
//! - `shelf`: the stored workflows, at a running server or in the data directory
//! - `document`: workflows as JSON and YAML

pub(super) mod document;
mod shelf;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::Value;
use waystation_core::dialect::graph::definition::STATUSES;
use waystation_core::error::{Code, Error};

use self::document::{Form, text_of};
use self::shelf::Shelf;
pub(super) use self::shelf::refused;
use super::{Failed, Outcome, read_file, terminal};
use crate::config::Config;

#[derive(Subcommand)]
pub(super) enum Workflow {
    /// List workflows, those that changed last first.
    List {
        /// Only those in this state: active, draft, inactive or archived.
        #[arg(long)]
        status: Option<String>,
        /// Print them as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print a workflow.
    Get {
        /// Its id, or its name.
        workflow: String,
        /// Which version; the present one unless said.
        #[arg(long)]
        version: Option<u32>,
        /// How to write it.
        #[arg(long, value_enum, default_value_t = Form::Json)]
        format: Form,
    },
    /// Save a workflow from a file (`-` is standard input): a new one, or a new version of the one with
    /// the file's id or name.
    Put {
        /// The file, JSON or YAML.
        file: PathBuf,
    },
    /// Run a workflow, wait for its end, and print the job.
    Run {
        /// Its id, or its name.
        workflow: String,
        /// The input, as JSON.
        #[arg(long, default_value = "{}")]
        input: String,
    },
    /// Remove a workflow with its versions and triggers; what has run stays.
    Rm {
        /// Its id, or its name.
        workflow: String,
    },
    /// Write workflows to files, one each, named by their ids.
    Export(Export),
    /// Save workflows from files, or from the files of a folder. They keep their ids.
    Import {
        /// The files and folders.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
    /// Show how a file differs from the workflow that is stored; exit code 1 if it does.
    Diff {
        /// The file, JSON or YAML.
        file: PathBuf,
        /// The id or name to compare with; those of the file unless said.
        workflow: Option<String>,
    },
}

#[derive(Args)]
pub(super) struct Export {
    /// Ids or names; all unless said.
    workflows: Vec<String>,
    /// The folder to write to; it is made where there is none.
    #[arg(long, default_value = "workflows")]
    to: PathBuf,
    /// How to write them.
    #[arg(long, value_enum, default_value_t = Form::Yaml)]
    format: Form,
}

impl Workflow {
    pub(super) async fn execute(self, config: Config) -> Outcome {
        match self {
            Workflow::List { status, json } => {
                let status = status.map(|status| known_status(&status)).transpose()?;
                list(&Shelf::open(config).await?, status, json).await
            }
            Workflow::Get { workflow, version, format } => {
                let shelf = Shelf::open(config).await?;
                let found = shelf.get(&workflow, version).await?;
                terminal::print(text_of(&found, format)?.trim_end());
                Ok(())
            }
            Workflow::Put { file } => put(&Shelf::open(config).await?, &file).await,
            Workflow::Run { workflow, input } => {
                run(&Shelf::open(config).await?, &workflow, &input).await
            }
            Workflow::Rm { workflow } => {
                let id = Shelf::open(config).await?.remove(&workflow).await?;
                terminal::say(&format!("removed {id}"));
                Ok(())
            }
            Workflow::Export(export) => export.execute(&Shelf::open(config).await?).await,
            Workflow::Import { paths } => import(&Shelf::open(config).await?, &paths).await,
            Workflow::Diff { file, workflow } => {
                diff(&Shelf::open(config).await?, &file, workflow).await
            }
        }
    }
}

fn known_status(status: &str) -> Result<String, Error> {
    if STATUSES.contains(&status) {
        return Ok(status.to_owned());
    }
    let text = format!("--status is one of {}", STATUSES.join(", "));
    Err(Error::new(Code::RequestInvalid, text))
}

async fn list(shelf: &Shelf, status: Option<String>, json: bool) -> Outcome {
    let lines = shelf.list(status).await?;
    if json {
        terminal::print_json(&Value::Array(lines));
        return Ok(());
    }
    terminal::print(&format!(
        "{:<24}  {:<8}  {:>7}  {:<24}  NAME",
        "ID", "STATUS", "VERSION", "CHANGED"
    ));
    for line in lines.iter().map(terminal::plain_value) {
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        let (id, status, changed) = (text("id"), text("status"), text("updated_at"));
        let (version, name) = (line["version"].as_u64().unwrap_or_default(), text("name"));
        terminal::print(&format!("{id:<24}  {status:<8}  {version:>7}  {changed:<24}  {name}"));
    }
    Ok(())
}

fn read(file: &Path) -> Result<Value, Failed> {
    let text = read_file(file)?;
    document::read(&text)
        .map_err(|problem| Failed::Definition(vec![format!("{}: {problem}", file.display())]))
}

async fn put(shelf: &Shelf, file: &Path) -> Outcome {
    let saved = shelf.put(read(file)?).await?;
    let warnings = saved["warnings"].as_array().map(Vec::as_slice).unwrap_or_default();
    let texts: Vec<String> =
        warnings.iter().filter_map(|one| one["msg"].as_str()).map(str::to_owned).collect();
    terminal::warnings(&texts);
    let (id, name) = (saved["id"].as_str(), saved["name"].as_str());
    let version = &saved["version"];
    let (id, name) = (id.unwrap_or_default(), terminal::plain(name.unwrap_or_default()));
    terminal::print(&format!("{id}  version {version}  {name}"));
    Ok(())
}

async fn run(shelf: &Shelf, workflow: &str, input: &str) -> Outcome {
    let input = serde_json::from_str(input).map_err(|error| {
        Error::new(Code::RequestInvalid, format!("--input is not valid JSON: {error}"))
    })?;
    let job = shelf.run(workflow, input).await?;
    terminal::print_json(&terminal::plain_value(&job));
    match job["status"].as_str() {
        Some("completed") => Ok(()),
        _ => Err(Failed::Run),
    }
}

impl Export {
    async fn execute(self, shelf: &Shelf) -> Outcome {
        let mut wanted = self.workflows;
        if wanted.is_empty() {
            let lines = shelf.list(None).await?;
            wanted =
                lines.iter().filter_map(|line| line["id"].as_str()).map(String::from).collect();
        }
        std::fs::create_dir_all(&self.to).map_err(|error| unwritten(&self.to, &error))?;
        for workflow in &wanted {
            let found = shelf.get(workflow, None).await?;
            let id = found["id"].as_str().unwrap_or("workflow");
            let file = self.to.join(format!("{id}.{}", self.format.extension()));
            let text = text_of(&found, self.format)?;
            std::fs::write(&file, text).map_err(|error| unwritten(&file, &error))?;
            terminal::print(&file.display().to_string());
        }
        Ok(())
    }
}

fn unwritten(path: &Path, error: &std::io::Error) -> Failed {
    let text = format!("{} cannot be written: {error}", path.display());
    Error::new(Code::RequestInvalid, text).into()
}

/// All files, in order of their names; what is wrong with one does not keep the others.
async fn import(shelf: &Shelf, paths: &[PathBuf]) -> Outcome {
    let mut problems = Vec::new();
    for file in files(paths)? {
        let saved = match read(&file) {
            Ok(source) => put_one(shelf, source, &file).await,
            Err(failed) => Err(failed),
        };
        match saved {
            Ok(()) => {}
            Err(Failed::Definition(found)) => problems.extend(found),
            Err(other) => return Err(other),
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Failed::Definition(problems)) }
}

async fn put_one(shelf: &Shelf, source: Value, file: &Path) -> Outcome {
    let shown = file.display();
    let saved = shelf.put(source).await.map_err(|failed| match failed {
        Failed::Definition(found) => {
            Failed::Definition(found.iter().map(|one| format!("{shown}: {one}")).collect())
        }
        other => other,
    })?;
    let id = saved["id"].as_str().unwrap_or_default();
    terminal::print(&format!("{id}  version {}  {shown}", saved["version"]));
    Ok(())
}

fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failed> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let unread = |error: std::io::Error| {
            let text = format!("{} cannot be read: {error}", path.display());
            Error::new(Code::RequestInvalid, text)
        };
        let entries = std::fs::read_dir(path).map_err(unread)?;
        let found = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let mut found: Vec<PathBuf> = found.filter(|file| document::is_one(file)).collect();
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

async fn diff(shelf: &Shelf, file: &Path, workflow: Option<String>) -> Outcome {
    let ours = read(file)?;
    let named = ["id", "name"].into_iter().find_map(|field| ours[field].as_str());
    let Some(which) = workflow.as_deref().or(named) else {
        let text = "the file has neither an id nor a name; say what to compare it with";
        return Err(Error::new(Code::RequestInvalid, text).into());
    };
    let stored = shelf.get(which, None).await?;
    let (stored, ours) = (document::comparable(&stored), document::comparable(&ours));
    if stored == ours {
        return Ok(());
    }
    let (before, after) = (text_of(&stored, Form::Yaml)?, text_of(&ours, Form::Yaml)?);
    let changes = similar::TextDiff::from_lines(&before, &after);
    let shown = changes.unified_diff().header("stored", &file.display().to_string()).to_string();
    terminal::print(terminal::plain(&shown).trim_end());
    Err(Failed::Run)
}
