//! The key-value stores: in one SQLite file unless the runtime configuration says otherwise (`backend.rs`). Reads run where they are called; writes go to one thread, which commits all that
//! wait as one, so that a hundred writers wait for one sync of the disk.

mod backend;
mod memory;
mod redis;

pub use self::backend::{Backend, Backends};
pub use self::memory::MemoryStore;
pub use self::redis::RedisStore;

use crate::limits;
use ::redis::RedisError;
use rusqlite::{Connection, OptionalExtension as _, Transaction};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot};

#[derive(Debug, Clone, thiserror::Error)]
pub enum KeyValueError {
    #[error("key is {0} bytes, the limit is {max}", max = limits::MAX_KEY_BYTES)]
    KeyTooLong(usize),
    #[error("value is {0} bytes, the limit is {max}", max = limits::MAX_VALUE_BYTES)]
    ValueTooLong(usize),
    #[error("key-value store: {0}")]
    Sqlite(Arc<rusqlite::Error>),
    #[error("value of `{0}` is no whole number in decimal")]
    NoNumber(String),
    #[error("value of `{0}` would leave the range of 64 bits")]
    Overflow(String),
    #[error("key-value store has stopped")]
    Stopped,
    #[error("the store in memory holds {max} bytes, which is the limit", max = limits::MEMORY_STORE_BYTES)]
    Full,
    #[error("Redis: {0}")]
    Redis(#[source] RedisError),
    #[error("value in Redis is over {max} bytes, which is the limit", max = limits::MAX_VALUE_BYTES)]
    StoredTooLong,
    #[error("the store has over {max} keys, which are too many to list", max = limits::REDIS_KEYS)]
    TooManyKeys,
}

impl From<rusqlite::Error> for KeyValueError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(Arc::new(error))
    }
}

/// Handle to the stores; cheap to clone.
#[derive(Clone)]
pub struct KeyValueStore {
    writes: mpsc::Sender<Write>,
    readers: Arc<Readers>,
}

struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

type Change = Box<dyn FnOnce(&Stores<'_>) -> rusqlite::Result<()> + Send>;

struct Write {
    change: Change,
    done: oneshot::Sender<Result<(), KeyValueError>>,
}

/// All stores within one transaction.
pub struct Stores<'a> {
    transaction: &'a Transaction<'a>,
}

impl Stores<'_> {
    pub fn get(&self, store: &str, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
        get(self.transaction, store, key)
    }

    pub fn set(&self, store: &str, key: &str, value: &[u8]) -> rusqlite::Result<()> {
        let mut statement = self.transaction.prepare_cached(
            "INSERT INTO entry (store, key, value) VALUES (?1, ?2, ?3)
             ON CONFLICT (store, key) DO UPDATE SET value = excluded.value",
        )?;
        statement.execute((store, key, value)).map(drop)
    }

    pub fn delete(&self, store: &str, key: &str) -> rusqlite::Result<()> {
        let mut statement =
            self.transaction.prepare_cached("DELETE FROM entry WHERE store = ?1 AND key = ?2")?;
        statement.execute((store, key)).map(drop)
    }

    /// Keys that begin with `prefix`, in order.
    pub fn keys(&self, store: &str, prefix: &str) -> rusqlite::Result<Vec<String>> {
        keys(self.transaction, store, prefix)
    }
}

fn get(connection: &Connection, store: &str, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    let mut statement = connection.prepare_cached("SELECT value FROM entry WHERE store = ?1 AND key = ?2")?;
    statement.query_row((store, key), |row| row.get(0)).optional()
}

fn keys(connection: &Connection, store: &str, prefix: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare_cached(
        "SELECT key FROM entry WHERE store = ?1 AND key >= ?2 AND substr(key, 1, length(?2)) = ?2 ORDER BY key",
    )?;
    statement.query_map((store, prefix), |row| row.get(0))?.collect()
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(limits::SQLITE_BUSY_TIMEOUT)?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE IF NOT EXISTS entry (
             store TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (store, key)
         ) WITHOUT ROWID;",
    )?;
    Ok(connection)
}

impl KeyValueStore {
    /// Opens the file and starts its writer, which ends when the last handle is gone.
    pub fn open(path: &Path) -> Result<Self, KeyValueError> {
        let mut connection = open(path)?;
        let (writes, mut waiting) = mpsc::channel::<Write>(limits::KEY_VALUE_QUEUE);
        let writer = move || {
            let mut batch = Vec::new();
            while waiting.blocking_recv_many(&mut batch, limits::KEY_VALUE_BATCH) > 0 {
                commit(&mut connection, std::mem::take(&mut batch));
            }
        };
        std::thread::Builder::new()
            .name("key-value".into())
            .spawn(writer)
            .map_err(|_| KeyValueError::Stopped)?;
        let readers = Arc::new(Readers { path: path.to_owned(), idle: Mutex::default() });
        Ok(Self { writes, readers })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.readers.path
    }

    /// Reads one entry: a lookup in an index, so that it may run on an asynchronous thread.
    pub fn get(&self, store: &str, key: &str) -> Result<Option<Vec<u8>>, KeyValueError> {
        self.readers.read(|connection| get(connection, store, key))
    }

