//! The spans of a run, out of its journal: the run, in it its nodes, in each its attempts.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{SpanContext, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, SpanId, TraceId};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use waystation_core::entry::{Entry, Fact, Outcome, Start};
use waystation_core::plan::NodeIndex;
use waystation_core::program::Program;

use super::TraceParent;
use crate::id::RunId;

/// Spans of one run, at the most: those of the nodes that come first.
const SPANS_MAX: usize = 10_000;

/// A node on its way.
struct Open {
    began: u64,
    attempt_began: BTreeMap<u32, u64>,
}

/// Folds a journal to spans.
struct Fold<'r> {
    run: RunId,
    program: &'r Program,
    root: TraceParent,
    open: BTreeMap<NodeIndex, Open>,
    spans: Vec<SpanData>,
}

/// All spans of a run that has ended.
pub(super) fn of(run: RunId, program: &Program, entries: &[Entry]) -> Vec<SpanData> {
    let Some(Fact::RunStarted(start)) = entries.first().map(|entry| &entry.fact) else {
        return Vec::new();
    };
    let root = TraceParent::of_run(run, start);
    let mut fold = Fold { run, program, root, open: BTreeMap::new(), spans: Vec::new() };
    for entry in entries {
        fold.take(entry);
    }
    fold.spans.truncate(SPANS_MAX);
    let ended = entries.iter().rev().find_map(|entry| match &entry.fact {
        Fact::RunFinished { outcome } => Some((entry.at, outcome)),
        _ => None,
    });
    if let Some((at, outcome)) = ended {
        let span = fold.whole(start, entries[0].at, at, outcome);
        fold.spans.push(span);
    }
    fold.spans
}

impl Fold<'_> {
    fn take(&mut self, entry: &Entry) {
        let at = entry.at;
        match &entry.fact {
            Fact::NodeStarted { node, attempt } => {
                let open = self.open(*node, at);
                open.attempt_began.insert(*attempt, at);
            }
            Fact::NodeSuspended { node, .. } | Fact::BodyStarted { node, .. } => {
                self.open(*node, at);
            }
            Fact::NodeFailed { node, attempt, failure, .. } => {
                self.attempt((*node, *attempt), at, Status::error(failure.message.clone()));
                // Where it is tried again, a later entry ends it.
                self.end(*node, at, Status::error(failure.message.clone()));
            }
            Fact::NodeCompleted { node, attempt, .. } => {
                self.attempt((*node, *attempt), at, Status::Ok);
                self.end(*node, at, Status::Ok);
            }
            _ => {}
        }
    }

    fn open(&mut self, node: NodeIndex, at: u64) -> &mut Open {
        self.open.entry(node).or_insert(Open { began: at, attempt_began: BTreeMap::new() })
    }

    fn attempt(&mut self, (node, attempt): (NodeIndex, u32), at: u64, status: Status) {
        let began = self.open.get(&node).and_then(|open| open.attempt_began.get(&attempt)).copied();
        // What only computes has had none.
        let Some(began) = began else { return };
        let (here, parent) =
            (self.root.of_attempt(self.run, node, attempt), self.root.of_node(self.run, node));
        let mut span = self.span(here, parent.span, (began, at), status);
        span.name = format!("{} attempt", self.kind(node)).into();
        span.span_kind = SpanKind::Client;
        span.attributes = self.about(node);
        span.attributes.push(KeyValue::new("waystation.attempt", i64::from(attempt)));
        self.spans.push(span);
    }

    /// The span of a node up to now; one of an earlier attempt goes.
    fn end(&mut self, node: NodeIndex, at: u64, status: Status) {
        let began = self.open(node, at).began;
        let here = self.root.of_node(self.run, node);
        let mut span = self.span(here, self.root.span, (began, at), status);
        span.name = self.id(node).into();
        span.attributes = self.about(node);
        let id = span.span_context.span_id();
        self.spans.retain(|known| known.span_context.span_id() != id);
        self.spans.push(span);
    }

    fn whole(&self, start: &Start, began: u64, at: u64, outcome: &Outcome) -> SpanData {
        let status = match outcome {
            Outcome::Completed => Status::Ok,
            Outcome::Failed { failure, .. } => Status::error(failure.message.clone()),
            Outcome::Cancelled { .. } => Status::error("cancelled"),
        };
        let told = TraceParent::told(start);
        let parent = told.map_or(0, |told| told.span);
        let mut span = self.span(self.root, parent, (began, at), status);
        span.parent_span_is_remote = told.is_some();
        span.span_kind = SpanKind::Server;
        span.name = format!("run {}", start.workflow).into();
        span.attributes = vec![
            KeyValue::new("waystation.run", self.run.to_string()),
            KeyValue::new("waystation.workflow", start.workflow.clone()),
            KeyValue::new("waystation.namespace", start.namespace.clone()),
        ];
        span
    }

    fn span(
        &self,
        here: TraceParent,
        parent: u64,
        (began, at): (u64, u64),
        status: Status,
    ) -> SpanData {
        let (trace, id) = (TraceId::from(here.trace), SpanId::from(here.span));
        let state = TraceState::default();
        SpanData {
            span_context: SpanContext::new(trace, id, TraceFlags::SAMPLED, false, state),
            parent_span_id: SpanId::from(parent),
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: "".into(),
            start_time: moment(began),
            end_time: moment(at),
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: InstrumentationScope::builder("waystation").build(),
        }
    }

    fn about(&self, node: NodeIndex) -> Vec<KeyValue> {
        vec![
            KeyValue::new("waystation.run", self.run.to_string()),
            KeyValue::new("waystation.node", self.id(node)),
            KeyValue::new("waystation.node.type", self.kind(node)),
        ]
    }

    fn id(&self, node: NodeIndex) -> String {
        self.program.plan.nodes.get(node as usize).map(|node| node.id.clone()).unwrap_or_default()
    }

    fn kind(&self, node: NodeIndex) -> String {
        self.program.plan.nodes.get(node as usize).map(|node| node.kind.clone()).unwrap_or_default()
    }
}

fn moment(unix_ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(unix_ms)
}
