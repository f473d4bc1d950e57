//! One Postgres server and its pool of connections.

use super::dial::Dialer;
use super::transaction::{Limits, Transaction};
use crate::store::error::{PostgresError, StoreError};
use crate::store::settings::PostgresConfig;
use crate::store::transaction::{Committed, Records, WriteTx, to_u64};
use deadpool_postgres::{
    ClientWrapper, Hook, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime,
};
use serde::Serialize;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use sync_protocol::bookmark::Bookmark;
use tokio::runtime::Handle;
use tokio_postgres::types::ToSql;

/// What the client grants above the server's own limit of a statement before it gives the server up.
const GRACE: Duration = Duration::from_secs(1);
/// Connections to a server that were lost are tried again so often before a request gives up: after a failover all of
/// a pool's connections are dead at once, and each is found out by using it.
const STALE_CONNECTIONS_MAX: usize = 64;

/// One server; shared by all that use its pool.
pub(super) type SharedServer = Arc<Server>;

pub(super) struct Server {
    /// Host and port, for the log.
    pub(super) name: String,
    pool: Pool,
    runtime: Handle,
    limits: Limits,
    slow_acquire: Duration,
    commit_timeout: Duration,
    /// Transactions that have begun here.
    transactions: AtomicU64,
}

/// What an operator wants to know of one server.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ServerFigures {
    /// Host and port: for operators, not for the public.
    #[serde(skip)]
    pub(crate) server: String,
    pub(crate) role: Role,
    /// Whether it answers and is near enough to the newest commit.
    pub(crate) used: bool,
    /// Since the start.
    pub(crate) transactions: u64,
    pub(crate) connections: usize,
    pub(crate) idle: usize,
    /// Requests that wait for a connection.
    pub(crate) waiting: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Primary,
    Replica,
}

impl Role {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Role::Primary => "primary",
            Role::Replica => "replica",
        }
    }
}

/// A transaction that has begun on a connection of a pool.
pub(super) struct Begun {
    connection: Held,
    /// What the transaction sees.
    pub(super) at: Bookmark,
}

/// A connection that may be in the middle of something. It is closed unless it is given back: whoever is cancelled or
/// panics must not leave an open transaction to the next one.
struct Held(Option<Object>);

impl Held {
    /// To the pool, outside any transaction.
    fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Deref for Held {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        self.0.as_ref().expect("a connection is there until it is given back")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Mode {
    Read,
    /// For what people look at: each statement is planned once for a connection, and not for each value. All of them find their
    /// rows by an institute and a key in an index, whatever the values, and planning costs more than most of them. Elsewhere the
    /// server decides: a plan that was made while a table was empty would read all of it when it has grown.
    View,
    /// With the institute's row locked: writes of one institute stand in line here, so that what a service has checked
    /// still holds when it writes, and revisions have no gap.
    Write,
    /// Writes that make no revision stand in no line.
    Aside,
}

impl Mode {
    fn begin(self) -> &'static str {
        match self {
            Mode::Read | Mode::View => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Mode::Write | Mode::Aside => "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
        }
    }

    /// What holds until the transaction ends.
    fn settings(self) -> &'static str {
        match self {
            Mode::Read | Mode::Write | Mode::Aside => "SELECT set_config('rollcall.institute', $1, true)",
            Mode::View => {
                "SELECT set_config('rollcall.institute', $1, true), set_config('plan_cache_mode', 'force_generic_plan', true)"
            }
        }
    }

    fn revision(self) -> &'static str {
        match self {
            Mode::Read | Mode::View | Mode::Aside => "SELECT revision FROM institutes WHERE institute = $1",
            // NO KEY: rows that refer to the institute may be added meanwhile by others, and wait for nothing.
            Mode::Write => "SELECT revision FROM institutes WHERE institute = $1 FOR NO KEY UPDATE",
        }
    }
}

/// Where the primary's log is, in bytes.
const POSITION: &str = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint";
const EPOCH: &str = "SELECT epoch FROM generation";

