//! `waystation doctor`: whether all that is configured works, and how to mend what does not.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;
use reqwest::Method;
use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};
use tokio::time::timeout;
use waystation_core::error::Error;
use waystation_engine::egress::{HttpClient, Request};
use waystation_engine::id::now_ms;
use waystation_engine::node::context::AttemptContext;
use waystation_engine::node::email;
use waystation_engine::sandbox::{Program, Sandbox, Tool};
use waystation_engine::store::sqlite::{SqliteStore, is_owned};
use waystation_engine::store::{KeyStore, RunFilter, RunStore, Store};

use super::listen::Address;
use super::local::Server;
use super::terminal::{self, style};
use super::{Failed, Outcome, read_config};
use crate::app;
use crate::config::Config;
use crate::settings::Sources;

/// How long each thing outside may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Room on the disk below which something is said.
const ROOM_BYTES: u64 = 1 << 30;
/// Open files below which something is said: each connection is one.
const FILES_MIN: u64 = 4_096;
/// How far the clock may be behind what has been done already.
const CLOCK_MS: u64 = 60_000;

#[derive(Args)]
pub(super) struct Doctor {
    /// Print what was found as JSON.
    #[arg(long)]
    json: bool,
}

/// How something is.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Good,
    /// It works, and should be otherwise.
    Doubtful,
    Bad,
    /// It is not configured.
    Unused,
}

/// What was found of one thing.
struct Finding {
    what: String,
    state: State,
    text: String,
    hint: Option<String>,
}

impl Finding {
    fn new(what: &str, state: State, text: impl Into<String>) -> Finding {
        Finding { what: what.to_owned(), state, text: text.into(), hint: None }
    }

    fn hint(self, hint: impl Into<String>) -> Finding {
        Finding { hint: Some(hint.into()), ..self }
    }

    fn of<T>(what: &str, good: &str, result: Result<T, Error>) -> Finding {
        match result {
            Ok(_) => Finding::new(what, State::Good, good),
            Err(error) => {
                let hint = error.hint().map(str::to_owned);
                Finding { hint, ..Finding::new(what, State::Bad, error.message) }
            }
        }
    }
}

impl Doctor {
    pub(super) async fn execute(self, sources: &Sources) -> Outcome {
        let findings = examine(sources).await;
        match self.json {
            true => terminal::print_json(&findings.iter().map(as_json).collect()),
            false => findings.iter().for_each(print),
        }
        match findings.iter().any(|finding| finding.state == State::Bad) {
            true => Err(Failed::Run),
            false => Ok(()),
        }
    }
}

async fn examine(sources: &Sources) -> Vec<Finding> {
    let address = Address::read(sources);
    let is_local = address.as_ref().map_or(true, Address::is_local);
    let config = address.and_then(|_| read_config(sources, is_local));
    let place = sources.file().map_or("no file".into(), |path| path.display().to_string());
    let mut findings = vec![Finding::of(
        "settings",
        &format!("good; {place}"),
        config.as_ref().map_err(Clone::clone),
    )];
    findings.push(files());
    let Ok(config) = config else { return findings };
    findings.extend(data(&config.data).await);
    findings.push(callers(&config, is_local).await);
    findings.push(server(&config.data).await);
    findings.push(redis(&config).await);
    findings.push(mail(&config).await);
    findings.extend(providers(&config).await);
    findings.extend(programs(&config).await);
    findings
}

/// The bound on open files that a server can raise its own to.
fn files() -> Finding {
    let most = getrlimit(Resource::Nofile).maximum;
    match most {
        Some(most) if most < FILES_MIN => {
            let text = format!("{most} open files at the most: few connections");
            Finding::new("open files", State::Doubtful, text).hint(
                "raise the hard limit: LimitNOFILE= of systemd, ulimit -Hn, or the container's",
            )
        }
        _ => Finding::new("open files", State::Good, "enough"),
    }
}

/// The data directory, its disk, and what is in it.
async fn data(directory: &Path) -> Vec<Finding> {
    let what = "data directory";
    let shown = directory.display();
    let Ok(about) = std::fs::metadata(directory) else {
        let text = format!("{shown} is not there yet; the first start makes it");
        return vec![Finding::new(what, State::Good, text)];
    };
    let mut findings = vec![match about.permissions().mode() & 0o077 {
        0 => Finding::new(what, State::Good, format!("{shown}, for its owner alone")),
        _ => Finding::new(what, State::Doubtful, format!("others may look into {shown}"))
            .hint(format!("chmod 700 {shown}")),
    }];
    findings.push(room(directory));
    if directory.join("waystation.db").exists() {
        findings.extend(stored(directory).await);
    }
    findings
}

