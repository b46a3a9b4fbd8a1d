//! What happens to runs, live: over WebSocket and as server-sent events, from any event on.
//!
//! - `/ws/job/{id}`, `/ws/executions/{id}`, `/ws/workflow/{id}`, each with `?after=`
//! - `/api/v1/jobs/{id}/events`, `/api/v1/workflows/{id}/events`, `/runs/{id}/events`, with `Last-Event-ID`

use std::fmt::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use futures_util::{Sink, SinkExt, Stream, StreamExt, stream};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{MissedTickBehavior, interval, timeout};
use waystation_core::error::{Code, Error};
use waystation_engine::event::hub::{News, Place, Topic, Watcher};
use waystation_engine::id::RunId;

use super::Context;
use super::access::Caller;
use super::detail::Detail;
use super::extract::{Path, Query};
use super::route::{self, Access, Routes, VIEW};
use super::{jobs, runs, sse};
use crate::auth::Api;
use crate::auth::principal::Role;
use crate::workflows;

/// How long a reader may take for what is sent; then it is cut off, and may come again.
const READER_PATIENCE: Duration = Duration::from_secs(30);
/// How long a client may take to answer a farewell.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
/// How soon a browser comes again.
const COME_AGAIN: Duration = Duration::from_secs(1);
/// Bytes of a message from a client, which has nothing to say here.
const MESSAGE_BYTES: usize = 4 << 10;
/// Bytes of an event in a stream beside its own.
const BLOCK_BYTES: usize = 40;
/// Where a browser says what it has got.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

pub(super) fn routes() -> Routes {
    let stored = VIEW.by_query();
    let told = Access::of(Role::Viewer, route::Place::Told).by_query();
    let runs = Routes::of(Api::Own);
    let runs = runs.get_by("/runs/{id}/events", told, stream_of(Watched::Run));
    Routes::of(Api::Service)
        .get_by("/ws/job/{id}", stored, socket(Watched::Job))
        .get_by("/ws/executions/{id}", told, socket(Watched::Run))
        .get_by("/ws/workflow/{id}", stored, socket(Watched::Workflow))
        .get_by("/api/v1/jobs/{id}/events", stored, stream_of(Watched::Job))
        .get_by("/api/v1/workflows/{id}/events", stored, stream_of(Watched::Workflow))
        .merge(runs)
}

type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

#[derive(Deserialize)]
struct From {
    /// The last event that the caller has.
    after: Option<String>,
}

impl From {
    fn place(&self) -> Result<Option<Place>, Detail> {
        let place = self.after.as_deref().map(str::parse).transpose();
        place.map_err(|why: String| Detail::parameter("after", &why))
    }
}

/// What the id in a path is that of.
#[derive(Clone, Copy)]
enum Watched {
    Job,
    /// Of any format.
    Run,
    Workflow,
}

impl Watched {
    /// The topic, if there is such a thing that the caller may see.
    async fn topic(self, context: &Context, caller: &Caller, text: &str) -> Result<Topic, Detail> {
        match self {
            Watched::Job => Ok(Topic::Run(jobs::find(context, text).await?.id)),
            Watched::Run => {
                let unknown = format!("Execution with ID {text} not found");
                let id: RunId = text.parse().map_err(|_| Error::new(Code::NotFound, unknown))?;
                Ok(Topic::Run(runs::seen(context, caller, id).await?.id))
            }
            Watched::Workflow => {
                let id = text.parse().map_err(|_| workflows::unknown(text))?;
                workflows::load(&context.app, &id, None).await?;
                Ok(Topic::Workflow(id.to_string().into()))
            }
        }
    }
}

fn socket(watched: Watched) -> MethodRouter<Context> {
    get(
        async move |State(context),
                    caller: Caller,
                    Path(text): Path<String>,
                    Query(from),
                    upgrade| {
            let topic = watched.topic(&context, &caller, &text).await?;
            open_socket(&context, caller, topic, &from, upgrade).await
        },
    )
}

fn stream_of(watched: Watched) -> MethodRouter<Context> {
    get(
        async move |State(context),
                    caller: Caller,
                    Path(text): Path<String>,
                    Query(from),
                    headers| {
            let topic = watched.topic(&context, &caller, &text).await?;
            open_stream(&context, caller, topic, &from, &headers).await
        },
    )
}

/// One who listens to events, for as long as they may.
struct Listener {
    watcher: Watcher,
    /// Done when they may not any more.
    lapse: Pin<Box<dyn Future<Output = Error> + Send>>,
    /// Their place among those who listen.
    _place: OwnedSemaphorePermit,
}

