//! Messages to one user or to a batch.

use super::error::StoreError;

/// A message as its reader sees it.
#[derive(Debug, Clone)]
pub(crate) struct MessageRow {
    pub(crate) message: String,
    pub(crate) author: String,
    pub(crate) author_name: String,
    /// Absent for a message to the reader alone.
    pub(crate) batch: Option<String>,
    /// Empty for one that was retracted.
    pub(crate) text: String,
    pub(crate) posted_at: i64,
    pub(crate) retracted: bool,
}

/// Where a message went: exactly one of the two is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Addressee {
    pub(crate) recipient: Option<String>,
    pub(crate) batch: Option<String>,
}

/// What somebody has not read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Unread {
    /// Others' messages.
    pub(crate) count: u64,
    /// The arrival of the last of them; none when nothing is unread.
    pub(crate) newest: Option<i64>,
}

/// Taken off the time of a message that came with an institute's history, so that its arrival is before all revisions.
const BEFORE_REVISIONS: i64 = 1_000_000_000_000_000;

/// The arrival of a message that comes with an institute's history: before all that were posted here, in the order of times.
pub(crate) fn arrival_of_history(posted_at: i64) -> i64 {
    posted_at - BEFORE_REVISIONS
}

#[derive(Debug, Clone)]
pub(crate) struct NewMessage {
    pub(crate) message: String,
    pub(crate) author: String,
    /// Exactly one of `recipient` and `batch` is there.
    pub(crate) recipient: Option<String>,
    pub(crate) batch: Option<String>,
    pub(crate) text: String,
    pub(crate) posted_at: i64,
    /// Absent for a message that arrives with this transaction's revision.
    pub(crate) arrived: Option<i64>,
}

pub(crate) trait ReadMessages {
    /// Messages to the user and to their batches, the newest first; what they wrote themselves is left out.
    fn messages_to(&self, user: &str, batches: &[String], limit: u32) -> Result<Vec<MessageRow>, StoreError>;

    /// Where the message went; none when there is no such message.
    fn addressee(&self, message: &str) -> Result<Option<Addressee>, StoreError>;

    /// Those of the messages that were retracted.
    fn retracted_of(&self, messages: &[String]) -> Result<Vec<String>, StoreError>;

    /// What arrived for the user and their batches behind what they have read, without what was retracted: counted among the
    /// last `most` of each mailbox.
    fn unread_messages(&self, user: &str, batches: &[String], most: u32) -> Result<Unread, StoreError>;
}

pub(crate) trait WriteMessages {
    fn add_message(&self, message: &NewMessage) -> Result<bool, StoreError>;

    /// Whether it was not retracted before.
    fn retract_message(&self, message: &str, by: &str, reason: &str, at: i64) -> Result<bool, StoreError>;

    /// Notes that the user has read what arrived up to `until`, or up to now if that is earlier; false when that had been noted.
    fn read_messages(&self, user: &str, until: i64) -> Result<bool, StoreError>;
}
