//! `waystation run`: runs a pipeline from a file and shows its progress.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures_util::{StreamExt, pin_mut};
use reqwest::Method;
use serde_json::{Map, Value, json};
use waystation_core::error::{Code, Error};
use waystation_core::run::Run;

use super::local::Server;
use super::progress::Progress;
use super::terminal::{self, style};
use super::{Failed, Outcome, read_config, read_file};
use crate::app::App;
use crate::http::{self, Context};
use crate::pipeline::{Begun, Refusal, begin};
use crate::view;

/// How often a run on a server is looked at.
const POLL: Duration = Duration::from_millis(150);

#[derive(Args)]
pub(super) struct RunFile {
    /// The pipeline's file; `-` reads standard input.
    file: PathBuf,
    /// Input for this run: NAME=VALUE sets that name of `input_data` (VALUE is JSON, else text);
    /// anything else is the `original_input`. May be given several times.
    #[arg(long, short)]
    input: Vec<String>,
    /// Print the reply as JSON and nothing else.
    #[arg(long)]
    json: bool,
}

impl RunFile {
    pub(super) async fn execute(self, data: PathBuf) -> Outcome {
        let body = with_inputs(&read_file(&self.file)?, &self.input)?;
        let mut progress = (!self.json).then(Progress::new);
        let detail = match Server::of(&data).await {
            Some(server) => on_server(&server, body, progress.as_mut()).await?,
            None => here(data, &body, progress.as_mut()).await?,
        };
        let reply = &detail["result"];
        match self.json {
            true => terminal::print_json(reply),
            false => summary(&detail),
        }
        match detail["status"].as_str() {
            Some("completed") => Ok(()),
            Some("cancelled") => Err(Failed::Interrupted),
            _ => Err(Failed::Run),
        }
    }
}

/// Runs it in this process.
async fn here(
    data: PathBuf,
    body: &str,
    mut progress: Option<&mut Progress>,
) -> Result<Value, Failed> {
    let config = read_config(data, true)?;
    let app = Arc::new(App::open(config, false).await?);
    listen(&app).await?;
    let Begun { submitted, definition } =
        begin(&app, body).await.map_err(|refusal| match refusal {
            Refusal::Invalid(errors) => Failed::Definition(errors),
            Refusal::Error(error) => Failed::Error(error),
        })?;
    if progress.is_some() {
        terminal::warnings(&definition.warnings);
    }
    let id = submitted.id;
    submitted.finished.accepted().await?;
    let mut run = Run::new(Arc::clone(&definition.program));
    let entries = app.engine.follow(id, 0);
    pin_mut!(entries);
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let mut cancelled = false;
    loop {
        tokio::select! {
            next = entries.next() => match next {
                Some(batch) => {
                    for entry in batch? {
                        run.apply(&entry, &mut Vec::new());
                    }
                    if let Some(progress) = &mut progress {
                        progress.update(&view::steps(&run));
                    }
                }
                None => break,
            },
            _ = &mut interrupted, if !cancelled => {
                cancelled = true;
                app.engine.request_cancel(id, "interrupted with Ctrl-C");
            }
        }
    }
    let line = app.engine.row(id).await?;
    app.engine.shutdown(Duration::from_secs(1)).await;
    Ok(view::detail(&line, &run, None))
}

/// Serves this process's own requests, so that URLs of a path alone work.
pub(super) async fn listen(app: &Arc<App>) -> Result<(), Error> {
    let (listener, address) = http::listen("127.0.0.1", 0).await.map_err(|error| {
        Error::new(Code::Internal, format!("cannot listen on 127.0.0.1: {error}"))
    })?;
    app.start(address).await?;
    let context = Context::new(Arc::clone(app), None, true);
    tokio::spawn(http::serve(listener, context, std::future::pending()));
    Ok(())
}

