//! Sources asked for real: each test starts the servers that it needs.

mod api;
mod mongodb;
mod mysql;
mod postgres;
mod redis;
pub(super) mod servers;
mod sqlite;

use std::sync::{Arc, OnceLock};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use waystation_core::error::{Class, Code, Failure};

use std::sync::atomic::AtomicBool;

use super::settings::Settings;
use super::{Ask, DataSource, Files, SourceType};
use crate::egress::testing::{client, open_client};
use crate::egress::tls::Trust;
use crate::egress::{HttpClient, Reach};
use crate::node::catalog::Catalog;
use crate::node::{AttemptContext, Call, Effect, Outcome};
use waystation_core::dialect::graph::types::NodeTypes;

fn source() -> DataSource {
    DataSource::new(Arc::new(open_client()), Files::closed())
}

fn source_with(client: HttpClient, trust: Option<Trust>) -> DataSource {
    let source = DataSource::new(Arc::new(client), Files::closed());
    DataSource { trust: trust.map(OnceLock::from).unwrap_or_default(), ..source }
}

fn call(config: Value) -> Call {
    Call {
        idempotency_key: "run:rows".to_owned(),
        config: saved(config),
        outputs: Vec::new(),
        is_repeated: false,
        context: AttemptContext::alone(),
    }
}

/// The settings as they come to the node: checked and lowered as a definition's are.
fn saved(config: Value) -> Value {
    let mut catalog = Catalog::default();
    catalog.add(super::spec());
    let Value::Object(mut config) = config else { panic!("settings are an object") };
    // A test has its password written out, and no secrets.
    let connection = config.insert("connection".to_owned(), json!("{{secrets.DB}}"));
    if connection.is_none() {
        config.remove("connection");
    }
    let lowered = catalog.lower("data-source", &config).expect("a known type");
    let mut config = lowered.unwrap_or_else(|problems| panic!("{problems:?}")).config;
    if let Some(connection) = connection {
        config["connection"] = connection;
    }
    config
}

async fn attempt(source: &DataSource, config: Value) -> Outcome {
    source.attempt(call(config)).await
}

/// The rows that a query gives.
async fn rows(source: &DataSource, config: Value) -> Value {
    let completion = attempt(source, config).await.unwrap_or_else(|failure| panic!("{failure:?}"));
    completion.output["rows"].clone()
}

async fn failure(source: &DataSource, config: Value) -> Failure {
    let asked = config["query"].clone();
    attempt(source, config).await.expect_err(&asked.to_string())
}

/// What the database itself says to a statement that would not be sent to it without `write`.
async fn unguarded(source: &DataSource, config: &Value) -> Result<Value, Failure> {
    let mut config = saved(with(config, json!({ "write": true })));
    config["write"] = json!(false);
    let settings = Settings::read(config).expect("settings");
    let context = AttemptContext::alone();
    let connection = settings.connection().expect("a connection");
    let is_sent = AtomicBool::new(false);
    let ask = Ask { settings: &settings, connection, context: &context, is_sent };
    let answer = match settings.source_type {
        SourceType::Postgres => source.ask_postgres(&ask).await,
        _ => source.ask_mysql(&ask).await,
    };
    answer.map(|answer| Value::Object(answer.output()))
}

/// What is no question is refused before it is sent, and says how it would be sent.
async fn check_that_questions_alone_are_sent(source: &DataSource, base: &Value, others: &[&str]) {
    for query in others {
        // A definition that was saved before this was checked then.
        let mut asked = call(with(base, json!({ "query": query, "write": true })));
        asked.config["write"] = json!(false);
        let refused = source.attempt(asked).await.expect_err(query);
        assert_eq!((refused.code, refused.class), (Code::QueryFailed, Class::Fatal), "{query}");
        assert!(refused.message.contains("needs `write: true`"), "{query}: {}", refused.message);
    }
}

fn with(base: &Value, more: Value) -> Value {
    let (Value::Object(mut base), Value::Object(more)) = (base.clone(), more) else {
        panic!("settings are objects")
    };
    base.extend(more);
    Value::Object(base)
}

/// Texts that would do harm if they ever became part of a query, and many others.
fn hostile_texts(count: usize, may_have_nul: bool) -> Vec<String> {
    let strategy = prop_oneof![
        prop::collection::vec(
            prop::sample::select(vec![
                "'",
                "\"",
                "`",
                ";",
                "\\",
                "--",
                "/*",
                "*/",
                "$1",
                "$$",
                "?",
                ":name",
                "%",
                "{{",
                "\n",
                "\u{0}",
                "\u{1a}",
                "\u{2028}",
                "é",
                "字",
                "🦀",
                "DROP TABLE t",
                "' OR '1'='1",
                "\u{200f}",
            ]),
            0..12,
        )
        .prop_map(|parts| parts.concat()),
        any::<String>(),
    ];
    let mut runner = TestRunner::default();
    let mut text = || {
        let text = strategy.new_tree(&mut runner).expect("a text").current();
        if may_have_nul { text } else { text.replace('\0', "") }
    };
    (0..count).map(|_| text()).collect()
}

/// What must be true of every database: values come back as they went in, and change nothing.
async fn check_that_values_stay_values(source: &DataSource, base: &Value, may_have_nul: bool) {
    let before = rows(source, with(base, json!({ "query": "SELECT count(*) AS n FROM t" }))).await;
    let place = if base["source_type"] == "postgres" { "$1::text" } else { "?" };
    for text in hostile_texts(200, may_have_nul) {
        let query = format!("SELECT {place} AS given");
        let given = with(base, json!({ "query": query, "parameters": [text] }));
        assert_eq!(rows(source, given).await, json!([{ "given": text }]));
        let query = format!("SELECT id FROM t WHERE name = {place}");
        let found = with(base, json!({ "query": query, "parameters": [text] }));
        assert_eq!(rows(source, found).await, json!([]), "{text:?}");
    }
    let after = rows(source, with(base, json!({ "query": "SELECT count(*) AS n FROM t" }))).await;
    assert_eq!(before, after);
}

/// A query reads no more than it may, and says that there is more.
async fn check_the_limit(source: &DataSource, base: &Value, query: &str) {
    let some = with(base, json!({ "query": query, "limit": 3 }));
    let some = attempt(source, some).await.expect("rows").output;
    assert_eq!((&some["count"], &some["truncated"]), (&json!(3), &json!(true)));
    assert_eq!(some["rows"].as_array().map(Vec::len), Some(3));
    // The connection is as good as before.
    let one = rows(source, with(base, json!({ "query": "SELECT 1 AS one" }))).await;
    assert_eq!(one, json!([{ "one": 1 }]));
}

/// An address that nobody listens at, and one that the policy forbids.
async fn check_unreachable(config: impl Fn(u16) -> Value, password: &str) {
    let port = servers::free_port();
    let refused = failure(&source(), config(port)).await;
    assert!(matches!(refused.class, Class::Retryable { .. }), "{refused:?}");
    assert!(refused.message.contains("connection refused"), "{}", refused.message);
    let confined = source_with(client(Reach::PublicOnly, ""), None);
    let forbidden = failure(&confined, config(port)).await;
    assert_eq!(
        (forbidden.class, forbidden.code),
        (Class::Fatal, Code::EgressRefused),
        "{forbidden:?}"
    );
    for failure in [refused, forbidden] {
        assert!(!format!("{failure:?}").contains(password), "{failure:?}");
    }
}
