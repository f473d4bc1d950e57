//! Workers in this process, on the outbox itself.

use super::QueueService;
use crate::store::Work;
use futures_util::StreamExt as _;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Work that is taken up at a time: little enough to be done well within a lease.
const CLAIM: u32 = 64;
/// Institutes whose work is done at the same time. Each takes a connection of the store.
const INSTITUTES: usize = 4;
/// How often the outbox is looked at when this process commits nothing: for work that other processes left, and work
/// whose pause or lease has ended.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Pause after the store did not answer.
const OUTAGE_PAUSE: Duration = Duration::from_secs(1);

pub(super) async fn run(queue: QueueService, stopping: CancellationToken) {
    loop {
        let pause = turn(&queue).await;
        tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            () = queue.store.work_committed(), if pause == LOOK_EVERY => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Takes up what is due, once; how long to wait before the next time.
pub(super) async fn turn(queue: &QueueService) -> Duration {
    match queue.claim(queue.config.lease, CLAIM).await {
        Ok(claimed) if claimed.is_empty() => LOOK_EVERY,
        Ok(claimed) => {
            work_through(queue, claimed).await;
            Duration::ZERO
        }
        Err(error) => {
            tracing::warn!(%error, "the outbox cannot be read");
            OUTAGE_PAUSE
        }
    }
}

/// The work of each institute in the order of its commits.
async fn work_through(queue: &QueueService, claimed: Vec<Work>) {
    let mut institutes: BTreeMap<String, Vec<Work>> = BTreeMap::new();
    for work in claimed {
        institutes.entry(work.institute.clone()).or_default().push(work);
    }
    futures_util::stream::iter(institutes)
        .for_each_concurrent(INSTITUTES, |(institute, works)| async move {
            queue.consume_all(&institute, works).await;
        })
        .await;
}
