//! `/keys`: keys of callers, made and taken back by admins and by this machine's own command line. A key
//! is shown once, when it is made.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};
use waystation_core::error::{Code, Error};
use waystation_core::time::rfc3339;
use waystation_engine::id::now_ms;
use waystation_engine::store::KeyRow;

use super::Context;
use super::body::Body;
use super::extract::Path;
use super::reply::Failed;
use super::route::{Access, Place, Routes};
use crate::auth::Api;
use crate::auth::keys::{KeyState, Keys, NewKey};
use crate::auth::principal::Role;

pub(super) fn routes() -> Routes {
    let access = Access::of(Role::Admin, Place::Everywhere);
    Routes::of(Api::Own).get("/keys", access, list).post("/keys", access, create).delete(
        "/keys/{id}",
        access,
        revoke,
    )
}

fn keys(context: &Context) -> Result<&Keys, Failed> {
    let none = || Failed(Error::new(Code::NotFound, "This server keeps no keys"));
    context.app.auth.keys().ok_or_else(none)
}

/// A key as admins see it.
pub fn view(row: &KeyRow, now: u64) -> Value {
    json!({
        "id": row.id,
        "name": row.name,
        "role": row.role,
        "namespaces": row.namespaces,
        "status": KeyState::of(row, now).name(),
        "created_at": rfc3339(row.created),
        "expires_at": row.expires.map(rfc3339),
        "revoked_at": row.revoked.map(rfc3339),
    })
}

async fn list(State(context): State<Context>) -> Result<Json<Value>, Failed> {
    let (rows, now) = (keys(&context)?.all(), now_ms());
    let rows: Vec<Value> = rows.iter().map(|row| view(row, now)).collect();
    Ok(Json(json!({ "keys": rows })))
}

/// `{name, role, namespaces?, expires_in_seconds?}`
async fn create(
    State(context): State<Context>,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Failed> {
    let (key, row) = keys(&context)?.create(wanted(&body)?).await?;
    let mut reply = view(&row, row.created);
    reply["key"] = key.into();
    Ok((StatusCode::CREATED, Json(reply)))
}

fn wanted(body: &Body) -> Result<NewKey, Failed> {
    let mut fields = body.object()?;
    let wrong = |text: &str| Failed(Error::new(Code::RequestInvalid, text));
    let Some(Value::String(name)) = fields.shift_remove("name") else {
        return Err(wrong("Field name must be text"));
    };
    let role = match fields.shift_remove("role") {
        Some(Value::String(role)) => role.parse::<Role>()?,
        _ => return Err(wrong("Field role must be viewer, runner, editor or admin")),
    };
    let namespaces = match fields.shift_remove("namespaces") {
        None | Some(Value::Null) => None,
        Some(names) => Some(
            serde_json::from_value(names)
                .map_err(|_| wrong("Field namespaces must be a list of names"))?,
        ),
    };
    let expires = match fields.shift_remove("expires_in_seconds") {
        None | Some(Value::Null) => None,
        Some(seconds) => {
            let seconds = seconds.as_u64().filter(|seconds| (1..=SECONDS_MAX).contains(seconds));
            let why = "Field expires_in_seconds must be a whole number from 1 to 3153600000";
            Some(now_ms() + seconds.ok_or_else(|| wrong(why))? * 1_000)
        }
    };
    // A misspelt bound must not make a key without one.
    match fields.keys().next() {
        Some(name) => Err(wrong(&format!("There is no field {name:?}"))),
        None => Ok(NewKey { name, role, namespaces, expires }),
    }
}

/// A hundred years.
const SECONDS_MAX: u64 = 100 * 365 * 86_400;

async fn revoke(
    State(context): State<Context>,
    Path(id): Path<String>,
) -> Result<StatusCode, Failed> {
    keys(&context)?.revoke(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}
