//! Request bodies with a limit that holds while they stream, and the polite way to refuse one.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use wasmtime_wasi_http::Error;

/// A body that fails once it passes its limit.
pub struct LimitedBody {
    incoming: Incoming,
    left: u64,
    limit: u64,
    exceeded: BodyExceeded,
}

/// Tells afterwards whether the body passed its limit, so that the client learns why its request failed.
#[derive(Clone, Default)]
pub struct BodyExceeded(Arc<AtomicBool>);

impl BodyExceeded {
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl LimitedBody {
    pub fn new(incoming: Incoming, limit: u64) -> (Self, BodyExceeded) {
        let exceeded = BodyExceeded::default();
        (Self { incoming, left: limit, limit, exceeded: exceeded.clone() }, exceeded)
    }
}

impl Body for LimitedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = match std::task::ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            None => return Poll::Ready(None),
        };
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Poll::Ready(Some(Ok(frame)))
            }
            None => {
                self.exceeded.0.store(true, Ordering::Relaxed);
                Poll::Ready(Some(Err(Error::HttpRequestBodySize(Some(self.limit)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// Reads and drops what a refused client still sends, for a while: a connection closed with unread bytes is reset, and the
/// reset may overtake the answer.
pub fn discard(mut body: Incoming) {
    const LONGEST: Duration = Duration::from_secs(5);
    /// Many times what is under way between a client and us when the answer goes out. Who sends on after that long is cut off.
    const MOST_BYTES: usize = 8 * 1024 * 1024;
    if body.is_end_stream() {
        return;
    }
    let read = async move {
        let mut read = 0;
        while let (true, Some(Ok(frame))) = (read < MOST_BYTES, body.frame().await) {
            read += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    tokio::spawn(tokio::time::timeout(LONGEST, read));
}
