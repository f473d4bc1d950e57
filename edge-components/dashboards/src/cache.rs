//! The key-value store as the cache of one view.
//!
//! A store that fails costs speed and never an answer: it reads as empty and nothing is kept.

use crate::entry::{Entry, Feed};
use spin_sdk::key_value::Store;

pub(crate) struct Cache {
    store: Option<Store>,
    institute: String,
    key: String,
}

impl Cache {
    pub(crate) async fn open(institute: &str, key: String) -> Self {
        let store = logged("open", Store::open_default().await);
        Self { store, institute: institute.to_owned(), key }
    }

    /// The kept entry, if it is that of `view`: other views may share the key.
    pub(crate) async fn load(&self, view: &str) -> Option<Entry> {
        let bytes = self.get(&self.key).await?;
        let entry = logged("decode an entry", Entry::decode(&bytes))?;
        (entry.head.view == view).then_some(entry)
    }

    pub(crate) async fn feed(&self) -> Option<Feed> {
        let bytes = self.get(&format!("feed/{}", self.institute)).await?;
        logged("decode the state of the feed", serde_json::from_slice(&bytes))
    }

    /// The last commit that touched one of `tags`; 0 when none did.
    pub(crate) async fn highest_floor(&self, tags: &[String]) -> u64 {
        let mut highest = 0;
        for tag in tags {
            let Some(floor) = self.get(&format!("floor/{}/{tag}", self.institute)).await else { continue };
            // A floor that cannot be read hides nothing: it counts as passed by nobody.
            let floor =
                std::str::from_utf8(&floor).ok().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
            highest = highest.max(floor);
        }
        highest
    }

    /// Keeps `entry`, unless a later one of the same view came meanwhile. Says whether it is kept.
    pub(crate) async fn store(&self, entry: &Entry) -> bool {
        let Some(store) = &self.store else { return false };
        let kept = self.load(&entry.head.view).await;
        if kept.is_some_and(|kept| kept.head.bookmark() > entry.head.bookmark()) {
            return false;
        }
        logged("keep an entry", store.set(&self.key, entry.encode()).await).is_some()
    }

    async fn get(&self, key: &str) -> Option<Vec<u8>> {
        logged("get", self.store.as_ref()?.get(key).await).flatten()
    }
}

fn logged<T, E: std::fmt::Display>(what: &str, result: Result<T, E>) -> Option<T> {
    result.inspect_err(|error| eprintln!("cache: {what}: {error}")).ok()
}
