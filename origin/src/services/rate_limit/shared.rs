//! What origins count together.

use super::{BucketName, Limit};
use crate::services::cache::Cache;
use crate::store::{NO_INSTITUTE, Store, StoreError};
use redis::Value;

/// Puts one more attempt into a bucket, which is full again later by that, and forgets the bucket when it is full. Says
/// when it is full instead, if that is so far away that no attempt is left.
const RESERVE: &str = "local now = tonumber(ARGV[1])
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
if full - now > tonumber(ARGV[3]) then return string.format('%.0f', full) end
full = full + ARGV[2]
redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', string.format('%.0f', full - now))
return false";
/// Takes one attempt out of a bucket.
const GIVE_BACK: &str = "local full = tonumber(redis.call('GET', KEYS[1]) or ARGV[1]) - ARGV[2]
local left = full - ARGV[1]
if left < 1 then redis.call('DEL', KEYS[1])
else redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', string.format('%.0f', left)) end
return false";

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

    /// Counts an attempt in all of the buckets, or in none: how long to wait then, in milliseconds. 0 too when nobody can
    /// say.
    pub(super) async fn reserve(&self, buckets: Vec<(BucketName, &'static Limit)>, now: i64) -> i64 {
        match self {
            #[cfg(test)]
            Shared::Nobody => 0,
            Shared::Redis(cache) => reserve_in_redis(cache, &buckets, now).await,
            Shared::Store(store) => {
                let reserved = store.write_aside::<_, Refused, _>(NO_INSTITUTE, move |tx| {
                    for (bucket, limit) in buckets {
                        if !tx.count_attempt(&bucket, limit.refill_ms, limit.owed_max_ms(), now)? {
                            return Err(Refused::Wait(limit.wait(tx.bucket_full_at(&bucket)?, now)));
                        }
                    }
                    Ok(())
                });
                match reserved.await {
                    Ok(_) => 0,
                    Err(Refused::Wait(wait)) => wait.max(1),
                    Err(Refused::Store(error)) => told::<i64>(Err(error)).unwrap_or(0),
                }
            }
        }
    }

    /// Takes back what [`Shared::reserve`] counted.
    pub(super) async fn give_back(&self, buckets: Vec<(BucketName, &'static Limit)>, now: i64) {
        match self {
            #[cfg(test)]
            Shared::Nobody => {}
            Shared::Redis(cache) => give_back_in_redis(cache, &buckets, now).await,
            Shared::Store(store) => {
                let given = store.write_aside::<_, StoreError, _>(NO_INSTITUTE, move |tx| {
                    buckets
                        .iter()
                        .try_for_each(|(bucket, limit)| tx.give_attempt_back(bucket, limit.refill_ms))
                });
                told(given.await.map(drop));
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

/// Why a transaction that counts attempts undoes them.
enum Refused {
    /// In milliseconds.
    Wait(i64),
    Store(StoreError),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Refused::Store(error)
    }
}

/// One bucket after the other: in a cluster they are on different servers.
async fn reserve_in_redis(cache: &Cache, buckets: &[(BucketName, &'static Limit)], now: i64) -> i64 {
    for (counted, (bucket, limit)) in buckets.iter().enumerate() {
        let (refill, owed_max) = (limit.refill_ms, limit.owed_max_ms());
        let reserve =
            |key| redis::cmd("EVAL").arg(RESERVE).arg(1).arg(key).arg(now).arg(refill).arg(owed_max).take();
        let full_at = cache.ask_remote(&key(bucket), reserve).await.and_then(read);
        let wait = full_at.map_or(0, |full_at| limit.wait(Some(full_at), now));
        if wait > 0 {
            give_back_in_redis(cache, &buckets[..counted], now).await;
            return wait;
        }
    }
    0
}

async fn give_back_in_redis(cache: &Cache, buckets: &[(BucketName, &'static Limit)], now: i64) {
    for (bucket, limit) in buckets {
        let refill = limit.refill_ms;
        let give_back = |key| redis::cmd("EVAL").arg(GIVE_BACK).arg(1).arg(key).arg(now).arg(refill).take();
        cache.ask_remote(&key(bucket), give_back).await;
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
