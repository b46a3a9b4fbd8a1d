//! `waystation runs`: what ran, and how to end or repeat it.

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;
use waystation_core::error::{Code, Error};
use waystation_core::plan::Plan;
use waystation_core::program::Program;
use waystation_core::run::Run;
use waystation_engine::driver::{Again, unknown_run};
use waystation_engine::id::RunId;
use waystation_engine::store::sqlite::SqliteStore;
use waystation_engine::store::{RunFilter, RunStore, Status, Store};

use super::local::Server;
use super::{Failed, Outcome, progress, terminal};
use crate::app::App;
use crate::config::Config;
use crate::view::{self, Seen};

#[derive(Subcommand)]
pub(super) enum Runs {
    /// List runs, newest first.
    List(List),
    /// Show all about one run.
    Show {
        /// Its id.
        id: String,
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
    },
    /// End a run.
    Cancel {
        /// Its id.
        id: String,
    },
    /// Run it again with the same input; steps that completed keep their results.
    Retry {
        /// Its id.
        id: String,
    },
}

#[derive(Args)]
pub(super) struct List {
    /// Only runs in this state: running, completed, failed or cancelled.
    #[arg(long)]
    status: Option<Status>,
    /// Only runs of this workflow.
    #[arg(long)]
    workflow: Option<String>,
    /// How many.
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Print them as JSON.
    #[arg(long)]
    json: bool,
}

impl Runs {
    pub(super) async fn execute(self, config: Config) -> Outcome {
        match self {
            Runs::List(list) => list.execute(&config).await,
            Runs::Show { id, json } => show(&config, &id, json).await,
            Runs::Cancel { id } => cancel(config, &id).await,
            Runs::Retry { id } => retry(config, &id).await,
        }
    }
}

impl List {
    async fn execute(self, config: &Config) -> Outcome {
        let filter = RunFilter {
            workflow: self.workflow,
            status: self.status,
            limit: self.limit,
            ..RunFilter::default()
        };
        let store = SqliteStore::open_read_only(&config.data).map_err(Error::from)?;
        let rows = store.runs(filter).await.map_err(Error::from)?;
        if self.json {
            terminal::print_json(&rows.iter().map(view::row).collect());
            return Ok(());
        }
        terminal::print(&format!(
            "{:<13}  {:<9}  {:<24}  {:>8}  WORKFLOW",
            "RUN", "STATUS", "STARTED", "TIME"
        ));
        for row in rows.iter().map(view::row) {
            let row = terminal::plain_value(&row);
            let text = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
            let time = row["execution_time"].as_f64().map(terminal::duration).unwrap_or_default();
            let (id, status, started) = (text("execution_id"), text("status"), text("created_at"));
            let workflow = text("workflow_id");
            terminal::print(&format!(
                "{id:<13}  {status:<9}  {started:<24}  {time:>8}  {workflow}"
            ));
        }
        Ok(())
    }
}

/// Reads the run beside a server, which may be at work on it.
async fn show(config: &Config, text: &str, json: bool) -> Outcome {
    let id = parse(text)?;
    let store = SqliteStore::open_read_only(&config.data).map_err(Error::from)?;
    let row = store.run(id).await.map_err(Error::from)?.ok_or_else(|| unknown(text))?;
    let plan = store.plan(&row.plan).await.map_err(Error::from)?.unwrap_or_default();
    let unusable = || Error::new(Code::Internal, "the run's plan cannot be read");
    let plan: Plan = serde_json::from_slice(&plan).map_err(|_| unusable())?;
    let program = Program::load(plan, row.plan.as_str()).map_err(|_| unusable())?;
    let entries = store.journal(id, 0).await.map_err(Error::from)?;
    let run = Run::replay(Arc::new(program), &entries);
    let cursor = store.cursor(id).await.map_err(Error::from)?;
    let seen = Seen { line: &row, run: &run, cursor: cursor.as_ref(), waiting: &[] };
    let detail = view::detail(&seen);
    if json {
        terminal::print_json(&detail);
    } else {
        print_detail(&detail);
    }
    Ok(())
}

