//! Stored workflows: checked, kept, compiled once, and run. For HTTP and the command line.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use waystation_core::dialect::graph::definition::Definition;
use waystation_core::dialect::graph::issue::{Issue, Issues, Place};
use waystation_core::dialect::graph::trigger::TriggerKind;
use waystation_core::dialect::graph::{Compiled, compile};
use waystation_core::error::{Code, Error};
use waystation_core::plan::Plan;
use waystation_core::time::rfc3339;
use waystation_engine::driver::plans::{self, Plans, source_key};
use waystation_engine::driver::{Library, Origin, Stored, Submission, Submitted};
use waystation_engine::id::{WorkflowId, now_ms};
use waystation_engine::node::catalog::Catalog;
use waystation_engine::store::{
    Changed, Expected, NewTrigger, Store, WORKFLOWS, WorkflowChange, WorkflowLine, WorkflowRow,
};

use crate::app::App;
use crate::begin::Begun;
use crate::triggers;

/// The namespace of all runs of stored workflows.
pub const NAMESPACE: &str = WORKFLOWS;
/// The namespace of runs of definitions that are not kept: no list of jobs and no sum counts them.
pub const ONCE_NAMESPACE: &str = "workflows-once";

/// Fields of a definition that the server itself writes: what a caller sends back of them is dropped.
pub const OWN_FIELDS: [&str; 7] =
    ["id", "_id", "workflow_id", "version", "created_at", "updated_at", "warnings"];
/// Those of them that tell of versions.
pub const MOMENTS: [&str; 4] = ["version", "created_at", "updated_at", "warnings"];

/// Why something could not be done with a stored workflow.
#[derive(Debug)]
pub enum Refusal {
    /// The definition has problems; all of them.
    Invalid(Vec<Issue>),
    /// The version that the caller meant is not the present one.
    Stale {
        /// The present one.
        present: u32,
    },
    /// Anything else.
    Error(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal::Error(error)
    }
}

/// A workflow as it was just saved, and what its author should know about it.
pub struct Saved {
    /// The workflow.
    pub row: WorkflowRow,
    /// What is probably not meant so.
    pub warnings: Vec<Issue>,
}

/// Checks a definition, without keeping it.
pub fn check(app: &App, source: &Value) -> Result<Compiled, Refusal> {
    let read = read(source, app.engine.catalog(), app.steps_max).map_err(Refusal::Invalid)?;
    Ok(read.0)
}

/// A definition with its triggers, or all that is wrong with either.
pub fn read(
    source: &Value,
    catalog: &Catalog,
    steps_max: usize,
) -> Result<(Compiled, Vec<NewTrigger>), Vec<Issue>> {
    let compiled = compile(source, catalog, steps_max);
    let parsed = Definition::parse(source, &mut Issues::default());
    match (compiled, triggers::of(&parsed)) {
        (Ok(compiled), Ok(triggers)) => Ok((compiled, triggers)),
        (Ok(_), Err(issues)) | (Err(issues), Ok(_)) => Err(issues),
        (Err(mut issues), Err(more)) => {
            issues.extend(more);
            Err(issues)
        }
    }
}

