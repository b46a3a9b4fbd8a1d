//! The door: who calls is found out, and whether they may, before anything of the body is read.

use std::future::pending;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use waystation_core::error::{Code, Error};
use waystation_engine::event::trace::TraceParent;
use waystation_engine::secret::is_token;

use super::TOKEN_HEADER;
use super::detail::{Detail, is_spoken_at};
use super::guard;
use super::peer::{Peer, Proxies};
use super::reply::Failed;
use super::route::{Access, Need, Place, Route, Table};
use crate::auth::principal::{Ground, Principal, Role, Scope};
use crate::auth::{Api, Auth};
use crate::begin::Terms;
use crate::origins::Origins;
use crate::workflows::NAMESPACE;

/// The header of keys.
const KEY_HEADER: &str = "x-api-key";
/// The parameter of a query that holds a credential.
const QUERY_NAME: &str = "token";
/// Bytes of a credential; a longer one is not looked at.
const CREDENTIAL_BYTES_MAX: usize = crate::auth::token::TOKEN_BYTES_MAX;
/// Wrong credentials that an address may show in a row, and how many more a minute.
const FAILURES: NonZeroU32 = NonZeroU32::new(30).unwrap();
/// Callers that are told apart at least; beyond that many, those who have been quiet are forgotten.
const CALLERS_MAX: usize = 10_000;

/// Those who may come in, and by which routes.
pub(super) struct Door {
    pub(super) table: Table,
    pub(super) auth: Arc<Auth>,
    pub(super) origins: Origins,
    pub(super) proxies: Proxies,
    /// The server answers only its own machine, as long as it asks nobody who they are.
    pub(super) is_local: bool,
    /// What a command on this machine shows.
    pub(super) token: Arc<str>,
    /// What a step of this server's own runs shows.
    pub(super) pass: Arc<str>,
    pub(super) failures: Meter<IpAddr>,
    pub(super) costly: Option<Meter<Arc<str>>>,
}

/// Counts what callers do.
pub(super) struct Meter<K: std::hash::Hash + Eq + Clone> {
    limiter: DefaultKeyedRateLimiter<K>,
    /// So many callers are told apart until those who have been quiet are looked for.
    sweep_at: AtomicUsize,
}

impl<K: std::hash::Hash + Eq + Clone> Meter<K> {
    /// So many a minute, all at once if need be.
    pub(super) fn per_minute(count: NonZeroU32) -> Meter<K> {
        let limiter = RateLimiter::keyed(Quota::per_minute(count));
        Meter { limiter, sweep_at: AtomicUsize::new(CALLERS_MAX) }
    }

    /// Counts one more; where it is too many, tells how long to wait.
    fn count(&self, key: &K) -> Result<(), Duration> {
        if self.limiter.len() > self.sweep_at.load(Ordering::Relaxed) {
            self.limiter.retain_recent();
            // A sweep looks at all of them, and so is due again only when they have doubled.
            let next = CALLERS_MAX.max(2 * self.limiter.len());
            self.sweep_at.store(next, Ordering::Relaxed);
        }
        let clock = DefaultClock::default();
        self.limiter.check_key(key).map_err(|until| until.wait_time_from(clock.now()))
    }
}

impl Meter<IpAddr> {
    /// For wrong credentials.
    pub(super) fn of_failures() -> Meter<IpAddr> {
        Meter::per_minute(FAILURES)
    }
}

