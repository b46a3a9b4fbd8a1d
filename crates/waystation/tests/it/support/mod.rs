//! What all tests share: the program, services for it to call, and patience.

pub(crate) mod command;
pub(crate) mod graph;
pub(crate) mod mail;
pub(crate) mod server;
pub(crate) mod target;

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long anything may take that has to happen sooner or later.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Below the range from which systems give ports to outgoing connections: nobody takes one of these
/// while nothing listens there.
const PORTS: std::ops::Range<u16> = 10_000..20_000;

/// A port that nobody listens on, another one each time.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let span = PORTS.end - PORTS.start;
    // Far enough from those of another test process.
    let first = (u64::from(std::process::id()) * 97 % u64::from(span)) as u16;
    loop {
        let port = PORTS.start + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % span;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Asks again and again until there is an answer.
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = probe().await {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A step that sends `{}` by POST and has one output, `{name}_out`.
pub(crate) fn step(name: &str, url: &str, dependencies: &[&str]) -> Value {
    json!({
        "step_name": name,
        "usid": format!("usid-{name}"),
        "service_url": url,
        "method": "POST",
        "outputs": [format!("{name}_out")],
        "dependencies": dependencies,
    })
}

/// A pipeline that does not retry.
pub(crate) fn pipeline(steps: &[Value]) -> Value {
    json!({
        "workflow_id": "flow",
        "STEPS_CONFIG": steps,
        "PIPELINE_SETTINGS": { "error_handling": { "max_retries": 0 } },
    })
}

/// A value with everything replaced that differs from run to run: ids, times, ports.
pub(crate) fn steady(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| {
                let value = match (name.as_str(), value) {
                    (_, Value::Null) => Value::Null,
                    ("execution_id" | "retry_of" | "result_id" | "instanceId", _) => "[run]".into(),
                    ("execution_time" | "execution_time_seconds" | "duration", _) => {
                        "[seconds]".into()
                    }
                    (
                        "timestamp" | "created_at" | "finished_at" | "started_at" | "updated_at"
                        | "next_attempt_at" | "processedAt" | "finalizedAt",
                        _,
                    ) => "[time]".into(),
                    ("plan", _) => "[hash]".into(),
                    _ => steady(value),
                };
                (name.clone(), value)
            };
            Value::Object(fields.iter().map(field).collect())
        }
        Value::Array(items) => items.iter().map(steady).collect(),
        Value::String(text) => without_ports(text).into(),
        other => other.clone(),
    }
}

/// A text with the ports of this machine's own addresses replaced.
pub(crate) fn without_ports(text: &str) -> String {
    let mut parts = text.split("127.0.0.1:");
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        result.push_str("127.0.0.1:[port]");
        result.push_str(part.trim_start_matches(|letter: char| letter.is_ascii_digit()));
    }
    result
}
