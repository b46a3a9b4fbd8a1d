//! What an answer from the cache costs at the node that asks.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use waystation_engine::node::AttemptContext;
use waystation_engine::provider::directory::Entry;
use waystation_engine::provider::echo::Echo;
use waystation_engine::provider::models::{Ask, ModelParts, Models};
use waystation_engine::provider::{Message, Role};
use waystation_engine::store::sqlite::{Options, SqliteStore};

use crate::histogram::Histogram;

/// Questions, each asked once before and then this often in turn.
const QUESTIONS: usize = 100;
const ROUNDS: usize = 50;

/// What was measured.
pub(crate) struct CachedAnswer {
    /// The median in milliseconds.
    pub(crate) p50_ms: f64,
    /// The 99th percentile in milliseconds.
    pub(crate) p99_ms: f64,
}

/// Measures one question after another against the embedded store.
pub(crate) async fn measure(directory: &Path) -> Result<CachedAnswer> {
    let scratch = tempfile::tempdir_in(directory)?;
    let models = models(scratch.path())?;
    for number in 0..QUESTIONS {
        ask(&models, number).await?;
    }
    let mut latencies = Histogram::new();
    for number in (0..QUESTIONS).cycle().take(QUESTIONS * ROUNDS) {
        let began = Instant::now();
        ensure!(ask(&models, number).await?, "the answer is not from the cache");
        latencies.record(began.elapsed());
    }
    let milliseconds = |share| latencies.quantile(share).as_secs_f64() * 1e3;
    Ok(CachedAnswer { p50_ms: milliseconds(0.5), p99_ms: milliseconds(0.99) })
}

fn models(data: &Path) -> Result<Models> {
    let store = SqliteStore::open(data, &Options::default())
        .map_err(|failed| anyhow::anyhow!(failed.detail))?;
    let entry = Entry { provider: Arc::new(Echo), default_model: Some("echo".into()) };
    let providers = BTreeMap::from([("echo".to_owned(), entry)]);
    Ok(Models::new(ModelParts { store: Some(Arc::new(store)), ..ModelParts::from(providers) }))
}

/// Asks, and answers whether the answer is from the cache.
async fn ask(models: &Models, number: usize) -> Result<bool> {
    let text = format!("Question {number}: {}", "a prompt of some length ".repeat(40));
    let ask = Ask {
        provider: Some("echo".into()),
        messages: vec![Message { role: Role::User, text }],
        cache: true,
        ..Ask::default()
    };
    let answer = models.ask(ask, &AttemptContext::alone()).await;
    Ok(answer.map_err(|failure| anyhow::anyhow!(failure.message))?.cached)
}
