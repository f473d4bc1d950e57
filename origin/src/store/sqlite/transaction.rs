//! An open transaction of SQLite: how the operations of all subjects reach their rows.

use crate::store::error::StoreError;
use crate::store::figures::Gathered;
use crate::store::overview::ReadOverview;
use crate::store::transaction::{FeedEntry, Scope, to_i64, to_json, to_u64};
use rusqlite::{Connection, OptionalExtension as _, Row};

/// Reads and writes the records of one institute within one transaction.
pub(super) struct Transaction<'c> {
    connection: &'c Connection,
    pub(super) institute: &'c str,
    pub(super) epoch: u64,
    pub(super) figures: Gathered,
}

impl<'c> Transaction<'c> {
    pub(super) fn new(connection: &'c Connection, institute: &'c str, epoch: u64) -> Self {
        Self { connection, institute, epoch, figures: Gathered::default() }
    }

    fn prepare(&self, sql: &str) -> rusqlite::Result<rusqlite::CachedStatement<'c>> {
        #[cfg(test)]
        plans::note(self.connection, sql)?;
        self.connection.prepare_cached(sql)
    }

    /// All rows of a query.
    pub(super) fn all<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = self.prepare(sql)?;
        let rows = statement.query_map(params, read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The first row of a query, if there is one.
    pub(super) fn one<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        let mut statement = self.prepare(sql)?;
        Ok(statement.query_row(params, read).optional()?)
    }

    /// The number that a query gives in its only row and column.
    pub(super) fn number(&self, sql: &str, params: impl rusqlite::Params) -> Result<u64, StoreError> {
        let mut statement = self.prepare(sql)?;
        Ok(to_u64(statement.query_row(params, |row| row.get::<_, i64>(0))?))
    }

    /// Runs a statement and says how many rows it changed.
    pub(super) fn run(&self, sql: &str, params: impl rusqlite::Params) -> Result<usize, StoreError> {
        Ok(self.connection.prepare_cached(sql)?.execute(params)?)
    }
}

// A question to a file is no round trip: one after the other is as good.
impl ReadOverview for Transaction<'_> {}

impl Scope for Transaction<'_> {
    fn savepoint(&self) -> Result<(), StoreError> {
        self.connection.execute_batch("SAVEPOINT attempt")?;
        self.figures.savepoint();
        Ok(())
    }

    fn undo_savepoint(&self) -> Result<(), StoreError> {
        self.connection.execute_batch("ROLLBACK TO attempt")?;
        self.figures.undo_savepoint();
        Ok(())
    }

    fn release_savepoint(&self) -> Result<(), StoreError> {
        self.connection.execute_batch("RELEASE attempt")?;
        self.figures.release_savepoint();
        Ok(())
    }

    fn raise_revision(&self, entry: &FeedEntry) -> Result<u64, StoreError> {
        self.write_figures()?;
        let raise = "UPDATE institutes SET revision = revision + 1 WHERE institute = ?1 RETURNING revision";
        let revision = self.one(raise, (self.institute,), |row| row.get::<_, i64>(0))?;
        let unknown =
            || StoreError::Corrupt { what: "institute of a write", text: self.institute.to_owned() };
        let revision = to_u64(revision.ok_or_else(unknown)?);
        self.run(
            "INSERT INTO feed (institute, revision, tags, documents, committed_at)
             VALUES (?1, ?2, ?3, ?4, CAST(unixepoch('subsec') * 1000 AS INTEGER))",
            (self.institute, to_i64(revision), to_json(&entry.tags), to_json(&entry.documents)),
        )?;
        for (consumer, events) in &entry.events {
            self.run(
                "INSERT INTO outbox (institute, consumer, revision, events, committed_at, due_at)
                 SELECT ?1, ?2, ?3, ?4, now, now
                 FROM (SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER) AS now)",
                (self.institute, consumer, to_i64(revision), to_json(events)),
            )?;
        }
        Ok(revision)
    }

    fn write_figures(&self) -> Result<(), StoreError> {
        self.add_figures(&self.figures.take())
    }

    fn trim_feed(&self, until: u64) -> Result<(), StoreError> {
        let sql = "DELETE FROM feed WHERE institute = ?1 AND revision <= ?2";
        self.run(sql, (self.institute, to_i64(until)))?;
        Ok(())
    }
}

/// Query plans of what tests run, to see that nothing reads whole tables.
#[cfg(test)]
pub(crate) mod plans {
    use rusqlite::Connection;
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    thread_local! {
        static NOTED: RefCell<Option<BTreeSet<String>>> = const { RefCell::new(None) };
    }

    pub(super) fn note(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
        if NOTED.with_borrow(Option::is_none) {
            return Ok(());
        }
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
        let mut rows = plan.raw_query();
        while let Some(row) = rows.next()? {
            let step: String = row.get(3)?;
            NOTED.with_borrow_mut(|noted| {
                let sql: String = sql.split_whitespace().collect::<Vec<_>>().join(" ");
                noted.get_or_insert_default().insert(format!("{step} | {sql}"));
            });
        }
        Ok(())
    }

    /// The steps of all queries that `work` runs on this thread.
    pub(crate) fn of(work: impl FnOnce()) -> BTreeSet<String> {
        NOTED.set(Some(BTreeSet::new()));
        work();
        NOTED.take().unwrap_or_default()
    }
}