/// A warning for each secret that a definition names, and nobody has set.
pub fn unset_secrets(app: &App, compiled: &Compiled) -> Vec<Issue> {
    let names = app.vault.names();
    let is_set = |path: &str| {
        let begins = |name: &String| {
            path.strip_prefix(name.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        names.iter().any(begins)
    };
    let hooks = compiled.definition.triggers.iter().filter_map(|trigger| match &trigger.kind {
        TriggerKind::Hook(hook) => hook.signature.as_ref().map(|signature| &signature.secret),
        TriggerKind::Schedule(_) => None,
    });
    let mut unset: Vec<&String> = compiled.secrets.iter().chain(hooks).collect();
    unset.sort_unstable();
    unset.dedup();
    unset.retain(|path| !is_set(path));
    let warning = |path: &&String| {
        let text = format!("secrets.{path} is not set: run `waystation secret set {path}`");
        Issue::new(Place::default(), text)
    };
    unset.iter().map(warning).collect()
}

/// Checks a definition and keeps it as the present version.
pub async fn save(
    app: &App,
    id: WorkflowId,
    expected: Expected,
    source: Value,
) -> Result<Saved, Refusal> {
    let source = without_own_fields(source);
    let read = read(&source, app.engine.catalog(), app.steps_max);
    let (compiled, triggers) = read.map_err(Refusal::Invalid)?;
    let unset = unset_secrets(app, &compiled);
    let Compiled { definition, mut warnings, .. } = compiled;
    warnings.extend(unset);
    let at = now_ms();
    let change = WorkflowChange {
        id,
        name: definition.name,
        status: definition.status,
        description: definition.description,
        definition: source,
        at,
        expected,
        triggers,
    };
    match app.engine.store().change_workflow(change).await.map_err(Error::from)? {
        Changed::Done { .. } => {
            app.engine.schedules_changed();
            Ok(Saved { row: load(app, &id, None).await?, warnings })
        }
        Changed::Missing => Err(unknown(&id.to_string()).into()),
        Changed::Exists => {
            let text = format!("There is a workflow with ID {id} already");
            Err(Error::new(Code::Conflict, text).into())
        }
        Changed::Stale { present } => Err(Refusal::Stale { present }),
        Changed::PathTaken { path } => {
            let text = format!("Another workflow has a hook at {path} already");
            Err(Error::new(Code::Conflict, text).into())
        }
    }
}

/// Likewise; where there is no such workflow, it is created under this id.
pub async fn save_or_create(
    app: &App,
    id: WorkflowId,
    expected: Expected,
    source: Value,
) -> Result<Saved, Refusal> {
    let known = app.engine.store().workflow(&id, None).await.map_err(Error::from)?;
    let expected = if known.is_some() { expected } else { Expected::Absent };
    save(app, id, expected, source).await
}

/// A workflow in lists.
pub fn view_line(line: &WorkflowLine) -> Value {
    json!({
        "id": line.id.to_string(),
        "name": line.name,
        "description": line.description,
        "status": line.status,
        "version": line.version,
        "created_at": rfc3339(line.created),
        "updated_at": rfc3339(line.updated),
    })
}

fn without_own_fields(source: Value) -> Value {
    match source {
        Value::Object(fields) => {
            let is_own = |name: &String| OWN_FIELDS.contains(&name.as_str());
            Value::Object(fields.into_iter().filter(|(name, _)| !is_own(name)).collect())
        }
        other => other,
    }
}

/// A stored workflow, in a version or in the present one.
pub async fn load(app: &App, id: &WorkflowId, version: Option<u32>) -> Result<WorkflowRow, Error> {
    let row = app.engine.store().workflow(id, version).await?;
    row.ok_or_else(|| match version {
        None => unknown(&id.to_string()),
        Some(version) => {
            let text = format!("Workflow with ID {id} has no version {version}");
            Error::new(Code::NotFound, text)
        }
    })
}

/// The error for a workflow that is not there.
pub fn unknown(id: &str) -> Error {
    Error::new(Code::NotFound, format!("Workflow with ID {id} not found"))
}

/// A workflow as callers see it: the definition as it was given, and what the server knows.
pub fn view(row: &WorkflowRow) -> Value {
    let mut view = Map::new();
    view.insert("id".into(), row.id.to_string().into());
    if let Value::Object(fields) = row.definition.as_ref() {
        view.extend(fields.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    let mut put = |name: &str, value: Value| drop(view.insert(name.to_owned(), value));
    put("status", row.status.as_str().into());
    put("version", row.version.into());
    put("created_at", rfc3339(row.created).into());
    put("updated_at", rfc3339(row.updated).into());
    Value::Object(view)
}

/// Warnings as callers see them.
pub fn view_warnings(warnings: &[Issue]) -> Value {
    let shown = warnings.iter().map(|issue| {
        let mut shown = issue.to_json();
        shown["type"] = json!("warning");
        shown
    });
    shown.collect()
}

/// Begins a run of a workflow.
pub async fn begin(
    app: &App,
    row: &WorkflowRow,
    input: Value,
    origin: Origin,
) -> Result<Submitted, Refusal> {
    let definition = define(app, row)?;
    let submission = Submission {
        definition,
        workflow: row.id.to_string(),
        namespace: NAMESPACE.into(),
        name: Some(row.name.clone()),
        input,
        warnings: Vec::new(),
        origin: Origin { version: Some(row.version), ..origin },
    };
    Ok(app.engine.submit(submission).await?)
}

/// The compiled definition of a stored workflow. Types may have changed since it was saved.
fn define(app: &App, row: &WorkflowRow) -> Result<Arc<plans::Definition>, Refusal> {
    let steps_max = app.steps_max;
    app.engine.define(source_of(row), || {
        let compiled = compile(&row.definition, app.engine.catalog(), steps_max);
        compiled.map(planned).map_err(Refusal::Invalid)
    })
}

/// Begins a run of a definition that is not kept.
pub async fn begin_once(app: &App, source: &Value, input: Value) -> Result<Begun, Refusal> {
    let text = source.to_string();
    let steps_max = app.steps_max;
    let definition = app.engine.define(source_key(&["graph", "once", &text]), || {
        let compiled = compile(source, app.engine.catalog(), steps_max);
        compiled.map(planned).map_err(Refusal::Invalid)
    })?;
    let submission = Submission {
        definition: Arc::clone(&definition),
        workflow: "once".into(),
        namespace: ONCE_NAMESPACE.into(),
        name: source["name"].as_str().map(str::to_owned),
        input,
        warnings: Vec::new(),
        origin: Origin::default(),
    };
    Ok(Begun { submitted: app.engine.submit(submission).await?, definition })
}

fn source_of(row: &WorkflowRow) -> [u8; 32] {
    let updated = row.updated.to_string();
    source_key(&["graph", &row.id.to_string(), &row.version.to_string(), &updated])
}

fn planned(compiled: Compiled) -> (Plan, Vec<String>) {
    let warnings = compiled.warnings.iter().map(ToString::to_string).collect();
    (compiled.plan, warnings)
}

/// The store's workflows, for nodes that run other workflows.
pub struct Shelf {
    /// Where they are kept.
    pub store: Arc<dyn Store>,
    /// What they may use.
    pub catalog: Arc<Catalog>,
    /// The most nodes of one.
    pub steps_max: usize,
}

#[async_trait]
impl Library for Shelf {
    async fn stored(
        &self,
        plans: &Plans,
        workflow: &str,
        version: Option<u32>,
    ) -> Result<Stored, Error> {
        let id: WorkflowId = workflow.parse().map_err(|_| unknown(workflow))?;
        let row = self.store.workflow(&id, version).await?.ok_or_else(|| unknown(workflow))?;
        let definition = plans.define(source_of(&row), || {
            let compiled = compile(&row.definition, &*self.catalog, self.steps_max);
            compiled.map(planned).map_err(|issues| {
                let texts: Vec<String> = issues.iter().map(ToString::to_string).collect();
                Error::new(Code::DefinitionInvalid, texts.join("; "))
            })
        })?;
        Ok(Stored { definition, version: row.version, name: Some(row.name) })
    }
}
