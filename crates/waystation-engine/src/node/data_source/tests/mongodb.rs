//! A server with MongoDB's wire protocol.

use super::servers::mongodb;
use super::*;

fn config(port: u16, query: Value) -> Value {
    let connection = format!("mongodb://127.0.0.1:{port}/test");
    let source = json!({ "source_type": "mongodb", "connection": connection });
    with(&source, Value::from_iter([("query", query)]))
}

async fn write(source: &DataSource, port: u16, query: Value) -> Value {
    let config = with(&config(port, query.clone()), json!({ "write": true }));
    attempt(source, config).await.unwrap_or_else(|failure| panic!("{query}: {failure:?}")).output
}

async fn insert(source: &DataSource, port: u16) {
    let documents = json!([
        { "_id": { "$oid": "65f0a0b1c2d3e4f5a6b7c8d9" }, "n": 1, "name": "one", "tags": ["a", "b"] },
        { "_id": 2, "n": 2, "name": "two", "at": { "$date": "2024-02-29T12:00:00.5Z" } },
        { "_id": 3, "n": 3, "name": "$name", "price": 1.5, "none": null },
    ]);
    let written = write(source, port, json!({ "collection": "c", "insert": documents })).await;
    assert_eq!(written["affected"], json!(3));
}

#[tokio::test]
async fn documents_become_rows() {
    let server = mongodb().await;
    let (source, port) = (source(), server.port);
    insert(&source, port).await;
    for (query, expected) in [
        (
            json!({ "filter": { "_id": { "$oid": "65f0a0b1c2d3e4f5a6b7c8d9" } } }),
            json!([{ "_id": "65f0a0b1c2d3e4f5a6b7c8d9", "n": 1, "name": "one", "tags": ["a", "b"] }]),
        ),
        (
            json!({ "filter": { "n": { "$gt": 1 } }, "projection": { "_id": 0, "at": 1, "price": 1 }, "sort": { "n": -1 } }),
            json!([{ "price": 1.5 }, { "at": "2024-02-29T12:00:00.5Z" }]),
        ),
        (
            json!({ "sort": { "n": 1 }, "skip": 2, "projection": { "n": 1, "_id": 0 } }),
            json!([{ "n": 3 }]),
        ),
        (
            json!({ "pipeline": [{ "$match": { "n": { "$lt": 3 } } }, { "$group": { "_id": null, "sum": { "$sum": "$n" } } }] }),
            json!([{ "_id": null, "sum": 3 }]),
        ),
    ] {
        let query = with(&json!({ "collection": "c" }), query);
        assert_eq!(rows(&source, config(port, query.clone())).await, expected, "{query}");
    }
    let some = with(&config(port, json!({ "collection": "c" })), json!({ "limit": 2 }));
    let some = attempt(&source, some).await.expect("rows").output;
    assert_eq!((&some["count"], &some["truncated"]), (&json!(2), &json!(true)));
}

#[tokio::test]
async fn writes_need_leave_and_are_counted() {
    let server = mongodb().await;
    let (source, port) = (source(), server.port);
    insert(&source, port).await;
    for query in [
        json!({ "collection": "c", "delete": { "filter": {}, "many": true } }),
        json!({ "collection": "c", "update": { "filter": {}, "update": { "$set": { "n": 0 } } } }),
        json!({ "collection": "c", "insert": [{ "n": 4 }] }),
        json!({ "collection": "c", "pipeline": [{ "$out": "d" }] }),
    ] {
        let refused = failure(&source, config(port, query)).await;
        assert_eq!(refused.hint(), Some("set `write: true`"));
    }
    let update =
        json!({ "filter": { "n": { "$gt": 1 } }, "update": { "$set": { "n": 9 } }, "many": true });
    let updated = write(&source, port, json!({ "collection": "c", "update": update })).await;
    assert_eq!(updated["affected"], json!(2));
    let delete = json!({ "collection": "c", "delete": { "filter": { "n": 9 } } });
    assert_eq!(write(&source, port, delete).await["affected"], json!(1));
    let left = rows(
        &source,
        config(port, json!({ "collection": "c", "projection": { "n": 1, "_id": 0 } })),
    )
    .await;
    assert_eq!(left.as_array().map(Vec::len), Some(2), "{left}");
}

