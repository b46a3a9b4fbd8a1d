//! A connection whose other side has to read: one that does not is cut off after a while.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};

/// A stream with a bound on how long a write may wait for the other side. Without it a caller that
/// never reads would keep its place, and what was written for it, for ever.
pub(super) struct Patient<S> {
    stream: S,
    patience: Duration,
    /// Runs while a write waits.
    wait: Option<Pin<Box<Sleep>>>,
    /// Given back when it is closed, whatever has become of it meanwhile, such as a WebSocket.
    _place: OwnedSemaphorePermit,
}

impl<S> Patient<S> {
    /// Waits at most this long for the other side to read something.
    pub(super) fn new(stream: S, patience: Duration, place: OwnedSemaphorePermit) -> Patient<S> {
        Patient { stream, patience, wait: None, _place: place }
    }

    /// The outcome of a write, which is an error once it has waited for too long.
    fn bounded<T>(&mut self, cx: &mut Context<'_>, write: Poll<Result<T>>) -> Poll<Result<T>> {
        if write.is_ready() {
            self.wait = None;
            return write;
        }
        let wait = self.wait.get_or_insert_with(|| Box::pin(sleep(self.patience)));
        ready!(wait.as_mut().poll(cx));
        Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the other side does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        pin!(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        let write = pin!(&mut self.stream).poll_write(cx, bytes);
        self.bounded(cx, write)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let write = pin!(&mut self.stream).poll_write_vectored(cx, pieces);
        self.bounded(cx, write)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let flush = pin!(&mut self.stream).poll_flush(cx);
        self.bounded(cx, flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let shutdown = pin!(&mut self.stream).poll_shutdown(cx);
        self.bounded(cx, shutdown)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_cut_off_and_who_reads_slowly_is_not() {
        let patience = Duration::from_secs(60);
        let (mut reader, near) = duplex(16);
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        let mut writer = Patient::new(near, patience, place);
        let slowly = async {
            let mut piece = [0; 16];
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(50)).await;
                reader.read_exact(&mut piece).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(writer.write_all(&[7; 160]), slowly);
        assert!(written.is_ok());
        let began = tokio::time::Instant::now();
        let error = writer.write_all(&[7; 32]).await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed()), (ErrorKind::TimedOut, patience));
        assert_eq!(places.available_permits(), 0);
        drop(writer);
        assert_eq!(places.available_permits(), 1);
    }
}
