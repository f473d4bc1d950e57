//! The cache of what is computed from the store.
//!
//! Two layers: this process's memory, and Redis, which all origins share and which is never trusted. What is kept is
//! served by one rule, whoever kept it and however long ago: an entry names the revision that it was computed at and the
//! tags that it depends on, and is served only when no commit since has touched one of them, as far as this process must
//! know (`floors.rs`), and when the reader has seen nothing newer. So nobody has to delete anything anywhere: not by a
//! key, not by a tag, and not when Redis comes back with what it had an hour ago.

mod config;
mod entry;
mod flights;
mod floors;
mod local;
mod redis_link;
mod remote;

#[cfg(test)]
mod tests;

pub(crate) use config::{CacheConfig, CacheSettings};
pub(crate) use entry::{Content, Entry};
pub(crate) use remote::RemoteState;

use crate::clock::unix_ms;
use crate::store::Store;
use flights::{Flights, Place};
use floors::FloorMap;
use local::Local;
use remote::Remote;
use std::sync::Arc;
use std::time::Duration;
use sync_protocol::bookmark::Bookmark;
use sync_protocol::revocation::Revocation;

/// Entries that are older are not served while the primary does not answer: what is committed meanwhile is not known.
const UNWATCHED_AGE_MAX: Duration = Duration::from_secs(5);

const REQUESTS: &str = "rollcall_origin_cache_requests_total";
const ENTRIES: &str = "rollcall_origin_cache_local_entries";
const BYTES: &str = "rollcall_origin_cache_local_bytes";

/// How long something may be kept, and under which prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strategy {
    Dashboard,
    Api,
}

impl Strategy {
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Strategy::Dashboard => "dashboard",
            Strategy::Api => "api",
        }
    }

    pub(crate) fn time_to_live(self) -> Duration {
        match self {
            Strategy::Dashboard => Duration::from_secs(5 * 60),
            Strategy::Api => Duration::from_secs(10 * 60),
        }
    }
}

/// What is kept under which name.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    strategy: Strategy,
    institute: String,
    /// Prefix, institute and the name within it.
    text: Arc<str>,
}

impl Key {
    /// The parts must not hold the separator, or one key could be read as another: ids never do, and are checked where
    /// they come in; what does is escaped all the same.
    pub(crate) fn new(strategy: Strategy, institute: &str, parts: &[&str]) -> Self {
        let mut text = strategy.prefix().to_owned();
        for part in std::iter::once(&institute).chain(parts) {
            text.push('|');
            text.push_str(&part.replace('\\', "\\\\").replace('|', "\\p"));
        }
        Self { strategy, institute: institute.to_owned(), text: text.into() }
    }
}

/// What a computation gave, and how long it holds if nothing is committed.
pub(crate) struct Computed {
    pub(crate) body: Vec<u8>,
    pub(crate) tags: Vec<String>,
    pub(crate) bookmark: Bookmark,
    /// Unix milliseconds; when the body changes by itself, such as at midnight.
    pub(crate) valid_until: Option<i64>,
    /// The tokens of its reader that it is not for: whoever is served compares it with the token that was shown.
    pub(crate) revocation: Revocation,
}

/// A body with the newest revision that it is known to show.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    pub(crate) content: Arc<Content>,
    pub(crate) bookmark: Bookmark,
}

#[derive(Clone)]
pub(crate) struct Cache {
    floors: Arc<FloorMap>,
    local: Local,
    flights: Arc<Flights>,
    remote: Option<Arc<Remote>>,
}

impl Cache {
    /// Connects to Redis later, in [`Cache::run`].
    pub(crate) fn new(store: Store, config: &CacheConfig) -> Self {
        Self {
            floors: Arc::new(FloorMap::new(store)),
            local: Local::new(config.local_bytes),
            flights: Arc::default(),
            remote: config.remote.clone().map(|remote| Arc::new(Remote::new(remote))),
        }
    }

    /// Keeps the connection to Redis for as long as the process runs.
    pub(crate) async fn run(self, stopping: tokio_util::sync::CancellationToken) {
        if let Some(remote) = &self.remote {
            remote.run(&stopping).await;
        }
    }

    /// Whether there is a Redis, and whether it answered when it was asked last.
    #[cfg(test)]
    pub(crate) fn remote_state(&self) -> Option<RemoteState> {
        self.remote.as_ref().map(|remote| remote.state())
    }

    pub(crate) fn has_remote(&self) -> bool {
        self.remote.is_some()
    }

