//! Callers who say who they are: keys and tokens made by the command line and used as clients do.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use insta::{assert_json_snapshot, assert_snapshot};
use reqwest::Method;
use ring::hmac;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::command::{key, run, run_with};
use crate::support::graph::{begin, ended, flow, node, save};
use crate::support::server::{Server, answer};
use crate::support::target::{Received, Target, reply};
use crate::support::{eventually, pipeline, steady, step};

const SECRET: (&str, &str) = ("JWT_SECRET", "a secret of more than thirty-two bytes");

/// A token made by the command line.
async fn token(server: &Server, arguments: &[&str]) -> String {
    let arguments = [&["token", "ann"][..], arguments].concat();
    let made = run_with(server.data(), &arguments, &[SECRET], "").await;
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    made.stdout.trim().to_owned()
}

fn echoing() -> Value {
    flow(&[node("end", "end", json!({ "output": "{{input}}" }))], &[])
}

/// Status and body of a request with headers.
async fn with(
    server: &Server,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> (u16, Value) {
    let request = server.request(method, path);
    answer(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)))
        .await
}

#[tokio::test]
async fn the_first_key_closes_the_server_at_once_and_for_good() {
    let server = Server::start().await;
    assert_eq!(server.get("/runs").await.0, 200, "a server of one's own asks nobody");
    let key = key(server.data(), &["--role", "viewer"]).await;
    for (path, shape) in [("/runs", "runs"), ("/api/v1/jobs", "jobs"), ("/?instanceId=x", "chains")]
    {
        let response = server.request(Method::GET, path).send().await.unwrap();
        assert_eq!(response.status(), 401, "{path}");
        assert_eq!(response.headers()["www-authenticate"], "Bearer realm=\"waystation\"");
        let body: Value = response.json().await.unwrap();
        assert_json_snapshot!(format!("nobody_{shape}"), body);
    }
    for headers in [[("x-api-key", key.as_str())], [("authorization", &format!("Bearer {key}"))]] {
        assert_eq!(with(&server, Method::GET, "/runs", &headers).await.0, 200);
    }
    let wrong = format!("{}x", &key[..key.len() - 1]);
    let wrong = server.request(Method::GET, "/runs").header("x-api-key", &wrong);
    let wrong = wrong.send().await.unwrap();
    assert_eq!(wrong.status(), 401);
    let told = "Bearer realm=\"waystation\", error=\"invalid_token\"";
    assert_eq!(wrong.headers()["www-authenticate"], told);

    let id = key.split('_').nth(1).unwrap();
    let revoked = run(server.data(), &["key", "revoke", id]).await;
    assert_eq!(revoked.code, Some(0), "{}", revoked.stderr);
    let (status, body) = with(&server, Method::GET, "/runs", &[("x-api-key", &key)]).await;
    assert_eq!((status, &body["error"]), (401, &json!("The key has been revoked")));
    let server = server.again().await;
    let (status, _) = with(&server, Method::GET, "/runs", &[("x-api-key", &key)]).await;
    assert_eq!(status, 401, "it stays revoked");
    assert_eq!(server.get("/runs").await.0, 401, "and the server closed");
    assert_eq!(server.get("/health").await.0, 200);
}

#[tokio::test]
async fn keys_are_made_listed_and_revoked_without_a_server() {
    let data = TempDir::new().unwrap();
    let empty = run(data.path(), &["key", "list"]).await;
    assert_eq!(empty.code, Some(4), "{}", empty.stderr);
    let arguments = ["key", "create", "the build", "--role", "runner"];
    let bounded = ["--namespace", "a", "--namespace", "b", "--expires-in", "90d"];
    let made = run(data.path(), &[&arguments[..], &bounded].concat()).await;
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let id = made.stdout.split('_').nth(1).unwrap();
    assert_snapshot!("made", made.stderr.replace(id, "<id>"));
    let list = run(data.path(), &["key", "list"]).await;
    assert!(
        list.stdout.starts_with(&format!("{id}  active   runner  a,b  until 2")),
        "{}",
        list.stdout
    );
    let list = run(data.path(), &["key", "list", "--json"]).await;
    assert!(!list.stdout.contains(made.stdout.trim()), "a key is shown once");
    assert_eq!(run(data.path(), &["key", "revoke", id]).await.code, Some(0));
    let again = run(data.path(), &["key", "revoke", id]).await;
    assert_eq!(again.code, Some(4));
    assert!(again.stderr.contains("waystation key list"), "{}", again.stderr);
    let list = run(data.path(), &["key", "list"]).await;
    assert!(list.stdout.contains("revoked"), "{}", list.stdout);
    let wrong = run(data.path(), &["key", "create", "x", "--role", "runer"]).await;
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.contains("runer"), "{}", wrong.stderr);
}

