//! Large replies on their way to those who asked: so many bytes of them are in memory, and no more.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use waystation_core::error::{Code, Error};

use super::reply::FAULT;

/// Bytes of large replies at once. A further one is refused as busy: who reads slowly, or not at all,
/// would otherwise keep as many as there are connections.
const BYTES_MAX: usize = 1 << 30;
/// What is smaller does not count.
const LARGE: usize = 64 << 10;
/// What is handed over at once.
const PIECE: usize = 64 << 10;
const UNIT: usize = 1 << 10;

/// The room for large replies.
#[derive(Clone)]
pub(super) struct Room {
    units: Arc<Semaphore>,
    units_max: usize,
}

impl Default for Room {
    fn default() -> Room {
        Room::new(BYTES_MAX)
    }
}

impl Room {
    fn new(bytes_max: usize) -> Room {
        let units_max = bytes_max / UNIT;
        Room { units: Arc::new(Semaphore::new(units_max)), units_max }
    }

    /// Takes the room that a text needs. One that is larger than all of it may go alone.
    pub(super) fn take(&self, text: &str) -> Result<Option<OwnedSemaphorePermit>, Error> {
        if text.len() < LARGE {
            return Ok(None);
        }
        let units = (text.len() / UNIT).min(self.units_max);
        let taken = Arc::clone(&self.units).try_acquire_many_owned(units as u32);
        let busy = |_| Error::new(Code::Busy, "Too many large replies are on their way");
        taken.map(Some).map_err(busy)
    }

    /// A reply of JSON, made beside the tasks that serve others.
    pub(super) async fn reply(
        &self,
        make: impl FnOnce() -> Value + Send + 'static,
    ) -> Result<Response, Error> {
        let made = tokio::task::spawn_blocking(move || make().to_string()).await;
        let text = made.map_err(|_| Error::new(Code::Internal, FAULT))?;
        let taken = self.take(&text)?;
        let length = text.len();
        let body = match taken {
            None => Body::from(text),
            Some(_) => Body::from_stream(pieces(text.into(), taken)),
        };
        let headers = [
            (header::CONTENT_TYPE, "application/json".to_owned()),
            (header::CONTENT_LENGTH, length.to_string()),
        ];
        Ok((headers, body).into_response())
    }
}

/// A text piece by piece; the room is given back with the last one.
fn pieces(
    text: Bytes,
    taken: Option<OwnedSemaphorePermit>,
) -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold((text, taken), |(mut rest, taken)| async {
        let piece = rest.split_to(rest.len().min(PIECE));
        (!piece.is_empty()).then_some((Ok(piece), (rest, taken)))
    })
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    #[tokio::test]
    async fn large_replies_that_nobody_reads_have_a_bound() {
        let room = Room::new(300 << 10);
        let large = || Value::String("x".repeat(200_000));
        let first = room.reply(large).await.unwrap();
        assert_eq!(room.reply(large).await.unwrap_err().code, Code::Busy);
        assert!(room.reply(|| "small".into()).await.is_ok());
        let read = to_bytes(first.into_body(), usize::MAX).await.unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&read).unwrap(), large());
        let unread = room.reply(large).await.unwrap();
        drop(unread);
        let huge = room.reply(|| Value::String("x".repeat(900_000))).await.unwrap();
        assert_eq!(huge.headers()[header::CONTENT_LENGTH], "900002");
    }
}
