//! `waystation run`: runs a definition from a file and shows its progress.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures_util::{StreamExt, pin_mut, stream};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::MissedTickBehavior;
use waystation_core::dialect::pipeline::reply::invalid;
use waystation_core::error::{Code, Error};
use waystation_core::run::Run;
use waystation_engine::id::RunId;
use waystation_engine::node::context::Token;
use waystation_engine::secret::new_token;

use super::definition::Format;
use super::inputs::{INPUT, WORKFLOW, object, streamed, with_inputs};
use super::local::Server;
use super::progress::Progress;
use super::workflow::refused;
use super::{Failed, Outcome, read_config, read_file, signals, summary, terminal};
use crate::app::App;
use crate::begin::{Begun, Refusal, Terms};
use crate::http::{self, Context, DoorSettings, Doors};
use crate::settings::Sources;
use crate::view::{self, Seen};
use crate::{chain, pipeline, workflows};

/// How often a run on a server is looked at.
const POLL: Duration = Duration::from_millis(150);

#[derive(Args)]
pub(super) struct RunFile {
    /// The file of a pipeline, an instruction chain or a workflow; `-` reads standard input.
    file: PathBuf,
    /// Input for this run. Of a chain: its context. Of a workflow: NAME=VALUE sets that name of its
    /// input (VALUE is JSON, else text); anything else is the input, as JSON. Of a pipeline: likewise
    /// for `input_data` and the `original_input`. The last two may be given several times.
    #[arg(long, short)]
    input: Vec<String>,
    /// The file's format, which is otherwise seen from its fields.
    #[arg(long)]
    format: Option<Format>,
    /// Print the reply as JSON and nothing else.
    #[arg(long)]
    json: bool,
}

impl RunFile {
    pub(super) async fn execute(self, sources: &Sources) -> Outcome {
        let ended = self.begin_to_end(sources).await;
        if let (true, Err(Failed::Definition(problems))) = (self.json, &ended) {
            terminal::print_json(&invalid(problems));
        }
        let Ended { detail, interrupted } = ended?;
        match self.json {
            true => terminal::print_json(&summary::reply(&detail)),
            false => summary::print(&detail),
        }
        match detail["status"].as_str() {
            Some("completed") => Ok(()),
            _ if interrupted => Err(Failed::Interrupted),
            _ => Err(Failed::Run),
        }
    }

    async fn begin_to_end(&self, sources: &Sources) -> Result<Ended, Failed> {
        let text = read_file(&self.file)?;
        let format = Format::of(&text, self.format)?;
        let body = with_inputs(&text, format, &self.input).map_err(Failed::definition)?;
        let mut progress = (!self.json).then(Progress::new);
        let is_told = progress.is_some() && terminal::is_watched();
        let body = match format {
            Format::Instructions if is_told => streamed(body),
            _ => body,
        };
        let interrupt = Interrupt::listen()?;
        match Server::of(&sources.data()).await {
            Some(server) => on_server(&server, (format, body), interrupt, progress.as_mut()).await,
            None => here(sources, (format, &body), interrupt, progress.as_mut()).await,
        }
    }
}

/// The user's wish to end the run.
struct Interrupt {
    signal: Signal,
    is_wished: bool,
}

impl Interrupt {
    fn listen() -> Result<Interrupt, Error> {
        let signal = signals::listen(SignalKind::interrupt())?;
        Ok(Interrupt { signal, is_wished: false })
    }

