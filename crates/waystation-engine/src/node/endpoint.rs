//! The endpoint: calls an API through an endpoint worker, which may stand on another host.
//!
//! Settings: `endpoint_url` (the worker; a path means this very server), `api_url`, and optionally
//! `method`, `headers`, `body`, `retries`, `retry_delay` and `timeout` (milliseconds). An API whose
//! address contains `/mock/` is called directly.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;
use waystation_core::error::{Code, Failure};

use super::http::{
    IDEMPOTENCY_KEY, content, header, header_fields, header_value, may_pass, pass_on,
    retry_after_ms, send_failure, text,
};
use super::model::settings::read;
use super::{AttemptContext, Call, Effect, Outcome};
use crate::egress::{HttpClient, Request, Response};
use crate::limits::WORKER_REPLY_BYTES;
use crate::worker::{RETRIES, RETRY_DELAY_MS, TIMEOUT_MS};

/// What is in the address of an API that needs no worker.
const MOCK: &str = "/mock/";
const BLOCKED: &str =
    "WAYSTATION_EGRESS or WAYSTATION_EGRESS_ALLOW, set where the worker runs, may allow the target";
/// Where workers stand on this very server.
const OWN_WORKERS: [&str; 2] = ["/endpoint-", "/endpoints/"];
const NO_WORKER: &str = "endpoint_url has to be the address of an endpoint worker";

/// The node type.
pub struct Endpoint {
    /// The process's outgoing client.
    pub client: Arc<HttpClient>,
}

#[async_trait]
impl Effect for Endpoint {
    async fn attempt(&self, call: Call) -> Outcome {
        let endpoint = read("endpoint", call.config)?;
        let answer =
            call_endpoint(&self.client, &endpoint, &call.idempotency_key, &call.context).await?;
        Ok(answer.into_output().into())
    }
}

/// A call of an API through a worker. May hold keys: never log it.
#[derive(Clone, Deserialize)]
pub struct EndpointCall {
    /// The worker: an address, or a path on this very server.
    pub endpoint_url: String,
    /// The API.
    pub api_url: String,
    /// The method of the call; GET where it is not said.
    #[serde(default)]
    pub method: Option<String>,
    /// Its headers.
    #[serde(default)]
    pub headers: Option<Map<String, Value>>,
    /// Its body; null for none.
    #[serde(default)]
    pub body: Value,
    /// How often the worker tries again; 3 where it is not said.
    #[serde(default)]
    pub retries: Option<u64>,
    /// The worker's wait before it first tries again, in milliseconds; 1000 where it is not said.
    #[serde(default)]
    pub retry_delay: Option<u64>,
    /// How long one of the worker's attempts may take, in milliseconds; 30000 where it is not said.
    #[serde(default)]
    pub timeout: Option<u64>,
}

/// What an API answered.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointAnswer {
    /// Its status.
    pub status: u16,
    /// How often it was called.
    pub attempts: u64,
    /// The headers of the answer.
    pub headers: Value,
    /// The body: text, or the value that its JSON says.
    pub body: Value,
}

