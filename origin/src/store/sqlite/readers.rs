//! The connections that read.

use super::transaction::Transaction;
use crate::store::error::StoreError;
use crate::store::transaction::Records;
use rusqlite::{Connection, TransactionBehavior};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Reading connections. Each takes up to 16 MiB of page cache, and more of them than cores would only wait.
const READERS: usize = 4;

/// Readers that wait for nobody: in WAL mode each sees the last commit before it began.
pub(super) struct Readers {
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    path: std::path::PathBuf,
    epoch: u64,
}

impl Readers {
    pub(super) fn open(path: &Path, epoch: u64) -> Result<Self, rusqlite::Error> {
        let idle = (0..READERS).map(|_| super::connect(path)).collect::<Result<Vec<_>, _>>()?;
        let permits = Arc::new(Semaphore::new(READERS));
        Ok(Self { idle: Mutex::new(idle), permits, path: path.to_owned(), epoch })
    }

    /// Waits for a turn, so that waiting readers take no blocking thread.
    pub(super) async fn permit(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        self.permits.clone().acquire_owned().await.map_err(|_| StoreError::Closed)
    }

    pub(super) fn read<T, E: From<StoreError>>(
        &self,
        institute: &str,
        work: impl FnOnce(&dyn Records) -> Result<T, E>,
    ) -> Result<T, E> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => super::connect(&self.path).map_err(StoreError::from)?,
        };
        let result = read_with(&mut connection, institute, self.epoch, work);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < READERS {
            idle.push(connection);
        }
        result
    }
}

fn read_with<T, E: From<StoreError>>(
    connection: &mut Connection,
    institute: &str,
    epoch: u64,
    work: impl FnOnce(&dyn Records) -> Result<T, E>,
) -> Result<T, E> {
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Deferred).map_err(StoreError::from)?;
    let result = work(&Transaction::new(&transaction, institute, epoch));
    // Nothing was written: the end of a reading transaction cannot lose anything.
    drop(transaction);
    result
}
