//! Every route is described, nothing else is, and what is committed is what is served.

use super::*;
use crate::http::{Context, all};

async fn table() -> (tempfile::TempDir, Vec<Route>) {
    let data = tempfile::tempdir().unwrap();
    let config = crate::config::Config::read(&|_| None, data.path().to_owned(), true).unwrap();
    let app = Arc::new(crate::app::App::open(config, true).await.unwrap());
    let table = all(&app).table;
    drop(Context::new(app, None));
    (data, table)
}

#[tokio::test]
async fn every_route_is_described_and_nothing_else() {
    let (_data, table) = table().await;
    let mut said = description();
    let operations = take_object(&mut said, "operations");
    let mut told: BTreeSet<String> = operations.keys().cloned().collect();
    for route in table.iter().filter(|route| is_described(route)) {
        let path = described_path(route.path);
        let found = operations_of(route, &path, &operations);
        assert!(!found.is_empty(), "{:?} {path} is not described", route.method);
        for (method, said) in found {
            told.remove(&format!("{method} {path}"));
            assert!(
                said["summary"].is_string() && said["operationId"].is_string(),
                "{method} {path}"
            );
        }
    }
    assert_eq!(told, BTreeSet::new(), "described, and not there");
}

#[tokio::test]
async fn all_that_is_referred_to_is_there() {
    let (_data, table) = table().await;
    let document = document(&table);
    let mut ids = BTreeSet::new();
    let mut left = vec![&document];
    while let Some(value) = left.pop() {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(place)) = fields.get("$ref") {
                    let pointer = place.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{place}");
                }
                if let Some(Value::String(id)) = fields.get("operationId") {
                    assert!(ids.insert(id.clone()), "{id} twice");
                }
                left.extend(fields.values());
            }
            Value::Array(items) => left.extend(items),
            _ => {}
        }
    }
}

/// `WAYSTATION_BLESS=1` writes it anew.
#[tokio::test]
async fn what_is_committed_is_what_is_served() {
    let (_data, table) = table().await;
    let text = serde_json::to_string_pretty(&document(&table)).unwrap() + "\n";
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let file = std::path::Path::new(&here).join("../../docs/openapi.json");
    if std::env::var_os("WAYSTATION_BLESS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == text,
        "docs/openapi.json is stale: WAYSTATION_BLESS=1 cargo test writes it"
    );
}
