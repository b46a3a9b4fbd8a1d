//! `/api/v1/triggers`: the schedules and hooks of stored workflows, seen and switched.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use waystation_core::error::{Code, Error};
use waystation_core::time::rfc3339;
use waystation_engine::id::WorkflowId;
use waystation_engine::store::{TriggerKind, TriggerRow};

use super::Context;
use super::detail::Detail;
use super::extract::Path;
use super::route::{EDIT, Routes, VIEW};
use crate::auth::Api;
use crate::{triggers, workflows};

pub(super) fn routes() -> Routes {
    Routes::of(Api::Service)
        .get("/api/v1/triggers", VIEW, all)
        .get("/api/v1/workflows/{id}/triggers", VIEW, list)
        .post("/api/v1/workflows/{id}/triggers/{trigger}/enable", EDIT, enable)
        .post("/api/v1/workflows/{id}/triggers/{trigger}/disable", EDIT, disable)
}

async fn all(State(context): State<Context>) -> Result<Json<Value>, Detail> {
    let rows = context.app.engine.store().triggers(None).await.map_err(Error::from)?;
    Ok(Json(json!({ "items": rows.iter().map(view).collect::<Vec<_>>(), "total": rows.len() })))
}

async fn list(
    State(context): State<Context>,
    Path(text): Path<String>,
) -> Result<Json<Value>, Detail> {
    let id: WorkflowId = text.parse().map_err(|_| workflows::unknown(&text))?;
    workflows::load(&context.app, &id, None).await?;
    let rows = context.app.engine.store().triggers(Some(&id)).await.map_err(Error::from)?;
    Ok(Json(json!({ "items": rows.iter().map(view).collect::<Vec<_>>(), "total": rows.len() })))
}

/// A trigger as callers see it.
fn view(row: &TriggerRow) -> Value {
    let kind = match row.kind {
        TriggerKind::Schedule => "schedule",
        TriggerKind::Hook => "webhook",
    };
    json!({
        "workflow_id": row.workflow.to_string(),
        "id": row.id,
        "type": kind,
        "enabled": row.enabled,
        "settings": row.settings,
        "url": row.path.as_ref().map(|path| format!("/hooks/{path}")),
        "next_at": row.next_at.map(rfc3339),
        "last_at": row.last_at.map(rfc3339),
        "runs": row.fired,
    })
}

async fn enable(
    State(context): State<Context>,
    Path(place): Path<(String, String)>,
) -> Result<Json<Value>, Detail> {
    switch(&context, place, true).await
}

async fn disable(
    State(context): State<Context>,
    Path(place): Path<(String, String)>,
) -> Result<Json<Value>, Detail> {
    switch(&context, place, false).await
}

/// Switches a trigger until its workflow is saved again, which says so itself.
async fn switch(
    context: &Context,
    (text, trigger): (String, String),
    enabled: bool,
) -> Result<Json<Value>, Detail> {
    let id: WorkflowId = text.parse().map_err(|_| workflows::unknown(&text))?;
    let row = triggers::switch(&context.app, &id, &trigger, enabled).await?;
    let unknown = || {
        let text = format!("Workflow {text} has no trigger {trigger}");
        Detail::from(Error::new(Code::NotFound, text))
    };
    Ok(Json(view(&row.ok_or_else(unknown)?)))
}
