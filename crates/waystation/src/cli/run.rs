//! `waystation run`: runs a pipeline from a file and shows its progress.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures_util::{StreamExt, pin_mut};
use reqwest::Method;
use serde_json::{Map, Value, json};
use tokio::signal::unix::{Signal, SignalKind};
use waystation_core::dialect::pipeline::Request;
use waystation_core::dialect::pipeline::reply::invalid;
use waystation_core::error::{Code, Error};
use waystation_core::run::Run;

use super::local::Server;
use super::progress::Progress;
use super::terminal::{self, style};
use super::{Failed, Outcome, read_config, read_file, signals};
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
        let ended = self.begin_to_end(data).await;
        if let (true, Err(Failed::Definition(problems))) = (self.json, &ended) {
            terminal::print_json(&invalid(problems));
        }
        let Ended { detail, interrupted } = ended?;
        let reply = &detail["result"];
        match self.json {
            true => terminal::print_json(reply),
            false => summary(&detail),
        }
        match detail["status"].as_str() {
            Some("completed") => Ok(()),
            _ if interrupted => Err(Failed::Interrupted),
            _ => Err(Failed::Run),
        }
    }

    async fn begin_to_end(&self, data: PathBuf) -> Result<Ended, Failed> {
        let text = read_file(&self.file)?;
        let body = with_inputs(&text, &self.input).map_err(Failed::definition)?;
        let mut progress = (!self.json).then(Progress::new);
        let interrupt = signals::listen(SignalKind::interrupt())?;
        match Server::of(&data).await {
            Some(server) => on_server(&server, body, interrupt, progress.as_mut()).await,
            None => here(data, &body, interrupt, progress.as_mut()).await,
        }
    }
}

/// A run that has ended, whatever way.
struct Ended {
    detail: Value,
    /// The user asked it to end.
    interrupted: bool,
}

/// Runs it in this process.
async fn here(
    data: PathBuf,
    body: &str,
    mut interrupt: Signal,
    mut progress: Option<&mut Progress>,
) -> Result<Ended, Failed> {
    let config = read_config(data, true)?;
    let app = Arc::new(App::open(config, false).await?);
    listen(&app).await?;
    let Begun { submitted, definition } =
        begin(&app, body).await.map_err(|refusal| match refusal {
            Refusal::Invalid(errors) => Failed::Definition(errors),
            Refusal::Error(error) => Failed::definition(error),
        })?;
    let id = submitted.id;
    submitted.finished.accepted().await?;
    let mut run = Run::new(Arc::clone(&definition.program));
    let entries = app.engine.follow(id, 0);
    pin_mut!(entries);
    let mut interrupted = false;
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
            _ = interrupt.recv() => {
                // Who asks twice does not want to wait for the end.
                if interrupted {
                    return Err(Failed::Interrupted);
                }
                interrupted = true;
                app.engine.request_cancel(id, "interrupted with Ctrl-C");
            }
        }
    }
    let line = app.engine.row(id).await?;
    app.engine.shutdown(Duration::from_secs(1)).await;
    let cursor = app.engine.store().cursor(id).await.map_err(Error::from)?;
    Ok(Ended { detail: view::detail(&line, &run, cursor.as_ref()), interrupted })
}

/// Serves this process's own requests, so that URLs of a path alone work.
pub(super) async fn listen(app: &Arc<App>) -> Result<(), Error> {
    let (listener, address) = http::listen("127.0.0.1", 0).await.map_err(|error| {
        Error::new(Code::Internal, format!("cannot listen on 127.0.0.1: {error}"))
    })?;
    app.start(address).await?;
    let context = Context::new(Arc::clone(app), None, true);
    tokio::spawn(http::serve(listener, http::router(context), std::future::pending()));
    Ok(())
}

/// Runs it on the server that has the data directory.
async fn on_server(
    server: &Server,
    body: String,
    mut interrupt: Signal,
    mut progress: Option<&mut Progress>,
) -> Result<Ended, Failed> {
    let begun = server.call(Method::POST, "/execute", Some(body)).await;
    let begun = begun.map_err(Failed::definition)?;
    if let Some(errors) = begun["validation_errors"].as_array() {
        let texts = errors.iter().filter_map(Value::as_str).map(str::to_owned);
        return Err(Failed::Definition(texts.collect()));
    }
    let path = format!("/runs/{}", begun["execution_id"].as_str().unwrap_or_default());
    let mut interrupted = false;
    loop {
        let detail = server.call(Method::GET, &path, None).await?;
        if let Some(progress) = &mut progress {
            progress.update(&detail["steps"]);
        }
        if detail["status"] != "running" {
            return Ok(Ended { detail, interrupted });
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            _ = interrupt.recv() => {
                // Who asks twice does not want to wait for the end.
                if interrupted {
                    return Err(Failed::Interrupted);
                }
                interrupted = true;
                cancel(server, &path).await?;
            }
        }
    }
}

/// Asks the server to end a run, which may have just ended by itself.
async fn cancel(server: &Server, path: &str) -> Result<(), Error> {
    match server.call(Method::POST, &format!("{path}/cancel"), None).await {
        Err(error) if error.code != Code::RunEnded => Err(error),
        _ => Ok(()),
    }
}

fn summary(detail: &Value) {
    let detail = &terminal::plain_value(detail);
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
    // A failed step has said it already.
    let is_told = reply["steps_failed"].as_u64().is_some_and(|count| count > 0);
    if let Some(error) = reply["error"].as_str().filter(|_| !is_told) {
        terminal::say(&format!("{} {error}", style("error:").red().bold()));
    }
    log(detail);
    webhook(&detail["webhook"]);
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

/// Says what a receiver has not taken.
fn webhook(webhook: &Value) {
    let after = match webhook["state"].as_str() {
        Some("dead") => "it is not told more",
        Some("retrying") => "the next `waystation serve` on this data tells it the rest",
        _ => return,
    };
    let error = webhook["error"].as_str().unwrap_or_default();
    let mark = style("warning:").yellow().bold();
    terminal::say(&format!("{mark} the webhook's receiver did not take all: {error}; {after}"));
}

/// The body with the inputs of the command line.
fn with_inputs(text: &str, inputs: &[String]) -> Result<String, Error> {
    if inputs.is_empty() {
        return Ok(text.to_owned());
    }
    let invalid = |what: String| Error::new(Code::BodyInvalid, what);
    // What the file says wrong is told in the same words as without inputs.
    Request::parse(text)?;
    let mut body: Map<String, Value> = serde_json::from_str(text)
        .map_err(|error| invalid(format!("The body is not valid JSON: {error}")))?;
    for input in inputs {
        match named(input) {
            Some((name, value)) => {
                let data = body.entry("input_data").or_insert_with(|| Value::Object(Map::new()));
                let data = data.as_object_mut();
                let data =
                    data.ok_or_else(|| invalid("Field input_data must be an object".into()))?;
                data.insert(name.to_owned(), value);
            }
            None => drop(body.insert("original_input".into(), json!(input))),
        }
    }
    Ok(json!(body).to_string())
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