/// Why somebody is not let in.
enum Refusal {
    /// It is not known who they are.
    Unknown(&'static str),
    /// They may not do this.
    Forbidden(Error),
    /// They have done it too often.
    TooOften(&'static str, Duration),
}

/// Whoever has come in, and the span of theirs that the request is a part of.
#[derive(Clone)]
pub(super) struct Caller {
    /// Nobody known, where the request has to prove itself.
    principal: Option<Principal>,
    trace: Option<Arc<str>>,
}

impl Caller {
    /// Where they may act.
    pub(super) fn scope(&self) -> Scope {
        self.principal.as_ref().map_or(Scope::All, |principal| principal.scope.clone())
    }

    /// On what terms they may begin runs.
    pub(super) fn terms(&self) -> Terms {
        Terms { scope: self.scope(), trace: self.trace() }
    }

    /// The span that they have told, as the header `traceparent` writes it.
    pub(super) fn trace(&self) -> Option<String> {
        self.trace.as_deref().map(str::to_owned)
    }

    /// Waits until they could not come in again, for what is open that long.
    pub(super) async fn lapse(self, auth: Arc<Auth>) -> Error {
        let Some(principal) = self.principal else { return pending().await };
        let why = auth.lapse(&principal.ground).await;
        Error::new(Code::Unauthorized, sentence(why))
    }

    /// Asks for a role where the request has no signature that proves it: such a route lets everybody in.
    pub(super) fn ask_for(&self, role: Role) -> Result<(), Error> {
        match &self.principal {
            Some(principal) => allow(principal, role),
            None => Err(Error::new(Code::Unauthorized, sentence(MISSING))),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Response> {
        // Every request has come through the door.
        let caller = parts.extensions.get::<Caller>().cloned();
        caller.ok_or_else(|| Refusal::Unknown(MISSING).reply(parts.uri.path()))
    }
}

/// What is said to whoever shows nothing.
const MISSING: &str = "this server asks callers who they are";

pub(super) async fn check(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match door.admit(&mut parts).await {
        Ok(caller) => {
            let unproven =
                caller.principal.is_none().then(|| (door.address(&parts), parts.uri.clone()));
            parts.extensions.insert(caller);
            let response = next.run(Request::from_parts(parts, body)).await;
            match unproven.filter(|_| response.status() == StatusCode::UNAUTHORIZED) {
                Some((address, uri)) => door.unproven(address, &uri).unwrap_or(response),
                None => response,
            }
        }
        Err(refusal) => refusal.reply(parts.uri.path()),
    }
}

impl Door {
    async fn admit(&self, parts: &mut Parts) -> Result<Caller, Refusal> {
        let matched = parts.extensions.get::<MatchedPath>();
        let route = matched.and_then(|path| self.table.find(&parts.method, path.as_str()));
        let (access, api) = route.map_or((UNKNOWN, Api::Own), |route| (route.access, route.api));
        let shown = Shown::take(&mut parts.headers);
        let caller = match self.known(&shown, access)? {
            Some(principal) => Some(principal),
            None if access.need == Need::Nothing || self.auth.is_open(api) => {
                Some(self.anybody(parts, access, route)?)
            }
            None => self.identified(parts, access)?,
        };
        if let Some(principal) = &caller {
            self.check_rights(parts, access, principal).await?;
            self.meter(parts, access, principal)?;
        }
        Ok(Caller { principal: caller, trace: trace_of(&parts.headers) })
    }

    /// Whoever shows what only this server itself has given.
    fn known(&self, shown: &Shown, access: Access) -> Result<Option<Principal>, Refusal> {
        if let Some(token) = &shown.token {
            return match is_token(token.as_bytes(), &self.token) {
                true => Ok(Some(Principal::operator())),
                false => {
                    Err(Refusal::Forbidden(Error::new(Code::Forbidden, "The token is not mine")))
                }
            };
        }
        let is_step = access.is_for_steps
            && shown.pass.as_ref().is_some_and(|pass| is_token(pass.as_bytes(), &self.pass));
        Ok(is_step.then(|| Principal::anonymous(STEPS, Ground::Own)))
    }

    /// Whoever calls what is open: somebody who says who they are is still they.
    fn anybody(
        &self,
        parts: &Parts,
        access: Access,
        route: Option<&Route>,
    ) -> Result<Principal, Refusal> {
        let shown = credential(parts, access).filter(|_| self.auth.is_on());
        if let Some(Ok(principal)) = shown.map(|shown| self.auth.identify(&shown)) {
            return Ok(principal);
        }
        self.guard(parts, route)?;
        let api = route.map_or(Api::Own, |route| route.api);
        Ok(Principal::anonymous(ANYBODY, Ground::Open(api)))
    }

    /// Keeps web pages from what is open only to this machine.
    fn guard(&self, parts: &Parts, route: Option<&Route>) -> Result<(), Refusal> {
        // What is the same for everybody does no harm where the rest asks who calls.
        let does_nothing = route.is_some_and(|route| route.access.need == Need::Nothing);
        if !self.is_local || (self.auth.is_on() && does_nothing) {
            return Ok(());
        }
        let named = route.and_then(|route| route.sendable).map(|_| &self.origins);
        let is_page = does_nothing || route.is_some_and(|route| route.path == "/");
        guard::check(parts, named, is_page).map_err(Refusal::Forbidden)
    }

    /// Whoever the credential was made for. Nobody, where the request may prove itself without one.
    fn identified(&self, parts: &Parts, access: Access) -> Result<Option<Principal>, Refusal> {
        let Some(credential) = credential(parts, access) else {
            return match access.need {
                Need::Proof => Ok(None),
                _ => Err(Refusal::Unknown(MISSING)),
            };
        };
        match self.auth.identify(&credential) {
            Ok(principal) => Ok(Some(principal)),
            // Whoever signs may have a credential of another kind in that place.
            Err(_) if access.need == Need::Proof => Ok(None),
            Err(why) => {
                tracing::debug!(why, path = parts.uri.path(), "a caller was not let in");
                Err(self.failed(parts, why))
            }
        }
    }

    /// Counts a wrong credential against the address that it came from.
    fn failed(&self, parts: &Parts, why: &'static str) -> Refusal {
        let address = self.address(parts);
        let refusal = self.count_failure(address, "Too many wrong credentials from this address");
        refusal.unwrap_or(Refusal::Unknown(why))
    }

    /// What a request gets that was to prove itself and did not, where its address has sent too many such.
    fn unproven(&self, address: Option<IpAddr>, uri: &Uri) -> Option<Response> {
        let why = "Too many requests from this address that prove nothing";
        Some(self.count_failure(address, why)?.reply(uri.path()))
    }

    fn count_failure(&self, address: Option<IpAddr>, why: &'static str) -> Option<Refusal> {
        let wait = self.failures.count(&address?).err()?;
        Some(Refusal::TooOften(why, wait))
    }

    fn address(&self, parts: &Parts) -> Option<IpAddr> {
        parts.extensions.get::<Peer>().map(|peer| self.proxies.caller(peer, &parts.headers))
    }

    async fn check_rights(
        &self,
        parts: &mut Parts,
        access: Access,
        principal: &Principal,
    ) -> Result<(), Refusal> {
        if let Need::Role(role) = access.need {
            allow(principal, role).map_err(Refusal::Forbidden)?;
        }
        if principal.scope == Scope::All {
            return Ok(());
        }
        let verdict = match access.place {
            Place::Nowhere | Place::Told => Ok(()),
            Place::Stored => principal.scope.enter(NAMESPACE),
            Place::Path => principal.scope.enter(&named_in_path(parts).await),
            // Who may act in some could else make a key for all.
            Place::Everywhere => {
                let text = "This is for those who may act in all namespaces";
                Err(Error::new(Code::Forbidden, text))
            }
        };
        verdict.map_err(Refusal::Forbidden)
    }

    fn meter(&self, parts: &Parts, access: Access, principal: &Principal) -> Result<(), Refusal> {
        let Some(meter) = self.costly.as_ref().filter(|_| access.is_costly) else { return Ok(()) };
        let name = match &*principal.name {
            ANYBODY => match self.address(parts) {
                Some(address) => format!("address:{address}").into(),
                None => Arc::clone(&principal.name),
            },
            _ => Arc::clone(&principal.name),
        };
        meter.count(&name).map_err(|wait| Refusal::TooOften("You ask for this too often", wait))
    }
}

/// The name of callers who were not asked for theirs.
const ANYBODY: &str = "anybody";
/// The name of steps.
const STEPS: &str = "steps";
/// What is asked of whoever calls what is not there.
const UNKNOWN: Access = Access::of(Role::Viewer, Place::Nowhere);

fn allow(principal: &Principal, role: Role) -> Result<(), Error> {
    if principal.role >= role {
        return Ok(());
    }
    let text = format!("This takes the role {role}; yours is {}", principal.role);
    let error = Error::new(Code::Forbidden, text);
    Err(error.with_hint(match role {
        Role::Admin => "ask an admin, or use the command line with the server's data directory",
        _ => "ask an admin for a key that may",
    }))
}

/// The span that a caller tells; what is none is not taken.
fn trace_of(headers: &HeaderMap) -> Option<Arc<str>> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    Some(text.parse::<TraceParent>().ok()?.to_string().into())
}

/// What only this server itself gives. It is taken out of the request: nothing may show it to others.
struct Shown {
    token: Option<HeaderValue>,
    pass: Option<HeaderValue>,
}

impl Shown {
    fn take(headers: &mut HeaderMap) -> Shown {
        let pass = headers.remove(waystation_engine::egress::PASS_HEADER);
        Shown { token: headers.remove(TOKEN_HEADER), pass }
    }
}

/// What the caller shows: `Authorization: Bearer`, a key in its header, or, where that is taken, in the
/// query.
fn credential(parts: &Parts, access: Access) -> Option<String> {
    let bearer = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|text| {
        let (scheme, rest) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| rest.trim().to_owned())
    });
    let key = || parts.headers.get(KEY_HEADER)?.to_str().ok().map(str::to_owned);
    let queried = || {
        let query = parts.uri.query().filter(|_| access.is_by_query)?;
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.find(|(name, _)| name == QUERY_NAME).map(|(_, value)| value.into_owned())
    };
    let shown = bearer.or_else(key).or_else(queried)?;
    Some(if shown.len() > CREDENTIAL_BYTES_MAX { String::new() } else { shown })
}

/// The namespace that the path names. What names none is none that anybody may act in.
async fn named_in_path(parts: &mut Parts) -> String {
    let Ok(params) = RawPathParams::from_request_parts(parts, &()).await else {
        return String::new();
    };
    let named = params.iter().find(|(name, _)| *name == "ns");
    named.map(|(_, value)| value.to_owned()).unwrap_or_default()
}

impl Refusal {
    /// The reply, in the shape of the route.
    fn reply(self, path: &str) -> Response {
        match self {
            Refusal::Forbidden(error) => in_shape(path, StatusCode::FORBIDDEN, error),
            Refusal::Unknown(why) => {
                let error = Error::new(Code::Unauthorized, sentence(why));
                let mut response = in_shape(path, StatusCode::UNAUTHORIZED, error);
                if why != MISSING {
                    let invalid = "Bearer realm=\"waystation\", error=\"invalid_token\"";
                    let challenge = HeaderValue::from_static(invalid);
                    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
                }
                response
            }
            Refusal::TooOften(why, wait) => {
                let seconds = wait.as_secs() + 1;
                let error = Error::new(Code::RateLimited, why)
                    .with_hint(format!("try again in {seconds} seconds"));
                let mut response = in_shape(path, StatusCode::TOO_MANY_REQUESTS, error);
                response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
                response
            }
        }
    }
}

fn in_shape(path: &str, status: StatusCode, error: Error) -> Response {
    if is_spoken_at(path) {
        let hint = error.hint().map(str::to_owned);
        return Detail::Plain(status, error.message, hint).into_response();
    }
    Failed(error).into_response()
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_callers_are_told_apart_and_swept_seldom() {
        let meter: Meter<u32> = Meter::per_minute(NonZeroU32::MIN);
        for caller in 0..=CALLERS_MAX as u32 + 1 {
            assert!(meter.count(&caller).is_ok());
        }
        // None of them has been quiet for long enough, and none is forgotten.
        assert!(meter.count(&0).is_err());
        assert!(meter.sweep_at.load(Ordering::Relaxed) > 2 * CALLERS_MAX);
    }
}