fn room(directory: &Path) -> Finding {
    let about = match rustix::fs::statvfs(directory) {
        Ok(about) => about,
        Err(error) => return Finding::new("disk", State::Bad, error.to_string()),
    };
    let free = about.f_bavail.saturating_mul(about.f_frsize);
    let text = format!("{} free", indicatif::HumanBytes(free));
    match free < ROOM_BYTES {
        true => Finding::new("disk", State::Doubtful, text)
            .hint("make room, or lower WAYSTATION_RETENTION_DAYS: without room the server stops"),
        false => Finding::new("disk", State::Good, text),
    }
}

/// Whether the store can be read, and whether the clock is behind what it has seen.
async fn stored(directory: &Path) -> Vec<Finding> {
    let opened = SqliteStore::open_read_only(directory).map_err(Error::from);
    let Ok(store) = opened.as_ref() else {
        return vec![Finding::of("store", "", opened)];
    };
    let answered = store.ping().await.map_err(Error::from);
    let mut findings = vec![Finding::of("store", "can be read", answered)];
    let newest = store.runs(RunFilter { limit: 1, ..RunFilter::default() }).await;
    let newest = newest.ok().and_then(|rows| rows.first().map(|row| row.created));
    findings.push(match newest {
        Some(newest) if newest > now_ms() + CLOCK_MS => {
            let text = "the clock is behind the newest run: it has been set back";
            Finding::new("clock", State::Bad, text)
                .hint("set it right (timedatectl): ids, schedules and timeouts go by it")
        }
        _ => Finding::new("clock", State::Good, "not behind what has been done"),
    });
    findings
}

/// Whether callers are asked who they are.
async fn callers(config: &Config, is_local: bool) -> Finding {
    let has_keys = match SqliteStore::open_read_only(&config.data) {
        Ok(store) => store.keys().await.is_ok_and(|keys| !keys.is_empty()),
        Err(_) => false,
    };
    let what = "callers";
    match (config.auth.tokens.is_some() || has_keys, is_local) {
        (true, _) if !config.auth.open.is_empty() => {
            let text =
                format!("are asked who they are, but for {} open APIs", config.auth.open.len());
            Finding::new(what, State::Good, text)
        }
        (true, _) => Finding::new(what, State::Good, "are asked who they are"),
        (false, true) => {
            Finding::new(what, State::Good, "only from this machine; nobody is asked who they are")
        }
        (false, false) => Finding::new(
            what,
            State::Doubtful,
            "come from other machines, and nobody is asked who they are",
        )
        .hint("make a key with `waystation key create`, or set JWT_SECRET"),
    }
}

/// The server that has the data at this moment.
async fn server(directory: &Path) -> Finding {
    let what = "server";
    if !is_owned(directory) {
        return Finding::new(what, State::Unused, "none runs on this data");
    }
    let Some(server) = Server::of(directory).await else {
        return Finding::new(what, State::Bad, "a process has the data, and no server answers")
            .hint("another command may be at work; else look at its log");
    };
    Finding::of(what, "runs, and is ready", server.call(Method::GET, "/ready", None).await)
}

async fn redis(config: &Config) -> Finding {
    let Some(redis) = &config.redis else {
        return Finding::new("redis", State::Unused, "not configured");
    };
    match timeout(PATIENCE, redis.probe()).await {
        Ok(Ok(())) => Finding::new("redis", State::Good, format!("{} answers", redis.place())),
        Ok(Err(why)) => Finding::new("redis", State::Bad, format!("{}: {why}", redis.place()))
            .hint("check REDIS_URL or REDIS_HOST, the password, and that it runs"),
        Err(_) => Finding::new("redis", State::Bad, format!("{} is silent", redis.place())),
    }
}