impl Server {
    pub(super) fn new(
        name: String,
        dialer: Dialer,
        config: &PostgresConfig,
        runtime: &Handle,
        hook: Option<Hook>,
    ) -> Self {
        let recycle = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(tokio_postgres::Config::new(), dialer, recycle);
        let mut pool = Pool::builder(manager)
            .max_size(config.connections_max)
            .wait_timeout(Some(config.acquire_timeout))
            .create_timeout(Some(config.acquire_timeout))
            .recycle_timeout(Some(config.connect_timeout))
            .runtime(Runtime::Tokio1);
        if let Some(hook) = hook {
            pool = pool.post_create(hook);
        }
        let pool = pool.build().expect("timeouts are given together with a runtime");
        Self {
            name,
            pool,
            runtime: runtime.clone(),
            limits: Limits { answer: config.statement_timeout + GRACE, slow: config.slow_query },
            slow_acquire: config.slow_acquire,
            commit_timeout: config.commit_timeout,
            transactions: AtomicU64::new(0),
        }
    }

    pub(super) fn figures(&self, role: Role, used: bool) -> ServerFigures {
        let status = self.pool.status();
        ServerFigures {
            server: self.name.clone(),
            role,
            used,
            transactions: self.transactions.load(Ordering::Relaxed),
            connections: status.size,
            idle: status.available,
            waiting: status.waiting,
        }
    }

    async fn acquire(&self) -> Result<Held, StoreError> {
        let began = Instant::now();
        let object = self.pool.get().await.map_err(|error| self.refused(error))?;
        let took = began.elapsed();
        if took >= self.slow_acquire {
            let milliseconds = took.as_millis() as u64;
            let waiting = self.pool.status().waiting;
            tracing::warn!(server = self.name, milliseconds, waiting, "slow to get a connection");
        }
        Ok(Held(Some(object)))
    }

    fn refused(&self, error: PoolError) -> StoreError {
        let server = self.name.clone();
        StoreError::NoConnection { server, problem: error.to_string() }
    }

    /// Begins a transaction. Connections that turn out to be dead are thrown away and others tried.
    pub(super) async fn begin(&self, mode: Mode, institute: &str) -> Result<Begun, StoreError> {
        let mut last = StoreError::Closed;
        for _ in 0..STALE_CONNECTIONS_MAX {
            let connection = self.acquire().await?;
            let begun = tokio::time::timeout(self.limits.answer, begin(&connection, mode, institute)).await;
            match begun {
                Ok(Ok(at)) => {
                    self.transactions.fetch_add(1, Ordering::Relaxed);
                    return Ok(Begun { connection, at });
                }
                Ok(Err(error)) => {
                    let server_spoke = error.as_db_error().is_some_and(|error| !is_ending(error.code()));
                    last = error.into();
                    if server_spoke {
                        break;
                    }
                }
                Err(_) => return Err(StoreError::NoAnswer(self.limits.answer)),
            }
        }
        Err(last)
    }

    /// Runs `work` in a reading transaction that has begun. Blocks.
    pub(super) fn read<T, E: From<StoreError>>(
        &self,
        begun: Begun,
        institute: &str,
        work: impl FnOnce(&dyn Records) -> Result<T, E>,
    ) -> Result<T, E> {
        let Begun { connection, at } = begun;
        let transaction = Transaction::new(&connection, &self.runtime, self.limits, institute, at);
        let outcome = catch_unwind(AssertUnwindSafe(|| work(&transaction)));
        let lost = transaction.is_lost() || outcome.is_err();
        self.roll_back(connection, lost);
        outcome.unwrap_or_else(|_| Err(StoreError::Panicked.into()))
    }

