//! The command line: results, messages, exit codes.

mod runs;

use std::process::Stdio;

use insta::{allow_duplicates, assert_json_snapshot, assert_snapshot};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::command::{program, run, run_with, signal};
use crate::support::server::Server;
use crate::support::target::Target;
use crate::support::{eventually, pipeline, steady, step, without_ports};

/// A directory with a pipeline in `flow.json`.
fn with_flow(flow: &Value) -> TempDir {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("flow.json"), flow.to_string()).unwrap();
    directory
}

fn greeting() -> Value {
    let mut hello = step("hello", "/echo?only=json", &[]);
    hello["body_template"] =
        json!({ "hello_out": "Hello {{input_data.name}}, {{original_input}}" });
    let choice = json!({ "step_name": "choice", "usid": "c", "type": "set", "value": [],
                         "outputs": ["selection_c"] });
    let left = step("left", "/echo", &["selection_c"]);
    let last = json!({ "step_name": "last", "usid": "z", "type": "set", "value": "{{hello_out}}!",
                       "outputs": ["result"], "dependencies": ["hello_out"] });
    pipeline(&[hello, choice, left, last])
}

/// A text with run ids and times replaced.
fn still(text: &str) -> String {
    let words = text.split_inclusive([' ', '\n']).map(|piece| {
        let word = piece.trim_end_matches([' ', '\n']);
        let bare = word.trim_end_matches([':', ',']);
        let digits = bare.chars().filter(char::is_ascii_digit).count();
        let is_time = bare.ends_with('s')
            && bare.trim_end_matches("ms").trim_end_matches('s').parse::<f64>().is_ok();
        let is_moment = bare.len() >= 20 && bare.ends_with('Z') && digits > 10;
        let is_run =
            bare.len() == 13 && bare.chars().all(|c| c.is_ascii_alphanumeric()) && digits > 0;
        let mark = match (is_time, is_moment, is_run) {
            (true, ..) => "[time]",
            (_, true, _) => "[moment]",
            (.., true) => "[run]",
            _ => return piece.to_owned(),
        };
        piece.replacen(bare, mark, 1)
    });
    // Columns move with what was replaced.
    let lines = words.collect::<String>();
    let squeezed = lines.lines().map(|line| {
        let indent = line.len() - line.trim_start().len();
        let words: Vec<&str> = line.split_whitespace().collect();
        format!("{}{}", &line[..indent], words.join(" "))
    });
    without_ports(&squeezed.collect::<Vec<_>>().join("\n"))
}

#[tokio::test]
async fn run_shows_progress_and_prints_the_result() {
    let directory = with_flow(&greeting());
    let arguments = ["run", "flow.json", "--input", "name=Ada", "-i", "how are you?"];
    let ended = run(directory.path(), &arguments).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.stdout, "\"Hello Ada, how are you?!\"\n");
    assert!(!ended.stderr.contains('\x1b'), "{:?}", ended.stderr);
    // Steps side by side may end in either order.
    let said = still(&ended.stderr);
    let mut lines: Vec<&str> = said.lines().collect();
    let last = lines.pop().unwrap();
    lines.sort_unstable();
    assert_snapshot!(lines.join("\n"), @r#"
    - left aborted: USID usid-left not in selection selection_c
    ✓ choice [time]
    ✓ hello [time]
    ✓ last [time]
    "#);
    assert_eq!(last, "Completed in [time]: 3 completed, 1 aborted run [run]");
}

