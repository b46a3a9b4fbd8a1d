//! `/decide/…`: a signed link by which somebody ends the wait of a run. Opening it shows what is asked;
//! only sending the form decides, for mail programs open links by themselves.

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use waystation_core::error::{Code, Error};
use waystation_core::scheduler::NodeStatus;
use waystation_engine::driver::Decision;

use super::Context;
use super::body::Body;
use super::detail::Detail;
use super::extract::Path;
use super::route::{Access, Routes};
use crate::auth::Api;
use crate::links::{Ticket, open};

/// Bytes of a form with one choice.
const FORM_BYTES: usize = 16 << 10;

/// A ticket is signed, and whoever has it may decide.
pub(super) fn routes() -> Routes {
    Routes::of(Api::Service).get("/decide/{ticket}", Access::OPEN, ask).post(
        "/decide/{ticket}",
        Access::OPEN,
        decide,
    )
}

async fn ask(State(context): State<Context>, Path(text): Path<String>) -> Result<Response, Detail> {
    let ticket = ticket(&context, &text)?;
    // Until the page is made; the semaphore is never closed.
    let _place = context.readers.acquire().await;
    let run = context.app.engine.run(ticket.run).await?;
    let program = &run.program;
    let node = program.by_id.get(&ticket.node).copied();
    let waits = |node: &u32| run.status(*node) == NodeStatus::Suspended;
    let Some(node) = node.filter(waits) else {
        let text = "There is nothing to decide any more";
        return Ok((StatusCode::GONE, page(text, "")).into_response());
    };
    let config = &program.plan.nodes[node as usize].config;
    let message = match config.get("message") {
        Some(Value::String(text)) if !text.contains("{{") => text.clone(),
        _ => format!("A workflow waits at {} for your decision", ticket.node),
    };
    let choices = waystation_engine::node::wait::choices_of(config);
    let buttons = choices.iter().map(|choice| {
        let shown = escape(choice);
        format!("<button name=\"choice\" value=\"{shown}\">{shown}</button>")
    });
    Ok(page(&message, &buttons.collect::<Vec<_>>().join("\n")))
}

async fn decide(
    State(context): State<Context>,
    Path(text): Path<String>,
    request: Request,
) -> Result<Response, Detail> {
    let Ticket { run, node, attempt } = ticket(&context, &text)?;
    let body = Body::of(request, FORM_BYTES).await;
    let form = url::form_urlencoded::parse(body.text()?.as_bytes());
    let choice = form.into_owned().find(|(name, _)| name == "choice").map(|(_, value)| value);
    let data = json!({ "by": "link" });
    let decision = Decision { node, attempt: Some(attempt), choice, data };
    context.app.engine.decide(run, decision).await?;
    Ok(page("Thank you. Your decision is recorded.", ""))
}

fn ticket(context: &Context, text: &str) -> Result<Ticket, Detail> {
    open(&context.app.vault, text).ok_or_else(|| {
        let text = "This link is not valid";
        Error::new(Code::NotFound, text).into()
    })
}

/// A page that needs nothing from elsewhere.
fn page(message: &str, buttons: &str) -> Response {
    let form = match buttons {
        "" => String::new(),
        _ => format!("<form method=\"post\">{buttons}</form>"),
    };
    let body = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Decide</title>\
         <style>body{{font:18px/1.5 system-ui;margin:15vh auto;max-width:32em;padding:0 1em}}\
         button{{font:inherit;padding:.4em 1.2em;margin:0 .6em .6em 0}}</style>\
         <p>{}</p>{form}</html>",
        escape(message)
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
        ),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, body).into_response()
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