    /// Blocks: reads all keys of a store.
    pub fn keys(&self, store: &str) -> Result<Vec<String>, KeyValueError> {
        self.readers.read(|connection| keys(connection, store, ""))
    }

    pub async fn set(&self, store: &str, key: String, value: Vec<u8>) -> Result<(), KeyValueError> {
        check(&key, &value)?;
        let store = store.to_owned();
        self.change(move |stores| stores.set(&store, &key, &value)).await
    }

    /// All of them or, when one is refused, none.
    pub async fn set_many(&self, store: &str, pairs: Vec<(String, Vec<u8>)>) -> Result<(), KeyValueError> {
        pairs.iter().try_for_each(|(key, value)| check(key, value))?;
        let store = store.to_owned();
        self.change(move |stores| pairs.iter().try_for_each(|(key, value)| stores.set(&store, key, value)))
            .await
    }

    pub async fn delete_many(&self, store: &str, keys: Vec<String>) -> Result<(), KeyValueError> {
        let store = store.to_owned();
        self.change(move |stores| keys.iter().try_for_each(|key| stores.delete(&store, key))).await
    }

    /// Adds `delta` to a decimal number, 0 when there is none, and returns the sum.
    pub async fn increment(&self, store: &str, key: String, delta: i64) -> Result<i64, KeyValueError> {
        check(&key, &[])?;
        let store = store.to_owned();
        self.change_with(move |stores| {
            let sum = match added(&key, stores.get(&store, &key)?.as_deref(), delta) {
                Ok(sum) => sum,
                Err(error) => return Ok(Err(error)),
            };
            stores.set(&store, &key, sum.to_string().as_bytes())?;
            Ok(Ok(sum))
        })
        .await?
    }

    /// Sets the value if it still is `seen`; otherwise returns what it is.
    pub async fn swap(
        &self,
        store: &str,
        key: String,
        seen: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<Option<Option<Vec<u8>>>, KeyValueError> {
        check(&key, &value)?;
        let store = store.to_owned();
        self.change_with(move |stores| {
            let found = stores.get(&store, &key)?;
            if found != seen {
                return Ok(Some(found));
            }
            stores.set(&store, &key, &value)?;
            Ok(None)
        })
        .await
    }

    pub async fn delete(&self, store: &str, key: String) -> Result<(), KeyValueError> {
        let store = store.to_owned();
        self.change(move |stores| stores.delete(&store, &key)).await
    }

    /// [`Self::change`] with a result.
    async fn change_with<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Stores<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, KeyValueError> {
        let (result, changed) = oneshot::channel();
        self.change(move |stores| {
            // Nobody waits when the guest is gone; the change stands.
            let _ = result.send(change(stores)?);
            Ok(())
        })
        .await?;
        changed.await.map_err(|_| KeyValueError::Stopped)
    }

    /// Runs `change` in a transaction, whole or not at all, and returns when it is on disk.
    pub async fn change(
        &self,
        change: impl FnOnce(&Stores<'_>) -> rusqlite::Result<()> + Send + 'static,
    ) -> Result<(), KeyValueError> {
        let (done, outcome) = oneshot::channel();
        let write = Write { change: Box::new(change), done };
        self.writes.send(write).await.map_err(|_| KeyValueError::Stopped)?;
        outcome.await.map_err(|_| KeyValueError::Stopped)?
    }
}

/// The number that a value of `key` becomes; none counts as 0.
fn added(key: &str, value: Option<&[u8]>, delta: i64) -> Result<i64, KeyValueError> {
    let number = match value {
        None => Some(0),
        Some(value) => std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok()),
    };
    let number = number.ok_or_else(|| KeyValueError::NoNumber(key.to_owned()))?;
    number.checked_add(delta).ok_or_else(|| KeyValueError::Overflow(key.to_owned()))
}

fn check(key: &str, value: &[u8]) -> Result<(), KeyValueError> {
    if key.len() > limits::MAX_KEY_BYTES {
        return Err(KeyValueError::KeyTooLong(key.len()));
    }
    if value.len() > limits::MAX_VALUE_BYTES {
        return Err(KeyValueError::ValueTooLong(value.len()));
    }
    Ok(())
}

impl Readers {
    fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, KeyValueError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open(&self.path)?,
        };
        let result = read(&connection)?;
        // As many as there were readers at once: one for each asynchronous thread, and the blocking ones for `keys`.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(result)
    }
}

