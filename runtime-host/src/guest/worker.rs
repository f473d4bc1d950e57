//! One instance at work. It answers several requests at once where its component can (WASI 0.3), until it has answered as many
//! as it may, has had no work for a while, or has failed.
//!
//! Whoever has a request offers it to a worker and waits for the reply. The task that runs the instance takes what was
//! offered; what it cannot take, because the guest holds the instance for itself, goes back untouched to be offered elsewhere.

use super::GuestFailure;
use super::answer::{AnswerBody, Length, Writing};
use crate::execution::Execution;
use http::{Method, Request, Response, StatusCode, header};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use wasmtime_wasi_http::WasiBody;

/// A request, and what is dropped when it is answered or its instance is gone.
pub(super) struct Job {
    pub(super) request: Request<WasiBody>,
    pub(super) finished: Box<dyn Send>,
}

/// Why there is no answer.
pub(super) enum Refusal {
    Failed(GuestFailure),
    /// The guest has not seen the request.
    Untouched(Box<Job>),
}

pub(super) type Reply = Result<Response<AnswerBody>, Refusal>;

/// Names a request that an instance has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Begun(usize);

/// What the task of an instance and those who wait for it share.
pub(super) struct Worker {
    execution: Execution,
    /// It answers one request, and has nothing to do when nobody reads the answer.
    once: bool,
    made: Instant,
    /// When somebody took a piece of an answer last, in milliseconds since it was made.
    moved_ms: AtomicU64,
    running: TaskTracker,
    state: Mutex<State>,
}

struct State {
    waiting: VecDeque<(Job, oneshot::Sender<Reply>)>,
    begun: Vec<Option<BegunRequest>>,
    begun_count: usize,
    /// Answers whose bodies may still be written.
    bodies: Vec<Weak<Writing>>,
    /// How many of them are still read.
    open_bodies: usize,
    /// Whoever read the one answer has gone.
    abandoned: bool,
    /// Requests taken in the instance's life.
    taken: usize,
    /// Whether it may take more, ever.
    open: bool,
    /// Whether it may take more now: not while the guest holds the instance for itself.
    blocked: bool,
    /// Somebody who waited has gone.
    suspect: bool,
    idle_since: Option<Instant>,
    answered_at: Instant,
    waker: Option<Waker>,
    /// Held while there is work, so that a stop waits for it.
    busy: Option<TaskTrackerToken>,
}

struct BegunRequest {
    reply: oneshot::Sender<Reply>,
    /// Nobody reads the body of its answer.
    head_alone: bool,
    _finished: Box<dyn Send>,
}

/// What the task is to do after a poll.
pub(super) enum Verdict {
    GoOn,
    End(GuestFailure),
}

/// When the task should look again whether the instance is overdue.
pub(super) enum Due {
    At(Instant),
    /// Idle for long enough: nothing is lost with it.
    Idle,
    Overdue,
}

impl Worker {
    /// For an instance that answers one request.
    pub(super) fn once(execution: Execution, running: TaskTracker) -> Arc<Self> {
        let execution = Execution { requests_per_instance: 1, concurrent_per_instance: 1, ..execution };
        Self::make(execution, true, running)
    }

    pub(super) fn new(execution: Execution, running: TaskTracker) -> Arc<Self> {
        Self::make(execution, false, running)
    }

