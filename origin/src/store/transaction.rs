//! The two views of an open transaction that services get: [`Records`] to read, [`WriteTx`] to write.
//!
//! Both are the same for every engine: an engine implements the operations, this module what holds for all of them.

use super::accounts::{ReadAccounts, WriteAccounts};
use super::activities::WriteActivities;
use super::attempts::{ReadAttempts, WriteAttempts};
use super::audit::WriteAudit;
use super::collections::ReadCollections;
use super::coursework::{ReadCoursework, WriteCoursework};
use super::directory::{ReadDirectory, WriteDirectory};
use super::documents::{ReadDocuments, WriteDocuments};
use super::doubts::{ReadDoubts, WriteDoubts};
use super::error::StoreError;
use super::feed::{ReadFeed, WriteFeed};
use super::fees::{ReadFees, WriteFees};
use super::figures::ReadFigures;
use super::idempotency::{ReadDecisions, WriteDecisions};
use super::messages::{ReadMessages, WriteMessages};
use super::notifications::{ReadNotifications, WriteNotifications};
use super::outbox::{ReadOutbox, WriteOutbox};
use super::overview::ReadOverview;
use super::quarantine::{ReadQuarantine, WriteQuarantine};
use super::retention::{ReadRetention, WriteRetention};
use super::series::{ReadSeries, WriteSeries};
use super::sessions::{ReadSessions, WriteSessions};
use super::timetable::{ReadTimetable, WriteTimetable};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use sync_protocol::document_id::DocumentId;
use sync_protocol::tag;

/// Feed rows kept for each institute. An edge that was away for longer starts anew; at one commit a second this is
/// more than a day.
const FEED_ROWS: u64 = 100_000;
/// The feed is trimmed once in so many revisions, so that trimming costs a commit next to nothing.
const FEED_TRIM_EVERY: u64 = 1024;

/// Reads the records of one institute within one transaction.
pub(crate) trait Records:
    ReadAccounts
    + ReadAttempts
    + ReadCollections
    + ReadCoursework
    + ReadDecisions
    + ReadDirectory
    + ReadDocuments
    + ReadDoubts
    + ReadFeed
    + ReadFees
    + ReadFigures
    + ReadMessages
    + ReadQuarantine
    + ReadNotifications
    + ReadOutbox
    + ReadOverview
    + ReadRetention
    + ReadSeries
    + ReadSessions
    + ReadTimetable
{
}

impl<T> Records for T where
    T: ReadAccounts
        + ReadAttempts
        + ReadCollections
        + ReadCoursework
        + ReadDecisions
        + ReadDirectory
        + ReadDocuments
        + ReadDoubts
        + ReadFeed
        + ReadFees
        + ReadFigures
        + ReadMessages
        + ReadQuarantine
        + ReadNotifications
        + ReadOutbox
        + ReadOverview
        + ReadRetention
        + ReadSeries
        + ReadSessions
        + ReadTimetable
{
}

/// Writes the records of one institute within one transaction; services call it through [`WriteTx`].
pub(crate) trait Writes:
    Records
    + Scope
    + WriteAccounts
    + WriteAttempts
    + WriteAudit
    + WriteCoursework
    + WriteDecisions
    + WriteDirectory
    + WriteDocuments
    + WriteDoubts
    + WriteFeed
    + WriteFees
    + WriteMessages
    + WriteQuarantine
    + WriteNotifications
    + WriteOutbox
    + WriteRetention
    + WriteSeries
    + WriteSessions
    + WriteActivities
    + WriteTimetable
{
}

impl<T> Writes for T where
    T: Records
        + Scope
        + WriteAccounts
        + WriteAttempts
        + WriteAudit
        + WriteCoursework
        + WriteDecisions
        + WriteDirectory
        + WriteDocuments
        + WriteDoubts
        + WriteFeed
        + WriteFees
        + WriteMessages
        + WriteQuarantine
        + WriteNotifications
        + WriteOutbox
        + WriteRetention
        + WriteSeries
        + WriteSessions
        + WriteActivities
        + WriteTimetable
{
}

/// What [`WriteTx`] needs of an engine.
pub(crate) trait Scope {
    /// Begins what [`Scope::undo_savepoint`] undoes. Savepoints nest.
    fn savepoint(&self) -> Result<(), StoreError>;

    /// Undoes all since the savepoint, which stays.
    fn undo_savepoint(&self) -> Result<(), StoreError>;

    /// Ends the innermost savepoint.
    fn release_savepoint(&self) -> Result<(), StoreError>;

