//! Commands, one file each, and what their exit codes mean.

mod answer;
mod backup;
mod config;
mod definition;
mod doctor;
mod endpoint;
mod generate;
mod graph;
mod inputs;
mod key;
mod listen;
mod local;
mod metrics;
mod models;
mod progress;
mod run;
mod runs;
mod secret;
mod serve;
mod signals;
mod summary;
mod terminal;
mod token;
mod validate;
mod workflow;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use waystation_core::dialect::graph::issue::Issue;
use waystation_core::error::{Code, Error};
use waystation_engine::sandbox::worker;

use self::endpoint::Endpoint;
use self::serve::Serve;
use crate::app;
use crate::config::Config;
use crate::settings::Sources;

/// A durable workflow engine in one program.
///
/// Exit codes: 0 done, 1 the run failed, 2 wrong usage, 3 the definition has problems, 4 something
/// outside does not allow it (a setting, the data directory, a port), 130 interrupted.
#[derive(Parser)]
#[command(name = "waystation", version, arg_required_else_help = true)]
struct Arguments {
    /// Where runs, secrets and blocks are kept [default: .waystation] [env: WAYSTATION_DATA].
    #[arg(long, global = true)]
    data: Option<PathBuf>,
    /// A file of settings, in TOML [default: waystation.toml in the data directory, if it is there]
    /// [env: WAYSTATION_CONFIG].
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the server.
    Serve(Serve),
    /// Start a server that only makes calls of APIs for others, with retries.
    Endpoint(Endpoint),
    /// Show all settings, and where each comes from.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Check whether all that is configured works, and say how to mend what does not.
    Doctor(doctor::Doctor),
    /// Run a pipeline, an instruction chain or a workflow from a file and show its progress.
    Run(run::RunFile),
    /// Check a definition without running it.
    Validate(validate::Validate),
    /// Draw a definition as a Mermaid flowchart.
    Graph(graph::Graph),
    /// List the providers of models, and try them.
    Models(models::Models),
    /// Keep secrets that steps use as {{secrets.NAME}}.
    #[command(subcommand)]
    Secret(secret::Secret),
    /// Make, list and revoke the keys by which callers say who they are.
    #[command(subcommand)]
    Key(key::Key),
    /// Make a signed token (JWT) by which a caller says who it is.
    Token(token::NewToken),
    /// Write all data into one file, also while a server runs.
    Backup(backup::Backup),
    /// Put a backup into a data directory that has no data.
    Restore(backup::Restore),
    /// List, show, cancel and retry runs.
    #[command(subcommand)]
    Runs(runs::Runs),
    /// Keep node/edge workflows: list, get, put, rm, run, export, import, diff.
    #[command(subcommand)]
    Workflow(workflow::Workflow),
    /// Let a model make a workflow out of a description.
    Generate(generate::Generate),
}

/// How a command ended, if not well.
#[derive(Debug)]
enum Failed {
    /// The run failed; it has said so itself.
    Run,
    /// The definition has problems.
    Definition(Vec<String>),
    /// Everything else.
    Error(Error),
    /// The user interrupted it.
    Interrupted,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed::Error(error)
    }
}

impl Failed {
    /// A definition's error: what a file says wrong is a problem like any other.
    fn definition(error: Error) -> Failed {
        match error.code {
            Code::BodyInvalid => Failed::Definition(vec![error.message]),
            _ => Failed::Error(error),
        }
    }

    /// All that is wrong with a workflow.
    fn issues(issues: &[Issue]) -> Failed {
        Failed::Definition(issues.iter().map(ToString::to_string).collect())
    }

    fn report(&self) -> u8 {
        match self {
            Failed::Run => 1,
            Failed::Interrupted => 130,
            Failed::Definition(problems) => {
                terminal::problems(problems);
                3
            }
            Failed::Error(error) => {
                terminal::error(error);
                4
            }
        }
    }
}

type Outcome = Result<(), Failed>;

/// Runs the program with the process's arguments and environment.
pub fn main() -> ExitCode {
    // A worker is started by the program itself. It reads no settings, opens nothing, and has no use for
    // what follows.
    if std::env::args_os().nth(1).is_some_and(|first| first == app::SANDBOX_WORKER) {
        return worker::serve();
    }
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            terminal::error(&Error::new(Code::Internal, format!("no threads: {error}")));
            return ExitCode::from(4);
        }
    };
    let outcome = runtime.block_on(dispatch(arguments));
    // What a command left behind must not keep the process alive.
    runtime.shutdown_background();
    ExitCode::from(outcome.map_or_else(|failed| failed.report(), |()| 0))
}

async fn dispatch(arguments: Arguments) -> Outcome {
    let sources = sources(&arguments)?;
    let config = || read_config(&sources, true);
    match arguments.command {
        Command::Serve(_) => Serve::execute(&sources).await,
        Command::Endpoint(_) => Endpoint::execute(&sources).await,
        Command::Doctor(doctor) => doctor.execute(&sources).await,
        Command::Backup(backup) => backup.execute(sources.data()).await,
        Command::Restore(restore) => restore.execute(sources.data()).await,
        Command::Config(config) => config.execute(&sources),
        Command::Run(run) => run.execute(&sources).await,
        Command::Validate(validate) => validate.execute(&config()?),
        Command::Graph(graph) => graph.execute(&config()?),
        Command::Models(models) => models.execute(config()?).await,
        Command::Secret(secret) => secret.execute(config()?).await,
        Command::Key(key) => key.execute(&config()?).await,
        Command::Token(token) => token.execute(config()?),
        Command::Runs(runs) => runs.execute(config()?).await,
        Command::Workflow(workflow) => workflow.execute(config()?).await,
        Command::Generate(generate) => generate.execute(config()?).await,
    }
}

/// All that flags, variables and the file say.
fn sources(arguments: &Arguments) -> Result<Sources, Error> {
    let mut flags = match &arguments.command {
        Command::Serve(serve) => serve.listen.flags(),
        Command::Endpoint(endpoint) => endpoint.listen.flags(),
        _ => BTreeMap::new(),
    };
    if let Some(data) = &arguments.data {
        flags.insert("WAYSTATION_DATA", text_of_path(data)?);
    }
    // What is no Unicode is none of ours.
    let variables = std::env::vars_os();
    let variables = variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Sources::read(flags, variables.collect(), arguments.config.as_deref())
}

fn text_of_path(path: &Path) -> Result<String, Error> {
    let text = path.to_str().filter(|text| !text.is_empty());
    let wrong = || Error::new(Code::SettingInvalid, "--data must be a path, in UTF-8");
    text.map(str::to_owned).ok_or_else(wrong)
}

fn read_config(sources: &Sources, is_local: bool) -> Result<Config, Error> {
    Config::read(&|name| sources.lookup(name), sources.data(), is_local)
}

/// The text of a file, or of standard input for `-`.
fn read_file(path: &std::path::Path) -> Result<String, Error> {
    let text = match path.to_str() {
        Some("-") => std::io::read_to_string(std::io::stdin()),
        _ => std::fs::read_to_string(path),
    };
    text.map_err(|error| {
        Error::new(Code::RequestInvalid, format!("{} cannot be read: {error}", path.display()))
    })
}