#[tokio::test]
async fn values_stay_values() {
    let server = mongodb().await;
    let (source, port) = (source(), server.port);
    // The server of the tests does not find texts with NUL in them; MongoDB itself does.
    for text in hostile_texts(60, false) {
        let mut asked =
            call(config(port, json!({ "collection": "t", "insert": [{ "v": "{{input.v}}" }] })));
        asked.config["write"] = json!(true);
        asked.config["query_values"] = json!([text]);
        source.attempt(asked).await.unwrap_or_else(|failure| panic!("{text:?}: {failure:?}"));
        let mut asked = call(config(
            port,
            json!({
                "collection": "t", "filter": { "v": "{{input.v}}" }, "projection": { "_id": 0, "v": 1 },
            }),
        ));
        asked.config["query_values"] = json!([text]);
        let found = source.attempt(asked).await.expect("rows").output;
        assert_eq!(found["rows"][0], json!({ "v": text }));
    }
    let mut asked =
        call(config(port, json!({ "collection": "t", "filter": { "v": "{{input.v}}" } })));
    asked.config["query_values"] = json!([{ "$ne": null }]);
    let refused = source.attempt(asked).await.unwrap_err();
    assert!(refused.message.contains("an operator"), "{}", refused.message);
}

#[tokio::test]
async fn failures_say_what_and_where() {
    let server = mongodb().await;
    let (source, port) = (source(), server.port);
    let bad = json!({ "collection": "c", "pipeline": [{ "$nosuch": {} }] });
    let bad = failure(&source, config(port, bad)).await;
    assert_eq!(bad.class, Class::Fatal, "{bad:?}");
    let nowhere = json!({
        "source_type": "mongodb", "query": { "collection": "c" },
        "connection": format!("mongodb://127.0.0.1:{port}"),
    });
    let nowhere = failure(&source, nowhere).await;
    assert!(nowhere.message.contains("names a `database`"), "{}", nowhere.message);
    for connection in [
        "mongodb://u:hunter2@%2Ftmp%2Fmongodb-27017.sock/d".to_owned(),
        format!("mongodb://u:hunter2@127.0.0.1:{port}/d?tls=true&tlsInsecure=true"),
        format!("mongodb://u:hunter2@127.0.0.1:{port}/d?tls=true&tlsCAFile=/etc/passwd"),
        format!("mongodb://u:hunter2@127.0.0.1:{port}/d?nosuch=hunter2"),
        "mongodb+srv://u:hunter2@nowhere.invalid/d".to_owned(),
    ] {
        let config = json!({
            "source_type": "mongodb", "query": { "collection": "c" }, "connection": connection,
        });
        let refused = failure(&source, config).await;
        assert_eq!(refused.class, Class::Fatal, "{connection}: {refused:?}");
        assert!(!format!("{refused:?}").contains("hunter2"), "{refused:?}");
    }
    check_unreachable(|port| config(port, json!({ "collection": "c" })), "never").await;
}

/// What the machine knows to show who it is stays here, whatever the address says.
#[tokio::test]
async fn no_token_of_this_machine_leaves_it() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a listener");
    listener.set_nonblocking(true).expect("a mode");
    let port = listener.local_addr().expect("an address").port();
    for options in [
        "authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:k8s",
        "authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:azure,TOKEN_RESOURCE:x",
        "authMechanism=MONGODB-AWS",
        "authMechanism=MONGODB-X509&tls=true&tlsCertificateKeyFile=/etc/hostname",
    ] {
        let config = json!({
            "source_type": "mongodb", "query": { "collection": "c" },
            "connection": format!("mongodb://127.0.0.1:{port}/d?{options}"),
        });
        let refused = failure(&source(), config).await;
        assert_eq!(
            (refused.code, refused.class),
            (Code::DefinitionInvalid, Class::Fatal),
            "{options}"
        );
    }
    assert!(listener.accept().is_err(), "nobody is called");
}