    /// Raises the institute's revision by one and writes the feed row, the outbox and the figures; the new revision.
    fn raise_revision(&self, entry: &FeedEntry) -> Result<u64, StoreError>;

    /// Writes what the figures have changed by, of a transaction that raises no revision.
    fn write_figures(&self) -> Result<(), StoreError>;

    /// Drops the feed rows up to a revision.
    fn trim_feed(&self, until: u64) -> Result<(), StoreError>;
}

/// What a commit touched.
#[derive(Debug, Clone, Default)]
pub(crate) struct FeedEntry {
    pub(super) tags: BTreeSet<String>,
    /// Documents with their heads, hex.
    pub(super) documents: Vec<(DocumentId, Vec<String>)>,
    /// For the outbox, by consumer.
    pub(super) events: BTreeMap<&'static str, Vec<Value>>,
}

/// A value with the institute's revision after the transaction that made it.
#[derive(Debug)]
pub(crate) struct Committed<T> {
    pub(crate) value: T,
    pub(crate) revision: u64,
    /// Whether it left work in the outbox.
    pub(super) has_work: bool,
    /// A place in the log of a cluster that is not before the commit; 0 for the embedded store.
    pub(crate) position: u64,
}

/// Writes the records of one institute within one transaction.
pub(crate) struct WriteTx<'t> {
    writes: &'t dyn Writes,
    entry: FeedEntry,
    touched: bool,
}

impl<'t> Deref for WriteTx<'t> {
    type Target = dyn Writes + 't;

    fn deref(&self) -> &Self::Target {
        self.writes
    }
}

impl<'t> WriteTx<'t> {
    pub(super) fn new(writes: &'t dyn Writes) -> Self {
        Self { writes, entry: FeedEntry::default(), touched: false }
    }

    /// The same transaction, to read alone.
    pub(crate) fn records(&self) -> &'t dyn Records {
        self.writes
    }

    /// Says that views with `tag` change. A transaction that touches nothing makes no revision.
    pub(crate) fn touch(&mut self, tag: String) {
        self.touched = true;
        if self.entry.tags.len() < tag::MAX_TAGS {
            self.entry.tags.insert(tag);
        }
    }

    /// Says that every view of the institute may change.
    pub(crate) fn touch_everything(&mut self) {
        self.touch(tag::EVERYTHING.to_owned());
    }

    /// Says that a document has new heads (hex), for the edges that hold it.
    pub(crate) fn touch_document(&mut self, document: DocumentId, heads: Vec<String>) {
        self.touched = true;
        self.entry.documents.push((document, heads));
    }

    /// Leaves an event in the outbox for a consumer: it is dealt with once this transaction has committed, and never
    /// if it does not.
    pub(crate) fn add_event(&mut self, consumer: &'static str, event: Value) {
        self.touched = true;
        self.entry.events.entry(consumer).or_default().push(event);
    }

    /// The institute's revision when this transaction, as it is so far, has committed.
    pub(crate) fn revision_after(&self) -> Result<u64, StoreError> {
        Ok(self.writes.revision()? + u64::from(self.touched))
    }

    /// Undoes what `work` wrote when it returns an error, and goes on.
    pub(crate) fn attempt<T, E: From<StoreError>>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.writes.savepoint()?;
        let before = (self.entry.clone(), self.touched);
        let outcome = work(self);
        if outcome.is_err() {
            self.writes.undo_savepoint()?;
            (self.entry, self.touched) = before;
        }
        self.writes.release_savepoint()?;
        outcome
    }

    /// Raises the revision and writes the feed row if anything was touched; `value` with the revision that holds now.
    pub(super) fn finish<T>(mut self, value: T) -> Result<Committed<T>, StoreError> {
        if !self.touched {
            self.writes.write_figures()?;
            return Ok(Committed { value, revision: self.writes.revision()?, position: 0, has_work: false });
        }
        let tags = &mut self.entry.tags;
        tags.insert(tag::INSTITUTE.to_owned());
        if tags.len() > tag::MAX_TAGS {
            *tags = [tag::INSTITUTE.to_owned(), tag::EVERYTHING.to_owned()].into();
        }
        let revision = self.writes.raise_revision(&self.entry)?;
        if revision.is_multiple_of(FEED_TRIM_EVERY) {
            self.writes.trim_feed(revision.saturating_sub(FEED_ROWS))?;
        }
        let has_work = !self.entry.events.is_empty();
        Ok(Committed { value, revision, position: 0, has_work })
    }
}

/// The integers of both engines are signed; what the store counts never is.
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
