//! Standard output and error of guests: line by line into the host's log.

use crate::limits;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};

/// One output stream of one instance.
#[derive(Clone)]
pub struct GuestLog {
    component: Arc<str>,
    stream: &'static str,
    lines: Arc<Mutex<Lines>>,
}

struct Lines {
    partial: Vec<u8>,
    /// What may still be logged.
    bytes_left: usize,
}

impl GuestLog {
    pub fn new(component: Arc<str>, stream: &'static str) -> Self {
        let lines = Lines { partial: Vec::new(), bytes_left: limits::MAX_LOG_BYTES };
        Self { component, stream, lines: Arc::new(Mutex::new(lines)) }
    }

    fn write(&self, mut bytes: &[u8]) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            lines.push(&bytes[..end]);
            self.log(&mut lines);
            bytes = &bytes[end + 1..];
        }
        lines.push(bytes);
    }

    fn log(&self, lines: &mut Lines) {
        let line = std::mem::take(&mut lines.partial);
        if lines.bytes_left == 0 || line.is_empty() {
            return;
        }
        lines.bytes_left = lines.bytes_left.saturating_sub(line.len());
        let text = String::from_utf8_lossy(&line);
        tracing::info!(target: "guest", component = &*self.component, stream = self.stream, "{text}");
        if lines.bytes_left == 0 {
            tracing::warn!(
                target: "guest",
                component = &*self.component,
                stream = self.stream,
                "the rest of this instance's output is dropped: it is over {} bytes", limits::MAX_LOG_BYTES
            );
        }
    }
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        let room = limits::MAX_LOG_LINE_BYTES.saturating_sub(self.partial.len());
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

impl Drop for GuestLog {
    fn drop(&mut self) {
        // A panic message need not end its line.
        if Arc::strong_count(&self.lines) == 1 {
            let lines = self.lines.clone();
            self.log(&mut lines.lock().unwrap_or_else(PoisonError::into_inner));
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
