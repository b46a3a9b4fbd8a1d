//! Services for the program to call: one that a closure answers for, and ones that misbehave.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use futures_util::future::{BoxFuture, FutureExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A request that came in.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// What a service has seen.
#[derive(Default)]
pub(crate) struct Seen {
    requests: Mutex<Vec<Received>>,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    dropped: AtomicUsize,
}

/// A service; gone with the test.
pub(crate) struct Target {
    pub(crate) port: u16,
    pub(crate) seen: Arc<Seen>,
    task: JoinHandle<()>,
}

impl Target {
    /// A service whose answers a closure gives: for a request, and how many came to its path before.
    pub(crate) async fn start<F, A>(answer: F) -> Target
    where
        F: Fn(Received, usize) -> A + Send + Sync + 'static,
        A: Future<Output = Response> + Send + 'static,
    {
        Target::start_at(0, answer).await
    }

    /// The same at a port of one's choice.
    pub(crate) async fn start_at<F, A>(port: u16, answer: F) -> Target
    where
        F: Fn(Received, usize) -> A + Send + Sync + 'static,
        A: Future<Output = Response> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Seen::default());
        let answer: Answer = Arc::new(move |request, before| answer(request, before).boxed());
        let shared = Arc::clone(&seen);
        let handler = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            serve(Arc::clone(&shared), Arc::clone(&answer), (method, uri, headers, body))
        };
        let router = Router::new().fallback(handler);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Target { port, seen, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The requests so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// Requests to a path so far.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.received().iter().filter(|one| one.path == path).count()
    }

    /// The most requests that were under way at once.
    pub(crate) fn most_under_way(&self) -> usize {
        self.seen.most_under_way.load(Ordering::SeqCst)
    }

    /// Requests whose caller went away before the answer.
    pub(crate) fn dropped(&self) -> usize {
        self.seen.dropped.load(Ordering::SeqCst)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Answer = Arc<dyn Fn(Received, usize) -> BoxFuture<'static, Response> + Send + Sync>;

async fn serve(
    seen: Arc<Seen>,
    answer: Answer,
    (method, uri, headers, body): (Method, Uri, HeaderMap, Bytes),
) -> Response {
    let received = Received {
        method,
        path: uri.path().to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let before = {
        let mut requests = seen.requests.lock().unwrap();
        let before = requests.iter().filter(|one| one.path == received.path).count();
        requests.push(received.clone());
        before
    };
    let mut visit = Visit::begin(Arc::clone(&seen));
    let response = answer(received, before).await;
    visit.answered = true;
    response
}

/// Counts a request under way, and whether its caller stayed.
struct Visit {
    seen: Arc<Seen>,
    answered: bool,
}

impl Visit {
    fn begin(seen: Arc<Seen>) -> Visit {
        let now = seen.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most_under_way.fetch_max(now, Ordering::SeqCst);
        Visit { seen, answered: false }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.seen.under_way.fetch_sub(1, Ordering::SeqCst);
        if !self.answered {
            self.seen.dropped.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// An answer with a status and a text.
pub(crate) fn reply(status: u16, text: impl Into<String>) -> Response {
    Response::builder().status(status).body(Body::from(text.into())).unwrap()
}

/// An answer with a status, a header and a text.
pub(crate) fn reply_with(status: u16, header: (&str, &str), text: &str) -> Response {
    let response = Response::builder().status(status).header(header.0, header.1);
    response.body(Body::from(text.to_owned())).unwrap()
}

/// A service that speaks bytes: it reads what comes first and then does as the closure says.
pub(crate) async fn raw<F, A>(act: F) -> (u16, JoinHandle<()>)
where
    F: Fn(TcpStream) -> A + Send + Sync + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut start = [0; 4096];
            if stream.read(&mut start).await.is_ok_and(|count| count > 0) {
                tokio::spawn(act(stream));
            }
        }
    });
    (port, task)
}

/// Writes the same piece so many times, as far as the other side takes it.
pub(crate) async fn pour(stream: &mut TcpStream, piece: &[u8], times: usize) {
    for _ in 0..times {
        if stream.write_all(piece).await.is_err() {
            return;
        }
    }
}