async fn mail(config: &Config) -> Finding {
    let Some(server) = &config.mail.server else {
        return Finding::new("mail", State::Unused, "not configured");
    };
    let place = format!("{}:{}", server.host, server.port);
    let Ok(client) = trusted() else {
        return Finding::new("mail", State::Bad, "no outgoing connections can be made");
    };
    match timeout(PATIENCE, email::probe(&config.mail, &client)).await {
        Ok(Ok(())) => {
            Finding::new("mail", State::Good, format!("{place} lets in; nothing was sent"))
        }
        Ok(Err(failure)) => {
            let hint = failure.hint().unwrap_or("check SMTP_HOST, SMTP_SECURITY and the login");
            Finding::new("mail", State::Bad, failure.message.clone()).hint(hint)
        }
        Err(_) => Finding::new("mail", State::Bad, format!("{place} is silent")),
    }
}

/// Whether the providers of models that have a key can be reached. Nothing is asked that costs.
async fn providers(config: &Config) -> Vec<Finding> {
    let Ok(client) = trusted() else { return Vec::new() };
    let setups = config.providers.setups.values();
    let keyed = setups.filter(|setup| setup.has_key() && !setup.base_url.is_empty());
    let probes = keyed.map(async |setup| {
        let what = format!("models: {}", setup.name);
        match timeout(PATIENCE, reach(&client, &setup.base_url)).await {
            Ok(Ok(())) => {
                Finding::new(&what, State::Good, "reached; `waystation models --test` asks it")
            }
            Ok(Err(why)) => Finding::new(&what, State::Bad, why)
                .hint("check the address, and that this machine may go there"),
            Err(_) => Finding::new(&what, State::Bad, "silent"),
        }
    });
    let found = join_all(probes).await;
    match found.is_empty() {
        true => {
            vec![Finding::new("models", State::Unused, "no provider has a key in the settings")]
        }
        false => found,
    }
}

/// Any answer is a sign of life.
async fn reach(client: &HttpClient, url: &str) -> Result<(), String> {
    let sent = client.send(Request::new(Method::GET, url), 1 << 20).await;
    sent.map(drop).map_err(|error| error.to_string())
}

fn trusted() -> Result<Arc<HttpClient>, Error> {
    Ok(app::clients(waystation_engine::egress::Policy::new(
        waystation_engine::egress::Reach::AnyButMetadata,
    ))?
    .trusted)
}

/// Whether programs of users can be run.
async fn programs(config: &Config) -> Vec<Finding> {
    let sandbox = match app::sandbox(config.python_component.clone()) {
        Ok(sandbox) => sandbox,
        Err(error) => return vec![Finding::of::<()>("programs", "", Err(error))],
    };
    let script = "function process(input) { return 1 + 1 }";
    let ran = sandbox.run(Tool::Javascript, &program(script), &AttemptContext::alone()).await;
    let script = match ran {
        Ok(_) => Finding::new("javascript, jq", State::Good, "run, confined"),
        Err(stop) => Finding::new("javascript, jq", State::Bad, stop.message)
            .hint("a kernel with landlock and seccomp is needed, and a container that allows them"),
    };
    vec![script, python(&sandbox).await]
}

async fn python(sandbox: &Sandbox) -> Finding {
    if !sandbox.python().is_there() {
        let text = format!("not installed in {}", sandbox.python().directory().display());
        return Finding::new("python", State::Unused, text).hint("`make python` builds it");
    }
    let ran = program("def process():\n    return 1 + 1\n");
    match sandbox.run_python(ran, &AttemptContext::alone()).await {
        Ok(_) => Finding::new("python", State::Good, "runs, confined"),
        Err(stop) => {
            Finding::new("python", State::Bad, stop.message).hint("`make python` builds it anew")
        }
    }
}

fn program(code: &str) -> Program {
    let (memory_bytes, output_bytes) = (256 << 20, 1 << 10);
    Program { code: code.to_owned(), input: json!({}), memory_bytes, output_bytes }
}

fn print(finding: &Finding) {
    let mark = match finding.state {
        State::Good => style("✓").green(),
        State::Doubtful => style("!").yellow(),
        State::Bad => style("✗").red(),
        State::Unused => style("-").dim(),
    };
    let text = terminal::plain(&finding.text).replace('\n', "\n  ");
    terminal::print(&format!("{mark} {:<16} {text}", finding.what));
    if let Some(hint) = &finding.hint {
        terminal::print(&format!("  {} {}", style("hint:").cyan(), terminal::plain(hint)));
    }
}

fn as_json(finding: &Finding) -> Value {
    let state = match finding.state {
        State::Good => "good",
        State::Doubtful => "doubtful",
        State::Bad => "bad",
        State::Unused => "unused",
    };
    json!({
        "what": finding.what, "state": state, "text": finding.text, "hint": finding.hint,
    })
}
