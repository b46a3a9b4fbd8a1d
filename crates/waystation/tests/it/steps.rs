//! Steps against services: order, concurrency, retries, limits, selection.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::server::Server;
use crate::support::target::{Target, reply, reply_with};
use crate::support::{eventually, pipeline, step};

async fn always(status: u16, delay: Duration, text: &'static str) -> Target {
    Target::start(move |_, _| async move {
        tokio::time::sleep(delay).await;
        reply(status, text)
    })
    .await
}

fn settings(mut pipeline: Value, settings: Value) -> Value {
    pipeline["PIPELINE_SETTINGS"] = settings;
    pipeline
}

#[tokio::test]
async fn independent_steps_are_under_way_all_at_once() {
    let server = Server::start().await;
    // Nobody is answered before all twenty have arrived: one after another would never end.
    let all = std::sync::Arc::new(tokio::sync::Barrier::new(20));
    let target = Target::start(move |_, _| {
        let all = std::sync::Arc::clone(&all);
        async move {
            all.wait().await;
            reply(200, "done")
        }
    });
    let target = target.await;
    let steps: Vec<Value> =
        (0..20).map(|number| step(&format!("s{number}"), &target.url("/"), &[])).collect();
    let reply = server.execute(&pipeline(&steps)).await;
    assert_eq!(reply["steps_completed"], 20, "{reply}");
    assert_eq!(target.most_under_way(), 20);
}

#[tokio::test]
async fn twenty_steps_of_fifty_milliseconds_take_hardly_longer_than_one() {
    let server = Server::start().await;
    let target = always(200, Duration::from_millis(50), "done").await;
    let steps: Vec<Value> =
        (0..20).map(|number| step(&format!("s{number}"), &target.url("/"), &[])).collect();
    // A machine with other work gets several chances, and a debug build more time.
    let bound = if cfg!(debug_assertions) { 0.5 } else { 0.15 };
    let mut times = Vec::new();
    for _ in 0..10 {
        let reply = server.execute(&pipeline(&steps)).await;
        assert_eq!(reply["steps_completed"], 20, "{reply}");
        times.push(reply["execution_time"].as_f64().unwrap());
        if times.last().is_some_and(|time| *time < bound) {
            return;
        }
    }
    panic!("{times:?}");
}

#[tokio::test]
async fn a_step_starts_when_all_that_it_needs_is_there() {
    let server = Server::start().await;
    let target = always(200, Duration::from_millis(20), "done").await;
    // Two branches of different length and their meeting point, listed backwards.
    let steps = [
        step("end", &target.url("/end"), &["b2_out", "usid-a"]),
        step("b2", &target.url("/b2"), &["b1"]),
        step("b1", &target.url("/b1"), &[]),
        step("a", &target.url("/a"), &[]),
    ];
    let reply = server.execute(&pipeline(&steps)).await;
    assert_eq!(reply["steps_completed"], 4, "{reply}");
    let order: Vec<String> = target.received().into_iter().map(|one| one.path).collect();
    let mut first: Vec<&str> = order[..2].iter().map(String::as_str).collect();
    first.sort_unstable();
    assert_eq!(first, ["/a", "/b1"]);
    assert_eq!(order[2..], ["/b2", "/end"]);
    let run = reply["execution_id"].as_str().unwrap();
    let (_, detail) = server.get(&format!("/runs/{run}")).await;
    let names: Vec<&str> = detail["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["step_name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["a", "b1", "b2", "end"]);
}

#[tokio::test]
async fn a_passing_failure_is_tried_again_with_the_same_key() {
    let server = Server::start().await;
    let target = Target::start(async |_, before| match before {
        0 => reply(500, "not yet"),
        1 => reply(408, "not yet"),
        2 => reply(425, "not yet"),
        _ => reply(200, "done"),
    });
    let target = target.await;
    for method in ["POST", "PUT", "PATCH", "DELETE", "GET", "HEAD"] {
        let path = format!("/{method}");
        let mut one = step("one", &target.url(&path), &[]);
        one["method"] = method.into();
        let retries = json!({ "error_handling": { "max_retries": 3, "retry_delay": 0.01 } });
        let reply = server.execute(&settings(pipeline(&[one]), retries)).await;
        assert_eq!(reply["success"], true, "{reply}");
        let run = reply["execution_id"].as_str().unwrap();
        let received = target.received();
        let keys: Vec<&str> = received
            .iter()
            .filter(|one| one.path == path)
            .map(|one| one.header("idempotency-key"))
            .collect();
        let expected = match method {
            "GET" | "HEAD" => String::new(),
            _ => format!("{run}:usid-one"),
        };
        assert_eq!(keys, vec![expected.as_str(); 4], "{method}");
        let (_, detail) = server.get(&format!("/runs/{run}")).await;
        assert_eq!(detail["steps"][0]["attempts"], 4);
    }
}

