//! The HTTP request: calls a service and takes its answer apart.
//!
//! Settings: `method`, `url`, and optionally `headers`, `params` (the query), `body` and
//! `response_limit` (bytes). A node without output names gives the response whole.

mod outcome;
mod request;

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

use super::{Call, Effect, Outcome};
use crate::egress::HttpClient;
pub(crate) use outcome::{
    content, cut_quotation, header_fields, may_pass, retry_after_ms, send_failure, text,
};
use request::Settings;
pub(crate) use request::{IDEMPOTENCY_KEY, encode, header, header_value, method};

/// The node type.
pub struct Http {
    /// The process's outgoing client.
    pub client: Arc<HttpClient>,
}

#[async_trait]
impl Effect for Http {
    async fn attempt(&self, call: Call) -> Outcome {
        let settings = Settings::read(call.config)?;
        let request = settings.request(&call.idempotency_key)?;
        let _place = call.context.place().await;
        let sent = self.client.send(request, settings.bytes_max()?).await;
        let response = sent.map_err(|error| outcome::send_failure(&error))?;
        outcome::judge(&response, &call.outputs, SystemTime::now())
    }
}

#[cfg(test)]
mod tests;
