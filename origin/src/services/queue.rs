//! The queue: what commits ask to be done after them, done once each.
//!
//! The outbox is the truth (`store/outbox.rs`). Work is done in the transaction that takes its row away, so it may be
//! taken up any number of times, by any origin, after any crash: it has one effect. Work that fails is tried again after
//! a pause that grows, and set aside when it failed too often; the rest goes on. An operator sees what was set aside,
//! with the count and the reason, and replays it.
//!
//! Without a broker the workers of this module take what is due from the outbox; with one (`broker.rs`) it carries the
//! work between the origins.

mod broker;
mod config;
mod consumers;
mod topology;
mod workers;

#[cfg(test)]
mod tests;

pub(crate) use config::{QueueConfig, QueueSettings};

use super::events::Consumer;
use super::readiness::Dependency;
use crate::clock::unix_ms;
use crate::store::{AfterFailure, NO_INSTITUTE, OutboxFigures, SetAside, Store, StoreError, Work};
use broker::Broker;
use consumers::Fault;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const EVENTS: &str = "rollcall_origin_queue_events_total";
const WAITING: &str = "rollcall_origin_outbox_waiting";
const OLDEST: &str = "rollcall_origin_outbox_oldest_seconds";
const SET_ASIDE: &str = "rollcall_origin_outbox_set_aside";

/// Longest reason that is kept with work that failed, in characters.
const FAULT_CHARS: usize = 500;

#[derive(Clone)]
pub(crate) struct QueueService {
    store: Store,
    config: QueueConfig,
    broker: Option<Broker>,
}

/// What became of work that was taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// Somebody did it before.
    WasDone,
    /// Tried again after a pause, or set aside.
    Failed,
    /// The store did not work: nothing is known of the work itself.
    Outage,
}

impl QueueService {
    pub(crate) fn new(store: Store, config: QueueConfig) -> Self {
        let broker = config.broker.clone().map(|broker| Broker::new(broker.uri, broker.redeliver));
        Self { store, config, broker }
    }

    /// Works until the process stops.
    pub(crate) async fn run(self, stopping: CancellationToken) {
        match self.broker.clone() {
            Some(broker) => broker.run(&self, &stopping).await,
            None => workers::run(self, stopping).await,
        }
    }

    /// How much waits in all institutes.
    pub(crate) async fn figures(&self) -> Result<OutboxFigures, StoreError> {
        self.store.read(NO_INSTITUTE, |records| records.outbox_figures()).await
    }

    /// Sets the gauges; they stay as they were while the store does not answer.
    pub(crate) async fn measure(&self) {
        if let Ok(figures) = self.figures().await {
            metrics::gauge!(WAITING).set(figures.waiting as f64);
            metrics::gauge!(SET_ASIDE).set(figures.set_aside as f64);
            let oldest = figures.oldest.map_or(0, |oldest| unix_ms().saturating_sub(oldest).max(0));
            metrics::gauge!(OLDEST).set(oldest as f64 / 1_000.0);
        }
    }

    pub(crate) fn health(&self) -> Dependency {
        match &self.broker {
            None => Dependency::ok("in-process"),
            Some(broker) if broker.is_connected() => Dependency::ok("rabbitmq"),
            Some(_) => {
                Dependency::degraded("rabbitmq", "the broker is not reached, work waits in the outbox")
            }
        }
    }

    /// Work of an institute, or of all with [`NO_INSTITUTE`], that failed too often; the oldest first.
    pub(crate) async fn set_aside(&self, institute: &str, limit: u32) -> Result<Vec<SetAside>, StoreError> {
        self.store.read(institute, move |records| records.work_set_aside(limit)).await
    }

    /// Has work of an institute done again that was set aside: of one commit, or all of it; how much.
    pub(crate) async fn replay(&self, institute: &str, revision: Option<u64>) -> Result<u64, StoreError> {
        let replayed = self.store.write_aside(institute, move |tx| tx.replay_work(revision)).await?;
        Ok(replayed.value)
    }

    async fn claim(&self, lease: Duration, limit: u32) -> Result<Vec<Work>, StoreError> {
        let claimed =
            self.store.write_aside::<_, StoreError, _>(NO_INSTITUTE, move |tx| tx.claim_work(lease, limit));
        Ok(claimed.await?.value)
    }

