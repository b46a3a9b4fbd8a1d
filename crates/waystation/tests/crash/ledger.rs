//! The servers that pipelines call, and the book they keep: every call and every notification, in
//! order of arrival, whatever became of the caller.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::process::PATIENCE;
use crate::random::Random;

/// One call of a step.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) run: String,
    pub(crate) step: String,
    pub(crate) key: Option<String>,
    /// What the step was told about the step before it.
    pub(crate) before: Value,
    pub(crate) arrived: Instant,
    /// The value that was given to it; `None` for a refusal.
    pub(crate) given: Option<Value>,
    /// Whether the answer was written to its end.
    pub(crate) answered: bool,
}

/// One notification.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    pub(crate) run: String,
    pub(crate) id: String,
    pub(crate) body: Value,
    pub(crate) arrived: Instant,
    pub(crate) taken: bool,
}

/// What was seen.
#[derive(Default)]
pub(crate) struct Book {
    pub(crate) calls: Vec<Call>,
    pub(crate) notices: Vec<Notice>,
    /// The places of each step's calls.
    by_step: HashMap<(String, String), Vec<usize>>,
    /// Arrivals of each notification.
    arrivals: HashMap<String, usize>,
    connections: usize,
    held: HashSet<String>,
}

/// How the ledger answers.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    /// Decides delays and refusals.
    pub(crate) random: Random,
    /// The longest delay of an answer.
    pub(crate) delay_ms: u64,
    /// Refusals in a hundred calls; each may be repeated.
    pub(crate) refusals: u64,
    /// Refusals in a hundred notifications.
    pub(crate) notice_refusals: u64,
    /// The wait that the first call of each step is sent away with.
    pub(crate) retry_after: Option<u64>,
}

impl Manner {
    /// Answers at once and well.
    pub(crate) fn prompt() -> Manner {
        Manner {
            random: Random::new(0),
            delay_ms: 0,
            refusals: 0,
            notice_refusals: 0,
            retry_after: None,
        }
    }
}

/// The servers. They run as long as the test's runtime.
pub(crate) struct Ledger {
    /// The URL without a path.
    pub(crate) url: String,
    office: Arc<Office>,
}

struct Office {
    book: Mutex<Book>,
    changed: watch::Sender<()>,
    manner: Manner,
}

struct Request {
    path: String,
    key: Option<String>,
    webhook_id: Option<String>,
    body: Value,
}

impl Ledger {
    pub(crate) async fn start(manner: Manner) -> Ledger {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let office = Office { book: Mutex::default(), changed: watch::Sender::new(()), manner };
        let office = Arc::new(office);
        let accepting = Arc::clone(&office);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepting.edit(|book| book.connections += 1);
                let office = Arc::clone(&accepting);
                tokio::spawn(async move {
                    // A caller that breaks off is what this is about.
                    let _ = office.converse(stream).await;
                    office.edit(|book| book.connections -= 1);
                });
            }
        });
        Ledger { url, office }
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.office.book()
    }

    /// Waits until the book shows something.
    pub(crate) async fn until(&self, awaited: impl Fn(&Book) -> bool) {
        let mut changes = self.office.changed.subscribe();
        let seen = async {
            while !awaited(&self.book()) {
                changes.changed().await.expect("the ledger runs");
            }
        };
        let seen = tokio::time::timeout(PATIENCE, seen).await;
        assert!(seen.is_ok(), "waited for too long; calls: {:#?}", self.book().calls);
    }

    /// Keeps the answers to a step back from now on.
    pub(crate) fn hold(&self, step: &str) {
        self.office.edit(|book| book.held.insert(step.to_owned()));
    }

    /// Gives the answers that were kept back.
    pub(crate) fn release(&self, step: &str) {
        self.office.edit(|book| book.held.remove(step));
    }

    /// Waits until everything that a dead caller has sent is in the book, and gives the place of the
    /// next call.
    pub(crate) async fn settled(&self) -> usize {
        self.office.edit(|book| book.held.clear());
        // Connections are accepted in order: after this one, none of the dead caller's is left.
        let address = self.url.trim_start_matches("http://").to_owned();
        let mut mark = TcpStream::connect(&address).await.expect("the ledger");
        mark.write_all(b"POST /mark HTTP/1.1\r\n\r\n").await.expect("a mark");
        let mut answer = [0; 1];
        mark.read_exact(&mut answer).await.expect("an answer");
        drop(mark);
        self.until(|book| book.connections == 0).await;
        self.book().calls.len()
    }
}

impl Book {
    /// The calls of one step of a run.
    pub(crate) fn calls_of(&self, run: &str, step: &str) -> Vec<&Call> {
        self.places_of(run, step).iter().map(|place| &self.calls[*place]).collect()
    }

