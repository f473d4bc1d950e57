//! Who waits for new commits of which institute.

use super::transaction::Committed;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::{Notify, watch};

/// The newest revision of each institute that somebody watches.
#[derive(Default)]
pub(super) struct Watchers {
    watched: Mutex<HashMap<String, watch::Sender<u64>>>,
    /// Wakes who works on the outbox.
    pub(super) work: Notify,
}

impl Watchers {
    pub(super) fn watch(&self, institute: &str) -> watch::Receiver<u64> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        // What nobody watches any more goes, so the map is as large as the number of followed institutes.
        watched.retain(|_, sender| sender.receiver_count() > 0);
        watched.entry(institute.to_owned()).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// The newest revision of `institute` that its watchers were told of; 0 when nobody watches it.
    pub(super) fn newest(&self, institute: &str) -> u64 {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.get(institute).map_or(0, |sender| *sender.borrow())
    }

    /// The institutes that somebody watches.
    pub(super) fn institutes(&self) -> Vec<String> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|_, sender| sender.receiver_count() > 0);
        watched.keys().cloned().collect()
    }

    /// Wakes everybody: another epoch has begun, whose revisions start anew where it does.
    pub(super) fn tell_all(&self) {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        for sender in watched.values() {
            sender.send_replace(0);
        }
    }

    /// Wakes whom a commit of this process concerns.
    pub(super) fn tell_commit<T>(&self, institute: &str, done: &Committed<T>) {
        self.tell(institute, done.revision);
        if done.has_work {
            self.work.notify_one();
        }
    }

    /// Wakes who watches `institute`, unless they know of `revision`.
    pub(super) fn tell(&self, institute: &str, revision: u64) {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = watched.get(institute) {
            sender.send_if_modified(|newest| {
                let newer = revision > *newest;
                *newest = revision.max(*newest);
                newer
            });
        }
    }
}
