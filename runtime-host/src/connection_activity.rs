//! What happens on one connection, from which follows how long it may stay quiet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Requests that run on a connection, and since when it waits. Times are milliseconds since its start.
#[derive(Debug)]
pub struct ConnectionActivity {
    started: Instant,
    running: AtomicUsize,
    /// When the last request ended.
    quiet_since: AtomicU64,
    /// When the first byte came since then, plus one; zero when none has come.
    heard: AtomicU64,
}

/// How long a connection without a request may stay.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// From the first byte of a request's headers to the last one.
    pub headers: Duration,
    /// With nothing said.
    pub idle: Duration,
}

/// A request that runs. Ends with its answer's last byte, or with the connection.
#[derive(Debug)]
pub struct RunningRequest(Arc<ConnectionActivity>);

impl ConnectionActivity {
    pub fn begin() -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            running: AtomicUsize::new(0),
            quiet_since: AtomicU64::new(0),
            heard: AtomicU64::new(0),
        })
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Notes that bytes were read.
    pub fn read(&self) {
        if self.is_quiet() && self.heard.load(Ordering::Relaxed) == 0 {
            self.heard.store(self.now() + 1, Ordering::Relaxed);
        }
    }

    pub fn request(self: &Arc<Self>) -> RunningRequest {
        self.running.fetch_add(1, Ordering::Relaxed);
        self.heard.store(0, Ordering::Relaxed);
        RunningRequest(self.clone())
    }

    /// Whether no request runs.
    pub fn is_quiet(&self) -> bool {
        self.running.load(Ordering::Relaxed) == 0
    }

    /// When the connection should be looked at again, or none when its time is over.
    pub fn look_again(&self, patience: Patience, reads_are_headers: bool) -> Option<Instant> {
        let now = self.now();
        // A request may begin right after this look, so it is never far away.
        let next = |end: u64| {
            let soon = now + patience.headers.as_millis() as u64;
            (end > now).then(|| self.started + Duration::from_millis(end.min(soon)))
        };
        if !self.is_quiet() {
            return next(u64::MAX);
        }
        match self.heard.load(Ordering::Relaxed) {
            heard if heard > 0 && reads_are_headers => next(heard + patience.headers.as_millis() as u64),
            _ => next(self.quiet_since.load(Ordering::Relaxed) + patience.idle.as_millis() as u64),
        }
    }
}

impl Drop for RunningRequest {
    fn drop(&mut self) {
        let activity = &self.0;
        activity.quiet_since.store(activity.now(), Ordering::Relaxed);
        activity.heard.store(0, Ordering::Relaxed);
        activity.running.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(ms: u64) -> ConnectionActivity {
        ConnectionActivity {
            started: Instant::now().checked_sub(Duration::from_millis(ms)).unwrap(),
            running: AtomicUsize::new(0),
            quiet_since: AtomicU64::new(0),
            heard: AtomicU64::new(0),
        }
    }

    const PATIENCE: Patience = Patience { headers: Duration::from_secs(10), idle: Duration::from_secs(60) };

    #[test]
    fn a_quiet_connection_may_stay_longer_than_one_that_dribbles_its_headers() {
        assert!(after(30_000).look_again(PATIENCE, true).is_some());
        assert!(after(60_000).look_again(PATIENCE, true).is_none());
        let slow = after(30_000);
        slow.heard.store(1, Ordering::Relaxed);
        assert!(slow.look_again(PATIENCE, true).is_none());
        // On HTTP/2 the bytes may be a ping.
        assert!(slow.look_again(PATIENCE, false).is_some());
    }

    #[test]
    fn a_request_keeps_its_connection_however_long_it_runs() {
        let activity = Arc::new(after(600_000));
        let request = activity.request();
        activity.read();
        assert!(activity.look_again(PATIENCE, true).is_some());
        drop(request);
        let next = activity.look_again(PATIENCE, true).expect("the wait begins with the end of the request");
        assert!(next <= Instant::now() + PATIENCE.headers, "and is looked at soon");
    }
}
