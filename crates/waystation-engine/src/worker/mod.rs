//! Endpoint workers: one request in, a call of some API with its retries, one reply out.
//!
//! - `request`: what the caller asks for, checked
//! - `reply`: what the caller is told, and with which status
//!
//! A worker holds none of the engine's places: a node that calls a worker of its own server has one
//! already, and would wait for itself.

mod reply;
mod request;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use reqwest::header::HeaderValue;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use crate::egress::{HttpClient, SendError};
use crate::limits;
use crate::node::http::{may_pass, retry_after_ms};
use reply::{Account, End};
pub use reply::{ErrorType, Reply};
use request::Task;

/// Makes calls for others.
pub struct Worker {
    client: Arc<HttpClient>,
    places: Semaphore,
}

impl Worker {
    /// A worker that goes out by this client, under its policy.
    pub fn new(client: Arc<HttpClient>) -> Worker {
        Worker { client, places: Semaphore::new(limits::WORKER_CALLS) }
    }

    /// Does what a request asks for. The key makes repeated requests recognisable to the API, where
    /// the request has no such header of its own.
    pub async fn answer(&self, request: &Map<String, Value>, key: Option<&HeaderValue>) -> Reply {
        let task = match Task::read(request, key) {
            Ok(task) => task,
            Err(problems) => return Reply::invalid(&problems.join("; ")),
        };
        match self.places.try_acquire() {
            Ok(_place) => Reply::new(self.perform(&task).await),
            Err(_) => Reply::busy(),
        }
    }

    async fn perform(&self, task: &Task) -> Account {
        let began = Instant::now();
        let left = || limits::WORKER_DURATION_MAX.saturating_sub(began.elapsed());
        let mut attempts = 0;
        loop {
            attempts += 1;
            let attempt_began = Instant::now();
            let end = self.attempt(task, left()).await;
            let duration = attempt_began.elapsed();
            match wait(task, attempts, &end).filter(|wait| *wait < left()) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => {
                    let (total, retries) = (began.elapsed(), task.retries);
                    return Account { end, attempts, retries, duration, total };
                }
            }
        }
    }

    async fn attempt(&self, task: &Task, left: Duration) -> End {
        let limit = task.timeout.min(left);
        let send = self.client.send(task.request.clone(), limits::RESPONSE_BYTES);
        match tokio::time::timeout(limit, send).await {
            Ok(Ok(response)) => End::Answer(response),
            Ok(Err(error)) => failed(&error),
            Err(_) => End::Problem {
                error_type: ErrorType::Timeout,
                message: format!("No answer within {} ms", limit.as_millis()),
                may_pass: true,
            },
        }
    }
}

fn failed(error: &SendError) -> End {
    let (error_type, may_pass) = match error {
        SendError::Refused(_) => (ErrorType::Blocked, false),
        SendError::Timeout(_) => (ErrorType::Timeout, true),
        SendError::Transport(_) => (ErrorType::Network, true),
        // The URL has been checked: what is wrong is what the other side answered.
        SendError::Invalid(_) | SendError::TooLarge { .. } | SendError::Redirects { .. } => {
            (ErrorType::Network, false)
        }
    };
    End::Problem { error_type, message: error.to_string(), may_pass }
}

/// How long to wait for the next attempt, if there is to be one.
fn wait(task: &Task, attempts: u64, end: &End) -> Option<Duration> {
    let (again, asked_ms) = match end {
        End::Answer(answer) => {
            (may_pass(answer.status), retry_after_ms(&answer.headers, SystemTime::now()))
        }
        End::Problem { may_pass, .. } => (*may_pass, None),
    };
    if !again || attempts > task.retries {
        return None;
    }
    let doubled = 2u32.saturating_pow(u32::try_from(attempts - 1).unwrap_or(u32::MAX));
    let asked = Duration::from_millis(asked_ms.unwrap_or(0));
    Some(task.retry_delay.saturating_mul(doubled).max(asked))
}

#[cfg(test)]
mod tests;
