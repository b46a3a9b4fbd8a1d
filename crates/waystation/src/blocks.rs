//! Workflows made of blocks: blocks into a pipeline, the pipeline run here or elsewhere, the result
//! kept as a block.

use std::collections::HashSet;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Url};
use serde_json::{Map, Value, json};
use waystation_core::dialect::pipeline::block;
use waystation_core::error::{Code, Error};
use waystation_core::time::rfc3339;
use waystation_engine::egress::Request as HttpRequest;
use waystation_engine::id::{RunId, now_ms};
use waystation_engine::store::BlockRow;

use crate::app::App;
use crate::begin::Refusal;
use crate::pipeline;

/// Blocks of one workflow, at the most.
const BLOCKS_MAX: usize = 1_000;
/// How long another engine may take for a run, which has a limit of its own.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(3_600);
/// Bytes of another engine's reply.
const ENGINE_REPLY_BYTES: usize = 64 << 20;

/// A request to run blocks.
pub struct Request {
    user_input: Value,
    block_ids: Vec<String>,
}

/// Why blocks did not run.
pub enum ExecuteFailed {
    /// They are no pipeline.
    Transform(Vec<String>),
    /// The configured engine did not do its part.
    Engine(Error),
    /// The request or the server's state does not allow it.
    Error(Error),
}

impl From<Error> for ExecuteFailed {
    fn from(error: Error) -> ExecuteFailed {
        ExecuteFailed::Error(error)
    }
}

impl Request {
    /// Reads `{userInput, blockIds}`.
    pub fn parse(mut fields: Map<String, Value>) -> Result<Request, Error> {
        let invalid = |text: &str| Error::new(Code::BodyInvalid, text);
        let ids = fields.remove("blockIds").unwrap_or_default();
        let block_ids: Vec<String> = serde_json::from_value(ids)
            .map_err(|_| invalid("Field blockIds must be an array of strings"))?;
        if block_ids.is_empty() || block_ids.len() > BLOCKS_MAX {
            return Err(invalid(&format!("Field blockIds must name 1 to {BLOCKS_MAX} blocks")));
        }
        Ok(Request { user_input: fields.remove("userInput").unwrap_or_default(), block_ids })
    }
}

/// A block as its API shows it.
pub fn view(block: &BlockRow) -> Value {
    let mut view = json!({ "id": block.id });
    if let (Value::Object(view), Value::Object(body)) = (&mut view, &block.body) {
        view.extend(body.clone());
        view.insert("created_at".into(), rfc3339(block.created).into());
        view.insert("updated_at".into(), rfc3339(block.updated).into());
    }
    view
}

/// The error for a block that is not there.
pub fn unknown(id: &str) -> Error {
    Error::new(Code::NotFound, format!("Block {id} not found"))
}

/// Runs blocks and keeps the result as a block.
pub async fn execute(
    app: &App,
    namespace: &str,
    workflow: &str,
    request: Request,
) -> Result<Value, ExecuteFailed> {
    let blocks = load(app, namespace, &request.block_ids).await?;
    let steps = block::steps(&blocks).map_err(ExecuteFailed::Transform)?;
    let mut payload = json!({
        "workflow_id": workflow,
        "namespace": namespace,
        "original_input": request.user_input,
        "STEPS_CONFIG": steps,
    });
    let result = match &app.workflow_engine_url {
        Some(engine) => {
            if let Some(url) = &app.public_url {
                let url = webhook_url(url, workflow)?;
                payload["PIPELINE_SETTINGS"] = json!({ "notifications": { "webhook_url": url } });
            }
            elsewhere(app, engine, &payload).await?
        }
        None => here(app, &payload).await?,
    };
    let result_block = keep(app, namespace, workflow, &result).await?;
    Ok(json!({
        "success": result["success"],
        "execution_id": result["execution_id"],
        "result": result,
        "result_block": view(&result_block),
    }))
}