    /// Does what one commit asks of one consumer, unless it was done before.
    pub(crate) async fn consume(&self, institute: &str, consumer: &str, revision: u64) -> Outcome {
        let name = consumer.to_owned();
        let done = self.store.write_aside::<_, Fault, _>(institute, move |tx| {
            let Some(work) = tx.take_work(&name, revision)? else { return Ok(Outcome::WasDone) };
            consumers::apply(tx, &work)?;
            Ok(Outcome::Done)
        });
        let outcome = match done.await {
            Ok(done) => done.value,
            Err(Fault::Store(error)) if error.is_outage() => {
                tracing::warn!(%error, institute, consumer, revision, "the store did not take an event's effect");
                Outcome::Outage
            }
            Err(fault) => match self.note_failure(institute, consumer, revision, &fault.to_string()).await {
                Ok(()) => Outcome::Failed,
                Err(error) => {
                    tracing::warn!(%error, institute, consumer, revision, "the failure of an event is not noted");
                    Outcome::Outage
                }
            },
        };
        count(consumer, outcome);
        outcome
    }

    /// Does the work of one institute that was taken up together: in one transaction, or each in its own when something
    /// in it fails.
    async fn consume_all(&self, institute: &str, works: Vec<Work>) {
        let works = Arc::new(works);
        let all = Arc::clone(&works);
        let done = self.store.write_aside::<_, Fault, _>(institute, move |tx| {
            let mut outcomes = Vec::with_capacity(all.len());
            for work in all.iter() {
                outcomes.push(match tx.take_work(&work.consumer, work.revision)? {
                    Some(work) => consumers::apply(tx, &work).map(|()| Outcome::Done)?,
                    None => Outcome::WasDone,
                });
            }
            Ok(outcomes)
        });
        match done.await {
            Ok(done) => {
                works.iter().zip(done.value).for_each(|(work, outcome)| count(&work.consumer, outcome));
            }
            Err(Fault::Store(error)) if error.is_outage() => {
                tracing::warn!(%error, institute, "the store did not take the effects of events");
                works.iter().for_each(|work| count(&work.consumer, Outcome::Outage));
            }
            Err(_) => {
                for work in works.iter() {
                    if self.consume(institute, &work.consumer, work.revision).await == Outcome::Outage {
                        // The lease brings the rest back.
                        return;
                    }
                }
            }
        }
    }

    /// Counts a failure, and sets the work aside when it was one too many.
    async fn note_failure(
        &self,
        institute: &str,
        consumer: &str,
        revision: u64,
        fault: &str,
    ) -> Result<(), StoreError> {
        let (name, config) = (consumer.to_owned(), self.config.clone());
        let fault: String = fault.chars().take(FAULT_CHARS).collect();
        tracing::warn!(fault, institute, consumer, revision, "an event's effect failed");
        let noted = self.store.write_aside::<_, StoreError, _>(institute, move |tx| {
            let Some(failures) = tx.failures_of_work(&name, revision)? else { return Ok(()) };
            let after = if failures + 1 >= config.failures_max {
                tracing::error!(
                    fault,
                    consumer = name,
                    revision,
                    "an event failed too often, it is set aside"
                );
                AfterFailure::SetAside
            } else {
                AfterFailure::Retry(config.pause_after(failures))
            };
            tx.fail_work(&name, revision, &fault, after)
        });
        noted.await.map(drop)
    }
}

/// Names that come from the outbox and are none of ours are not repeated: they would be labels without bound.
fn label(consumer: &str) -> &'static str {
    Consumer::parse(consumer).map_or("unknown", Consumer::as_str)
}

fn count(consumer: &str, outcome: Outcome) {
    let outcome = match outcome {
        Outcome::Done => "done",
        Outcome::WasDone => "was-done",
        Outcome::Failed => "failed",
        Outcome::Outage => "outage",
    };
    metrics::counter!(EVENTS, "consumer" => label(consumer), "outcome" => outcome).increment(1);
}

/// Says what the metrics of the queue mean, to whoever collects them.
pub(crate) fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge};
    describe_counter!(EVENTS, "Work of the outbox that this process took up, by consumer and outcome.");
    describe_gauge!(WAITING, "Work that waits in the outbox, of all institutes.");
    describe_gauge!(OLDEST, Unit::Seconds, "How long the oldest of it has waited.");
    broker::describe();
    describe_gauge!(SET_ASIDE, "Work that failed too often and waits for an operator.");
}
