//! A server, and the services that its nodes meet: what they see is what a setting does.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use waystation_fake_models::FakeModels;

use super::row::Row;
use super::scene::{Event, NODE, input};
use super::schema::DOCUMENT;
use super::seen::{describe, letter, problems, put, request, words};
use super::service::{Gate, service};
use crate::support::command::run_with;
use crate::support::eventually;
use crate::support::graph::{begin, ended, signal, until};
use crate::support::mail::Mail;
use crate::support::server::Server;
use crate::support::target::Target;

/// The address of the service, in rows and in what is observed.
const SERVICE: &str = "http://service.test";
/// In the place of the mail servers' port.
pub(super) const MAIL_PORT: &str = "the mail server's port";
/// A port that nobody listens at.
pub(super) const CLOSED_PORT: u16 = 1;
/// A workflow with two versions, and another one.
pub(super) const WORKFLOW: &str = "00000000000000000000000a";
pub(super) const OTHER_WORKFLOW: &str = "00000000000000000000000b";
/// What differs from run to run, or says nothing about a setting.
const DULL: [&str; 13] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "date",
    "host",
    "idempotency-key",
    "latency_ms",
    "message_id",
    "traceparent",
    "usage",
    "user-agent",
    "x-request-id",
];

/// A server and its surroundings; gone with the test.
pub(super) struct Stage {
    server: Option<Server>,
    service: Target,
    _models: FakeModels,
    mail: Mail,
    other_mail: Mail,
    gate: Gate,
    databases: TempDir,
}

/// How much the services have seen.
struct SoFar {
    calls: usize,
    /// At each mail server.
    letters: [usize; 2],
    connections: usize,
}

impl Stage {
    /// A server that knows all services, with what rows take for given.
    pub(super) async fn open() -> Stage {
        let models = FakeModels::start().await.unwrap();
        let gate = Gate::new(false);
        let service = service(models.url(), gate.clone()).await;
        let mail = Mail::start(Ipv4Addr::LOCALHOST.into(), 0).await;
        let other_mail = Mail::start(Ipv4Addr::new(127, 0, 0, 2).into(), mail.port).await;
        let databases = TempDir::new().unwrap();
        let settings = [
            ("OPENAI_BASE_URL", service.url("/v1")),
            ("OPENAI_API_KEY", "the-servers-key".to_owned()),
            ("OPENROUTER_BASE_URL", service.url("/api/v1")),
            ("OPENROUTER_API_KEY", "the-servers-key".to_owned()),
            ("SMTP_HOST", "127.0.0.1".to_owned()),
            ("SMTP_PORT", mail.port.to_string()),
            ("SMTP_SECURITY", "none".to_owned()),
            ("SMTP_FROM", "server@x.org".to_owned()),
            ("WAYSTATION_SQLITE_DIR", databases.path().display().to_string()),
            ("WAYSTATION_PYTHON_COMPONENT", python().display().to_string()),
        ];
        let settings: Vec<(&str, &str)> =
            settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let server = Some(Server::with(&settings).await);
        let stage = Stage { server, service, _models: models, mail, other_mail, gate, databases };
        stage.prepare().await;
        stage
    }

    /// What rows take for given: a secret, stored workflows, and tables.
    async fn prepare(&self) {
        let server = self.server();
        let set = run_with(server.data(), &["secret", "set", "OWN_KEY"], &[], "a-nodes-own-key");
        assert_eq!(set.await.code, Some(0));
        for (id, name) in [
            (WORKFLOW, "the first version"),
            (WORKFLOW, "the second version"),
            (OTHER_WORKFLOW, "another workflow"),
        ] {
            let end =
                json!({ "id": "end", "type": "end", "config": { "output": [name, "{{input}}"] } });
            let definition = json!({ "name": "Inner", "nodes": [end] });
            let path = format!("/api/v1/workflows/{id}?create=true");
            let (status, told) = server.call(Method::PUT, &path, Some(&definition)).await;
            assert!(status < 300, "{told:#}");
        }
        self.fill("shop.db", "('pen', 2), ('ink', 7), ('cap', 1)").await;
        self.fill("other.db", "('jar', 9)").await;
    }

    /// Makes a table of an empty file, which is an empty database.
    async fn fill(&self, file: &str, rows: &str) {
        std::fs::write(self.databases.path().join(file), "").unwrap();
        let table = "CREATE TABLE goods (name TEXT, price INTEGER)".to_owned();
        for query in [table, format!("INSERT INTO goods VALUES {rows}")] {
            let config = json!({
                "source_type": "sqlite", "connection": file, "query": query, "write": true,
            });
            let body = json!({ "config": config });
            let (_, told) = self.server().post("/api/v1/nodes/data-source/test", &body).await;
            assert_eq!(told["success"], true, "{told:#}");
        }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("it is only away while it is started again")
    }

    /// What a node with these settings gives, and what the services see of it.
    pub(super) async fn observe(&mut self, row: &Row, config: &Value) -> Value {
        let (event, before) = (row.scene.event, self.so_far());
        self.gate.send_replace(false);
        self.mail.hold(matches!(event, Event::Crash));
        let definition = self.filled(&row.scene.definition(&row.kind, config.clone()));
        let (status, saved) = self.server().post("/api/v1/workflows", &definition).await;
        if status == 422 {
            return self.legible(json!({ "refused": problems(&saved) }));
        }
        assert_eq!(status, 201, "{}: {saved:#}", row.change());
        let id = begin(self.server(), saved["id"].as_str().unwrap(), &input()).await;
        let mut seen = json!({});
        let job = match event {
            Event::Until(status) => until(self.server(), &id, NODE, status).await,
            event => {
                self.live_through(event, config, (&id, &before), &mut seen).await;
                ended(self.server(), &id).await
            }
        };
        if let Some(link) = job["node_results"]["link"]["output"].as_str() {
            let path = link.strip_prefix(&self.server().url("")).unwrap();
            seen["page"] = words(self.server().get(path).await.1.as_str().unwrap());
        }
        describe(&job, matches!(event, Event::Timed), &mut seen);
        if row.kind == DOCUMENT {
            self.tell_of_documents(saved["id"].as_str().unwrap(), &job, &mut seen).await;
        }
        self.tell_since(&before, &mut seen);
        self.server().call(Method::POST, &format!("/api/v1/jobs/{id}/cancel"), None).await;
        self.legible(seen)
    }

