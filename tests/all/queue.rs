//! What commits ask to be done after them is done once, whatever is killed when.

use integration_tests::{Origin, Person, SOON, until};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use test_servers::{Postgres, RabbitMq};

const TEACHER: &str = "teacher@northside.example";
const STUDENT: &str = "student@northside.example";
const DATABASE: &str = "rollcall";
/// Pause of a client whose origin is gone.
const RETRY: Duration = Duration::from_millis(20);
/// Without a primary: an origin that connected to the broker anew in it each time that the store fails would have the broker
/// give up what is in hand.
const OUTAGE: Duration = Duration::from_secs(15);
/// For what waits for leases and brokers to end.
const LATER: Duration = Duration::from_secs(90);

/// Posts messages, each under one key until it is acknowledged, at whichever origin answers.
struct Poster {
    stop: Arc<AtomicBool>,
    posted: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Poster {
    fn start(people: Vec<Person>) -> Self {
        let (stop, posted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&posted));
        let task = tokio::spawn(async move {
            let mut tries = 0;
            for n in 0.. {
                let (key, text) = (format!("post-{n}"), format!("message-{n}"));
                let command = json!({"command": "post-message", "to": {"batch": "maths-a"}, "text": text});
                loop {
                    tries += 1;
                    let person = &people[tries % people.len()];
                    let request = person.request(Method::POST, "/commands").header("idempotency-key", &key);
                    match request.json(&command).send().await {
                        Ok(answer) if answer.status() == 200 => break,
                        Ok(answer) => assert!(answer.status().is_server_error(), "{}", answer.status()),
                        // It may be committed or not.
                        Err(_) => {}
                    }
                    tokio::time::sleep(RETRY).await;
                }
                count.fetch_add(1, Ordering::SeqCst);
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
            }
        });
        Self { stop, posted, task }
    }

    async fn goes_on(&self, what: &str) {
        let posted = self.posted.load(Ordering::SeqCst);
        until(what, LATER, async || (self.posted.load(Ordering::SeqCst) >= posted + 10).then_some(())).await;
    }

    /// How many were posted in all.
    async fn stop(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.unwrap();
        self.posted.load(Ordering::SeqCst)
    }
}

/// How often the person was told of each message.
async fn told(person: &Person) -> BTreeMap<String, usize> {
    let mut told = BTreeMap::new();
    let mut path = "/api/notifications".to_owned();
    loop {
        let page: Value = person.get(&path).await.ok();
        for notification in page["notifications"].as_array().unwrap() {
            let text = notification["about"]["text"].as_str().unwrap_or_default().to_owned();
            *told.entry(text).or_default() += 1;
        }
        let Some(next) = page["next"].as_str() else { return told };
        path = format!("/api/notifications?before={next}");
    }
}

