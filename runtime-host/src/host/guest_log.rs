//! Standard output and error of guests: line by line into the host's log.

use crate::limits;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};

/// What one component may still log in the second that runs; its instances share it.
pub struct LogBudget {
    component: Arc<str>,
    second: Mutex<Second>,
}

struct Second {
    began: Instant,
    bytes_left: usize,
    dropped: u64,
}

impl LogBudget {
    pub fn new(component: Arc<str>) -> Arc<Self> {
        let second = Second { began: Instant::now(), bytes_left: limits::LOG_BYTES_PER_SECOND, dropped: 0 };
        Arc::new(Self { component, second: Mutex::new(second) })
    }

    /// Whether a line of so many bytes may be logged at `now`.
    fn take(&self, bytes: usize, now: Instant) -> bool {
        let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(second.began) >= Duration::from_secs(1) {
            if second.dropped > 0 {
                let (component, dropped) = (&*self.component, second.dropped);
                tracing::warn!(target: "guest", component, "{dropped} bytes of output were dropped: over {} in a second", limits::LOG_BYTES_PER_SECOND);
            }
            *second = Second { began: now, bytes_left: limits::LOG_BYTES_PER_SECOND, dropped: 0 };
        }
        let allowed = bytes <= second.bytes_left;
        match allowed {
            true => second.bytes_left -= bytes,
            false => second.dropped += bytes as u64,
        }
        allowed
    }
}

/// One output stream of one instance.
#[derive(Clone)]
pub struct GuestLog {
    budget: Arc<LogBudget>,
    stream: &'static str,
    partial: Arc<Mutex<Vec<u8>>>,
}

impl GuestLog {
    pub fn new(budget: Arc<LogBudget>, stream: &'static str) -> Self {
        Self { budget, stream, partial: Arc::default() }
    }

    fn write(&self, mut bytes: &[u8]) {
        let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            push(&mut partial, &bytes[..end]);
            self.log(&mut partial);
            bytes = &bytes[end + 1..];
        }
        push(&mut partial, bytes);
    }

    fn log(&self, partial: &mut Vec<u8>) {
        let line = std::mem::take(partial);
        if line.is_empty() || !self.budget.take(line.len(), Instant::now()) {
            return;
        }
        let text = String::from_utf8_lossy(&line);
        tracing::info!(target: "guest", component = &*self.budget.component, stream = self.stream, "{text}");
    }
}

fn push(partial: &mut Vec<u8>, bytes: &[u8]) {
    let room = limits::MAX_LOG_LINE_BYTES.saturating_sub(partial.len());
    partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

impl Drop for GuestLog {
    fn drop(&mut self) {
        // A panic message need not end its line.
        if Arc::strong_count(&self.partial) == 1 {
            let partial = self.partial.clone();
            self.log(&mut partial.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl IsTerminal for GuestLog {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestLog {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for GuestLog {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_component_logs_in_a_second_is_bounded_over_all_its_instances() {
        let budget = LogBudget::new("test".into());
        let now = Instant::now();
        let line = limits::MAX_LOG_LINE_BYTES;
        let logged = (0..1000).filter(|_| budget.take(line, now)).count();
        assert_eq!(logged, limits::LOG_BYTES_PER_SECOND / line);
        assert!(!budget.take(line, now + Duration::from_millis(100)));
        assert!(budget.take(line, now + Duration::from_secs(2)));
    }
}
