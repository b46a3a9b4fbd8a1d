//! A request's body, within bounds of size and time.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{FromRef, FromRequest, Request};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde_json::{Map, Value};
use waystation_core::error::{Code, Error};

use super::Context;
use super::reply::Failed;

/// How long a caller may take to send it.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes beyond the bound that are read and dropped: a caller who is still sending does not hear the
/// refusal if the connection is closed in its face.
const DROPPED_BYTES_MAX: usize = 64 << 20;

/// The body, or why there is none. Handlers decide what comes first, this or another fault.
pub(super) struct Body(Result<Bytes, Error>);

/// The bytes that a body may have.
#[derive(Clone, Copy)]
pub(super) struct BytesMax(pub(super) usize);

impl FromRef<Context> for BytesMax {
    fn from_ref(context: &Context) -> BytesMax {
        BytesMax(context.app.body_bytes_max)
    }
}

impl<S> FromRequest<S> for Body
where
    BytesMax: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Infallible;

    async fn from_request(request: Request, state: &S) -> Result<Body, Infallible> {
        let BytesMax(bytes_max) = BytesMax::from_ref(state);
        Ok(Body::of(request, bytes_max).await)
    }
}

fn late() -> Error {
    let text = format!("The body did not arrive within {} seconds", PATIENCE.as_secs());
    Error::new(Code::BodyInvalid, text)
}

async fn read(request: Request, bytes_max: usize) -> Result<Bytes, Error> {
    let mut pieces = request.into_body().into_data_stream();
    let (mut body, mut dropped) = (BytesMut::new(), 0);
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| Error::new(Code::BodyInvalid, "The body broke off"))?;
        if dropped == 0 && body.len() + piece.len() <= bytes_max {
            body.extend_from_slice(&piece);
            continue;
        }
        dropped += piece.len();
        body = BytesMut::new();
        if dropped > DROPPED_BYTES_MAX {
            break;
        }
    }
    if dropped > 0 {
        let text = format!("The body is larger than the {bytes_max} bytes that this server takes");
        return Err(Error::new(Code::BodyTooLarge, text));
    }
    Ok(body.freeze())
}

impl Body {
    /// The body of a request whose head has been looked at, with a bound of its own.
    pub(super) async fn of(request: Request, bytes_max: usize) -> Body {
        let read = tokio::time::timeout(PATIENCE, read(request, bytes_max)).await;
        Body(read.unwrap_or_else(|_| Err(late())))
    }

    /// The body as text.
    pub(super) fn text(&self) -> Result<&str, Failed> {
        let bytes = self.0.as_ref().map_err(|error| Failed(error.clone()))?;
        std::str::from_utf8(bytes)
            .map_err(|error| invalid(format!("The body is not UTF-8: {error}")))
    }

    /// The body as a JSON object.
    pub(super) fn object(&self) -> Result<Map<String, Value>, Failed> {
        match serde_json::from_str(self.text()?) {
            Ok(Value::Object(object)) => Ok(object),
            Ok(_) => Err(invalid("The body must be a JSON object".into())),
            Err(error) => Err(invalid(format!("The body is not valid JSON: {error}"))),
        }
    }
}

fn invalid(text: String) -> Failed {
    Error::new(Code::BodyInvalid, text).into()
}
