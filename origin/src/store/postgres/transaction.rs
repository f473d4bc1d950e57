//! An open transaction of Postgres: how the operations of all subjects reach their rows.
//!
//! The operations are synchronous, so that services keep their rules in plain code; each waits for its answer on the
//! blocking thread that the transaction runs on. A server that does not answer is given up after a limit of our own:
//! the server's `statement_timeout` is of no use against one that is stopped or behind a broken network.

use crate::store::error::StoreError;
use crate::store::figures::Gathered;
use crate::store::transaction::{FeedEntry, Scope, to_i64, to_json, to_u64};
use deadpool_postgres::ClientWrapper;
use std::cell::Cell;
use std::time::{Duration, Instant};
use sync_protocol::bookmark::Bookmark;
use tokio::runtime::Handle;
use tokio::try_join;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, private::BytesMut, to_sql_checked};

/// What the server answered to a statement.
pub(super) type Answer<T> = Result<T, tokio_postgres::Error>;

pub(super) type Params<'p> = &'p [&'p (dyn ToSql + Sync)];

/// Reads and writes the records of one institute within one transaction.
pub(super) struct Transaction<'c> {
    client: &'c ClientWrapper,
    runtime: &'c Handle,
    limits: Limits,
    pub(super) institute: &'c str,
    /// Set when the server was given up: what it does with the connection is unknown.
    lost: Cell<bool>,
    /// Set when a statement failed: until its savepoint is undone, Postgres does nothing more in this transaction.
    failed: Cell<bool>,
    /// What the transaction sees.
    pub(super) at: Bookmark,
    pub(super) figures: Gathered,
}

/// How long a statement may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// The server's own limit has passed by then.
    pub(super) answer: Duration,
    /// Slower ones are logged.
    pub(super) slow: Duration,
}

impl<'c> Transaction<'c> {
    pub(super) fn new(
        client: &'c ClientWrapper,
        runtime: &'c Handle,
        limits: Limits,
        institute: &'c str,
        at: Bookmark,
    ) -> Self {
        let (lost, failed) = (Cell::new(false), Cell::new(false));
        let figures = Gathered::default();
        Self { client, runtime, limits, institute, lost, failed, at, figures }
    }

    /// Whether a statement got no answer, so that the connection cannot be used again.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.get()
    }

    /// Whether a statement failed and was not undone, so that nothing of the transaction can be committed.
    pub(super) fn is_failed(&self) -> bool {
        self.failed.get()
    }

    /// Waits for answers. All that is asked for together shares one limit.
    pub(super) fn wait<T>(&self, answer: impl Future<Output = Answer<T>>) -> Result<T, StoreError> {
        let answered =
            self.runtime.block_on(async { tokio::time::timeout(self.limits.answer, answer).await });
        match answered {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                self.failed.set(true);
                if error.as_db_error().is_none() {
                    self.lost.set(true);
                }
                Err(error.into())
            }
            Err(_) => {
                self.failed.set(true);
                self.lost.set(true);
                Err(StoreError::NoAnswer(self.limits.answer))
            }
        }
    }

    /// Waits for the answer of one statement, and logs it if it was slow.
    async fn timed<T>(&self, sql: &str, answer: impl Future<Output = Answer<T>>) -> Answer<T> {
        let began = Instant::now();
        let answered = answer.await;
        let took = began.elapsed();
        if took >= self.limits.slow {
            let sql = sql.split_whitespace().collect::<Vec<_>>().join(" ");
            tracing::warn!(
                milliseconds = took.as_millis() as u64,
                institute = self.institute,
                sql,
                "slow query"
            );
        }
        answered
    }

    async fn ask_rows(&self, sql: &str, params: Params<'_>) -> Answer<Vec<Row>> {
        let asked = async {
            let statement = self.client.prepare_cached(sql).await?;
            self.client.query(&statement, params).await
        };
        self.timed(sql, asked).await
    }

    /// All rows of a query, for whoever waits for several answers at once.
    pub(super) async fn ask_all<T>(
        &self,
        sql: &str,
        params: Params<'_>,
        read: impl FnMut(&Row) -> Answer<T>,
    ) -> Answer<Vec<T>> {
        self.ask_rows(sql, params).await?.iter().map(read).collect()
    }

    /// The first row of a query, in the same way.
    pub(super) async fn ask_one<T>(
        &self,
        sql: &str,
        params: Params<'_>,
        read: impl FnOnce(&Row) -> Answer<T>,
    ) -> Answer<Option<T>> {
        self.ask_rows(sql, params).await?.first().map(read).transpose()
    }

    /// The number that a query gives in its only row and column, in the same way.
    pub(super) async fn ask_number(&self, sql: &str, params: Params<'_>) -> Answer<u64> {
        let number = self.ask_one(sql, params, |row| row.try_get::<_, i64>(0)).await?;
        Ok(to_u64(number.unwrap_or(0)))
    }

    /// All rows of a query.
    pub(super) fn all<T>(
        &self,
        sql: &str,
        params: Params<'_>,
        read: impl FnMut(&Row) -> Answer<T>,
    ) -> Result<Vec<T>, StoreError> {
        self.wait(self.ask_all(sql, params, read))
    }

    /// The first row of a query, if there is one.
    pub(super) fn one<T>(
        &self,
        sql: &str,
        params: Params<'_>,
        read: impl FnOnce(&Row) -> Answer<T>,
    ) -> Result<Option<T>, StoreError> {
        self.wait(self.ask_one(sql, params, read))
    }

    /// The number that a query gives in its only row and column.
    pub(super) fn number(&self, sql: &str, params: Params<'_>) -> Result<u64, StoreError> {
        self.wait(self.ask_number(sql, params))
    }

    /// Runs a statement and says how many rows it changed, for whoever waits for several answers at once.
    pub(super) async fn ask_run(&self, sql: &str, params: Params<'_>) -> Answer<u64> {
        let asked = async {
            let statement = self.client.prepare_cached(sql).await?;
            self.client.execute(&statement, params).await
        };
        self.timed(sql, asked).await
    }

    /// Runs a statement and says how many rows it changed.
    pub(super) fn run(&self, sql: &str, params: Params<'_>) -> Result<u64, StoreError> {
        self.wait(self.ask_run(sql, params))
    }

    fn control(&self, sql: &str) -> Result<(), StoreError> {
        self.wait(self.timed(sql, self.client.batch_execute(sql)))
    }
}

