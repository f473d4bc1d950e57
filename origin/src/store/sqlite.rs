//! The embedded engine: one SQLite database in WAL mode, one writer, a few readers.

mod accounts;
mod activities;
mod attempts;
mod audit;
mod collections;
mod coursework;
mod directory;
mod documents;
mod doubts;
mod feed;
mod fees;
mod figures;
mod folder_lock;
mod idempotency;
mod messages;
mod notifications;
mod outbox;
mod quarantine;
mod readers;
mod retention;
mod series;
mod sessions;
mod timetable;
mod transaction;
mod writer;

#[cfg(test)]
pub(crate) use transaction::plans;

use super::NO_INSTITUTE;
use super::error::{OpenError, StoreError};
use super::transaction::{Committed, Records, WriteTx};
use super::watchers::Watchers;
use folder_lock::FolderLock;
use readers::Readers;
use rusqlite::{Connection, TransactionBehavior};
use std::path::Path;
use std::sync::Arc;
use writer::Writer;

/// Pages of the database kept in memory by each connection, in KiB: the working set of an institute of a thousand
/// students. SQLite counts KiB when the number is negative.
const CACHE_KIB: i64 = -16 * 1024;
/// How long a connection waits for another one's lock. The writer never waits for readers in WAL mode, so only a
/// checkpoint or a backup tool can make anybody wait.
const BUSY_TIMEOUT_MS: u64 = 5_000;

mod migrations {
    refinery::embed_migrations!("migrations/sqlite");
}

/// An open database.
pub(super) struct Database {
    // Before the lock: the connections close while the folder is still ours.
    writer: Writer,
    readers: Arc<Readers>,
    epoch: u64,
    _lock: FolderLock,
}

impl Database {
    /// Opens or creates the database in `folder` and brings it to the newest schema. Blocks.
    pub(super) fn open(folder: &Path, watchers: Arc<Watchers>) -> Result<Self, OpenError> {
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
        let readers = Arc::new(Readers::open(&path, epoch)?);
        let writer = Writer::start(connection, watchers, epoch)
            .map_err(|source| OpenError::Folder { folder: path, source })?;
        Ok(Self { writer, readers, epoch, _lock: lock })
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) async fn read<T, E, F>(&self, institute: &str, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&dyn Records) -> Result<T, E> + Send + 'static,
    {
        let readers = self.readers.clone();
        let institute = institute.to_owned();
        let permit = readers.permit().await?;
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            readers.read(&institute, work)
        });
        done.await.unwrap_or_else(|_| Err(StoreError::Panicked.into()))
    }

    pub(super) fn read_blocking<T, E: From<StoreError>>(
        &self,
        institute: &str,
        work: impl FnOnce(&dyn Records) -> Result<T, E>,
    ) -> Result<T, E> {
        self.readers.read(institute, work)
    }

    pub(super) async fn write<T, E, F>(&self, institute: &str, work: F) -> Result<Committed<T>, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut WriteTx<'_>) -> Result<T, E> + Send + 'static,
    {
        self.writer.write(institute, work).await
    }

    pub(super) fn write_blocking<T, E, F>(&self, institute: &str, work: F) -> Result<Committed<T>, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut WriteTx<'_>) -> Result<T, E> + Send + 'static,
    {
        self.writer.write_blocking(institute, work)
    }
}

/// The database for a command that needs it alone and reads it whole.
pub(super) struct Exclusive {
    connection: Connection,
    _lock: FolderLock,
}

