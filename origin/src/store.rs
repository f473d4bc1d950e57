//! The origin's store. All SQL is below this module, written for each engine by hand.
//!
//! A service passes a closure that runs inside one transaction and calls the named operations of [`Records`] (reading)
//! and [`WriteTx`] (writing). Everything waits off the async threads. Each write that touches something raises the
//! institute's revision by one and leaves one row in the feed, in the same transaction.

mod accounts;
mod activities;
mod attempts;
mod audit;
pub(crate) mod collections;
mod copy;
mod coursework;
mod directory;
mod documents;
mod doubts;
mod error;
mod feed;
mod fees;
mod figures;
mod idempotency;
mod messages;
mod notices;
mod notifications;
mod outbox;
mod overview;
mod postgres;
mod quarantine;
mod retention;
mod series;
mod sessions;
mod settings;
mod sqlite;
mod timetable;
mod transaction;
mod watchers;

#[cfg(test)]
mod tests;

pub(crate) use accounts::{Account, NewUser, RefreshToken, StoredKey, parse_role};
pub(crate) use activities::{Activity, ActivityKind};
pub(crate) use audit::AuditEntry;
pub(crate) use copy::copy;
pub(crate) use coursework::{Assignment, NewSubmission, StudentSubmission, UngradedSubmission};
pub(crate) use directory::{Institute, StudiedBatch, TaughtBatch};
pub(crate) use documents::{Carried, ChangeRow, LoggedDocument, NewDocument, Succession};
pub(crate) use doubts::{DoubtQuery, DoubtRow, FoundDoubt, ThreadTimes, Words};
pub(crate) use error::{OpenError, StoreError};
pub(crate) use feed::FeedRow;
#[cfg(test)]
pub(crate) use fees::EntryKind;
pub(crate) use fees::{
    EventStatus, Invoice, LedgerEntry, NewInvoice, NewRefund, Payment, PaymentEvent, PaymentRow, Settled,
};
pub(crate) use figures::{ClassesFigures, InstituteFigures};
pub(crate) use idempotency::{Decision, DecisionStatus};
pub(crate) use messages::{MessageRow, NewMessage, Unread, arrival_of_history};
pub(crate) use notices::{Notice, Notices};
pub(crate) use notifications::{NewNotification, NotificationId, NotificationRow};
pub(crate) use outbox::{AfterFailure, OutboxFigures, SetAside, Work};
pub(crate) use overview::{StudentOverviewOf, TeacherOverviewOf};
pub(crate) use postgres::{Role, ServerFigures, migrate};
pub(crate) use quarantine::{QuarantineOutcome, QuarantineRow};
pub(crate) use retention::{Left, Trimmed};
pub(crate) use series::{ClassTimes, NewSeries};
#[cfg(test)]
pub(crate) use sessions::Session;
pub(crate) use sessions::{Device, PasswordReset};
pub(crate) use settings::{PostgresConfig, StoreSettings};
#[cfg(test)]
pub(crate) use sqlite::plans;
pub(crate) use timetable::{
    AttendanceFigures, AttendanceRow, ClassChange, ClassConflict, ClassRow, NewClass,
};
pub(crate) use transaction::{Committed, Records, WriteTx};

use postgres::{Mode, Seen};
use std::path::Path;
use std::sync::Arc;
use sync_protocol::bookmark::Bookmark;
use tokio::sync::watch;
use watchers::Watchers;

/// Passed as institute where no institute limits a query: sign-in, and what belongs to the origin itself.
pub(crate) const NO_INSTITUTE: &str = "";

