//! The server as a process of its own, which can be killed and started again.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The pause between two looks at the same thing.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A running server.
pub(crate) struct Server {
    child: Child,
    /// Its URL without a path.
    pub(crate) url: String,
    client: reqwest::Client,
}

impl Server {
    /// Starts one on a data directory, and waits until it listens.
    pub(crate) fn start(data: &Path) -> Server {
        let mut command = Command::new(env!("CARGO_BIN_EXE_waystation"));
        // Settings of the tests themselves mean nothing to the server.
        command.env_clear().args(["serve", "--port", "0", "--data"]).arg(data);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the server's program");
        let address = listening(child.stderr.take().expect("a pipe"));
        Server { child, url: format!("http://{address}"), client: client() }
    }

    /// `kill -9`: returns when the process is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("a process to kill");
        self.child.wait().expect("its end");
    }

    /// Asks it to stop, as a service manager does, and waits until it knows.
    pub(crate) async fn ask_to_stop(&self) {
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status().expect("kill");
        assert!(asked.success());
        self.until("/ready", |ready| ready["shutting_down"] == true).await;
    }

    /// Waits until it has stopped by itself.
    pub(crate) fn wait_until_gone(mut self) {
        let status = self.child.wait().expect("its end");
        assert!(status.success(), "the server ended with {status}");
    }

    /// Begins a run and gives its id once it is acknowledged.
    pub(crate) async fn submit(&self, body: &Value) -> String {
        let reply = post(&self.client, &self.url, body, true).await.expect("an acknowledgement");
        text(&reply["execution_id"])
    }

    /// What `GET` of a path gives.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let reply = self.client.get(format!("{}{path}", self.url)).send().await.expect("a reply");
        reply.json().await.expect("JSON")
    }

    /// Looks at a path until it shows what is awaited.
    pub(crate) async fn until(&self, path: &str, awaited: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.get(path).await;
            if awaited(&seen) {
                return seen;
            }
            assert!(Instant::now() < deadline, "waited for too long; {path} is {seen:#}");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits for the end of a run, and gives all about it.
    pub(crate) async fn ended(&self, run: &str) -> Value {
        self.until(&format!("/runs/{run}"), |view| view["status"] != "running").await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It is gone already unless a test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client for servers that come and go.
pub(crate) fn client() -> reqwest::Client {
    // All but the first find it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(PATIENCE).build().expect("a client")
}

/// Sends a pipeline; gives the reply if the server got to send one.
pub(crate) async fn post(
    client: &reqwest::Client,
    url: &str,
    body: &Value,
    respond_async: bool,
) -> Option<Value> {
    let mut request = client.post(format!("{url}/execute")).json(body);
    if respond_async {
        request = request.header("prefer", "respond-async");
    }
    let reply = request.send().await.ok()?;
    let status = reply.status();
    let body = reply.json().await.ok()?;
    assert!(status.is_success(), "{status}: {body}");
    Some(body)
}

/// A text in JSON.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// Reads where the server listens, and passes on whatever else it says.
fn listening(stderr: ChildStderr) -> String {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            match line.split_once("listens on http://") {
                Some((_, rest)) => {
                    let address = rest.split_whitespace().next().unwrap_or_default();
                    let _ = tell.send(address.to_owned());
                }
                None if is_expected(&line) => {}
                None => eprintln!("server: {line}"),
            }
        }
    });
    told.recv_timeout(PATIENCE).expect("the server did not start")
}

/// Whether a line tells of the tests' own doing: refused notifications, and orders to stop.
fn is_expected(line: &str) -> bool {
    let refused = line.contains("webhook not taken") && line.contains("HTTP 500");
    refused || line.starts_with("Stopping")
}
