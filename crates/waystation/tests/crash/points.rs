//! A kill at a chosen point of one run.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::definition::{call, request};
use crate::durable::Durable;
use crate::ledger::{Ledger, Manner};
use crate::process::Server;

/// The steps of the run, in listing order: one, then two beside each other, then one, then one.
const STEPS: [&str; 5] = ["first", "left", "right", "join", "last"];

/// Where the process is killed.
enum Point {
    /// While these steps wait for an answer.
    Calling(&'static [&'static str]),
    /// While the second step waits for an answer and the result of the first is recorded.
    Recorded(&'static str, &'static str),
    /// As soon as the answer to this step is sent, recorded or not.
    Answered(&'static str),
    /// After the end.
    Ended,
}

/// What must have been recorded at a point.
struct Case {
    name: &'static str,
    point: Point,
    recorded: &'static [&'static str],
}

const CASES: [Case; 9] = [
    Case { name: "before the first answer", point: Point::Calling(&["first"]), recorded: &[] },
    Case { name: "after the first answer", point: Point::Answered("first"), recorded: &[] },
    Case {
        name: "beside each other",
        point: Point::Calling(&["left", "right"]),
        recorded: &["first"],
    },
    Case {
        name: "left recorded, right under way",
        point: Point::Recorded("left", "right"),
        recorded: &["first", "left"],
    },
    Case {
        name: "right recorded, left under way",
        point: Point::Recorded("right", "left"),
        recorded: &["first", "right"],
    },
    Case {
        name: "after the join",
        point: Point::Answered("join"),
        recorded: &["first", "left", "right"],
    },
    Case {
        name: "in the last step",
        point: Point::Calling(&["last"]),
        recorded: &["first", "left", "right", "join"],
    },
    Case {
        name: "after the last answer",
        point: Point::Answered("last"),
        recorded: &["first", "left", "right", "join"],
    },
    Case { name: "after the end", point: Point::Ended, recorded: &STEPS },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_goes_on_where_it_was_killed() {
    for case in CASES {
        check(&case).await;
    }
}

async fn check(case: &Case) {
    let ledger = Ledger::start(Manner::prompt()).await;
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    hold(&ledger, &case.point);
    let run = server.submit(&definition(&ledger.url)).await;
    reach(&server, &ledger, &run, &case.point).await;
    server.kill();

    let place = ledger.settled().await;
    let recorded = recorded(data.path(), &run).await;
    let missing = case.recorded.iter().find(|step| !recorded.contains(**step));
    assert_eq!(missing, None, "{}: recorded are {recorded:?}", case.name);

    let server = Server::start(data.path());
    let view = server.ended(&run).await;
    assert_eq!(view["status"], "completed", "{}: {view:#}", case.name);
    let book = ledger.book();
    for step in STEPS {
        let places = book.places_of(&run, step);
        let again = places.iter().any(|call| *call >= place);
        assert_eq!(again, !recorded.contains(step), "{}: {step} at {places:?}", case.name);
        for call in book.calls_of(&run, step) {
            assert_eq!(call.key, Some(format!("{run}:{step}")), "{}", case.name);
        }
        let result = &step_view(&view, step)["outputs"][format!("{step}_out")];
        let given = book.calls_of(&run, step).last().and_then(|call| call.given.clone());
        assert_eq!(Some(result), given.as_ref(), "{}: {step}", case.name);
    }
}

fn definition(url: &str) -> Value {
    let steps = [
        call(url, "first", &[]),
        call(url, "left", &["first"]),
        call(url, "right", &["first"]),
        call(url, "join", &["left", "right"]),
        call(url, "last", &["join"]),
    ];
    request(&steps, None)
}

fn hold(ledger: &Ledger, point: &Point) {
    match point {
        Point::Calling(steps) => steps.iter().for_each(|step| ledger.hold(step)),
        Point::Recorded(_, step) => ledger.hold(step),
        Point::Answered(_) | Point::Ended => {}
    }
}

async fn reach(server: &Server, ledger: &Ledger, run: &str, point: &Point) {
    match point {
        Point::Calling(steps) => {
            ledger.until(|book| steps.iter().all(|step| book.has_called(step, 1))).await;
        }
        Point::Recorded(done, calling) => {
            let is_done = |view: &Value| step_view(view, done)["status"] == "completed";
            server.until(&format!("/runs/{run}"), is_done).await;
            ledger.until(|book| book.has_called(calling, 1)).await;
        }
        Point::Answered(step) => ledger.until(|book| book.has_answered(step)).await,
        Point::Ended => drop(server.ended(run).await),
    }
}

fn step_view<'a>(view: &'a Value, step: &str) -> &'a Value {
    let steps = view["steps"].as_array().expect("steps");
    steps.iter().find(|one| one["usid"] == step).expect("the step")
}

async fn recorded(data: &Path, run: &str) -> BTreeSet<String> {
    let mut durable = Durable::default();
    durable.read(data).await;
    assert_eq!(durable.violations, Vec::<String>::new());
    durable.journal(run).expect("the run").recorded().map(str::to_owned).collect()
}
