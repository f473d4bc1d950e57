//! One instance at work. It answers several requests at once where its component can (WASI 0.3), until it has answered as many
//! as it may, has had no work for a while, or has failed.
//!
//! Whoever has a request offers it to a worker and waits for the reply. The task that runs the instance takes what was
//! offered; what it cannot take, because the guest holds the instance for itself, goes back untouched to be offered elsewhere.

use super::GuestFailure;
use crate::execution::Execution;
use crate::limits;
use http::{Request, Response};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;
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

pub(super) type Reply = Result<Response<WasiBody>, Refusal>;

/// Names a request that an instance has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Begun(usize);

/// What the task of an instance and those who wait for it share.
pub(super) struct Worker {
    execution: Execution,
    running: TaskTracker,
    state: Mutex<State>,
}

struct State {
    waiting: VecDeque<(Job, oneshot::Sender<Reply>)>,
    begun: Vec<Option<BegunRequest>>,
    begun_count: usize,
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
    pub(super) fn new(execution: Execution, running: TaskTracker) -> Arc<Self> {
        let state = State {
            waiting: VecDeque::new(),
            begun: Vec::new(),
            begun_count: 0,
            taken: 0,
            open: true,
            blocked: false,
            suspect: false,
            idle_since: None,
            answered_at: Instant::now(),
            waker: None,
            busy: None,
        };
        Arc::new(Self { execution, running, state: Mutex::new(state) })
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
        let begun = Some(BegunRequest { reply, _finished: job.finished });
        let free = state.begun.iter().position(Option::is_none);
        let at = free.unwrap_or(state.begun.len());
        match free {
            Some(at) => state.begun[at] = begun,
            None => state.begun.push(begun),
        }
        Some((Begun(at), job.request))
    }

    /// Does nothing when there was an answer before.
    pub(super) fn answer(&self, request: Begun, outcome: Result<Response<WasiBody>, GuestFailure>) {
        let mut state = self.lock();
        let Some(begun) = state.begun.get_mut(request.0).and_then(Option::take) else { return };
        state.begun_count -= 1;
        state.answered_at = Instant::now();
        drop(state);
        // Fails when the client is gone.
        let _ = begun.reply.send(outcome.map_err(Refusal::Failed));
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
            // wasmtime cannot cancel one guest task: the instance ends with the last request that somebody waits for.
            if gone > 0 && gone == state.begun_count {
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
            None => check(state.answered_at + limits::INSTANCE_TIMEOUT, Due::Overdue),
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
