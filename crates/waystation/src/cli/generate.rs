//! `waystation generate`: a workflow out of a description.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};
use waystation_core::error::{Code, Error};

use super::local::Server;
use super::workflow::document::{Form, text_of};
use super::{Failed, Outcome, terminal};
use crate::app::App;
use crate::config::Config;
use crate::generate::{self, Unmade, Wish};
use crate::workflows::view_warnings;

/// How long a model may take for all its answers.
const PATIENCE: Duration = Duration::from_secs(900);

#[derive(Args)]
pub(super) struct Generate {
    /// What the workflow is to do.
    prompt: String,
    /// Whom to ask; the default provider unless said.
    #[arg(long)]
    provider: Option<String>,
    /// Which model; the provider's default unless said.
    #[arg(long)]
    model: Option<String>,
    /// Write the workflow to this file instead of printing it: YAML where it is named so, else JSON.
    #[arg(long)]
    output: Option<PathBuf>,
}

impl Generate {
    pub(super) async fn execute(self, config: Config) -> Outcome {
        terminal::say("Asking the model…");
        let Generate { prompt, provider, model, output } = self;
        let wish = Wish { prompt, provider, model };
        let made = match Server::of(&config.data).await {
            Some(server) => there(&server, &wish).await?,
            None => here(config, &wish).await?,
        };
        terminal::say(&terminal::plain(made["summary"].as_str().unwrap_or_default()));
        let warnings = made["validation"]["warnings"].as_array().into_iter().flatten();
        let warnings = warnings.filter_map(|warning| warning["msg"].as_str());
        terminal::warnings(&warnings.map(str::to_owned).collect::<Vec<_>>());
        let Some(file) = output else {
            terminal::print_json(&made["workflow"]);
            return Ok(());
        };
        let text = text_of(&made["workflow"], Form::of(&file))?;
        std::fs::write(&file, text).map_err(|error| {
            let text = format!("{} cannot be written: {error}", file.display());
            Error::new(Code::RequestInvalid, text)
        })?;
        terminal::print(&file.display().to_string());
        Ok(())
    }
}

async fn there(server: &Server, wish: &Wish) -> Result<Value, Failed> {
    let Wish { prompt, provider, model } = wish;
    let body = json!({ "prompt": prompt, "provider": provider, "model": model }).to_string();
    let path = "/ai/workflows/generate";
    let answer = server.call_within(PATIENCE, Method::POST, path, Some(body)).await;
    answer.map_err(Failed::definition)
}

async fn here(config: Config, wish: &Wish) -> Result<Value, Failed> {
    let app = App::open(config, false).await?;
    let made = generate::generate(&app, wish).await.map_err(|unmade| match unmade {
        Unmade::Invalid { issues, .. } => {
            Failed::Definition(issues.iter().map(ToString::to_string).collect())
        }
        Unmade::Error(error) => Failed::Error(error),
    })?;
    let validation = json!({ "warnings": view_warnings(&made.warnings) });
    Ok(json!({ "workflow": made.workflow, "summary": made.summary, "validation": validation }))
}
