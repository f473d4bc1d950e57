//! The task that runs one instance: counts its processor time, ends it when it is overdue or nobody waits for it, and moves it
//! to the threads for busy guests when it holds its thread for too long.

use super::instances::InstancePermit;
use super::pool::Place;
use super::turns::Turns;
use super::worker::{Due, Verdict, Worker};
use super::{Guest, GuestFailure};
use crate::guest_state::CpuClock;
use crate::limits;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::time::Sleep;

/// Drives an instance from its making to its end; the output is why requests that it had begun have no answer.
pub(super) type Driver = Pin<Box<dyn Future<Output = GuestFailure> + Send>>;

/// The task; empty once the instance has moved to another.
pub(super) struct InstanceTask(Option<Box<Running>>);

struct Running {
    driver: Driver,
    turns: Turns,
    clock: Arc<CpuClock>,
    worker: Arc<Worker>,
    guest: Arc<Guest>,
    place: Option<Place>,
    timer: Pin<Box<Sleep>>,
    /// As an instance should, or after its answers were cut.
    ended: bool,
    _permit: InstancePermit,
}

impl InstanceTask {
    pub(super) fn new(
        guest: Arc<Guest>,
        worker: Arc<Worker>,
        clock: Arc<CpuClock>,
        driver: Driver,
        place: Option<Place>,
        permit: InstancePermit,
    ) -> Self {
        guest.metrics.instance_made();
        let timer = Box::pin(tokio::time::sleep(guest.execution.idle));
        Self(Some(Box::new(Running {
            driver,
            turns: Turns::new(),
            clock,
            worker,
            guest,
            place,
            timer,
            ended: false,
            _permit: permit,
        })))
    }
}

impl Future for InstanceTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(running) = self.0.as_mut() else { return Poll::Ready(()) };
        if let Poll::Ready(failure) = running.poll(cx) {
            running.ended = true;
            running.worker.end(failure);
            self.0 = None;
            return Poll::Ready(());
        }
        if running.clock.take_overran()
            && crate::threads::number().is_some()
            && let Some(busy) = running.guest.shared.threads.busy().cloned()
        {
            running.worker.block();
            let moved = Self(self.0.take());
            busy.spawn(moved);
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Running {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<GuestFailure> {
        if let Some(failure) = self.poll_driver(cx) {
            return Poll::Ready(failure);
        }
        if let Verdict::End(failure) = self.worker.after_poll() {
            self.worker.cut(failure);
            return Poll::Ready(failure);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            match self.worker.due(Instant::now()) {
                Due::At(instant) => self.timer.as_mut().reset(instant.into()),
                Due::Idle => return Poll::Ready(GuestFailure::Failed),
                Due::Overdue => {
                    let component = self.guest.id();
                    tracing::warn!(component, "stopped: nothing of its answers has moved for too long");
                    self.worker.cut(GuestFailure::TimedOut);
                    return Poll::Ready(GuestFailure::TimedOut);
                }
            }
        }
        Poll::Pending
    }

    fn poll_driver(&mut self, cx: &mut Context<'_>) -> Option<GuestFailure> {
        let Self { driver, turns, clock, worker, .. } = self;
        worker.wake_with(turns.waker());
        let turn = |cx: &mut Context<'_>| match clock.poll(driver.as_mut(), cx) {
            Poll::Ready(failure) => Some(failure),
            Poll::Pending => None,
        };
        let mut end = None;
        let more = || {
            let now = Instant::now();
            // One that held its thread moves to another.
            !clock.overran() && now < *end.get_or_insert(now + limits::TURNS_IN_A_ROW)
        };
        turns.take(cx, turn, more)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Also when the runtime drops the task, or the driver panicked.
        if !self.ended {
            self.worker.cut(GuestFailure::Failed);
        }
        self.worker.end(GuestFailure::Failed);
        if let Some(place) = self.place.take() {
            self.guest.pool.remove(&place, &self.worker);
        }
        self.guest.metrics.instance_gone(self.worker.taken(), self.clock.total());
    }
}