#[tokio::test]
async fn a_service_that_asks_for_time_gets_it() {
    let server = Server::start().await;
    let target = Target::start(async |_, before| match before {
        0 => reply_with(429, ("retry-after", "1"), "slow down"),
        _ => reply(200, "done"),
    });
    let target = target.await;
    let retries = json!({ "error_handling": { "max_retries": 1, "retry_delay": 0 } });
    let one = step("one", &target.url("/"), &[]);
    let reply = server.execute(&settings(pipeline(&[one]), retries)).await;
    assert_eq!(reply["success"], true, "{reply}");
    assert!(reply["execution_time"].as_f64().unwrap() >= 1.0, "{reply}");
}

#[tokio::test]
async fn exhausted_attempts_are_counted_and_hopeless_ones_not_repeated() {
    let server = Server::start().await;
    let long = "x".repeat(300);
    let target = Target::start(move |request, _| {
        let long = long.clone();
        async move {
            match request.path.as_str() {
                "/busy" => reply(503, "busy"),
                "/gone" => reply(410, "gone"),
                _ => reply(400, long),
            }
        }
    });
    let target = target.await;
    let retries = json!({ "error_handling": { "max_retries": 2, "retry_delay": 0.01 } });
    for (path, error, attempts) in [
        ("/busy", "Step one failed after 3 attempts: HTTP 503: busy".to_owned(), 3),
        ("/gone", "HTTP 410: gone".to_owned(), 1),
        ("/long", format!("HTTP 400: {}", "x".repeat(200)), 1),
    ] {
        let one = step("one", &target.url(path), &[]);
        let reply = server.execute(&settings(pipeline(&[one]), retries.clone())).await;
        assert_eq!(reply["error"], error);
        assert_eq!(target.count(path), attempts);
    }
    // What a step says counts more than the settings.
    let mut own = step("one", &target.url("/own"), &[]);
    own["max_retries"] = json!(0);
    own["service_url"] = target.url("/busy?own").into();
    let reply = server.execute(&settings(pipeline(&[own]), retries)).await;
    assert_eq!(reply["error"], "Step one failed after 1 attempts: HTTP 503: busy");
}

#[tokio::test]
async fn the_first_failure_cancels_what_is_under_way() {
    let server = Server::start().await;
    let target = Target::start(async |request, _| {
        if request.path == "/slow" {
            std::future::pending::<()>().await;
        }
        reply(400, "no")
    });
    let target = target.await;
    let steps = [
        step("slow", &target.url("/slow"), &[]),
        step("quick", "/echo?delay_ms=50", &[]),
        step("bad", &target.url("/bad"), &["quick_out"]),
        step("later", &target.url("/later"), &["slow_out"]),
    ];
    let reply = server.execute(&pipeline(&steps)).await;
    assert_eq!(reply["error"], "HTTP 400: no");
    assert_eq!(reply["failed_step"], "bad");
    assert!(reply["partial_outputs"].get("quick_out").is_some(), "{reply}");
    eventually("the connection is dropped", async || (target.dropped() == 1).then_some(())).await;
    assert_eq!(target.count("/later"), 0);
    let run = reply["execution_id"].as_str().unwrap();
    let (_, detail) = server.get(&format!("/runs/{run}")).await;
    let slow = detail["steps"].as_array().unwrap().iter().find(|s| s["step_name"] == "slow");
    assert_eq!(slow.unwrap()["status"], "cancelled", "{detail}");
}

#[tokio::test]
async fn a_pipeline_ends_at_its_total_timeout() {
    let server = Server::start().await;
    let target = always(200, Duration::from_secs(3_600), "never").await;
    let quick = json!({ "step_name": "quick", "usid": "quick", "type": "set", "value": 1,
                        "outputs": ["quick_out"] });
    let steps = [quick, step("slow", &target.url("/"), &["quick_out"])];
    let limits = json!({ "timeouts": { "total_pipeline_timeout": 0.3 } });
    let reply = server.execute(&settings(pipeline(&steps), limits)).await;
    assert_eq!(reply["success"], false);
    assert_eq!(reply["steps_completed"], 1);
    let time = reply["execution_time"].as_f64().unwrap();
    assert!(time >= 0.3, "{time}");
    assert_eq!(reply["error"], "Pipeline timed out after 0.3 seconds");
    eventually("the connection is dropped", async || (target.dropped() == 1).then_some(())).await;
}

