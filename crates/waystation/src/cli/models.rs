//! `waystation models`: the providers of models, where their keys are, and whether they answer.

use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use waystation_core::error::{Code, Error, Failure};
use waystation_engine::provider::directory::{KeyState, Listed};
use waystation_engine::provider::installed::Installed;
use waystation_engine::provider::limiter::limits::Limits;
use waystation_engine::provider::models::{Answer, ModelParts, Models as Front};
use waystation_engine::secret::Vault;
use waystation_engine::store::sqlite::SqliteStore;

use super::terminal::{self, duration, style};
use super::{Failed, Outcome};
use crate::app::{Clients, clients, open_vault, price};
use crate::config::Config;

#[derive(Args)]
pub(super) struct Models {
    /// Ask a provider something small, which may cost a little; without a name, all that have a key
    /// and a default model.
    #[arg(long, value_name = "PROVIDER", num_args = 0..=1)]
    test: Option<Option<String>>,
    /// The model to ask, where the provider has no default one or another is meant.
    #[arg(long, value_name = "MODEL", requires = "test")]
    model: Option<String>,
    /// Print them as JSON.
    #[arg(long)]
    json: bool,
}

impl Models {
    pub(super) async fn execute(self, config: Config) -> Outcome {
        let front = open(config).await?;
        let list = front.list();
        let Some(wanted) = self.test else {
            match self.json {
                true => terminal::print_json(&list.iter().map(as_json).collect()),
                false => print(&list),
            }
            return Ok(());
        };
        let names = match wanted {
            Some(name) => vec![name],
            None => list
                .iter()
                .filter(|(one, _)| {
                    is_ready(one) && (one.default_model.is_some() || self.model.is_some())
                })
                .map(|(one, _)| one.name.clone())
                .collect(),
        };
        let mut results = Vec::with_capacity(names.len());
        for name in names {
            let result = front.test(&name, self.model.clone()).await;
            if !self.json {
                say(&name, &result);
            }
            results.push((name, result));
        }
        if self.json {
            terminal::print_json(&results.iter().map(tested).collect());
        }
        match results.iter().all(|(_, result)| result.is_ok()) {
            true => Ok(()),
            false => Err(Failed::Run),
        }
    }
}

/// The models as a server on this data would have them. A server at work on it is not disturbed, and
/// where there is no data there are no secrets.
async fn open(config: Config) -> Result<Front, Error> {
    let vault = match config.data.join("waystation.db").exists() {
        true => Some(Arc::new(read_vault(&config).await?)),
        false => None,
    };
    let Clients { confined, trusted } = clients(config.egress)?;
    let directory = Arc::new(Installed::new(config.providers, vault, trusted, confined));
    let (price, settings) = (price(config.prices), config.models);
    Ok(Front::new(ModelParts { directory, price, settings, ..ModelParts::default() }))
}

async fn read_vault(config: &Config) -> Result<Vault, Error> {
    let store = SqliteStore::open_read_only(&config.data).map_err(Error::from)?;
    open_vault(config, Arc::new(store)).await
}

/// Whether it can be asked without further ado: those without a key may not be running.
fn is_ready(listed: &Listed) -> bool {
    matches!(listed.key, KeyState::Secret(_) | KeyState::Environment(_))
        || listed.base_url.is_none()
}

fn print(list: &[(Listed, Limits)]) {
    terminal::print(&format!(
        "{:<12}  {:<18}  {:<34}  {:<28}  ADDRESS",
        "PROVIDER", "DEFAULT MODEL", "KEY", "LIMITS"
    ));
    for (listed, limits) in list {
        let model = listed.default_model.as_deref().unwrap_or("-");
        let address = listed.base_url.as_deref().unwrap_or("built in");
        let line = format!(
            "{:<12}  {model:<18}  {:<34}  {:<28}  {address}",
            listed.name,
            key(&listed.key),
            limits.to_string()
        );
        terminal::print(&terminal::plain(&line));
    }
}

fn key(key: &KeyState) -> String {
    match key {
        KeyState::NotNeeded => "not needed".into(),
        KeyState::Missing(name) => format!("missing: {name}"),
        KeyState::Secret(name) => format!("secret {name}"),
        KeyState::Environment(name) => format!("environment {name}"),
    }
}

fn as_json((listed, limits): &(Listed, Limits)) -> Value {
    let (state, name) = match &listed.key {
        KeyState::NotNeeded => ("not_needed", None),
        KeyState::Missing(name) => ("missing", Some(name)),
        KeyState::Secret(name) => ("secret", Some(name)),
        KeyState::Environment(name) => ("environment", Some(name)),
    };
    json!({
        "provider": listed.name,
        "label": listed.label,
        "address": listed.base_url,
        "default_model": listed.default_model,
        "key": { "state": state, "name": name },
        "limits": {
            "concurrency": limits.concurrency,
            "requests_per_minute": limits.requests,
            "tokens_per_minute": limits.tokens,
        },
    })
}

fn say(name: &str, result: &Result<Answer, Failure>) {
    match result {
        Ok(answer) => {
            let seconds = duration(answer.latency_ms as f64 / 1_000.0);
            let text = answer.text.trim().replace('\n', " ");
            let text: String = terminal::plain(&text).chars().take(60).collect();
            let mark = style("✓").green().to_string();
            terminal::say(&format!("{mark} {name}  {}  {seconds}  {text:?}", answer.model));
        }
        Err(failure) => {
            let message = terminal::plain(&failure.message).into_owned();
            terminal::say(&format!("{} {name}  {message}", style("✗").red()));
            if let Some(hint) = failure.hint() {
                terminal::say(&format!("  {} {hint}", style("hint:").cyan()));
            }
        }
    }
}

fn tested((name, result): &(String, Result<Answer, Failure>)) -> Value {
    match result {
        Ok(answer) => json!({
            "provider": name,
            "ok": true,
            "model": answer.model,
            "text": answer.text,
            "latency_ms": answer.latency_ms,
            "total_tokens": answer.usage.total_tokens(),
            "cost_usd": answer.usage.usd(),
        }),
        Err(failure) => {
            let code: Code = failure.code;
            json!({ "provider": name, "ok": false, "error": failure.message, "code": code.as_str() })
        }
    }
}
