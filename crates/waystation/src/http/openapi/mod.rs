//! `/openapi.json`, `/docs`: the API described, by the table of routes and what `describe.yaml` says of each,
//! and a page to try it.
//!
//! The table says which routes there are, who may use them and what their paths hold; a route that is not
//! described, and a description of no route, fail a test.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use axum::extract::State;
use axum::http::{HeaderName, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::{Map, Value, json};
use utoipa_swagger_ui::{Config, serve};
use waystation_core::error::{Code, Error};

use super::Context;
use super::detail::is_spoken_at;
use super::extract::Path;
use super::reply::Failed;
use super::route::{Access, Need, Place, Route, Routes};
use crate::auth::Api;

/// What is said of each route, and of what goes in and out.
const DESCRIPTION: &str = include_str!("describe.yaml");

/// Where the page finds the description, from its own place.
const DOCUMENT: &str = "../openapi.json";

/// Nothing but the page's own files runs; it styles itself and draws its own pictures.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

pub(super) fn routes() -> Routes {
    Routes::of(Api::Own)
        .get("/openapi.json", Access::OPEN, described)
        .get("/docs", Access::OPEN, to_page)
        .get("/docs/", Access::OPEN, page)
        .get("/docs/{file}", Access::OPEN, file)
}

async fn described(State(context): State<Context>) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    (headers, context.description.to_string()).into_response()
}

/// The page's files are beside it.
async fn to_page(uri: Uri) -> Redirect {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    Redirect::permanent(&format!("docs/{query}"))
}

async fn page() -> Response {
    send("")
}

async fn file(Path(name): Path<String>) -> Response {
    send(&name)
}

fn send(name: &str) -> Response {
    static CONFIG: LazyLock<Arc<Config<'static>>> =
        LazyLock::new(|| Arc::new(Config::from(DOCUMENT).try_it_out_enabled(true)));
    match serve(name, Arc::clone(&CONFIG)) {
        Ok(Some(file)) => {
            let headers: [(HeaderName, &str); 3] = [
                (header::CONTENT_TYPE, &file.content_type),
                (header::CONTENT_SECURITY_POLICY, POLICY),
                (header::CACHE_CONTROL, "no-cache"),
            ];
            (headers, file.bytes.into_owned()).into_response()
        }
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => {
            tracing::error!(%error, name, "a file of the page that describes the API");
            Failed(Error::new(Code::Internal, "the page is not there")).into_response()
        }
    }
}

/// The document: OpenAPI 3.1.
pub(super) fn document(table: &[Route]) -> Value {
    let mut said = description();
    let operations = take_object(&mut said, "operations");
    let mut components = said["components"].take();
    components["securitySchemes"] = json!({
        "bearer": { "type": "http", "scheme": "bearer", "description": "A key, or a token (JWT)." },
        "key": { "type": "apiKey", "in": "header", "name": "x-api-key", "description": "A key." },
    });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Waystation",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "A durable workflow engine in one program.",
            "description": "Callers are asked who they are once the server has a key, or a secret for tokens.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": said["tags"].take(),
        "paths": paths(table, &operations),
        "components": components,
    })
}

fn description() -> Value {
    serde_saphyr::from_str(DESCRIPTION).unwrap_or_else(|error| {
        tracing::error!(%error, "the description of the API");
        Value::Null
    })
}

fn take_object(value: &mut Value, name: &str) -> Map<String, Value> {
    match value[name].take() {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// The operations by path and method.
fn paths(table: &[Route], operations: &Map<String, Value>) -> Map<String, Value> {
    let mut paths: Map<String, Value> = Map::new();
    for route in table.iter().filter(|route| is_described(route)) {
        let path = described_path(route.path);
        for (method, said) in operations_of(route, &path, operations) {
            let entry = paths.entry(path.clone()).or_insert_with(|| json!({}));
            entry[method.to_ascii_lowercase()] = operation(route, &path, said.clone());
        }
    }
    paths
}

/// A path with a slash behind is another way to write the same; this description does not describe itself.
fn is_described(route: &Route) -> bool {
    let is_twin = route.path.len() > 1 && route.path.ends_with('/');
    let is_page = ["/docs", "/openapi.json"].iter().any(|root| route.path.starts_with(root));
    !is_twin && !is_page
}

/// `/hooks/{*path}` is written without the star.
fn described_path(path: &str) -> String {
    path.replace("{*", "{")
}

/// What is said of a route, by method: of one that takes any, all that is said of its path.
fn operations_of<'o>(
    route: &Route,
    path: &str,
    operations: &'o Map<String, Value>,
) -> Vec<(&'o str, &'o Value)> {
    let of_path = operations.iter().filter_map(|(key, said)| {
        let (method, of) = key.split_once(' ')?;
        (of == path).then_some((method, said))
    });
    let is_taken = |method: &str| route.method.as_ref().is_none_or(|taken| taken == method);
    of_path.filter(|(method, _)| is_taken(method)).collect()
}

/// What is said of an operation, with what the table knows of it.
fn operation(route: &Route, path: &str, mut said: Value) -> Value {
    let mut parameters = match said["parameters"].take() {
        Value::Array(parameters) => parameters,
        _ => Vec::new(),
    };
    let known: BTreeSet<String> = parameters
        .iter()
        .filter(|one| one["in"] == "path")
        .filter_map(|one| one["name"].as_str().map(str::to_owned))
        .collect();
    let named = path.split('/').filter_map(|step| step.strip_prefix('{')?.strip_suffix('}'));
    for name in named.filter(|name| !known.contains(*name)) {
        let schema = json!({ "type": "string" });
        parameters.push(json!({ "name": name, "in": "path", "required": true, "schema": schema }));
    }
    said["parameters"] = parameters.into();
    add_access(route, &mut said);
    said
}

/// Who may use it, and what everybody else is answered.
fn add_access(route: &Route, said: &mut Value) {
    let Access { need, place, is_costly, .. } = route.access;
    let credentials = || vec![json!({ "bearer": [] }), json!({ "key": [] })];
    let error = |text: &str| {
        let schema = if is_spoken_at(route.path) { "Detail" } else { "Error" };
        let schema = json!({ "$ref": format!("#/components/schemas/{schema}") });
        json!({ "description": text, "content": { "application/json": { "schema": schema } } })
    };
    match need {
        Need::Nothing => said["security"] = json!([]),
        Need::Proof => {
            said["security"] = [vec![json!({})], credentials()].concat().into();
            add(said, "401", error("Neither signed nor with a credential."));
        }
        Need::Role(role) => {
            said["security"] = credentials().into();
            said["x-role"] = role.as_str().into();
            add(said, "401", error("The server asks callers who they are."));
        }
    }
    said["x-namespace"] = match place {
        Place::Nowhere => Value::Null,
        Place::Stored => crate::workflows::NAMESPACE.into(),
        Place::Path => "{ns}".into(),
        Place::Told => "told by the run or the body".into(),
        Place::Everywhere => "all".into(),
    };
    // A server for its own machine refuses what pages elsewhere send, by whatever route.
    add(said, "403", error("The role, the namespace or the origin does not allow it."));
    // Wrong credentials are counted on every route that asks for one.
    if is_costly || need != Need::Nothing {
        add(said, "429", error("Asked for too often."));
    }
    add(said, "default", error("Anything else that went wrong."));
}

/// Adds an answer, unless more is said of it.
fn add(said: &mut Value, status: &str, response: Value) {
    let responses = &mut said["responses"];
    if responses.get(status).is_none() {
        responses[status] = response;
    }
}

#[cfg(test)]
mod tests;
