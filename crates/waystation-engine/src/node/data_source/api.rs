//! Rows from an API over HTTP: the items of the JSON array that it answers with.

use std::sync::Arc;

use serde_json::{Value, json};
use waystation_core::error::Failure;

use super::SourceType;
use super::answer::Answer;
use super::failure::refused;
use super::settings::{Settings, invalid};
use crate::egress::HttpClient;
use crate::node::{Call, Completion, Effect, Outcome, http};

/// Makes the request as the `http` type does, and takes its answer for rows.
pub(super) async fn ask(client: &Arc<HttpClient>, settings: Settings, call: Call) -> Outcome {
    let limit = settings.rows();
    let config = request(settings)?;
    let http = http::Http { client: Arc::clone(client) };
    // Without names of outputs the response is given whole.
    let call = Call { config, outputs: Vec::new(), ..call };
    let completion = http.attempt(call).await?;
    let Value::Object(mut response) = completion.output else { return Ok(completion) };
    let body = response.shift_remove("json");
    let body = body.ok_or_else(|| refused(SourceType::Api, "the answer is no JSON"))?;
    let mut output = rows(body, limit)?.output();
    for name in ["status_code", "headers", "url"] {
        if let Some(value) = response.shift_remove(name) {
            output.insert(name.to_owned(), value);
        }
    }
    Ok(Completion { output: Value::Object(output), ..completion })
}

/// The settings of the request. What is no plain question needs leave to change something.
fn request(settings: Settings) -> Result<Value, Failure> {
    let method = settings.method.unwrap_or_else(|| "GET".to_owned());
    let is_question = ["GET", "HEAD"].iter().any(|name| name.eq_ignore_ascii_case(method.trim()));
    if !is_question && !settings.write {
        return Err(invalid("method: any but GET and HEAD needs `write: true`"));
    }
    let url = settings.endpoint.ok_or_else(|| invalid("endpoint: is missing"))?;
    Ok(json!({
        "method": method, "url": url, "headers": settings.headers, "params": settings.params,
        "auth": settings.auth, "body": settings.body,
    }))
}

/// The items of an array, or the one value that there is. A row that is no object becomes one.
fn rows(body: Value, limit: usize) -> Result<Answer, Failure> {
    let mut answer = Answer::new(SourceType::Api, limit);
    let items = match body {
        Value::Array(items) => items,
        Value::Null => Vec::new(),
        one => vec![one],
    };
    for item in items {
        if answer.is_full() {
            break;
        }
        answer.push(if item.is_object() { item } else { json!({ "value": item }) })?;
    }
    Ok(answer)
}