impl Listener {
    async fn open(
        context: &Context,
        caller: Caller,
        topic: Topic,
        after: Option<Place>,
    ) -> Result<Listener, Detail> {
        let place = Arc::clone(&context.listeners).try_acquire_owned();
        let busy = |_| Error::new(Code::Busy, "Too many clients are listening to events");
        let place = place.map_err(busy)?;
        let watcher = context.app.engine.watch(topic, after).await?;
        let lapse = Box::pin(caller.lapse(Arc::clone(&context.app.auth)));
        Ok(Listener { watcher, lapse, _place: place })
    }

    /// What comes next; none after the end.
    async fn next(&mut self) -> Result<Option<Vec<News>>, Error> {
        tokio::select! {
            biased;
            error = &mut self.lapse => Err(error),
            news = self.watcher.next() => news,
        }
    }
}

async fn open_socket(
    context: &Context,
    caller: Caller,
    topic: Topic,
    from: &From,
    upgrade: Upgrade,
) -> Result<Response, Detail> {
    let after = from.place()?;
    let refused = |why: WebSocketUpgradeRejection| {
        let hint = "connect with ws:// or wss://; the same events come as server-sent events";
        let text = format!("This is a WebSocket: {why}");
        Detail::Plain(StatusCode::BAD_REQUEST, text, Some(hint.into()))
    };
    let upgrade = upgrade.map_err(refused)?;
    let listener = Listener::open(context, caller, topic, after).await?;
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES).max_frame_size(MESSAGE_BYTES);
    // Each connection has its buffers for as long as it is there.
    let upgrade = upgrade.read_buffer_size(MESSAGE_BYTES).write_buffer_size(MESSAGE_BYTES);
    Ok(upgrade.on_upgrade(async move |socket: WebSocket| {
        let (sink, incoming) = socket.split();
        talk(sink, incoming, listener).await;
    }))
}

/// The client is gone, or does not read.
struct Gone;

/// Sends what happens until there is no more, or nobody to take it.
async fn talk(
    mut sink: impl Sink<Message> + Unpin,
    mut incoming: impl Stream<Item = Result<Message, axum::Error>> + Unpin,
    mut listener: Listener,
) {
    let mut told = listener.watcher.place();
    let mut alive = interval(sse::KEEP_ALIVE);
    alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    alive.reset();
    let farewell = loop {
        let sent = tokio::select! {
            news = listener.next() => match news {
                Ok(Some(news)) => tell(&mut sink, &news, &mut told).await,
                Ok(None) => break (close_code::NORMAL, "the run has ended".to_owned()),
                Err(error) => break (code_for(&error), error.message),
            },
            message = incoming.next() => match message {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => Ok(()),
            },
            _ = alive.tick() => in_time(sink.send(Message::Ping(Default::default()))).await,
        };
        if sent.is_err() {
            break (close_code::AGAIN, format!("too slow; come again with ?after={told}"));
        }
    };
    let frame = CloseFrame { code: farewell.0, reason: farewell.1.into() };
    // Nobody may be there to hear it.
    if in_time(sink.send(Message::Close(Some(frame)))).await.is_ok() {
        let answered = async { while let Some(Ok(_)) = incoming.next().await {} };
        let _ = timeout(CLOSE_PATIENCE, answered).await;
    }
}

fn code_for(error: &Error) -> u16 {
    match error.code {
        Code::Unauthorized => close_code::POLICY,
        _ => close_code::RESTART,
    }
}

fn text_of(news: &News) -> &str {
    match news {
        News::Event(told) => &told.text,
        News::Token(text) => text,
    }
}

/// Sends what happened. `told` becomes the last event that is on its way, even if not all are.
async fn tell(
    sink: &mut (impl Sink<Message> + Unpin),
    news: &[News],
    told: &mut Place,
) -> Result<(), Gone> {
    let telling = async {
        for one in news {
            sink.feed(Message::Text(text_of(one).into())).await?;
            if let News::Event(event) = one {
                *told = event.place;
            }
        }
        sink.flush().await
    };
    in_time(telling).await
}

/// Waits for a reader to take what is sent, for a while.
async fn in_time<E>(sending: impl Future<Output = Result<(), E>>) -> Result<(), Gone> {
    match timeout(READER_PATIENCE, sending).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Gone),
    }
}

