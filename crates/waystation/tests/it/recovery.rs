//! Graphs whose server is killed: what has ended is not done again, what waits goes on waiting.

use std::collections::HashMap;

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::eventually;
use crate::support::graph::{
    begin, calls, ended, flow, gives, graph, job, node, output, result, save, signal, state, until,
};
use crate::support::server::{Server, answer};
use crate::support::target::{Target, reply};

/// Items in the list.
const ITEMS: usize = 60;
/// Items under way at once.
const TOGETHER: usize = 5;
/// Items that are answered before the server is killed.
const ANSWERED: usize = 20;

/// A service that answers the first calls with their path, and the others once it is told to.
async fn service() -> (Target, watch::Sender<bool>) {
    let (open, opened) = watch::channel(false);
    let target = Target::start(move |request, _| {
        let mut opened = opened.clone();
        async move {
            let number: usize = request.path.trim_start_matches("/item/").parse().unwrap_or(0);
            if number >= ANSWERED {
                opened.wait_for(|is_open| *is_open).await.unwrap();
            }
            reply(200, json!({ "path": request.path }).to_string())
        }
    });
    (target.await, open)
}

/// How often each path was called.
fn ledger(target: &Target) -> HashMap<String, usize> {
    let mut ledger: HashMap<String, usize> = HashMap::new();
    for request in target.received() {
        *ledger.entry(request.path).or_default() += 1;
    }
    ledger
}

/// Calls for each item of a list, so many at once.
fn calling_each(target: &Target) -> Value {
    let nodes =
        [calls("call", &target.url("/item/{{item}}")), gives("path", "{{call.output.path}}")];
    let body = graph(&nodes, &["call -> path"]);
    let each = json!({ "items": "{{input.items}}", "concurrency": TOGETHER, "body": body });
    let nodes = [
        calls("before", &target.url("/before")),
        node("each", "foreach", each),
        calls("after", &target.url("/after")),
        node("end", "end", json!({ "output": "{{each.output}}" })),
    ];
    flow(&nodes, &["before -> each", "each -> after", "after -> end"])
}

#[tokio::test]
async fn no_item_that_has_ended_is_called_again_after_a_kill() {
    let (target, open) = service().await;
    let server = Server::start().await;
    let workflow = save(&server, &calling_each(&target)).await;
    let items: Vec<usize> = (0..ITEMS).collect();
    let id = begin(&server, &workflow, &json!({ "items": items })).await;
    let before_kill = 1 + ANSWERED + TOGETHER;
    eventually("the items that are not answered are under way", async || {
        (target.received().len() == before_kill).then_some(())
    })
    .await;
    let server = server.again().await;
    open.send_replace(true);
    let job = ended(&server, &id).await;
    let expected: Vec<String> = (0..ITEMS).map(|item| format!("/item/{item}")).collect();
    assert_eq!(result(&job), &json!(expected));
    let ledger = ledger(&target);
    assert_eq!((ledger["/before"], ledger["/after"]), (1, 1));
    for (item, path) in expected.iter().enumerate() {
        let was_under_way = (ANSWERED..ANSWERED + TOGETHER).contains(&item);
        assert_eq!(ledger[path], if was_under_way { 2 } else { 1 }, "{path}");
    }
    assert!(target.most_under_way() <= 2 * TOGETHER, "{}", target.most_under_way());
}

#[tokio::test]
async fn a_run_within_another_goes_on_where_it_was() {
    let (target, open) = service().await;
    let server = Server::start().await;
    let nodes = [
        calls("first", &target.url("/first")),
        calls("second", &target.url("/item/99")),
        gives("path", "{{second.output.path}}"),
    ];
    let inner = save(&server, &flow(&nodes, &["first -> second", "second -> path"])).await;
    let sub = node("sub", "subworkflow", json!({ "workflow_id": inner }));
    let workflow = save(&server, &flow(&[sub], &[])).await;
    let id = begin(&server, &workflow, &json!({})).await;
    eventually("the second call", async || (target.count("/item/99") == 1).then_some(())).await;
    let server = server.again().await;
    open.send_replace(true);
    assert_eq!(result(&ended(&server, &id).await), &json!("/item/99"));
    assert_eq!((target.count("/first"), target.count("/item/99")), (1, 2));
}

/// A delay of so many seconds.
async fn delayed(server: &Server, seconds: f64) -> String {
    let wait = node("wait", "delay", json!({ "delay_seconds": seconds }));
    let workflow = save(server, &flow(&[gives("a", "A"), wait], &["a -> wait"])).await;
    let id = begin(server, &workflow, &json!({})).await;
    until(server, &id, "wait", "waiting").await;
    id
}

#[tokio::test]
async fn a_delay_is_not_started_over() {
    let server = Server::start().await;
    let long = delayed(&server, 3_600.0).await;
    let short = delayed(&server, 1.0).await;
    let wait = |job: &Value| job["node_results"]["wait"].clone();
    let (long_before, short_before) =
        (wait(&job(&server, &long).await), wait(&job(&server, &short).await));
    assert!(long_before["waits_until"].is_string(), "{long_before}");
    let server = server.again().await;
    assert_eq!(wait(&job(&server, &long).await), long_before);
    let seen = ended(&server, &short).await;
    assert_eq!(result(&seen), &json!("A"));
    assert_eq!(wait(&seen)["started_at"], short_before["started_at"]);
    assert_eq!(wait(&seen)["attempts"], 1);
}

#[tokio::test]
async fn a_run_that_waits_for_a_decision_can_be_decided_after_a_kill() {
    let server = Server::start().await;
    let (mail, _open) = service().await;
    let send = json!({
        "method": "POST", "url": mail.url("/mail"), "body": { "link": "{{links.ask}}" },
    });
    let nodes = [
        node("send", "http", send),
        node("ask", "wait", json!({})),
        gives("choice", "{{ask.output.choice}}"),
    ];
    let workflow = save(&server, &flow(&nodes, &["send -> ask", "ask -> choice: rejected"])).await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let id = begin(&server, &workflow, &json!({})).await;
        until(&server, &id, "ask", "waiting").await;
        waiting.push(id);
    }
    let links: Vec<String> =
        mail.received().iter().map(|mail| path_of(&mail.json()["link"])).collect();
    let server = server.again().await;
    for id in &waiting {
        assert_eq!(state(&job(&server, id).await, "ask"), "waiting");
    }
    let choice = json!({ "choice": "rejected" });
    assert_eq!(signal(&server, &waiting[0], "ask", &choice).await.0, 200);
    // A link from before is as good as ever, wherever the server listens now.
    let form = server.request(reqwest::Method::POST, &links[1]).body("choice=rejected");
    assert_eq!(answer(form).await.0, 200);
    for id in &waiting {
        assert_eq!(result(&ended(&server, id).await), &json!("rejected"));
    }
    let decided = job(&server, &waiting[1]).await;
    assert_eq!(output(&decided, "ask")["data"], json!({ "by": "link" }));
    assert_eq!(mail.count("/mail"), 2);
}

/// What follows the host in a URL.
fn path_of(url: &Value) -> String {
    let (_, path) = url.as_str().unwrap().split_once("/decide/").unwrap();
    format!("/decide/{path}")
}
