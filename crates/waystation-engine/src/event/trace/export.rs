//! Spans of runs that have ended, sent to a collector over OTLP. Nothing waits for it: what finds no room
//! is not sent.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use opentelemetry::KeyValue;
use opentelemetry_http::{HttpClient as OtlpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use waystation_core::error::{Code, Error};
use waystation_core::program::Program;

use super::spans;
use crate::egress::{HttpClient, Request as Outgoing};
use crate::id::RunId;
use crate::store::Store;

/// Runs that wait for their spans to be sent; those of a further one are not.
const WAITING_MAX: usize = 4_096;
/// Runs whose spans are sent together.
const TOGETHER: usize = 64;
/// How long the collector may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of its answer.
const ANSWER_BYTES: usize = 1 << 20;

/// Where spans go.
#[derive(Clone)]
pub struct TraceSettings {
    /// The collector: `/v1/traces` is added.
    pub endpoint: String,
    /// Headers that it asks for; they may hold keys.
    pub headers: HashMap<String, String>,
    /// What this server is called there.
    pub service: String,
}

impl fmt::Debug for TraceSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceSettings").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl TraceSettings {
    /// Reads `OTEL_EXPORTER_OTLP_ENDPOINT`, and what belongs to it.
    pub fn from_lookup(
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<TraceSettings>, Error> {
        let text = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let wrong = |text: String| Error::new(Code::SettingInvalid, text);
        let (headers, service) = (text("OTEL_EXPORTER_OTLP_HEADERS"), text("OTEL_SERVICE_NAME"));
        let Some(endpoint) = text("OTEL_EXPORTER_OTLP_ENDPOINT") else {
            return match headers {
                Some(_) => Err(wrong(
                    "OTEL_EXPORTER_OTLP_HEADERS has no effect without OTEL_EXPORTER_OTLP_ENDPOINT"
                        .into(),
                )),
                None => Ok(None),
            };
        };
        if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
            let text = format!(
                "OTEL_EXPORTER_OTLP_ENDPOINT must be an http or https URL, not {endpoint:?}"
            );
            return Err(wrong(text));
        }
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=')?;
            let (name, value) = (name.trim(), value.trim());
            let value = percent_encoding::percent_decode_str(value).decode_utf8().ok()?;
            (!name.is_empty()).then(|| (name.to_ascii_lowercase(), value.into_owned()))
        };
        let headers = headers.iter().flat_map(|text| text.split(','));
        let headers = headers.map(pair).collect::<Option<HashMap<_, _>>>().ok_or_else(|| {
            wrong("OTEL_EXPORTER_OTLP_HEADERS must be NAME=VALUE, several by comma".into())
        })?;
        Ok(Some(TraceSettings {
            endpoint: format!("{}/v1/traces", endpoint.trim_end_matches('/')),
            headers,
            service: service.unwrap_or_else(|| "waystation".into()),
        }))
    }
}

/// A run that has ended.
struct Ended {
    run: RunId,
    program: Arc<Program>,
}

/// Sends the spans of runs that have ended.
pub struct Tracer {
    ended: mpsc::Sender<Ended>,
    worker: JoinHandle<()>,
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

impl Tracer {
    /// Begins to send.
    pub fn start(
        settings: &TraceSettings,
        client: Arc<HttpClient>,
        store: Arc<dyn Store>,
    ) -> Result<Tracer, Error> {
        let built = SpanExporter::builder()
            .with_http()
            .with_http_client(Way(client))
            .with_endpoint(settings.endpoint.clone())
            .with_headers(settings.headers.clone())
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(PATIENCE)
            .build();
        let mut exporter = built.map_err(|error| {
            let text = format!("OTEL_EXPORTER_OTLP_ENDPOINT: {error}");
            Error::new(Code::SettingInvalid, text)
        })?;
        let service = KeyValue::new("service.name", settings.service.clone());
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let about = Resource::builder_empty().with_attributes([service, version]).build();
        exporter.set_resource(&about);
        let (sender, mut ended) = mpsc::channel(WAITING_MAX);
        let worker = tokio::spawn(async move {
            let mut batch = Vec::with_capacity(TOGETHER);
            while ended.recv_many(&mut batch, TOGETHER).await > 0 {
                send(&exporter, &*store, std::mem::take(&mut batch)).await;
            }
        });
        Ok(Tracer { ended: sender, worker })
    }

    /// A run has ended, and its journal is durable.
    pub(crate) fn ended(&self, run: RunId, program: &Arc<Program>) {
        let ended = Ended { run, program: Arc::clone(program) };
        if self.ended.try_send(ended).is_err() {
            metrics::counter!("waystation_traces_dropped_total").increment(1);
        }
    }
}

async fn send(exporter: &SpanExporter, store: &dyn Store, batch: Vec<Ended>) {
    let mut all: Vec<SpanData> = Vec::new();
    for Ended { run, program } in batch {
        match store.journal(run, 0).await {
            Ok(entries) => all.extend(spans::of(run, &program, &entries)),
            Err(failed) => tracing::warn!(%run, detail = %failed.detail, "the spans of a run"),
        }
    }
    let count = all.len() as u64;
    let sent = tokio::time::timeout(PATIENCE * 2, exporter.export(all)).await;
    let why = match sent {
        Ok(Ok(())) => return metrics::counter!("waystation_spans_sent_total").increment(count),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the collector is silent".to_owned(),
    };
    metrics::counter!("waystation_spans_failed_total").increment(count);
    tracing::warn!(why, spans = count, "spans could not be sent");
}

/// The program's one outgoing client.
struct Way(Arc<HttpClient>);

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Way")
    }
}

#[async_trait]
impl OtlpClient for Way {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let mut outgoing = Outgoing::new(parts.method, parts.uri.to_string());
        outgoing.headers = parts.headers;
        outgoing.body = Some(body);
        outgoing.follows_redirects = false;
        let answer = tokio::time::timeout(PATIENCE, self.0.send(outgoing, ANSWER_BYTES)).await;
        let answer =
            answer.map_err(|_| "the collector is silent")?.map_err(|error| error.to_string())?;
        let mut response = Response::new(answer.body);
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Option<TraceSettings>, String> {
        let lookup = |name: &str| {
            pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        TraceSettings::from_lookup(&lookup).map_err(|error| error.message)
    }

    #[test]
    fn settings_are_those_of_every_program_that_speaks_it() {
        assert!(read(&[]).unwrap().is_none());
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/");
        let read_well = read(&[endpoint, ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b, X=y")]);
        let settings = read_well.unwrap().unwrap();
        assert_eq!(
            (&*settings.endpoint, &*settings.service),
            ("http://c:4318/v1/traces", "waystation")
        );
        assert_eq!((&*settings.headers["api-key"], &*settings.headers["x"]), ("a b", "y"));
        assert!(!format!("{settings:?}").contains("a b"));
        for wrong in [
            vec![("OTEL_EXPORTER_OTLP_HEADERS", "a=b")],
            vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4318")],
            vec![endpoint, ("OTEL_EXPORTER_OTLP_HEADERS", "nonsense")],
        ] {
            assert!(read(&wrong).is_err(), "{wrong:?}");
        }
    }
}
