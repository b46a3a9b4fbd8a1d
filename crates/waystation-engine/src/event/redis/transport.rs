//! The two ways to reach Redis: its own protocol, and Upstash's REST interface.

use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisError, RetryMethod};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use url::Url;
use waystation_core::error::{Code, Error};

use super::Write;
use super::values::VALUE_BYTES_MAX;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
const EXPIRE_SECONDS: u32 = 3_600;
/// REST requests under way at once.
const REQUESTS_LIVE: usize = 16;
/// What Redis says beyond a value is short; a longer answer is none.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// What Redis says to one command of several.
const ANSWER_BYTES: usize = 1 << 10;

/// How to get a [`Link`].
#[derive(Clone)]
pub(super) enum Transport {
    Protocol(redis::Client),
    Rest(Rest),
}

/// A Redis that has answered.
#[derive(Clone)]
pub(super) enum Link {
    Protocol(MultiplexedConnection),
    Rest(Rest),
}

/// What Redis said to one command: taken, or why not.
pub(super) type Answer<T = ()> = Result<T, String>;

impl Transport {
    /// Connects and asks for a sign of life, so that a wrong password shows at once.
    pub(super) async fn connect(&self) -> Result<Link, String> {
        let mut link = match self {
            Transport::Protocol(client) => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(CONNECT_TIMEOUT))
                    .set_response_timeout(Some(REPLY_TIMEOUT));
                let connected = client.get_multiplexed_async_connection_with_config(&config).await;
                Link::Protocol(connected.map_err(text)?)
            }
            Transport::Rest(rest) => Link::Rest(rest.clone()),
        };
        link.ping().await.map(|()| link)
    }
}

impl Link {
    /// Asks for a sign of life.
    async fn ping(&mut self) -> Result<(), String> {
        match self {
            Link::Protocol(connection) => {
                redis::cmd("PING").query_async::<()>(connection).await.map_err(text)
            }
            Link::Rest(rest) => rest.send(&json!(["PING"]), 0).await?.map(drop),
        }
    }

    /// Looks after a connection that has nothing to do. REST has none, and counts every command.
    pub(super) async fn keep_alive(&mut self) -> Result<(), String> {
        match self {
            Link::Protocol(_) => self.ping().await,
            Link::Rest(_) => Ok(()),
        }
    }

    /// Writes outputs from the first on; answers for as many as it sent, at least one. An error means
    /// that Redis does not work just now, and that all of them may be sent again.
    pub(super) async fn write(&mut self, writes: &[Write]) -> Result<Vec<Answer>, String> {
        let Link::Rest(rest) = self else {
            let commands: Vec<_> = writes.iter().map(set_command).collect();
            return self.commands(&commands).await;
        };
        let wave = &writes[..distinct(writes)];
        join_all(wave.iter().map(|write| rest.write(write))).await.into_iter().collect()
    }
}

impl Link {
    /// The value under a key.
    pub(super) async fn get(&mut self, key: &str) -> Result<Option<String>, String> {
        match self {
            Link::Protocol(connection) => {
                redis::cmd("GET").arg(key).query_async(connection).await.map_err(text)
            }
            Link::Rest(rest) => {
                let value = rest.send(&json!(["GET", key]), VALUE_BYTES_MAX).await??;
                Ok(value.as_str().map(str::to_owned))
            }
        }
    }

    /// Puts a value under a key for so many seconds.
    pub(super) async fn set(&mut self, key: &str, value: &str, seconds: u64) -> Result<(), String> {
        match self {
            Link::Protocol(connection) => {
                let mut set = redis::cmd("SET");
                set.arg(key).arg(value).arg("EX").arg(seconds);
                set.query_async(connection).await.map_err(text)
            }
            Link::Rest(rest) => {
                let set = json!(["SET", key, value, "EX", seconds.to_string()]);
                rest.send(&set, 0).await?.map(drop)
            }
        }
    }
}

impl Link {
    /// Sends commands in order and answers for each. An error means that Redis does not work just now, and
    /// that all of them may be sent again.
    pub(super) async fn commands(
        &mut self,
        commands: &[Vec<String>],
    ) -> Result<Vec<Answer>, String> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        match self {
            Link::Protocol(connection) => {
                let mut pipeline = redis::pipe();
                pipeline.ignore_errors();
                for command in commands {
                    command[1..].iter().fold(pipeline.cmd(&command[0]), |all, word| all.arg(word));
                }
                let replies: Vec<Result<(), RedisError>> =
                    pipeline.query_async(connection).await.map_err(text)?;
                replies.into_iter().map(answer).collect()
            }
            Link::Rest(rest) => rest.send_all(commands).await,
        }
    }
}