/// Runs one transaction, of no institute, on the embedded store in `folder`, which an origin may have open: what it keeps in
/// memory follows the revisions of institutes, which this leaves alone. Blocks.
pub(crate) fn write_beside<T, E: From<StoreError> + From<OpenError>>(
    folder: &Path,
    work: impl FnOnce(&mut WriteTx<'_>) -> Result<T, E>,
) -> Result<T, E> {
    sqlite::write_beside(folder, work)
}

/// A handle to the store; clones share it.
#[derive(Clone)]
pub(crate) struct Store {
    engine: Arc<Engine>,
    watchers: Arc<Watchers>,
}

enum Engine {
    Sqlite(sqlite::Database),
    Postgres(postgres::Cluster),
}

impl Store {
    /// Opens or creates the embedded store in `folder` and brings it to the newest schema. Blocks.
    pub(crate) fn open(folder: &Path) -> Result<Self, OpenError> {
        let watchers = Arc::<Watchers>::default();
        let database = sqlite::Database::open(folder, watchers.clone())?;
        Ok(Self { engine: Arc::new(Engine::Sqlite(database)), watchers })
    }

    /// Opens the store of a cluster of Postgres servers. Blocks.
    pub(crate) fn connect(config: &PostgresConfig) -> Result<Self, OpenError> {
        let watchers = Arc::<Watchers>::default();
        let cluster = postgres::Cluster::open(config, watchers.clone())?;
        Ok(Self { engine: Arc::new(Engine::Postgres(cluster)), watchers })
    }

    /// The newest generation of this store: with a revision it makes a bookmark.
    pub(crate) fn epoch(&self) -> u64 {
        match &*self.engine {
            Engine::Sqlite(database) => database.epoch(),
            Engine::Postgres(cluster) => cluster.epoch(),
        }
    }

    /// Whether this process hears of what other processes commit: the primary answers, or there are no others.
    pub(crate) fn hears_of_commits(&self) -> bool {
        match &*self.engine {
            Engine::Sqlite(_) => true,
            Engine::Postgres(cluster) => cluster.hears_of_commits(),
        }
    }

    /// The servers of a cluster, the primary first; none for the embedded store.
    pub(crate) fn servers(&self) -> Vec<ServerFigures> {
        match &*self.engine {
            Engine::Sqlite(_) => Vec::new(),
            Engine::Postgres(cluster) => cluster.figures(),
        }
    }

    /// Reads in one transaction, on a replica if there is one: all that `work` sees is of one revision, which is not
    /// before what the reader has `seen` if that can be had soon; `work` compares.
    pub(crate) async fn read_after<T, E, F>(
        &self,
        institute: &str,
        seen: Option<Bookmark>,
        work: F,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&dyn Records) -> Result<T, E> + Send + 'static,
    {
        self.read_at(institute, Seen::AtLeast(seen), work).await
    }

    /// Reads in one transaction: all that `work` sees is of one revision, the newest.
    pub(crate) async fn read<T, E, F>(&self, institute: &str, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&dyn Records) -> Result<T, E> + Send + 'static,
    {
        self.read_at(institute, Seen::Newest, work).await
    }

    async fn read_at<T, E, F>(&self, institute: &str, seen: Seen, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&dyn Records) -> Result<T, E> + Send + 'static,
    {
        match &*self.engine {
            // Every read sees the last commit.
            Engine::Sqlite(database) => database.read(institute, work).await,
            Engine::Postgres(cluster) => cluster.read(institute, seen, work).await,
        }
    }

    /// As [`Store::read`], on the calling thread.
    pub(crate) fn read_blocking<T, E: From<StoreError>>(
        &self,
        institute: &str,
        work: impl FnOnce(&dyn Records) -> Result<T, E>,
    ) -> Result<T, E> {
        match &*self.engine {
            Engine::Sqlite(database) => database.read_blocking(institute, work),
            Engine::Postgres(cluster) => cluster.read_blocking(institute, work),
        }
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
        match &*self.engine {
            Engine::Sqlite(database) => database.write(institute, work).await,
            Engine::Postgres(cluster) => cluster.write(institute, Mode::Write, work).await,
        }
    }

    /// As [`Store::write`], beside the institute's other writes and not in line with them: for work that makes no
    /// revision.
    pub(crate) async fn write_aside<T, E, F>(&self, institute: &str, work: F) -> Result<Committed<T>, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut WriteTx<'_>) -> Result<T, E> + Send + 'static,
    {
        match &*self.engine {
            Engine::Sqlite(database) => database.write(institute, work).await,
            Engine::Postgres(cluster) => cluster.write(institute, Mode::Aside, work).await,
        }
    }

    /// As [`Store::write`], on a thread that may block.
    pub(crate) fn write_blocking<T, E, F>(&self, institute: &str, work: F) -> Result<Committed<T>, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut WriteTx<'_>) -> Result<T, E> + Send + 'static,
    {
        match &*self.engine {
            Engine::Sqlite(database) => database.write_blocking(institute, work),
            Engine::Postgres(cluster) => cluster.write_blocking(institute, work),
        }
    }

    /// Returns when this process has committed work for the outbox; at once if it has since the last time.
    pub(crate) async fn work_committed(&self) {
        self.watchers.work.notified().await;
    }

    /// The line to the other processes on this store, for the first who asks; none where there can be no others.
    pub(crate) fn notices(&self) -> Option<Notices> {
        match &*self.engine {
            Engine::Sqlite(_) => None,
            Engine::Postgres(cluster) => cluster.notices(),
        }
    }

    /// Wakes whenever `institute` has a new revision. The value is that revision, or 0 before the first commit since
    /// the start: read the store for what is true.
    pub(crate) fn watch(&self, institute: &str) -> watch::Receiver<u64> {
        self.watchers.watch(institute)
    }
}
