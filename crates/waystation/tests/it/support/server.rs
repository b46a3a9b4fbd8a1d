//! The server as a process of its own, gone with the test.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use tempfile::TempDir;

use super::command::program;
use super::{PATIENCE, eventually};

/// A server that listens.
pub(crate) struct Server {
    child: Child,
    directory: Arc<TempDir>,
    settings: Vec<(String, String)>,
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    /// What it has written to its standard error.
    pub(crate) log: Arc<Mutex<String>>,
    client: Client,
    /// Sent with every request, once it is there.
    key: Option<String>,
}

impl Server {
    /// A server with an empty data directory and no settings.
    pub(crate) async fn start() -> Server {
        Server::with(&[]).await
    }

    /// A server with an empty data directory.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Server {
        let owned = settings.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Server::open("serve", Arc::new(TempDir::new().unwrap()), owned.collect()).await
    }

    /// Another command that serves, with what it takes for its data directory.
    pub(crate) async fn command(
        name: &str,
        directory: Arc<TempDir>,
        settings: &[(&str, &str)],
    ) -> Server {
        let owned = settings.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Server::open(name, directory, owned.collect()).await
    }

    /// A server at a port of one's choice.
    pub(crate) async fn at(port: &str, settings: &[(&str, &str)]) -> Server {
        Server::with(&[settings, &[("PORT", port)]].concat()).await
    }

    async fn open(name: &str, directory: Arc<TempDir>, settings: Vec<(String, String)>) -> Server {
        let mut command = program(directory.path());
        command.arg(name).env("PORT", "0").stdout(Stdio::null()).stderr(Stdio::piped());
        let variables = settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut child = command.envs(variables).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (lines, kept) = (BufReader::new(child.stderr.take().unwrap()), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                *kept.lock().unwrap() += &format!("{line}\n");
            }
        });
        let address = eventually("the server listens", async || {
            if let Ok(Some(status)) = child.try_wait() {
                panic!("the server ended with {status}: {}", log.lock().unwrap());
            }
            address_in(&log.lock().unwrap())
        });
        let address = address.await;
        // The client asks for a provider even where no TLS is spoken. Another test may have set it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Server { child, directory, settings, address, log, client, key: None }
    }

    /// Starts it again on the same data, with the same settings.
    pub(crate) async fn again(self) -> Server {
        let (directory, settings) = (Arc::clone(&self.directory), self.settings.clone());
        drop(self);
        Server::open("serve", directory, settings).await
    }

    /// The data directory.
    pub(crate) fn data(&self) -> &Path {
        self.directory.path()
    }

    /// Its directory, kept beyond its end.
    pub(crate) fn directory(&self) -> Arc<TempDir> {
        Arc::clone(&self.directory)
    }

    /// A URL on it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A request to it.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, self.url(path));
        match &self.key {
            Some(key) => request.header("x-api-key", key),
            None => request,
        }
    }

    /// Says who it is, from now on.
    pub(crate) fn calls_with(&mut self, key: &str) {
        self.key = Some(key.to_owned());
    }

    /// Sends a request with a body, if there is one, and gives status and JSON.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> (u16, Value) {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        answer(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.call(Method::POST, path, Some(body)).await
    }

    /// The reply to a pipeline.
    pub(crate) async fn execute(&self, pipeline: &Value) -> Value {
        let (status, reply) = self.post("/execute", pipeline).await;
        assert_eq!(status, 200, "{reply}");
        reply
    }

    /// Begins a pipeline and gives the id of its run.
    pub(crate) async fn begin(&self, pipeline: &Value) -> String {
        let request = self.request(Method::POST, "/execute").json(pipeline);
        let (status, reply) = answer(request.header("prefer", "respond-async")).await;
        assert_eq!(status, 202, "{reply}");
        reply["execution_id"].as_str().unwrap().to_owned()
    }

    /// All about a run, once it is in this state.
    pub(crate) async fn until(&self, run: &str, status: &str) -> Value {
        eventually(&format!("run {run} is {status}"), async || {
            let (_, detail) = self.get(&format!("/runs/{run}")).await;
            (detail["status"] == status).then_some(detail)
        })
        .await
    }

    /// What it has written to its standard error so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// A line of `/proc/<pid>/status`, in its unit.
    pub(crate) fn proc_status(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// The id of its process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        super::command::signal(self.child.id(), name);
    }

    /// Waits for its end and gives its exit code.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        eventually("the server ends", async || self.child.try_wait().unwrap()).await.code()
    }

    /// Asks it to stop and waits until it has.
    pub(crate) async fn stop(&mut self) -> Duration {
        let start = Instant::now();
        self.signal("TERM");
        assert_eq!(self.ended().await, Some(0), "{}", self.log());
        start.elapsed()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Status and JSON of an answer.
pub(crate) async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text));
    (status, body)
}

fn address_in(log: &str) -> Option<String> {
    let (_, rest) = log.split_once("listens on http://")?;
    rest.split_whitespace().next().map(str::to_owned)
}

/// All bytes of all files under a directory.
pub(crate) fn bytes_under(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(bytes_under(&path)),
            false => files.push((path.clone(), std::fs::read(path).unwrap())),
        }
    }
    files
}
