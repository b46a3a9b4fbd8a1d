//! What is seen of a node and by the services around it, as values to compare.

use chrono::{DateTime, SubsecRound};
use serde_json::{Map, Value, json};

use super::scene::NODE;
use crate::support::graph::state;
use crate::support::mail::Letter;
use crate::support::target::Received;

/// What is seen of a duration: whether it is as long as this, in milliseconds.
const LONG_MS: u64 = 2_000;

/// No row makes a node wait as many seconds as this, but for one that says until when.
const LATER_SECONDS: f64 = 1_000_000.0;

/// What was wrong with a definition.
pub(super) fn problems(refusal: &Value) -> Vec<Value> {
    let problems = refusal["detail"].as_array().into_iter().flatten();
    problems.map(|problem| problem["msg"].clone()).collect()
}

/// Adds a list that is not empty.
pub(super) fn put(seen: &mut Value, name: &str, list: Vec<Value>) {
    if !list.is_empty() {
        seen[name] = list.into();
    }
}

/// Adds what a job tells of the node, and of those around it.
pub(super) fn describe(job: &Value, is_timed: bool, seen: &mut Value) {
    let told = &job["node_results"][NODE];
    for name in ["status", "output", "error", "attempts", "port", "details"] {
        if !told[name].is_null() {
            seen[name] = told[name].clone();
        }
    }
    let moment =
        |name: &str| told[name].as_str().map(|text| DateTime::parse_from_rfc3339(text).unwrap());
    if let Some((from, to)) = moment("started_at").zip(moment("waits_until")) {
        // The time is read again for the wait: some milliseconds later, or earlier, as clocks are kept
        // right. A moment that is given is told as it is.
        let seconds = (to - from).as_seconds_f64().round();
        seen["waits"] = match seconds < LATER_SECONDS {
            true => format!("{seconds} s").into(),
            false => format!("until {}", to.round_subsecs(0).format("%Y-%m-%d %H:%M:%S")).into(),
        };
    }
    if is_timed && told["duration_ms"].as_u64().is_some_and(|ms| ms >= LONG_MS) {
        seen["lasts"] = format!("{} s or longer", LONG_MS / 1_000).into();
    }
    let others = job["node_results"].as_object().unwrap().keys().filter(|id| *id != NODE);
    let others: Map<String, Value> = others.map(|id| (id.clone(), state(job, id).into())).collect();
    if others.len() > 1 {
        seen["others"] = others.into();
    }
}

/// A request as the service saw it.
pub(super) fn request(received: &Received) -> Value {
    let mut seen = json!({ "line": format!("{} {}", received.method, received.path) });
    if !received.query.is_empty() {
        seen["query"] = received.query.clone().into();
    }
    for (name, value) in &received.headers {
        seen[name.as_str()] = value.to_str().unwrap().into();
    }
    if !received.body.is_empty() {
        let text = || received.body.clone().into();
        seen["body"] = serde_json::from_str(&received.body).unwrap_or_else(|_| text());
    }
    seen
}

/// A letter as a mail server saw it.
pub(super) fn letter(host: &str, letter: &Letter) -> Value {
    let head = letter.lines.split(|line| line.is_empty()).next().unwrap_or_default();
    let mut text = letter.lines[head.len()..].join("\n");
    let mut seen = json!({
        "at": host, "login": letter.login, "envelope": letter.envelope,
    });
    for line in head {
        if let Some((name, value)) = line.split_once(": ").filter(|(name, _)| *name != "Message-ID")
        {
            seen[name.to_lowercase()] = value.into();
        }
    }
    let boundaries = letter.lines.iter().filter_map(|line| line.split_once("boundary=\""));
    for (_, boundary) in boundaries {
        text = text.replace(boundary.trim_end_matches('"'), "boundary");
    }
    seen["text"] = text.into();
    seen
}

/// The words of a page, without its head.
pub(super) fn words(page: &str) -> Value {
    let (_, body) = page.split_once("<p>").unwrap();
    let mut words = String::new();
    let mut is_tag = false;
    for letter in body.chars() {
        match letter {
            '<' => is_tag = true,
            '>' => {
                is_tag = false;
                words.push(' ');
            }
            letter if !is_tag => words.push(letter),
            _ => {}
        }
    }
    words.split_whitespace().collect::<Vec<_>>().join(" ").into()
}
