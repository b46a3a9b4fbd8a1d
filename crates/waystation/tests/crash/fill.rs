//! Many runs of one step, written as a server that was killed would have left them.

use std::sync::Arc;

use futures_util::StreamExt;
use serde_json::{Map, json};
use waystation_core::dialect::pipeline::compile;
use waystation_core::entry::{Data, Entry, Fact, Outcome, Start};
use waystation_core::plan::Dialect;
use waystation_engine::id::{RunId, now_ms};
use waystation_engine::store::sqlite::SqliteStore;
use waystation_engine::store::{Append, Finished, NewRun, RunStore, Status};

use crate::definition::{call, request};

/// What the runs have in common.
pub(crate) struct Filling {
    plan: Arc<[u8]>,
    webhook: bool,
}

/// Writes runs, many at the same time.
pub(crate) async fn fill(store: &SqliteStore, appends: impl Iterator<Item = Append>) {
    let writes = appends.map(|append| async { store.append(append).await.expect("an append") });
    futures_util::stream::iter(writes).buffer_unordered(1_000).collect::<Vec<()>>().await;
}

impl Filling {
    /// Runs of one step that calls the ledger, with or without a receiver of notifications.
    pub(crate) fn new(url: &str, webhook_url: Option<&str>) -> Filling {
        let webhook = webhook_url.is_some();
        let request = request(&[call(url, "only", &[])], webhook_url);
        let [steps, settings] =
            ["STEPS_CONFIG", "PIPELINE_SETTINGS"].map(|part| request[part].to_string());
        let compiled = compile(Some(&steps), Some(&settings), 10).expect("a definition");
        let plan = serde_json::to_vec(&compiled.plan).expect("JSON");
        Filling { plan: plan.into(), webhook }
    }

    /// A run that was acknowledged and has done nothing yet.
    pub(crate) fn begun(&self) -> Append {
        let start = Start {
            plan: "plan".into(),
            workflow: "many".into(),
            namespace: "crash".into(),
            input: Data::from(json!({})),
            ..Start::default()
        };
        let created = now_ms();
        let new_run = NewRun {
            workflow: "many".into(),
            namespace: "crash".into(),
            name: None,
            plan: "plan".into(),
            plan_json: Arc::clone(&self.plan),
            created,
            webhook: self.webhook,
            dialect: Dialect::Pipeline,
            version: None,
            parent: None,
            claim: None,
            fired: None,
        };
        Append {
            run: RunId::new(),
            batch: 0,
            first_seq: 0,
            entries: vec![Entry { at: created, fact: Fact::RunStarted(Box::new(start)) }],
            new_run: Some(new_run),
            wake_at: None,
            finished: None,
        }
    }

    /// A run that has ended.
    pub(crate) fn finished(&self) -> Append {
        let mut append = self.begun();
        let output = Data::from(json!({ "only_out": "done" }));
        let at = now_ms();
        let facts = [
            Fact::NodeStarted { node: 0, attempt: 1 },
            Fact::NodeCompleted { node: 0, attempt: 1, output, port: None, details: Map::new() },
            Fact::RunFinished { outcome: Outcome::Completed },
        ];
        append.entries.extend(facts.map(|fact| Entry { at, fact }));
        append.finished = Some(Finished {
            status: Status::Completed,
            at,
            error: None,
            nodes: Vec::new(),
            has_parts: false,
        });
        append
    }
}