#[tokio::test]
async fn admins_keep_keys_and_secrets_from_afar() {
    let mut server = Server::with(&[SECRET]).await;
    let admin = token(&server, &["--role", "admin"]).await;
    let bearer = format!("Bearer {admin}");
    let wanted = json!({ "name": "shop", "role": "editor", "namespaces": ["workflows"] });
    let request = server.request(Method::POST, "/keys").header("authorization", &bearer);
    let (status, mut made) = answer(request.json(&wanted)).await;
    assert_eq!(status, 201, "{made}");
    let (key, id) = (made["key"].take(), made["id"].take());
    assert_json_snapshot!(steady(&made));
    let list = with(&server, Method::GET, "/keys", &[("authorization", &bearer)]).await;
    assert_eq!((list.0, &list.1["keys"][0]["name"]), (200, &json!("shop")));
    assert!(list.1["keys"][0].get("key").is_none());
    for wrong in [
        json!({ "name": "x", "role": "boss" }),
        json!({ "name": "x" }),
        json!({ "role": "viewer" }),
        json!({ "name": "x", "role": "viewer", "namespace": "a" }),
        json!({ "name": "x", "role": "viewer", "expires_in_seconds": 0 }),
        json!({ "name": "x", "role": "viewer", "namespaces": "a" }),
    ] {
        let request = server.request(Method::POST, "/keys").header("authorization", &bearer);
        assert_eq!(answer(request.json(&wrong)).await.0, 400, "{wrong}");
    }
    let secret = server.request(Method::PUT, "/secrets/NAME").header("authorization", &bearer);
    assert_eq!(answer(secret.body("the value")).await.0, 204);

    server.calls_with(key.as_str().unwrap());
    let workflow = save(&server, &echoing()).await;
    let job = begin(&server, &workflow, &json!({ "a": 1 })).await;
    assert_eq!(ended(&server, &job).await["status"], "completed");
    let (status, body) = server.get("/secrets").await;
    assert_eq!(status, 403);
    assert_json_snapshot!("too_low_a_role", body);
    let path = format!("/keys/{}", id.as_str().unwrap());
    let gone = with(&server, Method::DELETE, &path, &[("authorization", &bearer)]).await;
    assert_eq!(gone.0, 204);
    assert_eq!(server.get("/runs").await.0, 401);
}

#[tokio::test]
async fn a_namespace_is_not_left_by_any_way() {
    let server = Server::with(&[SECRET]).await;
    let everywhere = token(&server, &["--role", "editor"]).await;
    let at_a = token(&server, &["--role", "admin", "--namespace", "a"]).await;
    let at_two =
        token(&server, &["--role", "viewer", "--namespace", "a", "--namespace", "c"]).await;
    let post = async |token: &str, path: &str, body: &Value| {
        let request = server.request(Method::POST, path).bearer_auth(token);
        answer(request.header("prefer", "respond-async").json(body)).await
    };
    let get = async |token: &str, path: &str| {
        answer(server.request(Method::GET, path).bearer_auth(token)).await
    };
    let in_namespace = |name: &str| {
        let mut body = pipeline(&[step("one", "/echo", &[])]);
        body["namespace"] = name.into();
        body
    };
    let chain = |name: &str| json!({ "namespace": name, "context": "hi", "provider": "echo", "instructions": ["Say it"] });
    let (status, run) = post(&everywhere, "/execute", &in_namespace("b")).await;
    assert_eq!(status, 202, "{run}");
    let b = run["execution_id"].as_str().unwrap().to_owned();
    assert_eq!(post(&at_a, "/execute", &in_namespace("b")).await.0, 403);
    assert_eq!(post(&at_a, "/execute", &in_namespace("a")).await.0, 202);
    assert_eq!(post(&at_a, "/", &chain("b")).await.0, 403);
    assert_eq!(post(&at_a, "/batch", &chain("b")).await.0, 403);
    let (status, begun) = post(&everywhere, "/", &chain("b")).await;
    assert_eq!(status, 200, "{begun}");
    let instance = begun["instanceId"].as_str().unwrap();
    for (path, method) in [
        (format!("/runs/{b}"), Method::GET),
        (format!("/runs/{b}/cancel"), Method::POST),
        (format!("/runs/{b}/retry"), Method::POST),
        (format!("/runs/{b}/events"), Method::GET),
        (format!("/?instanceId={instance}"), Method::GET),
    ] {
        let request = server.request(method.clone(), &path).bearer_auth(&at_a);
        assert_eq!(answer(request).await.0, 404, "{method} {path}");
    }
    assert_eq!(get(&everywhere, &format!("/runs/{b}")).await.0, 200);
    assert_eq!(get(&everywhere, &format!("/?instanceId={instance}")).await.0, 200);

    let (_, seen) = get(&at_a, "/runs").await;
    let namespaces: Vec<_> =
        seen["runs"].as_array().unwrap().iter().map(|run| run["namespace"].clone()).collect();
    assert_eq!(namespaces, ["a"]);
    assert_eq!(get(&at_a, "/runs?namespace=b").await.0, 403);
    let (status, body) = get(&at_two, "/runs").await;
    assert_eq!((status, &body["hint"]), (403, &json!("ask for one with ?namespace=: a, c")));
    assert_eq!(get(&at_two, "/runs?namespace=a").await.0, 200);
    assert_eq!(get(&at_a, "/api/v1/workflows").await.0, 403, "stored workflows are in `workflows`");
    let notified = json!({ "event": "workflow_started", "namespace": "b", "workflow_id": "w" });
    assert_eq!(post(&at_a, "/api/workflows/webhook", &notified).await.0, 403);
}

