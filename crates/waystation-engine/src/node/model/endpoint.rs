//! The call of an API through an endpoint worker.

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use waystation_core::error::{Code, Failure};

use crate::egress::{HttpClient, Request};
use crate::limits::RESPONSE_BYTES;
use crate::node::Ambience;

/// A call of an API through a worker.
#[derive(Clone, Deserialize)]
pub(in crate::node) struct EndpointCall {
    pub(in crate::node) endpoint_url: String,
    pub(in crate::node) api_url: String,
    #[serde(default)]
    pub(in crate::node) method: Option<String>,
    #[serde(default)]
    pub(in crate::node) headers: Option<Map<String, Value>>,
    #[serde(default)]
    pub(in crate::node) body: Value,
    #[serde(default)]
    pub(in crate::node) retries: Option<u64>,
    #[serde(default)]
    pub(in crate::node) retry_delay: Option<u64>,
    #[serde(default)]
    pub(in crate::node) timeout: Option<u64>,
}

/// What an API answered.
pub(in crate::node) struct EndpointAnswer {
    body: Value,
}

impl EndpointAnswer {
    pub(in crate::node) fn text(&self) -> String {
        super::text_of(self.body.clone())
    }
}

/// Calls an API through a worker.
pub(in crate::node) async fn call_endpoint(
    client: &HttpClient,
    call: &EndpointCall,
    _idempotency_key: &str,
    ambience: &Ambience,
) -> Result<EndpointAnswer, Failure> {
    let mut request = Request::new(Method::POST, call.endpoint_url.trim());
    request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let body = json!({
        "url": call.api_url,
        "method": call.method.as_deref().unwrap_or("GET"),
        "headers": call.headers.clone().unwrap_or_default(),
        "body": call.body,
        "retries": call.retries.unwrap_or(3),
        "retryDelay": call.retry_delay.unwrap_or(1_000),
        "timeout": call.timeout.unwrap_or(30_000),
    });
    request.body = Some(Bytes::from(body.to_string()));
    let _place = ambience.place().await;
    let response = client
        .send(request, RESPONSE_BYTES)
        .await
        .map_err(|error| Failure::retryable(Code::Transport, error.to_string(), None))?;
    let text = String::from_utf8_lossy(&response.body);
    if !response.status.is_success() {
        let message = format!("Endpoint worker error: {} - {text}", response.status.as_u16());
        return Err(Failure::retryable(Code::HttpStatus, message, None));
    }
    let mut reply: Value = serde_json::from_str(&text).unwrap_or_default();
    Ok(EndpointAnswer { body: reply["body"].take() })
}