async fn open_stream(
    context: &Context,
    caller: Caller,
    topic: Topic,
    from: &From,
    headers: &HeaderMap,
) -> Result<Response, Detail> {
    let known = headers.get(LAST_EVENT_ID).and_then(|value| value.to_str().ok());
    let after = match known.filter(|text| !text.is_empty()) {
        Some(text) => Some(
            text.parse().map_err(|why: String| Detail::at(&["header", "Last-Event-ID"], &why))?,
        ),
        None => from.place()?,
    };
    let mut listener = Listener::open(context, caller, topic.clone(), after).await?;
    // A browser comes again after the end, too, unless it is told so.
    if matches!(topic, Topic::Run(_)) && after.is_some() && listener.watcher.has_all().await {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(sse::reply_of(events(listener)))
}

/// A stream's events, as they are written: those that come together are one piece, which takes thousands of
/// streams less than a piece each. Who does not read them is left by the connection, whose writing has its bound.
fn events(listener: Listener) -> impl Stream<Item = String> {
    let hello = format!("retry: {}\n: listening\n\n", COME_AGAIN.as_millis());
    let news = stream::unfold(Some(listener), |listener| async {
        let mut listener = listener?;
        Some(match timeout(sse::KEEP_ALIVE, listener.next()).await {
            Ok(Ok(Some(news))) => (blocks(&news), Some(listener)),
            Ok(Ok(None)) => return None,
            Ok(Err(error)) => {
                let reason = json!({ "reason": error.message });
                (format!("event: closed\ndata: {reason}\n\n"), None)
            }
            Err(_) => (sse::ALIVE.to_owned(), Some(listener)),
        })
    });
    stream::once(async { hello }).chain(news)
}

/// Events are JSON, and so a line each.
fn blocks(news: &[News]) -> String {
    let length = news.iter().map(|one| text_of(one).len() + BLOCK_BYTES).sum();
    let mut text = String::with_capacity(length);
    for one in news {
        if let News::Event(told) = one {
            // Writing to a text does not fail.
            let _ = writeln!(text, "id: {}", told.place);
        }
        let _ = write!(text, "data: {}\n\n", text_of(one));
    }
    text
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use futures_util::sink;
    use serde_json::Value;
    use tokio::sync::mpsc;
    use tokio::time::Instant;
    use tower::ServiceExt;
    use waystation_engine::store::RunFilter;

    use super::*;
    use crate::http::tests::World;

    /// Somebody who listens to a run that has ended, from its beginning.
    async fn listener(world: &World) -> Listener {
        let step = json!({ "step_name": "one", "usid": "s1", "type": "set", "value": 1, "outputs": ["one"] });
        let pipeline = json!({ "workflow_id": "one", "STEPS_CONFIG": [step] });
        let request = Request::post("/execute").header("content-type", "application/json");
        let request = request.body(Body::from(pipeline.to_string())).unwrap();
        let reply = world.router.clone().oneshot(request).await.unwrap();
        assert_eq!(reply.status(), StatusCode::OK);
        let engine = &world.context.app.engine;
        let run = engine.runs(RunFilter { limit: 1, ..RunFilter::default() }).await.unwrap()[0].id;
        let watcher = engine.watch(Topic::Run(run), None).await.unwrap();
        let place = Arc::clone(&world.context.listeners).try_acquire_owned().unwrap();
        Listener { watcher, lapse: Box::pin(std::future::pending()), _place: place }
    }

    fn number(message: &Message) -> u64 {
        let event: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
        event["id"].as_u64().unwrap()
    }

    #[tokio::test]
    async fn who_does_not_read_is_told_what_he_has_got_and_gives_his_place_back() {
        let world = World::new(vec![Api::Pipelines]).await;
        let listener = listener(&world).await;
        let (taken, mut reader) = mpsc::channel(1);
        let sink = sink::unfold(taken, |taken, message| async {
            taken.send(message).await.map(|()| taken)
        });
        let places = &world.context.listeners;
        let taken_places = places.available_permits();
        let talk = tokio::spawn(talk(Box::pin(sink), stream::pending(), listener));
        let first = reader.recv().await.unwrap();
        // All else is ready by now, and only time can pass.
        tokio::time::pause();
        let began = Instant::now();
        tokio::time::sleep(READER_PATIENCE + Duration::from_secs(1)).await;
        let mut messages = vec![first];
        while let Some(message) = reader.recv().await {
            messages.push(message);
        }
        talk.await.unwrap();
        let Some(Message::Close(Some(farewell))) = messages.pop() else { panic!("no farewell") };
        let numbers: Vec<u64> = messages.iter().map(number).collect();
        assert_eq!(numbers, [1, 2, 3]);
        assert_eq!(farewell.code, close_code::AGAIN);
        assert_eq!(farewell.reason.as_str(), "too slow; come again with ?after=3");
        assert!(began.elapsed() < READER_PATIENCE * 2);
        assert_eq!(places.available_permits(), taken_places + 1);
    }
}