    /// Runs `work` in a writing transaction that has begun, and commits. Blocks.
    pub(super) fn write<T, E: From<StoreError>>(
        &self,
        begun: Begun,
        institute: &str,
        work: impl FnOnce(&mut WriteTx<'_>) -> Result<T, E>,
    ) -> Result<Committed<T>, E> {
        let Begun { connection, at } = begun;
        let transaction = Transaction::new(&connection, &self.runtime, self.limits, institute, at);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let mut tx = WriteTx::new(&transaction);
            let value = work(&mut tx)?;
            let committed = tx.finish(value)?;
            // A statement failed and the work went on regardless: Postgres would answer COMMIT by undoing it all.
            if transaction.is_failed() {
                return Err(StoreError::Failed.into());
            }
            Ok(committed)
        }));
        let lost = transaction.is_lost() || outcome.is_err();
        match outcome {
            Ok(Ok(committed)) => {
                let position = self.commit(connection)?;
                Ok(Committed { position, ..committed })
            }
            Ok(Err(error)) => {
                self.roll_back(connection, lost);
                Err(error)
            }
            Err(_) => {
                self.roll_back(connection, lost);
                Err(StoreError::Panicked.into())
            }
        }
    }

    /// Commits, or says that nobody knows. Gives a place in the log that is not before the commit, or 0.
    ///
    /// A commit that waits for a synchronous standby is not cancelled: the server would answer that with success.
    fn commit(&self, connection: Held) -> Result<u64, StoreError> {
        let answered = self
            .runtime
            .block_on(async { tokio::time::timeout(self.commit_timeout, commit_and_ask(&connection)).await });
        match answered {
            Ok((Ok(()), position)) => {
                connection.give_back();
                Ok(position)
            }
            Ok((Err(error), _)) => {
                let refused = error.as_db_error().is_some_and(|error| !is_ending(error.code()));
                // A plain refusal, such as of a deferred constraint, did not commit.
                Err(if refused {
                    error.into()
                } else {
                    StoreError::Unknown(PostgresError(error).to_string())
                })
            }
            Err(_) => {
                let after = self.commit_timeout;
                Err(StoreError::Unknown(format!("no answer within {after:?}")))
            }
        }
    }

    /// Ends a transaction without its writes; nobody waits for that.
    fn roll_back(&self, connection: Held, lost: bool) {
        if lost {
            return;
        }
        let limit = self.limits.answer;
        self.runtime.spawn(async move {
            let ended = tokio::time::timeout(limit, connection.batch_execute("ROLLBACK")).await;
            if matches!(ended, Ok(Ok(()))) {
                connection.give_back();
            }
        });
    }

    /// Gives a reading transaction back unused.
    pub(super) fn abandon(&self, begun: Begun) {
        self.roll_back(begun.connection, false);
    }

    /// Closes the connections that nobody used for a while.
    pub(super) fn reap(&self, idle: Duration) {
        self.pool.retain(|_, metrics| metrics.last_used() < idle);
    }
}

/// Commits and asks where the log is then, in one round trip. What becomes of the question says nothing about the commit.
async fn commit_and_ask(object: &ClientWrapper) -> (Result<(), tokio_postgres::Error>, u64) {
    let ask = match object.prepare_cached(POSITION).await {
        Ok(statement) => statement,
        Err(_) => return (object.batch_execute("COMMIT").await, 0),
    };
    // Sent one after the other without waiting, in this order.
    let (committed, position) =
        tokio::join!(biased; object.batch_execute("COMMIT"), object.query_one(&ask, &[]));
    let position = position.ok().and_then(|row| row.try_get::<_, i64>(0).ok());
    (committed, position.map_or(0, to_u64))
}

/// Names the institute and learns what the transaction sees, in one round trip.
async fn begin(
    object: &ClientWrapper,
    mode: Mode,
    institute: &str,
) -> Result<Bookmark, tokio_postgres::Error> {
    let set = object.prepare_cached(mode.settings()).await?;
    let revision = object.prepare_cached(mode.revision()).await?;
    let epoch = object.prepare_cached(EPOCH).await?;
    // Sent one after the other without waiting: each is sent when it is first polled, in this order.
    let named: [&(dyn ToSql + Sync); 1] = [&institute];
    let (_, _, revision, epoch) = tokio::try_join!(
        biased;
        object.batch_execute(mode.begin()),
        object.query_one(&set, &named),
        object.query_opt(&revision, &named),
        object.query_one(&epoch, &[]),
    )?;
    let revision = revision.map(|row| row.try_get::<_, i64>(0)).transpose()?.unwrap_or(0);
    Ok(Bookmark::new(to_u64(epoch.try_get(0)?), to_u64(revision)))
}

/// The server is going down, or was told to end this connection (class 57P, "operator intervention").
fn is_ending(code: &tokio_postgres::error::SqlState) -> bool {
    code.code().starts_with("57P") || code.code().starts_with("08")
}
