//! What can go wrong in the store.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A transaction that did not happen. All of these may pass: the caller may try again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("database: {0}")]
    Postgres(PostgresError),
    #[error("no connection to {server}: {problem}")]
    NoConnection { server: String, problem: String },
    #[error("the database gave no answer within {0:?}")]
    NoAnswer(Duration),
    /// It may be committed or not. Only a repetition with the same idempotency key is safe.
    #[error("whether the transaction is committed is unknown: {0}")]
    Unknown(String),
    #[error("the server is of epoch {found}, {highest} has been seen")]
    PastEpoch { found: u64, highest: u64 },
    /// A statement failed and its error was not passed on.
    #[error("a transaction went on after a failed statement")]
    Failed,
    #[error("stored {what} cannot be read: {text:?}")]
    Corrupt { what: &'static str, text: String },
    #[error("the store is closing")]
    Closed,
    #[error("a transaction panicked")]
    Panicked,
    #[error("the commit of a group of transactions: {0}")]
    Commit(String),
}

/// Classes of Postgres' errors that are no fault of what was asked: connection, read-only server, rollback by conflict,
/// resources, locks, operator, system.
const OUTAGE_CLASSES: [&str; 7] = ["08", "25", "40", "53", "55", "57", "58"];

impl StoreError {
    /// Whether the store itself did not work, whatever was asked of it: the same may succeed later. Otherwise what was
    /// asked cannot be done as it is.
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            StoreError::Sqlite(error) => error.sqlite_error_code().is_some_and(|code| {
                use rusqlite::ErrorCode::{
                    CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, SystemIoFailure,
                };
                matches!(code, CannotOpen | DatabaseBusy | DatabaseLocked | DiskFull | SystemIoFailure)
            }),
            StoreError::Postgres(PostgresError(error)) => error
                .code()
                .is_none_or(|code| OUTAGE_CLASSES.iter().any(|class| code.code().starts_with(class))),
            StoreError::NoConnection { .. }
            | StoreError::NoAnswer(_)
            | StoreError::Unknown(_)
            | StoreError::PastEpoch { .. }
            | StoreError::Closed
            | StoreError::Commit(_) => true,
            StoreError::Failed | StoreError::Corrupt { .. } | StoreError::Panicked => false,
        }
    }

    /// Whether a value that was given is one that the engine cannot hold (class 22, "data exception"): it will never
    /// be.
    pub(crate) fn is_of_data(&self) -> bool {
        let StoreError::Postgres(PostgresError(error)) = self else { return false };
        error.code().is_some_and(|code| code.code().starts_with("22"))
    }
}

/// Why the store did not open. Each is one sentence for whoever starts the process.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("data folder {folder} is in use by {holder}", folder = folder.display())]
    Locked { folder: PathBuf, holder: String },
    #[error("data folder {folder}: {source}", folder = folder.display())]
    Folder { folder: PathBuf, source: std::io::Error },
    #[error("database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("schema of the database: {0}")]
    Migration(#[from] refinery::Error),
    #[error("the database names epoch {0}")]
    Epoch(i64),
    #[error("database: {0}")]
    Postgres(PostgresError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the database has schema {found}, this program knows {known}: use a newer program")]
    NewerSchema { found: i64, known: i64 },
    #[error("the database has schema {found}, this program needs {known}: run `rollcall-origin migrate`")]
    OlderSchema { found: i64, known: i64 },
    #[error("certificates of {path}: {problem}", path = path.display())]
    Certificates { path: PathBuf, problem: String },
    #[error("TLS: {0}")]
    Tls(String),
    #[error("threads of the store: {0}")]
    Runtime(std::io::Error),
}

/// What Postgres or the way to it answered, in one line: the library's own text leaves the cause out. It stands for
/// its causes, so it names none as its source, and neither do the errors that show it.
#[derive(Debug)]
pub(crate) struct PostgresError(pub(super) tokio_postgres::Error);

impl std::error::Error for PostgresError {}

impl From<tokio_postgres::Error> for PostgresError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self(error)
    }
}

impl From<PostgresError> for OpenError {
    fn from(error: PostgresError) -> Self {
        OpenError::Postgres(error)
    }
}

impl fmt::Display for PostgresError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.as_db_error(), std::error::Error::source(&self.0)) {
            (Some(error), _) => write!(f, "{} ({})", error.message(), error.code().code()),
            // Some of the library's texts end with their cause.
            (None, Some(cause)) if !self.0.to_string().contains(&cause.to_string()) => {
                write!(f, "{}: {cause}", self.0)
            }
            (None, Some(_) | None) => self.0.fmt(f),
        }
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        StoreError::Postgres(error.into())
    }
}