#[tokio::test]
async fn signed_requests_need_no_key_and_others_do() {
    let mut server = Server::start().await;
    let secret = "s3cret-of-the-hook";
    let set = run_with(server.data(), &["secret", "set", "HOOK"], &[], secret).await;
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    let editor = key(server.data(), &["--role", "editor"]).await;
    server.calls_with(&editor);
    let mut signed = echoing();
    let signature = json!({ "secret": "{{secrets.HOOK}}" });
    signed["triggers"] = json!([{ "type": "webhook", "path": "signed", "signature": signature }]);
    save(&server, &signed).await;
    let mut plain = echoing();
    plain["triggers"] = json!([{ "type": "webhook", "path": "plain" }]);
    save(&server, &plain).await;
    assert_eq!(server.post("/hooks/plain", &json!({})).await.0, 202, "with a key");

    server.calls_with("");
    let made = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), b"{}");
    let hex: String = made.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let call = |path: &str| server.request(Method::POST, path).body("{}");
    let signed = |signature: &str| {
        let value = format!("sha256={signature}");
        answer(call("/hooks/signed").header("x-hub-signature-256", value))
    };
    let (status, body) = signed(&hex).await;
    assert_eq!(status, 202, "{body}");
    assert_eq!(answer(call("/hooks/signed")).await.0, 401);
    assert_eq!(answer(call("/hooks/plain")).await.0, 401);
    assert_eq!(answer(call("/api/workflows/webhook")).await.0, 401);
    let missing = answer(call("/hooks/none")).await;
    assert_eq!((missing.0, missing.1["hint"].is_string()), (401, true), "{}", missing.1);
    for hook in ["/hooks/signed", "/hooks/plain"] {
        assert_eq!(answer(call(hook)).await, missing, "nobody learns what there is");
        let by_get = answer(server.request(Method::GET, hook)).await;
        assert_eq!(by_get, missing, "nor by another method");
    }
    let mut wrong = Vec::new();
    while wrong.last() != Some(&429) {
        wrong.push(signed("00").await.0);
        assert!(wrong.len() < 100, "wrong signatures are counted");
    }
    assert!(wrong[..wrong.len() - 1].iter().all(|status| *status == 401), "{wrong:?}");
    assert_eq!(signed(&hex).await.0, 202, "and right ones are still taken");
}