    fn make(execution: Execution, once: bool, running: TaskTracker) -> Arc<Self> {
        let state = State {
            waiting: VecDeque::new(),
            begun: Vec::new(),
            begun_count: 0,
            bodies: Vec::new(),
            open_bodies: 0,
            abandoned: false,
            taken: 0,
            open: true,
            blocked: false,
            suspect: false,
            idle_since: None,
            answered_at: Instant::now(),
            waker: None,
            busy: None,
        };
        let (made, moved_ms) = (Instant::now(), AtomicU64::new(0));
        Arc::new(Self { execution, once, made, moved_ms, running, state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None, with `job` left where it is, when there is no room for it.
    pub(super) fn offer(self: &Arc<Self>, job: &mut Option<Job>) -> Option<Waiting> {
        let mut state = self.lock();
        let at_once = state.begun_count + state.waiting.len();
        if !state.open || state.blocked || at_once >= self.execution.concurrent_per_instance {
            return None;
        }
        let job = job.take()?;
        let (sender, reply) = oneshot::channel();
        state.waiting.push_back((job, sender));
        state.taken += 1;
        state.open = state.taken < self.execution.requests_per_instance;
        state.idle_since = None;
        if state.busy.is_none() {
            state.busy = Some(self.running.token());
        }
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Some(Waiting { worker: self.clone(), reply, done: false })
    }

    /// Takes the next request for the guest.
    pub(super) fn begin(&self) -> Option<(Begun, Request<WasiBody>)> {
        let mut state = self.lock();
        state.blocked = false;
        let (job, reply) = loop {
            let (job, reply) = state.waiting.pop_front()?;
            if !reply.is_closed() {
                break (job, reply);
            }
        };
        state.begun_count += 1;
        let head_alone = job.request.method() == Method::HEAD;
        let begun = Some(BegunRequest { reply, head_alone, _finished: job.finished });
        let free = state.begun.iter().position(Option::is_none);
        let at = free.unwrap_or(state.begun.len());
        match free {
            Some(at) => state.begun[at] = begun,
            None => state.begun.push(begun),
        }
        Some((Begun(at), job.request))
    }

    /// Does nothing when there was an answer before.
    pub(super) fn answer(
        self: &Arc<Self>,
        request: Begun,
        outcome: Result<Response<WasiBody>, GuestFailure>,
    ) {
        let mut state = self.lock();
        let Some(begun) = state.begun.get_mut(request.0).and_then(Option::take) else { return };
        state.begun_count -= 1;
        state.answered_at = Instant::now();
        let outcome = outcome.map(|response| {
            let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&response.status());
            let length = || {
                let length = response.headers().get(header::CONTENT_LENGTH);
                let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
                length.map_or(Length::Unknown, Length::Left)
            };
            let only = (self.once && !begun.head_alone && !bodiless).then(length);
            response.map(|body| {
                let writing = Writing::new(body);
                if state.bodies.len() >= 2 * self.execution.concurrent_per_instance {
                    state.bodies.retain(|body| body.strong_count() > 0);
                }
                state.bodies.push(Arc::downgrade(&writing));
                state.open_bodies += 1;
                AnswerBody::new(writing, self.clone(), only)
            })
        });
        drop(state);
        // Fails when the client is gone.
        let _ = begun.reply.send(outcome.map_err(Refusal::Failed));
    }

    /// Somebody took a piece of an answer.
    pub(super) fn moved(&self) {
        self.moved_ms.store(self.made.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Nobody reads one of the answers any more. `abandoned`: there may have been more of it, and the instance has no other.
    pub(super) fn body_ended(&self, abandoned: bool) {
        let mut state = self.lock();
        state.open_bodies = state.open_bodies.saturating_sub(1);
        state.abandoned |= abandoned;
        // Whoever waits for an answer may have gone while this one was read.
        let look = abandoned || state.open_bodies == 0 && state.begun_count > 0;
        state.suspect |= look;
        let waker = if look { state.waker.take() } else { None };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The instance fails and is still there: what of its answers is not written yet never will be.
    pub(super) fn cut(&self, failure: GuestFailure) {
        let bodies = std::mem::take(&mut self.lock().bodies);
        bodies.iter().filter_map(Weak::upgrade).for_each(|body| body.cut(failure));
    }

    /// The guest has nothing to do. False when it will not have either: the instance is used up.
    pub(super) fn rest(&self) -> bool {
        let mut state = self.lock();
        if state.idle_since.is_none() && state.waiting.is_empty() {
            state.idle_since = Some(Instant::now());
            state.busy = None;
        }
        state.open || !state.waiting.is_empty()
    }

    pub(super) fn wake_with(&self, waker: &Waker) {
        let mut state = self.lock();
        if state.waker.as_ref().is_none_or(|known| !known.will_wake(waker)) {
            state.waker = Some(waker.clone());
        }
    }

    /// Takes no requests until the guest has let go of the instance: it is asked for the next one then.
    pub(super) fn block(&self) {
        self.lock().blocked = true;
    }

    /// Takes no more requests, and lets the instance end as soon as it has nothing to do.
    pub(super) fn retire(&self) {
        let mut state = self.lock();
        state.open = false;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Looks at what a poll of the instance has left.
    pub(super) fn after_poll(&self) -> Verdict {
        let mut state = self.lock();
        let left = std::mem::take(&mut state.waiting);
        if !left.is_empty() {
            state.blocked = true;
            state.taken -= left.len();
        }
        let mut verdict = Verdict::GoOn;
        if std::mem::take(&mut state.suspect) {
            let begun = || state.begun.iter().flatten();
            let gone = begun().filter(|begun| begun.reply.is_closed()).count();
            // wasmtime cannot cancel one guest task: the instance ends with the last request that somebody waits for, and the
            // last answer that somebody reads.
            if state.abandoned || gone > 0 && gone == state.begun_count && state.open_bodies == 0 {
                verdict = Verdict::End(GuestFailure::TimedOut);
            }
            state.open &= gone == 0;
        }
        drop(state);
        give_back(left);
        verdict
    }

    pub(super) fn due(&self, now: Instant) -> Due {
        let mut state = self.lock();
        let check = |at: Instant, late: Due| if at <= now { late } else { Due::At(at) };
        match state.idle_since {
            Some(since) => {
                let due = check(since + self.execution.idle, Due::Idle);
                state.open &= !matches!(due, Due::Idle);
                due
            }
            // Whoever waits for an answer has a deadline of its own.
            None if state.begun_count > 0 => Due::At(now + self.execution.idle),
            None => {
                let moved = self.made + Duration::from_millis(self.moved_ms.load(Ordering::Relaxed));
                check(state.answered_at.max(moved) + self.execution.body_timeout, Due::Overdue)
            }
        }
    }

    /// The instance is gone, or will be in a moment.
    pub(super) fn end(&self, failure: GuestFailure) {
        let mut state = self.lock();
        state.open = false;
        state.waker = None;
        state.busy = None;
        state.begun_count = 0;
        let (waiting, begun) = (std::mem::take(&mut state.waiting), std::mem::take(&mut state.begun));
        drop(state);
        give_back(waiting);
        for begun in begun.into_iter().flatten() {
            let _ = begun.reply.send(Err(Refusal::Failed(failure)));
        }
    }

    /// How many requests it has taken.
    pub(super) fn taken(&self) -> usize {
        self.lock().taken
    }

    fn look(&self) {
        let mut state = self.lock();
        state.suspect = true;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

fn give_back(waiting: VecDeque<(Job, oneshot::Sender<Reply>)>) {
    for (job, reply) in waiting {
        // Whoever does not wait any more does not want it back either.
        let _ = reply.send(Err(Refusal::Untouched(Box::new(job))));
    }
}

/// Waits for the reply. Dropped before, it lets the worker know that nobody waits.
pub(super) struct Waiting {
    worker: Arc<Worker>,
    reply: oneshot::Receiver<Reply>,
    done: bool,
}

impl Future for Waiting {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        let reply = ready!(Pin::new(&mut self.reply).poll(cx));
        self.done = true;
        // The sender is dropped unused only when the task panicked.
        Poll::Ready(reply.unwrap_or(Err(Refusal::Failed(GuestFailure::Failed))))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.done {
            self.reply.close();
            self.worker.look();
        }
    }
}

#[cfg(test)]
mod tests;