    /// Asks Redis for what is no view; none while it does not answer. `command` gets the key with the namespace.
    pub(crate) async fn ask_remote(
        &self,
        key: &str,
        command: impl FnOnce(String) -> redis::Cmd,
    ) -> Option<redis::Value> {
        let remote = self.remote.as_ref()?;
        remote.ask(&command(remote.name(key))).await
    }

    /// Whether there is a Redis, and whether it answers now.
    pub(crate) async fn probe_remote(&self) -> Option<RemoteState> {
        let remote = self.remote.as_ref()?;
        remote.probe().await;
        Some(remote.state())
    }

    /// Sets the gauges.
    pub(crate) async fn measure(&self) {
        let (entries, bytes) = self.local.figures().await;
        metrics::gauge!(ENTRIES).set(entries as f64);
        metrics::gauge!(BYTES).set(bytes as f64);
    }

    /// What is kept under `key`, if it may be shown to a reader who has `seen` this; else what `compute` gives, which is
    /// asked once however many wait for it.
    pub(crate) async fn get_or_compute<E, F>(
        &self,
        key: Key,
        seen: Option<Bookmark>,
        compute: impl FnOnce() -> F,
    ) -> Result<Served, E>
    where
        F: Future<Output = Result<Computed, E>>,
    {
        let floors = self.floors.of(&key.institute);
        let known = floors.catch_up(seen).await;
        let admit = |entry: Arc<Entry>| -> Option<Served> {
            let bookmark = floors.admit(&entry, seen, unix_ms()).filter(|_| known)?;
            Some(Served { content: Arc::clone(&entry.content), bookmark })
        };
        if let Some(served) = self.local.get(&key.text).await.and_then(admit) {
            count(&key, "local", "hit");
            return Ok(served);
        }
        count(&key, "local", "miss");
        let flight = match self.flights.join(&key.text) {
            Place::Leader(flight) => Some(flight),
            Place::Follower(landing) => {
                if let Some(served) = landing.await.and_then(admit) {
                    count(&key, "flight", "hit");
                    return Ok(served);
                }
                // It landed too early for this reader, or not at all: it computes by itself, and nobody waits in line.
                None
            }
        };
        if flight.is_some()
            && let Some(entry) = self.fetch(&key, &floors).await
            && let Some(served) = admit(Arc::clone(&entry))
        {
            self.local.put(Arc::clone(&key.text), Arc::clone(&entry)).await;
            flight.into_iter().for_each(|flight| flight.land(Arc::clone(&entry)));
            return Ok(served);
        }
        let computed = compute().await?;
        count(&key, "store", "hit");
        let bookmark = computed.bookmark;
        let entry = Arc::new(Entry::new(computed, key.strategy.time_to_live(), unix_ms()));
        let content = Arc::clone(&entry.content);
        // The rule holds for filling too: what a commit has overtaken meanwhile is kept nowhere.
        if floors.admit(&entry, None, unix_ms()).is_some() {
            self.local.put(Arc::clone(&key.text), Arc::clone(&entry)).await;
            if let Some(remote) = &self.remote {
                remote.put(&key.text, Arc::clone(&entry));
            }
        }
        flight.into_iter().for_each(|flight| flight.land(Arc::clone(&entry)));
        Ok(Served { content, bookmark })
    }

    /// What Redis has; it is not admitted yet.
    async fn fetch(&self, key: &Key, floors: &floors::Floors) -> Option<Arc<Entry>> {
        let remote = self.remote.as_ref()?;
        let found = remote.get(&key.text).await;
        let Some(entry) = found.map(Arc::new) else {
            count(key, "redis", "miss");
            return None;
        };
        // Another origin may be ahead of what this one has heard; a revision that is not there at all is of another
        // history.
        let real = floors.reaches(entry.bookmark) || {
            floors.catch_up_to_store().await;
            floors.reaches(entry.bookmark)
        };
        let usable = real && floors.admit(&entry, None, unix_ms()).is_some();
        count(key, "redis", if usable { "hit" } else { "stale" });
        usable.then_some(entry)
    }
}

fn count(key: &Key, layer: &'static str, outcome: &'static str) {
    metrics::counter!(REQUESTS, "layer" => layer, "strategy" => key.strategy.prefix(), "outcome" => outcome)
        .increment(1);
}

/// Says what the metrics of the cache mean, to whoever collects them.
pub(crate) fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge};
    describe_counter!(REQUESTS, "What the layers of the cache answered, by layer, strategy and outcome.");
    describe_gauge!(ENTRIES, "Entries in this process's memory.");
    describe_gauge!(BYTES, Unit::Bytes, "Their size.");
    remote::describe();
}
