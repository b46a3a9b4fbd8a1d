//! The programs of `testdata/code` and what becomes of them.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use waystation_core::entry::Level;

use crate::support::{Ended, Nodes, PATIENCE, SHORT};

/// One program of a file.
struct Case {
    name: String,
    input: String,
    code: String,
    expected: String,
}

fn path(file: &str) -> PathBuf {
    PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap())
        .join("../../testdata/code")
        .join(file)
}

/// The text before the first case, and the cases.
fn read(file: &str) -> (String, Vec<Case>) {
    let text = fs::read_to_string(path(file)).expect("a file of cases");
    let mut parts = text.split("\n=== ");
    let head = parts.next().unwrap_or_default().to_owned();
    let case = |part: &str| {
        let (name, rest) = part.split_once('\n').expect("a name");
        let pieces: Vec<&str> = rest.split("\n---\n").collect();
        let [input, code, expected] = pieces[..] else { panic!("{name}: three pieces") };
        let [name, input, code] = [name, input, code].map(str::to_owned);
        Case { name, input, code, expected: expected.trim_end().to_owned() }
    };
    (head, parts.map(case).collect())
}

fn write(file: &str, head: &str, cases: &[Case]) {
    let mut text = head.to_owned();
    for Case { name, input, code, expected } in cases {
        write!(text, "\n=== {name}\n{input}\n---\n{code}\n---\n{expected}\n").expect("memory");
    }
    fs::write(path(file), text).expect("a file of cases");
}

async fn run(nodes: &Nodes, language: &str, case: &Case, limit: Duration) -> Ended {
    let parentheses = format!("{}1{}", "(".repeat(100_000), ")".repeat(100_000));
    let code = case.code.replace("PARENS", &parentheses);
    let input: Value = serde_json::from_str(&case.input).expect("JSON");
    nodes.run(language, &code, input, limit).await
}

/// What came, in the words of a case.
fn told(ended: &Ended) -> String {
    let mut text = String::new();
    for (level, line) in &ended.log {
        let mark = if *level == Level::Info { "" } else { "(warning) " };
        writeln!(text, "> {mark}{line}").expect("memory");
    }
    match &ended.outcome {
        Ok(output) => text + &output.to_string(),
        Err(failure) => text + &format!("! {}: {}", failure.code.as_str(), failure.message),
    }
}

/// Every program comes to what is written down.
async fn works(language: &str, file: &str) {
    let nodes = Nodes::new();
    let (head, mut cases) = read(file);
    let is_blessed = std::env::var_os("WAYSTATION_BLESS").is_some();
    let mut wrong = String::new();
    for case in &mut cases {
        let told = told(&run(&nodes, language, case, PATIENCE).await);
        if told != case.expected {
            let Case { name, expected, .. } = &case;
            writeln!(wrong, "{name}\n  expected {expected}\n  got      {told}").expect("memory");
            case.expected = told;
        }
    }
    if is_blessed {
        return write(file, &head, &cases);
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Every program is contained, and a good one works after it.
async fn is_contained(language: &str, file: &str, good: (&str, Value)) {
    let nodes = Nodes::new();
    let (head, mut cases) = read(file);
    let is_blessed = std::env::var_os("WAYSTATION_BLESS").is_some();
    let mut wrong = String::new();
    for case in &mut cases {
        let ended = run(&nodes, language, case, SHORT).await;
        let what = match &ended.outcome {
            Ok(output) => output.to_string().chars().take(60).collect(),
            Err(failure) => format!("! {}", failure.code.as_str()),
        };
        // On a machine that is busy, any program may run out of time first.
        if what != case.expected && what != "! timeout" {
            let Case { name, expected, .. } = &case;
            writeln!(wrong, "{name}\n  expected {expected}\n  got      {}", told(&ended))
                .expect("memory");
            case.expected = what;
        }
        let after = nodes.run(language, good.0, good.1.clone(), PATIENCE).await;
        assert_eq!(after.outcome, Ok(json!(42)), "after {}", case.name);
    }
    if is_blessed {
        return write(file, &head, &cases);
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn python_programs_work() {
    works("python", "python.txt").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_programs_work() {
    works("javascript", "javascript.txt").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jq_expressions_work() {
    works("jq", "jq.txt").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_python_is_contained() {
    let good = ("def process(x):\n    return x * 2", json!({ "x": 21 }));
    is_contained("python", "hostile-python.txt", good).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_javascript_is_contained() {
    let good = ("function process({ x }) { return x * 2; }", json!({ "x": 21 }));
    is_contained("javascript", "hostile-javascript.txt", good).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_jq_is_contained() {
    is_contained("jq", "hostile-jq.txt", (". * 2", json!(21))).await;
}
