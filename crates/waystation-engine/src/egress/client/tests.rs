//! The client against servers that lie, stall and never end.

use std::io::Write;

use reqwest::header::HeaderValue;
use tokio::io::AsyncWriteExt;

use super::super::policy::Reach;
use super::super::testing::{MIB, Server, client, get, named_client, open_client, reply};
use super::*;

#[tokio::test]
async fn a_path_means_this_server() {
    let server = Server::start(|_| reply(200, "", "own")).await;
    let client = client(Reach::PublicOnly, "");
    let error = get(&client, "/echo").await.expect_err("no address yet");
    assert!(matches!(error, SendError::Invalid(_)), "{error}");

    client.set_own_address(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), server.address.port()));
    let response = get(&client, "/echo?a=1").await.expect("this server");
    assert_eq!(response.url.as_str(), server.url("/echo?a=1"));

    let error = get(&client, server.url("/echo")).await.expect_err("not by its address");
    assert!(matches!(error, SendError::Refused(_)), "{error}");
    for path in ["//127.0.0.1/", "/\\127.0.0.1/", "/\t/127.0.0.1/", "\\\\127.0.0.1/"] {
        let error = get(&client, path).await.expect_err(path);
        assert!(matches!(error, SendError::Invalid(_)), "{path:?}: {error}");
    }
}

#[tokio::test]
async fn a_name_that_changes_its_address_is_checked_each_time() {
    let server = Server::start(|_| reply(200, "", "")).await;
    let client = named_client(|count| match count {
        0 => &["169.254.169.254", "127.0.0.1"],
        _ => &["169.254.169.254"],
    });
    let url = format!("http://rebinding.example:{}/", server.address.port());
    get(&client, &*url).await.expect("the permitted address alone is dialled, after one lookup");
    let error = get(&client, url).await.expect_err("now a metadata address");
    assert!(matches!(error, SendError::Refused(_)), "{error}");
}

async fn assert_stops(server: &Server, case: &str) {
    let error = get(&open_client(), server.url("/")).await.expect_err(case);
    assert!(matches!(error, SendError::TooLarge { bytes_max: MIB, .. }), "{case}: {error}");
    // The rest is what the sockets buffered.
    assert!(server.sent() < 24 * MIB, "{case}: {} bytes", server.sent());
}

#[tokio::test]
async fn endless_answers_stop_at_the_bound() {
    let piece = vec![b'x'; 64 << 10];
    let chunk = [b"10000\r\n", &piece[..], b"\r\n"].concat();
    let gigabyte = "HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n";
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    for (head, piece) in
        [(gigabyte, piece.clone()), ("HTTP/1.1 200 OK\r\n\r\n", piece), (chunked, chunk)]
    {
        let server = Server::start_endless(move |_| head.into(), piece).await;
        assert_stops(&server, head).await;
    }
}

#[tokio::test]
async fn endless_headers_stop() {
    for piece in ["x-header: value\r\n", "x"] {
        let piece = piece.repeat(1 << 12).into_bytes();
        let head = "HTTP/1.1 200 OK\r\nx-first: ";
        let server = Server::start_endless(move |_| head.into(), piece).await;
        let error = get(&open_client(), server.url("/")).await.expect_err("no end of headers");
        assert!(matches!(error, SendError::Transport(_)), "{error}");
        assert!(server.sent() < 24 * MIB, "{} bytes", server.sent());
    }
}

#[tokio::test]
async fn plain_text_where_tls_is_due_is_described() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("https://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("room");
    });
    let error = get(&open_client(), url).await.expect_err("no TLS");
    assert!(
        matches!(&error, SendError::Transport(text) if text.starts_with("cannot connect to")),
        "{error}"
    );
}

#[tokio::test]
async fn a_request_without_a_body_says_so() {
    let server = Server::start(|_| reply(200, "", "")).await;
    let request = Request::new(Method::POST, server.url("/"));
    open_client().send(request, MIB).await.expect("an answer");
    let seen = server.requests().pop().expect("a request");
    assert!(seen.contains("content-length: 0\r\n"), "{seen}");
}

#[tokio::test]
async fn a_compressed_bomb_stops_at_the_bound() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..256 {
        encoder.write_all(&vec![0; MIB]).expect("memory");
    }
    let bomb = encoder.finish().expect("memory");
    assert!(bomb.len() < MIB);
    let server = Server::start(move |_| reply(200, "content-encoding: gzip\r\n", &bomb)).await;
    assert_stops(&server, "bomb").await;
}

#[tokio::test]
async fn the_bound_itself_is_allowed() {
    let server = Server::start(|_| reply(200, "", vec![b'x'; 100])).await;
    let send = |bytes_max| {
        let request = Request::new(Method::GET, server.url("/"));
        async move { open_client().send(request, bytes_max).await }
    };
    assert_eq!(send(100).await.expect("as large as allowed").body.len(), 100);
    assert!(matches!(send(99).await, Err(SendError::TooLarge { .. })));
}

