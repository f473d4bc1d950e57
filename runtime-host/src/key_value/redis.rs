//! A store in Redis. Keys are Redis' keys, without a prefix, as Spin has them, so that both can use one server.

use super::{KeyValueError, check};
use crate::limits;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{AsyncCommands as _, Client, RedisError, RedisResult, Script, cmd, pipe};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Connects when it is used first, and again whenever the connection is gone.
#[derive(Clone)]
pub struct RedisStore {
    connection: ConnectionManager,
    /// Without user and password.
    server: String,
    /// Bounds the values that are on their way from the server.
    reads: Arc<Semaphore>,
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis at {}", self.server)
    }
}

impl From<RedisError> for KeyValueError {
    fn from(error: RedisError) -> Self {
        Self::Redis(error)
    }
}

/// Compares and sets in one step: `[set]`, or `[other, VALUE]` with what is there instead, or `[long]` when that is too long.
const SWAP: &str = "
local found = redis.call('GET', KEYS[1])
local expected = false
if ARGV[1] == '1' then expected = ARGV[2] end
if found ~= expected then
    if found and #found > tonumber(ARGV[4]) then return {'long'} end
    return {'other', found}
end
redis.call('SET', KEYS[1], ARGV[3])
return {'set'}
";

impl RedisStore {
    /// Needs an asynchronous runtime, in which the connection lives.
    pub fn new(url: &str) -> RedisResult<Self> {
        let client = Client::open(url)?;
        let server = client.get_connection_info().addr().to_string();
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(limits::REDIS_RETRIES)
            .set_max_delay(limits::REDIS_RETRY_DELAY)
            .set_connection_timeout(Some(limits::OUTBOUND_CONNECT_TIMEOUT))
            .set_response_timeout(Some(limits::REDIS_RESPONSE_TIMEOUT))
            .set_concurrency_limit(limits::OUTBOUND_REQUESTS);
        let reads = Arc::new(Semaphore::new(limits::REDIS_READS));
        Ok(Self { connection: ConnectionManager::new_lazy_with_config(client, config)?, server, reads })
    }

    /// The host and port, for people.
    pub fn server(&self) -> &str {
        &self.server
    }

    fn connection(&self) -> ConnectionManager {
        self.connection.clone()
    }

    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, KeyValueError> {
        let _room = self.reads.acquire().await.map_err(|_| KeyValueError::Stopped)?;
        // No more of a value than may be is fetched: whoever else uses the server may have stored a gigabyte.
        let mut both = pipe();
        both.atomic().exists(key);
        both.cmd("GETRANGE").arg(key).arg(0).arg(limits::MAX_VALUE_BYTES);
        let (exists, value): (bool, Vec<u8>) = both.query_async(&mut self.connection()).await?;
        match (exists, value.len() > limits::MAX_VALUE_BYTES) {
            (false, _) => Ok(None),
            (true, true) => Err(KeyValueError::StoredTooLong),
            (true, false) => Ok(Some(value)),
        }
    }

    pub async fn exists(&self, key: &str) -> Result<bool, KeyValueError> {
        Ok(self.connection().exists(key).await?)
    }

    /// In order, as the other stores have them.
    pub async fn keys(&self) -> Result<Vec<String>, KeyValueError> {
        // Not KEYS, which stops the server for everybody until it has been through all.
        let (mut cursor, mut found, mut bytes) = (0_u64, BTreeSet::new(), 0);
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(cursor).arg("COUNT").arg(limits::REDIS_SCAN_COUNT);
            let (next, keys): (u64, Vec<Vec<u8>>) = scan.query_async(&mut self.connection()).await?;
            // What is no text was not stored through this interface.
            for key in keys.into_iter().filter_map(|key| String::from_utf8(key).ok()) {
                let length = key.len();
                bytes += if found.insert(key) { length } else { 0 };
            }
            if found.len() > limits::LISTED_KEYS || bytes > limits::LISTED_KEY_BYTES {
                return Err(KeyValueError::TooManyKeys);
            }
            if next == 0 {
                return Ok(found.into_iter().collect());
            }
            cursor = next;
        }
    }

    /// All of them or, when one is refused, none.
    pub async fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<(), KeyValueError> {
        pairs.iter().try_for_each(|(key, value)| check(key, value))?;
        if pairs.is_empty() {
            return Ok(());
        }
        Ok(self.connection().mset(&pairs).await?)
    }

    pub async fn delete_many(&self, keys: Vec<String>) -> Result<(), KeyValueError> {
        if keys.is_empty() {
            return Ok(());
        }
        Ok(self.connection().del(keys).await?)
    }

    pub async fn increment(&self, key: String, delta: i64) -> Result<i64, KeyValueError> {
        check(&key, &[])?;
        let sum: RedisResult<i64> = self.connection().incr(&key, delta).await;
        sum.map_err(|error| match error.detail().unwrap_or_default() {
            detail if detail.contains("not an integer") => KeyValueError::NoNumber(key),
            detail if detail.contains("overflow") => KeyValueError::Overflow(key),
            _ => error.into(),
        })
    }

    pub async fn swap(
        &self,
        key: String,
        seen: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<Option<Option<Vec<u8>>>, KeyValueError> {
        check(&key, &value)?;
        let script = Script::new(SWAP);
        let mut call = script.key(key);
        call.arg(u8::from(seen.is_some())).arg(seen.unwrap_or_default()).arg(value);
        call.arg(limits::MAX_VALUE_BYTES);
        let answer: Vec<Option<Vec<u8>>> = call.invoke_async(&mut self.connection()).await?;
        let word = |word: &Option<Vec<u8>>| word.as_deref() == Some(b"set");
        match &answer[..] {
            [taken] if word(taken) => Ok(None),
            [_, found] => Ok(Some(found.clone())),
            _ => Err(KeyValueError::StoredTooLong),
        }
    }
}