#[tokio::test]
async fn notifications_are_let_in_by_their_signature_alone() {
    let text = "bm90aWZpY2F0aW9ucyBhcmUgc2lnbmVkIHdpdGggdGhpcw==";
    let settings = [SECRET, ("WAYSTATION_WEBHOOK_SECRET", &format!("whsec_{text}"))];
    let server = Server::with(&settings).await;
    let body = json!({ "event": "workflow_started", "workflow_id": "w" }).to_string();
    let now = chrono::DateTime::parse_from_rfc3339("2026-11-28T00:00:00Z").unwrap().timestamp();
    let now = now
        .max(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
            as i64);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(text).unwrap());
    let made = hmac::sign(&key, format!("msg_1.{now}.{body}").as_bytes());
    let made = format!("v1,{}", STANDARD.encode(made));
    let call = || server.request(Method::POST, "/api/workflows/webhook").body(body.clone());
    let signed = call().header("webhook-id", "msg_1").header("webhook-timestamp", now);
    let signed = answer(signed.header("webhook-signature", made)).await;
    let admin = token(&server, &["--role", "admin"]).await;
    assert_eq!(answer(call().bearer_auth(&admin)).await.0, 401, "a token is no signature");
    assert_eq!(answer(call()).await.0, 401);
    assert_eq!(signed.0, 200, "{}", signed.1);
}

#[tokio::test]
async fn steps_that_call_this_server_itself_may_do_no_more_than_steps_may() {
    let server = Server::with(&[SECRET]).await;
    let editor = token(&server, &["--role", "editor"]).await;
    let run = async |path: &str, headers: Value| {
        let mut one = step("one", path, &[]);
        one["headers"] = headers;
        one["method"] = "GET".into();
        let request = server.request(Method::POST, "/execute").bearer_auth(&editor);
        answer(request.json(&pipeline(&[one]))).await.1
    };
    let echoed = run("/echo", json!({})).await;
    assert_eq!(echoed["success"], true, "{echoed:#}");
    let shown = echoed.to_string();
    assert!(!shown.contains("waystation-pass"), "the pass is not shown: {shown}");
    let refused = run("/runs", json!({})).await;
    assert_eq!(refused["success"], false, "{refused:#}");
    assert!(refused.to_string().contains("401"), "{refused:#}");
    let chain = json!({ "context": "weather", "instructions": [{
        "type": "endpoint", "endpointUrl": "/endpoint-1", "apiUrl": "/endpoints/demo/mock/weather",
    }]});
    let request = server.request(Method::POST, "/").bearer_auth(&editor).json(&chain);
    let (status, begun) = answer(request).await;
    assert_eq!(status, 200, "{begun}");
    let path = format!("/?instanceId={}", begun["instanceId"].as_str().unwrap());
    let status = eventually("the chain ends", async || {
        let seen = answer(server.request(Method::GET, &path).bearer_auth(&editor)).await.1;
        let status = seen["status"]["status"].as_str()?.to_owned();
        (status != "running").then_some((status, seen))
    })
    .await;
    assert!(status.1.to_string().contains("Sampleville"), "{:#}", status.1);
}

#[tokio::test]
async fn the_pass_of_steps_goes_to_no_other_server() {
    let other =
        Target::start(async |request: Received, _| reply(200, format!("{:?}", request.headers)))
            .await;
    let server = Server::with(&[SECRET]).await;
    let editor = token(&server, &["--role", "editor"]).await;
    let body = pipeline(&[step("one", &other.url("/seen"), &[])]);
    let request = server.request(Method::POST, "/execute").bearer_auth(&editor);
    let reply = answer(request.json(&body)).await.1;
    assert_eq!(reply["success"], true, "{reply:#}");
    assert!(!reply.to_string().contains("pass"), "{reply:#}");
}

