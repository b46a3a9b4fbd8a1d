//! The table of routes: what there is, and who may use it. The router, the door and the description of
//! the API all come from it.

use std::collections::HashMap;

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, any, on};

use super::cors::Sendable;
use crate::auth::Api;
use crate::auth::principal::Role;

/// What a caller has to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing: the answer is the same for everybody.
    Nothing,
    /// The request itself proves that it may be made, by a signature; its handler looks.
    Proof,
    /// A role, at the least.
    Role(Role),
}

/// Where a caller acts by a route, for callers who may act in some namespaces only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In none.
    Nowhere,
    /// In that of stored workflows.
    Stored,
    /// In the one that the path names as `{ns}`.
    Path,
    /// In the one that a run or the body names; its handler looks.
    Told,
    /// In all of them.
    Everywhere,
}

/// Who may use a route.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    pub(super) need: Need,
    pub(super) place: Place,
    /// What it takes is worth counting.
    pub(super) is_costly: bool,
    /// The credential may stand in the query too, for browsers that cannot send headers there.
    pub(super) is_by_query: bool,
    /// Steps of this server's own runs may call it: it does nothing that they could not do themselves.
    pub(super) is_for_steps: bool,
}

impl Access {
    /// For everybody.
    pub(super) const OPEN: Access = Access::new(Need::Nothing, Place::Nowhere);
    /// For requests that prove themselves.
    pub(super) const PROVEN: Access = Access::new(Need::Proof, Place::Told);

    const fn new(need: Need, place: Place) -> Access {
        Access { need, place, is_costly: false, is_by_query: false, is_for_steps: false }
    }

    /// For whoever has this role there.
    pub(super) const fn of(role: Role, place: Place) -> Access {
        Access::new(Need::Role(role), place)
    }

    pub(super) const fn costly(self) -> Access {
        Access { is_costly: true, ..self }
    }

    pub(super) const fn by_query(self) -> Access {
        Access { is_by_query: true, ..self }
    }

    pub(super) const fn for_steps(self) -> Access {
        Access { is_for_steps: true, ..self }
    }
}

/// See what concerns stored workflows.
pub(super) const VIEW: Access = Access::of(Role::Viewer, Place::Stored);
/// Run stored workflows.
pub(super) const RUN: Access = Access::of(Role::Runner, Place::Stored);
/// Change stored workflows.
pub(super) const EDIT: Access = Access::of(Role::Editor, Place::Stored);

/// A row of the table.
#[derive(Clone, Debug)]
pub(super) struct Route {
    /// Any method where there is none.
    pub(super) method: Option<Method>,
    pub(super) path: &'static str,
    pub(super) api: Api,
    pub(super) access: Access,
    /// What pages of other origins may send, where they may even on a server that asks nobody.
    pub(super) sendable: Option<Sendable>,
}

/// Routes with their handlers.
pub(super) struct Routes<S = super::Context> {
    pub(super) router: Router<S>,
    pub(super) table: Vec<Route>,
    api: Api,
    sendable: Option<Sendable>,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// None yet.
    pub(super) fn of(api: Api) -> Routes<S> {
        Routes { router: Router::new(), table: Vec::new(), api, sendable: None }
    }

    /// Lets pages of other origins use those that follow.
    pub(super) fn open_to_pages(self, sendable: Sendable) -> Routes<S> {
        Routes { sendable: Some(sendable), ..self }
    }

    pub(super) fn get<H, T>(self, path: &'static str, access: Access, handler: H) -> Routes<S>
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.on(Method::GET, MethodFilter::GET, path, access, handler)
    }

    /// What a handler made for several paths answers.
    pub(super) fn get_by(
        mut self,
        path: &'static str,
        access: Access,
        handler: MethodRouter<S>,
    ) -> Routes<S> {
        self.note(Some(Method::GET), path, access);
        Routes { router: self.router.route(path, handler), ..self }
    }

    pub(super) fn post<H, T>(self, path: &'static str, access: Access, handler: H) -> Routes<S>
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.on(Method::POST, MethodFilter::POST, path, access, handler)
    }

    pub(super) fn put<H, T>(self, path: &'static str, access: Access, handler: H) -> Routes<S>
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.on(Method::PUT, MethodFilter::PUT, path, access, handler)
    }

    pub(super) fn patch<H, T>(self, path: &'static str, access: Access, handler: H) -> Routes<S>
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.on(Method::PATCH, MethodFilter::PATCH, path, access, handler)
    }

    pub(super) fn delete<H, T>(self, path: &'static str, access: Access, handler: H) -> Routes<S>
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.on(Method::DELETE, MethodFilter::DELETE, path, access, handler)
    }

    /// All methods.
    pub(super) fn any<H, T>(mut self, path: &'static str, access: Access, handler: H) -> Routes<S>
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.note(None, path, access);
        Routes { router: self.router.route(path, any(handler)), ..self }
    }

    fn on<H, T>(
        mut self,
        method: Method,
        filter: MethodFilter,
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Routes<S>
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.note(Some(method), path, access);
        Routes { router: self.router.route(path, on(filter, handler)), ..self }
    }

    fn note(&mut self, method: Option<Method>, path: &'static str, access: Access) {
        let (api, sendable) = (self.api, self.sendable);
        self.table.push(Route { method, path, api, access, sendable });
    }

    /// These and others.
    pub(super) fn merge(mut self, other: Routes<S>) -> Routes<S> {
        self.table.extend(other.table);
        Routes { router: self.router.merge(other.router), ..self }
    }

    /// Gives the handlers what they need.
    pub(super) fn with_state<T: Clone + Send + Sync + 'static>(self, state: S) -> Routes<T> {
        let Routes { router, table, api, sendable } = self;
        Routes { router: router.with_state(state), table, api, sendable }
    }
}

/// The rows by path.
pub(super) struct Table {
    rows: HashMap<&'static str, Vec<Route>>,
    /// What pages may send to what is not there.
    sendable_elsewhere: Option<Sendable>,
}

impl Table {
    /// Where the last of the routes are open to pages, so is what is not there: they can read why.
    pub(super) fn of<S>(routes: &Routes<S>) -> Table {
        let mut rows: HashMap<_, Vec<Route>> = HashMap::new();
        for route in &routes.table {
            rows.entry(route.path).or_default().push(route.clone());
        }
        Table { rows, sendable_elsewhere: routes.sendable }
    }

    /// The row for a request to a path of the router.
    pub(super) fn find(&self, method: &Method, path: &str) -> Option<&Route> {
        // Whatever answers GET answers HEAD.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let rows = self.rows.get(path)?;
        rows.iter().find(|row| row.method.as_ref().is_none_or(|taken| taken == method))
    }

    /// What pages may send to a path even of a server that asks nobody.
    pub(super) fn sendable(&self, path: Option<&str>) -> Option<Sendable> {
        match path.and_then(|path| self.rows.get(path)) {
            Some(rows) => rows.first()?.sendable,
            None => self.sendable_elsewhere,
        }
    }
}
