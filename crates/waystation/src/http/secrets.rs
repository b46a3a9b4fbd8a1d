//! `/secrets`: set and removed by this machine's own command line while the server has the store.
//! Values come in and never go out.

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::{get, put};
use axum::{Json, Router};
use serde_json::{Value, json};
use waystation_core::error::{Code, Error};
use waystation_engine::secret::is_token;

use super::body::Body;
use super::extract::Path;
use super::reply::Failed;
use super::{Context, TOKEN_HEADER};

/// Routes for those who can read the data directory, where the token is.
pub(super) fn routes() -> Router<Context> {
    Router::new().route("/secrets", get(list)).route("/secrets/{name}", put(set).delete(remove))
}

/// The caller has shown this process's token.
struct Operator;

impl FromRequestParts<Context> for Operator {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, context: &Context) -> Result<Operator, Failed> {
        let shown = parts.headers.get(TOKEN_HEADER).map_or(&b""[..], |value| value.as_bytes());
        if is_token(shown, context.token()) {
            return Ok(Operator);
        }
        let error = Error::new(Code::Forbidden, "Secrets are set on the server's own machine");
        Err(error.with_hint("use `waystation secret` with the server's data directory").into())
    }
}

async fn list(_: Operator, State(context): State<Context>) -> Json<Value> {
    Json(json!({ "secrets": context.app.vault.names() }))
}

/// The body is the value.
async fn set(
    _: Operator,
    State(context): State<Context>,
    Path(name): Path<String>,
    body: Body,
) -> Result<StatusCode, Failed> {
    context.app.vault.set(&name, body.text()?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove(
    _: Operator,
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
