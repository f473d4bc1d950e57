//! What origins count together.

use super::BucketName;
use crate::services::cache::Cache;
use crate::store::{NO_INSTITUTE, Store, StoreError};
use redis::Value;

/// Puts one more attempt into a bucket, which is full again later by that, and forgets the bucket when it is full.
const COUNT: &str =
    "local full = math.max(tonumber(redis.call('GET', KEYS[1]) or ARGV[1]), tonumber(ARGV[1])) + ARGV[2]
redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', string.format('%.0f', full - ARGV[1]))";

/// Who counts for all origins.
#[derive(Clone)]
pub(crate) enum Shared {
    #[cfg(test)]
    Nobody,
    /// Its Redis. What it evicts is forgotten.
    Redis(Cache),
    Store(Store),
}

impl Shared {
    /// Redis where there is one, else the store.
    pub(crate) fn of(cache: &Cache, store: &Store) -> Self {
        if cache.has_remote() { Self::Redis(cache.clone()) } else { Self::Store(store.clone()) }
    }

    /// When each of the buckets is full again (Unix milliseconds); none when nobody can say.
    pub(super) async fn full_at(&self, buckets: Vec<BucketName>) -> Option<Vec<Option<i64>>> {
        match self {
            #[cfg(test)]
            Shared::Nobody => None,
            Shared::Redis(cache) => {
                let mut full_at = Vec::new();
                for bucket in &buckets {
                    let ask = |key| redis::cmd("GET").arg(key).take();
                    full_at.push(read(cache.ask_remote(&key(bucket), ask).await?));
                }
                Some(full_at)
            }
            Shared::Store(store) => {
                let read = store.write_aside::<_, StoreError, _>(NO_INSTITUTE, move |tx| {
                    buckets.iter().map(|bucket| tx.bucket_full_at(bucket)).collect::<Result<_, _>>()
                });
                told(read.await.map(|read| read.value))
            }
        }
    }

    /// Counts an attempt in each of the buckets, which take so many milliseconds to forget it.
    pub(super) async fn count(&self, buckets: Vec<(BucketName, i64)>, now: i64) {
        match self {
            #[cfg(test)]
            Shared::Nobody => {}
            Shared::Redis(cache) => {
                for (bucket, refill_ms) in &buckets {
                    let count =
                        |key| redis::cmd("EVAL").arg(COUNT).arg(1).arg(key).arg(now).arg(*refill_ms).take();
                    cache.ask_remote(&key(bucket), count).await;
                }
            }
            Shared::Store(store) => {
                let counted = store.write_aside::<_, StoreError, _>(NO_INSTITUTE, move |tx| {
                    buckets
                        .iter()
                        .try_for_each(|(bucket, refill_ms)| tx.count_attempt(bucket, *refill_ms, now))
                });
                told(counted.await.map(drop));
            }
        }
    }

    pub(super) async fn forget(&self, bucket: BucketName) {
        match self {
            #[cfg(test)]
            Shared::Nobody => {}
            Shared::Redis(cache) => {
                cache.ask_remote(&key(&bucket), |key| redis::cmd("DEL").arg(key).take()).await;
            }
            Shared::Store(store) => {
                let forgotten = store
                    .write_aside::<_, StoreError, _>(NO_INSTITUTE, move |tx| tx.forget_attempts(&bucket));
                told(forgotten.await.map(drop));
            }
        }
    }
}

fn key(bucket: &BucketName) -> String {
    format!("attempts|{}", hex::encode(bucket))
}

fn read(value: Value) -> Option<i64> {
    let Value::BulkString(bytes) = value else { return None };
    str::from_utf8(&bytes).ok()?.parse().ok()
}

/// Without the store each origin counts for itself.
fn told<T>(outcome: Result<T, StoreError>) -> Option<T> {
    outcome.inspect_err(|error| tracing::warn!(%error, "attempts are counted by this process alone")).ok()
}
