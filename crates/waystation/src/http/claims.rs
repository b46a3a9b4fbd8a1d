//! Calls that may come several times: by their key, all of them begin one run.

use axum::http::{HeaderMap, HeaderName};
use futures_util::{StreamExt, pin_mut};
use serde_json::Value;
use waystation_core::error::{Code, Error};
use waystation_engine::driver::plans::source_key;
use waystation_engine::driver::{Origin, Submitted};
use waystation_engine::id::{RunId, WorkflowId, now_ms};
use waystation_engine::store::{Claim, WorkflowRow};

use super::Context;
use super::detail::Detail;
use crate::workflows::{self, Refusal};

/// How long a key is remembered.
const CLAIM_MS: u64 = 24 * 3_600_000;
/// The header that tells one call from its repetition.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Letters of a key.
const KEY_LETTERS: usize = 255;

/// What a call has begun.
pub(super) enum Begun {
    /// A run.
    Now(Submitted),
    /// Nothing: an earlier one with its key has begun this run.
    Before(RunId),
}

/// The claim of a call that runs a workflow, if it has a key. What it asks for is told as values, so that
/// another way of writing the same is the same.
pub(super) fn of_call(
    headers: &HeaderMap,
    workflow: &WorkflowId,
    asked: &[&Value],
) -> Result<Option<Claim>, Detail> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = value.to_str().unwrap_or_default().trim();
    if key.is_empty() || key.len() > KEY_LETTERS {
        let text = format!("must have 1 to {KEY_LETTERS} visible letters");
        return Err(Detail::at(&["header", "Idempotency-Key"], &text));
    }
    let asked: Vec<String> = asked.iter().map(|value| sorted(value).to_string()).collect();
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    Ok(Some(claim(&format!("execute:{workflow}:{key}"), &asked)))
}

/// A claim on a key by whoever asks for this.
pub(super) fn claim(key: &str, asked: &[&str]) -> Claim {
    Claim { key: key.to_owned(), fingerprint: source_key(asked), expires: now_ms() + CLAIM_MS }
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            Value::Object(
                fields.into_iter().map(|(name, value)| (name.clone(), sorted(value))).collect(),
            )
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// Begins a run of a workflow, unless an earlier call with the same claim has.
pub(super) async fn begin(
    context: &Context,
    row: &WorkflowRow,
    input: Value,
    origin: Origin,
) -> Result<Begun, Detail> {
    let Some(claim) = origin.claim.clone() else {
        return Ok(Begun::Now(workflows::begin(&context.app, row, input, origin).await?));
    };
    if let Some(run) = earlier(context, &claim).await? {
        return Ok(Begun::Before(run));
    }
    match accepted(context, row, input, origin).await {
        Ok(submitted) => Ok(Begun::Now(submitted)),
        // The same call came at the same time, and was first.
        Err(Refusal::Error(error)) if error.code == Code::Conflict => {
            earlier(context, &claim).await?.map(Begun::Before).ok_or_else(|| error.into())
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// Only a run that lasts has its claim.
async fn accepted(
    context: &Context,
    row: &WorkflowRow,
    input: Value,
    origin: Origin,
) -> Result<Submitted, Refusal> {
    let submitted = workflows::begin(&context.app, row, input, origin).await?;
    submitted.finished.accepted().await?;
    Ok(submitted)
}

/// The run that a call with this claim has begun.
async fn earlier(context: &Context, claim: &Claim) -> Result<Option<RunId>, Detail> {
    let store = context.app.engine.store();
    let claimed = store.claimed(&claim.key, now_ms()).await.map_err(Error::from)?;
    let Some((run, fingerprint)) = claimed else { return Ok(None) };
    if fingerprint != claim.fingerprint {
        let text = "The Idempotency-Key was used with another request";
        return Err(Error::new(Code::Conflict, text).into());
    }
    Ok(Some(run))
}

/// Waits for a run that somebody else has begun.
pub(super) async fn ended(context: &Context, run: RunId) -> Result<(), Error> {
    let entries = context.app.engine.follow(run, 0);
    pin_mut!(entries);
    while let Some(batch) = entries.next().await {
        batch?;
    }
    Ok(())
}
