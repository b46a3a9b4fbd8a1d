//! Every route of the table, by every role, in every kind of namespace.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use axum::response::Response;
use tower::ServiceExt;

use super::route::{Need, Place, Route};
use super::*;
use crate::auth::principal::Role;
use crate::auth::token::{NewToken, Tokens};
use crate::auth::{Api, Settings};
use crate::config::Config;
use crate::workflows::NAMESPACE;

/// A server whose callers have to say who they are, and what makes tokens for it.
pub(super) struct World {
    pub(super) context: Context,
    pub(super) router: Router,
    table: Vec<Route>,
    tokens: Tokens,
    _data: tempfile::TempDir,
}

fn settings(name: &str) -> Option<String> {
    (name == "JWT_SECRET").then(|| "a secret of more than thirty-two bytes".to_owned())
}

impl World {
    pub(super) async fn new(open: Vec<Api>) -> World {
        let data = tempfile::tempdir().unwrap();
        let mut config = Config::read(&settings, data.path().to_owned(), true).unwrap();
        config.auth = Settings { open, ..Settings::from_lookup(&settings).unwrap() };
        let app = Arc::new(App::open(config, true).await.unwrap());
        let (table, auth) = (all(&app).table, Arc::clone(&app.auth));
        let (token, pass) = ("the operator's".into(), "the steps'".into());
        let settings_of_doors = DoorSettings::default();
        let doors = Doors { auth, settings: settings_of_doors, is_local: false, token, pass };
        let context = Context::new(app, None);
        let router = router(context.clone(), doors);
        let tokens = Tokens::from_lookup(&settings).unwrap().unwrap();
        World { context, router, table, tokens, _data: data }
    }

    fn token(&self, role: Role, namespace: Option<&str>) -> String {
        let now = waystation_engine::id::now_ms() / 1_000;
        let namespaces = namespace.map(|name| vec![name.to_owned()]);
        let new = NewToken { subject: "test".into(), role, namespaces, now, seconds: 600 };
        self.tokens.make(&new, None).unwrap()
    }

    async fn ask(&self, route: &Route, credential: Option<(&str, &str)>) -> Response {
        let method = route.method.clone().unwrap_or(Method::POST);
        let request = Request::builder().method(method).uri(address(route.path));
        let request = match credential {
            Some((name, value)) => request.header(name, value),
            None => request,
        };
        let response = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await;
        response.unwrap()
    }

    async fn ask_as(&self, route: &Route, token: &str) -> StatusCode {
        let bearer = format!("Bearer {token}");
        self.ask(route, Some(("authorization", &bearer))).await.status()
    }
}

/// A path with something in place of its variables.
fn address(path: &str) -> String {
    let steps = path.split('/').map(|step| match step {
        "{ns}" => NAMESPACE,
        "{type}" => "delay",
        "{sample}" => "weather",
        step if step.starts_with('{') => "none",
        step => step,
    });
    steps.collect::<Vec<_>>().join("/")
}

fn is_turned_away(status: StatusCode) -> bool {
    status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN
}

/// The table itself, for whoever reviews a change of it.
#[tokio::test]
async fn the_table_of_routes() {
    let world = World::new(Vec::new()).await;
    let mut lines: Vec<String> = world.table.iter().map(line).collect();
    lines.sort();
    insta::assert_snapshot!(lines.join("\n"));
}

fn line(route: &Route) -> String {
    let Route { method, path, api, access, .. } = route;
    let method = method.as_ref().map_or("ANY", Method::as_str);
    let need = match access.need {
        Need::Nothing => "open".to_owned(),
        Need::Proof => "proof".to_owned(),
        Need::Role(role) => role.to_string(),
    };
    let flags = [
        (access.is_costly, " costly"),
        (access.is_by_query, " ?token"),
        (access.is_for_steps, " steps"),
    ];
    let flags: String = flags.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect();
    format!("{path:<52} {method:<7} {api:?} {need} {:?}{flags}", access.place)
}

#[tokio::test]
async fn nobody_comes_in_without_saying_who_they_are() {
    let world = World::new(Vec::new()).await;
    for route in &world.table {
        let response = world.ask(route, None).await;
        let status = response.status();
        match route.access.need {
            Need::Role(_) => {
                assert_eq!(status, StatusCode::UNAUTHORIZED, "{}", line(route));
                assert!(
                    response.headers().contains_key(header::WWW_AUTHENTICATE),
                    "{}",
                    line(route)
                );
                let tried = world.ask(route, Some(("x-api-key", "way_none_none"))).await.status();
                assert_eq!(tried, StatusCode::UNAUTHORIZED, "{}", line(route));
            }
            Need::Nothing => assert!(!is_turned_away(status), "{}: {status}", line(route)),
            Need::Proof => {}
        }
    }
}

#[tokio::test]
async fn every_role_may_do_what_it_may_and_no_more() {
    let world = World::new(Vec::new()).await;
    for role in Role::ALL {
        let token = world.token(role, None);
        for route in &world.table {
            let Need::Role(needed) = route.access.need else { continue };
            let status = world.ask_as(route, &token).await;
            let expected = role >= needed;
            assert_eq!(!is_turned_away(status), expected, "{role} {}: {status}", line(route));
        }
    }
}

