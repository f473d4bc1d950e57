//! RabbitMQ between the outbox and the consumers.
//!
//! The relay publishes what is due, and a message is believed to be with the broker when the broker has confirmed it.
//! A message names work of the outbox; whoever gets it does that work as the outbox has it, so a message that comes
//! twice, late, or from nowhere does nothing. Work that failed is due again after its pause and is published anew: the
//! pauses, the counts and what was set aside are the outbox's, and outlive the broker. Work whose message the broker has
//! lost is published again after a while.

use super::topology::{self, DEAD, EXCHANGE};
use super::{Outcome, QueueService, workers};
use crate::services::events::Consumer;
use crate::store::{AfterFailure, StoreError, Work};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, BasicRejectOptions,
    ConfirmSelectOptions,
};
use lapin::types::FieldTable;
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Longest wait for a connection, and for an answer to what sets it up.
///
/// Long: a broker that was killed opens its port before all of its queues have recovered.
const CONNECT_MAX: Duration = Duration::from_secs(30);
/// Longest wait for the end of a connection to be heard, and AMQP's code for an end without a fault.
const CLOSE_MAX: Duration = Duration::from_secs(1);
const REPLY_SUCCESS: u16 = 200;
/// A broker that says nothing for two of these is given up, in seconds.
const HEARTBEAT_S: u16 = 5;
/// Longest wait for the confirmation of a message: the broker writes it to a majority's disks before.
const CONFIRM_MAX: Duration = Duration::from_secs(10);
/// Shortest and longest pause between two connections. It begins anew after one that held for a while: the end of each is
/// a delivery to every message that was in hand, and the broker gives those up that had too many.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
const STEADY: Duration = Duration::from_secs(30);
/// The process works without the broker when there was none for so long, which is looked at so often.
const STAND_IN_AFTER: Duration = Duration::from_secs(10);
const STAND_IN_LOOK: Duration = Duration::from_millis(500);
/// Messages that are published at a time.
const CLAIM: u32 = 128;
/// How often the outbox is looked at when this process commits nothing.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Messages that one consumer of this process has in hand, and how many of them it works on at the same time.
const PREFETCH: u16 = 32;
const HANDS: usize = 4;
/// Pause after the store did not answer. What it does says nothing of the broker: the connection stays, and so do the
/// messages in hand.
const OUTAGE_PAUSE: Duration = Duration::from_secs(1);
/// Longest message that is looked at, in bytes.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How often the queues are counted.
const COUNT_EVERY: Duration = Duration::from_secs(5);
/// Version 2 of AMQP's word for a message that survives the broker.
const PERSISTENT: u8 = 2;

const PUBLISHED: &str = "rollcall_origin_queue_published_total";
const CONNECTED: &str = "rollcall_origin_queue_broker_connected";
const MESSAGES: &str = "rollcall_origin_queue_messages";
const STRANGE: &str = "rollcall_origin_queue_strange_messages_total";

/// A broker and what is known of it; clones share that.
#[derive(Clone)]
pub(super) struct Broker {
    uri: Arc<AMQPUri>,
    /// Work whose message was confirmed and that is not done after this is published again.
    redeliver: Duration,
    /// Why nothing is sent now.
    problem: Arc<Mutex<Option<String>>>,
}

/// What ended a connection.
#[derive(Debug, thiserror::Error)]
enum SessionEnd {
    #[error("{0}")]
    Broker(#[from] lapin::Error),
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    #[error("a queue is gone")]
    QueueGone,
    #[error("{0} messages were not taken by the broker")]
    Refused(usize),
}

/// The message of work, for whoever reads the queues.
#[derive(Serialize)]
struct Message<'w> {
    institute: &'w str,
    consumer: &'w str,
    revision: u64,
    committed_at: i64,
    events: Value,
}

/// What of a message is believed.
#[derive(Deserialize)]
struct Pointer {
    institute: String,
    consumer: String,
    revision: u64,
}