impl EndpointAnswer {
    /// The body as text: a string as it is, everything else as compact JSON.
    pub fn text(&self) -> String {
        match &self.body {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    fn into_output(self) -> Value {
        let text = self.text();
        let EndpointAnswer { status, attempts, headers, body } = self;
        let mut output =
            json!({ "text": text, "status": status, "attempts": attempts, "headers": headers });
        if !body.is_string() {
            output["json"] = body;
        }
        output
    }
}

/// Calls an API through a worker. The key makes repeated calls recognisable.
pub async fn call_endpoint(
    client: &HttpClient,
    call: &EndpointCall,
    idempotency_key: &str,
    context: &AttemptContext,
) -> Result<EndpointAnswer, Failure> {
    let is_mock = call.api_url.contains(MOCK);
    let mut request = if is_mock { mock_request(call)? } else { request(call, idempotency_key)? };
    pass_on(context, &mut request);
    let _place = context.place().await;
    let sent = client.send(request, WORKER_REPLY_BYTES).await;
    let response = sent.map_err(|error| send_failure(&error))?;
    if is_mock { mock_answer(&response) } else { answer(&response) }
}

fn invalid(message: String) -> Failure {
    Failure::fatal(Code::DefinitionInvalid, message)
}

/// An address, or a path to a worker on this server. Other paths, which no policy guards, would let
/// whoever may begin chains, or an answer that ends up in an address, use all of the server's routes.
fn place(address: &str) -> Result<&str, Failure> {
    let address = address.trim();
    if !address.starts_with('/') || address.starts_with("//") {
        return Ok(address);
    }
    // As the client reads it: dots and backslashes may lead elsewhere.
    let url = Url::parse("http://this/").and_then(|base| base.join(address));
    if url.is_ok_and(|url| OWN_WORKERS.iter().any(|place| url.path().starts_with(place))) {
        return Ok(address);
    }
    let failure = invalid("This path of this server is no endpoint worker".into());
    Err(Failure { hint: Some("give /endpoint-1, /endpoints/{name}, or a URL".into()), ..failure })
}

fn request(call: &EndpointCall, idempotency_key: &str) -> Result<Request, Failure> {
    let mut request = Request::new(Method::POST, place(&call.endpoint_url)?);
    request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    request.headers.insert(IDEMPOTENCY_KEY, header_value("Idempotency-Key", idempotency_key)?);
    let mut body = json!({
        "url": call.api_url.trim(),
        "method": call.method.as_deref().unwrap_or("GET"),
        "headers": call.headers.clone().unwrap_or_default(),
        "retries": call.retries.unwrap_or(RETRIES),
        "retryDelay": call.retry_delay.unwrap_or(RETRY_DELAY_MS),
        "timeout": call.timeout.unwrap_or(TIMEOUT_MS),
    });
    if !call.body.is_null() {
        body["body"] = call.body.clone();
    }
    request.body = Some(body.to_string().into());
    // The headers for the API are in it.
    request.is_body_private = true;
    Ok(request)
}

fn mock_request(call: &EndpointCall) -> Result<Request, Failure> {
    let mut request = Request::new(Method::GET, place(&call.api_url)?);
    for (name, value) in call.headers.iter().flatten() {
        let (name, value) = header(name, value)?;
        request.headers.insert(name, value);
    }
    Ok(request)
}

fn mock_answer(response: &Response) -> Result<EndpointAnswer, Failure> {
    let status = response.status;
    if !status.is_success() {
        let reason = status.canonical_reason().unwrap_or_default();
        let message =
            format!("API call failed after 1 attempts: HTTP {}: {reason}", status.as_u16());
        return Err(failure(message, may_pass(status), response));
    }
    let headers = header_fields(&response.headers).into();
    Ok(EndpointAnswer { status: status.as_u16(), attempts: 1, headers, body: content(response) })
}

/// What the worker tells, if it is one.
fn answer(response: &Response) -> Result<EndpointAnswer, Failure> {
    let status = response.status;
    let text = text(response);
    let error = || format!("Endpoint worker error: {} - {text}", status.as_u16());
    let reply: Value = serde_json::from_str(&text).unwrap_or_default();
    if !status.is_success() {
        let hint = (reply["errorType"] == "blocked").then(|| BLOCKED.to_owned());
        return Err(Failure { hint, ..failure(error(), may_pass(status), response) });
    }
    if reply["success"] == false {
        return Err(api_failure(&reply, response));
    }
    let Some(body) = reply.get("body") else {
        return Err(Failure { hint: Some(NO_WORKER.into()), ..failure(error(), false, response) });
    };
    let number = |name: &str| reply[name].as_u64();
    Ok(EndpointAnswer {
        status: number("status").and_then(|one| u16::try_from(one).ok()).unwrap_or(status.as_u16()),
        attempts: number("attempts").unwrap_or(1),
        headers: reply["headers"].clone(),
        body: body.clone(),
    })
}

fn api_failure(reply: &Value, response: &Response) -> Failure {
    let said = |name: &str| reply[name].as_str().filter(|text| !text.is_empty());
    let reason = said("error").or_else(|| said("statusText")).unwrap_or("no reason given");
    let attempts = reply["attempts"].as_u64().unwrap_or(1);
    let status = reply["status"].as_u64().and_then(|status| u16::try_from(status).ok());
    let is_refusal = status
        .and_then(|status| StatusCode::from_u16(status).ok())
        .is_some_and(|status| status.is_client_error() && !may_pass(status));
    let error_type = said("errorType");
    let is_fatal = is_refusal || matches!(error_type, Some("validation" | "blocked"));
    let message = format!("API call failed after {attempts} attempts: {reason}");
    let hint = (error_type == Some("blocked")).then(|| BLOCKED.to_owned());
    Failure { hint, ..failure(message, !is_fatal, response) }
}

/// Quotations are cut when the attempt ends, after secrets have been taken out.
fn failure(message: String, may_pass: bool, response: &Response) -> Failure {
    match may_pass {
        true => {
            let after_ms = retry_after_ms(&response.headers, SystemTime::now());
            Failure::retryable(Code::HttpStatus, message, after_ms)
        }
        false => Failure::fatal(Code::HttpStatus, message),
    }
}

#[cfg(test)]
mod tests;
