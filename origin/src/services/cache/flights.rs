//! Single flight: one computation of a key at a time, which others wait for.

use super::Entry;
use std::collections::HashMap;
use std::collections::hash_map;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

type Landing = Option<Arc<Entry>>;

/// The keys that are being computed.
#[derive(Default)]
pub(super) struct Flights {
    running: Mutex<HashMap<Arc<str>, watch::Receiver<Landing>>>,
}

pub(super) enum Place<F> {
    /// Nobody computes it: this one does, for all who come meanwhile.
    Leader(Flight),
    /// Somebody does; what comes of it, or nothing when it fails.
    Follower(F),
}

/// The right to compute a key. Whoever is cancelled with it lets the followers go.
pub(super) struct Flight {
    flights: Arc<Flights>,
    key: Arc<str>,
    landing: watch::Sender<Landing>,
}

impl Flights {
    pub(super) fn join(self: &Arc<Self>, key: &Arc<str>) -> Place<impl Future<Output = Landing> + use<>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match running.entry(Arc::clone(key)) {
            hash_map::Entry::Occupied(flight) => {
                let mut landing = flight.get().clone();
                Place::Follower(async move {
                    landing.wait_for(Option::is_some).await.ok().and_then(|landed| landed.clone())
                })
            }
            hash_map::Entry::Vacant(free) => {
                let (sender, landing) = watch::channel(None);
                free.insert(landing);
                Place::Leader(Flight { flights: Arc::clone(self), key: Arc::clone(key), landing: sender })
            }
        }
    }
}

impl Flight {
    pub(super) fn land(self, entry: Arc<Entry>) {
        self.landing.send_replace(Some(entry));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.flights.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
