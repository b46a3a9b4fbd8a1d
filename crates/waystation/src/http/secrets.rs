//! `/secrets`: set and removed by this machine's own command line while the server has the store.
//! Values come in and never go out.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, put};
use axum::{Json, Router};
use serde_json::{Value, json};
use waystation_core::error::{Code, Error};

use super::Context;
use super::body::Body;
use super::extract::Path;
use super::reply::{Failed, text};

/// Routes that exist only on a server which its own machine alone can reach.
pub(super) fn routes() -> Router<Context> {
    Router::new().route("/secrets", get(list)).route("/secrets/{name}", put(set).delete(remove))
}

async fn list(State(context): State<Context>) -> Json<Value> {
    Json(json!({ "secrets": context.app.vault.names() }))
}

/// The body is the value.
async fn set(
    State(context): State<Context>,
    Path(name): Path<String>,
    body: Body,
) -> Result<StatusCode, Failed> {
    context.app.vault.set(&name, text(&body)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove(
    State(context): State<Context>,
    Path(name): Path<String>,
) -> Result<StatusCode, Failed> {
    match context.app.vault.remove(&name).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => {
            let error = Error::new(Code::NotFound, format!("There is no secret {name}"));
            Err(error.into())
        }
    }
}