/// One statement: the institute's row is locked since the transaction began.
const RAISE: &str = "WITH raised AS (
        UPDATE institutes SET revision = revision + 1 WHERE institute = $1 RETURNING revision)
     INSERT INTO feed (institute, revision, tags, documents, committed_at)
     SELECT $1, revision, $2, $3::text::jsonb, date_trunc('milliseconds', clock_timestamp()) FROM raised
     RETURNING revision";

/// The same with rows of the outbox, in the same round trip.
const RAISE_WITH_EVENTS: &str = "WITH raised AS (
        UPDATE institutes SET revision = revision + 1 WHERE institute = $1
        RETURNING revision, date_trunc('milliseconds', clock_timestamp()) AS now),
     fed AS (
        INSERT INTO feed (institute, revision, tags, documents, committed_at)
        SELECT $1, revision, $2, $3::text::jsonb, now FROM raised)
     INSERT INTO outbox (institute, consumer, revision, events, committed_at, due_at)
     SELECT $1, asked.consumer, revision, asked.events::json, now, now
     FROM raised CROSS JOIN unnest($4::text[], $5::text[]) AS asked(consumer, events)
     RETURNING revision";

impl Scope for Transaction<'_> {
    fn savepoint(&self) -> Result<(), StoreError> {
        self.control("SAVEPOINT attempt")?;
        self.figures.savepoint();
        Ok(())
    }

    fn undo_savepoint(&self) -> Result<(), StoreError> {
        self.control("ROLLBACK TO attempt")?;
        self.figures.undo_savepoint();
        self.failed.set(false);
        Ok(())
    }

    fn release_savepoint(&self) -> Result<(), StoreError> {
        self.control("RELEASE attempt")?;
        self.figures.release_savepoint();
        Ok(())
    }

    fn raise_revision(&self, entry: &FeedEntry) -> Result<u64, StoreError> {
        let tags: Vec<&str> = entry.tags.iter().map(String::as_str).collect();
        let documents = to_json(&entry.documents);
        let consumers: Vec<&str> = entry.events.keys().copied().collect();
        let events: Vec<String> = entry.events.values().map(to_json).collect();
        let read = |row: &Row| row.try_get::<_, i64>(0);
        let figures = self.figures.take();
        let raise = async {
            if entry.events.is_empty() {
                self.ask_one(RAISE, &[&self.institute, &tags, &documents], read).await
            } else {
                let params: Params<'_> = &[&self.institute, &tags, &documents, &consumers, &events];
                self.ask_one(RAISE_WITH_EVENTS, params, read).await
            }
        };
        let (_, revision) = self.wait(async { try_join!(biased; self.ask_add_figures(&figures), raise) })?;
        let unknown =
            || StoreError::Corrupt { what: "institute of a write", text: self.institute.to_owned() };
        Ok(to_u64(revision.ok_or_else(unknown)?))
    }

    fn write_figures(&self) -> Result<(), StoreError> {
        let figures = self.figures.take();
        if figures.is_empty() { Ok(()) } else { self.wait(self.ask_add_figures(&figures)) }
    }

    fn trim_feed(&self, until: u64) -> Result<(), StoreError> {
        let sql = "DELETE FROM feed WHERE institute = $1 AND revision <= $2";
        self.run(sql, &[&self.institute, &to_i64(until)])?;
        Ok(())
    }
}

/// A time in milliseconds since the Unix epoch, stored as `timestamptz`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Millis(pub(super) i64);

impl Millis {
    pub(super) fn of(time: Option<i64>) -> Option<Self> {
        time.map(Self)
    }
}

/// A column that holds a [`Millis`].
pub(super) fn millis(row: &Row, column: usize) -> Result<i64, tokio_postgres::Error> {
    row.try_get::<_, Millis>(column).map(|time| time.0)
}

/// A column that holds a [`Millis`] or nothing.
pub(super) fn some_millis(row: &Row, column: usize) -> Result<Option<i64>, tokio_postgres::Error> {
    row.try_get::<_, Option<Millis>>(column).map(|time| time.map(|time| time.0))
}

/// 2000-01-01T00:00:00Z, from which Postgres counts its microseconds.
const POSTGRES_EPOCH_MS: i64 = 946_684_800_000;

impl ToSql for Millis {
    fn to_sql(
        &self,
        _type: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let micros = self.0.checked_sub(POSTGRES_EPOCH_MS).and_then(|ms| ms.checked_mul(1000));
        out.extend_from_slice(&micros.ok_or("the time is out of range")?.to_be_bytes());
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Millis {
    fn from_sql(_type: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        let micros = i64::from_be_bytes(raw.try_into()?);
        Ok(Self(micros.div_euclid(1000) + POSTGRES_EPOCH_MS))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TIMESTAMPTZ
    }
}