    /// Where in the order of all calls those of one step are.
    pub(crate) fn places_of(&self, run: &str, step: &str) -> &[usize] {
        self.by_step.get(&(run.to_owned(), step.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// Whether a step was called at least so often, in all runs together.
    pub(crate) fn has_called(&self, step: &str, times: usize) -> bool {
        self.calls.iter().filter(|call| call.step == step).count() >= times
    }

    /// Calls and notifications that were not the first of their kind.
    pub(crate) fn repeated(&self) -> (usize, usize) {
        (self.calls.len() - self.by_step.len(), self.notices.len() - self.arrivals.len())
    }

    /// Whether an answer to the step was sent.
    pub(crate) fn has_answered(&self, step: &str) -> bool {
        self.calls.iter().any(|call| call.step == step && call.answered)
    }
}

impl Office {
    /// A test that failed while it had the book open must not fail the others.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn edit<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        let result = change(&mut self.book());
        self.changed.send_replace(());
        result
    }

    async fn converse(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        while let Some(request) = read_request(&mut stream).await? {
            match request.path.as_str() {
                "/hook" => self.notice(request, &mut stream).await?,
                "/mark" => stream.write_all(&answer(200, "", &Value::Null)).await?,
                _ => self.call(request, &mut stream).await?,
            }
        }
        Ok(())
    }

    async fn call(
        &self,
        request: Request,
        stream: &mut BufReader<TcpStream>,
    ) -> std::io::Result<()> {
        let field = |name: &str| request.body[name].as_str().unwrap_or_default().to_owned();
        let (run, step, output) = (field("run"), field("step"), field("output"));
        let call = Call {
            run: run.clone(),
            step: step.clone(),
            key: request.key,
            before: request.body["before"].clone(),
            arrived: Instant::now(),
            given: None,
            answered: false,
        };
        let (place, earlier) = self.edit(|book| {
            let place = book.calls.len();
            book.calls.push(call);
            let places = book.by_step.entry((run.clone(), step.clone())).or_default();
            places.push(place);
            (place, places.len() - 1)
        });
        let mut random = self.manner.random.of((&run, &step, earlier));
        tokio::time::sleep(Duration::from_millis(random.below(self.manner.delay_ms + 1))).await;
        self.release_of(&step).await;
        let first = self.manner.retry_after.filter(|_| earlier == 0);
        let reply = match first {
            Some(seconds) => answer(503, &format!("Retry-After: {seconds}\r\n"), &Value::Null),
            None if random.percent(self.manner.refusals) => answer(500, "", &Value::Null),
            None => {
                // No two calls get the same value, so that a result tells which call made it.
                let value = Value::from(format!("{run}/{step}/{place}"));
                self.edit(|book| book.calls[place].given = Some(value.clone()));
                answer(200, "", &json!({ output: value }))
            }
        };
        stream.write_all(&reply).await?;
        self.edit(|book| book.calls[place].answered = true);
        Ok(())
    }

    async fn release_of(&self, step: &str) {
        let mut changes = self.changed.subscribe();
        while self.book().held.contains(step) {
            changes.changed().await.expect("the ledger runs");
        }
    }

    async fn notice(
        &self,
        request: Request,
        stream: &mut BufReader<TcpStream>,
    ) -> std::io::Result<()> {
        let run = request.body["execution_id"].as_str().unwrap_or_default().to_owned();
        let id = request.webhook_id.unwrap_or_default();
        let (place, earlier) = self.edit(|book| {
            let arrived = Instant::now();
            let notice = Notice { run, id: id.clone(), body: request.body, arrived, taken: false };
            book.notices.push(notice);
            let arrivals = book.arrivals.entry(id.clone()).or_default();
            *arrivals += 1;
            (book.notices.len() - 1, *arrivals)
        });
        if self.manner.random.of((&id, earlier)).percent(self.manner.notice_refusals) {
            return stream.write_all(&answer(500, "", &Value::Null)).await;
        }
        self.edit(|book| book.notices[place].taken = true);
        stream.write_all(&answer(200, "", &Value::Null)).await
    }
}

/// Reads one request; `None` where the connection ends.
async fn read_request(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let Some(path) = line.split(' ').nth(1).map(str::to_owned) else { return Ok(None) };
    let (mut key, mut webhook_id, mut length) = (None, None, 0);
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "idempotency-key" => key = Some(value.to_owned()),
            "webhook-id" => webhook_id = Some(value.to_owned()),
            "content-length" => length = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let body = serde_json::from_slice(&body).unwrap_or_default();
    Ok(Some(Request { path, key, webhook_id, body }))
}

fn answer(status: u16, headers: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!("HTTP/1.1 {status} -\r\n{headers}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}
