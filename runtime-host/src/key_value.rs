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
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
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
    #[error("the store may hold {0} bytes, and has no room for that")]
    Full(u64),
    #[error("Redis: {0}")]
    Redis(#[source] RedisError),
    #[error("value in Redis is over {max} bytes, which is the limit", max = limits::MAX_VALUE_BYTES)]
    StoredTooLong,
    #[error(
        "the store's keys are over {} or {} bytes, which are too many to list",
        limits::LISTED_KEYS,
        limits::LISTED_KEY_BYTES
    )]
    TooManyKeys,
    #[error("one call has {0} keys, the limit is {max}", max = limits::KEY_VALUE_BATCH_KEYS)]
    TooManyAtOnce(usize),
    #[error("the values of one call are over {max} bytes together", max = limits::KEY_VALUE_BATCH_BYTES)]
    TooMuchAtOnce,
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

type Change = Box<dyn FnOnce(&Stores<'_>) -> Result<(), KeyValueError> + Send>;

struct Write {
    change: Change,
    done: oneshot::Sender<Result<(), KeyValueError>>,
}

/// All stores within one transaction.
pub struct Stores<'a> {
    transaction: &'a Transaction<'a>,
    /// As it was before this change.
    usage: &'a Usage,
    /// What this change adds to it.
    added: RefCell<Added>,
}

/// Bytes of keys and values by store, and how many one may hold.
struct Usage {
    by_store: BTreeMap<String, i64>,
    most: u64,
}

/// Bytes that stores get more, by their names.
type Added = BTreeMap<String, i64>;

fn add(to: &mut BTreeMap<String, i64>, store: &str, bytes: i64) {
    match to.get_mut(store) {
        Some(sum) => *sum += bytes,
        None => drop(to.insert(store.to_owned(), bytes)),
    }
}

