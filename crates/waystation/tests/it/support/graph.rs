//! Workflows of nodes and edges: written down, saved, run.

use reqwest::Method;
use serde_json::{Value, json};

use super::eventually;
use super::server::Server;

/// A node.
pub(crate) fn node(id: &str, kind: &str, config: Value) -> Value {
    let mut node = json!({ "id": id, "type": kind });
    node["config"] = config;
    node
}

/// A node that gives what a template gives.
pub(crate) fn gives(id: &str, template: &str) -> Value {
    node(id, "transformer", json!({ "transform_type": "template", "template": template }))
}

/// A node that calls a URL by POST, once.
pub(crate) fn calls(id: &str, url: &str) -> Value {
    node(id, "http", json!({ "method": "POST", "url": url, "retries": 0 }))
}

/// Nodes, and edges written as `from -> to` or `from -> to: label`.
pub(crate) fn graph(nodes: &[Value], edges: &[&str]) -> Value {
    let edges = edges.iter().map(|edge| {
        let (source, rest) = edge.split_once(" -> ").unwrap();
        match rest.split_once(": ") {
            None => json!({ "source": source, "target": rest }),
            Some((target, label)) => json!({ "source": source, "target": target, "label": label }),
        }
    });
    json!({ "nodes": nodes, "edges": edges.collect::<Vec<_>>() })
}

/// A definition of such a graph.
pub(crate) fn flow(nodes: &[Value], edges: &[&str]) -> Value {
    let mut definition = graph(nodes, edges);
    definition["name"] = "Flow".into();
    definition
}

/// Saves a definition and gives its id.
pub(crate) async fn save(server: &Server, definition: &Value) -> String {
    let (status, reply) = server.post("/api/v1/workflows", definition).await;
    assert_eq!(status, 201, "{reply:#}");
    reply["id"].as_str().unwrap().to_owned()
}

/// Makes a definition the next version of a workflow.
pub(crate) async fn replace(server: &Server, workflow: &str, definition: &Value) {
    let path = format!("/api/v1/workflows/{workflow}");
    let (status, reply) = server.call(Method::PUT, &path, Some(definition)).await;
    assert_eq!(status, 200, "{reply:#}");
}

/// Begins a saved workflow and gives the job's id.
pub(crate) async fn begin(server: &Server, workflow: &str, input: &Value) -> String {
    let path = format!("/api/v1/workflows/{workflow}/execute");
    let (status, job) = server.post(&path, &json!({ "input_data": input })).await;
    assert_eq!(status, 202, "{job:#}");
    job["id"].as_str().unwrap().to_owned()
}

/// Runs a saved workflow to its end and gives the job.
pub(crate) async fn execute(server: &Server, workflow: &str, input: &Value) -> Value {
    let path = format!("/api/v1/workflows/{workflow}/execute?wait=true");
    let (status, job) = server.post(&path, &json!({ "input_data": input })).await;
    assert_eq!(status, 200, "{job:#}");
    job
}

/// Saves a definition, runs it to its end, and gives the job.
pub(crate) async fn run(server: &Server, definition: &Value, input: &Value) -> Value {
    execute(server, &save(server, definition).await, input).await
}

/// The job, as it is now.
pub(crate) async fn job(server: &Server, id: &str) -> Value {
    let (status, job) = server.get(&format!("/api/v1/jobs/{id}")).await;
    assert_eq!(status, 200, "{job:#}");
    job
}

/// The job, once it has ended.
pub(crate) async fn ended(server: &Server, id: &str) -> Value {
    eventually(&format!("job {id} ends"), async || {
        let job = job(server, id).await;
        (job["status"] != "running").then_some(job)
    })
    .await
}

/// The job, once a node of it stands like this.
pub(crate) async fn until(server: &Server, id: &str, node: &str, status: &str) -> Value {
    eventually(&format!("node {node} of job {id} is {status}"), async || {
        let job = job(server, id).await;
        (state(&job, node) == status).then_some(job)
    })
    .await
}

/// Where a node of a job stands.
pub(crate) fn state<'a>(job: &'a Value, node: &str) -> &'a str {
    job["node_results"][node]["status"].as_str().unwrap_or("unknown")
}

/// What a node of a job gave.
pub(crate) fn output<'a>(job: &'a Value, node: &str) -> &'a Value {
    &job["node_results"][node]["output"]
}

/// The nodes of a job that stand like this.
pub(crate) fn nodes_that_are<'a>(job: &'a Value, status: &str) -> Vec<&'a str> {
    let nodes = job["node_results"].as_object().unwrap().keys();
    nodes.map(String::as_str).filter(|node| state(job, node) == status).collect()
}

/// The result of a job that has completed.
pub(crate) fn result(job: &Value) -> &Value {
    assert_eq!(job["status"], "completed", "{job:#}");
    &job["result"]
}

/// Why a job has failed.
pub(crate) fn error(job: &Value) -> &str {
    assert_eq!(job["status"], "failed", "{job:#}");
    job["error"].as_str().unwrap()
}

/// Decides for a node that waits.
pub(crate) async fn signal(server: &Server, job: &str, node: &str, body: &Value) -> (u16, Value) {
    server.post(&format!("/api/v1/jobs/{job}/nodes/{node}/signal"), body).await
}
