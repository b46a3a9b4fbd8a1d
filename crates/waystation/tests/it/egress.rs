//! Every node type that goes out, with every way to write an address that must not be called.

use serde_json::{Value, json};

use crate::support::server::Server;
use crate::support::target::{Target, reply_with};
use crate::support::{eventually, pipeline, step};

/// Twelve ways to write 169.254.169.254, and others of its kind, as hosts of URLs.
const METADATA: [&str; 18] = [
    "169.254.169.254",
    "169.254.169.254.",
    "2852039166",
    "0xA9FEA9FE",
    "0xa9.0xfe.0xa9.0xfe",
    "0251.0376.0251.0376",
    "025177524776",
    "169.254.43518",
    "169.16689662",
    "%31%36%39.254.169.254",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[64:ff9b::169.254.169.254]",
    "[2002:a9fe:a9fe::]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "100.100.100.200",
    "example.com:80@169.254.169.254",
];

/// Addresses of this machine and its networks, which a server for others does not call.
const PRIVATE: [&str; 14] = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "017700000001",
    "0.0.0.0",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "10.0.0.1",
    "192.168.0.1",
    "172.16.0.1",
    "100.64.0.1",
];

/// Node types whose settings name a URL, with settings that name this one.
fn by_url(host: &str) -> Vec<(&'static str, Value)> {
    let url = format!("http://{host}/x");
    vec![
        ("http", json!({ "method": "GET", "url": url, "retries": 0 })),
        ("webhook", json!({ "url": url, "retries": 0 })),
        ("data-source", json!({ "source_type": "api", "endpoint": url, "retries": 0 })),
        ("llm", json!({ "provider": url, "model": "m", "prompt": "x", "retries": 0 })),
        ("ai-processor", json!({ "provider": url, "model": "m", "prompt": "x", "retries": 0 })),
        (
            "data-source",
            json!({ "source_type": "mongodb", "connection": format!("mongodb://{host}/d"),
            "query": { "collection": "c", "operation": "find" }, "retries": 0 }),
        ),
        (
            "data-source",
            json!({ "source_type": "redis", "connection": format!("redis://{host}:6379"),
            "query": ["GET", "x"], "retries": 0 }),
        ),
        (
            "data-source",
            json!({ "source_type": "postgres", "connection": format!("postgres://u@{host}/d"),
            "query": "select 1", "retries": 0 }),
        ),
        (
            "data-source",
            json!({ "source_type": "mysql", "connection": format!("mysql://u@{host}/d"),
            "query": "select 1", "retries": 0 }),
        ),
        (
            "email",
            json!({ "to": "a@example.org", "from": "b@example.org", "subject": "s", "body": "b", "retries": 0,
            "smtp": { "host": host.trim_matches(['[', ']']), "port": 25, "security": "none" } }),
        ),
    ]
}

/// Whether a node was refused, and not merely unable: nothing may have been dialled.
async fn assert_refused(server: &Server, kind: &str, config: &Value) {
    let body = json!({ "config": config, "input": {} });
    let (status, reply) = server.post(&format!("/api/v1/nodes/{kind}/test"), &body).await;
    assert_eq!((status, &reply["success"]), (200, &json!(false)), "{kind} {config}: {reply}");
    let told = reply["errors"].to_string();
    let is_refused =
        ["never called", "egress", "WAYSTATION_EGRESS"].iter().any(|word| told.contains(word));
    // What is no address in a connection string or a mail server's name is no host for its client.
    let is_no_host = [
        "is invalid",
        "holds a password",
        "no address",
        "not a host",
        "not valid",
        "cannot be",
        "must be",
        "no host",
        "names no",
    ]
    .iter()
    .any(|word| told.contains(word));
    assert!(is_refused || is_no_host, "{kind} {config}: {told}");
}

#[tokio::test]
async fn metadata_is_refused_through_every_node_type_in_every_spelling() {
    let server = Server::with(&[("WAYSTATION_COSTLY_PER_MINUTE", "0")]).await;
    for host in METADATA {
        for (kind, config) in by_url(host) {
            assert_refused(&server, kind, &config).await;
        }
    }
}

#[tokio::test]
async fn private_addresses_are_refused_by_a_server_for_others() {
    let settings = [("WAYSTATION_COSTLY_PER_MINUTE", "0"), ("WAYSTATION_EGRESS", "public-only")];
    let server = Server::with(&settings).await;
    for host in PRIVATE {
        for (kind, config) in by_url(host) {
            assert_refused(&server, kind, &config).await;
        }
    }
}

