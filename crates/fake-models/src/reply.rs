//! What goes out for a request: an answer, whole or broken, or an error.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::http::response::Builder;
use axum::response::Response;

use crate::answer::{Answer, milliseconds};
use crate::behaviour::Behaviour;
use crate::calls::Ledger;
use crate::service::Service;
use crate::service::refusal::Refusal;
use crate::service::request::Request;
use crate::transport::{self, Ending};

/// Answers a request as the model that it names does.
pub(crate) async fn reply(service: Service, ledger: &Ledger, request: &Request) -> Response {
    let behaviour = Behaviour::of(&request.model);
    if let Some(refusal) = refusal(service, ledger, request, behaviour) {
        return refuse(service, &refusal, &request.digest);
    }
    if behaviour == Behaviour::Slow {
        tokio::time::sleep(Duration::from_millis(milliseconds(request, 300))).await;
    }
    let (parts, ending) = parts(service, request, behaviour);
    let content_type = match (behaviour, request.stream) {
        (Behaviour::Html, _) => "text/html; charset=utf-8",
        (_, true) => "text/event-stream; charset=utf-8",
        (_, false) => "application/json",
    };
    let body = match (&ending, parts.as_slice()) {
        // A body of one part says how long it is.
        (Ending::Orderly, [whole]) => Body::from(whole.clone()),
        _ => transport::body(parts, ending),
    };
    respond(service, 200, &request.digest)
        .header(header::CONTENT_TYPE, content_type)
        .body(body)
        .unwrap_or_default()
}

/// The error with which this model answers, if it does.
fn refusal(
    service: Service,
    ledger: &Ledger,
    request: &Request,
    behaviour: Behaviour,
) -> Option<Refusal> {
    match behaviour {
        Behaviour::Unknown => Some(Refusal::unknown_model(service, &request.model)),
        Behaviour::RateLimited { retry_after } => Some(Refusal::rate_limit(retry_after)),
        Behaviour::Overloaded => Some(Refusal::overloaded()),
        Behaviour::FailsOnce => ledger.is_first(service, &request.digest).then(Refusal::internal),
        Behaviour::Midway => (!request.stream).then(Refusal::internal),
        _ => None,
    }
}

/// The parts of the body as this model sends them, and what comes after them.
fn parts(service: Service, request: &Request, behaviour: Behaviour) -> (Vec<Bytes>, Ending) {
    let answer = Answer::to(request, behaviour);
    let whole: Vec<Bytes> = match request.stream {
        true => service.events(request, &answer).into_iter().map(Bytes::from).collect(),
        false => vec![Bytes::from(service.body(request, &answer).to_string())],
    };
    match behaviour {
        Behaviour::Html => (vec![Bytes::from(PAGE)], Ending::Orderly),
        Behaviour::NotJson if request.stream => {
            (vec!["data: That is not JSON.\n\n".into()], Ending::Orderly)
        }
        Behaviour::NotJson => (vec!["That is not JSON.".into()], Ending::Orderly),
        Behaviour::Choppy => (transport::chopped(&whole), Ending::Orderly),
        Behaviour::Truncated => (transport::truncated(whole), Ending::Orderly),
        Behaviour::Cut => (transport::half(whole), Ending::Broken),
        Behaviour::Endless => (transport::half(whole), endless(service, request)),
        Behaviour::Midway => {
            let mut parts = transport::half(whole);
            let error = service.error_event(&Refusal::overloaded(), &request.digest);
            parts.push(error.into());
            (parts, Ending::Orderly)
        }
        _ => (whole, Ending::Orderly),
    }
}

/// What a front shows in place of a service that is down.
const PAGE: &str =
    "<!doctype html><title>Bad gateway</title><h1>Bad gateway</h1><p>Please try again.</p>";

/// A stream goes on with 16 KiB of text a millisecond; a body with a letter every 20.
fn endless(service: Service, request: &Request) -> Ending {
    let (again, pause) = match request.stream {
        true => (service.piece(request, &"on and on ".repeat(1_638)), 1),
        false => ("o".to_owned(), 20),
    };
    Ending::Never { again, pause: Duration::from_millis(milliseconds(request, pause)) }
}

/// Says no in the words of the service.
pub(crate) fn refuse(service: Service, refusal: &Refusal, digest: &str) -> Response {
    let mut response =
        respond(service, refusal.status(), digest).header(header::CONTENT_TYPE, "application/json");
    if let Some(seconds) = refusal.retry_after {
        response = response.header(header::RETRY_AFTER, seconds);
    }
    response.body(service.error(refusal, digest).to_string().into()).unwrap_or_default()
}

fn respond(service: Service, status: u16, digest: &str) -> Builder {
    Response::builder().status(status).header(service.id_header(), format!("req_{digest}"))
}