/// Where another engine tells the progress of a workflow.
fn webhook_url(base: &str, workflow: &str) -> Result<String, Error> {
    let invalid = || Error::new(Code::SettingInvalid, "WAYSTATION_PUBLIC_URL is no usable URL");
    let mut url = Url::parse(base).map_err(|_| invalid())?;
    let segments = url.path_segments_mut().map(|mut segments| {
        segments.pop_if_empty().extend(["api", "workflows", "webhook", workflow]);
    });
    segments.map_err(|()| invalid())?;
    Ok(url.into())
}

async fn load(app: &App, namespace: &str, ids: &[String]) -> Result<Vec<Value>, ExecuteFailed> {
    let mut seen = HashSet::new();
    if let Some(twice) = ids.iter().find(|id| !seen.insert(*id)) {
        return Err(ExecuteFailed::Transform(vec![format!("Duplicate USID: {twice}")]));
    }
    let (mut blocks, mut missing) = (Vec::with_capacity(ids.len()), Vec::new());
    for id in ids {
        match app.engine.store().block(namespace, id).await.map_err(Error::from)? {
            Some(block) => blocks.push(view(&block)),
            None => missing.push(format!("block {id} not found in namespace {namespace}")),
        }
    }
    if missing.is_empty() { Ok(blocks) } else { Err(ExecuteFailed::Transform(missing)) }
}

async fn here(app: &App, payload: &Value) -> Result<Value, ExecuteFailed> {
    match pipeline::execute(app, &payload.to_string()).await {
        Ok(reply) => Ok(reply),
        Err(Refusal::Invalid(errors)) => Err(ExecuteFailed::Transform(errors)),
        Err(Refusal::Error(error)) => Err(error.into()),
    }
}

async fn elsewhere(app: &App, engine: &str, payload: &Value) -> Result<Value, ExecuteFailed> {
    let failed = |what: String| {
        let error = Error::new(Code::Transport, format!("Workflow engine {what}"));
        ExecuteFailed::Engine(error.with_hint("check WORKFLOW_ENGINE_URL and that engine's health"))
    };
    let url = match engine.ends_with("/execute") {
        true => engine.to_owned(),
        false => format!("{engine}/execute"),
    };
    let mut request = HttpRequest::new(Method::POST, url);
    request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    request.body = Some(payload.to_string().into());
    let sent = app.trusted_client.send(request, ENGINE_REPLY_BYTES);
    let reply = tokio::time::timeout(ENGINE_TIMEOUT, sent).await;
    let reply = reply.map_err(|_| failed("did not answer in time".into()))?;
    let reply = reply.map_err(|error| failed(format!("is not reachable: {error}")))?;
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    if !reply.status.is_success() || !body.is_object() {
        let text = String::from_utf8_lossy(&reply.body).chars().take(200).collect::<String>();
        return Err(failed(format!("answered HTTP {}: {text}", reply.status.as_u16())));
    }
    if let Ok(errors) = serde_json::from_value(body["validation_errors"].clone()) {
        return Err(ExecuteFailed::Transform(errors));
    }
    Ok(body)
}

async fn keep(
    app: &App,
    namespace: &str,
    workflow: &str,
    result: &Value,
) -> Result<BlockRow, Error> {
    let succeeded = result["success"] == true;
    let outputs = if succeeded { &result["all_outputs"] } else { &result["partial_outputs"] };
    let errors: Vec<&Value> =
        [&result["error"]].into_iter().filter(|error| !error.is_null()).collect();
    let now = now_ms();
    let body = json!({
        "title": format!("Result of {workflow}"),
        "content": {
            "type": "workflow_result",
            "data": {
                "workflow_id": workflow,
                "execution_id": result["execution_id"],
                "success": result["success"],
                "execution_time": result["execution_time"],
                "step_outputs": outputs,
                "final_result": result["final_result"],
                "errors": errors,
            },
        },
        "labels": { format!("result:{workflow}"): workflow },
    });
    let block = BlockRow { id: RunId::new().to_string(), body, created: now, updated: now };
    app.engine.store().put_block(namespace, block.clone(), true).await?;
    Ok(block)
}