#[tokio::test]
async fn run_reads_standard_input_and_answers_in_json() {
    let directory = TempDir::new().unwrap();
    let body = greeting().to_string();
    let ended = run_with(directory.path(), &["run", "-", "--json"], &[], &body).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let reply: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_json_snapshot!(steady(&reply), @r#"
    {
      "success": true,
      "workflow_id": "flow",
      "namespace": "default",
      "execution_time": "[seconds]",
      "steps_completed": 3,
      "steps_aborted": 1,
      "final_result": "Hello {{input_data.name}}, null!",
      "all_outputs": {
        "original_input": null,
        "input_data": {},
        "selection_c": [],
        "hello_out": "Hello {{input_data.name}}, null",
        "result": "Hello {{input_data.name}}, null!"
      },
      "execution_id": "[run]",
      "warnings": [
        "hello: `input_data.name` does not exist; the placeholder stays as it is written (in `body.hello_out`, bytes 8..23)"
      ]
    }
    "#);
}

#[tokio::test]
async fn a_failed_run_is_explained_and_ends_with_one() {
    let directory = with_flow(&pipeline(&[
        step("fine", "/echo", &[]),
        step("bad", "http://127.0.0.1:9/", &["fine_out"]),
    ]));
    let ended = run(directory.path(), &["run", "flow.json"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert_snapshot!(still(&ended.stderr), @r#"
    ✓ fine [time]
    ✗ bad [time]
      cannot connect to 127.0.0.1:[port]: connection refused
      hint: check the address, and that the service is running
    Failed in [time]: 1 completed, 1 failed run [run]
    "#);
    let ended = run(directory.path(), &["run", "flow.json", "--json"]).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), ""));
    let reply: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(reply["success"], false);
}

#[tokio::test]
async fn a_definition_with_problems_ends_with_three() {
    let directory = with_flow(&json!({ "STEPS_CONFIG": [
        { "step_name": "a", "usid": "x", "service_url": "/echo", "method": "GET", "outputs": ["o"] },
        { "step_name": "b", "usid": "x", "service_url": "/{{ 1 + }}", "method": "BREW",
          "outputs": ["p"], "dependencies": ["oo"] },
    ] }));
    for command in ["run", "validate", "graph"] {
        let ended = run(directory.path(), &[command, "flow.json"]).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""), "{command}");
        if command == "validate" {
            assert_snapshot!(ended.stderr, @r#"
            error: the definition has 4 problems
              - Duplicate USID: x
              - Step 2 (b): Invalid HTTP method: BREW
              - Step 2 (b): Unknown dependency: oo (did you mean o?)
              - Step 2 (b): a value is missing here (in `url`, bytes 8..8)
            "#);
        }
    }
    let ended = run(directory.path(), &["validate", "flow.json", "--json"]).await;
    assert_eq!(ended.code, Some(3));
    let verdict: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_json_snapshot!(verdict, @r#"
    {
      "valid": false,
      "errors": [
        "Duplicate USID: x",
        "Step 2 (b): Invalid HTTP method: BREW",
        "Step 2 (b): Unknown dependency: oo (did you mean o?)",
        "Step 2 (b): a value is missing here (in `url`, bytes 8..8)"
      ],
      "warnings": []
    }
    "#);
    let ended = run(directory.path(), &["run", "flow.json", "--json"]).await;
    let reply: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(reply["validation_errors"], verdict["errors"]);
}

#[tokio::test]
async fn a_file_that_is_no_pipeline_is_a_problem_of_the_definition() {
    let directory = TempDir::new().unwrap();
    for (text, says) in [
        ("", "The body is empty"),
        ("[1]", "it is an array"),
        ("{\"STEPS_CONFIG\": [", "is not valid JSON"),
        ("{}", "Missing STEPS_CONFIG"),
    ] {
        for command in ["run", "validate", "graph"] {
            let ended = run_with(directory.path(), &[command, "-"], &[], text).await;
            assert_eq!(ended.code, Some(3), "{command} {text:?}: {}", ended.stderr);
            assert!(ended.stderr.contains(says), "{command} {text:?}: {}", ended.stderr);
            assert!(!ended.stderr.contains("Content-Type"), "{}", ended.stderr);
        }
        let ended = run_with(directory.path(), &["validate", "-", "--json"], &[], text).await;
        let verdict: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(verdict["valid"], false);
        assert!(verdict["errors"][0].as_str().unwrap().contains(says), "{verdict}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_or_used_ends_with_four_and_usage_with_two() {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("file"), "").unwrap();
    std::fs::write(directory.path().join("latin1"), b"{\"a\":\"\xe9\"}").unwrap();
    for (arguments, code, says) in [
        (&["run", "none.json"][..], 4, "none.json cannot be read"),
        (&["run", "latin1"], 4, "latin1 cannot be read"),
        (&["validate", "none.json"], 4, "none.json cannot be read"),
        (&["runs", "list"], 4, "there is no data in"),
        (&["runs", "show", "0000000000000"], 4, "there is no data in"),
        (&["runs", "list", "--status", "odd"], 2, "running, completed, failed, cancelled"),
        (&["serve", "--port", "99999"], 2, "--port"),
        (&["brew"], 2, "unrecognized subcommand"),
        (&["run"], 2, "required"),
    ] {
        let ended = run(directory.path(), arguments).await;
        assert_eq!(ended.code, Some(code), "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(says), "{arguments:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn an_environment_that_is_no_unicode_is_no_obstacle() {
    use std::os::unix::ffi::OsStrExt;
    let directory = with_flow(&greeting());
    let mut command = program(directory.path());
    command.args(["validate", "flow.json"]).env("NAME", std::ffi::OsStr::from_bytes(b"\xff"));
    let output = command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn validate_and_graph_describe_a_pipeline() {
    let directory = with_flow(&greeting());
    let ended = run(directory.path(), &["validate", "flow.json"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""));
    assert_eq!(ended.stderr, "✓ 4 steps, no problems\n");
    let ended = run(directory.path(), &["graph", "flow.json"]).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert_snapshot!(ended.stdout, @r#"
    flowchart TD
      n0["choice"]
      n1["hello"]
      n2["left"]
      n3["last"]
      n0 -.->|"selection_c"| n2
      n1 -->|"hello_out"| n3
    "#);
    let mut one = pipeline(&[step("one", "/echo", &[])]);
    one["PIPELINE_SETTINGS"]["colour"] = json!("red");
    let ended = run_with(directory.path(), &["validate", "-"], &[], &one.to_string()).await;
    assert_snapshot!(ended.stderr, @r#"
    warning: PIPELINE_SETTINGS.colour has no effect: no such setting
    ✓ 1 step, no problems
    "#);
    assert!(!directory.path().join("waystation.db").exists());
}

fn chain() -> Value {
    json!({ "context": "It is fast.", "provider": "echo", "instructions": [
        { "instruction": "Look.", "condition": { "mode": "deterministic",
            "expression": "result contains 'fast'", "ifTrue": [2], "ifFalse": [1] } },
        "Blame it.",
        "Praise it.",
    ] })
}

#[tokio::test]
async fn a_chain_runs_here_and_beside_a_server() {
    let server = Server::start().await;
    let directory = with_flow(&chain());
    for data in [directory.path(), server.data()] {
        std::fs::write(data.join("flow.json"), chain().to_string()).unwrap();
        let ended = run(data, &["run", "flow.json", "--input", "Is it fast?"]).await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(ended.stdout, "Praise it.\n\nLook.\n\nIs it fast?\n");
        allow_duplicates! {
            assert_snapshot!(still(&ended.stderr), @"
        ✓ 1 Look. [time], 10 tokens
          Look. Is it fast?
        ✓ 2 Praise it. [time], 16 tokens
          Praise it. Look. Is it fast?
        Completed in [time]: 2 steps, 26 tokens run [run]
        ");
        }
        let id = ended.stderr.trim_end().rsplit(' ').next().unwrap_or_default();
        let shown = run(data, &["runs", "show", id]).await.stdout;
        assert!(shown.contains("  2 Praise it.\n"), "{shown}");
        assert!(shown.ends_with("\nRESULT\nPraise it.\n\nLook.\n\nIs it fast?\n"), "{shown}");
        let ended = run(data, &["run", "flow.json", "--json", "-i", "It is slow."]).await;
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        let reply: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(reply["status"]["status"], "complete");
        assert_eq!(reply["status"]["output"]["steps"][1]["instruction"], "Blame it.");
        assert_eq!(reply["usage"]["calls"], 2);
    }
    assert_eq!(server.get("/runs").await.1["runs"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_chain_that_fails_or_has_problems_is_explained() {
    let server = Server::start().await;
    let directory = TempDir::new().unwrap();
    for data in [directory.path(), server.data()] {
        let flow = json!({ "context": "x", "instructions": ["Look."] }).to_string();
        let ended = run_with(data, &["run", "-"], &[], &flow).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
        allow_duplicates! {
            assert_snapshot!(still(&ended.stderr), @r#"
        ✗ 1 Look. [time]
          Missing OPENAI_API_KEY
          hint: set it in the environment or with `waystation secret set`; provider "echo" needs none
        Failed in [time]: 1 step run [run]
        "#);
        }
        let flow = json!({ "context": "x", "provider": "echoo", "instructions": [{}] }).to_string();
        let ended = run_with(data, &["run", "-"], &[], &flow).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""));
        allow_duplicates! {
            assert_snapshot!(still(&ended.stderr), @"
        error: the definition has 2 problems
          - Unknown provider: echoo (did you mean echo?)
          - Instruction 0: Missing required field: instruction
        ");
        }
        let ended = run_with(data, &["run", "-", "-i", "a", "-i", "b"], &[], &flow).await;
        assert!(ended.stderr.contains("give --input once"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn validate_and_graph_describe_a_chain() {
    let directory = with_flow(&chain());
    let ended = run(directory.path(), &["validate", "flow.json"]).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), "✓ 3 steps, no problems\n"));
    let ended = run(directory.path(), &["graph", "flow.json"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_snapshot!(ended.stdout, @r#"
    flowchart TD
      n0["0: Look."]
      c0{"result contains 'fast'"}
      n1["1: Blame it."]
      n2["2: Praise it."]
      n0 --> c0
      c0 -->|true| n2
      c0 -->|false| n1
    "#);
    for command in ["run", "validate", "graph"] {
        let arguments = [command, "flow.json", "--format", "pipeline"];
        let ended = run(directory.path(), &arguments).await;
        assert_eq!(ended.code, Some(3), "{command}: {}", ended.stderr);
        assert!(ended.stderr.contains("STEPS_CONFIG"), "{command}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn models_are_listed_with_where_their_keys_are_and_tried() {
    let server = Server::start().await;
    let directory = TempDir::new().unwrap();
    run_with(server.data(), &["secret", "set", "GEMINI_API_KEY"], &[], "sk-in-vault").await;
    let settings = [
        ("OPENAI_API_KEY", "sk-in-environment"),
        ("WAYSTATION_MODEL_LIMITS", "openai concurrency=3 requests=500"),
    ];
    for (data, gemini) in [(directory.path(), "missing"), (server.data(), "secret")] {
        let list = run_with(data, &["models", "--json"], &settings, "").await;
        assert_eq!(list.code, Some(0), "{}", list.stderr);
        let text = run_with(data, &["models"], &settings, "").await.stdout;
        assert!(!list.stdout.contains("sk-") && !text.contains("sk-"), "{text}");
        let list: Value = serde_json::from_str(&list.stdout).unwrap();
        let find = |name: &str| {
            let mut list = list.as_array().unwrap().iter();
            list.find(|one| one["provider"] == name).unwrap().clone()
        };
        assert_eq!(find("gemini")["key"]["state"], gemini);
        allow_duplicates! {
            assert_json_snapshot!([find("openai"), find("echo")], @r#"
        [
          {
            "provider": "openai",
            "label": "OpenAI",
            "address": "https://api.openai.com/v1",
            "default_model": "gpt-5-nano",
            "key": {
              "state": "environment",
              "name": "OPENAI_API_KEY"
            },
            "limits": {
              "concurrency": 3,
              "requests_per_minute": 500,
              "tokens_per_minute": null
            }
          },
          {
            "provider": "echo",
            "label": "Echo",
            "address": null,
            "default_model": "echo",
            "key": {
              "state": "not_needed",
              "name": null
            },
            "limits": {
              "concurrency": 64,
              "requests_per_minute": null,
              "tokens_per_minute": null
            }
          }
        ]
        "#);
        }
        assert!(text.contains("environment OPENAI_API_KEY"), "{text}");
        let tried = run(data, &["models", "--test", "echo", "--json"]).await;
        let tried: Value = serde_json::from_str(&tried.stdout).unwrap();
        assert_eq!((&tried[0]["ok"], &tried[0]["model"]), (&json!(true), &json!("echo")));
        let tried = run(data, &["models", "--test", "openai"]).await;
        assert_eq!(tried.code, Some(1));
        assert!(tried.stderr.contains("Missing OPENAI_API_KEY"), "{}", tried.stderr);
    }
}
