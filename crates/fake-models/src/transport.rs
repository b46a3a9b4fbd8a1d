//! How bytes go out: whole, in pieces, broken off, or for ever.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::stream::{self, BoxStream, StreamExt};

/// What comes after the parts of a body.
pub(crate) enum Ending {
    /// The end.
    Orderly,
    /// The connection breaks.
    Broken,
    /// This, again and again, each time after a pause.
    Never { again: String, pause: Duration },
}

/// A body that sends these parts one by one and then ends so.
pub(crate) fn body(parts: Vec<Bytes>, ending: Ending) -> Body {
    let parts = stream::iter(parts).then(|part| async {
        // Each part is a write of its own, as it is where a model is thinking.
        tokio::task::yield_now().await;
        Ok(part)
    });
    Body::from_stream(parts.chain(after(ending)))
}

fn after(ending: Ending) -> BoxStream<'static, io::Result<Bytes>> {
    match ending {
        Ending::Orderly => stream::empty().boxed(),
        Ending::Broken => stream::iter([Err(io::ErrorKind::ConnectionReset.into())]).boxed(),
        Ending::Never { again, pause } => stream::repeat(Bytes::from(again))
            .then(move |piece| async move {
                tokio::time::sleep(pause).await;
                Ok(piece)
            })
            .boxed(),
    }
}

/// Cut into pieces of seven bytes, wherever that is.
pub(crate) fn chopped(parts: &[Bytes]) -> Vec<Bytes> {
    parts.concat().chunks(7).map(Bytes::copy_from_slice).collect()
}

/// The first half.
pub(crate) fn half(mut parts: Vec<Bytes>) -> Vec<Bytes> {
    match parts.as_mut_slice() {
        [only] => only.truncate(only.len() / 2),
        many => {
            let kept = many.len() / 2;
            parts.truncate(kept.max(1));
        }
    }
    parts
}

/// The first half, the last part of it cut in the middle.
pub(crate) fn truncated(parts: Vec<Bytes>) -> Vec<Bytes> {
    let mut parts = half(parts);
    if let [.., _, last] = parts.as_mut_slice() {
        last.truncate(last.len() / 2);
    }
    parts
}
