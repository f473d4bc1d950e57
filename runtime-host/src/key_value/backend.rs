//! Where the entries of a store are: the edge's own file, memory, or Redis.

use super::memory::MemoryStore;
use super::redis::RedisStore;
use super::{Gathered, KeyValueError, KeyValueStore, Values};
use crate::limits;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// One store.
#[derive(Clone)]
pub enum Backend {
    /// Under the store's label, beside those of other labels.
    File(KeyValueStore, Arc<str>),
    Memory(Arc<MemoryStore>),
    Redis(RedisStore),
}

/// For people.
impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Backend::File(file, _) => write!(f, "file {}", file.path().display()),
            Backend::Memory(_) => f.write_str("memory"),
            Backend::Redis(redis) => write!(f, "Redis at {}", redis.server()),
        }
    }
}

/// The stores of all labels.
#[derive(Clone)]
pub struct Backends {
    /// For labels that the runtime configuration does not name.
    file: KeyValueStore,
    named: Arc<BTreeMap<String, Backend>>,
}

impl Backends {
    pub fn new(file: KeyValueStore, named: BTreeMap<String, Backend>) -> Self {
        Self { file, named: Arc::new(named) }
    }

    pub fn of(&self, label: &str) -> Backend {
        let named = self.named.get(label).cloned();
        named.unwrap_or_else(|| Backend::File(self.file.clone(), label.into()))
    }
}

impl Backend {
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, KeyValueError> {
        match self {
            Backend::File(file, label) => file.get(label, key),
            Backend::Memory(memory) => Ok(memory.get(key)),
            Backend::Redis(redis) => redis.get(key).await,
        }
    }

    pub async fn exists(&self, key: &str) -> Result<bool, KeyValueError> {
        match self {
            Backend::Redis(redis) => redis.exists(key).await,
            Backend::File(..) | Backend::Memory(_) => Ok(self.get(key).await?.is_some()),
        }
    }

    /// The outer error is a panic of the thread that reads.
    pub async fn keys(self) -> wasmtime::Result<Result<Vec<String>, KeyValueError>> {
        Ok(match self {
            Backend::File(file, label) => tokio::task::spawn_blocking(move || file.keys(&label)).await?,
            Backend::Memory(memory) => memory.keys(),
            Backend::Redis(redis) => redis.keys().await,
        })
    }

    /// The outer error is a panic of the thread that reads.
    pub async fn get_many(self, keys: Vec<String>) -> wasmtime::Result<Result<Values, KeyValueError>> {
        if let Err(error) = few(keys.len()) {
            return Ok(Err(error));
        }
        if let Backend::File(file, label) = self {
            return Ok(tokio::task::spawn_blocking(move || file.get_many(&label, keys)).await?);
        }
        let mut gathered = Gathered::default();
        for key in keys {
            let value = match self.get(&key).await {
                Ok(value) => value,
                Err(error) => return Ok(Err(error)),
            };
            if let Err(error) = gathered.push(key, value) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(gathered.found))
    }

    pub async fn set(&self, key: String, value: Vec<u8>) -> Result<(), KeyValueError> {
        match self {
            Backend::File(file, label) => file.set(label, key, value).await,
            Backend::Memory(_) | Backend::Redis(_) => self.set_many(vec![(key, value)]).await,
        }
    }

    pub async fn delete(&self, key: String) -> Result<(), KeyValueError> {
        self.delete_many(vec![key]).await
    }

    pub async fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<(), KeyValueError> {
        few(pairs.len())?;
        match self {
            Backend::File(file, label) => file.set_many(label, pairs).await,
            Backend::Memory(memory) => memory.set_many(pairs),
            Backend::Redis(redis) => redis.set_many(pairs).await,
        }
    }

    pub async fn delete_many(&self, keys: Vec<String>) -> Result<(), KeyValueError> {
        few(keys.len())?;
        match self {
            Backend::File(file, label) => file.delete_many(label, keys).await,
            Backend::Memory(memory) => {
                memory.delete_many(&keys);
                Ok(())
            }
            Backend::Redis(redis) => redis.delete_many(keys).await,
        }
    }

    /// Adds `delta` to a decimal number, 0 when there is none, and returns the sum.
    pub async fn increment(&self, key: String, delta: i64) -> Result<i64, KeyValueError> {
        match self {
            Backend::File(file, label) => file.increment(label, key, delta).await,
            Backend::Memory(memory) => memory.increment(key, delta),
            Backend::Redis(redis) => redis.increment(key, delta).await,
        }
    }

    /// Sets the value if it still is `seen`; otherwise returns what it is.
    pub async fn swap(
        &self,
        key: String,
        seen: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<Option<Option<Vec<u8>>>, KeyValueError> {
        match self {
            Backend::File(file, label) => file.swap(label, key, seen, value).await,
            Backend::Memory(memory) => memory.swap(key, seen.as_deref(), value),
            Backend::Redis(redis) => redis.swap(key, seen, value).await,
        }
    }
}

/// Refuses a batch that would keep others waiting for too long.
fn few(keys: usize) -> Result<(), KeyValueError> {
    match keys > limits::KEY_VALUE_BATCH_KEYS {
        true => Err(KeyValueError::TooManyAtOnce(keys)),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
