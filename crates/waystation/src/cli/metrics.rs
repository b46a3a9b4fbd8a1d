//! Metrics for Prometheus: what they are called, what they count, and the bounds of histograms.

use std::time::Duration;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use waystation_core::error::{Code, Error};

/// Bounds of histograms of counts.
const COUNTS: [f64; 8] = [1.0, 2.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0];
/// Bounds of histograms of durations, in seconds.
const SECONDS: [f64; 14] =
    [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 3600.0];

const COUNTERS: [(&str, &str); 14] = [
    ("waystation_runs_total", "Runs that have ended, by status."),
    ("waystation_nodes_total", "Nodes that have ended, by type and status."),
    ("waystation_node_retries_total", "Attempts after the first one, by type of node."),
    ("waystation_store_commits_total", "Transactions of the store."),
    ("waystation_webhooks_total", "Webhooks sent, by how it went."),
    ("waystation_llm_calls_total", "Calls of models, by provider and how they went."),
    ("waystation_llm_cached_total", "Answers that were not asked for again."),
    ("waystation_llm_cache_errors_total", "Answers that could not be kept or looked up."),
    ("waystation_llm_tokens_total", "Tokens of models, by provider and direction."),
    ("waystation_redis_writes_total", "Outputs for Redis, by how it went."),
    ("waystation_redis_events_total", "Events for Redis, by how it went."),
    ("waystation_spans_sent_total", "Spans that the collector of traces has taken."),
    ("waystation_spans_failed_total", "Spans that the collector of traces has not taken."),
    ("waystation_traces_dropped_total", "Runs whose spans found no room to wait."),
];
const GAUGES: [(&str, &str); 6] = [
    ("waystation_runs_running", "Runs in memory."),
    ("waystation_store_queue_length", "Writes that wait for the store."),
    ("waystation_webhooks_active", "Runs that owe webhooks."),
    ("waystation_webhooks_dead", "Runs whose receiver was given up."),
    ("waystation_llm_waiting", "Calls of models that wait for a place, by provider."),
    (
        "waystation_llm_cost_usd",
        "What models have cost since the start, in US dollars, by provider.",
    ),
];
const DURATIONS: [(&str, &str); 4] = [
    ("waystation_run_seconds", "How long runs took, by status."),
    ("waystation_node_seconds", "How long nodes took, retries included, by type."),
    ("waystation_store_commit_seconds", "How long the store took for a transaction."),
    ("waystation_llm_seconds", "How long models took for an answer, by provider."),
];

/// How often samples are put into their buckets.
const UPKEEP: Duration = Duration::from_secs(5);

/// Begins to count.
pub(super) fn start() -> Result<PrometheusHandle, Error> {
    let seconds = Matcher::Suffix("_seconds".into());
    let counts = Matcher::Suffix("_size".into());
    let builder = PrometheusBuilder::new().set_buckets_for_metric(seconds, &SECONDS);
    let builder = builder.and_then(|builder| builder.set_buckets_for_metric(counts, &COUNTS));
    let handle = builder.and_then(PrometheusBuilder::install_recorder);
    let handle = handle.map_err(|error| Error::new(Code::Internal, format!("metrics: {error}")))?;
    describe();
    tokio::spawn(upkeep(handle.clone()));
    Ok(handle)
}

/// Puts samples into their buckets. They would pile up as long as nobody asks for the metrics.
async fn upkeep(handle: PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        handle.run_upkeep();
    }
}

fn describe() {
    COUNTERS.iter().for_each(|(name, text)| describe_counter!(*name, *text));
    GAUGES.iter().for_each(|(name, text)| describe_gauge!(*name, *text));
    DURATIONS.iter().for_each(|(name, text)| describe_histogram!(*name, Unit::Seconds, *text));
    describe_histogram!("waystation_store_batch_size", "Writes that shared a transaction.");
}
