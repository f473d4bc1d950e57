//! Request bodies with limits of length and patience that hold while they stream, and the polite way to refuse one.

use crate::limits;
use crate::problem::Problem;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::Error;

/// A body that fails once it passes its limit, or keeps its reader waiting for too long.
pub struct LimitedBody {
    incoming: Incoming,
    left: u64,
    limit: u64,
    fault: BodyFault,
    waited: Duration,
    wait: Option<Wait>,
}

/// A wait of the reader that is under way.
struct Wait {
    since: Instant,
    over: Pin<Box<Sleep>>,
}

/// Tells afterwards what was wrong with the body, so that the client learns why its request failed.
#[derive(Clone, Default)]
pub struct BodyFault(Arc<AtomicU8>);

const TOO_LARGE: u8 = 1;
const TOO_SLOW: u8 = 2;

impl BodyFault {
    /// `limit` is the largest body that was allowed.
    pub fn problem(&self, limit: u64) -> Option<Problem> {
        match self.0.load(Ordering::Relaxed) {
            TOO_LARGE => Some(Problem::body_too_large(limit)),
            TOO_SLOW => Some(Problem::body_too_slow()),
            _ => None,
        }
    }
}

impl LimitedBody {
    pub fn new(incoming: Incoming, limit: u64) -> (Self, BodyFault) {
        let fault = BodyFault::default();
        let body =
            Self { incoming, left: limit, limit, fault: fault.clone(), waited: Duration::ZERO, wait: None };
        (body, fault)
    }

    /// How long the reader may wait in all, for what has come so far.
    fn patience(&self) -> Duration {
        limits::BODY_GRACE + Duration::from_secs((self.limit - self.left) / limits::BODY_BYTES_PER_SECOND_MIN)
    }

    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let left = self.patience().saturating_sub(self.waited);
        let wait = self.wait.get_or_insert_with(|| {
            let since = Instant::now();
            Wait { since, over: Box::pin(tokio::time::sleep_until(since + left)) }
        });
        std::task::ready!(wait.over.as_mut().poll(cx));
        self.fault.0.store(TOO_SLOW, Ordering::Relaxed);
        Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
    }
}

impl Body for LimitedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Poll::Ready(next) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            return self.poll_wait(cx);
        };
        if let Some(wait) = self.wait.take() {
            self.waited += wait.since.elapsed();
        }
        let frame = match next {
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
                self.fault.0.store(TOO_LARGE, Ordering::Relaxed);
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