    /// Lets happen to a job what has to.
    async fn live_through(
        &mut self,
        event: Event,
        config: &Value,
        (id, before): (&str, &SoFar),
        seen: &mut Value,
    ) {
        match event {
            Event::Nothing | Event::Timed | Event::Until(_) => {}
            Event::Decision(node) => {
                until(self.server(), id, node, "waiting").await;
                let choice = json!({ "choice": "approved" });
                assert_eq!(signal(self.server(), id, node, &choice).await.0, 200);
            }
            Event::Hold => {
                let wanted = config["concurrency"].as_u64().unwrap() as usize;
                let held = || self.service.received().len() - before.calls;
                eventually("calls are held", async || (held() >= wanted).then_some(())).await;
                seen["held at once"] = held().into();
                self.gate.send_replace(true);
            }
            Event::Crash => {
                let arrived = || self.mail.letters().len() > before.letters[0];
                eventually("the letter arrives", async || arrived().then_some(())).await;
                let server = self.server.take().unwrap().again().await;
                self.mail.hold(false);
                self.server = Some(server);
            }
        }
    }

    /// Adds what is told of a workflow and its job as wholes.
    async fn tell_of_documents(&self, workflow: &str, job: &Value, seen: &mut Value) {
        let server = self.server();
        let (_, listed) = server.get(&format!("/api/v1/jobs?workflow_id={workflow}")).await;
        let (_, shown) = server.get(&format!("/api/v1/workflows/{workflow}")).await;
        let (_, triggers) = server.get(&format!("/api/v1/workflows/{workflow}/triggers")).await;
        seen["job"] = json!({
            "status": job["status"], "result": job["result"], "error": job["error"],
            "workflow_name": listed["items"][0]["workflow_name"],
        });
        let webhook = eventually("the webhook has been tried", async || {
            let path = format!("/runs/{}", job["id"].as_str().unwrap());
            let state = server.get(&path).await.1["webhook"]["state"].clone();
            (state != "active").then_some(state)
        });
        put(seen, "webhook", webhook.await.as_str().map(Value::from).into_iter().collect());
        seen["shown"] = json!({ "description": shown["description"], "status": shown["status"] });
        put(
            seen,
            "triggers",
            triggers["items"].as_array().unwrap().iter().map(|one| one["url"].clone()).collect(),
        );
    }

    fn so_far(&self) -> SoFar {
        SoFar {
            calls: self.service.received().len(),
            letters: [&self.mail, &self.other_mail].map(|mail| mail.letters().len()),
            connections: self.mail.connections(),
        }
    }

    /// Adds what the services have seen since then.
    fn tell_since(&self, before: &SoFar, seen: &mut Value) {
        let requests = self.service.received();
        put(seen, "requests", requests[before.calls..].iter().map(request).collect());
        put(seen, "letters", self.letters_after(before.letters));
        let connections = self.mail.connections() - before.connections;
        if connections > 1 {
            seen["connections"] = connections.into();
        }
    }

    /// The letters after so many at each mail server, with the address of the server.
    fn letters_after(&self, [first, second]: [usize; 2]) -> Vec<Value> {
        let at = |host: &str, mail: &Mail, before: usize| -> Vec<Value> {
            mail.letters()[before..].iter().map(|one| letter(host, one)).collect()
        };
        [at("127.0.0.1", &self.mail, first), at("127.0.0.2", &self.other_mail, second)].concat()
    }

    /// A definition with the addresses of this stage.
    fn filled(&self, value: &Value) -> Value {
        match value {
            Value::String(text) if text == MAIL_PORT => self.mail.port.into(),
            Value::String(text) => text.replace(SERVICE, &self.service.url("")).into(),
            Value::Array(items) => items.iter().map(|item| self.filled(item)).collect(),
            Value::Object(fields) => {
                let filled = |(name, field): (&String, _)| (name.clone(), self.filled(field));
                Value::Object(fields.iter().map(filled).collect())
            }
            value => value.clone(),
        }
    }

    /// What was observed, without what differs from run to run.
    fn legible(&self, value: Value) -> Value {
        match value {
            Value::String(text) => {
                let text = text.replace(&self.service.url(""), SERVICE);
                let text =
                    text.replace(&format!("127.0.0.1:{}", self.service.port), "service.test");
                text.replace(&format!(":{}", self.mail.port), ":[port]").into()
            }
            Value::Array(items) => items.into_iter().map(|item| self.legible(item)).collect(),
            Value::Object(fields) => {
                let telling = fields.into_iter().filter(|(name, _)| !DULL.contains(&name.as_str()));
                telling.map(|(name, field)| (name, self.legible(field))).collect()
            }
            value => value,
        }
    }
}

/// Where `make python` leaves the component.
fn python() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").expect("a home directory"));
    let said = std::env::var_os("WAYSTATION_PYTHON_COMPONENT").map(PathBuf::from);
    said.unwrap_or_else(|| home().join(".cache/waystation/python"))
}
