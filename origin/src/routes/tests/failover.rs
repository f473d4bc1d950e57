//! Servers stop, hang, lag and die under load; what clients were told must hold all the same.

use crate::store::PostgresConfig;
use crate::testing::{Answer, TestOrigin, User};
use axum::http::{Method, StatusCode};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use sync_protocol::bookmark::Bookmark;
use test_servers::Postgres;
use tokio::task::JoinSet;

/// Longest wait for something to happen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause of a client that was told to come again: short, to see as much of a failure as can be.
const RETRY: Duration = Duration::from_millis(20);
const WRITERS: usize = 3;

/// What the clients did and were told.
pub(super) struct History {
    origins: [TestOrigin; 2],
    teacher: User,
    /// Keys of commands that were answered with 200.
    acknowledged: Mutex<BTreeSet<String>>,
    /// The newest bookmark that any writer was given.
    newest: Mutex<Option<Bookmark>>,
    reads: AtomicUsize,
    /// Answers that asked to come again.
    pub(super) refused: AtomicUsize,
    stop: AtomicBool,
}

impl History {
    /// Of a teacher at two origins of one cluster.
    pub(super) async fn begin(origins: [TestOrigin; 2]) -> Arc<Self> {
        let teacher = origins[0].user("teacher@northside.example").await;
        Arc::new(Self {
            origins,
            teacher,
            acknowledged: Mutex::default(),
            newest: Mutex::default(),
            reads: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        })
    }

    /// So many writers, and two readers.
    pub(super) fn clients(self: &Arc<Self>, writers: usize) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        (0..writers).for_each(|writer| drop(clients.spawn(self.clone().write(writer))));
        (0..2).for_each(|_| drop(clients.spawn(self.clone().read())));
        clients
    }

    pub(super) async fn end(&self, clients: &mut JoinSet<()>) {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = clients.join_next().await {
            ended.unwrap();
        }
    }

    /// How many of its servers an origin uses.
    pub(super) fn servers_used(&self, origin: usize) -> usize {
        self.origins[origin].app.store.servers().iter().filter(|server| server.used).count()
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Whether the client must come again; everything but that and success is a fault.
    async fn must_retry(&self, answer: &Answer) -> bool {
        if answer.status == StatusCode::OK {
            return false;
        }
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
        assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
        self.refused.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(RETRY).await;
        true
    }

    /// Posts messages, each under one key until it is acknowledged, at whichever origin.
    async fn write(self: Arc<Self>, writer: usize) {
        for n in 0.. {
            let key = format!("w{writer}-{n}");
            let command = json!({"command": "post-message", "to": {"batch": "maths-a"}, "text": key});
            let mut tries = writer;
            loop {
                if self.stopped() {
                    return;
                }
                tries += 1;
                let answer = self.origins[tries % 2].command(&self.teacher, &key, command.clone()).await;
                if self.must_retry(&answer).await {
                    continue;
                }
                let bookmark: Bookmark = answer.header("rollcall-bookmark").parse().unwrap();
                let mut newest = self.newest.lock().unwrap();
                *newest = (*newest).max(Some(bookmark));
                self.acknowledged.lock().unwrap().insert(key);
                break;
            }
        }
    }

    /// Reads at either origin with the newest bookmark that anybody has; no answer may be older than it.
    async fn read(self: Arc<Self>) {
        let mut own = None;
        for turn in 0.. {
            if self.stopped() {
                return;
            }
            let seen = own.max(*self.newest.lock().unwrap());
            let text = seen.map_or_else(String::new, |seen| seen.to_string());
            let bearer = self.teacher.bearer();
            let mut headers = vec![("authorization", bearer.as_str())];
            if seen.is_some() {
                headers.push(("rollcall-bookmark", text.as_str()));
            }
            let answer =
                self.origins[turn % 2].request(Method::GET, "/api/teachers/dashboard", &headers, "").await;
            if self.must_retry(&answer).await {
                continue;
            }
            let read: Bookmark = answer.header("rollcall-bookmark").parse().unwrap();
            assert!(Some(read) >= seen, "a read of {read} with bookmark {seen:?}");
            own = Some(read);
            self.reads.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Waits for so many more acknowledged writes and reads.
    pub(super) async fn goes_on(&self, what: &str) {
        let done = || (self.acknowledged.lock().unwrap().len(), self.reads.load(Ordering::SeqCst));
        let (writes, reads) = done();
        self.until(what, || done().0 >= writes + 15 && done().1 >= reads + 15).await;
    }

    pub(super) async fn until(&self, what: &str, done: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_every_failure_no_acknowledged_write_is_lost_or_doubled_and_no_read_goes_back() {
    let (mut primary, [one, two]) = tokio::task::spawn_blocking(|| {
        let primary = Postgres::start();
        let replicas = ["replica1", "replica2"].map(|name| Postgres::replica_of(&primary, name));
        primary.set_synchronous(&["replica1"]);
        primary.create_database("rollcall");
        (primary, replicas)
    })
    .await
    .unwrap();
    let url = Postgres::url_of_any(&[&primary, &one, &two], "rollcall");
    let config = PostgresConfig::of(&url, vec![one.url("rollcall"), two.url("rollcall")]).impatient();
    let first = TestOrigin::start_on_postgres(config.clone()).await;
    let second = TestOrigin::start_on_postgres(config).await;
    let history = History::begin([first, second]).await;
    let mut clients = history.clients(WRITERS);

    history.goes_on("a quiet start").await;
    two.pause_replay();
    history.goes_on("life with a replica that lags").await;
    two.resume_replay();
    // Commits wait for the standby, and their outcome stays unknown.
    one.pause();
    let refused = history.refused.load(Ordering::SeqCst);
    history.until("a write without an answer", || history.refused.load(Ordering::SeqCst) > refused).await;
    one.resume();
    history.goes_on("life after the standby hung").await;
    primary.kill9();
    let refused = history.refused.load(Ordering::SeqCst);
    history.until("writes to be refused", || history.refused.load(Ordering::SeqCst) > refused).await;
    one.promote();
    two.follow(&one, "replica2");
    one.set_synchronous(&["replica2"]);
    history.goes_on("life after a promotion").await;
    // The old primary comes back and takes writes as far as it is concerned.
    primary.start_again();
    primary.set_synchronous(&[]);
    history.goes_on("life beside a primary of the past").await;
    history.end(&mut clients).await;

    history.check_effects(|sql| one.sql("rollcall", sql), WRITERS);
}

impl History {
    /// What the surviving server has is what the clients were told.
    pub(super) fn check_effects(&self, survivor: impl Fn(&str) -> String, writers: usize) {
        let rows = survivor("SELECT text FROM messages WHERE text ~ '^w[0-9]+-[0-9]+$' ORDER BY text");
        let rows: Vec<String> = rows.lines().map(str::to_owned).collect();
        let once: BTreeSet<String> = rows.iter().cloned().collect();
        assert_eq!(once.len(), rows.len(), "an effect came twice");
        let acknowledged = self.acknowledged.lock().unwrap();
        let lost: Vec<_> = acknowledged.difference(&once).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let unasked = once.difference(&acknowledged).count();
        assert!(unasked <= writers, "each writer had at most one command in flight, {unasked} are there");
        let gapless = "SELECT bool_and(feed = max) FROM (SELECT count(*) AS feed, max(revision) FROM feed
             GROUP BY institute) counts";
        assert_eq!(survivor(gapless), "t");
    }
}
