//! The engine with its own API, as measurements of graphs need it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use reqwest::Client;
use serde_json::{Value, json};

use crate::process::{Server, serve};

/// Bytes of a mebibyte.
pub(crate) const MIB: f64 = 1_048_576.0;
/// The pause between two looks at a job or at a server.
pub(crate) const POLL: Duration = Duration::from_millis(100);

/// Where the engine is, and where its data may lie.
pub(crate) struct Place<'a> {
    pub(crate) engine: PathBuf,
    pub(crate) data: &'a Path,
}

impl Place<'_> {
    /// The engine on a directory of data.
    pub(crate) fn start(&self, data: &Path, address: SocketAddr) -> Result<Server> {
        Server::start(serve(&self.engine, address, data), address, &data.join("server.log"))
    }

    /// The same, on one core of the machine only.
    pub(crate) fn start_on(&self, core: usize, data: &Path, address: SocketAddr) -> Result<Server> {
        let engine = serve(&self.engine, address, data);
        Server::start(on_core(core, &engine), address, &data.join("server.log"))
    }
}

/// A command that keeps to one core.
pub(crate) fn on_core(core: usize, command: &Command) -> Command {
    let mut pinned = Command::new("taskset");
    pinned.args(["--cpu-list", &core.to_string()]).arg(command.get_program());
    pinned.args(command.get_args());
    pinned
}

/// Saves a workflow and gives its id.
pub(crate) async fn save(address: SocketAddr, workflow: &Value) -> Result<String> {
    let saved = post_json(address, "/api/v1/workflows", workflow).await?;
    id_of(&saved)
}

/// Begins a job of a workflow and gives its id.
pub(crate) async fn begin(address: SocketAddr, workflow: &str, input: &Value) -> Result<String> {
    let path = format!("/api/v1/workflows/{workflow}/execute");
    let job = post_json(address, &path, &json!({ "input_data": input })).await?;
    id_of(&job)
}

/// Waits until the newest job, which has to be this one, has completed.
pub(crate) async fn until_ended(address: SocketAddr, job: &str) -> Result<()> {
    loop {
        let list = get_json(address, "/api/v1/jobs?limit=1").await?;
        let item = &list["items"][0];
        ensure!(item["id"] == job, "another job: {item}");
        match item["status"].as_str() {
            Some("running") => tokio::time::sleep(POLL).await,
            Some("completed") => return Ok(()),
            _ => bail!("the job did not complete: {item}"),
        }
    }
}

pub(crate) async fn post_json(address: SocketAddr, path: &str, body: &Value) -> Result<Value> {
    let url = format!("http://{address}{path}");
    let request = Client::new().post(url).body(body.to_string());
    Ok(serde_json::from_str(&request.send().await?.text().await?)?)
}

pub(crate) async fn get_json(address: SocketAddr, path: &str) -> Result<Value> {
    let url = format!("http://{address}{path}");
    Ok(serde_json::from_str(&Client::new().get(url).send().await?.text().await?)?)
}

fn id_of(thing: &Value) -> Result<String> {
    Ok(thing["id"].as_str().with_context(|| format!("nothing with an id: {thing}"))?.to_owned())
}

pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / MIB
}
