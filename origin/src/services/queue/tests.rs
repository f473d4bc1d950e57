//! What the queue promises, the same on each engine of the store and by each way of carrying work.

mod broker;

use super::*;
use crate::clock::unix_ms;
use crate::services::events::{Event, emit};
use crate::services::seed;
use crate::testing::TestDatabase;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Instant;
use tokio::task::JoinHandle;

const INSTITUTE: &str = "northside.example";
/// Longest wait for something to happen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A store with the sample institutes, and workers on it as several origins have them.
struct TestQueue {
    queue: QueueService,
    stopping: CancellationToken,
    workers: Vec<JoinHandle<()>>,
    // What the store is in, to the end.
    _folder: Option<tempfile::TempDir>,
    database: Option<TestDatabase>,
}

impl TestQueue {
    async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        Self::on(move || Store::open(&path).unwrap(), Some(folder), None).await
    }

    async fn postgres() -> Self {
        let database = tokio::task::spawn_blocking(TestDatabase::create).await.unwrap();
        let config = database.config();
        Self::on(move || Store::connect(&config).unwrap(), None, Some(database)).await
    }

    async fn on(
        open: impl FnOnce() -> Store + Send + 'static,
        folder: Option<tempfile::TempDir>,
        database: Option<TestDatabase>,
    ) -> Self {
        let opened = tokio::task::spawn_blocking(move || {
            let store = open();
            seed::load(&store, unix_ms()).unwrap();
            store
        });
        let second = Duration::from_secs(1);
        let retry = Duration::from_millis(10);
        let config = QueueConfig { lease: second, retry, failures_max: 3, ..QueueConfig::default() };
        let queue = QueueService::new(opened.await.unwrap(), config);
        Self { queue, stopping: CancellationToken::new(), workers: Vec::new(), _folder: folder, database }
    }

    /// As many origins begin to work on the outbox.
    fn work(&mut self, origins: usize) {
        for _ in 0..origins {
            self.workers.push(tokio::spawn(self.queue.clone().run(self.stopping.clone())));
        }
    }

    async fn stop(&mut self) {
        self.stopping.cancel();
        for worker in self.workers.drain(..) {
            worker.await.unwrap();
        }
    }

    /// A commit that tells the student of a grade; its revision.
    async fn grade(&self, score: f64) -> u64 {
        let graded = self.queue.store.write::<_, StoreError, _>(INSTITUTE, move |tx| {
            emit(tx, &event(score));
            Ok(())
        });
        graded.await.unwrap().revision
    }

    /// A commit with an event that nobody understands; its revision.
    async fn poison(&self) -> u64 {
        let poisoned = self.queue.store.write::<_, StoreError, _>(INSTITUTE, |tx| {
            tx.add_event(Consumer::Notifications.as_str(), json!({"event": "of-another-age"}));
            Ok(())
        });
        poisoned.await.unwrap().revision
    }

    /// The revisions that the student was told of, the newest first.
    async fn told(&self) -> Vec<u64> {
        let rows = self
            .queue
            .store
            .read::<_, StoreError, _>(INSTITUTE, |records| records.notifications(&student(), None, 10_000));
        rows.await.unwrap().into_iter().map(|row| row.id.revision).collect()
    }

    async fn until_waiting(&self, left: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.queue.figures().await.map(|figures| figures.waiting).ok() != Some(left) {
            assert!(Instant::now() < deadline, "{:?}", self.queue.figures().await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn student() -> String {
    seed::user_id_of("student@northside.example")
}

fn event(score: f64) -> Event {
    let (assignment, title) = ("maths-a-homework-2".to_owned(), "Homework".to_owned());
    Event::SubmissionGraded { student: student(), assignment, title, score, max_score: 20.0 }
}

macro_rules! on_each_engine {
    ($($claim:ident,)*) => {
        mod sqlite {
            use super::TestQueue;
            $(#[tokio::test(flavor = "multi_thread")] async fn $claim() { super::$claim(TestQueue::sqlite().await).await; })*
        }
        mod postgres {
            use super::TestQueue;
            $(#[tokio::test(flavor = "multi_thread")] async fn $claim() { super::$claim(TestQueue::postgres().await).await; })*
        }
    };
}

on_each_engine! {
    each_event_has_one_effect_however_many_work,
    the_same_work_taken_up_by_many_at_once_is_done_once,
    an_event_of_a_write_that_fails_is_never_seen,
    poison_is_set_aside_with_count_and_reason_and_the_rest_goes_on,
    work_that_was_set_aside_is_replayed,
    what_a_dead_worker_took_up_is_done_when_its_lease_ends,
    a_message_tells_all_of_its_batch_but_its_author,
}

async fn each_event_has_one_effect_however_many_work(mut test: TestQueue) {
    test.work(3);
    let mut graded = BTreeSet::new();
    for score in 0..60 {
        graded.insert(test.grade(f64::from(score) / 4.0).await);
    }
    test.until_waiting(0).await;
    let told = test.told().await;
    assert_eq!(told.len(), graded.len());
    assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), graded);
    test.stop().await;
}

async fn the_same_work_taken_up_by_many_at_once_is_done_once(test: TestQueue) {
    let revision = test.grade(1.0).await;
    let tries: Vec<_> = (0..8)
        .map(|_| {
            let queue = test.queue.clone();
            tokio::spawn(async move { queue.consume(INSTITUTE, "notifications", revision).await })
        })
        .collect();
    let mut outcomes = Vec::new();
    for one in tries {
        outcomes.push(one.await.unwrap());
    }
    let done = outcomes.iter().filter(|outcome| **outcome == Outcome::Done).count();
    let was_done = outcomes.iter().filter(|outcome| **outcome == Outcome::WasDone).count();
    assert_eq!((done, was_done), (1, 7), "{outcomes:?}");
    assert_eq!(test.told().await, [revision]);
    // Another institute has no such work.
    assert_eq!(test.queue.consume("riverside.example", "notifications", revision).await, Outcome::WasDone);
}

async fn an_event_of_a_write_that_fails_is_never_seen(mut test: TestQueue) {
    let failed = test.queue.store.write::<(), StoreError, _>(INSTITUTE, |tx| {
        emit(tx, &event(1.0));
        Err(StoreError::Closed)
    });
    assert!(failed.await.is_err());
    let kept = test.queue.store.write::<_, StoreError, _>(INSTITUTE, |tx| {
        let undone = tx.attempt::<(), StoreError>(|tx| {
            emit(tx, &event(2.0));
            Err(StoreError::Closed)
        });
        assert!(undone.is_err());
        emit(tx, &event(3.0));
        Ok(())
    });
    let kept = kept.await.unwrap().revision;
    test.work(1);
    test.until_waiting(0).await;
    assert_eq!(test.told().await, [kept]);
    test.stop().await;
}

async fn poison_is_set_aside_with_count_and_reason_and_the_rest_goes_on(mut test: TestQueue) {
    test.work(2);
    let before = test.grade(1.0).await;
    let poison = test.poison().await;
    let after = test.grade(2.0).await;
    test.until_waiting(0).await;
    assert_eq!(test.told().await, [after, before]);
    let aside = test.queue.set_aside(NO_INSTITUTE, 10).await.unwrap();
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert_eq!((aside[0].work.revision, aside[0].failures), (poison, 3));
    assert!(aside[0].fault.contains("of-another-age"), "{:?}", aside[0].fault);
    assert_eq!(aside[0].work.institute, INSTITUTE);
    assert_eq!(test.queue.figures().await.unwrap().set_aside, 1);
    assert_eq!(test.queue.set_aside("riverside.example", 10).await.unwrap().len(), 0);
    test.stop().await;
}

async fn work_that_was_set_aside_is_replayed(mut test: TestQueue) {
    test.work(1);
    let poison = test.poison().await;
    let other = test.poison().await;
    test.until_waiting(0).await;
    if let Some(database) = &test.database {
        // As a newer program would, which understands the event.
        let good = serde_json::to_string(&[event(1.0)]).unwrap();
        database.sql(&format!("UPDATE outbox SET events = '{good}' WHERE revision = {poison}"));
    }
    assert_eq!(test.queue.replay("riverside.example", None).await.unwrap(), 0);
    assert_eq!(test.queue.replay(INSTITUTE, Some(poison)).await.unwrap(), 1);
    test.until_waiting(0).await;
    let aside = test.queue.set_aside(INSTITUTE, 10).await.unwrap();
    let aside: BTreeSet<_> = aside.iter().map(|aside| (aside.work.revision, aside.failures)).collect();
    if test.database.is_some() {
        assert_eq!(test.told().await, [poison]);
        assert_eq!(aside, [(other, 3)].into());
    } else {
        // It was tried anew, as often as at first.
        assert_eq!(aside, [(poison, 3), (other, 3)].into());
    }
    test.stop().await;
}

async fn what_a_dead_worker_took_up_is_done_when_its_lease_ends(mut test: TestQueue) {
    let revision = test.grade(1.0).await;
    let taken = test.queue.claim(test.queue.config.lease, 10).await.unwrap();
    assert_eq!(taken.len(), 1);
    assert!(test.queue.claim(test.queue.config.lease, 10).await.unwrap().is_empty(), "it is leased");
    test.work(2);
    test.until_waiting(0).await;
    assert_eq!(test.told().await, [revision]);
    test.stop().await;
}

async fn a_message_tells_all_of_its_batch_but_its_author(test: TestQueue) {
    let teacher = seed::user_id_of("teacher@northside.example");
    let author = teacher.clone();
    let posted = test.queue.store.write::<_, StoreError, _>(INSTITUTE, move |tx| {
        let posted = Event::MessagePosted {
            message: "m".into(),
            author: author.clone(),
            author_name: "T".into(),
            recipient: None,
            batch: Some("maths-a".into()),
            excerpt: "Bring a ruler.".into(),
        };
        emit(tx, &posted);
        // Who is not of the institute is told nothing.
        let stranger = seed::user_id_of("student@riverside.example");
        let graded = Event::PaymentRecorded {
            student: stranger,
            payment: "p".into(),
            invoice: "i".into(),
            amount_minor: 1,
            due_minor: 0,
        };
        emit(tx, &graded);
        Ok(())
    });
    let revision = posted.await.unwrap().revision;
    assert_eq!(test.queue.consume(INSTITUTE, "notifications", revision).await, Outcome::Done);
    let told = test.queue.store.read::<_, StoreError, _>(INSTITUTE, move |records| {
        let students: Vec<_> = records
            .directory()?
            .into_iter()
            .filter(|entry| entry.batches.iter().any(|batch| batch == "maths-a"))
            .collect();
        assert!(students.len() > 3, "{students:?}");
        for member in students {
            let rows = records.notifications(&member.user, None, 10)?;
            assert_eq!(rows.len(), usize::from(member.user != teacher), "{}", member.user);
        }
        records.notifications(&seed::user_id_of("student@riverside.example"), None, 10)
    });
    assert!(told.await.unwrap().is_empty());
}