fn print_detail(detail: &Value) {
    let detail = &terminal::plain_value(detail);
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    for field in ["execution_id", "workflow_id", "namespace", "status", "created_at", "finished_at"]
    {
        terminal::print(&format!("{field:<13} {}", text(&detail[field])));
    }
    if let Some(state) = detail["webhook"]["state"].as_str() {
        let error = detail["webhook"]["error"].as_str().unwrap_or_default();
        terminal::print(format!("{:<13} {state} {error}", "webhook").trim_end());
    }
    terminal::print("\nSTEPS");
    for step in detail["steps"].as_array().into_iter().flatten() {
        let time = step["execution_time"].as_f64().map(terminal::duration).unwrap_or_default();
        let (status, name) = (text(&step["status"]), progress::name(step));
        let why = step["error"].as_str().filter(|_| status == "failed").or(step["reason"].as_str());
        let line = format!("  {status:<9}  {time:>8}  {name}  {}", why.unwrap_or_default());
        terminal::print(line.trim_end());
    }
    let lines = detail["log"].as_array().into_iter().flatten();
    for line in lines {
        let (level, message) = (text(&line["level"]), text(&line["message"]));
        let step = line["step_name"].as_str().map(|name| format!("{name}: ")).unwrap_or_default();
        terminal::print(&format!("  {level}: {step}{message}"));
    }
    if let Some(result) = detail["result"].get("final_result") {
        terminal::print("\nRESULT");
        terminal::print_json(result);
    }
    let last = detail["result"]["output"]["steps"].as_array().and_then(|steps| steps.last());
    if let Some(result) = last.and_then(|step| step["result"].as_str()) {
        terminal::print(&format!("\nRESULT\n{result}"));
    }
    if let Some(error) = detail["result"]["error"].as_str() {
        terminal::print(&format!("\nERROR\n{error}"));
    }
}

async fn cancel(config: Config, text: &str) -> Outcome {
    let id = parse(text)?;
    if let Some(server) = Server::of(&config.data).await {
        let path = format!("/runs/{id}/cancel");
        server.call(Method::POST, &path, None).await.map_err(|error| explained(error, text))?;
    } else {
        let app = App::open(config, false).await?;
        let cancelled = app.engine.cancel(id, "requested by the user").await;
        cancelled.map_err(|error| explained(error, text))?;
        app.engine.shutdown(Duration::from_secs(1)).await;
    }
    terminal::say(&format!("Run {id} is cancelled"));
    Ok(())
}

async fn retry(config: Config, text: &str) -> Outcome {
    let id = parse(text)?;
    if let Some(server) = Server::of(&config.data).await {
        let begun = server.call(Method::POST, &format!("/runs/{id}/retry"), None).await;
        let begun = begun.map_err(|error| explained(error, text))?;
        terminal::print(begun["execution_id"].as_str().unwrap_or_default());
        return Ok(());
    }
    let app = Arc::new(App::open(config, false).await?);
    super::run::listen(&app).await?;
    let submitted =
        app.engine.retry(id, Again::default()).await.map_err(|error| explained(error, text))?;
    let submitted_id = submitted.id;
    terminal::say(&format!("Running as {submitted_id}"));
    let run = submitted.finished.wait().await?;
    let line = app.engine.row(submitted_id).await?;
    app.engine.shutdown(Duration::from_secs(1)).await;
    let cursor = app.engine.store().cursor(submitted_id).await.map_err(Error::from)?;
    let seen = Seen { line: &line, run: &run, cursor: cursor.as_ref(), waiting: &[] };
    print_detail(&view::detail(&seen));
    if line.status == Status::Completed { Ok(()) } else { Err(Failed::Run) }
}

fn parse(text: &str) -> Result<RunId, Error> {
    text.parse().map_err(|_| unknown(text))
}

/// The error of an engine, with what helps here.
fn explained(error: Error, text: &str) -> Error {
    if error.code == Code::NotFound { unknown(text) } else { error }
}

fn unknown(text: &str) -> Error {
    unknown_run(text).with_hint("`waystation runs list` shows them")
}
