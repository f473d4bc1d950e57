//! What the cache may rely on: for each institute whether its feed is linked, and for each tag the last commit that touched it.
//!
//! Kept in the key-value store that the caching component reads, as `feed/INSTITUTE` and `floor/INSTITUTE/TAG`.

use crate::key_value::{KeyValueError, KeyValueStore, Stores};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use sync_protocol::link::{Feed, Following};

const FEED_PREFIX: &str = "feed/";

/// The value of `feed/INSTITUTE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct FeedRecord {
    /// The feed runs, so that every commit raises its floors within moments.
    linked: bool,
    epoch: u64,
    /// Before this revision commits may have gone unseen: what is older is not fresh.
    base: u64,
}

/// Writes the state of the feeds.
pub struct FeedState {
    stores: KeyValueStore,
    store: String,
    /// Where this process began to see each institute's commits without a gap: (epoch, base).
    seen: Mutex<HashMap<String, (u64, u64)>>,
}

fn floor_prefix(institute: &str) -> String {
    format!("floor/{institute}/")
}

fn encode(record: FeedRecord) -> Vec<u8> {
    serde_json::to_vec(&record).expect("a bool and two numbers are always JSON")
}

impl FeedState {
    pub fn new(stores: KeyValueStore, store: String) -> Self {
        Self { stores, store, seen: Mutex::default() }
    }

    /// No feed is linked: at the start, whatever an earlier process left, and whenever the link is gone.
    pub async fn unlink_all(&self) -> Result<(), KeyValueError> {
        let store = self.store.clone();
        self.stores
            .change(move |stores| {
                for key in stores.keys(&store, FEED_PREFIX)? {
                    let value = stores.get(&store, &key)?.unwrap_or_default();
                    // An unreadable record cannot be trusted; without one the feed counts as not linked.
                    match serde_json::from_slice::<FeedRecord>(&value) {
                        Ok(record) => {
                            stores.set(&store, &key, &encode(FeedRecord { linked: false, ..record }))?
                        }
                        Err(_) => stores.delete(&store, &key)?,
                    }
                }
                Ok(())
            })
            .await
    }

    /// The institute's feed runs from here on.
    pub async fn following(&self, following: &Following) -> Result<(), KeyValueError> {
        let start = (following.epoch, following.revision);
        let (epoch, base) = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let known = seen.get(&following.institute).copied();
            let gapless = known.filter(|(epoch, _)| !following.reset && *epoch == following.epoch);
            let start = gapless.unwrap_or(start);
            seen.insert(following.institute.clone(), start);
            start
        };
        let (store, institute, reset) = (self.store.clone(), following.institute.clone(), following.reset);
        self.stores
            .change(move |stores| {
                if reset {
                    // Floors of another history would hold back what is fresh in this one.
                    for key in stores.keys(&store, &floor_prefix(&institute))? {
                        stores.delete(&store, &key)?;
                    }
                }
                let key = format!("{FEED_PREFIX}{institute}");
                stores.set(&store, &key, &encode(FeedRecord { linked: true, epoch, base }))
            })
            .await
    }

    /// A commit: what carries one of its tags and is older is stale.
    pub async fn commit(&self, feed: &Feed) -> Result<(), KeyValueError> {
        let (store, prefix) = (self.store.clone(), floor_prefix(&feed.institute));
        let (tags, revision) = (feed.tags.clone(), feed.revision);
        self.stores
            .change(move |stores| {
                tags.iter().try_for_each(|tag| raise(stores, &store, &format!("{prefix}{tag}"), revision))
            })
            .await
    }
}

/// Messages of the link may come twice, so a floor never falls.
fn raise(stores: &Stores<'_>, store: &str, key: &str, revision: u64) -> rusqlite::Result<()> {
    let floor = stores.get(store, key)?;
    let floor = floor.and_then(|floor| String::from_utf8(floor).ok()?.parse::<u64>().ok());
    if floor.is_none_or(|floor| floor < revision) {
        stores.set(store, key, revision.to_string().as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTITUTE: &str = "northside.example";

    fn state() -> (tempfile::TempDir, KeyValueStore, FeedState) {
        let folder = tempfile::tempdir().unwrap();
        let stores = KeyValueStore::open(&folder.path().join("key-value.db")).unwrap();
        (folder, stores.clone(), FeedState::new(stores, "default".into()))
    }

    fn following(revision: u64, epoch: u64, reset: bool) -> Following {
        let (institute, log) = (INSTITUTE.to_owned(), String::new());
        Following { institute, epoch, revision, log, acknowledged: 0, reset, gossip: false }
    }

    fn commit(revision: u64, tags: &[&str]) -> Feed {
        let tags = tags.iter().map(|tag| tag.to_string()).collect();
        Feed { institute: INSTITUTE.into(), revision, tags, documents: vec![], members: vec![] }
    }

    fn read(stores: &KeyValueStore, key: &str) -> Option<String> {
        stores.get("default", key).unwrap().map(|value| String::from_utf8(value).unwrap())
    }

    #[tokio::test]
    async fn the_base_is_where_this_process_began_and_stays_over_a_break() {
        let (_folder, stores, state) = state();
        let key = "feed/northside.example";
        state.following(&following(5, 1, false)).await.unwrap();
        assert_eq!(read(&stores, key).unwrap(), r#"{"linked":true,"epoch":1,"base":5}"#);
        state.unlink_all().await.unwrap();
        assert_eq!(read(&stores, key).unwrap(), r#"{"linked":false,"epoch":1,"base":5}"#);
        state.following(&following(9, 1, false)).await.unwrap();
        assert_eq!(read(&stores, key).unwrap(), r#"{"linked":true,"epoch":1,"base":5}"#);
        let restarted = FeedState::new(stores.clone(), "default".into());
        restarted.following(&following(9, 1, false)).await.unwrap();
        assert_eq!(read(&stores, key).unwrap(), r#"{"linked":true,"epoch":1,"base":9}"#);
    }

    #[tokio::test]
    async fn floors_rise_with_commits_never_fall_and_go_with_their_history() {
        let (_folder, stores, state) = state();
        state.following(&following(5, 1, false)).await.unwrap();
        state.commit(&commit(6, &["batch:B1", "institute"])).await.unwrap();
        state.commit(&commit(7, &["institute"])).await.unwrap();
        state.commit(&commit(6, &["batch:B1", "institute"])).await.unwrap();
        assert_eq!(read(&stores, "floor/northside.example/batch:B1").unwrap(), "6");
        assert_eq!(read(&stores, "floor/northside.example/institute").unwrap(), "7");
        state.following(&following(2, 2, true)).await.unwrap();
        assert_eq!(read(&stores, "floor/northside.example/institute"), None);
        assert_eq!(read(&stores, "feed/northside.example").unwrap(), r#"{"linked":true,"epoch":2,"base":2}"#);
    }
}
