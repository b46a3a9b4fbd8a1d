//! Runs that wait for somebody: decided by a call, by a signed link, or by time.

use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::graph::{
    begin, ended, error, execute, flow, gives, graph, node, nodes_that_are, output, result, run,
    save, signal, state, until,
};
use crate::support::server::{Server, answer};
use crate::support::target::{Target, reply};

/// A wait with these settings, and a node for each way out of it.
fn asking(settings: Value) -> Value {
    let nodes = [
        node("ask", "wait", settings),
        gives("yes", "yes: {{ask.output.data.note | default('nothing')}}"),
        gives("no", "no"),
        gives("late", "late"),
    ];
    flow(&nodes, &["ask -> yes: approved", "ask -> no: rejected", "ask -> late: timeout"])
}

/// Begins a run and gives its id once it waits.
async fn waiting(server: &Server, definition: &Value) -> String {
    let workflow = save(server, definition).await;
    let job = begin(server, &workflow, &json!({})).await;
    until(server, &job, "ask", "waiting").await;
    job
}

#[tokio::test]
async fn a_decision_leads_on_by_its_choice_once() {
    let server = Server::start().await;
    let job = waiting(&server, &asking(json!({}))).await;
    let (_, execution) = server.get(&format!("/workflows/executions/{job}")).await;
    assert_eq!(
        (&execution["status"], &execution["node_states"]["ask"]["status"]),
        (&json!("paused"), &json!("waiting"))
    );
    let wrong = signal(&server, &job, "ask", &json!({ "choice": "maybe" })).await;
    assert_eq!(
        (wrong.0, &wrong.1["detail"][0]["msg"]),
        (422, &json!("the choices are approved, rejected"))
    );
    let choice = json!({ "choice": "approved", "data": { "note": "by Ada" } });
    assert_eq!(signal(&server, &job, "ask", &choice).await.0, 200);
    let seen = ended(&server, &job).await;
    assert_eq!((result(&seen), output(&seen, "ask")), (&json!("yes: by Ada"), &choice));
    assert_eq!(nodes_that_are(&seen, "skipped"), ["no", "late"]);
    let (status, reply) = signal(&server, &job, "ask", &json!({ "choice": "rejected" })).await;
    assert_eq!(status, 409, "{reply}");
    assert_eq!(result(&ended(&server, &job).await), &json!("yes: by Ada"));
}

#[tokio::test]
async fn a_second_decision_is_refused_while_the_run_goes_on() {
    let server = Server::start().await;
    let nodes = [node("ask", "wait", json!({})), node("again", "wait", json!({}))];
    let job = waiting(&server, &flow(&nodes, &["ask -> again"])).await;
    let choice = json!({ "choice": "approved" });
    assert_eq!(signal(&server, &job, "ask", &choice).await.0, 200);
    until(&server, &job, "again", "waiting").await;
    assert_eq!(signal(&server, &job, "ask", &choice).await.0, 409);
    assert_eq!(state(&until(&server, &job, "ask", "completed").await, "again"), "waiting");
    assert_eq!(signal(&server, &job, "again", &choice).await.0, 200);
    result(&ended(&server, &job).await);
}

#[tokio::test]
async fn choices_of_ones_own_are_ways_out() {
    let server = Server::start().await;
    let nodes = [
        node("ask", "wait", json!({ "choices": ["refund", "voucher", "nothing"] })),
        gives("first", "refund it"),
        gives("second", "send a voucher"),
    ];
    let definition = flow(&nodes, &["ask -> first", "ask -> second: voucher"]);
    for (choice, expected) in [
        ("refund", json!("refund it")),
        ("voucher", json!("send a voucher")),
        ("nothing", Value::Null),
    ] {
        let job = waiting(&server, &definition).await;
        assert_eq!(signal(&server, &job, "ask", &json!({ "choice": choice })).await.0, 200);
        assert_eq!(result(&ended(&server, &job).await), &expected, "{choice}");
    }
}

/// Begins a run that sends its link to a service before it waits; gives its id and the link.
async fn linked(server: &Server, settings: Value) -> (String, String) {
    let mail = Target::start(async |_, _| reply(200, "{}")).await;
    let mut definition = asking(settings);
    let send = json!({
        "method": "POST", "url": mail.url("/"), "body": { "link": "{{links.ask}}" }, "retries": 0,
    });
    definition["nodes"].as_array_mut().unwrap().push(node("send", "http", send));
    let edges = definition["edges"].as_array_mut().unwrap();
    edges.push(json!({ "source": "send", "target": "ask" }));
    let job = waiting(server, &definition).await;
    let link = mail.received()[0].json()["link"].as_str().unwrap().to_owned();
    assert!(link.starts_with(&server.url("/decide/")), "{link}");
    (job, link)
}

/// Sends the form behind a link.
async fn choose(link: &str, choice: &str) -> (u16, Value) {
    let client = Client::builder().no_proxy().build().unwrap();
    let form = client.post(link).header("content-type", "application/x-www-form-urlencoded");
    answer(form.body(format!("choice={choice}"))).await
}