    /// Waits for it. Who asks twice does not want to wait for the end.
    async fn wished(&mut self) -> Result<(), Failed> {
        self.signal.recv().await;
        match std::mem::replace(&mut self.is_wished, true) {
            true => Err(Failed::Interrupted),
            false => Ok(()),
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
    sources: &Sources,
    (format, body): (Format, &str),
    mut interrupt: Interrupt,
    progress: Option<&mut Progress>,
) -> Result<Ended, Failed> {
    let config = read_config(sources, true)?;
    let app = Arc::new(App::open(config, false).await?);
    listen(&app).await?;
    let begun = begin(&app, format, body).await?;
    let id = begun.submitted.id;
    begun.submitted.finished.accepted().await?;
    let run = follow(&app, &begun, &mut interrupt, progress).await?;
    let line = app.engine.row(id).await?;
    app.engine.shutdown(Duration::from_secs(1)).await;
    let cursor = app.engine.store().cursor(id).await.map_err(Error::from)?;
    let seen = Seen { line: &line, run: &run, cursor: cursor.as_ref(), waiting: &[] };
    Ok(Ended { detail: view::detail(&seen), interrupted: interrupt.is_wished })
}

/// Shows what its journal tells, until it ends.
async fn follow(
    app: &App,
    begun: &Begun,
    interrupt: &mut Interrupt,
    mut progress: Option<&mut Progress>,
) -> Result<Run, Failed> {
    let id = begun.submitted.id;
    let mut run = Run::new(Arc::clone(&begun.definition.program));
    let mut pieces = Pieces::of(app, id, progress.is_some());
    let entries = app.engine.follow(id, 0);
    pin_mut!(entries);
    loop {
        tokio::select! {
            biased;
            wished = interrupt.wished() => {
                wished?;
                app.engine.request_cancel(id, "interrupted with Ctrl-C");
            }
            next = entries.next() => {
                let Some(batch) = next else { return Ok(run) };
                for entry in batch? {
                    run.apply(&entry, &mut Vec::new());
                }
                if let Some(progress) = &mut progress {
                    progress.update(&view::steps(&run, &app.engine.waiting(id)));
                }
            }
            piece = pieces.next() => if let Some(progress) = &mut progress {
                let node = &run.program.plan.nodes[piece.node as usize];
                progress.tell(&node.id, piece.attempt, &piece.text);
            },
        }
    }
}

async fn begin(app: &App, format: Format, body: &str) -> Result<Begun, Failed> {
    let begun = match format {
        Format::Pipeline => pipeline::begin(app, &Terms::own(), body).await,
        Format::Instructions => chain::begin(app, &Terms::own(), body).await,
        Format::Workflow => return begin_workflow(app, body).await,
    };
    begun.map_err(|refusal| match refusal {
        Refusal::Invalid(errors) => Failed::Definition(errors),
        Refusal::Error(error) => Failed::definition(error),
    })
}

async fn begin_workflow(app: &App, body: &str) -> Result<Begun, Failed> {
    let mut body = object(body)?;
    let (workflow, input) = (body.remove(WORKFLOW), body.remove(INPUT));
    let begun = workflows::begin_once(app, &json!(workflow), input.unwrap_or_default()).await;
    begun.map_err(refused)
}

/// The pieces of models' answers, where a person reads them.
struct Pieces(Option<broadcast::Receiver<Token>>);

impl Pieces {
    fn of(app: &App, id: RunId, is_shown: bool) -> Pieces {
        Pieces(app.engine.tokens(id).filter(|_| is_shown && terminal::is_watched()))
    }

    /// The next one. Who listens too slowly misses some: the answer comes whole at its end.
    async fn next(&mut self) -> Token {
        loop {
            let Some(pieces) = &mut self.0 else { return std::future::pending().await };
            match pieces.recv().await {
                Ok(piece) => return piece,
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => self.0 = None,
            }
        }
    }
}

/// Serves this process's own requests, so that URLs of a path alone work.
pub(super) async fn listen(app: &Arc<App>) -> Result<(), Error> {
    let (listener, address) = http::listen("127.0.0.1", 0).await.map_err(|error| {
        Error::new(Code::Internal, format!("cannot listen on 127.0.0.1: {error}"))
    })?;
    let (token, pass): (Arc<str>, Arc<str>) = ("".into(), new_token().into());
    app.start(address, &pass).await?;
    let (auth, settings) = (Arc::clone(&app.auth), DoorSettings::default());
    let doors = Doors { auth, settings, is_local: true, token, pass };
    let router = http::router(Context::new(Arc::clone(app), None), doors);
    tokio::spawn(http::serve(listener, router, std::future::pending()));
    Ok(())
}

/// Runs it on the server that has the data directory.
async fn on_server(
    server: &Server,
    (format, body): (Format, String),
    mut interrupt: Interrupt,
    mut progress: Option<&mut Progress>,
) -> Result<Ended, Failed> {
    let id = begin_there(server, format, body).await?;
    let path = format!("/runs/{id}");
    let is_told = format != Format::Pipeline && progress.is_some() && terminal::is_watched();
    let pieces = is_told.then(|| server.pieces(&id));
    let pieces = stream::iter(pieces).flatten().chain(stream::pending());
    pin_mut!(pieces);
    let mut polls = tokio::time::interval(POLL);
    polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = polls.tick() => {
                let detail = server.call(Method::GET, &path, None).await?;
                if let Some(progress) = &mut progress {
                    progress.update(&detail["steps"]);
                }
                if detail["status"] != "running" {
                    return Ok(Ended { detail, interrupted: interrupt.is_wished });
                }
            }
            Some(piece) = pieces.next() => if let Some(progress) = &mut progress {
                progress.tell(&piece.usid, piece.attempt, &piece.text);
            },
            wished = interrupt.wished() => {
                wished?;
                cancel(server, &path).await?;
            }
        }
    }
}

/// Begins the run on the server and gives its id.
async fn begin_there(server: &Server, format: Format, body: String) -> Result<String, Failed> {
    let (path, id) = match format {
        Format::Pipeline => ("/execute", "execution_id"),
        Format::Instructions => ("/", "instanceId"),
        Format::Workflow => ("/api/v1/workflows/run", "id"),
    };
    let begun = server.call(Method::POST, path, Some(body)).await;
    let begun = begun.map_err(|error| match (format, error.code) {
        // This API tells its problems line by line.
        (Format::Instructions | Format::Workflow, Code::BodyInvalid) => {
            Failed::Definition(error.message.lines().map(str::to_owned).collect())
        }
        _ => Failed::definition(error),
    })?;
    if let Some(errors) = begun["validation_errors"].as_array() {
        let texts = errors.iter().filter_map(Value::as_str).map(str::to_owned);
        return Err(Failed::Definition(texts.collect()));
    }
    Ok(begun[id].as_str().unwrap_or_default().to_owned())
}

/// Asks the server to end a run, which may have just ended by itself.
async fn cancel(server: &Server, path: &str) -> Result<(), Error> {
    match server.call(Method::POST, &format!("{path}/cancel"), None).await {
        Err(error) if error.code != Code::RunEnded => Err(error),
        _ => Ok(()),
    }
}
