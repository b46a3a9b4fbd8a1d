//! What a sandbox does under load and under attack, beyond single programs.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use waystation_core::error::{Class, Code};

use crate::support::{Nodes, PATIENCE};

const LOOPS: [(&str, &str); 3] = [
    ("python", "def process(x):\n    while True: pass"),
    ("javascript", "function process() { for (;;); }"),
    ("jq", "def f: f; f"),
];
const DOUBLES: [(&str, &str); 3] = [
    ("python", "def process(x):\n    return x * 2"),
    ("javascript", "function process({ x }) { return x * 2; }"),
    ("jq", ".x * 2"),
];

/// A program that does not end is stopped, and its place is free again soon: not after the seconds
/// that its node gave it.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_programs_without_end_leave_room_for_good_ones() {
    for ((language, endless), (_, double)) in LOOPS.into_iter().zip(DOUBLES) {
        let nodes = Nodes::new();
        let input = || json!({ "x": 21 });
        let hostile =
            (0..100).map(|_| nodes.run(language, endless, input(), Duration::from_millis(300)));
        for ended in join_all(hostile).await {
            assert_eq!(ended.outcome.expect_err("it has no end").code, Code::Timeout);
        }
        let after = nodes.run(language, double, input(), PATIENCE).await;
        assert_eq!(after.outcome, Ok(json!(42)), "{language}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_programs_than_places_all_have_their_turn() {
    let nodes = Nodes::new();
    for (language, double) in DOUBLES {
        let many = (0..40).map(|x| nodes.run(language, double, json!({ "x": x }), PATIENCE));
        for (x, ended) in join_all(many).await.into_iter().enumerate() {
            assert_eq!(ended.outcome, Ok(json!(2 * x)), "{language}");
        }
    }
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("pages") * 4_096
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_does_not_grow_with_the_number_of_programs() {
    let nodes = Nodes::new();
    let greedy = "def process(x):\n    a = []\n    while True: a.append('x' * 1000)";
    let (_, double) = DOUBLES[0];
    let round = async || {
        for _ in 0..10 {
            let failure = nodes.run("python", greedy, json!({ "x": 1 }), PATIENCE).await.outcome;
            assert_eq!(failure.expect_err("too much").code, Code::CodeMemory);
            let ended = nodes.run("python", double, json!({ "x": 21 }), PATIENCE).await;
            assert_eq!(ended.outcome, Ok(json!(42)));
        }
    };
    round().await;
    let before = resident();
    round().await;
    round().await;
    let grown = resident().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_as_much_as_the_node_says() {
    let nodes = Nodes::new();
    let python = "def process(x):\n    return len(bytearray(x << 20))";
    let javascript = "function process({ x }) { return new Uint8Array(x << 20).length; }";
    for (language, code) in [("python", python), ("javascript", javascript)] {
        for (memory, megabytes, expected) in [(64, 100, None), (256, 100, Some(100 << 20))] {
            let config = json!({
                "language": language, "code": code, "input_mapping": { "x": megabytes },
                "memory_mb": memory,
            });
            let outcome = nodes.attempt("code", config, PATIENCE).await.outcome;
            match expected {
                Some(length) => assert_eq!(outcome, Ok(json!(length)), "{language}"),
                None => {
                    let failure = outcome.expect_err("too much");
                    assert_eq!(failure.code, Code::CodeMemory, "{language}: {}", failure.message);
                    assert_eq!(failure.message, "The code used more than its 64 MB of memory");
                    assert_eq!(failure.class, Class::Fatal);
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_memory_is_enough_for_a_small_program() {
    let nodes = Nodes::new();
    for (language, code) in &DOUBLES[..2] {
        let input = json!({ "x": 21 });
        let config = json!({
            "language": language, "code": code, "input_mapping": input, "memory_mb": 32,
        });
        let outcome = nodes.attempt("code", config, PATIENCE).await.outcome;
        assert_eq!(outcome, Ok(json!(42)), "{language}");
    }
}

/// An interpreter that is broken has no more rights than its process.
#[test]
fn what_a_worker_may_not_ends_it() {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    const SIGSYS: i32 = 31;
    for what in ["open", "write", "list", "connect", "send", "start", "thread"] {
        let worker = env!("CARGO_BIN_EXE_sandbox-worker");
        // Its input stays open: it ends by itself.
        let mut worker =
            Command::new(worker).arg(what).stdin(Stdio::piped()).spawn().expect("a worker");
        let input = worker.stdin.take();
        assert_eq!(worker.wait().expect("an end").signal(), Some(SIGSYS), "{what}");
        drop(input);
    }
    assert!(!std::path::Path::new("/tmp/waystation-escaped").exists());
}

/// What a program printed before it was stopped is kept.
#[tokio::test(flavor = "multi_thread")]
async fn the_lines_of_a_program_that_was_stopped_are_kept() {
    let nodes = Nodes::new();
    for (language, code) in [
        ("python", "def process(x):\n    print('begun')\n    while True: pass"),
        ("javascript", "function process() { console.log('begun'); for (;;); }"),
    ] {
        // The first one of a language may take a while to begin.
        let _ = nodes
            .run(
                language,
                DOUBLES.iter().find(|(name, _)| *name == language).expect("one").1,
                json!({ "x": 1 }),
                PATIENCE,
            )
            .await;
        let ended = nodes.run(language, code, json!({ "x": 1 }), Duration::from_secs(5)).await;
        assert_eq!(ended.outcome.expect_err("it has no end").code, Code::Timeout);
        assert_eq!(ended.log[0].1, "begun", "{language}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_prints_is_bounded() {
    let nodes = Nodes::new();
    for (language, code) in [
        ("python", "def process(x):\n    for i in range(5000): print('line', i)"),
        (
            "javascript",
            "function process() { for (let i = 0; i < 5000; i++) console.log('line', i); }",
        ),
        ("python", "def process(x):\n    for i in range(100): print('x' * 100000)"),
        (
            "javascript",
            "function process() { for (let i = 0; i < 100; i++) console.log('x'.repeat(100000)); }",
        ),
    ] {
        let ended = nodes.run(language, code, json!({ "x": 1 }), PATIENCE).await;
        assert_eq!(ended.outcome, Ok(Value::Null), "{language}");
        let bytes: usize = ended.log.iter().map(|(_, line)| line.len()).sum();
        assert!(ended.log.len() <= 1_000 && bytes <= (64 << 10) + 100, "{language}: {bytes} bytes");
        assert_eq!(
            ended.log.last().expect("lines").1,
            "the program printed more, which is not kept"
        );
    }
}

/// The threads of the server stay free while programs compute.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn others_get_their_turn_while_programs_compute() {
    let nodes = Nodes::new();
    let endless = nodes.run("python", LOOPS[0].1, json!({ "x": 1 }), Duration::from_secs(1));
    let others = async {
        let mut turns = 0;
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(500) {
            tokio::task::yield_now().await;
            turns += 1;
        }
        turns
    };
    let (ended, turns) = tokio::join!(endless, others);
    assert_eq!(ended.outcome.expect_err("it has no end").code, Code::Timeout);
    assert!(turns > 1_000, "{turns} turns");
}
