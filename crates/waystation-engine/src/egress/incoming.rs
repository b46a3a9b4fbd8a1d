//! Answers and their bounds: whole, or piece by piece as they come.

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use futures_util::stream::try_unfold;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use url::Url;

use super::error::SendError;
use crate::limits;

/// What came back, whatever its status.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status after all redirects.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, decompressed; of an answer that is no success and not wanted whole, its beginning.
    pub body: Bytes,
    /// The URL that answered in the end, without credentials.
    pub url: Url,
}

/// An answer whose body is still on its way. An answer that is no success says enough with its
/// beginning, and its status counts more than how the body ends.
#[derive(Debug)]
pub struct Incoming {
    /// The status after all redirects.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The URL that answered in the end, without credentials.
    pub url: Url,
    response: reqwest::Response,
    bytes_max: usize,
    room: usize,
    /// Whether the whole body counts; else its beginning will do.
    is_wanted: bool,
}

impl Incoming {
    pub(super) fn new(
        mut response: reqwest::Response,
        url: Url,
        bytes_max: usize,
    ) -> Result<Incoming, SendError> {
        let status = response.status();
        let headers = std::mem::take(response.headers_mut());
        let (room, is_wanted) = (bytes_max.min(limits::ERROR_BYTES), false);
        let incoming = Incoming { status, headers, url, response, bytes_max, room, is_wanted };
        if status.is_success() { incoming.wanted() } else { Ok(incoming) }
    }

    /// The same answer, of which the whole body counts, as is usual for a success only.
    pub fn wanted(mut self) -> Result<Incoming, SendError> {
        if self.response.content_length().unwrap_or(0) > self.bytes_max as u64 {
            return Err(self.too_large());
        }
        (self.room, self.is_wanted) = (self.bytes_max, true);
        Ok(self)
    }

    /// The next piece of the body, decompressed; nothing once it has ended.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, SendError> {
        let is_wanted = self.is_wanted;
        if self.room == 0 && !is_wanted {
            return Ok(None);
        }
        match self.response.chunk().await {
            Ok(Some(piece)) if piece.len() <= self.room => {
                self.room -= piece.len();
                Ok(Some(piece))
            }
            Ok(Some(_)) if is_wanted => Err(self.too_large()),
            Ok(Some(piece)) => Ok(Some(piece.slice(..std::mem::take(&mut self.room)))),
            Err(error) if is_wanted => Err(SendError::from_client(&error, self.url.authority())),
            Ok(None) | Err(_) => Ok(None),
        }
    }

    /// The pieces of the body as they come.
    pub fn pieces(self) -> impl Stream<Item = Result<Bytes, SendError>> + Send {
        try_unfold(self, async |mut incoming| {
            Ok(incoming.piece().await?.map(|piece| (piece, incoming)))
        })
    }

    /// The answer with its whole body.
    pub async fn whole(mut self) -> Result<Response, SendError> {
        let mut body = BytesMut::new();
        while let Some(piece) = self.piece().await? {
            body.extend_from_slice(&piece);
        }
        let Incoming { status, headers, url, .. } = self;
        Ok(Response { status, headers, body: body.freeze(), url })
    }

    fn too_large(&self) -> SendError {
        SendError::TooLarge { host: self.url.authority().to_owned(), bytes_max: self.bytes_max }
    }
}
