//! The client against servers that redirect, lie, stall and never end.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::header::HeaderValue;

use super::super::policy::Reach;
use super::super::testing::{Server, reply};
use super::*;

const MIB: usize = 1 << 20;

fn client(reach: Reach, allow: &str) -> HttpClient {
    let reach = match reach {
        Reach::AnyButMetadata => "any-but-metadata",
        Reach::PublicOnly => "public-only",
    };
    HttpClient::new(Policy::parse(reach, allow).expect("a policy")).expect("a client")
}

fn open_client() -> HttpClient {
    client(Reach::AnyButMetadata, "")
}

/// A client for which names mean what the function says; it is given the number of the lookup.
fn named_client(
    addresses: impl Fn(usize) -> &'static [&'static str] + Send + Sync + 'static,
) -> HttpClient {
    let count = AtomicUsize::new(0);
    let lookup: Lookup = Arc::new(move |_| {
        let list = addresses(count.fetch_add(1, Ordering::Relaxed));
        let parse = |ip: &&str| SocketAddr::new(ip.parse().expect("an address"), 0);
        let found = list.iter().map(parse).collect();
        Box::pin(async move { Ok(found) })
    });
    HttpClient::with_lookup(Policy::new(Reach::AnyButMetadata), lookup).expect("a client")
}

async fn get(client: &HttpClient, url: impl Into<String>) -> Result<Response, SendError> {
    client.send(Request::new(Method::GET, url), MIB).await
}

#[test]
fn address_spellings() {
    use Verdict::{Local, Never, Open, Unparsed};
    /// What becomes of a URL whose host is, or is not, recognised as an address.
    #[derive(Debug, PartialEq)]
    enum Verdict {
        /// Refused by every policy.
        Never,
        /// Refused by public-only.
        Local,
        /// Allowed, or a name for the resolver to check.
        Open,
        /// No URL.
        Unparsed,
    }
    let cases = [
        // Metadata and link-local.
        ("http://169.254.169.254/latest", Never),
        ("HTTP://169.254.169.254./", Never),
        ("http://2852039166/", Never),
        ("http://0xA9FEA9FE/", Never),
        ("http://0xa9.0xfe.0xa9.0xfe/", Never),
        ("http://0251.0376.0251.0376/", Never),
        ("http://025177524776/", Never),
        ("http://169.254.43518/", Never),
        ("http://169.16689662/", Never),
        ("http://0xa9.254.0251.254:80/", Never),
        ("http://%31%36%39.254.169.254/", Never),
        ("http://a@169.254.169.254/", Never),
        ("http://example.com:80@169.254.169.254/", Never),
        ("http://169.254.169.254\\@example.com/", Never),
        ("http:169.254.169.254", Never),
        ("http:\\\\169.254.169.254", Never),
        ("http:////169.254.169.254", Never),
        ("http://169.254.169.254#@example.com", Never),
        ("http://①⑥⑨.②⑤④.①⑥⑨.②⑤④/", Never),
        ("http://169。254。169。254/", Never),
        ("http://169.254\t.169.254/", Never),
        ("http://[::ffff:169.254.169.254]/", Never),
        ("http://[::FFFF:A9FE:A9FE]/", Never),
        ("http://[0:0:0:0:0:ffff:a9fe:a9fe]/", Never),
        ("http://[::ffff:0:169.254.169.254]/", Never),
        ("http://[::169.254.169.254]/", Never),
        ("http://[64:ff9b::169.254.169.254]/", Never),
        ("http://[64:ff9b:1::a9fe:a9fe]/", Never),
        ("http://[2002:a9fe:a9fe::]/", Never),
        ("http://[2001:0:a9fe:a9fe::]/", Never),
        ("http://[2001::5601:5601]/", Never),
        ("http://[2606:4700::5efe:a9fe:a9fe]/", Never),
        ("http://[fd00:ec2::254]/", Never),
        ("http://[fd20:ce::254]/", Never),
        ("http://[fe80::1]/", Never),
        ("http://[febf::1]/", Never),
        ("http://100.100.100.200/", Never),
        ("http://192.0.0.192/", Never),
        ("http://168.63.129.16/", Never),
        // This machine and its networks.
        ("http://127.0.0.1/", Local),
        ("http://127.1/", Local),
        ("http://0x7f.1/", Local),
        ("http://0177.0.0.01/", Local),
        ("http://2130706433/", Local),
        ("http://0/", Local),
        ("http://0.0.0.0/", Local),
        ("http://0.1.2.3/", Local),
        ("http://[::1]/", Local),
        ("http://[::]/", Local),
        ("http://[::ffff:127.0.0.1]/", Local),
        ("http://[2002:7f00:1::]/", Local),
        ("http://10.1/", Local),
        ("http://172.31.255.255/", Local),
        ("http://192.168.65535/", Local),
        ("http://100.64.0.1/", Local),
        ("http://198.19.0.1/", Local),
        ("http://203.0.113.7/", Local),
        ("http://224.0.0.1/", Local),
        ("http://255.255.255.255/", Local),
        ("http://[fc00::1]/", Local),
        ("http://[fdff::1]/", Local),
        ("http://[fec0::1]/", Local),
        ("http://[ff02::1]/", Local),
        ("http://[2001:db8::1]/", Local),
        ("http://[64:ff9b::10.0.0.1]/", Local),
        ("http://[64:ff9b:1::808:808]/", Local),
        ("http://[4000::1]/", Local),
        // The internet.
        ("http://93.184.216.34/", Open),
        ("http://172.32.0.1/", Open),
        ("http://100.128.0.1/", Open),
        ("http://[2606:4700::1111]/", Open),
        ("http://[64:ff9b::93.184.216.34]/", Open),
        ("http://[::ffff:93.184.216.34]/", Open),
        ("http://169.254.169.254.example.com/", Open),
        ("http://169.254.169.254@93.184.216.34/", Open),
        ("http://example.com/@169.254.169.254", Open),
        // No URL of ours.
        ("http://169.254.169.256/", Unparsed),
        ("http://1.2.3.4.5/", Unparsed),
        ("http://[fe80::1%25eth0]/", Unparsed),
        ("http://", Unparsed),
        ("file:///etc/passwd", Unparsed),
        ("ftp://10.0.0.1/", Unparsed),
        ("gopher://127.0.0.1:70/", Unparsed),
        ("unix:/run/docker.sock", Unparsed),
        ("data:text/plain,x", Unparsed),
        ("example.com/path", Unparsed),
        ("//169.254.169.254/", Unparsed),
        ("", Unparsed),
    ];
    let (any, public) = (open_client(), client(Reach::PublicOnly, ""));
    for (text, expected) in cases {
        let found = match absolute_url(text) {
            Err(_) => Unparsed,
            Ok(url) if any.check(&url).is_err() && public.check(&url).is_err() => Never,
            Ok(url) if public.check(&url).is_err() => Local,
            Ok(_) => Open,
        };
        assert_eq!(found, expected, "{text}");
    }
}