/// Runs it on the server that has the data directory.
async fn on_server(
    server: &Server,
    body: String,
    mut progress: Option<&mut Progress>,
) -> Result<Value, Failed> {
    let begun = server.call(Method::POST, "/execute", Some(body)).await?;
    if let Some(errors) = begun["validation_errors"].as_array() {
        let texts = errors.iter().filter_map(Value::as_str).map(str::to_owned);
        return Err(Failed::Definition(texts.collect()));
    }
    let path = format!("/runs/{}", begun["execution_id"].as_str().unwrap_or_default());
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let mut cancelled = false;
    loop {
        let detail = server.call(Method::GET, &path, None).await?;
        if let Some(progress) = &mut progress {
            progress.update(&detail["steps"]);
        }
        if detail["status"] != "running" {
            return Ok(detail);
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            _ = &mut interrupted, if !cancelled => {
                cancelled = true;
                server.call(Method::POST, &format!("{path}/cancel"), None).await?;
            }
        }
    }
}

fn summary(detail: &Value) {
    let reply = &detail["result"];
    let time = terminal::duration(reply["execution_time"].as_f64().unwrap_or(0.0));
    let id = detail["execution_id"].as_str().unwrap_or_default();
    let count = |name: &str| reply[name].as_u64().filter(|count| *count > 0);
    let counts = [
        ("completed", "steps_completed"),
        ("failed", "steps_failed"),
        ("aborted", "steps_aborted"),
    ];
    let counts: Vec<String> = counts
        .iter()
        .filter_map(|(word, field)| Some(format!("{} {word}", count(field)?)))
        .collect();
    let head = match detail["status"].as_str() {
        Some("completed") => style("Completed").green().bold(),
        Some("cancelled") => style("Cancelled").yellow().bold(),
        _ => style("Failed").red().bold(),
    };
    terminal::say(&format!(
        "{head} in {time}: {}  {}",
        counts.join(", "),
        style(&format!("run {id}")).dim()
    ));
    if let Some(error) = reply["error"].as_str() {
        terminal::say(&format!("{} {error}", style("error:").red().bold()));
    }
    log(detail);
    if let Some(result) = reply.get("final_result") {
        terminal::print_json(result);
    }
}

fn log(detail: &Value) {
    let lines = detail["log"].as_array().into_iter().flatten();
    for line in lines.filter(|line| line["level"] == "warning") {
        let step = line["step_name"].as_str().map(|name| format!("{name}: ")).unwrap_or_default();
        let message = line["message"].as_str().unwrap_or_default();
        terminal::say(&format!("{} {step}{message}", style("warning:").yellow().bold()));
    }
}

/// The body with the inputs of the command line.
fn with_inputs(text: &str, inputs: &[String]) -> Result<String, Error> {
    if inputs.is_empty() {
        return Ok(text.to_owned());
    }
    let invalid = |what: String| Error::new(Code::BodyInvalid, what);
    let body = serde_json::from_str(text).map_err(|error| invalid(format!("not JSON: {error}")))?;
    let Value::Object(mut body) = body else {
        return Err(invalid("the file must hold a JSON object".into()));
    };
    for input in inputs {
        match named(input) {
            Some((name, value)) => {
                let data = body.entry("input_data").or_insert_with(|| Value::Object(Map::new()));
                let data = data.as_object_mut();
                let data = data.ok_or_else(|| invalid("input_data must be an object".into()))?;
                data.insert(name.to_owned(), value);
            }
            None => drop(body.insert("original_input".into(), json!(input))),
        }
    }
    Ok(Value::Object(body).to_string())
}

/// `NAME=VALUE`, if it is that.
fn named(input: &str) -> Option<(&str, Value)> {
    let (name, value) = input.split_once('=')?;
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '-';
    let value = || serde_json::from_str(value).unwrap_or_else(|_| value.into());
    (!name.is_empty() && name.chars().all(is_name)).then(|| (name, value()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_replace_what_the_file_says() {
        let inputs = ["some text = more", "count=3", "name=Ada", "list=[1]"].map(String::from);
        let body = with_inputs(r#"{"original_input":"x","input_data":{"name":"Bob"}}"#, &inputs);
        let body: Value = serde_json::from_str(&body.unwrap()).unwrap();
        let expected = json!({
            "original_input": "some text = more",
            "input_data": { "name": "Ada", "count": 3, "list": [1] },
        });
        assert_eq!(body, expected);
        assert!(with_inputs("[]", &inputs).is_err());
        assert!(with_inputs(r#"{"input_data":1}"#, &inputs).is_err());
    }
}