#[tokio::test]
async fn endless_and_broken_errors_keep_their_status() {
    let endless = "HTTP/1.1 500 X\r\n\r\n";
    let server = Server::start_endless(move |_| endless.into(), vec![b'x'; 64 << 10]).await;
    let response = get(&open_client(), server.url("/")).await.expect("a status");
    assert_eq!((response.status.as_u16(), response.body.len()), (500, limits::ERROR_BYTES));

    let broken = "HTTP/1.1 404 X\r\ncontent-length: 100\r\n\r\nno such";
    let server = Server::start(move |_| broken.into()).await;
    let response = get(&open_client(), server.url("/")).await.expect("a status");
    assert_eq!((response.status.as_u16(), &response.body[..]), (404, &b"no such"[..]));
}

#[tokio::test]
async fn broken_answers_are_described() {
    let cases = [
        ("", "no response from HOST: connection closed before message completed"),
        ("HTTP/1.1 200 O", "no response from HOST: connection closed before message completed"),
        ("SSH-2.0-OpenSSH_9\r\n\r\n", "no response from HOST: invalid HTTP version parsed"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
            "the response of HOST broke off: unexpected end of data",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
            "the response of HOST broke off: unexpected end of data",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc",
            "the response of HOST broke off: Invalid gzip header",
        ),
    ];
    for (answer, expected) in cases {
        let server = Server::start(move |_| answer.into()).await;
        let url = format!("http://user:secret@{}/path?key=secret", server.address);
        let error = get(&open_client(), url).await.expect_err(answer);
        assert!(matches!(error, SendError::Transport(_)), "{answer:?}: {error:?}");
        let text = error.to_string().replace(&server.address.to_string(), "HOST");
        assert_eq!(text, expected, "{answer:?}");
    }
}

#[tokio::test]
async fn unreachable_hosts_are_described() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let error =
        get(&open_client(), format!("http://u:p@{address}/?key=1")).await.expect_err("closed");
    assert_eq!(
        error,
        SendError::Transport(format!("cannot connect to {address}: connection refused"))
    );

    let error =
        get(&named_client(|_| &[]), "http://nowhere.example/").await.expect_err("no address");
    assert_eq!(error.to_string(), "the name nowhere.example has no address");
}

#[tokio::test(start_paused = true)]
async fn connecting_has_a_time_of_its_own() {
    let lookup: Lookup = Arc::new(|_| Box::pin(std::future::pending()));
    let policy = Policy::new(Reach::AnyButMetadata);
    let client = HttpClient::with_lookup(policy, lookup).expect("a client");
    let error = get(&client, "http://silent.example/").await.expect_err("never resolved");
    assert_eq!(error, SendError::Timeout("no connection to silent.example within 10 s".to_owned()));
}

#[tokio::test]
async fn a_caller_cannot_frame_the_message() {
    let server = Server::start(|_| reply(200, "", "")).await;
    let mut request = Request::new(Method::POST, server.url("/"));
    request.body = Some(Bytes::from_static(b"four"));
    for (name, value) in [
        ("content-length", "0"),
        ("transfer-encoding", "chunked"),
        ("connection", "upgrade"),
        ("upgrade", "h2c"),
        ("accept-encoding", "br"),
    ] {
        request.headers.insert(name, HeaderValue::from_static(value));
    }
    open_client().send(request, MIB).await.expect("an answer");
    let seen = server.requests().pop().expect("a request");
    assert!(seen.contains("content-length: 4\r\n") && seen.ends_with("\r\n\r\nfour"), "{seen}");
    for absent in ["transfer-encoding", "connection", "upgrade", "br\r\n"] {
        assert!(!seen.contains(absent), "{seen}");
    }
}

#[tokio::test]
async fn answers_without_a_body_are_read() {
    for (method, answer) in [
        (Method::HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n"),
        (Method::HEAD, "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 9\r\n\r\n"),
        (Method::GET, "HTTP/1.1 204 No\r\ncontent-encoding: gzip\r\n\r\n"),
        (Method::GET, "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 0\r\n\r\n"),
    ] {
        let server = Server::start(move |_| answer.into()).await;
        let request = Request::new(method, server.url("/"));
        let response = open_client().send(request, MIB).await.expect(answer);
        assert!(response.status.is_success() && response.body.is_empty(), "{answer}");
    }
}

#[test]
fn tls_works_without_system_certificates() {
    install_tls();
    let client = reqwest::Client::builder().tls_backend_preconfigured(built_in_tls()).build();
    assert!(client.is_ok(), "{client:?}");
}