#[tokio::test]
async fn redirects_change_method_and_body_as_browsers_do() {
    let kept = ("PUT", "{\"a\":1}");
    let cases = [
        (301, Method::POST, ("GET", "")),
        (302, Method::POST, ("GET", "")),
        (303, Method::POST, ("GET", "")),
        (303, Method::PUT, ("GET", "")),
        (301, Method::PUT, kept),
        (302, Method::PUT, kept),
        (307, Method::PUT, kept),
        (308, Method::PUT, kept),
        (303, Method::HEAD, ("HEAD", "")),
    ];
    for (status, method, (expected_method, expected_body)) in cases {
        let server = Server::start(move |request| match request.contains(" /end?x=1 ") {
            true => reply(200, "", ""),
            false => reply(status, "location: ../end?x=1#part\r\n", "moved"),
        });
        let server = server.await;
        let mut request = Request::new(method.clone(), server.url("/a/b"));
        request.body = (method != Method::HEAD).then(|| Bytes::from_static(b"{\"a\":1}"));
        let response = open_client().send(request, MIB).await.expect("an answer");
        assert_eq!(response.url.path(), "/end");
        let last = server.requests().pop().expect("a request");
        let (head, body) = last.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with(expected_method), "{status} {method}: {head}");
        assert_eq!(body, expected_body, "{status} {method}");
        assert_eq!(head.contains("content-length"), !body.is_empty(), "{head}");
    }
}