impl Stores<'_> {
    pub fn get(&self, store: &str, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
        get(self.transaction, store, key)
    }

    pub fn set(&self, store: &str, key: &str, value: &[u8]) -> rusqlite::Result<()> {
        let before = self.entry_bytes(store, key)?;
        add(&mut self.added.borrow_mut(), store, (key.len() + value.len()) as i64 - before);
        let mut statement = self.transaction.prepare_cached(
            "INSERT INTO entry (store, key, value) VALUES (?1, ?2, ?3)
             ON CONFLICT (store, key) DO UPDATE SET value = excluded.value",
        )?;
        statement.execute((store, key, value)).map(drop)
    }

    pub fn delete(&self, store: &str, key: &str) -> rusqlite::Result<()> {
        add(&mut self.added.borrow_mut(), store, -self.entry_bytes(store, key)?);
        let mut statement =
            self.transaction.prepare_cached("DELETE FROM entry WHERE store = ?1 AND key = ?2")?;
        statement.execute((store, key)).map(drop)
    }

    /// Of the key and the value that are there; 0 when there is none.
    fn entry_bytes(&self, store: &str, key: &str) -> rusqlite::Result<i64> {
        let mut statement = self
            .transaction
            .prepare_cached("SELECT length(value) FROM entry WHERE store = ?1 AND key = ?2")?;
        let value: Option<i64> = statement.query_row((store, key), |row| row.get(0)).optional()?;
        Ok(value.map_or(0, |value| value + key.len() as i64))
    }

    /// Refuses a change by which a store grows beyond what it may hold. The host's own are not asked.
    fn check_room(&self, store: &str) -> Result<(), KeyValueError> {
        let added = self.added.borrow().get(store).copied().unwrap_or(0);
        let after = self.usage.by_store.get(store).copied().unwrap_or(0) + added;
        match added > 0 && u64::try_from(after).is_ok_and(|after| after > self.usage.most) {
            true => Err(KeyValueError::Full(self.usage.most)),
            false => Ok(()),
        }
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

/// None when they are more than are listed.
fn listed_keys(connection: &Connection, store: &str) -> rusqlite::Result<Option<Vec<String>>> {
    let mut statement = connection.prepare_cached("SELECT key FROM entry WHERE store = ?1 ORDER BY key")?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    let mut rows = statement.query((store,))?;
    while let Some(row) = rows.next()? {
        let key: String = row.get(0)?;
        bytes += key.len();
        if found.len() >= limits::LISTED_KEYS || bytes > limits::LISTED_KEY_BYTES {
            return Ok(None);
        }
        found.push(key);
    }
    Ok(Some(found))
}

/// Values of keys in their order.
pub type Values = Vec<(String, Option<Vec<u8>>)>;

/// Gathers values until they are too many bytes together.
#[derive(Default)]
struct Gathered {
    found: Values,
    bytes: usize,
}

impl Gathered {
    fn push(&mut self, key: String, value: Option<Vec<u8>>) -> Result<(), KeyValueError> {
        self.bytes += key.len() + value.as_ref().map_or(0, Vec::len);
        if self.bytes > limits::KEY_VALUE_BATCH_BYTES {
            return Err(KeyValueError::TooMuchAtOnce);
        }
        self.found.push((key, value));
        Ok(())
    }
}

/// For the one that writes, with what the stores hold.
fn open_for_writing(path: &Path) -> rusqlite::Result<(Connection, BTreeMap<String, i64>)> {
    let mut connection = open(path)?;
    connection.execute_batch(&format!("PRAGMA max_page_count = {};", limits::KEY_VALUE_PAGES))?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let counted: bool =
        transaction
            .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'usage'", [], |row| row.get(0))?;
    if !counted {
        // A file of before: its entries are counted this once.
        transaction.execute_batch(
            "CREATE TABLE usage (store TEXT PRIMARY KEY, bytes INTEGER NOT NULL) WITHOUT ROWID;
             INSERT INTO usage SELECT store, sum(length(CAST(key AS BLOB)) + length(value)) FROM entry GROUP BY store;",
        )?;
    }
    let usage = {
        let mut statement = transaction.prepare("SELECT store, bytes FROM usage")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect::<rusqlite::Result<_>>()?
    };
    transaction.commit()?;
    Ok((connection, usage))
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
        Self::open_with(path, limits::KEY_VALUE_STORE_BYTES)
    }

    /// `most` is how many bytes one store may hold.
    fn open_with(path: &Path, most: u64) -> Result<Self, KeyValueError> {
        let (mut connection, by_store) = open_for_writing(path)?;
        let mut usage = Usage { by_store, most };
        let (writes, mut waiting) = mpsc::channel::<Write>(limits::KEY_VALUE_QUEUE);
        let writer = move || {
            let mut batch = Vec::new();
            while waiting.blocking_recv_many(&mut batch, limits::KEY_VALUE_BATCH) > 0 {
                commit(&mut connection, &mut usage, std::mem::take(&mut batch));
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
        let keys = self.readers.read(|connection| listed_keys(connection, store))?;
        keys.ok_or(KeyValueError::TooManyKeys)
    }

    /// Blocks: reads several entries.
    fn get_many(&self, store: &str, keys: Vec<String>) -> Result<Values, KeyValueError> {
        let mut gathered = Gathered::default();
        for key in keys {
            let value = self.get(store, &key)?;
            gathered.push(key, value)?;
        }
        Ok(gathered.found)
    }

    pub async fn set(&self, store: &str, key: String, value: Vec<u8>) -> Result<(), KeyValueError> {
        check(&key, &value)?;
        let store = store.to_owned();
        self.guests_change(move |stores| {
            stores.set(&store, &key, &value)?;
            stores.check_room(&store)
        })
        .await
    }

    /// All of them or, when one is refused, none.
    pub async fn set_many(&self, store: &str, pairs: Vec<(String, Vec<u8>)>) -> Result<(), KeyValueError> {
        pairs.iter().try_for_each(|(key, value)| check(key, value))?;
        let store = store.to_owned();
        self.guests_change(move |stores| {
            pairs.iter().try_for_each(|(key, value)| stores.set(&store, key, value))?;
            stores.check_room(&store)
        })
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
            let sum = added(&key, stores.get(&store, &key)?.as_deref(), delta)?;
            stores.set(&store, &key, sum.to_string().as_bytes())?;
            stores.check_room(&store)?;
            Ok(sum)
        })
        .await
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
            stores.check_room(&store)?;
            Ok(None)
        })
        .await
    }

    pub async fn delete(&self, store: &str, key: String) -> Result<(), KeyValueError> {
        let store = store.to_owned();
        self.change(move |stores| stores.delete(&store, &key)).await
    }

    /// [`Self::guests_change`] with a result.
    async fn change_with<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Stores<'_>) -> Result<T, KeyValueError> + Send + 'static,
    ) -> Result<T, KeyValueError> {
        let (result, changed) = oneshot::channel();
        self.guests_change(move |stores| {
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
        self.guests_change(move |stores| Ok(change(stores)?)).await
    }

    /// The same for a change that may be refused for what it would do.
    async fn guests_change(
        &self,
        change: impl FnOnce(&Stores<'_>) -> Result<(), KeyValueError> + Send + 'static,
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
fn commit(connection: &mut Connection, usage: &mut Usage, batch: Vec<Write>) {
    let mut waiting = Vec::with_capacity(batch.len());
    let before = usage.by_store.clone();
    let failed = run(connection, usage, batch, &mut waiting).map_err(KeyValueError::from).err();
    if failed.is_some() {
        usage.by_store = before;
    }
    for (done, result) in waiting {
        // Nobody waits when the guest is gone; the write stands.
        let _ = done.send(match &failed {
            Some(error) => Err(error.clone()),
            None => result,
        });
    }
}

type Waiting = (oneshot::Sender<Result<(), KeyValueError>>, Result<(), KeyValueError>);

fn run(
    connection: &mut Connection,
    usage: &mut Usage,
    batch: Vec<Write>,
    waiting: &mut Vec<Waiting>,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut touched = BTreeSet::new();
    for write in batch {
        transaction.execute_batch("SAVEPOINT change")?;
        let stores = Stores { transaction: &transaction, usage: &*usage, added: RefCell::default() };
        let result = (write.change)(&stores);
        let added = stores.added.into_inner();
        if result.is_err() {
            transaction.execute_batch("ROLLBACK TO change")?;
        } else {
            for (store, bytes) in added {
                add(&mut usage.by_store, &store, bytes);
                touched.insert(store);
            }
        }
        transaction.execute_batch("RELEASE change")?;
        waiting.push((write.done, result));
    }
    for store in touched {
        let bytes = usage.by_store.get(&store).copied().unwrap_or(0);
        transaction
            .prepare_cached("INSERT OR REPLACE INTO usage (store, bytes) VALUES (?1, ?2)")?
            .execute((store, bytes))?;
    }
    transaction.commit()
}

#[cfg(test)]
mod tests;