impl Exclusive {
    /// Opens a database that is there, at the newest schema, while no origin has it open.
    pub(super) fn open(folder: &Path) -> Result<Self, OpenError> {
        let path = folder.join("origin.sqlite");
        std::fs::metadata(&path).map_err(|source| OpenError::Folder { folder: path.clone(), source })?;
        let lock = FolderLock::acquire(folder)?;
        let mut connection = connect(&path)?;
        migrations::migrations::runner().run(&mut connection)?;
        Ok(Self { connection, _lock: lock })
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// See [`crate::store::write_beside`].
pub(super) fn write_beside<T, E: From<StoreError> + From<OpenError>>(
    folder: &Path,
    work: impl FnOnce(&mut WriteTx<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let sqlite = |error| E::from(StoreError::Sqlite(error));
    let mut connection = connect(&folder.join("origin.sqlite")).map_err(sqlite)?;
    let runner = migrations::migrations::runner();
    let known = runner.get_migrations().iter().map(|known| i64::from(known.version())).max().unwrap_or(0);
    let found = runner.get_last_applied_migration(&mut connection).map_err(OpenError::from)?;
    let found = found.map_or(0, |found| i64::from(found.version()));
    if found != known {
        // The origin that runs may know another schema: it brings the store to its own.
        let error = if found > known {
            OpenError::NewerSchema { found, known }
        } else {
            OpenError::OlderSchema { found, known }
        };
        return Err(error.into());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sqlite)?;
    let value = {
        let open = transaction::Transaction::new(&transaction, NO_INSTITUTE, 0);
        let mut tx = WriteTx::new(&open);
        let value = work(&mut tx)?;
        tx.finish(value)?.value
    };
    transaction.commit().map_err(sqlite)?;
    Ok(value)
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

#[cfg(test)]
mod tests {
    use super::*;
    use refinery::Target;
    use sync_protocol::token::Role;

    /// The last schema without the role of guardians.
    const BEFORE_GUARDIANS: i32 = 16;
    /// The last schema with a time up to which messages are read, and without figures.
    const BEFORE_ARRIVALS: i32 = 19;

    #[test]
    fn a_store_from_before_arrivals_and_figures_has_the_same_unread_and_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("origin.sqlite");
        let mut connection = connect(&path).unwrap();
        let runner = migrations::migrations::runner().set_target(Target::Version(BEFORE_ARRIVALS));
        runner.run(&mut connection).unwrap();
        connection
            .execute_batch(
                "INSERT INTO institutes VALUES ('i', 'I', 'UTC', 'USD', 7, 0);
                 INSERT INTO users (user, institute, email, name, role, messages_read_at, created_at)
                     VALUES ('sam', 'i', 'sam@x', 'Sam', 'student', 2000, 0),
                         ('ann', 'i', 'ann@x', 'Ann', 'student', 0, 0), ('tom', 'i', 'tom@x', 'Tom', 'teacher', 0, 0);
                 INSERT INTO batches VALUES ('i', 'b', 'B');
                 INSERT INTO enrolments VALUES ('i', 'b', 'sam', 0), ('i', 'b', 'ann', 0);
                 INSERT INTO classes (institute, class, batch, title, room, teacher, starts_at, ends_at)
                     VALUES ('i', 'c', 'b', 'C', '', 'tom', 5, 6);
                 INSERT INTO attendance (institute, class, student, mark, marks)
                     VALUES ('i', 'c', 'sam', 'late', '[]'), ('i', 'c', 'ann', 'present', NULL);
                 INSERT INTO messages (institute, message, author, recipient, batch, text, posted_at)
                     VALUES ('i', 'm1', 'tom', NULL, 'b', 'x', 1000), ('i', 'm2', 'tom', 'sam', NULL, 'x', 2000),
                         ('i', 'm3', 'tom', NULL, 'b', 'x', 2001);
                 INSERT INTO invoices (institute, invoice, student, title, amount_minor, paid_minor, due_on)
                     VALUES ('i', 'n', 'sam', 'N', 500, 200, '2026-01-01');
                 INSERT INTO payments (institute, payment, invoice, amount_minor, method, recorded_by, paid_at)
                     VALUES ('i', 'p', 'n', 200, 'cash', 'tom', 86400000);
                 INSERT INTO ledger VALUES ('i', 'invoice', 'n', 'sam', 'n', 500, 0),
                     ('i', 'payment', 'p', 'sam', 'n', -200, 86400000);",
            )
            .unwrap();
        drop(connection);

        let database = Database::open(folder.path(), Arc::default()).unwrap();
        let read = database.read_blocking::<_, StoreError>("i", |records| {
            crate::store::tests::same_unread_and_counted(records)
        });
        read.unwrap();
        let sound: String =
            connect(&path).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(sound, "ok");
    }

    #[test]
    fn a_store_from_before_guardians_goes_on_and_takes_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("origin.sqlite");
        let mut connection = connect(&path).unwrap();
        let runner = migrations::migrations::runner().set_target(Target::Version(BEFORE_GUARDIANS));
        runner.run(&mut connection).unwrap();
        let user = |id: &str, role: &str| {
            format!(
                "INSERT INTO users (user, institute, email, name, role, created_at)
                 VALUES ('{id}', 'i', '{id}@x', '{id}', '{role}', 0)"
            )
        };
        connection.execute("INSERT INTO institutes VALUES ('i', 'I', 'UTC', 'USD', 0, 0)", []).unwrap();
        connection.execute(&user("parent", "student"), []).unwrap();
        connection.execute(&user("sam", "student"), []).unwrap();
        connection.execute("INSERT INTO guardians VALUES ('i', 'parent', 'sam')", []).unwrap();
        assert!(connection.execute(&user("gita", "guardian"), []).is_err());
        drop(connection);

        let database = Database::open(folder.path(), Arc::default()).unwrap();
        let kept = database.read_blocking::<_, StoreError>("i", |records| {
            Ok((records.account("parent")?.unwrap().role, records.directory_entry("parent")?.unwrap()))
        });
        let (role, entry) = kept.unwrap();
        assert_eq!((role, entry.guardian_of), (Role::Student, vec!["sam".to_owned()]));
        // Another connection, which has read the schema before or after.
        let connection = connect(&path).unwrap();
        connection.execute(&user("gita", "guardian"), []).unwrap();
        assert!(connection.execute(&user("x", "janitor"), []).is_err());
        let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(sound, "ok");
        let added = database.write_blocking::<_, StoreError, _>("i", |tx| {
            tx.set_role("parent", Role::Guardian)?;
            tx.account("gita")
        });
        assert_eq!(added.unwrap().value.unwrap().role, Role::Guardian);
    }
}