#[tokio::test]
async fn what_is_no_redirect_is_an_answer() {
    for (status, headers) in [(300, "location: /x\r\n"), (302, ""), (304, "location: /x\r\n")] {
        let server = Server::start(move |_| reply(status, headers, "")).await;
        let response = get(&open_client(), server.url("/")).await.expect("an answer");
        assert_eq!(response.status, status);
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn every_redirect_is_checked() {
    let client = named_client(|_| &["169.254.169.254"]);
    for target in [
        "http://169.254.169.254/latest/meta-data",
        "//169.254.169.254/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://2852039166/",
        "http://metadata.google.internal/",
        "https://named.example/",
    ] {
        let server =
            Server::start(move |_| reply(307, &format!("location: {target}\r\n"), "")).await;
        let error = get(&client, server.url("/")).await.expect_err(target);
        assert!(matches!(error, SendError::Refused(_)), "{target}: {error}");
    }
    for target in ["file:///etc/passwd", "gopher://127.0.0.1/", "http://", "http://[::1"] {
        let server =
            Server::start(move |_| reply(302, &format!("location: {target}\r\n"), "")).await;
        let error = get(&client, server.url("/")).await.expect_err(target);
        assert!(matches!(error, SendError::Invalid(_)), "{target}: {error}");
    }
}

#[tokio::test]
async fn a_redirect_from_an_allowed_to_a_private_address_is_refused() {
    let server = Server::start(|_| reply(302, "location: http://10.0.0.1/\r\n", "")).await;
    let client = client(Reach::PublicOnly, "127.0.0.1");
    let error = get(&client, server.url("/")).await.expect_err("a private target");
    assert!(matches!(error, SendError::Refused(_)), "{error}");
}

#[tokio::test]
async fn redirects_end() {
    let server = Server::start(|_| reply(302, "location: /again\r\n", "")).await;
    let error = get(&open_client(), server.url("/")).await.expect_err("a loop");
    assert!(matches!(error, SendError::Redirects { .. }), "{error}");
    assert_eq!(server.requests().len(), limits::REDIRECTS + 1);
}

#[tokio::test]
async fn another_origin_gets_no_keys() {
    let other = Server::start(|_| reply(200, "", "ok")).await;
    let target = other.url("/");
    let first = Server::start(move |request| match request.contains(" /same ") {
        true => reply(307, &format!("location: {target}\r\n"), ""),
        false => reply(307, "location: /same\r\n", ""),
    });
    let first = first.await;
    let url = format!("http://user:pass@{}/", first.address);
    let mut request = Request::new(Method::POST, url);
    let names = ["x-api-key", "cookie", "private-token", "accept", "idempotency-key"];
    for name in names {
        request.headers.insert(name, HeaderValue::from_static("given"));
    }
    let response = open_client().send(request, MIB).await.expect("an answer");
    assert_eq!(response.url.as_str(), other.url("/"));

    let requests = first.requests();
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert!(request.contains("authorization: Basic dXNlcjpwYXNz"), "{request}");
        assert!(names.iter().all(|name| request.contains(&format!("{name}: given"))), "{request}");
    }
    let leaked = other.requests().pop().expect("a request");
    for name in ["x-api-key", "cookie", "private-token", "authorization"] {
        assert!(!leaked.contains(name), "{leaked}");
    }
    for name in ["accept: given", "idempotency-key: given", "user-agent: waystation/"] {
        assert!(leaked.contains(name), "{leaked}");
    }
}

#[test]
fn only_a_change_to_tls_on_standard_ports_is_an_upgrade() {
    for (from, to, expected) in [
        ("http://a.example/x", "https://a.example/y", true),
        ("https://a.example/", "http://a.example/", false),
        ("http://a.example:8080/", "https://a.example/", false),
        ("http://a.example/", "https://a.example:8443/", false),
        ("http://a.example/", "https://b.example/", false),
    ] {
        let url = |text| Url::parse(text).expect("a URL");
        assert_eq!(is_upgrade(&url(from), &url(to)), expected, "{from} {to}");
    }
}

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
async fn this_server_may_not_redirect_to_its_neighbours() {
    let neighbour = Server::start(|_| reply(200, "", "")).await;
    let target = neighbour.url("/");
    let server = Server::start(move |_| reply(302, &format!("location: {target}\r\n"), "")).await;
    let client = client(Reach::PublicOnly, "");
    client.set_own_address(server.address);
    let error = get(&client, "/").await.expect_err("another port");
    assert!(matches!(error, SendError::Refused(_)), "{error}");
    assert!(neighbour.requests().is_empty());
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
    let _ = ring::default_provider().install_default();
    let client = reqwest::Client::builder().tls_backend_preconfigured(built_in_tls()).build();
    assert!(client.is_ok(), "{client:?}");
}
