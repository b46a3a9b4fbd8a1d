//! The program itself as a sandbox worker.

use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::tempdir;
use waystation::app::SANDBOX_WORKER;
use waystation_engine::node::AttemptContext;
use waystation_engine::sandbox::python::Python;
use waystation_engine::sandbox::{Program, Reason, Sandbox, Stop, Tool, WorkerCommand};

use crate::support::command::program;

fn sandbox() -> Sandbox {
    let arguments = vec![SANDBOX_WORKER.into()];
    let worker = WorkerCommand { program: env!("CARGO_BIN_EXE_waystation").into(), arguments };
    Sandbox::new(worker, Python::new("nowhere".into()))
}

async fn run(sandbox: &Sandbox, tool: Tool, code: &str, input: Value) -> Result<Value, Stop> {
    let (memory_bytes, output_bytes) = (64 << 20, 1 << 20);
    let program = Program { code: code.into(), input, memory_bytes, output_bytes };
    sandbox.run(tool, &program, &AttemptContext::alone()).await
}

#[tokio::test]
async fn it_runs_programs_and_bounds_their_memory() {
    let sandbox = sandbox();
    let double = "function process({ x }) { return x * 2; }";
    for _ in 0..2 {
        let result = run(&sandbox, Tool::Javascript, double, json!({ "x": 21 })).await;
        assert_eq!(result, Ok(json!(42)));
        let result = run(&sandbox, Tool::Jq, ".x * 2", json!({ "x": 21 })).await;
        assert_eq!(result, Ok(json!(42)));
        for greedy in ["[range(100000000)]", "last(recurse(. + .))"] {
            let stop = run(&sandbox, Tool::Jq, greedy, json!("x")).await.expect_err("too much");
            assert_eq!(stop.reason, Reason::Memory, "{greedy}: {}", stop.message);
        }
    }
}

/// Not even the settings: they may hold keys.
#[test]
fn a_worker_reads_nothing_of_its_surroundings() {
    let data = tempdir().unwrap();
    let worker = Command::new(env!("CARGO_BIN_EXE_waystation"))
        .arg(SANDBOX_WORKER)
        .current_dir(data.path())
        .env("WAYSTATION_NONSENSE", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(worker.status.success() && worker.stdout.is_empty() && worker.stderr.is_empty());
    assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 0);
    let command = program(data.path()).arg("models").env("WAYSTATION_NONSENSE", "1").output();
    assert_eq!(command.unwrap().status.code(), Some(4), "any other command refuses the setting");
}
