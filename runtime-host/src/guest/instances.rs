//! Room for instances, which all components of an edge share so that none can take it from the others.
//!
//! A component may take one more while it holds less than is free: alone it gets half of the room, and the more others want
//! some the less each can have (dynamic thresholds, as switches share their buffers between ports). Whoever holds nothing finds
//! room, whatever another one does.

use crate::limits;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// The room. An instance takes one of it, or more when it is made of more parts than most.
pub struct Instances {
    free: Mutex<usize>,
    released: Notify,
}

/// What one component holds of it.
pub(super) struct Share {
    of: Arc<Instances>,
    /// How much one of its instances takes.
    weight: usize,
    held: AtomicUsize,
    /// Whoever waits, in order.
    queue: tokio::sync::Mutex<()>,
}

/// Room for one instance.
pub(super) struct InstancePermit(Arc<Share>);

impl Instances {
    pub fn new(room: usize) -> Arc<Self> {
        Arc::new(Self { free: Mutex::new(room), released: Notify::new() })
    }
}

impl Share {
    pub(super) fn new(of: Arc<Instances>, weight: usize) -> Arc<Self> {
        Arc::new(Self { of, weight, held: AtomicUsize::new(0), queue: tokio::sync::Mutex::default() })
    }

    /// How much of the room one instance takes.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    pub(super) fn try_take(self: &Arc<Self>) -> Option<InstancePermit> {
        let mut free = self.of.free.lock().unwrap_or_else(PoisonError::into_inner);
        if self.held.load(Ordering::Relaxed) >= *free || self.weight > *free {
            return None;
        }
        *free -= self.weight;
        self.held.fetch_add(self.weight, Ordering::Relaxed);
        Some(InstancePermit(self.clone()))
    }

    /// None when there is no room for [`limits::INSTANCE_WAIT`].
    pub(super) async fn take(self: &Arc<Self>) -> Option<InstancePermit> {
        if let Some(permit) = self.try_take() {
            return Some(permit);
        }
        let wait = async {
            let _first = self.queue.lock().await;
            loop {
                let mut released = std::pin::pin!(self.of.released.notified());
                // From here on, so that what is released before the next look is not missed.
                released.as_mut().enable();
                if let Some(permit) = self.try_take() {
                    return permit;
                }
                released.await;
            }
        };
        tokio::time::timeout(limits::INSTANCE_WAIT, wait).await.ok()
    }
}

impl Drop for InstancePermit {
    fn drop(&mut self) {
        let share = &self.0;
        let mut free = share.of.free.lock().unwrap_or_else(PoisonError::into_inner);
        *free += share.weight;
        share.held.fetch_sub(share.weight, Ordering::Relaxed);
        drop(free);
        share.of.released.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(share: &Arc<Share>) -> Vec<InstancePermit> {
        std::iter::from_fn(|| share.try_take()).collect()
    }

    #[test]
    fn one_component_leaves_as_much_as_it_takes_and_those_that_follow_find_room() {
        let room = Instances::new(300);
        let shares: Vec<_> = (0..8).map(|_| Share::new(room.clone(), 1)).collect();
        let held: Vec<_> = shares.iter().map(all).collect();
        let counts: Vec<_> = held.iter().map(Vec::len).collect();
        assert_eq!(counts, [150, 75, 38, 19, 9, 5, 2, 1]);
        assert!(Share::new(room, 1).try_take().is_some());
    }

    #[test]
    fn components_that_want_all_at_once_get_equal_shares() {
        let room = Instances::new(300);
        let shares: Vec<_> = (0..5).map(|_| Share::new(room.clone(), 1)).collect();
        let mut held: Vec<Vec<_>> = shares.iter().map(|_| Vec::new()).collect();
        for _ in 0..300 {
            for (share, held) in shares.iter().zip(&mut held) {
                held.extend(share.try_take());
            }
        }
        assert!(held.iter().all(|held| held.len() == 50), "a sixth each, and one is free");
    }

    #[test]
    fn an_instance_of_many_parts_takes_more_room() {
        let room = Instances::new(300);
        let (heavy, light) = (Share::new(room.clone(), 5), Share::new(room, 1));
        let (heavy, light) = (all(&heavy), all(&light));
        assert_eq!((heavy.len(), light.len()), (30, 75));
    }

    #[tokio::test]
    async fn who_waits_gets_what_is_released() {
        let room = Instances::new(4);
        let (share, other) = (Share::new(room.clone(), 1), Share::new(room, 1));
        let (mut held, others) = (all(&share), all(&other));
        assert_eq!((held.len(), others.len()), (2, 1));
        let waiting = share.take();
        let release = async {
            tokio::task::yield_now().await;
            held.pop();
        };
        let (taken, ()) = tokio::join!(waiting, release);
        assert!(taken.is_some());
        assert!(share.try_take().is_none());
    }
}
