//! The stored workflows: at the server that runs on the data directory, else in the directory itself.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use waystation_core::dialect::graph::job;
use waystation_core::error::{Code, Error};
use waystation_engine::driver::Origin;
use waystation_engine::id::WorkflowId;
use waystation_engine::store::{Expected, WorkflowFilter};

use super::super::Failed;
use super::super::local::Server;
use crate::app::App;
use crate::config::Config;
use crate::workflows::{self, Refusal, view, view_line, view_warnings};

/// Workflows that are asked for at once.
const PAGE: usize = 200;
/// How long a run may take that somebody waits for at a server.
const RUN_PATIENCE: Duration = Duration::from_secs(24 * 3_600);

#[allow(clippy::large_enum_variant, reason = "a command has one")]
pub(super) enum Shelf {
    /// A server has the data.
    There(Server),
    /// Nobody else has.
    Here(Box<App>),
}

impl Shelf {
    pub(super) async fn open(config: Config) -> Result<Shelf, Failed> {
        match Server::of(&config.data).await {
            Some(server) => Ok(Shelf::There(server)),
            None => Ok(Shelf::Here(Box::new(App::open(config, false).await?))),
        }
    }

    /// All workflows in a state, or all.
    pub(super) async fn list(&self, status: Option<String>) -> Result<Vec<Value>, Failed> {
        let mut lines = Vec::new();
        loop {
            let page = self.page(status.clone(), lines.len()).await?;
            let is_last = page.len() < PAGE;
            lines.extend(page);
            if is_last {
                return Ok(lines);
            }
        }
    }

    async fn page(&self, status: Option<String>, offset: usize) -> Result<Vec<Value>, Failed> {
        match self {
            Shelf::Here(app) => {
                let text = None;
                let filter = WorkflowFilter { status, text, offset, limit: PAGE };
                let found = app.engine.store().workflows(filter).await.map_err(Error::from)?;
                Ok(found.0.iter().map(view_line).collect())
            }
            Shelf::There(server) => {
                let number = offset / PAGE + 1;
                let state = status.map(|status| format!("&status={status}")).unwrap_or_default();
                let path = format!("/api/v1/workflows?page={number}&limit={PAGE}{state}");
                let mut found = server.call(Method::GET, &path, None).await?;
                Ok(found["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
            }
        }
    }

    /// The id that a word means: an id as it stands, or the only workflow of that name.
    async fn find(&self, word: &str) -> Result<WorkflowId, Failed> {
        if let Ok(id) = word.parse() {
            return Ok(id);
        }
        match self.of_name(word).await?.as_slice() {
            [one] => Ok(*one),
            [] => Err(workflows::unknown(word).into()),
            several => {
                let text = format!("{} workflows are called {word}: say the id", several.len());
                Err(Error::new(Code::RequestInvalid, text).into())
            }
        }
    }

    async fn of_name(&self, name: &str) -> Result<Vec<WorkflowId>, Failed> {
        let lines = self.list(None).await?;
        let same = lines.iter().filter(|line| line["name"] == name);
        Ok(same.filter_map(|line| line["id"].as_str()?.parse().ok()).collect())
    }

    pub(super) async fn get(&self, word: &str, version: Option<u32>) -> Result<Value, Failed> {
        let id = self.find(word).await?;
        match self {
            Shelf::Here(app) => Ok(view(&workflows::load(app, &id, version).await?)),
            Shelf::There(server) => {
                let which = version.map(|version| format!("?version={version}"));
                let path = format!("/api/v1/workflows/{id}{}", which.unwrap_or_default());
                Ok(server.call(Method::GET, &path, None).await?)
            }
        }
    }

    /// Saves a workflow under its id, else as the next version of the only one of its name, else anew.
    pub(super) async fn put(&self, source: Value) -> Result<Value, Failed> {
        let id = match source["id"].as_str() {
            Some(text) => text.parse().map_err(|_| {
                let text = format!("id: {text} is no id of a workflow: 24 hexadecimal digits");
                Failed::Definition(vec![text])
            })?,
            None => {
                let name = source["name"].as_str().unwrap_or_default();
                let known = self.of_name(name).await?;
                if let [_, _, ..] = known.as_slice() {
                    return Err(Failed::Definition(vec![format!(
                        "name: several workflows are called {name}; write the id into the file"
                    )]));
                }
                known.first().copied().unwrap_or_default()
            }
        };
        match self {
            Shelf::Here(app) => save(app, id, source).await,
            Shelf::There(server) => {
                let path = format!("/api/v1/workflows/{id}?create=true");
                let body = Some(source.to_string());
                server.call(Method::PUT, &path, body).await.map_err(Failed::definition)
            }
        }
    }

    /// Runs a workflow to its end, and gives the job.
    pub(super) async fn run(&self, word: &str, input: Value) -> Result<Value, Failed> {
        let id = self.find(word).await?;
        match self {
            Shelf::Here(app) => {
                let row = workflows::load(app, &id, None).await?;
                let begun = workflows::begin(app, &row, input, Origin::default()).await;
                let begun = begun.map_err(refused)?;
                let (id, run) = (begun.id, begun.finished.wait().await?);
                Ok(job::render(&run, &id.to_string()))
            }
            Shelf::There(server) => {
                let path = format!("/api/v1/workflows/{id}/execute?wait=true");
                let body = Some(json!({ "input_data": input }).to_string());
                let asked = server.call_within(RUN_PATIENCE, Method::POST, &path, body);
                asked.await.map_err(Failed::definition)
            }
        }
    }

    pub(super) async fn remove(&self, word: &str) -> Result<WorkflowId, Failed> {
        let id = self.find(word).await?;
        match self {
            Shelf::Here(app) => {
                if !app.engine.store().remove_workflow(&id).await.map_err(Error::from)? {
                    return Err(workflows::unknown(word).into());
                }
            }
            Shelf::There(server) => {
                server.call(Method::DELETE, &format!("/api/v1/workflows/{id}"), None).await?;
            }
        }
        Ok(id)
    }
}

async fn save(app: &App, id: WorkflowId, source: Value) -> Result<Value, Failed> {
    let saved = workflows::save_or_create(app, id, Expected::Any, source).await;
    let saved = saved.map_err(refused)?;
    let mut shown = view(&saved.row);
    shown["warnings"] = view_warnings(&saved.warnings);
    Ok(shown)
}

pub(in crate::cli) fn refused(refusal: Refusal) -> Failed {
    match refusal {
        Refusal::Invalid(issues) => Failed::issues(&issues),
        Refusal::Error(error) => Failed::Error(error),
        Refusal::Stale { present } => {
            let text = format!("the present version is {present} by now; try again");
            Failed::Error(Error::new(Code::Conflict, text))
        }
    }
}