#[tokio::test]
async fn other_schemes_lead_nowhere() {
    let server = Server::with(&[("WAYSTATION_COSTLY_PER_MINUTE", "0")]).await;
    for url in [
        "file:///etc/passwd",
        "unix:/run/docker.sock",
        "http+unix://%2Frun%2Fdocker.sock/",
        "ftp://127.0.0.1/",
        "gopher://127.0.0.1:70/",
        "data:text/plain,x",
        "//169.254.169.254/",
        "http:///etc/passwd",
    ] {
        for kind in ["http", "webhook"] {
            let config = json!({ "method": "GET", "url": url, "retries": 0 });
            let body = json!({ "config": config, "input": {} });
            let (_, reply) = server.post(&format!("/api/v1/nodes/{kind}/test"), &body).await;
            assert_eq!(reply["success"], false, "{kind} {url}: {reply}");
        }
        for connection in ["postgres", "mysql"] {
            let config =
                json!({ "source_type": connection, "connection": url, "query": "select 1" });
            let body = json!({ "config": config, "input": {} });
            let (_, reply) = server.post("/api/v1/nodes/data-source/test", &body).await;
            assert_eq!(reply["success"], false, "{connection} {url}: {reply}");
        }
    }
}

/// A database's client may take a socket's path for a host.
#[tokio::test]
async fn databases_are_not_reached_by_sockets_of_this_machine() {
    let server = Server::with(&[("WAYSTATION_COSTLY_PER_MINUTE", "0")]).await;
    for (kind, connection) in [
        ("postgres", "postgres://u@%2Fvar%2Frun%2Fpostgresql/d"),
        ("postgres", "postgres:///d?host=/var/run/postgresql"),
        ("postgres", "host=/var/run/postgresql user=u dbname=d"),
        ("postgres", "postgres://u@example.com/d?hostaddr=169.254.169.254"),
        ("mysql", "mysql://u@localhost/d?socket=/var/run/mysqld/mysqld.sock"),
        ("mongodb", "mongodb://%2Ftmp%2Fmongodb.sock/d"),
        ("redis", "redis+unix:///var/run/redis.sock"),
        ("redis", "unix:///var/run/redis.sock"),
    ] {
        let query = match kind {
            "redis" => json!(["GET", "x"]),
            "mongodb" => json!({ "collection": "c", "operation": "find" }),
            _ => json!("select 1"),
        };
        let config =
            json!({ "source_type": kind, "connection": connection, "query": query, "retries": 0 });
        let body = json!({ "config": config, "input": {} });
        let (_, reply) = server.post("/api/v1/nodes/data-source/test", &body).await;
        assert_eq!(reply["success"], false, "{connection}: {reply}");
        let told = reply["errors"].to_string();
        assert!(
            !told.contains("os error") && !told.contains("No such file"),
            "{connection}: {told}"
        );
    }
}

#[tokio::test]
async fn redirects_to_metadata_are_refused_on_every_way() {
    let target = Target::start(async |_, _| {
        reply_with(302, ("location", "http://0xa9fea9fe/latest/meta-data/"), "")
    })
    .await;
    let server = Server::with(&[("WAYSTATION_COSTLY_PER_MINUTE", "0")]).await;
    for kind in ["http", "webhook"] {
        let config = json!({ "method": "GET", "url": target.url("/r"), "retries": 0 });
        assert_refused(&server, kind, &config).await;
    }
    let reply = server.execute(&pipeline(&[step("one", &target.url("/r"), &[])])).await;
    assert!(reply["error"].as_str().unwrap().contains("never called"), "{reply}");
    let call = json!({ "url": target.url("/r"), "retries": 0 });
    let (status, reply) = server.post("/endpoint-1", &call).await;
    assert_eq!((status, &reply["errorType"]), (403, &json!("blocked")), "{reply}");
    for host in METADATA {
        let call = json!({ "url": format!("http://{host}/"), "retries": 0 });
        let (status, reply) = server.post("/endpoint-1", &call).await;
        assert_eq!((status, &reply["errorType"]), (403, &json!("blocked")), "{host}: {reply}");
    }
}

/// Receivers of progress are named by requests too.
#[tokio::test]
async fn notifications_go_nowhere_that_steps_may_not() {
    let server = Server::start().await;
    let mut body = pipeline(&[step("one", "/echo", &[])]);
    body["PIPELINE_SETTINGS"]["notifications"] = json!({ "webhook_url": "http://2852039166/hook" });
    let (_, reply) = server.post("/execute", &body).await;
    let Some(id) = reply["execution_id"].as_str() else {
        // Refused at once is as good.
        assert_eq!(reply["success"], false, "{reply}");
        return;
    };
    let path = format!("/runs/{id}");
    let shown = eventually("the delivery was tried", async || {
        let (_, detail) = server.get(&path).await;
        let webhook = detail["webhook"].clone();
        webhook["last_error"].as_str().or(webhook["error"].as_str()).map(str::to_owned)
    })
    .await;
    assert!(shown.contains("never called"), "{shown}");
}
