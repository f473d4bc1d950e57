//! The origin's store: one SQLite database in WAL mode, one writer, a few readers. All SQL is below this module.
//!
//! A service passes a closure that runs inside one transaction and calls the named operations of [`Records`] (reading)
//! and [`WriteTx`] (writing). Everything waits off the async threads. Each write that touches something raises the
//! institute's revision by one and leaves one row in the feed, in the same transaction.

mod accounts;
mod coursework;
mod directory;
mod documents;
mod error;
mod feed;
mod fees;
mod folder_lock;
mod idempotency;
mod messages;
mod readers;
mod timetable;
mod transaction;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use accounts::{Account, NewUser, RefreshToken, parse_role};
pub(crate) use coursework::{Assignment, NewSubmission, StudentSubmission};
pub(crate) use directory::Institute;
pub(crate) use documents::{ChangeRow, LoggedDocument, NewDocument, QuarantineRow};
pub(crate) use error::{OpenError, StoreError};
pub(crate) use feed::FeedRow;
pub(crate) use fees::{NewInvoice, PaymentRow};
pub(crate) use idempotency::{Decision, DecisionStatus};
pub(crate) use messages::NewMessage;
pub(crate) use timetable::{AttendanceFigures, AttendanceRow, ClassConflict, ClassRow, NewClass};
#[cfg(test)]
pub(crate) use transaction::plans;
pub(crate) use transaction::{Committed, Records, WriteTx};

use folder_lock::FolderLock;
use readers::Readers;
use rusqlite::Connection;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;
use writer::Writer;

/// Passed as institute where no institute limits a query: sign-in, and what belongs to the origin itself.
pub(crate) const NO_INSTITUTE: &str = "";

/// Pages of the database kept in memory by each connection, in KiB: the working set of an institute of a thousand
/// students. SQLite counts KiB when the number is negative.
const CACHE_KIB: i64 = -16 * 1024;
/// How long a connection waits for another one's lock. The writer never waits for readers in WAL mode, so only a
/// checkpoint or a backup tool can make anybody wait.
const BUSY_TIMEOUT_MS: u64 = 5_000;

mod migrations {
    refinery::embed_migrations!("src/store/migrations");
}

/// A handle to the store; clones share it.
#[derive(Clone)]
pub(crate) struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    // Before the lock: the connections close while the folder is still ours.
    writer: Writer,
    readers: Readers,
    epoch: u64,
    _lock: FolderLock,
}

impl Store {
    /// Opens or creates the store in `folder` and brings it to the newest schema. Blocks.
    pub(crate) fn open(folder: &Path) -> Result<Self, OpenError> {
        std::fs::create_dir_all(folder)
            .map_err(|source| OpenError::Folder { folder: folder.to_owned(), source })?;
        let lock = FolderLock::acquire(folder)?;
        let path = folder.join("origin.sqlite");
        let mut connection = connect(&path)?;
        migrations::migrations::runner().run(&mut connection)?;
        let epoch = connection.query_row(
            "INSERT INTO meta (key, value) VALUES ('epoch', '1')
             ON CONFLICT (key) DO UPDATE SET value = value RETURNING CAST(value AS INTEGER)",
            [],
            |row| row.get::<_, i64>(0),
        )?;
        let epoch = u64::try_from(epoch).map_err(|_| OpenError::Epoch(epoch))?;
        let readers = Readers::open(&path)?;
        let writer =
            Writer::start(connection).map_err(|source| OpenError::Folder { folder: path, source })?;
        Ok(Self { inner: Arc::new(Inner { writer, readers, epoch, _lock: lock }) })
    }

    /// The generation of this store: with a revision it makes a bookmark.
    pub(crate) fn epoch(&self) -> u64 {
        self.inner.epoch
    }

    /// Reads in one transaction: all that `work` sees is of one revision.
    pub(crate) async fn read<T, E, F>(&self, institute: &str, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Records<'_>) -> Result<T, E> + Send + 'static,
    {
        let store = self.clone();
        let institute = institute.to_owned();
        let permit = self.inner.readers.permit().await?;
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            store.inner.readers.read(&institute, work)
        });
        done.await.unwrap_or_else(|_| Err(StoreError::Panicked.into()))
    }

    /// As [`Store::read`], on the calling thread.
    pub(crate) fn read_blocking<T, E: From<StoreError>>(
        &self,
        institute: &str,
        work: impl FnOnce(&Records<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.inner.readers.read(institute, work)
    }

    /// Writes in one transaction, which is durable when this returns. An error of `work` undoes all of it.
    ///
    /// Cancelling the future does not cancel the transaction.
    pub(crate) async fn write<T, E, F>(&self, institute: &str, work: F) -> Result<Committed<T>, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut WriteTx<'_>) -> Result<T, E> + Send + 'static,
    {
        self.inner.writer.write(institute, work).await
    }

    /// As [`Store::write`], on a thread that may block.
    pub(crate) fn write_blocking<T, E, F>(&self, institute: &str, work: F) -> Result<Committed<T>, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut WriteTx<'_>) -> Result<T, E> + Send + 'static,
    {
        self.inner.writer.write_blocking(institute, work)
    }

    /// Wakes whenever `institute` has a new revision. The value is that revision, or 0 before the first commit since
    /// the start: read the store for what is true.
    pub(crate) fn watch(&self, institute: &str) -> watch::Receiver<u64> {
        self.inner.writer.revisions().watch(institute)
    }
}

fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(std::time::Duration::from_millis(BUSY_TIMEOUT_MS))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // FULL: a commit that was answered survives a power cut.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(256);
    Ok(connection)
}
