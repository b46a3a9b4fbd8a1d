//! What formats have in common: failures, keys, bounds, silence.

use futures_util::stream;

use super::super::chat::Chat;
use super::super::messages::Messages;
use super::super::testing::*;
use super::*;
use crate::egress::testing::{MIB, Server, reply};
use crate::node::http::cut_quotation;

async fn ask(server: &Server, listens: bool) -> Asked {
    ask_with(|client, url| Chat::new(client, "OpenAI", url, true), server, &question(), listens)
        .await
}

async fn ask_for(body: Vec<u8>, listens: bool) -> Asked {
    let server = Server::start(move |_| body.clone()).await;
    ask(&server, listens).await
}

#[tokio::test]
async fn statuses_decide_about_another_attempt() {
    for status in [400_u16, 401, 403, 404, 408, 409, 413, 422, 425, 429, 500, 502, 503, 529, 300] {
        let asked = ask_for(answer(status, r#"{"error": "why"}"#), status % 2 == 0).await;
        let passes = matches!(status, 408 | 429) || status >= 500;
        let message = format!(r#"OpenAI API error: {status} - {{"error": "why"}}"#);
        assert_eq!(asked.verdict(), ("http_status", passes, message.as_str()));
        assert_eq!(asked.failure().hint.is_some(), matches!(status, 401 | 403 | 404), "{status}");
    }
}

#[tokio::test]
async fn a_long_refusal_is_cut_once_all_secrets_are_out() {
    let body = format!("{}{KEY}{}", "a".repeat(490), "b".repeat(100 << 10));
    let failure = ask_for(answer(400, body), false).await.reply.expect_err("a refusal");
    assert!(failure.message.contains("a[redacted]b"));
    assert!((60_000..70_000).contains(&failure.message.len()), "{}", failure.message.len());
    let message = cut_quotation(failure).message;
    assert_eq!(message.len(), 560);
    assert!(message.starts_with("OpenAI API error: 400 - aaa"), "{message}");
}

#[tokio::test]
async fn the_wait_that_a_provider_asks_for_is_kept() {
    let body = reply(429, "retry-after: 7\r\n", "slow");
    let asked = ask_for(body, false).await;
    assert_eq!(asked.failure().class, Class::Retryable { after_ms: Some(7_000) });
}

#[tokio::test]
async fn no_format_lets_a_key_out() {
    let encoded = KEY.replace('-', "\\u002d");
    let bodies = [
        answer(401, format!("bad key {KEY}.")),
        answer(400, format!(r#"{{"key":"{encoded}"}}"#)),
        answer(200, format!("bad key {KEY}")),
        answer(200, format!(r#"{{"error":{{"code":401,"message":"{KEY}"}}}}"#)),
        answer(
            200,
            format!(
                r#"{{"type":"message","model":"{KEY}","content":[{{"type":"text","text":"{KEY}"}}],
                "choices":[{{"message":{{"content":"a {KEY}"}},"finish_reason":"stop"}}]}}"#
            ),
        ),
        stream_of(&format!(r#"{{"type":"error","error":{{"type":"{KEY}"}}}}"#)),
        stream_of(KEY),
        format!("{STREAM}data: {KEY}").into_bytes(),
        format!("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{KEY}").into_bytes(),
    ];
    for body in bodies {
        let server = Server::start(move |_| body.clone()).await;
        for listens in [false, true] {
            // The helper looks for the key in everything that comes back.
            let asked = ask(&server, listens).await;
            assert!(asked.request.contains(KEY), "the key is sent");
            let make = |client, url: &str| Messages::new(client, "Anthropic", url);
            ask_with(make, &server, &question(), listens).await;
        }
    }
}

fn stream_of(data: &str) -> Vec<u8> {
    format!("{STREAM}data: {data}\n\n").into_bytes()
}

#[test]
fn a_key_that_no_header_can_carry_stays_unsaid() {
    let failure =
        key_header("Bearer ", &Secret::new("a\nsecret".into())).expect_err("a line break");
    assert_eq!(failure.class, Class::Fatal);
    assert!(!failure.message.contains("secret"), "{}", failure.message);
    let header = key_header("Bearer ", &Secret::new(" key\n".into())).expect("a header");
    assert!(header == "Bearer key" && header.is_sensitive());
}

#[tokio::test]
async fn answers_are_bounded() {
    let long = "x".repeat(5 * MIB);
    let whole = format!(r#"{{"choices":[{{"message":{{"content":"{long}"}}}}]}}"#);
    for listens in [false, true] {
        let asked = ask_for(answer(200, &whole), listens).await;
        let (code, may_pass, _) = asked.verdict();
        assert_eq!((code, may_pass), ("limit_exceeded", false), "listens: {listens}");
    }
}

#[tokio::test]
async fn endless_streams_are_bounded() {
    let text = "x".repeat(64 << 10);
    let words = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    for (piece, most) in [
        (words.into_bytes(), 4 * MIB),
        (b": ping\n\n".repeat(1 << 12), MODEL_STREAM_BYTES),
        (vec![b'x'; 64 << 10], MODEL_STREAM_BYTES),
    ] {
        let server = Server::start_endless(|_| STREAM.into(), piece).await;
        let asked = ask(&server, true).await;
        let (code, may_pass, message) = asked.verdict();
        assert_eq!((code, may_pass), ("limit_exceeded", false), "{message}");
        // The rest is what the sockets buffered.
        assert!(server.sent() < most + 24 * MIB, "{} bytes", server.sent());
    }
}

#[tokio::test]
async fn connections_that_fail_may_pass() {
    let cut = format!("{STREAM}data: {{\"choices\":[");
    let chunked = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                   transfer-encoding: chunked\r\n\r\n99\r\ndata: ";
    let short = "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{";
    for body in [cut.as_str(), chunked, short, ""] {
        for listens in [false, true] {
            let asked = ask_for(body.into(), listens).await;
            let (code, may_pass, message) = asked.verdict();
            assert_eq!((code, may_pass), ("transport", true), "{body}: {message}");
        }
    }
}

#[tokio::test]
async fn what_is_no_text_is_no_stream() {
    let mut body = STREAM.as_bytes().to_vec();
    body.extend(b"data: \xff\xfe\n\n");
    let asked = ask_for(body, true).await;
    let (code, may_pass, message) = asked.verdict();
    assert_eq!((code, may_pass), ("model_answer", true));
    assert!(message.starts_with("OpenAI gave a stream that cannot be read: "), "{message}");
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_stream_and_any_byte_breaks_it() {
    let began = tokio::time::Instant::now();
    let beats = stream::unfold(0, |count| async move {
        tokio::time::sleep(Duration::from_secs(if count < 3 { 59 } else { 3_600 })).await;
        Some((Ok(Bytes::from_static(b":")), count + 1))
    });
    let pieces = lively(beats, SILENCE, "host".into());
    pin_mut!(pieces);
    for _ in 0..3 {
        assert_eq!(pieces.next().await, Some(Ok(Bytes::from_static(b":"))));
    }
    let silence = SendError::Timeout("host fell silent for 60 s".to_owned());
    assert_eq!(pieces.next().await, Some(Err(silence.clone())));
    assert_eq!(began.elapsed(), Duration::from_secs(3 * 59 + 60));
    let failure = send_failure(&silence);
    assert_eq!((failure.code, failure.class), (Code::Timeout, Class::Retryable { after_ms: None }));
}

#[test]
fn paths_join_addresses_however_they_end() {
    let (chat, messages) = ("/chat/completions", "/v1/messages");
    for (base, path, expected) in [
        ("https://x.example/v1", chat, "https://x.example/v1/chat/completions"),
        ("https://x.example/v1/", chat, "https://x.example/v1/chat/completions"),
        ("https://x.example/v1/chat/completions", chat, "https://x.example/v1/chat/completions"),
        ("https://x.example", chat, "https://x.example/chat/completions"),
        (
            "https://x.example/v1?api-version=1",
            chat,
            "https://x.example/v1/chat/completions?api-version=1",
        ),
        ("https://x.example", messages, "https://x.example/v1/messages"),
        ("https://x.example/v1", messages, "https://x.example/v1/messages"),
        ("https://x.example/proxy/", messages, "https://x.example/proxy/v1/messages"),
        ("no address", chat, "no address"),
    ] {
        assert_eq!(join(base, path), expected, "{base}");
    }
}

#[tokio::test]
async fn a_redirect_to_another_origin_takes_no_key_along() {
    let other = Server::start(|_| answer(401, "who?")).await;
    let location = format!("location: {}\r\n", other.url("/v1"));
    let server = Server::start(move |_| reply(307, &location, "")).await;
    let asked = ask(&server, false).await;
    assert_eq!(asked.verdict().2, "OpenAI API error: 401 - who?");
    let seen = other.requests().pop().expect("a request");
    assert!(seen.contains("What is it?") && !seen.contains(KEY), "{seen}");
}
