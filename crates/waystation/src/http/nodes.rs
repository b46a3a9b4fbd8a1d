//! `/api/v1/nodes`: the node types that definitions may use, and a way to try one.

use std::time::Instant;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use waystation_core::dialect::graph::job;
use waystation_core::entry::Outcome;
use waystation_core::error::{Code, Error, nearest};
use waystation_engine::node::catalog::Known;

use super::Context;
use super::body::Body;
use super::detail::Detail;
use super::extract::Path;
use super::route::{Access, EDIT, Place, Routes};
use crate::auth::Api;
use crate::auth::principal::Role;
use crate::workflows::{self, Refusal};

/// How long the test of a node may take, in seconds.
const TEST_SECONDS: u64 = 30;

pub(super) fn routes() -> Routes {
    let view = Access::of(Role::Viewer, Place::Nowhere);
    Routes::of(Api::Service)
        .get("/api/v1/nodes", view, list)
        .get("/api/v1/nodes/", view, list)
        .get("/api/v1/nodes/{type}", view, show)
        .post("/api/v1/nodes/{type}/test", EDIT.costly(), test)
}

async fn list(State(context): State<Context>) -> Json<Value> {
    Json(context.app.engine.catalog().types().iter().map(view).collect())
}

/// A type as callers see it.
fn view(known: &Known) -> Value {
    let spec = &known.spec;
    json!({
        "type": spec.name,
        "name": spec.title,
        "description": spec.description,
        "category": spec.category.as_str(),
        "schema": known.schema,
        "example": (spec.example)(),
    })
}

fn find<'c>(context: &'c Context, name: &str) -> Result<&'c Known, Detail> {
    let catalog = context.app.engine.catalog();
    catalog.get(name).ok_or_else(|| {
        let names = catalog.types().iter().map(|known| known.spec.name);
        let near = nearest(name, names);
        let error = Error::new(Code::NotFound, format!("There is no node type {name}"));
        match near.is_empty() {
            true => error.into(),
            false => error.with_hint(format!("did you mean {}?", near.join(" or "))).into(),
        }
    })
}

async fn show(
    State(context): State<Context>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Detail> {
    Ok(Json(view(find(&context, &name)?)))
}

/// Runs one node by itself. What it is given is both the run's input and what comes before it.
async fn test(
    State(context): State<Context>,
    Path(name): Path<String>,
    body: Body,
) -> Result<Json<Value>, Detail> {
    find(&context, &name)?;
    let mut fields = body.object()?;
    let config = fields.shift_remove("config").unwrap_or_else(|| json!({}));
    let input = fields.shift_remove("input").unwrap_or_else(|| json!({}));
    let definition = json!({
        "name": format!("Test of {name}"),
        "nodes": [
            { "id": "input", "type": "start" },
            { "id": "node", "type": name, "config": config },
        ],
        "edges": [{ "source": "input", "target": "node" }],
        "settings": { "timeout": TEST_SECONDS },
    });
    let began = Instant::now();
    let run = match workflows::begin_once(&context.app, &definition, input).await {
        Ok(begun) => begun.submitted.finished.wait().await?,
        Err(Refusal::Invalid(issues)) => {
            let errors: Vec<String> = issues.iter().map(|issue| issue.message.clone()).collect();
            return Ok(Json(json!({ "success": false, "errors": errors, "duration_ms": 0 })));
        }
        Err(other) => return Err(other.into()),
    };
    let duration_ms = began.elapsed().as_millis() as u64;
    if run.outcome == Some(Outcome::Completed) {
        let record = &run.nodes[1];
        return Ok(Json(json!({
            "success": true,
            "output": record.output.as_deref(),
            "port": record.port.as_deref(),
            "details": record.details.as_deref(),
            "duration_ms": duration_ms,
        })));
    }
    let failure = run.nodes[1].failure.as_deref().map(|failure| failure.message.clone().into());
    let error = failure.unwrap_or_else(|| job::error(&run));
    Ok(Json(json!({ "success": false, "errors": [error], "duration_ms": duration_ms })))
}