impl Broker {
    pub(super) fn new(mut uri: AMQPUri, redeliver: Duration) -> Self {
        uri.query.heartbeat = Some(HEARTBEAT_S);
        let problem = Arc::new(Mutex::new(Some("it was not asked yet".to_owned())));
        Self { uri: Arc::new(uri), redeliver, problem }
    }

    /// Whether messages are sent now.
    pub(super) fn is_connected(&self) -> bool {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    fn note(&self, problem: Option<String>) {
        metrics::gauge!(CONNECTED).set(if problem.is_none() { 1.0 } else { 0.0 });
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    /// Publishes and consumes until the process stops. While the broker does not work, the process works by itself.
    pub(super) async fn run(&self, queue: &QueueService, stopping: &CancellationToken) {
        tokio::select! {
            () = self.stay_connected(queue, stopping) => {}
            () = self.stand_in(queue) => {}
        }
    }

    /// Does the work of the outbox as without a broker, for as long as there has been none for a while.
    async fn stand_in(&self, queue: &QueueService) {
        let mut missed = Duration::ZERO;
        loop {
            let pause = if missed >= STAND_IN_AFTER { workers::turn(queue).await } else { STAND_IN_LOOK };
            tokio::time::sleep(pause).await;
            missed = if self.is_connected() { Duration::ZERO } else { missed + pause };
        }
    }

    /// Over as many connections as it takes.
    async fn stay_connected(&self, queue: &QueueService, stopping: &CancellationToken) {
        let mut pause = PAUSE;
        loop {
            let began = Instant::now();
            let ended = tokio::select! {
                () = stopping.cancelled() => return,
                ended = self.session(queue) => ended,
            };
            if self.is_connected() && began.elapsed() >= STEADY {
                pause = PAUSE;
            }
            let Err(problem) = ended;
            tracing::warn!(%problem, "RabbitMQ: the connection ended");
            self.note(Some(problem.to_string()));
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// One connection, to its end.
    async fn session(&self, queue: &QueueService) -> Result<std::convert::Infallible, SessionEnd> {
        let properties = ConnectionProperties::default().with_connection_name("rollcall-origin".into());
        let uri = AMQPUri::clone(&self.uri);
        let connection = in_time(CONNECT_MAX, Connection::connect_uri(uri, properties)).await?;
        let ended = self.serve(queue, &connection).await;
        // Else one that the broker holds up would stay open.
        let closing = connection.close(REPLY_SUCCESS, "".into());
        drop(tokio::time::timeout(CLOSE_MAX, closing).await);
        ended
    }

    async fn serve(
        &self,
        queue: &QueueService,
        connection: &Connection,
    ) -> Result<std::convert::Infallible, SessionEnd> {
        let channel = in_time(CONNECT_MAX, connection.create_channel()).await?;
        in_time(CONNECT_MAX, topology::declare(&channel)).await?;
        in_time(CONNECT_MAX, channel.confirm_select(ConfirmSelectOptions::default())).await?;
        let counting = in_time(CONNECT_MAX, connection.create_channel()).await?;
        let mut consumers = Vec::new();
        for consumer in Consumer::ALL {
            let name = topology::queue_of(consumer);
            consumers.push(in_time(CONNECT_MAX, consume(connection, &name)).await?);
        }
        let dead = in_time(CONNECT_MAX, consume(connection, DEAD)).await?;
        tracing::info!("RabbitMQ answers");
        self.note(None);
        let working = futures_util::future::select_all(
            consumers.into_iter().map(|consumer| Box::pin(work(queue, consumer))),
        );
        tokio::select! {
            ended = self.relay(queue, &channel) => ended,
            ended = count(&counting) => ended,
            ended = bury(queue, dead) => ended,
            (ended, _, _) = working => ended,
        }
    }

    /// Publishes what is due.
    async fn relay(
        &self,
        queue: &QueueService,
        channel: &Channel,
    ) -> Result<std::convert::Infallible, SessionEnd> {
        loop {
            let claimed = match queue.claim(queue.config.lease, CLAIM).await {
                Ok(claimed) => claimed,
                Err(error) => {
                    tracing::warn!(%error, "the outbox cannot be read");
                    tokio::time::sleep(OUTAGE_PAUSE).await;
                    continue;
                }
            };
            if claimed.is_empty() {
                tokio::select! {
                    () = queue.store.work_committed() => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
                continue;
            }
            let (confirmed, problem) = publish(channel, &claimed).await;
            let refused = confirmed.iter().filter(|confirmed| !**confirmed).count();
            // Some of the others may be with the broker all the same: they are published twice, and done once.
            self.settle(queue, claimed, &confirmed).await;
            if let Some(problem) = problem {
                return Err(problem);
            }
            if refused > 0 {
                return Err(SessionEnd::Refused(refused));
            }
        }
    }

    /// Has what is not with the broker published soon, and the rest when it is not done for long. What the store does not
    /// take of that is published again when the lease ends, and done once.
    async fn settle(&self, queue: &QueueService, claimed: Vec<Work>, confirmed: &[bool]) {
        let mut pauses: BTreeMap<(String, String, Duration), Vec<u64>> = BTreeMap::new();
        for (work, confirmed) in claimed.into_iter().zip(confirmed) {
            let outcome = if *confirmed { "confirmed" } else { "refused" };
            metrics::counter!(PUBLISHED, "outcome" => outcome).increment(1);
            let pause = if *confirmed { self.redeliver } else { PAUSE };
            pauses.entry((work.institute, work.consumer, pause)).or_default().push(work.revision);
        }
        for ((institute, consumer, pause), revisions) in pauses {
            let put_off = queue.store.write_aside::<_, StoreError, _>(&institute, move |tx| {
                tx.put_off_work(&consumer, &revisions, pause)
            });
            if let Err(error) = put_off.await {
                tracing::warn!(%error, institute, "what was published is not noted");
            }
        }
    }
}

/// An answer of the broker, or the end of the patience with it.
async fn in_time<T, E>(limit: Duration, answer: impl Future<Output = Result<T, E>>) -> Result<T, SessionEnd>
where
    SessionEnd: From<E>,
{
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(SessionEnd::NoAnswer(limit)),
    }
}

/// Which are in a queue, on disk, and what came in the way of the others.
async fn publish(channel: &Channel, works: &[Work]) -> (Vec<bool>, Option<SessionEnd>) {
    let mut confirmed = vec![false; works.len()];
    // All at once: one after the other waits for the connection's thread each time.
    let sent =
        works.iter().enumerate().map(|(at, work)| async move { (at, publish_one(channel, work).await) });
    let mut sent: FuturesUnordered<_> = sent.collect();
    let until = Instant::now() + CONFIRM_MAX;
    loop {
        match tokio::time::timeout_at(until, sent.next()).await {
            Ok(Some((at, Ok(done)))) => confirmed[at] = done,
            Ok(Some((_, Err(problem)))) => return (confirmed, Some(problem.into())),
            Ok(None) => return (confirmed, None),
            Err(_) => return (confirmed, Some(SessionEnd::NoAnswer(CONFIRM_MAX))),
        }
    }
}

async fn publish_one(channel: &Channel, work: &Work) -> Result<bool, lapin::Error> {
    let message = Message {
        institute: &work.institute,
        consumer: &work.consumer,
        revision: work.revision,
        committed_at: work.committed_at,
        events: serde_json::from_str(&work.events).unwrap_or(Value::Null),
    };
    let body = serde_json::to_vec(&message).expect("texts and numbers are always JSON");
    let id = format!("{}/{}/{}", work.institute, work.consumer, work.revision);
    let properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_content_type("application/json".into())
        .with_message_id(id.into());
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let key = work.consumer.as_str().into();
    let confirmation = channel.basic_publish(EXCHANGE.into(), key, options, &body, properties).await?;
    // One that comes back was routed nowhere.
    Ok(matches!(confirmation.await?, Confirmation::Ack(None)))
}

async fn consume(connection: &Connection, queue: &str) -> Result<lapin::Consumer, SessionEnd> {
    let channel = connection.create_channel().await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    Ok(channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await?)
}

/// Does the work that messages name.
async fn work(
    queue: &QueueService,
    consumer: lapin::Consumer,
) -> Result<std::convert::Infallible, SessionEnd> {
    let mut working = consumer
        .map(|delivery| async move {
            let delivery = delivery?;
            let Some(pointer) = pointer(&delivery) else {
                delivery.acker.reject(BasicRejectOptions { requeue: false }).await?;
                return Ok(());
            };
            // Given back, it would come again at once, and its deliveries are counted.
            while queue.consume(&pointer.institute, &pointer.consumer, pointer.revision).await
                == Outcome::Outage
            {
                tokio::time::sleep(OUTAGE_PAUSE).await;
            }
            delivery.acker.ack(BasicAckOptions::default()).await?;
            Ok::<_, SessionEnd>(())
        })
        .buffer_unordered(HANDS);
    while let Some(done) = working.next().await {
        done?;
    }
    Err(SessionEnd::QueueGone)
}

/// Sets aside the work of messages that the broker has given up: they were delivered again and again, and whoever had
/// them died each time.
async fn bury(
    queue: &QueueService,
    mut dead: lapin::Consumer,
) -> Result<std::convert::Infallible, SessionEnd> {
    while let Some(delivery) = dead.next().await {
        let delivery = delivery?;
        match pointer(&delivery) {
            Some(pointer) => {
                tracing::error!(
                    institute = pointer.institute,
                    consumer = pointer.consumer,
                    revision = pointer.revision,
                    "the broker gave an event up"
                );
                while let Err(error) = set_aside(queue, &pointer).await {
                    tracing::warn!(%error, "what the broker gave up is not set aside");
                    if !error.is_outage() {
                        // The outbox has it all the same, and it is published again.
                        break;
                    }
                    tokio::time::sleep(OUTAGE_PAUSE).await;
                }
            }
            None => {
                // None of ours: the outbox has everything that is.
                tracing::error!(bytes = delivery.data.len(), "a message in the queues that is none of ours");
                metrics::counter!(STRANGE).increment(1);
            }
        }
        delivery.acker.ack(BasicAckOptions::default()).await?;
    }
    Err(SessionEnd::QueueGone)
}

async fn set_aside(queue: &QueueService, pointer: &Pointer) -> Result<(), StoreError> {
    let (consumer, revision) = (pointer.consumer.clone(), pointer.revision);
    let given_up = queue.store.write_aside::<_, StoreError, _>(&pointer.institute, move |tx| {
        let fault = "the broker gave it up: whoever had it ended before it was done, time and again";
        tx.fail_work(&consumer, revision, fault, AfterFailure::SetAside)
    });
    given_up.await.map(drop)
}

/// Counts what is in the queues, and finds out when one is gone.
async fn count(channel: &Channel) -> Result<std::convert::Infallible, SessionEnd> {
    let names: Vec<String> =
        Consumer::ALL.into_iter().map(topology::queue_of).chain([DEAD.to_owned()]).collect();
    loop {
        for name in &names {
            let messages = in_time(CONNECT_MAX, topology::count(channel, name)).await?;
            metrics::gauge!(MESSAGES, "queue" => name.clone()).set(f64::from(messages));
        }
        tokio::time::sleep(COUNT_EVERY).await;
    }
}

fn pointer(delivery: &Delivery) -> Option<Pointer> {
    let bytes = &delivery.data;
    (bytes.len() <= MESSAGE_BYTES_MAX).then(|| serde_json::from_slice(bytes).ok()).flatten()
}

pub(super) fn describe() {
    use metrics::{describe_counter, describe_gauge};
    describe_counter!(PUBLISHED, "Messages that were given to the broker, by what it said.");
    describe_gauge!(CONNECTED, "Whether the broker is reached (1) or not (0).");
    describe_gauge!(MESSAGES, "Messages in the broker's queues.");
    describe_counter!(STRANGE, "Messages in the queues that are none of ours.");
}
