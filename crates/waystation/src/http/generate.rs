//! `POST /ai/workflows/generate`: a workflow out of a description.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use waystation_core::dialect::graph::issue::Issue;

use super::Context;
use super::body::Body;
use super::detail::Detail;
use super::route::{EDIT, Routes};
use crate::auth::Api;
use crate::generate::{self, Unmade, Wish};
use crate::workflows::view_warnings;

pub(super) fn routes() -> Routes {
    Routes::of(Api::Executions).post("/ai/workflows/generate", EDIT.costly(), make)
}

async fn make(State(context): State<Context>, body: Body) -> Result<Response, Detail> {
    let mut fields = body.object()?;
    let mut text = |name: &str| match fields.shift_remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Detail::at(&["body", name], "must be text")),
    };
    let wish = Wish {
        prompt: text("prompt")?.unwrap_or_default(),
        provider: text("provider")?,
        model: text("model")?,
    };
    match generate::generate(&context.app, &wish).await {
        Ok(made) => Ok(Json(json!({
            "workflow": made.workflow,
            "summary": made.summary,
            "reasoning": made.reasoning,
            "validation": {
                "valid": true,
                "errors": [],
                "warnings": view_warnings(&made.warnings),
                "rounds": made.rounds,
            },
        }))
        .into_response()),
        Err(Unmade::Invalid { workflow, issues }) => {
            let errors: Vec<Value> = issues.iter().map(Issue::to_json).collect();
            let body = json!({
                "detail": errors,
                "workflow": workflow,
                "validation": { "valid": false, "errors": errors },
            });
            Ok((StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response())
        }
        Err(Unmade::Error(error)) => Err(error.into()),
    }
}
