//! Parts of a request, whose faults are told like all other errors.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use waystation_core::error::{Code, Error};

use super::detail::{Detail, is_spoken_at};
use super::reply::Failed;

/// The variables of a path.
pub(super) struct Path<T>(pub(super) T);

/// The pairs of a query.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Path<T>, Response> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        path.map(|path| Path(path.0))
            .map_err(|rejection| refusal(parts, "path", rejection.body_text()))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Query<T>, Response> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        query
            .map(|query| Query(query.0))
            .map_err(|rejection| refusal(parts, "query", rejection.body_text()))
    }
}

/// The reply to a request with a wrong part, in the shape of the route.
fn refusal(parts: &Parts, part: &str, message: String) -> Response {
    if is_spoken_at(parts.uri.path()) {
        return Detail::at(&[part], &message).into_response();
    }
    Failed(Error::new(Code::RequestInvalid, message)).into_response()
}
