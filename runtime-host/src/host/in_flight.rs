//! What the host holds of one guest in its memory: arguments of calls that have not returned, and results that are not read.
//!
//! One call is bounded by itself. A WASI 0.3 guest may make thousands at once, with the same bytes of its own memory in each,
//! and leave thousands of answers unread, so that all of them together have a bound too.

use crate::limits;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use wasmtime::StoreContextMut;
use wasmtime::component::{Destination, StreamProducer, StreamResult, VecBuffer};

/// Counts the bytes of one instance.
#[derive(Debug, Clone, Default)]
pub struct InFlight(Arc<AtomicUsize>);

/// Bytes that count until this is dropped.
#[derive(Debug)]
pub struct Held {
    of: InFlight,
    bytes: usize,
}

/// There is no room for that much more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "calls that have not returned and results that are not read hold {} bytes, which is the limit",
    limits::IN_FLIGHT_BYTES
)]
pub struct TooMuchInFlight;

impl InFlight {
    pub fn hold(&self, bytes: usize) -> Result<Held, TooMuchInFlight> {
        let held = Held { of: self.clone(), bytes };
        // What is held already counts, so that the guard gives back what it took, be it refused.
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        match before.saturating_add(bytes) > limits::IN_FLIGHT_BYTES {
            true => Err(TooMuchInFlight),
            false => Ok(held),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Items that a guest reads from a stream, counted until it has taken the last one or closes the stream.
pub(super) struct HeldItems<T> {
    items: Vec<T>,
    _held: Held,
}

impl<T> HeldItems<T> {
    pub(super) fn new(items: Vec<T>, held: Held) -> Self {
        Self { items, _held: held }
    }
}

impl<T: Unpin + Send + Sync + 'static, D> StreamProducer<D> for HeldItems<T> {
    type Item = T;
    type Buffer = VecBuffer<T>;

    fn poll_produce<'a>(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: StoreContextMut<'a, D>,
        mut to: Destination<'a, T, VecBuffer<T>>,
        _: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let items = std::mem::take(&mut self.get_mut().items);
        if items.is_empty() {
            return Poll::Ready(Ok(StreamResult::Dropped));
        }
        to.set_buffer(items.into());
        // Asked again when the guest has taken all of them.
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_at_once_is_bounded_and_makes_room_when_it_is_let_go() {
        let guest = InFlight::default();
        let most = guest.hold(limits::IN_FLIGHT_BYTES).unwrap();
        assert_eq!(guest.hold(1).unwrap_err(), TooMuchInFlight);
        drop(most);
        let half = guest.hold(limits::IN_FLIGHT_BYTES / 2).unwrap();
        assert_eq!(
            guest.hold(limits::IN_FLIGHT_BYTES).unwrap_err(),
            TooMuchInFlight,
            "what was refused does not count"
        );
        let _other = guest.hold(limits::IN_FLIGHT_BYTES / 2).unwrap();
        drop(half);
        guest.hold(limits::IN_FLIGHT_BYTES / 2).unwrap();
    }
}
