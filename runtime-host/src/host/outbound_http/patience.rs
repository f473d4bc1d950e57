//! How long a guest's request to another server may take.

use crate::execution::Execution;
use crate::limits;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

tokio::task_local! {
    /// The request for which a connection is made, if one is: the client has no other way to tell its connector.
    pub(super) static CONNECTING: (Duration, Progress);
}

/// How long a component waits for other servers.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// When it does not say: its own request is over then.
    usual: Duration,
    /// When it asks for more, as it may for what it does after its answer's head.
    most: Duration,
}

/// How long one request waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    pub(super) connect: Duration,
    /// For the head of the answer, from the end of its own body or from when that stops moving.
    pub(super) first_byte: Duration,
    pub(super) between_bytes: Duration,
}

impl Patience {
    pub fn of(execution: &Execution) -> Self {
        Self { usual: execution.timeout, most: execution.timeout.max(execution.body_timeout) }
    }

    pub(super) fn waits(&self, options: &RequestOptions) -> Waits {
        let wait = |wished: Option<Duration>, usual: Duration| wished.unwrap_or(usual).min(self.most);
        Waits {
            connect: wait(options.connect_timeout, limits::OUTBOUND_CONNECT_TIMEOUT),
            first_byte: wait(options.first_byte_timeout, self.usual),
            between_bytes: wait(options.between_bytes_timeout, self.usual),
        }
    }
}

/// When a request last came a step nearer to its answer.
#[derive(Debug, Clone)]
pub(super) struct Progress(Arc<Mutex<Instant>>);

impl Progress {
    pub(super) fn start() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    pub(super) fn step(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request's body, each piece of which that goes out is a step.
struct Upload {
    body: WasiBody,
    progress: Progress,
}

pub(super) fn upload(body: WasiBody, progress: Progress) -> WasiBody {
    Upload { body, progress }.boxed_unsync()
}

/// The answer, for which no longer is waited than `wait` after the last step: the time that connecting and the request's body
/// take is not the other server's.
pub(super) async fn answered<T>(
    wait: Duration,
    progress: &Progress,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let mut answer = pin!(answer);
    loop {
        let last = progress.last();
        match tokio::time::timeout_at(last + wait, answer.as_mut()).await {
            Ok(answer) => return answer,
            Err(_) if progress.last() > last => {}
            Err(_) => return Err(Error::ConnectionReadTimeout),
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let next = Pin::new(&mut self.body).poll_frame(cx);
        if next.is_ready() {
            self.progress.step();
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
