//! `/secrets`: set and removed by admins, and by this machine's own command line while the server has
//! the store.
//! Values come in and never go out.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};
use waystation_core::error::{Code, Error};

use super::Context;
use super::body::Body;
use super::extract::Path;
use super::reply::Failed;
use super::route::{Access, Place, Routes};
use crate::auth::Api;
use crate::auth::principal::Role;

/// Routes for admins, and for those who can read the data directory.
pub(super) fn routes() -> Routes {
    let access = Access::of(Role::Admin, Place::Everywhere);
    Routes::of(Api::Own).get("/secrets", access, list).put("/secrets/{name}", access, set).delete(
        "/secrets/{name}",
        access,
        remove,
    )
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
    context.app.vault.set(&name, body.text()?).await?;
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
