//! The clock that interrupts busy guests: advances the engine's epoch while guests run, and rests while none does.
//!
//! A thread of its own, so that it runs whatever guests do to the asynchronous ones. It parks after some periods in which no
//! guest was polled, and whoever polls one wakes it. Neither can miss the other: a poll first counts itself and then looks
//! whether the clock rests; the clock first says that it rests and then looks whether somebody counted. All four are
//! sequentially consistent, so in the one order of them at least one side sees what the other did: either the poll wakes the
//! clock, or the clock sees the poll and does not park. Seeing both costs a wake-up for nothing. A wake-up that comes before
//! the park is kept by the thread's token.

use crate::limits;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Thread;
use wasmtime::Engine;

/// Polls that run, in the lower half of a word whose upper half counts all that began.
const ONE_POLL: u64 = 1 << 32 | 1;
const RUNNING: u64 = u32::MAX as u64;

/// Told of each poll of a guest. The clock ends when this is dropped.
#[derive(Debug)]
pub struct EpochClock {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Debug, Default)]
struct Shared {
    polls: AtomicU64,
    resting: AtomicBool,
    ended: AtomicBool,
    ticks: AtomicU64,
}

/// A poll that runs: epochs end meanwhile.
#[derive(Debug)]
pub struct RunningPoll<'a>(&'a Shared);

impl Drop for RunningPoll<'_> {
    fn drop(&mut self) {
        self.0.polls.fetch_sub(1, Ordering::SeqCst);
    }
}

impl EpochClock {
    pub fn start(engine: &Engine) -> std::io::Result<Arc<Self>> {
        let shared = Arc::new(Shared::default());
        let (engine, of_thread) = (engine.weak(), shared.clone());
        let tick = move || match engine.upgrade() {
            Some(engine) => engine.increment_epoch(),
            None => of_thread.ended.store(true, Ordering::SeqCst),
        };
        let of_thread = shared.clone();
        let run = move || of_thread.run(tick);
        let handle = std::thread::Builder::new().name("epoch".into()).spawn(run)?;
        Ok(Arc::new(Self { shared, thread: handle.thread().clone() }))
    }

    /// Notes a poll of a guest, from before it to after.
    pub fn poll(&self) -> RunningPoll<'_> {
        self.shared.polls.fetch_add(ONE_POLL, Ordering::SeqCst);
        if self.shared.resting.load(Ordering::SeqCst) {
            self.wake();
        }
        RunningPoll(&self.shared)
    }

    fn wake(&self) {
        // Of several that see it rest, one wakes it.
        if self.shared.resting.swap(false, Ordering::SeqCst) {
            self.thread.unpark();
        }
    }

    /// Whether the clock stands still because no guest runs.
    pub fn rests(&self) -> bool {
        self.shared.resting.load(Ordering::SeqCst)
    }

    /// Epochs that have ended.
    pub fn ticks(&self) -> u64 {
        self.shared.ticks.load(Ordering::Relaxed)
    }
}

impl Drop for EpochClock {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.wake();
    }
}

impl Shared {
    fn run(&self, tick: impl Fn()) {
        let (mut seen, mut quiet) = (0, 0);
        while !self.ended.load(Ordering::SeqCst) {
            std::thread::sleep(limits::EPOCH_PERIOD);
            tick();
            self.ticks.fetch_add(1, Ordering::Relaxed);
            let polls = self.polls.load(Ordering::SeqCst);
            quiet = if polls == seen && polls & RUNNING == 0 { quiet + 1 } else { 0 };
            seen = polls;
            if quiet >= limits::QUIET_EPOCHS {
                self.rest(seen);
                quiet = 0;
            }
        }
    }

    /// Parks until a guest is polled, unless one was since `seen`.
    fn rest(&self, seen: u64) {
        self.resting.store(true, Ordering::SeqCst);
        let nothing_new = self.polls.load(Ordering::SeqCst) == seen && !self.ended.load(Ordering::SeqCst);
        // A park may end for no reason.
        while nothing_new && self.resting.load(Ordering::SeqCst) {
            std::thread::park();
        }
        self.resting.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn clock() -> (Engine, Arc<EpochClock>) {
        let engine = Engine::default();
        let clock = EpochClock::start(&engine).unwrap();
        (engine, clock)
    }

    fn until(what: &str, done: impl Fn() -> bool) {
        let started = Instant::now();
        while !done() {
            assert!(started.elapsed() < Duration::from_secs(30), "{what}");
            std::thread::sleep(limits::EPOCH_PERIOD);
        }
    }

    #[test]
    fn the_clock_stands_still_while_no_guest_runs_and_goes_while_one_does() {
        let (_idle_engine, idle) = clock();
        until("it comes to rest", || idle.rests());
        let before = idle.ticks();
        // The time of the test is that of a clock with a poll that does not end.
        let (_busy_engine, busy) = clock();
        let running = busy.poll();
        let begun = busy.ticks();
        until("it goes on", || busy.ticks() >= begun + 10 * u64::from(limits::QUIET_EPOCHS));
        assert!(!busy.rests(), "a long poll is no quiet one");
        assert_eq!((idle.ticks(), idle.rests()), (before, true), "nobody woke it");
        drop(running);
        until("it rests after the poll", || busy.rests());
    }

    #[test]
    fn each_poll_finds_the_clock_going_whenever_it_comes() {
        let (_engine, clock) = clock();
        for round in 0..50 {
            // Some come when it rests, some when it is about to, some when it goes.
            if round % 2 == 0 {
                until("it comes to rest", || clock.rests());
            }
            let running = clock.poll();
            let begun = clock.ticks();
            until("an epoch ends while a poll runs", || clock.ticks() > begun);
            drop(running);
        }
    }

    #[test]
    fn the_thread_ends_with_the_clock() {
        let (_engine, clock) = clock();
        until("it comes to rest", || clock.rests());
        let shared = Arc::downgrade(&clock.shared);
        drop(clock);
        until("the thread is gone", || shared.strong_count() == 0);
    }
}
