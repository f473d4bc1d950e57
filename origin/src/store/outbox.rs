//! The outbox: what commits ask to be done after them.
//!
//! A row is written with the data that it tells of and goes in the transaction that does what it asks, so whether it is
//! there says whether that was done, however often and by whomever it is taken up. Operations whose doc says so look at
//! all institutes and belong in a transaction of [`super::NO_INSTITUTE`].

use super::error::StoreError;
use std::time::Duration;

/// What one commit asks of one consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) institute: String,
    pub(crate) consumer: String,
    /// Of the commit.
    pub(crate) revision: u64,
    /// JSON array.
    pub(crate) events: String,
    pub(crate) committed_at: i64,
}

/// Work that failed too often.
#[derive(Debug, Clone)]
pub(crate) struct SetAside {
    pub(crate) work: Work,
    pub(crate) failures: u64,
    /// Of the last failure.
    pub(crate) fault: String,
    pub(crate) set_aside_at: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutboxFigures {
    pub(crate) waiting: u64,
    /// When the oldest of it was committed.
    pub(crate) oldest: Option<i64>,
    pub(crate) set_aside: u64,
}

/// What happens to work that failed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum AfterFailure {
    Retry(Duration),
    SetAside,
}

pub(crate) trait ReadOutbox {
    /// Of all institutes.
    fn outbox_figures(&self) -> Result<OutboxFigures, StoreError>;

    /// Work of the institute, or of all institutes without one, that was set aside; the oldest first.
    fn work_set_aside(&self, limit: u32) -> Result<Vec<SetAside>, StoreError>;

    /// Of one consumer in the institute, each figure counted up to `most`.
    fn consumer_figures(&self, consumer: &str, most: u32) -> Result<OutboxFigures, StoreError>;

    /// How often work has failed; absent when it is done.
    fn failures_of_work(&self, consumer: &str, revision: u64) -> Result<Option<u64>, StoreError>;
}

pub(crate) trait WriteOutbox {
    /// Takes up what is due in any institute, so that nobody else does before the lease ends.
    fn claim_work(&self, lease: Duration, limit: u32) -> Result<Vec<Work>, StoreError>;

    /// Removes work that is about to be done in this transaction; absent when it was done before.
    fn take_work(&self, consumer: &str, revision: u64) -> Result<Option<Work>, StoreError>;

    /// Makes work of these commits that is not set aside due after a pause; not a failure.
    fn put_off_work(&self, consumer: &str, revisions: &[u64], pause: Duration) -> Result<(), StoreError>;

    /// Counts a failure and keeps its reason.
    fn fail_work(
        &self,
        consumer: &str,
        revision: u64,
        fault: &str,
        after: AfterFailure,
    ) -> Result<(), StoreError>;

    /// Makes work that was set aside due again, with no failure counted; whether it was set aside.
    fn replay_one(&self, consumer: &str, revision: u64) -> Result<bool, StoreError>;

    /// Removes work that was set aside, undone; whether it was set aside.
    fn drop_work(&self, consumer: &str, revision: u64) -> Result<bool, StoreError>;

    /// Makes work that was set aside due again, with no failure counted: one commit's or all; how much.
    fn replay_work(&self, revision: Option<u64>) -> Result<u64, StoreError>;
}