#[tokio::test]
async fn steps_that_are_not_selected_are_aborted_and_so_is_what_needs_them() {
    let server = Server::start().await;
    let choose = |name: &str, value: Value| json!({ "step_name": name, "usid": name, "type": "set", "value": value, "outputs": [name] });
    for (value, reasons) in [
        (
            json!(["usid-x"]),
            ["", "", "USID usid-y not in selection selection_s", "Dependency y_out was aborted"],
        ),
        (
            json!("[\"usid-x\"]"),
            ["", "", "USID usid-y not in selection selection_s", "Dependency y_out was aborted"],
        ),
        (
            json!({ "no": "list" }),
            [
                "Selection dependency selection_s is not a list",
                "Dependency x_out was aborted",
                "Selection dependency selection_s is not a list",
                "Dependency y_out was aborted",
            ],
        ),
    ] {
        let steps = [
            choose("selection_s", value),
            step("x", "/echo", &["selection_s"]),
            step("x2", "/echo", &["x_out"]),
            step("y", "/echo", &["selection_s"]),
            step("y2", "/echo", &["y_out"]),
        ];
        let reply = server.execute(&pipeline(&steps)).await;
        assert_eq!(reply["success"], true, "{reply}");
        let aborted = reasons.iter().filter(|reason| !reason.is_empty()).count();
        assert_eq!(reply["steps_aborted"], aborted);
        assert_eq!(reply["steps_completed"], 5 - aborted);
        let run = reply["execution_id"].as_str().unwrap();
        let (_, detail) = server.get(&format!("/runs/{run}")).await;
        for (name, reason) in ["x", "x2", "y", "y2"].iter().zip(reasons) {
            let steps = detail["steps"].as_array().unwrap();
            let step = steps.iter().find(|step| step["step_name"] == *name).unwrap();
            let status = if reason.is_empty() { "completed" } else { "aborted" };
            assert_eq!(step["status"], status, "{step}");
            assert_eq!(step["reason"].as_str().unwrap_or_default(), reason);
        }
    }
}

#[tokio::test]
async fn without_raise_on_error_the_other_branches_go_on() {
    let server = Server::start().await;
    let target = always(400, Duration::ZERO, "no").await;
    let steps = [
        step("bad", &target.url("/"), &[]),
        step("after", "/echo", &["bad_out"]),
        step("other", "/echo?delay_ms=50", &[]),
        step("other2", "/echo", &["other_out"]),
    ];
    let lenient = json!({ "error_handling": { "raise_on_error": false, "max_retries": 0 } });
    let reply = server.execute(&settings(pipeline(&steps), lenient)).await;
    assert_eq!(reply["success"], true, "{reply}");
    assert_eq!(reply["steps_failed"], 1);
    assert_eq!(reply["steps_completed"], 2);
    assert_eq!(reply["steps_aborted"], 1);
    assert!(reply["all_outputs"].get("other2_out").is_some());
}

#[tokio::test]
async fn a_caller_who_hangs_up_does_not_stop_the_run() {
    let server = Server::start().await;
    let target = always(200, Duration::from_millis(300), "done").await;
    let body = pipeline(&[
        step("one", &target.url("/one"), &[]),
        step("two", &target.url("/two"), &["one_out"]),
    ]);
    let call = server.request(reqwest::Method::POST, "/execute").json(&body);
    let call = tokio::spawn(call.send());
    eventually("the first step runs", async || (target.count("/one") == 1).then_some(())).await;
    call.abort();
    let (_, list) = server.get("/runs").await;
    let run = list["runs"][0]["execution_id"].as_str().unwrap().to_owned();
    let detail = server.until(&run, "completed").await;
    assert_eq!(detail["result"]["steps_completed"], 2);
    assert_eq!(target.dropped(), 0);
}

#[tokio::test]
async fn get_sends_the_mapping_in_the_query_and_the_others_in_the_body() {
    let server = Server::start().await;
    let target = always(200, Duration::ZERO, "ok").await;
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] {
        let mut one = step("one", &target.url(&format!("/{method}/{{{{input_data.id}}}}")), &[]);
        one["method"] = method.to_lowercase().into();
        one["headers"] = json!({ "x-id": "{{input_data.id}}", "x-number": 5 });
        one["input_prep_config"] =
            json!({ "type": "json", "mapping": { "a": "{{input_data.id}}", "b": [1, 2] } });
        one["body_template"] = json!({ "not": "this" });
        let mut body = pipeline(&[one]);
        body["input_data"] = json!({ "id": 7 });
        assert_eq!(server.execute(&body).await["success"], true);
        let received = target.received().pop().unwrap();
        assert_eq!(received.path, format!("/{method}/7"));
        assert_eq!((received.header("x-id"), received.header("x-number")), ("7", "5"));
        match method {
            "GET" | "HEAD" => assert_eq!(received.query, "a=7&b=1&b=2"),
            _ => assert_eq!(received.json(), json!({ "a": 7, "b": [1, 2] })),
        }
    }
}