async fn told_of_each_once(person: &Person, posted: usize) {
    until("all to be told", LATER, async || (told(person).await.len() >= posted).then_some(())).await;
    let told = told(person).await;
    let each: BTreeMap<String, usize> = (0..posted).map(|n| (format!("message-{n}"), 1)).collect();
    assert_eq!(told, each);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_origin_that_is_killed_at_any_point_tells_everybody_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut origin = Origin::start_with(folder.path(), &[("ROLLCALL_ORIGIN_QUEUE__LEASE_S", "1")]).await;
    let teacher = Person::sign_in(origin.url(), TEACHER, "laptop").await;
    let student = Person::sign_in(origin.url(), STUDENT, "phone").await;
    let poster = Poster::start(vec![teacher]);
    for round in 0..6 {
        poster.goes_on("messages to be posted").await;
        tokio::time::sleep(Duration::from_millis(7 * round)).await;
        origin.kill9().await;
        origin.start_again().await;
    }
    let posted = poster.stop().await;
    told_of_each_once(&student, posted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn origins_a_broker_and_a_primary_that_are_killed_at_any_point_tell_everybody_once() {
    let (mut postgres, mut broker) = tokio::task::spawn_blocking(|| {
        let postgres = Postgres::start();
        postgres.create_database(DATABASE);
        (postgres, RabbitMq::start())
    })
    .await
    .unwrap();
    let (store, queue) = (postgres.url(DATABASE), broker.url());
    let settings = [
        ("ROLLCALL_ORIGIN_STORE__URL", store.as_str()),
        ("ROLLCALL_ORIGIN_QUEUE__URL", queue.as_str()),
        ("ROLLCALL_ORIGIN_QUEUE__LEASE_S", "2"),
        ("ROLLCALL_ORIGIN_QUEUE__REDELIVER_S", "5"),
    ];
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut one = Origin::start_with(folders[0].path(), &settings).await;
    let mut two = Origin::start_with(folders[1].path(), &settings).await;
    let teacher = Person::sign_in(one.url(), TEACHER, "laptop").await;
    let student = Person::sign_in(one.url(), STUDENT, "phone").await;
    let poster = Poster::start(vec![teacher.at(one.url()), teacher.at(two.url())]);
    poster.goes_on("a quiet start").await;
    one.kill9().await;
    poster.goes_on("life with one origin").await;
    one.start_again().await;
    two.kill9().await;
    poster.goes_on("life with the other").await;
    broker = tokio::task::spawn_blocking(move || {
        broker.kill9();
        broker
    })
    .await
    .unwrap();
    poster.goes_on("life without a broker").await;
    two.start_again().await;
    let broker = tokio::task::spawn_blocking(move || {
        broker.start_again();
        broker
    })
    .await
    .unwrap();
    poster.goes_on("life after the broker was killed").await;
    postgres = tokio::task::spawn_blocking(move || {
        postgres.kill9();
        std::thread::sleep(OUTAGE);
        postgres.start_again();
        postgres
    })
    .await
    .unwrap();
    poster.goes_on("life after the primary was killed").await;
    let posted = poster.stop().await;
    told_of_each_once(&student, posted).await;
    let left = postgres.sql(DATABASE, "SELECT count(*) FROM outbox");
    assert_eq!(left, "0", "{}", broker.queues());
}

#[tokio::test]
async fn an_operator_sees_what_was_set_aside_and_replays_it() {
    let postgres = tokio::task::spawn_blocking(|| {
        let postgres = Postgres::start();
        postgres.create_database(DATABASE);
        postgres
    })
    .await
    .unwrap();
    let store = postgres.url(DATABASE);
    let settings = [
        ("ROLLCALL_ORIGIN_STORE__URL", store.as_str()),
        ("ROLLCALL_ORIGIN_QUEUE__RETRY_MS", "10"),
        ("ROLLCALL_ORIGIN_QUEUE__FAILURES_MAX", "2"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start_with(folder.path(), &settings).await;
    postgres.sql(
        DATABASE,
        r#"INSERT INTO outbox (institute, consumer, revision, events, committed_at, due_at)
         VALUES ('northside.example', 'notifications', 1, '[{"event":"strange"}]', now(), now())"#,
    );
    let run = async |arguments: &[&str]| {
        let mut program = integration_tests::Program::new(
            &integration_tests::program("rollcall-origin"),
            ["queue"].iter().chain(arguments),
        )
        .in_folder(folder.path())
        .with_environment("ROLLCALL_ORIGIN_STORE__URL", &store)
        .with_environment("ROLLCALL_ORIGIN_LOG", "warn");
        program.start().await;
        assert!(program.ends().await.success(), "{}", program.log());
        program.log()
    };
    let listed = until("the event to be set aside", SOON, async || {
        let said = run(&["list"]).await;
        said.contains("0 wait, 1 set aside").then_some(said)
    })
    .await;
    assert!(listed.contains("northside.example 1 notifications: failed 2 times"), "{listed}");
    assert!(listed.contains("strange"), "{listed}");
    let teacher = Person::sign_in(origin.url(), TEACHER, "laptop").await;
    let user = teacher.claims()["sub"].as_str().unwrap().to_owned();
    postgres.sql(
        DATABASE,
        &format!(
            r#"UPDATE outbox SET events = '[{{"event":"submission-graded","student":"{user}","assignment":"a",
             "title":"t","score":1,"max_score":2}}]'"#
        ),
    );
    let replayed = run(&["replay", "--institute", "northside.example", "--revision", "1"]).await;
    assert!(replayed.contains("1 events will be done again"), "{replayed}");
    until("the event to be done", SOON, async || {
        let page = teacher.get("/api/notifications").await.ok();
        (page["unread"] == 1).then_some(())
    })
    .await;
}
