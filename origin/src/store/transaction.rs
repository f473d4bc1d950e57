//! The two views of an open transaction that services get: [`Records`] to read, [`WriteTx`] to write.

use super::error::StoreError;
use rusqlite::{Connection, OptionalExtension as _, Row};
use std::collections::BTreeSet;
use std::ops::Deref;
use sync_protocol::document_id::DocumentId;
use sync_protocol::tag;

/// Feed rows kept for each institute. An edge that was away for longer starts anew; at one commit a second this is
/// more than a day.
const FEED_ROWS: u64 = 100_000;
/// The feed is trimmed once in so many revisions, so that trimming costs a commit next to nothing.
const FEED_TRIM_EVERY: u64 = 1024;

/// Reads the records of one institute within one transaction.
pub(crate) struct Records<'c> {
    pub(super) connection: &'c Connection,
    pub(super) institute: &'c str,
}

impl<'c> Records<'c> {
    pub(super) fn new(connection: &'c Connection, institute: &'c str) -> Self {
        Self { connection, institute }
    }

    /// The institute's newest revision in this transaction; 0 for an unknown institute.
    pub(crate) fn revision(&self) -> Result<u64, StoreError> {
        let revision =
            self.one("SELECT revision FROM institutes WHERE institute = ?1", (self.institute,), |row| {
                row.get::<_, i64>(0)
            })?;
        Ok(to_u64(revision.unwrap_or(0)))
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
}

/// A value with the institute's revision after the transaction that made it.
#[derive(Debug)]
pub(crate) struct Committed<T> {
    pub(crate) value: T,
    pub(crate) revision: u64,
}

/// Writes the records of one institute within one transaction.
pub(crate) struct WriteTx<'c> {
    records: Records<'c>,
    tags: BTreeSet<String>,
    documents: Vec<(DocumentId, Vec<String>)>,
    touched: bool,
}

impl<'c> Deref for WriteTx<'c> {
    type Target = Records<'c>;

    fn deref(&self) -> &Self::Target {
        &self.records
    }
}

impl<'c> WriteTx<'c> {
    pub(super) fn begin(connection: &'c Connection, institute: &'c str) -> Result<Self, StoreError> {
        let records = Records::new(connection, institute);
        Ok(Self { records, tags: BTreeSet::new(), documents: Vec::new(), touched: false })
    }

    /// Says that views with `tag` change. A transaction that touches nothing makes no revision.
    pub(crate) fn touch(&mut self, tag: String) {
        self.touched = true;
        if self.tags.len() < tag::MAX_TAGS {
            self.tags.insert(tag);
        }
    }

    /// Says that every view of the institute may change.
    pub(crate) fn touch_everything(&mut self) {
        self.touch(tag::EVERYTHING.to_owned());
    }

    /// Says that a document has new heads (hex), for the edges that hold it.
    pub(crate) fn touch_document(&mut self, document: DocumentId, heads: Vec<String>) {
        self.touched = true;
        self.documents.push((document, heads));
    }

    /// The institute's revision when this transaction, as it is so far, has committed.
    pub(crate) fn revision_after(&self) -> Result<u64, StoreError> {
        Ok(self.revision()? + u64::from(self.touched))
    }

    /// Undoes what `work` wrote when it returns an error, and goes on.
    pub(crate) fn attempt<T, E: From<StoreError>>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.connection.execute_batch("SAVEPOINT attempt").map_err(StoreError::from)?;
        let before = (self.tags.clone(), self.documents.clone(), self.touched);
        let outcome = work(self);
        if outcome.is_err() {
            self.connection.execute_batch("ROLLBACK TO attempt").map_err(StoreError::from)?;
            (self.tags, self.documents, self.touched) = before;
        }
        self.connection.execute_batch("RELEASE attempt").map_err(StoreError::from)?;
        outcome
    }

    /// Runs a statement and says how many rows it changed.
    pub(super) fn run(&self, sql: &str, params: impl rusqlite::Params) -> Result<usize, StoreError> {
        Ok(self.connection.prepare_cached(sql)?.execute(params)?)
    }

    /// Raises the revision and writes the feed row if anything was touched; the revision that holds now.
    pub(super) fn finish(mut self) -> Result<u64, StoreError> {
        if !self.touched {
            return self.revision();
        }
        self.tags.insert(tag::INSTITUTE.to_owned());
        if self.tags.len() > tag::MAX_TAGS {
            self.tags = [tag::INSTITUTE.to_owned(), tag::EVERYTHING.to_owned()].into();
        }
        let raise = "UPDATE institutes SET revision = revision + 1 WHERE institute = ?1 RETURNING revision";
        let revision = self.one(raise, (self.institute,), |row| row.get::<_, i64>(0))?;
        let revision =
            to_u64(revision.ok_or(StoreError::Corrupt {
                what: "institute of a write",
                text: self.institute.to_owned(),
            })?);
        self.run(
            "INSERT INTO feed (institute, revision, tags, documents, committed_at)
             VALUES (?1, ?2, ?3, ?4, CAST(unixepoch('subsec') * 1000 AS INTEGER))",
            (self.institute, to_i64(revision), to_json(&self.tags), to_json(&self.documents)),
        )?;
        if revision.is_multiple_of(FEED_TRIM_EVERY) {
            let keep_after = to_i64(revision.saturating_sub(FEED_ROWS));
            self.run(
                "DELETE FROM feed WHERE institute = ?1 AND revision <= ?2",
                (self.institute, keep_after),
            )?;
        }
        Ok(revision)
    }
}

/// SQLite's integers are signed; what the store counts never is.
pub(super) fn to_u64(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Counts in the store stay far below 2^63; a larger one from outside is as good as the largest.
pub(super) fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("lists of texts are always JSON")
}

pub(super) fn from_json<T: serde::de::DeserializeOwned>(
    what: &'static str,
    text: &str,
) -> Result<T, StoreError> {
    serde_json::from_str(text)
        .map_err(|_| StoreError::Corrupt { what, text: text.chars().take(80).collect() })
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
