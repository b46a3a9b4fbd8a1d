//! Whether ledger, journals and replies agree. Everything found is a sentence; none is what is wanted.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use waystation_core::dialect::pipeline::notify::Notifier;
use waystation_core::dialect::pipeline::reply;
use waystation_core::entry::Outcome;
use waystation_core::error::Code;
use waystation_engine::store::Status;

use crate::durable::{Durable, Journal};
use crate::ledger::{Book, Call, Notice};

/// What clients were told.
#[derive(Default)]
pub(crate) struct Promises {
    /// Runs that were acknowledged, with the reply where it was waited for.
    pub(crate) acknowledged: BTreeMap<String, Option<Value>>,
}

/// The place in the ledger at which a step was found recorded: nothing calls it from there on.
pub(crate) type Closed = HashMap<(String, String), usize>;

/// What must hold right after a kill: nothing that was acknowledged is lost.
pub(crate) fn after_kill(durable: &Durable, promises: &Promises) -> Vec<String> {
    let lost = promises.acknowledged.iter().filter_map(|(run, reply)| {
        match (durable.journal(run), reply) {
            (None, _) => Some(format!("run {run} was acknowledged and is lost")),
            (Some(journal), Some(_)) if journal.status == Status::Running => {
                Some(format!("run {run} was answered and is not finished"))
            }
            _ => None,
        }
    });
    lost.collect()
}

/// Every call was recorded as begun before it was made.
fn effects(durable: &Durable, book: &Book) -> impl Iterator<Item = String> {
    by_step(book).into_iter().filter_map(|((run, step), calls)| {
        let Some(journal) = durable.journal(run) else {
            return Some(format!("run {run} called {step} and does not exist"));
        };
        let begun = journal.begun(step);
        (calls.len() > begun)
            .then(|| format!("run {run} called {step} {} times, recorded {begun}", calls.len()))
    })
}

/// What must hold once everything has come to rest.
pub(crate) fn at_rest(
    durable: &Durable,
    book: &Book,
    promises: &Promises,
    closed: &Closed,
) -> Vec<String> {
    let mut found = after_kill(durable, promises);
    found.extend(effects(durable, book));
    for (run, journal) in &durable.runs {
        let run = run.to_string();
        found.extend(ending(&run, journal));
        found.extend(results(&run, journal, book));
    }
    for ((run, step), calls) in by_step(book) {
        found.extend(keys(run, step, &calls));
    }
    for ((run, step), place) in closed {
        let late = book.places_of(run, step).iter().filter(|call| *call >= place).count();
        if late > 0 {
            found
                .push(format!("run {run} called {step} {late} times after its result was durable"));
        }
    }
    found.extend(replies(durable, promises));
    found.extend(notices(durable, book));
    found
}

fn by_step(book: &Book) -> BTreeMap<(&str, &str), Vec<&Call>> {
    let mut steps: BTreeMap<(&str, &str), Vec<&Call>> = BTreeMap::new();
    for call in &book.calls {
        steps.entry((&call.run, &call.step)).or_default().push(call);
    }
    steps
}

fn keys(run: &str, step: &str, calls: &[&Call]) -> Option<String> {
    let expected = format!("{run}:{step}");
    let other = calls.iter().find(|call| call.key.as_deref() != Some(&expected))?;
    Some(format!("run {run} called {step} with the key {:?}", other.key))
}

/// Every run ends, and for no other reason than what the ledger did to it.
fn ending(run: &str, journal: &Journal) -> Option<String> {
    match journal.run().outcome {
        Some(Outcome::Completed) => None,
        Some(Outcome::Failed { failure, .. })
            if matches!(failure.code, Code::HttpStatus | Code::Interrupted) =>
        {
            None
        }
        other => Some(format!("run {run} ended as {other:?}")),
    }
}

/// A recorded result is what one of the step's calls was given, and what later steps saw.
fn results(run: &str, journal: &Journal, book: &Book) -> Vec<String> {
    let state = journal.run();
    let mut found = Vec::new();
    for (index, node) in state.program.plan.nodes.iter().enumerate() {
        let Some(output) = &state.nodes[index].output else { continue };
        let calls = book.calls_of(run, &node.id);
        let made =
            |call: &&Call| call.given.as_ref() == node.outputs.first().map(|name| &output[name]);
        if node.kind == "http" && !calls.iter().any(made) {
            found.push(format!("run {run}: nobody gave {} the result {output}", node.id));
        }
        let source = node.config["body"]["before"].as_str().unwrap_or_default();
        let source = source.trim_matches(['{', '}']);
        let expected = state.named_output(source).cloned().unwrap_or_else(|| "".into());
        if calls.iter().any(|call| call.before != expected) {
            found.push(format!("run {run}: {} was told another result than recorded", node.id));
        }
    }
    found
}

/// A reply that was given is the one that is stored.
fn replies(durable: &Durable, promises: &Promises) -> Vec<String> {
    let stored = |run: &str| Some(reply::render(&durable.journal(run)?.run(), run));
    let given =
        promises.acknowledged.iter().filter_map(|(run, reply)| Some((run, reply.as_ref()?)));
    let other = given.filter(|(run, reply)| stored(run).as_ref() != Some(reply));
    other.map(|(run, reply)| format!("run {run} was answered {reply}")).collect()
}

/// Each run with a receiver has told it everything, in order, and never two things as one.
fn notices(durable: &Durable, book: &Book) -> Vec<String> {
    let mut arrived: HashMap<&str, Vec<&Notice>> = HashMap::new();
    for notice in &book.notices {
        arrived.entry(&notice.run).or_default().push(notice);
    }
    let mut found = Vec::new();
    for (run, journal) in &durable.runs {
        let run = run.to_string();
        let arrived = arrived.remove(run.as_str()).unwrap_or_default();
        if journal.program.plan.webhook_url.is_some() {
            found.extend(story(&run, journal, &arrived));
        }
    }
    found.extend(arrived.keys().map(|run| format!("a notification of the unknown run {run}")));
    found
}

fn story(run: &str, journal: &Journal, arrived: &[&Notice]) -> Option<String> {
    let mut notifier = Notifier::new(journal.program.clone(), run);
    let expected: Vec<Value> =
        journal.entries.iter().flat_map(|entry| notifier.fold(entry)).collect();
    let mut first: Vec<&Notice> = Vec::new();
    for notice in arrived {
        match first.iter().find(|known| known.id == notice.id) {
            Some(known) if known.body == notice.body => {}
            Some(_) => return Some(format!("run {run}: {} was told in two ways", notice.id)),
            None => first.push(notice),
        }
    }
    if !first.iter().map(|notice| &notice.body).eq(&expected) {
        let told: Vec<&Value> = first.iter().map(|notice| &notice.body["event"]).collect();
        return Some(format!("run {run} told {told:?} of {} notifications", expected.len()));
    }
    let taken = |wanted: &&&Notice| arrived.iter().any(|one| one.taken && one.id == wanted.id);
    let refused = first.iter().find(|notice| !taken(notice))?;
    Some(format!("run {run}: {} was never taken", refused.id))
}
