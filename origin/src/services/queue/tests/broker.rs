//! The same promises with a real RabbitMQ in between, which hangs, loses a queue and dies.

use super::*;
use crate::services::queue::config::BrokerConfig;
use crate::store::PostgresConfig;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use test_servers::{Postgres, RabbitMq};

/// A message that the broker has lost is published again after this in these tests.
const REDELIVER: Duration = Duration::from_secs(3);

impl TestQueue {
    fn with(mut self, broker: &RabbitMq) -> Self {
        let uri = broker.url().parse().unwrap();
        let config = QueueConfig {
            broker: Some(BrokerConfig { uri, redeliver: REDELIVER }),
            ..self.queue.config.clone()
        };
        self.queue = QueueService::new(self.queue.store.clone(), config);
        self
    }
}

async fn start_broker() -> RabbitMq {
    tokio::task::spawn_blocking(RabbitMq::start).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_holds_for_workers_in_the_process_holds_with_rabbitmq_in_between() {
    let broker = start_broker().await;
    let postgres = async || TestQueue::postgres().await.with(&broker);
    each_event_has_one_effect_however_many_work(postgres().await).await;
    poison_is_set_aside_with_count_and_reason_and_the_rest_goes_on(postgres().await).await;
    work_that_was_set_aside_is_replayed(postgres().await).await;
    what_a_dead_worker_took_up_is_done_when_its_lease_ends(postgres().await).await;
    an_event_of_a_write_that_fails_is_never_seen(postgres().await).await;
    let sqlite = async || TestQueue::sqlite().await.with(&broker);
    each_event_has_one_effect_however_many_work(sqlite().await).await;
    poison_is_set_aside_with_count_and_reason_and_the_rest_goes_on(sqlite().await).await;
    let queues = tokio::task::spawn_blocking(move || broker.queues()).await.unwrap();
    for queue in ["rollcall.events.notifications", "rollcall.dead"] {
        assert!(queues.contains(queue), "{queues}");
    }
}

/// A writer that never stops, and what it has committed.
struct Writer {
    stop: Arc<AtomicBool>,
    task: JoinHandle<BTreeSet<u64>>,
}

impl Writer {
    fn start(test: &TestQueue) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (queue, stopped) = (test.queue.clone(), Arc::clone(&stop));
        let task = tokio::spawn(async move {
            let mut graded = BTreeSet::new();
            while !stopped.load(Ordering::SeqCst) {
                let written = queue.store.write::<_, StoreError, _>(INSTITUTE, |tx| {
                    emit(tx, &event(1.0));
                    Ok(())
                });
                graded.insert(written.await.unwrap().revision);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            graded
        });
        Self { stop, task }
    }

    async fn stop(self) -> BTreeSet<u64> {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.unwrap()
    }
}

impl TestQueue {
    /// Waits until so many more were told.
    async fn goes_on(&self, what: &str) {
        let told = self.told().await.len();
        let deadline = Instant::now() + PATIENCE;
        while self.told().await.len() < told + 20 {
            assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_or_done_twice_while_the_broker_hangs_loses_a_queue_and_dies() {
    let mut broker = start_broker().await;
    let mut test = TestQueue::postgres().await.with(&broker);
    test.work(2);
    let writer = Writer::start(&test);
    test.goes_on("a quiet start").await;
    // The queue goes with what is in it, and comes back empty.
    broker = tokio::task::spawn_blocking(move || {
        broker.delete_queue("rollcall.events.notifications");
        broker
    })
    .await
    .unwrap();
    test.goes_on("life after a queue was deleted").await;
    broker.pause();
    tokio::time::sleep(Duration::from_secs(1)).await;
    broker.resume();
    test.goes_on("life after the broker hung").await;
    broker.kill9();
    // The origins work by themselves when they have missed it for a while.
    test.goes_on("life without a broker").await;
    let _broker = tokio::task::spawn_blocking(move || {
        broker.start_again();
        broker
    })
    .await
    .unwrap();
    test.goes_on("life after the broker was killed").await;
    let graded = writer.stop().await;
    test.until_waiting(0).await;
    let told = test.told().await;
    assert_eq!(told.len(), graded.len());
    assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), graded);
    // A second effect of one event would break the notifications' key, and be set aside.
    assert!(test.queue.set_aside(NO_INSTITUTE, 10).await.unwrap().is_empty());
    test.stop().await;
}

/// Longer than it takes to end twenty connections, which is how often the broker delivers a message at most.
const OUTAGE: Duration = Duration::from_secs(20);

/// Work in the queues when the primary is killed is no poison: it stays in hand, over the same connection, until the
/// store answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_outage_of_the_store_sets_no_healthy_work_aside() {
    let broker = start_broker().await;
    let mut server = tokio::task::spawn_blocking(|| {
        let server = Postgres::start();
        server.create_database("rollcall");
        server
    })
    .await
    .unwrap();
    let config = PostgresConfig::of(&server.url("rollcall"), Vec::new());
    let mut test = TestQueue::on(move || Store::connect(&config).unwrap(), None, None).await.with(&broker);
    let mut graded = BTreeSet::new();
    for score in 0..400 {
        graded.insert(test.grade(f64::from(score % 20)).await);
    }
    test.work(1);
    test.goes_on("the first of the backlog").await;
    server.kill9();
    let connected = || test.queue.broker.as_ref().unwrap().is_connected();
    let back = Instant::now() + OUTAGE;
    while Instant::now() < back {
        assert!(connected(), "an outage of the store ended the broker's connection");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let _server = tokio::task::spawn_blocking(move || {
        server.start_again();
        server
    })
    .await
    .unwrap();
    test.until_waiting(0).await;
    let told = test.told().await;
    assert_eq!(told.len(), graded.len());
    assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), graded);
    assert!(test.queue.set_aside(NO_INSTITUTE, 10).await.unwrap().is_empty());
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_none_of_ours_do_nothing() {
    let broker = start_broker().await;
    let mut test = TestQueue::postgres().await.with(&broker);
    test.work(1);
    let first = test.grade(1.0).await;
    test.until_waiting(0).await;
    let connection =
        lapin::Connection::connect(&broker.url(), lapin::ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let done = format!(r#"{{"institute":"{INSTITUTE}","consumer":"notifications","revision":{first}}}"#);
    let strange = [
        "".to_owned(),
        "{}".to_owned(),
        "[".repeat(10_000),
        r#"{"institute":"nowhere","consumer":"notifications","revision":1}"#.to_owned(),
        r#"{"institute":"northside.example","consumer":"x","revision":18446744073709551615}"#.to_owned(),
        done,
    ];
    for body in &strange {
        for exchange in ["rollcall.events", "rollcall.dead"] {
            let options = lapin::options::BasicPublishOptions::default();
            let properties = lapin::BasicProperties::default();
            let key = "notifications".into();
            let sent = channel.basic_publish(exchange.into(), key, options, body.as_bytes(), properties);
            sent.await.unwrap().await.unwrap();
        }
    }
    let second = test.grade(2.0).await;
    test.until_waiting(0).await;
    assert_eq!(test.told().await, [second, first]);
    assert!(test.queue.set_aside(NO_INSTITUTE, 10).await.unwrap().is_empty());
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = topology::count(&channel, DEAD_QUEUE).await.unwrap()
            + topology::count(&channel, "rollcall.events.notifications").await.unwrap();
        if left == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "{left} messages stay");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    test.stop().await;
}

/// What the broker gives up goes here.
const DEAD_QUEUE: &str = topology::DEAD;
