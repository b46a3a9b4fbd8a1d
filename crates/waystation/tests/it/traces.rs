//! Traces: taken in, passed on, and sent to a collector that speaks OTLP.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use reqwest::Method;
use serde_json::json;

use crate::support::graph::{begin, ended, flow, gives, node, save};
use crate::support::server::{Server, answer};
use crate::support::target::{Target, reply};
use crate::support::{eventually, pipeline, step};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// A collector, and all that it was sent.
struct Collector {
    url: String,
    spans: Arc<Mutex<Vec<Span>>>,
    headers: Arc<Mutex<Vec<HeaderMap>>>,
}

impl Collector {
    async fn start() -> Collector {
        let (spans, headers) = (Arc::default(), Arc::default());
        let (kept, seen) = (Arc::clone(&spans), Arc::clone(&headers));
        let take = move |told: HeaderMap, body: Bytes| {
            let request = ExportTraceServiceRequest::decode(body).unwrap();
            let resources = request.resource_spans.into_iter();
            let scopes = resources.flat_map(|resource| resource.scope_spans);
            let kept: &Mutex<Vec<Span>> = &kept;
            kept.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
            let seen: &Mutex<Vec<HeaderMap>> = &seen;
            seen.lock().unwrap().push(told);
            async {}
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/v1/traces", post(take));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Collector { url, spans, headers }
    }

    /// The spans of a trace by name, once there is one of the run itself.
    async fn whole(&self, run: &str) -> HashMap<String, Vec<Span>> {
        eventually(&format!("the spans of {run} come"), async || {
            let spans = self.spans.lock().unwrap();
            let of_run: Vec<Span> = spans
                .iter()
                .filter(|span| attribute(span, "waystation.run") == run)
                .cloned()
                .collect();
            of_run.iter().any(|span| span.name.starts_with("run ")).then(|| {
                let mut by_name: HashMap<String, Vec<Span>> = HashMap::new();
                for span in of_run {
                    by_name.entry(span.name.clone()).or_default().push(span);
                }
                by_name
            })
        })
        .await
    }
}

fn attribute(span: &Span, name: &str) -> String {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let found = span.attributes.iter().find(|one| one.key == name);
    match found.and_then(|one| one.value.clone()?.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        _ => String::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_run_is_a_part_of_its_callers_trace_down_to_each_call() {
    let target =
        Target::start(async |_, times| reply(if times == 0 { 503 } else { 200 }, "x")).await;
    let collector = Collector::start().await;
    let server = Server::with(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=the%20key"),
    ])
    .await;
    let mut one = step("one", &target.url("/a"), &[]);
    one["retry_config"] = json!({ "max_retries": 2, "retry_delay": 0.01 });
    let body = json!({
        "workflow_id": "flow",
        "STEPS_CONFIG": [one],
        "PIPELINE_SETTINGS": { "error_handling": { "max_retries": 2, "retry_delay": 0.01 } },
    });
    let request = server.request(Method::POST, "/execute").json(&body);
    let request = request.header("traceparent", format!("00-{TRACE}-{CALLER}-01"));
    let (_, done) = answer(request).await;
    assert_eq!(done["success"], true, "{done:#}");

    let spans = collector.whole(done["execution_id"].as_str().unwrap()).await;
    let whole = &spans["run flow"][0];
    assert_eq!((hex(&whole.trace_id), hex(&whole.parent_span_id)), (TRACE.into(), CALLER.into()));
    let step = &spans["usid-one"][0];
    assert_eq!(step.parent_span_id, whole.span_id);
    let attempts = &spans["http attempt"];
    assert_eq!(attempts.len(), 2);
    let called: Vec<String> =
        target.received().iter().map(|one| one.header("traceparent").into()).collect();
    for (attempt, told) in attempts.iter().zip(&called) {
        assert_eq!(attempt.parent_span_id, step.span_id);
        assert_eq!(*told, format!("00-{TRACE}-{}-01", hex(&attempt.span_id)));
        assert!(attempt.end_time_unix_nano >= attempt.start_time_unix_nano);
    }
    let failed = attempts[0].status.as_ref().unwrap();
    assert!(failed.code == 2 && failed.message.contains("503"), "{failed:?}");
    assert_eq!(attempts[1].status.as_ref().unwrap().code, 1);
    assert_eq!(collector.headers.lock().unwrap()[0]["api-key"], "the key");
}

#[tokio::test]
async fn a_trace_is_whole_also_where_the_server_was_killed_in_between() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let held = Arc::clone(&gate);
    let target = Target::start(move |_, _| {
        let held = Arc::clone(&held);
        async move {
            let _ = held.acquire().await;
            reply(200, "x")
        }
    })
    .await;
    let collector = Collector::start().await;
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str())];
    let server = Server::with(&settings).await;
    let run = server.begin(&pipeline(&[step("one", &target.url("/hold"), &[])])).await;
    eventually("it is called", async || (target.count("/hold") == 1).then_some(())).await;
    let server = server.again().await;
    gate.add_permits(10);
    server.until(&run, "completed").await;
    let spans = collector.whole(&run).await;
    assert_eq!(spans["usid-one"][0].parent_span_id, spans["run flow"][0].span_id);
    assert_eq!(spans["run flow"][0].trace_id, spans["usid-one"][0].trace_id);
}

#[tokio::test]
async fn workflows_have_spans_of_nodes_that_only_compute_too() {
    let collector = Collector::start().await;
    let server = Server::with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str())]).await;
    let nodes = [gives("a", "{{ 1 + 1 }}"), node("end", "end", json!({ "output": "{{input}}" }))];
    let workflow = save(&server, &flow(&nodes, &["a -> end"])).await;
    let job = begin(&server, &workflow, &json!({})).await;
    assert_eq!(ended(&server, &job).await["status"], "completed");
    let spans = collector.whole(&job).await;
    assert!(spans.contains_key("a") && spans.contains_key("end"), "{:?}", spans.keys());
    assert_eq!(attribute(&spans["a"][0], "waystation.node.type"), "transformer");
}

#[tokio::test]
async fn a_trace_is_passed_on_only_where_there_is_one() {
    let target = Target::start(async |_, _| reply(200, "x")).await;
    let server = Server::start().await;
    let body = pipeline(&[step("one", &target.url("/a"), &[])]);
    server.execute(&body).await;
    assert_eq!(target.received()[0].header("traceparent"), "");
    let told = server.request(Method::POST, "/execute").json(&body);
    let told = told.header("traceparent", format!("00-{TRACE}-{CALLER}-00"));
    assert_eq!(answer(told).await.1["success"], true);
    let passed = target.received()[1].header("traceparent").to_owned();
    assert!(passed.starts_with(&format!("00-{TRACE}-")) && passed.ends_with("-00"), "{passed}");
    let nonsense = server.request(Method::POST, "/execute").json(&body);
    let nonsense = nonsense.header("traceparent", "00-nonsense-01");
    assert_eq!(answer(nonsense).await.1["success"], true);
    assert_eq!(target.received()[2].header("traceparent"), "");
}

#[tokio::test]
async fn runs_do_not_wait_for_a_collector_that_is_not_there() {
    let port = crate::support::free_port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let server = Server::with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())]).await;
    let reply = server.execute(&pipeline(&[step("one", "/echo", &[])])).await;
    assert_eq!(reply["success"], true);
    eventually("the log says it", async || {
        server.log().contains("spans could not be sent").then_some(())
    })
    .await;
}
