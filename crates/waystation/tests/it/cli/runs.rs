//! Runs from the command line: listed, shown, cancelled, tried again, interrupted.

use super::*;

#[tokio::test]
async fn runs_are_listed_and_shown_with_and_without_a_server() {
    let mut server = Server::start().await;
    let body = pipeline(&[
        step("fine", "/echo?only=json", &[]),
        step("bad", "/echo?status=404&only=json", &["fine_out"]),
    ]);
    let reply = server.execute(&body).await;
    let id = reply["execution_id"].as_str().unwrap();
    let data = server.directory();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let list = run(data.path(), &["runs", "list"]).await;
        assert_eq!(list.code, Some(0), "{}", list.stderr);
        let show = run(data.path(), &["runs", "show", id]).await;
        assert_eq!(show.code, Some(0), "{}", show.stderr);
        let json = run(data.path(), &["runs", "show", id, "--json"]).await;
        let detail: Value = serde_json::from_str(&json.stdout).unwrap();
        assert_eq!(detail["execution_id"], id);
        let json = run(data.path(), &["runs", "list", "--json", "--status", "failed"]).await;
        let rows: Value = serde_json::from_str(&json.stdout).unwrap();
        assert_eq!(rows[0]["execution_id"], id);
        seen.push((list.stdout, show.stdout));
        let cancel = run(data.path(), &["runs", "cancel", id]).await;
        assert_eq!(cancel.code, Some(4));
        assert_eq!(cancel.stderr, format!("error: Run {id} has already failed\n"));
        for action in ["show", "cancel", "retry"] {
            let unknown = run(data.path(), &["runs", action, "0000000000000"]).await;
            assert_eq!(unknown.code, Some(4));
            let expected =
                "error: Run 0000000000000 not found\n hint: `waystation runs list` shows them\n";
            assert_eq!(unknown.stderr, expected, "{action}");
        }
        if seen.len() == 1 {
            server.stop().await;
        }
    }
    assert_eq!(seen[0], seen[1]);
    assert_snapshot!(still(&seen[0].0), @r#"
    RUN STATUS STARTED TIME WORKFLOW
    [run] failed [moment] [time] flow
    "#);
    assert_snapshot!(still(&seen[0].1), @r#"
    execution_id [run]
    workflow_id flow
    namespace default
    status failed
    created_at [moment]
    finished_at [moment]

    STEPS
      completed [time] fine
      failed [time] bad HTTP 404: null

    ERROR
    HTTP 404: null
    "#);
}

#[tokio::test]
async fn runs_are_cancelled_and_tried_again_with_and_without_a_server() {
    let target = Target::start(async |_, _| std::future::pending().await).await;
    let mut server = Server::with(&[("WAYSTATION_SHUTDOWN_SECONDS", "0")]).await;
    let slow = pipeline(&[step("slow", &target.url("/"), &[])]);
    let (first, second) = (server.begin(&slow).await, server.begin(&slow).await);
    let data = server.directory();
    let cancel = run(data.path(), &["runs", "cancel", &first]).await;
    assert_eq!(cancel.code, Some(0), "{}", cancel.stderr);
    assert_eq!(cancel.stderr, format!("Run {first} is cancelled\n"));
    let retry = run(data.path(), &["runs", "retry", &first]).await;
    assert_eq!(retry.code, Some(0), "{}", retry.stderr);
    let third = retry.stdout.trim().to_owned();
    server.until(&third, "running").await;
    eventually("three requests", async || (target.received().len() == 3).then_some(())).await;
    server.stop().await;
    for id in [&second, &third] {
        let cancel = run(data.path(), &["runs", "cancel", id]).await;
        assert_eq!((cancel.code, cancel.stderr), (Some(0), format!("Run {id} is cancelled\n")));
    }
    // Cancelling calls nobody.
    assert_eq!(target.received().len(), 3);
    let quick = pipeline(&[step("quick", "/echo?status=404&only=json", &[])]);
    std::fs::write(data.path().join("flow.json"), quick.to_string()).unwrap();
    let failed = run(data.path(), &["run", "flow.json", "--json"]).await;
    let reply: Value = serde_json::from_str(&failed.stdout).unwrap();
    let retry = run(data.path(), &["runs", "retry", reply["execution_id"].as_str().unwrap()]).await;
    assert_eq!(retry.code, Some(1));
    assert_snapshot!(still(&retry.stderr), @"Running as [run]");
    assert_snapshot!(still(&retry.stdout), @r#"
    execution_id [run]
    workflow_id flow
    namespace default
    status failed
    created_at [moment]
    finished_at [moment]

    STEPS
      failed [time] quick HTTP 404: null

    ERROR
    HTTP 404: null
    "#);
}

#[tokio::test]
async fn a_workflow_file_is_checked_drawn_and_run_like_any_other() {
    let data = tempfile::tempdir().unwrap();
    let yaml = "\
name: Greet
nodes:
- {id: who, type: conditional, config: {condition: input.name == 'Ada', true_edge: known, false_edge: other}}
- {id: known, type: end, config: {output: 'Hi {{input.name}}'}}
- {id: other, type: end, config: {output: Who is there?}}
";
    std::fs::write(data.path().join("greet.yaml"), yaml).unwrap();
    let checked = run(data.path(), &["validate", "greet.yaml"]).await;
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let drawn = run(data.path(), &["graph", "greet.yaml"]).await;
    assert!(drawn.stdout.contains("n0 -->|\"true\"| n1"), "{}", drawn.stdout);
    let ended = run(data.path(), &["run", "greet.yaml", "-i", "name=Ada"]).await;
    assert_eq!((ended.code, ended.stdout.trim()), (Some(0), "\"Hi Ada\""), "{}", ended.stderr);
    assert!(ended.stderr.contains("2 completed, 1 skipped"), "{}", ended.stderr);
    let server = Server::start().await;
    std::fs::write(server.data().join("greet.yaml"), yaml).unwrap();
    let there = run(server.data(), &["run", "greet.yaml", "-i", "{\"name\": \"Bob\"}"]).await;
    assert_eq!(there.stdout.trim(), "\"Who is there?\"", "{}", there.stderr);
    let wrong = run_with(data.path(), &["validate", "-"], &[], "nodes: [{id: a, type: zap}]").await;
    assert_eq!(wrong.code, Some(3));
    assert!(wrong.stderr.contains("there is no node type zap"), "{}", wrong.stderr);
}

#[tokio::test]
async fn run_beside_a_server_runs_there() {
    let server = Server::start().await;
    std::fs::write(server.data().join("flow.json"), greeting().to_string()).unwrap();
    let ended = run(server.data(), &["run", "flow.json", "-i", "name=Ada"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let (_, list) = server.get("/runs").await;
    assert_eq!(list["runs"].as_array().unwrap().len(), 1);
    let bad = run_with(server.data(), &["run", "-", "--json"], &[], "{}").await;
    assert_eq!(bad.code, Some(3));
    let reply: Value = serde_json::from_str(&bad.stdout).unwrap();
    assert_eq!(
        reply["validation_errors"],
        json!([
            "Missing STEPS_CONFIG (of a pipeline), instructions (of an instruction chain) or nodes (of a workflow)"
        ])
    );
    let bad = run_with(server.data(), &["run", "-"], &[], "[]").await;
    assert_eq!(bad.code, Some(3), "{}", bad.stderr);
    let bad = run_with(server.data(), &["run", "-"], &[], "{}").await;
    assert_eq!(bad.code, Some(3), "{}", bad.stderr);
}

#[tokio::test]
async fn interrupting_a_run_cancels_it() {
    let target = Target::start(async |_, _| std::future::pending().await).await;
    let flow = pipeline(&[step("slow", &target.url("/"), &[])]);
    let server = Server::start().await;
    std::fs::write(server.data().join("flow.json"), flow.to_string()).unwrap();
    let alone = with_flow(&flow);
    for (count, data) in [(1, alone.path()), (2, server.data())] {
        let mut command = program(data);
        command.args(["run", "flow.json"]).stderr(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        eventually("the step runs", async || (target.received().len() == count).then_some(()))
            .await;
        signal(child.id(), "INT");
        let code = eventually("it ends", async || child.try_wait().unwrap()).await.code();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(code, Some(130), "{stderr}");
        assert!(stderr.contains("Cancelled in "), "{stderr}");
        eventually("the connection is dropped", async || (target.dropped() == count).then_some(()))
            .await;
        let list = run(data, &["runs", "list", "--json"]).await;
        let rows: Value = serde_json::from_str(&list.stdout).unwrap();
        assert_eq!(rows[0]["status"], "cancelled");
    }
}

#[tokio::test]
async fn a_directory_with_a_run_under_way_is_not_opened_twice() {
    let target = Target::start(async |_, _| std::future::pending().await).await;
    let directory = with_flow(&pipeline(&[step("slow", &target.url("/"), &[])]));
    let mut child =
        program(directory.path()).args(["run", "flow.json"]).stderr(Stdio::null()).spawn().unwrap();
    eventually("the step runs", async || (target.received().len() == 1).then_some(())).await;
    let second = run(directory.path(), &["run", "flow.json"]).await;
    assert_eq!(second.code, Some(4));
    let owner = format!("is in use by process {}\n hint: stop that process", child.id());
    assert!(second.stderr.contains(&owner), "{}", second.stderr);
    // Looking is possible all the time.
    let list = run(directory.path(), &["runs", "list", "--json"]).await;
    let rows: Value = serde_json::from_str(&list.stdout).unwrap();
    assert_eq!(rows[0]["status"], "running");
    signal(child.id(), "INT");
    eventually("it ends", async || child.try_wait().unwrap()).await;
}

#[tokio::test]
async fn a_run_that_another_command_cancels_is_not_called_interrupted() {
    let target = Target::start(async |_, _| std::future::pending().await).await;
    let server = Server::start().await;
    let flow = pipeline(&[step("slow", &target.url("/"), &[])]);
    std::fs::write(server.data().join("flow.json"), flow.to_string()).unwrap();
    let data = server.directory();
    let waiting = tokio::spawn(async move { run(data.path(), &["run", "flow.json"]).await });
    eventually("the step runs", async || (target.received().len() == 1).then_some(())).await;
    let (_, list) = server.get("/runs").await;
    let id = list["runs"][0]["execution_id"].as_str().unwrap();
    run(server.data(), &["runs", "cancel", id]).await;
    assert_eq!(waiting.await.unwrap().code, Some(1));
}