#[tokio::test]
async fn browsers_may_watch_with_a_token_in_the_query() {
    let server = Server::with(&[SECRET]).await;
    let viewer = token(&server, &["--role", "viewer"]).await;
    let editor = token(&server, &["--role", "editor"]).await;
    let request = server.request(Method::POST, "/api/v1/workflows/run").bearer_auth(&editor);
    let wanted = json!({ "workflow": echoing(), "input": {} });
    let (status, job) = answer(request.json(&wanted)).await;
    assert!(status < 300, "{status} {job}");
    let path = format!("/ws/executions/{}", job["id"].as_str().unwrap());
    let connect = async |query: &str| {
        let url = format!("ws://{}{path}{query}", server.address);
        tokio_tungstenite::connect_async(url).await.map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(connect(&format!("?token={viewer}")).await, Ok(()));
    for query in ["", "?token=", "?token=way_a_b", "?after=0"] {
        let refused = connect(query).await.unwrap_err();
        assert!(refused.contains("401"), "{query}: {refused}");
    }
}

#[tokio::test]
async fn other_machines_are_served_once_callers_are_asked() {
    let address = [("HOST", "0.0.0.0"), ("LOG_LEVEL", "off")];
    let data = Arc::new(TempDir::new().unwrap());
    let refused = run_with(data.path(), &["serve", "--port", "0"], &address, "").await;
    assert_eq!(refused.code, Some(4), "{}", refused.stderr);
    let made = run(data.path(), &["key", "create", "k", "--role", "viewer"]).await;
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let server = Server::command("serve", data, &address).await;
    let port = server.address.rsplit_once(':').unwrap().1;
    let url = format!("http://127.0.0.1:{port}/runs");
    assert_eq!(reqwest::get(&url).await.unwrap().status(), 401);
}

#[tokio::test]
async fn wrong_credentials_are_counted_and_right_ones_are_not() {
    let server = Server::with(&[SECRET]).await;
    let viewer = format!("Bearer {}", token(&server, &["--role", "viewer"]).await);
    let mut refused = 0;
    let told = loop {
        let (status, body) = with(&server, Method::GET, "/runs", &[("x-api-key", "way_a_b")]).await;
        match status {
            401 => refused += 1,
            429 => break body,
            other => panic!("{other} {body}"),
        }
        assert!(refused <= 40, "never told to wait");
    };
    assert!(refused >= 30, "{refused}");
    assert_eq!(told["code"], "rate_limited");
    let (status, _) = with(&server, Method::GET, "/runs", &[("authorization", &viewer)]).await;
    assert_eq!(status, 200, "whoever is known is not kept out by others behind the same address");
}

#[tokio::test]
async fn what_is_costly_is_counted_by_caller() {
    let server = Server::with(&[SECRET, ("WAYSTATION_COSTLY_PER_MINUTE", "3")]).await;
    let (one, two) = (
        token(&server, &["--role", "editor"]).await,
        key(server.data(), &["--role", "editor"]).await,
    );
    let test = async |credential: &str| {
        let request = server.request(Method::POST, "/api/v1/nodes/delay/test");
        let body = json!({ "config": { "duration": 0 }, "input": {} });
        let response = request.bearer_auth(credential).json(&body).send().await.unwrap();
        let wait = response.headers().get("retry-after").cloned();
        (
            response.status().as_u16(),
            wait.map(|wait| wait.to_str().unwrap().parse::<u64>().unwrap()),
        )
    };
    for _ in 0..3 {
        assert_eq!(test(&one).await, (200, None));
    }
    let (status, wait) = test(&one).await;
    assert_eq!(status, 429);
    assert!((1..=60).contains(&wait.unwrap()), "{wait:?}");
    assert_eq!(test(&two).await, (200, None), "another caller");
}

#[tokio::test]
async fn pages_of_named_origins_may_use_all_of_a_server_that_asks() {
    let shop = "https://shop.example";
    let server = Server::with(&[SECRET, ("WAYSTATION_CORS_ORIGINS", shop)]).await;
    let viewer = format!("Bearer {}", token(&server, &["--role", "viewer"]).await);
    for path in ["/api/v1/jobs", "/runs", "/"] {
        let question = server.request(Method::OPTIONS, path).header("origin", shop);
        let question =
            question.header("access-control-request-method", "GET").send().await.unwrap();
        assert_eq!(question.status(), 204, "{path}");
        assert_eq!(question.headers()["access-control-allow-origin"], shop);
        let names = question.headers()["access-control-allow-headers"].to_str().unwrap();
        assert!(names.contains("Authorization") && names.contains("X-API-Key"), "{names}");
        assert!(!question.headers().contains_key("access-control-allow-credentials"));
        let asked = server.request(Method::GET, path).header("origin", shop);
        let asked = asked.header("authorization", &viewer).send().await.unwrap();
        assert_eq!(asked.status(), 200, "{path}");
        assert_eq!(asked.headers()["access-control-allow-origin"], shop);
    }
    let evil = server.request(Method::GET, "/runs").header("origin", "https://evil.example");
    let evil = evil.send().await.unwrap();
    assert_eq!(evil.status(), 401);
    assert!(!evil.headers().contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn opened_apis_stay_closed_to_pages_elsewhere() {
    let server = Server::with(&[SECRET, ("WAYSTATION_OPEN_APIS", "pipelines")]).await;
    assert_eq!(server.execute(&pipeline(&[step("one", "/echo", &[])])).await["success"], true);
    assert_eq!(server.get("/runs").await.0, 401);
    for (name, value) in [("host", "evil.example"), ("origin", "https://evil.example")] {
        let request = server.request(Method::POST, "/execute").header(name, value);
        assert_eq!(answer(request.body("{}")).await.0, 403, "{name}");
    }
    let viewer = token(&server, &["--role", "viewer"]).await;
    let behind_a_proxy = server.request(Method::GET, "/runs").header("host", "flows.example");
    assert_eq!(answer(behind_a_proxy.bearer_auth(&viewer)).await.0, 200);
}

#[tokio::test]
async fn commands_work_beside_a_server_that_asks() {
    let server = Server::with(&[SECRET]).await;
    let file = server.data().join("chain.json");
    let chain = json!({ "context": "hi", "provider": "echo", "instructions": ["Say it"] });
    std::fs::write(&file, chain.to_string()).unwrap();
    let ran = run(server.data(), &["run", "chain.json"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let told = std::fs::read_to_string(server.data().join("server.json")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(server.data().join("server.json")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600, "{told}");
}

#[tokio::test]
async fn a_worker_of_its_own_asks_too() {
    let directory = Arc::new(TempDir::new().unwrap());
    let worker = Server::command("endpoint", Arc::clone(&directory), &[SECRET]).await;
    assert_eq!(worker.get("/").await.0, 401);
    let editor = token(&worker, &["--role", "editor"]).await;
    let asked = worker.request(Method::GET, "/mock/news").bearer_auth(&editor);
    assert_eq!(answer(asked).await.0, 200);
}

/// Whoever sends a body to what nobody may send one to is answered before it is read.
#[tokio::test]
async fn bodies_are_not_read_for_strangers() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = Server::with(&[SECRET]).await;
    for path in ["/hooks/nothing-here", "/api/workflows/webhook", "/decide/nonsense", "/execute"] {
        let mut stream = tokio::net::TcpStream::connect(&server.address).await.unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 8000000\r\n\r\n{{");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        let read = tokio::time::timeout(crate::support::PATIENCE, stream.read_exact(&mut answer));
        read.await.expect(path).unwrap();
        let status = std::str::from_utf8(&answer[9..]).unwrap();
        assert!(["401", "404"].contains(&status), "{path}: {status}");
    }
}

#[tokio::test]
async fn an_admin_of_one_namespace_makes_no_keys() {
    let server = Server::with(&[SECRET]).await;
    let bounded = token(&server, &["--role", "admin", "--namespace", "a"]).await;
    let wanted = json!({ "name": "up", "role": "admin" });
    let request = server.request(Method::POST, "/keys").bearer_auth(&bounded);
    assert_eq!(answer(request.json(&wanted)).await.0, 403);
    let request = server.request(Method::PUT, "/secrets/X").bearer_auth(&bounded);
    assert_eq!(answer(request.body("x")).await.0, 403);
}

#[tokio::test]
async fn an_opened_api_knows_whoever_says_who_they_are() {
    let server = Server::with(&[SECRET, ("WAYSTATION_OPEN_APIS", "pipelines")]).await;
    let editor = token(&server, &["--role", "editor", "--namespace", "a"]).await;
    let mut body = pipeline(&[step("one", "/echo", &[])]);
    body["namespace"] = "b".into();
    let request = server.request(Method::POST, "/execute").bearer_auth(&editor);
    assert_eq!(answer(request.json(&body)).await.0, 403, "a bounded key stays bounded");
    body["namespace"] = "a".into();
    let request = server.request(Method::POST, "/execute").bearer_auth(&editor);
    let request = request.header("host", "flows.example").json(&body);
    assert_eq!(answer(request).await.0, 200, "behind a proxy, too");
}

/// Pictures and links of pages elsewhere come without an origin.
#[tokio::test]
async fn pages_elsewhere_start_nothing_by_simple_requests() {
    let server = Server::start().await;
    let mut definition = echoing();
    definition["triggers"] = json!([{ "type": "webhook", "path": "get", "methods": ["GET"] }]);
    save(&server, &definition).await;
    for (site, expected) in
        [("cross-site", 403), ("same-site", 403), ("same-origin", 202), ("none", 202)]
    {
        let headers = [("sec-fetch-site", site)];
        assert_eq!(with(&server, Method::GET, "/hooks/get", &headers).await.0, expected, "{site}");
        assert_eq!(
            with(&server, Method::GET, "/", &headers).await.0,
            200,
            "links lead to the page"
        );
    }
}
