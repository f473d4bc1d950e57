//! Institutes, batches, who teaches and who studies in them.

use super::error::StoreError;
use sync_protocol::directory::DirectoryEntry;

/// An institute as its views show it.
#[derive(Debug, Clone)]
pub(crate) struct Institute {
    pub(crate) institute: String,
    pub(crate) name: String,
    /// IANA name, for example `Asia/Kolkata`.
    pub(crate) time_zone: String,
    /// ISO 4217.
    pub(crate) currency: String,
}

/// A batch as its teacher sees it.
#[derive(Debug)]
pub(crate) struct TaughtBatch {
    pub(crate) batch: String,
    pub(crate) title: String,
    pub(crate) students: u64,
}

/// A batch as its student sees it.
#[derive(Debug)]
pub(crate) struct StudiedBatch {
    pub(crate) batch: String,
    pub(crate) title: String,
    /// Names, in order.
    pub(crate) teachers: Vec<String>,
}

pub(crate) trait ReadDirectory {
    fn institute(&self) -> Result<Option<Institute>, StoreError>;

    fn batch_exists(&self, batch: &str) -> Result<bool, StoreError>;

    fn teaches(&self, user: &str, batch: &str) -> Result<bool, StoreError>;

    fn studies(&self, student: &str, batch: &str) -> Result<bool, StoreError>;

    /// Whether the two users meet in a batch, as teacher or student.
    fn share_batch(&self, one: &str, other: &str) -> Result<bool, StoreError>;

    fn taught_batches(&self, user: &str) -> Result<Vec<TaughtBatch>, StoreError>;

    fn studied_batches(&self, student: &str) -> Result<Vec<StudiedBatch>, StoreError>;

    /// Id and name of the active students of a batch, in order of name, at most `limit`.
    fn batch_students(&self, batch: &str, limit: u32) -> Result<Vec<(String, String)>, StoreError>;

    /// The user's entry in the directory, deactivated or not; none for somebody who is not of this institute.
    fn directory_entry(&self, user: &str) -> Result<Option<DirectoryEntry>, StoreError>;

    /// The whole directory, in order of user.
    fn directory(&self) -> Result<Vec<DirectoryEntry>, StoreError>;
}

pub(crate) trait WriteDirectory {
    /// Adds the institute unless it is there; whether it was added.
    fn add_institute(
        &self,
        name: &str,
        time_zone: &str,
        currency: &str,
        now: i64,
    ) -> Result<bool, StoreError>;

    fn add_batch(&self, batch: &str, title: &str) -> Result<bool, StoreError>;

    fn change_batch(&self, batch: &str, title: &str) -> Result<(), StoreError>;

    /// Changes the institute; what is absent stays.
    fn change_institute(
        &self,
        name: Option<&str>,
        time_zone: Option<&str>,
        currency: Option<&str>,
    ) -> Result<(), StoreError>;

    fn add_teacher(&self, batch: &str, user: &str) -> Result<bool, StoreError>;

    fn add_enrolment(&self, batch: &str, student: &str, now: i64) -> Result<bool, StoreError>;

    /// Whether the user did teach the batch.
    fn remove_teacher(&self, batch: &str, user: &str) -> Result<bool, StoreError>;

    /// Whether the student did study in the batch.
    fn remove_enrolment(&self, batch: &str, student: &str) -> Result<bool, StoreError>;

    /// Whether the user was not the student's guardian before.
    fn add_guardian(&self, guardian: &str, student: &str) -> Result<bool, StoreError>;

    /// Whether the user was the student's guardian.
    fn remove_guardian(&self, guardian: &str, student: &str) -> Result<bool, StoreError>;
}
