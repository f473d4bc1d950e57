//! The layer in this process's memory.

use super::Entry;
use moka::future::Cache;
use std::sync::Arc;
use std::time::Duration;

/// Longest that anything is kept that nobody asks for: no strategy's time to live is longer.
const KEPT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Bounded in bytes, and so in entries, each of which weighs half a kilobyte at least. What is asked for often stays.
#[derive(Clone)]
pub(super) struct Local {
    entries: Cache<Arc<str>, Arc<Entry>>,
}

impl Local {
    pub(super) fn new(bytes: u64) -> Self {
        let weigh = |key: &Arc<str>, entry: &Arc<Entry>| {
            u32::try_from(2 * key.len() + entry.bytes()).unwrap_or(u32::MAX)
        };
        let entries = Cache::builder().max_capacity(bytes).weigher(weigh).time_to_live(KEPT_MAX).build();
        Self { entries }
    }

    pub(super) async fn get(&self, key: &Arc<str>) -> Option<Arc<Entry>> {
        self.entries.get(key).await
    }

    pub(super) async fn put(&self, key: Arc<str>, entry: Arc<Entry>) {
        self.entries.insert(key, entry).await;
    }

    /// Entries and bytes, about: what was put in last may not be counted yet.
    pub(super) async fn figures(&self) -> (u64, u64) {
        self.entries.run_pending_tasks().await;
        (self.entries.entry_count(), self.entries.weighted_size())
    }
}