/// What an answer to one command of several means: an error for all, where it will pass.
fn answer(reply: Result<(), RedisError>) -> Result<Answer, String> {
    use RetryMethod::{Reconnect, RefreshSlotsAndRetry, WaitAndRetry};
    match reply {
        Ok(()) => Ok(Ok(())),
        Err(error) => match error.retry_method() {
            Reconnect | RefreshSlotsAndRetry | WaitAndRetry => Err(text(error)),
            _ => Ok(Err(text(error))),
        },
    }
}

fn set_command(write: &Write) -> Vec<String> {
    let (value, expire) = (write.value.to_string(), EXPIRE_SECONDS.to_string());
    vec!["SET".into(), write.key.clone(), value, "EX".into(), expire]
}

/// How many of the first writes may be under way together: those with one key have to keep their order.
fn distinct(writes: &[Write]) -> usize {
    let repeats = |at: &usize| writes[..*at].iter().any(|earlier| earlier.key == writes[*at].key);
    let most = writes.len().min(REQUESTS_LIVE);
    (0..most).find(repeats).unwrap_or(most)
}

#[allow(clippy::needless_pass_by_value)] // for `map_err`
fn text(error: impl ToString) -> String {
    error.to_string()
}

/// Upstash's REST interface: each command is one POST.
#[derive(Clone)]
pub(super) struct Rest {
    client: reqwest::Client,
    url: Url,
    authorization: HeaderValue,
}

impl Rest {
    /// The operator chose the address, so the policy for addresses out of definitions does not apply.
    pub(super) fn new(url: Url, token: &str) -> Result<Rest, Error> {
        let mut authorization =
            HeaderValue::from_str(&format!("Bearer {}", token)).map_err(|_| {
                Error::new(Code::SettingInvalid, "UPSTASH_REST_TOKEN cannot stand in a header")
                    .with_hint("copy it again, in one line")
            })?;
        authorization.set_sensitive(true);
        crate::egress::install_tls();
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CONNECT_TIMEOUT + REPLY_TIMEOUT)
            .build()
            .map_err(|error| Error::new(Code::Internal, format!("no HTTP client: {error}")))?;
        Ok(Rest { client, url, authorization })
    }

    async fn write(&self, write: &Write) -> Result<Answer, String> {
        Ok(self.send(&json!(set_command(write)), 0).await?.map(drop))
    }

    /// The answer to a request, with results of so many bytes at the most. An error means that nobody
    /// answers for Redis just now.
    async fn post(
        &self,
        url: Url,
        body: &Value,
        most: usize,
    ) -> Result<(StatusCode, Vec<u8>), String> {
        let request = self.client.post(url).json(body);
        let request = request.header(AUTHORIZATION, self.authorization.clone());
        let response = request.send().await.map_err(|error| text(error.without_url()))?;
        let status = response.status();
        let body = read_body(response, ANSWER_BYTES_MAX + most).await?;
        if passes(status) { Err(format!("HTTP {status}")) } else { Ok((status, body)) }
    }

    /// Sends commands in order. An error means that nobody answers for Redis just now.
    async fn send_all(&self, commands: &[Vec<String>]) -> Result<Vec<Answer>, String> {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push("pipeline");
        }
        let most = commands.len() * ANSWER_BYTES;
        let (status, body) = self.post(url, &json!(commands), most).await?;
        let answers: Vec<Value> = serde_json::from_slice(&body)
            .map_err(|_| format!("HTTP {status} without the answers of Redis"))?;
        let answer = |answer: &Value| match answer.get("error").and_then(Value::as_str) {
            Some(error) => Err(error.to_owned()),
            None => Ok(()),
        };
        match answers.len() == commands.len() {
            true => Ok(answers.iter().map(answer).collect()),
            false => Err("Redis has answered another number of commands".into()),
        }
    }

    /// Sends a command whose result has so many bytes at the most. An error means that nobody answers
    /// for Redis just now.
    async fn send(&self, command: &Value, most: usize) -> Result<Answer<Value>, String> {
        let (status, body) = self.post(self.url.clone(), command, most).await?;
        let mut answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        let result = answer.get_mut("result").map(Value::take);
        match (answer.get("error").and_then(Value::as_str), result) {
            (Some(error), _) => Ok(Err(error.to_owned())),
            (None, Some(result)) if status.is_success() => Ok(Ok(result)),
            _ => Err(format!("HTTP {status} without an answer of Redis")),
        }
    }
}

/// Statuses that say nothing about the command: the token or the service is not right, now.
fn passes(status: StatusCode) -> bool {
    matches!(status.as_u16(), 401 | 403 | 408 | 425 | 429) || status.is_server_error()
}

async fn read_body(mut response: Response, most: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| text(error.without_url()))? {
        body.extend_from_slice(&chunk);
        if body.len() > most {
            return Err("an answer far too long for Redis".into());
        }
    }
    Ok(body)
}