/// Commits `batch` as one; a change that fails is undone alone.
fn commit(connection: &mut Connection, batch: Vec<Write>) {
    let mut waiting = Vec::with_capacity(batch.len());
    let result = (|| -> rusqlite::Result<()> {
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for write in batch {
            transaction.execute_batch("SAVEPOINT change")?;
            let result = (write.change)(&Stores { transaction: &transaction });
            if result.is_err() {
                transaction.execute_batch("ROLLBACK TO change")?;
            }
            transaction.execute_batch("RELEASE change")?;
            waiting.push((write.done, result.map_err(KeyValueError::from)));
        }
        transaction.commit()
    })();
    let failed = result.map_err(KeyValueError::from).err();
    for (done, result) in waiting {
        // Nobody waits when the guest is gone; the write stands.
        let _ = done.send(match &failed {
            Some(error) => Err(error.clone()),
            None => result,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, KeyValueStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = KeyValueStore::open(&folder.path().join("key-value.db")).unwrap();
        (folder, store)
    }

    #[tokio::test]
    async fn what_is_set_is_found_in_its_own_store_and_after_a_reopen() {
        let (folder, store) = store();
        store.set("default", "k".into(), b"v".to_vec()).await.unwrap();
        store.set("default", "k".into(), b"w".to_vec()).await.unwrap();
        assert_eq!(store.get("default", "k").unwrap(), Some(b"w".to_vec()));
        assert_eq!(store.get("other", "k").unwrap(), None);
        assert_eq!(store.keys("default").unwrap(), ["k"]);
        drop(store);
        let store = KeyValueStore::open(&folder.path().join("key-value.db")).unwrap();
        assert_eq!(store.get("default", "k").unwrap(), Some(b"w".to_vec()));
        store.delete("default", "k".into()).await.unwrap();
        assert_eq!(store.get("default", "k").unwrap(), None);
    }

    #[tokio::test]
    async fn a_batch_is_set_whole_or_not_at_all() {
        let (_folder, store) = store();
        let pairs = |names: &[&str]| names.iter().map(|name| (name.to_string(), b"v".to_vec())).collect();
        store.set_many("s", pairs(&["a", "b", "c"])).await.unwrap();
        let long = "k".repeat(limits::MAX_KEY_BYTES + 1);
        let error = store.set_many("s", pairs(&["d", &long])).await.unwrap_err();
        assert!(matches!(error, KeyValueError::KeyTooLong(_)));
        store.delete_many("s", vec!["a".into(), "never".into()]).await.unwrap();
        assert_eq!(store.keys("s").unwrap(), ["b", "c"]);
    }

    #[tokio::test]
    async fn increments_at_once_all_count_and_only_numbers_are_incremented() {
        let (_folder, store) = store();
        let increments = (0..50).map(|_| store.increment("s", "n".into(), 2));
        futures_util::future::try_join_all(increments).await.unwrap();
        assert_eq!(store.get("s", "n").unwrap(), Some(b"100".to_vec()));
        assert_eq!(store.increment("s", "n".into(), -101).await.unwrap(), -1);
        store.set("s", "n".into(), b"9223372036854775807".to_vec()).await.unwrap();
        let error = store.increment("s", "n".into(), 1).await.unwrap_err();
        assert!(matches!(error, KeyValueError::Overflow(_)), "{error}");
        store.set("s", "n".into(), b"seven".to_vec()).await.unwrap();
        let error = store.increment("s", "n".into(), 1).await.unwrap_err();
        assert!(matches!(error, KeyValueError::NoNumber(_)), "{error}");
    }

    #[tokio::test]
    async fn of_swaps_that_saw_the_same_value_one_succeeds() {
        let (_folder, store) = store();
        let swaps = (0..20).map(|n: u8| store.swap("s", "k".into(), None, vec![n]));
        let results = futures_util::future::try_join_all(swaps).await.unwrap();
        assert_eq!(results.iter().filter(|result| result.is_none()).count(), 1);
        let now = store.get("s", "k").unwrap();
        assert!(results.iter().flatten().all(|found| *found == now));
        assert_eq!(store.swap("s", "k".into(), now, b"next".to_vec()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_change_that_fails_is_undone_alone() {
        let (_folder, store) = store();
        let bad = store.change(|stores| {
            stores.set("s", "bad", b"1")?;
            Err(rusqlite::Error::InvalidQuery)
        });
        let good = store.set("s", "good".into(), b"2".to_vec());
        let (bad, good) = tokio::join!(bad, good);
        assert!(matches!(bad, Err(KeyValueError::Sqlite(_))));
        good.unwrap();
        assert_eq!(store.keys("s").unwrap(), ["good"]);
    }

    #[tokio::test]
    async fn keys_with_a_prefix_are_found_whatever_follows() {
        let (_folder, store) = store();
        for key in ["a", "feed/a", "feed/z%_", "feed0", "floor/a"] {
            store.set("s", key.into(), vec![]).await.unwrap();
        }
        let check = |stores: &Stores<'_>| {
            assert_eq!(stores.keys("s", "feed/")?, ["feed/a", "feed/z%_"]);
            Ok(())
        };
        store.change(check).await.unwrap();
    }

    #[tokio::test]
    async fn long_keys_and_values_are_refused_with_their_length() {
        let (_folder, store) = store();
        let error = store.set("s", "k".repeat(1025), vec![]).await.unwrap_err();
        assert_eq!(error.to_string(), "key is 1025 bytes, the limit is 1024");
        let error = store.set("s", "k".into(), vec![0; limits::MAX_VALUE_BYTES + 1]).await.unwrap_err();
        assert!(matches!(error, KeyValueError::ValueTooLong(_)));
    }
}
