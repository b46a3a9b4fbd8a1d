//! Services that misbehave: silent, endless, huge, in circles.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::support::server::Server;
use crate::support::target::{Target, pour, raw, reply, reply_with};
use crate::support::{free_port, pipeline, step};

/// What the server may have taken at its peak, whatever a service sends.
const PEAK_KIB: u64 = 300 << 10;

/// The error of a pipeline with one step that calls this port.
async fn error_of(server: &Server, port: u16) -> String {
    let mut one = step("one", &format!("http://127.0.0.1:{port}/"), &[]);
    one["timeout"] = json!(1);
    let reply = server.execute(&pipeline(&[one])).await;
    assert_eq!(reply["success"], false, "{reply}");
    assert!(reply["execution_time"].as_f64().unwrap() < 10.0, "{reply}");
    assert_eq!(server.get("/ping").await.0, 200);
    reply["error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn silence_and_endless_answers_meet_the_steps_timeout() {
    let server = Server::start().await;
    let (silent, _task) = raw(async |stream| {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let (endless, _task) = raw(async |mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n").await;
        while stream.write_all(b"drop by drop ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let (headers, _task) = raw(async |mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream.write_all(b"x: y\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    for port in [silent, endless, headers] {
        let error = error_of(&server, port).await;
        let timeout = "Step one failed after 1 attempts: Timeout after 1 seconds";
        assert_eq!(error, timeout);
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_transport_error() {
    let server = Server::start().await;
    for start in [
        &b""[..],
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        b"not http at all\r\n\r\n",
    ] {
        let (port, _task) = raw(move |mut stream| async move {
            let _ = stream.write_all(start).await;
        })
        .await;
        let error = error_of(&server, port).await;
        assert!(error.starts_with("Step one failed after 1 attempts: "), "{error}");
        assert!(error.contains(&format!("127.0.0.1:{port}")), "{error}");
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_named() {
    let server = Server::start().await;
    let port = free_port();
    let error = error_of(&server, port).await;
    assert!(error.contains(&format!("127.0.0.1:{port}")), "{error}");
    assert!(error.to_lowercase().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_gigabyte_is_cut_off_without_taking_memory() {
    let server = Server::start().await;
    let (announced, _task) = raw(async |mut stream| {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n";
        let _ = stream.write_all(head).await;
        pour(&mut stream, &[b'x'; 65_536], 16_384).await;
    })
    .await;
    let (chunked, _task) = raw(async |mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        let mut chunk = b"10000\r\n".to_vec();
        chunk.extend([b'x'; 65_536]);
        chunk.extend(b"\r\n");
        pour(&mut stream, &chunk, 16_384).await;
    })
    .await;
    let (failing, _task) = raw(async |mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 No\r\n\r\n").await;
        pour(&mut stream, &[b'x'; 65_536], 16_384).await;
    })
    .await;
    for port in [announced, chunked] {
        let error = error_of(&server, port).await;
        assert!(error.contains("10485760 bytes") || error.contains("10 MiB"), "{error}");
    }
    assert!(error_of(&server, failing).await.starts_with("HTTP 400: xxx"));
    let peak = server.proc_status("VmHWM");
    assert!(peak < PEAK_KIB, "{peak} KiB");
}

#[tokio::test]
async fn redirects_are_followed_but_not_for_ever_nor_everywhere() {
    let server = Server::start().await;
    let target = Target::start(async |request, _| match request.path.as_str() {
        "/loop" => reply_with(307, ("location", "/loop"), ""),
        "/metadata" => reply_with(302, ("location", "http://169.254.169.254/latest"), ""),
        "/file" => reply_with(302, ("location", "file:///etc/passwd"), ""),
        "/see" => reply_with(303, ("location", "/there"), ""),
        "/keep" => reply_with(307, ("location", "/there"), ""),
        _ => reply(200, format!("{} {}", request.method, request.body)),
    });
    let target = target.await;
    for (path, expected) in [("/see", "GET "), ("/keep", "POST {\"a\":1}")] {
        let mut one = step("one", &target.url(path), &[]);
        one["body_template"] = json!({ "a": 1 });
        let reply = server.execute(&pipeline(&[one])).await;
        assert_eq!(reply["all_outputs"]["one_out"], expected, "{path}");
    }
    for (path, expected) in [
        ("/loop", "redirect"),
        ("/metadata", "never called"),
        ("/file", "redirects to a file: address"),
    ] {
        let reply = server.execute(&pipeline(&[step("one", &target.url(path), &[])])).await;
        let error = reply["error"].as_str().unwrap();
        assert!(error.contains(expected), "{path}: {error}");
    }
    assert_eq!(target.count("/loop"), 11);
}

#[tokio::test]
async fn a_server_for_others_calls_only_public_addresses_until_told_otherwise() {
    let target = Target::start(async |_, _| reply(200, "inside")).await;
    let body = pipeline(&[step("one", &target.url("/"), &[])]);
    let server = Server::with(&[("WAYSTATION_EGRESS", "public-only")]).await;
    let error = server.execute(&body).await["error"].as_str().unwrap().to_owned();
    assert!(error.contains("127.0.0.1 is") && error.contains("WAYSTATION_EGRESS_ALLOW=127.0.0.1"));
    assert_eq!(target.received().len(), 0);
    let settings = [("WAYSTATION_EGRESS", "public-only"), ("WAYSTATION_EGRESS_ALLOW", "127.0.0.1")];
    let server = Server::with(&settings).await;
    assert_eq!(server.execute(&body).await["all_outputs"]["one_out"], "inside");
}
