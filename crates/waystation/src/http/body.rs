//! A request's body, within its bound.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::BodyDataStream;
use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use waystation_core::error::{Code, Error};

use super::Context;

/// What is read of a body beyond its bound, and for how long: callers that are cut off while they still
/// send do not get to see the answer.
const DISCARDED_BYTES: usize = 64 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// The body's bytes, or what is wrong with them.
pub(super) struct Body(pub(super) Result<Bytes, Error>);

impl FromRequest<Context> for Body {
    type Rejection = Infallible;

    async fn from_request(request: Request, context: &Context) -> Result<Body, Infallible> {
        let stream = request.into_body().into_data_stream();
        Ok(Body(read(stream, context.app.body_bytes_max).await))
    }
}

async fn read(mut stream: BodyDataStream, bytes_max: usize) -> Result<Bytes, Error> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Error::new(Code::BodyInvalid, "The body broke off"))?;
        if bytes.len() + chunk.len() > bytes_max {
            drop(bytes);
            discard(stream).await;
            let text = "The body is larger than this server takes";
            return Err(Error::new(Code::BodyTooLarge, text));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

async fn discard(mut stream: BodyDataStream) {
    let mut room = DISCARDED_BYTES;
    let rest = async {
        while let Some(Ok(chunk)) = stream.next().await
            && chunk.len() <= room
        {
            room -= chunk.len();
        }
    };
    // However far it came, the answer is the same.
    let _ = tokio::time::timeout(DISCARD_TIME, rest).await;
}
