//! The HTTP request: calls a service and takes its answer apart. A node without output names gives the
//! response whole.
//!
//! - `spec`: how definitions know it, as `http` and as `webhook`
//! - `request`: the settings, and the request that they make
//! - `auth`: who calls
//! - `expected`: which statuses are a success
//! - `outcome`: from what came back to the result or failure

mod auth;
mod expected;
mod outcome;
mod request;
pub(super) mod spec;

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

use super::{Call, Effect, Outcome};
use crate::egress::{HttpClient, Request, Response, SendError};
pub(super) use auth::Auth;
use outcome::Reading;
pub(crate) use outcome::{
    content, cut_quotation, header_fields, may_pass, retry_after_ms, send_failure, text,
};
use request::Settings;
pub(crate) use request::{IDEMPOTENCY_KEY, encode, header, header_value, method, pass_on};

/// The node type.
pub struct Http {
    /// The process's outgoing client.
    pub client: Arc<HttpClient>,
}

#[async_trait]
impl Effect for Http {
    async fn attempt(&self, call: Call) -> Outcome {
        let mut settings = Settings::read(call.config)?;
        let (auth, expected) = (settings.auth()?, settings.expected()?);
        let mut request = settings.request(&call.idempotency_key)?;
        pass_on(&call.context, &mut request);
        if let Some(auth) = &auth {
            auth.sign(&mut request)?;
        }
        let reading = Reading {
            expected: expected.as_ref(),
            outputs: &call.outputs,
            spread: settings.spread,
        };
        let _place = call.context.place().await;
        let received = self.receive(request, settings.bytes_max()?, &reading).await;
        let mut response = received.map_err(|error| send_failure(&error))?;
        if let Some(auth) = &auth {
            auth.forget(&mut response.url);
        }
        reading.judge(&response, SystemTime::now())
    }
}

impl Http {
    /// The answer: whole where its status is a success for the node, else its beginning.
    async fn receive(
        &self,
        request: Request,
        bytes_max: usize,
        reading: &Reading<'_>,
    ) -> Result<Response, SendError> {
        let incoming = self.client.open(request, bytes_max).await?;
        let incoming = if reading.takes(incoming.status) { incoming.wanted()? } else { incoming };
        incoming.whole().await
    }
}

#[cfg(test)]
mod definitions;
#[cfg(test)]
mod tests;
