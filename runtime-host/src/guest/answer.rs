//! An answer's body on its way from the instance that writes it to whoever reads it.
//!
//! Each must know of the other's end: a body whose instance has failed may not look as if it were whole, and an instance that
//! writes for nobody has nothing left to do. The request's turn lasts until the body has ended.

use super::GuestFailure;
use super::worker::Worker;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::sync::OwnedSemaphorePermit;
use wasmtime_wasi_http::{Error, WasiBody};

/// The reader's half.
pub(super) struct AnswerBody {
    writing: Arc<Writing>,
    worker: Arc<Worker>,
    /// The request's.
    turn: Option<OwnedSemaphorePermit>,
    /// Of an instance that has nothing else to do than this answer: how much of it there is at least.
    only: Option<Length>,
    ended: bool,
}

/// How much is left of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Unknown,
    /// Bytes.
    Left(u64),
}

/// What the instance and the reader share.
pub(super) struct Writing(Mutex<State>);

struct State {
    /// None once it has ended or its instance has.
    body: Option<WasiBody>,
    /// What was written and not read when the instance failed.
    left: VecDeque<Result<Frame<Bytes>, Error>>,
    /// Why there will be no more, though there should be.
    cut: Option<GuestFailure>,
    /// The reader has a piece that it may not have sent yet.
    unsent: bool,
    reader: Option<Waker>,
}

/// As many pieces are taken from an instance that has failed: there is room for two between it and the reader.
const LEFT_PIECES: usize = 16;

impl Writing {
    pub(super) fn new(body: WasiBody) -> Arc<Self> {
        let state = State { body: Some(body), left: VecDeque::new(), cut: None, unsent: false, reader: None };
        Arc::new(Self(Mutex::new(state)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The instance fails, and is still there. What it has written goes out; unless it had written all, the body ends with an
    /// error then, where wasmtime's would seem to be whole.
    pub(super) fn cut(&self, failure: GuestFailure) {
        let mut state = self.lock();
        let Some(mut body) = state.body.take() else { return };
        state.cut = Some(failure);
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..LEFT_PIECES {
            match Pin::new(&mut body).poll_frame(&mut cx) {
                Poll::Ready(Some(next)) => {
                    // Nothing comes after trailers or a fault.
                    let last = !next.as_ref().is_ok_and(Frame::is_data);
                    state.left.push_back(next);
                    if last {
                        state.cut = None;
                        break;
                    }
                }
                Poll::Ready(None) => {
                    state.cut = None;
                    break;
                }
                Poll::Pending => break,
            }
        }
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl State {
    /// The outer none is the end.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(next) = self.left.pop_front() {
            self.unsent = true;
            return Poll::Ready(Some(next));
        }
        let Some(body) = &mut self.body else {
            // Who is told of a fault sends no more: a turn later, so that what came before is sent.
            if self.cut.is_some() && std::mem::take(&mut self.unsent) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            return Poll::Ready(self.cut.take().map(|failure| Err(error(failure))));
        };
        let next = Pin::new(body).poll_frame(cx);
        match &next {
            Poll::Ready(Some(_)) => self.unsent = true,
            Poll::Ready(None) => self.body = None,
            Poll::Pending => {
                self.unsent = false;
                if self.reader.as_ref().is_none_or(|known| !known.will_wake(cx.waker())) {
                    self.reader = Some(cx.waker().clone());
                }
            }
        }
        next
    }
}

fn error(failure: GuestFailure) -> Error {
    match failure {
        GuestFailure::TimedOut => Error::HttpResponseTimeout,
        GuestFailure::Busy | GuestFailure::Failed => Error::ConnectionTerminated,
    }
}

impl AnswerBody {
    /// `only` where the instance ends when the reader leaves before the end.
    pub(super) fn new(writing: Arc<Writing>, worker: Arc<Worker>, only: Option<Length>) -> Self {
        Self { writing, worker, turn: None, only, ended: false }
    }

    /// Keeps the request's turn until the body has ended.
    pub(super) fn hold(&mut self, turn: OwnedSemaphorePermit) {
        self.turn = Some(turn);
    }

    fn end(&mut self, abandoned: bool) {
        if !std::mem::replace(&mut self.ended, true) {
            self.turn = None;
            self.worker.body_ended(abandoned);
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let next = self.writing.lock().poll_next(cx);
        match &next {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                if let Some(Length::Left(left)) = &mut self.only {
                    *left = left.saturating_sub(bytes);
                }
                self.worker.moved();
            }
            Poll::Ready(Some(Err(_)) | None) => self.end(false),
            Poll::Pending => {}
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        let state = self.writing.lock();
        state.left.is_empty() && state.cut.is_none() && state.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.writing.lock();
        match &state.body {
            Some(body) => body.size_hint(),
            // No length is promised of what is cut.
            None => SizeHint::default(),
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        // One whose length is known is not read to its end.
        let more = self.only.is_some_and(|length| length != Length::Left(0));
        let abandoned = !self.ended && more && !self.is_end_stream();
        self.end(abandoned);
    }
}

#[cfg(test)]
mod tests;