#[tokio::test]
async fn nobody_acts_outside_of_their_namespaces() {
    let world = World::new(Vec::new()).await;
    let (at_home, elsewhere) =
        (world.token(Role::Admin, Some(NAMESPACE)), world.token(Role::Admin, Some("elsewhere")));
    for route in &world.table {
        if matches!(route.access.need, Need::Nothing) {
            continue;
        }
        let (here, there) =
            (world.ask_as(route, &at_home).await, world.ask_as(route, &elsewhere).await);
        let is_everywhere = route.access.place == Place::Everywhere;
        assert_eq!(is_turned_away(here), is_everywhere, "{}: {here}", line(route));
        match route.access.place {
            Place::Stored | Place::Path | Place::Everywhere => {
                assert_eq!(there, StatusCode::FORBIDDEN, "{}", line(route));
            }
            // Where the request tells the namespace, handlers look; each has its own test.
            Place::Nowhere | Place::Told => {
                assert!(!is_turned_away(there), "{}: {there}", line(route));
            }
        }
    }
}

#[tokio::test]
async fn a_namespace_written_otherwise_is_the_same() {
    let world = World::new(Vec::new()).await;
    let token = format!("Bearer {}", world.token(Role::Viewer, Some("a b")));
    for (path, expected) in [
        ("/namespaces/a%20b/blocks", StatusCode::OK),
        ("/namespaces/%61%20b/blocks", StatusCode::OK),
        ("/namespaces/a+b/blocks", StatusCode::FORBIDDEN),
        ("/namespaces/a%2520b/blocks", StatusCode::FORBIDDEN),
        ("/namespaces/a%20b%2F..%2Fc/blocks", StatusCode::FORBIDDEN),
        ("/namespaces/A%20B/blocks", StatusCode::FORBIDDEN),
    ] {
        let request = Request::builder().uri(path).header("authorization", &token);
        let request = request.body(Body::empty()).unwrap();
        let status = world.router.clone().oneshot(request).await.unwrap().status();
        assert_eq!(status, expected, "{path}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_only_to_those_who_say_who_they_are() {
    let world = World::new(Vec::new()).await;
    let token = format!("Bearer {}", world.token(Role::Viewer, None));
    for (method, path, told) in
        [("GET", "/nothing", 404), ("DELETE", "/execute", 405), ("GET", "/api/v1/nothing", 404)]
    {
        let request = || Request::builder().method(method).uri(path);
        for (request, expected) in
            [(request(), 401), (request().header("authorization", &token), told)]
        {
            let request = request.body(Body::empty()).unwrap();
            let response = world.router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), expected, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn an_api_that_a_setting_opens_asks_nobody_and_no_other_does() {
    for (_, api) in Api::OPENABLE {
        let world = World::new(vec![api]).await;
        for route in &world.table {
            let Need::Role(_) = route.access.need else { continue };
            let status = world.ask(route, None).await.status();
            assert_eq!(!is_turned_away(status), route.api == api, "{}: {status}", line(route));
        }
    }
}

#[tokio::test]
async fn the_credentials_of_this_machine_open_what_they_are_for() {
    let world = World::new(Vec::new()).await;
    for route in &world.table {
        let Need::Role(_) = route.access.need else { continue };
        let by_operator = world.ask(route, Some((TOKEN_HEADER, "the operator's"))).await.status();
        assert!(!is_turned_away(by_operator), "{}: {by_operator}", line(route));
        let by_step = world.ask(route, Some(("waystation-pass", "the steps'"))).await.status();
        let may = route.access.is_for_steps;
        assert_eq!(!is_turned_away(by_step), may, "{}: {by_step}", line(route));
        for (name, wrong) in [(TOKEN_HEADER, "the steps'"), ("waystation-pass", "the operator's")] {
            let status = world.ask(route, Some((name, wrong))).await.status();
            assert!(is_turned_away(status), "{}: {status}", line(route));
        }
    }
}

#[tokio::test]
async fn a_credential_in_the_query_counts_only_where_browsers_need_it() {
    let world = World::new(Vec::new()).await;
    let token = world.token(Role::Admin, None);
    for route in world.table.iter().filter(|route| route.method == Some(Method::GET)) {
        let Need::Role(_) = route.access.need else { continue };
        let uri = format!("{}?token={token}", address(route.path));
        let request = Request::builder().uri(uri).body(Body::empty()).unwrap();
        let status = world.router.clone().oneshot(request).await.unwrap().status();
        let expected = route.access.is_by_query;
        assert_eq!(!is_turned_away(status), expected, "{}: {status}", line(route));
    }
}

#[tokio::test]
async fn every_reply_tells_browsers_to_be_careful() {
    let world = World::new(Vec::new()).await;
    let token = format!("Bearer {}", world.token(Role::Viewer, None));
    for route in &world.table {
        let response = world.ask(route, Some(("authorization", &token))).await;
        for name in [
            header::X_CONTENT_TYPE_OPTIONS,
            header::CONTENT_SECURITY_POLICY,
            header::REFERRER_POLICY,
            header::X_FRAME_OPTIONS,
        ] {
            assert_eq!(
                response.headers().get_all(&name).iter().count(),
                1,
                "{name} {}",
                line(route)
            );
        }
        let credentials = header::ACCESS_CONTROL_ALLOW_CREDENTIALS;
        assert!(!response.headers().contains_key(credentials), "{}", line(route));
    }
}