#[tokio::test]
async fn a_link_shows_what_is_asked_and_its_form_decides_once() {
    let server = Server::start().await;
    let (job, link) = linked(&server, json!({ "message": "Refund <it>?" })).await;
    let path = link.strip_prefix(&server.url("")).unwrap();
    for _ in 0..2 {
        // Mail programs open links by themselves.
        let (status, page) = server.get(path).await;
        let page = page.as_str().unwrap();
        assert_eq!(status, 200);
        assert!(page.contains("<p>Refund &lt;it&gt;?</p>"), "{page}");
        assert!(page.contains(r#"<button name="choice" value="approved">"#), "{page}");
    }
    assert_eq!(choose(&link, "maybe").await.0, 422);
    let (status, page) = choose(&link, "approved").await;
    assert_eq!(status, 200);
    assert!(page.as_str().unwrap().contains("Your decision is recorded"), "{page}");
    let seen = ended(&server, &job).await;
    let decided = json!({ "choice": "approved", "data": { "by": "link" } });
    assert_eq!((output(&seen, "ask"), state(&seen, "yes")), (&decided, "completed"));
    assert_eq!(choose(&link, "rejected").await.0, 409);
    let (status, page) = server.get(path).await;
    assert_eq!(status, 410);
    assert!(page.as_str().unwrap().contains("There is nothing to decide any more"), "{page}");
}

#[tokio::test]
async fn a_link_that_was_changed_opens_nothing() {
    let server = Server::start().await;
    let (job, link) = linked(&server, json!({})).await;
    let path = link.strip_prefix(&server.url("")).unwrap();
    let (start, ticket) = path.split_at("/decide/".len());
    let swap = |letter: &str| if letter == "A" { "B" } else { "A" };
    let middle = ticket.len() / 2;
    let changed =
        format!("{}{}{}", &ticket[..middle], swap(&ticket[middle..=middle]), &ticket[middle + 1..]);
    for ticket in [changed.as_str(), &ticket[..ticket.len() - 4], "x", "AAAA"] {
        let path = format!("{start}{ticket}");
        let detail = json!({ "detail": "This link is not valid" });
        assert_eq!(server.get(&path).await, (404, detail.clone()), "{path}");
        assert_eq!(choose(&server.url(&path), "approved").await, (404, detail), "{path}");
    }
    // Another installation has other links.
    let other = Server::start().await;
    assert_eq!(other.get(path).await.0, 404);
    until(&server, &job, "ask", "waiting").await;
}

#[tokio::test]
async fn when_nobody_decides_time_does() {
    let server = Server::start().await;
    let job = run(&server, &asking(json!({ "timeout": 0.1 })), &json!({})).await;
    let decided = json!({ "choice": "timeout", "data": null });
    assert_eq!((result(&job), output(&job, "ask")), (&json!("late"), &decided));
    let job =
        run(&server, &asking(json!({ "timeout": 0.1, "on_timeout": "fail" })), &json!({})).await;
    assert_eq!(error(&job), "Node ask failed: Nobody decided within 0.1 seconds");
}

#[tokio::test]
async fn items_that_wait_are_found_and_decided() {
    let server = Server::start().await;
    let body = graph(&[node("ask", "wait", json!({}))], &[]);
    let each = node("each", "foreach", json!({ "items": [1, 2], "body": body }));
    let job = begin(&server, &save(&server, &flow(&[each], &[])).await, &json!({})).await;
    let path = format!("/api/v1/jobs?parent={job}&status=running");
    let items = eventually("both items wait", async || {
        let items = server.get(&path).await.1["items"].take();
        (items.as_array()?.len() == 2).then_some(items)
    });
    for item in items.await.as_array().unwrap() {
        let id = item["id"].as_str().unwrap();
        until(&server, id, "ask", "waiting").await;
        let seen = server.get(&format!("/api/v1/jobs/{id}")).await.1;
        assert_eq!(seen["parent"]["job_id"], json!(job));
        let choice = json!({ "choice": "approved", "data": seen["parent"]["item"] });
        assert_eq!(signal(&server, id, "ask", &choice).await.0, 200);
    }
    let result = result(&ended(&server, &job).await).clone();
    assert_eq!((&result[0]["data"], &result[1]["data"]), (&json!(0), &json!(1)), "{result}");
}

#[tokio::test]
async fn what_does_not_wait_cannot_be_decided() {
    let server = Server::start().await;
    let choice = json!({ "choice": "approved" });
    let nodes = [gives("a", "A"), node("ask", "wait", json!({}))];
    let job = waiting(&server, &flow(&nodes, &["a -> ask"])).await;
    for (node, status, detail) in [
        ("a", 409, "Node a does not wait for a decision"),
        ("nope", 404, "The run has no node nope"),
    ] {
        let (replied, reply) = signal(&server, &job, node, &choice).await;
        assert_eq!((replied, &reply["detail"]), (status, &json!(detail)));
    }
    assert_eq!(signal(&server, "nope", "ask", &choice).await.0, 404);
    let path = format!("/api/v1/jobs/{job}/cancel");
    assert_eq!(server.call(Method::POST, &path, None).await.0, 200);
    ended(&server, &job).await;
    assert_eq!(signal(&server, &job, "ask", &choice).await.0, 409);
    let workflow = save(&server, &flow(&[gives("a", "A")], &[])).await;
    let job = execute(&server, &workflow, &json!({})).await;
    assert_eq!(signal(&server, job["id"].as_str().unwrap(), "a", &choice).await.0, 409);
}
