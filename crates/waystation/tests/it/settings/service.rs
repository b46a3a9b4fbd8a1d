//! The service that nodes call: it answers, fails, says nothing, or holds calls, by the path; and it passes
//! on what models are asked.

use axum::body::Body;
use axum::response::Response;
use serde_json::json;
use tokio::sync::watch;

use crate::support::target::{Received, Target, reply, reply_with};

/// Whether calls that are held may go on.
pub(super) type Gate = watch::Sender<bool>;

/// The service of many tempers, which passes on what models are asked.
pub(super) async fn service(models: String, gate: Gate) -> Target {
    // The client asks for a provider even where no TLS is spoken. Another test may have set it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    Target::start(move |request, _| {
        let (client, models, gate) = (client.clone(), models.clone(), gate.clone());
        async move {
            match request.path.as_str() {
                path if path.starts_with("/silent") => std::future::pending().await,
                path if path.starts_with("/busy") => reply(503, "busy"),
                path if path.ends_with("/completions") => ask(&client, &models, &request).await,
                "/gate" => {
                    // The sender lives as long as the stage, so waiting cannot fail.
                    let _ = gate.subscribe().wait_for(|is_open| *is_open).await;
                    reply(200, "{}")
                }
                "/moved" => reply_with(302, ("location", "/here"), ""),
                "/created" => reply(201, "{}"),
                "/long" => reply(200, format!("{:?}", "x".repeat(500))),
                "/list" => reply(200, json!([{ "n": 1 }, { "n": 2 }, { "n": 3 }]).to_string()),
                path => reply(200, json!({ "at": path }).to_string()),
            }
        }
    })
    .await
}

async fn ask(client: &reqwest::Client, models: &str, request: &Received) -> Response {
    let question = client.post(format!("{models}{}", request.path));
    let question = question.header("authorization", request.header("authorization"));
    let answer = question.body(request.body.clone()).send().await.unwrap();
    let kind = answer.headers()["content-type"].clone();
    let response = Response::builder().status(answer.status().as_u16());
    response.header("content-type", kind).body(Body::from(answer.bytes().await.unwrap())).unwrap()
}
