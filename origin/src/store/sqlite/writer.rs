//! The one connection that writes, on a thread of its own.
//!
//! Waiting writes are committed together: each runs in a savepoint of one transaction, so that an error undoes that
//! write alone, and all of them share one fsync. A write is answered after the commit.

use super::transaction::Transaction;
use crate::store::error::StoreError;
use crate::store::transaction::{Committed, WriteTx};
use crate::store::watchers::Watchers;
use rusqlite::Connection;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// Writes that may wait for their turn; more wait outside, holding nothing but their request.
const QUEUE: usize = 1024;
/// Most writes in one commit: the first of them waits for the last, so this bounds its delay.
const GROUP: usize = 128;

/// Told whether the commit succeeded, after it did or did not.
type Finish = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Job = Box<dyn FnOnce(&Connection) -> Finish + Send>;

pub(super) struct Writer {
    // Absent only while dropping.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    watchers: Arc<Watchers>,
    epoch: u64,
}

impl Writer {
    pub(super) fn start(
        connection: Connection,
        watchers: Arc<Watchers>,
        epoch: u64,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let thread =
            std::thread::Builder::new().name("store-writer".into()).spawn(move || run(connection, queue))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), watchers, epoch })
    }

    pub(super) async fn write<T, E, F>(&self, institute: &str, work: F) -> Result<Committed<T>, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut WriteTx<'_>) -> Result<T, E> + Send + 'static,
    {
        let (job, answer) = self.job(institute, work);
        self.sender()?.send(job).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or_else(|_| Err(StoreError::Panicked.into()))
    }

    pub(super) fn write_blocking<T, E, F>(&self, institute: &str, work: F) -> Result<Committed<T>, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut WriteTx<'_>) -> Result<T, E> + Send + 'static,
    {
        let (job, answer) = self.job(institute, work);
        self.sender()?.blocking_send(job).map_err(|_| StoreError::Closed)?;
        answer.blocking_recv().unwrap_or_else(|_| Err(StoreError::Panicked.into()))
    }

    fn sender(&self) -> Result<&mpsc::Sender<Job>, StoreError> {
        self.jobs.as_ref().ok_or(StoreError::Closed)
    }

    fn job<T, E, F>(&self, institute: &str, work: F) -> (Job, oneshot::Receiver<Result<Committed<T>, E>>)
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut WriteTx<'_>) -> Result<T, E> + Send + 'static,
    {
        let (answer, receiver) = oneshot::channel();
        let institute = institute.to_owned();
        let epoch = self.epoch;
        let watchers = self.watchers.clone();
        let job: Job = Box::new(move |connection| {
            let result = in_savepoint(connection, &institute, epoch, work);
            Box::new(move |committed| {
                let result = match (result, committed) {
                    (Ok(done), Ok(())) => {
                        watchers.tell_commit(&institute, &done);
                        Ok(done)
                    }
                    (Ok(_), Err(error)) => Err(error.into()),
                    (Err(error), _) => Err(error),
                };
                // Nobody waits when the caller was cancelled; the commit stands.
                drop(answer.send(result));
            })
        });
        (job, receiver)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported when it happened.
            drop(thread.join());
        }
    }
}

fn run(connection: Connection, mut queue: mpsc::Receiver<Job>) {
    while let Some(first) = queue.blocking_recv() {
        let mut group = vec![first];
        while group.len() < GROUP {
            let Ok(job) = queue.try_recv() else { break };
            group.push(job);
        }
        commit_group(&connection, group);
    }
}

fn commit_group(connection: &Connection, group: Vec<Job>) {
    if let Err(error) = connection.execute_batch("BEGIN IMMEDIATE") {
        tracing::error!(%error, "no write transaction");
        // The jobs are dropped unrun, and their callers told.
        return;
    }
    let finishes: Vec<Finish> =
        group.into_iter().filter_map(|job| catch_unwind(AssertUnwindSafe(|| job(connection))).ok()).collect();
    let committed = connection.execute_batch("COMMIT");
    if let Err(error) = &committed {
        tracing::error!(%error, "commit");
        if !connection.is_autocommit() {
            drop(connection.execute_batch("ROLLBACK"));
        }
    }
    for finish in finishes {
        finish(committed.as_ref().copied().map_err(|error| StoreError::Commit(error.to_string())));
    }
}

fn in_savepoint<T, E, F>(
    connection: &Connection,
    institute: &str,
    epoch: u64,
    work: F,
) -> Result<Committed<T>, E>
where
    E: From<StoreError>,
    F: FnOnce(&mut WriteTx<'_>) -> Result<T, E>,
{
    connection.execute_batch("SAVEPOINT job").map_err(StoreError::from)?;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let transaction = Transaction::new(connection, institute, epoch);
        let mut tx = WriteTx::new(&transaction);
        let value = work(&mut tx)?;
        Ok(tx.finish(value)?)
    }));
    let outcome = outcome.unwrap_or_else(|_| Err(StoreError::Panicked.into()));
    let end = if outcome.is_ok() { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" };
    connection.execute_batch(end).map_err(StoreError::from)?;
    outcome
}
