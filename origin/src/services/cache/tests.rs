//! What the cache promises, whatever becomes of Redis.

use super::*;
use crate::store::{Records, StoreError};
use crate::testing::TestDatabase;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;
use sync_protocol::tag;
use test_servers::Redis;
use tokio_util::sync::CancellationToken;

const INSTITUTE: &str = "northside.example";
/// What the view of these tests depends on.
const BATCHES: &str = "batches";
/// Longest wait for something to happen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// One origin's store and cache. The view counts the institute's batches.
struct Node {
    store: Store,
    cache: Cache,
    computed: AtomicUsize,
    stopping: CancellationToken,
}

impl Node {
    fn on(store: Store, config: &CacheConfig) -> Arc<Self> {
        let cache = Cache::new(store.clone(), config);
        let stopping = CancellationToken::new();
        tokio::spawn(cache.clone().run(stopping.clone()));
        Arc::new(Self { store, cache, computed: AtomicUsize::new(0), stopping })
    }

    /// A second origin on the same database.
    async fn beside(database: &TestDatabase, config: &CacheConfig) -> Arc<Self> {
        let postgres = database.config();
        let store = tokio::task::spawn_blocking(move || Store::connect(&postgres).unwrap()).await.unwrap();
        Self::on(store, config)
    }

    async fn read(&self, seen: Option<Bookmark>) -> (u64, Bookmark) {
        let key = Key::new(Strategy::Dashboard, INSTITUTE, &["count"]);
        let computed = || {
            self.computed.fetch_add(1, Ordering::SeqCst);
            self.store.read_after::<_, StoreError, _>(INSTITUTE, seen, compute)
        };
        let served = in_time("a read", self.cache.get_or_compute(key, seen, computed)).await.unwrap();
        let body = std::str::from_utf8(&served.content.body).unwrap();
        (body.parse().unwrap(), served.bookmark)
    }

    async fn add_batch(&self, name: String) -> Bookmark {
        let added = self.store.write::<_, StoreError, _>(INSTITUTE, move |tx| {
            tx.add_batch(&name, "A batch")?;
            tx.touch(BATCHES.to_owned());
            Ok(())
        });
        Bookmark::new(self.store.epoch(), in_time("a commit", added).await.unwrap().revision)
    }

    /// A commit that the view does not depend on.
    async fn touch_other(&self) -> Bookmark {
        let touched = self.store.write::<_, StoreError, _>(INSTITUTE, |tx| {
            tx.touch(tag::user("somebody"));
            Ok(())
        });
        Bookmark::new(self.store.epoch(), in_time("a commit", touched).await.unwrap().revision)
    }

    fn computed(&self) -> usize {
        self.computed.load(Ordering::SeqCst)
    }

    async fn until_redis_answers(&self) {
        self.until("Redis", || self.cache.remote_state() == Some(RemoteState::Answers)).await;
    }

    async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

/// Who waits for ever is named, and does not hold up the run.
async fn in_time<T>(what: &str, done: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, done).await;
    done.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
}

fn compute(records: &dyn Records) -> Result<Computed, StoreError> {
    let bookmark = Bookmark::new(records.epoch(), records.revision()?);
    Ok(Computed {
        body: records.institute_figures()?.batches.to_string().into_bytes(),
        tags: vec![tag::EVERYTHING.to_owned(), BATCHES.to_owned()],
        bookmark,
        valid_until: None,
        revocation: Revocation::default(),
    })
}

async fn add_institute(store: &Store) {
    let added = store.write::<_, StoreError, _>(INSTITUTE, |tx| {
        tx.add_institute("Northside", "UTC", "EUR", 0)?;
        tx.touch_everything();
        Ok(())
    });
    added.await.unwrap();
}

async fn embedded() -> (Arc<Node>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let store = tokio::task::spawn_blocking(move || Store::open(&path).unwrap()).await.unwrap();
    add_institute(&store).await;
    (Node::on(store, &CacheConfig::default()), folder)
}

/// A database with the institute, and a Redis.
async fn cluster() -> (TestDatabase, Redis) {
    let servers = tokio::task::spawn_blocking(|| (TestDatabase::create(), Redis::start())).await.unwrap();
    let first = Node::beside(&servers.0, &CacheConfig::default()).await;
    add_institute(&first.store).await;
    servers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_is_computed_once_however_many_ask_and_again_when_a_commit_touches_it() {
    let (node, _folder) = embedded().await;
    let readers: Vec<_> = (0..64)
        .map(|_| {
            let node = Arc::clone(&node);
            tokio::spawn(async move { node.read(None).await.0 })
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), 0);
    }
    assert_eq!(node.computed(), 1);
    let other = node.touch_other().await;
    assert_eq!(node.read(Some(other)).await, (0, other), "known to show that commit too");
    assert_eq!(node.computed(), 1);
    let added = node.add_batch("b".into()).await;
    assert_eq!(node.read(None).await, (1, added), "without a bookmark too");
    assert_eq!(node.computed(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_gives_up_holds_up_nobody() {
    let (node, _folder) = embedded().await;
    let key = || Key::new(Strategy::Api, INSTITUTE, &["slow"]);
    let (stuck, cache) = (Arc::new(tokio::sync::Notify::new()), node.cache.clone());
    let began = Arc::clone(&stuck);
    let leader = tokio::spawn(async move {
        let never = || async {
            began.notify_one();
            std::future::pending::<Result<Computed, StoreError>>().await
        };
        cache.get_or_compute(key(), None, never).await.map(drop)
    });
    stuck.notified().await;
    let (cache, store) = (node.cache.clone(), node.store.clone());
    let follower = tokio::spawn(async move {
        let computed = || store.read_after::<_, StoreError, _>(INSTITUTE, None, compute);
        cache.get_or_compute(key(), None, computed).await.map(|served| served.bookmark.revision)
    });
    leader.abort();
    assert_eq!(follower.await.unwrap().unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_origin_computed_another_serves_from_redis() {
    let (database, redis) = cluster().await;
    let config = CacheConfig::of(&redis.url());
    let (one, two) = (Node::beside(&database, &config).await, Node::beside(&database, &config).await);
    one.until_redis_answers().await;
    two.until_redis_answers().await;
    assert_eq!(one.read(None).await.0, 0);
    one.until("the entry to be written", || redis.keys() == 1).await;
    assert_eq!(two.read(None).await.0, 0);
    assert_eq!((one.computed(), two.computed()), (1, 0));
    // The commit of one is known to the other by the reader's bookmark at once.
    let added = one.add_batch("b".into()).await;
    assert_eq!(two.read(Some(added)).await, (1, added));
    // And without one within a moment.
    one.add_batch("c".into()).await;
    let deadline = Instant::now() + Duration::from_secs(1);
    while two.read(None).await.0 != 2 {
        assert!(Instant::now() < deadline, "a second after the commit");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_comes_back_with_what_it_had_an_hour_ago_brings_nothing_stale() {
    let (database, mut redis) = cluster().await;
    let config = CacheConfig::of(&redis.url());
    let node = Node::beside(&database, &config).await;
    node.until_redis_answers().await;
    assert_eq!(node.read(None).await.0, 0);
    node.until("the entry to be written", || redis.keys() == 1).await;
    redis.save();
    let added = node.add_batch("b".into()).await;
    assert_eq!(node.read(None).await, (1, added));
    redis.kill9();
    let newest = node.add_batch("c".into()).await;
    assert_eq!(node.read(None).await, (2, newest), "without Redis");
    redis.start_again();
    assert_eq!(redis.keys(), 1, "the old entry is back");
    node.until_redis_answers().await;
    // One that has just started knows no more than the feed.
    let fresh = Node::beside(&database, &config).await;
    fresh.until_redis_answers().await;
    let reads = redis.reads();
    assert_eq!(fresh.read(None).await.0, 2);
    assert_eq!(fresh.computed(), 1);
    assert!(redis.reads() > reads, "Redis was asked");
    assert_eq!(node.read(None).await.0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_a_revision_that_never_was_is_not_served() {
    let (database, redis) = cluster().await;
    let config = CacheConfig::of(&redis.url());
    let node = Node::beside(&database, &config).await;
    node.until_redis_answers().await;
    let key = "dashboard|northside.example|count";
    let invented = Entry::new(
        Computed {
            body: b"77".to_vec(),
            tags: vec![BATCHES.to_owned()],
            bookmark: Bookmark::new(node.store.epoch(), 1_000),
            valid_until: None,
            revocation: Revocation::default(),
        },
        Duration::from_secs(60),
        unix_ms(),
    );
    let stored = String::from_utf8(invented.encode(key)).unwrap();
    assert_eq!(redis.command(&["SET", &format!("rollcall|{key}"), &stored]), "+OK");
    assert_eq!(node.read(None).await.0, 0);
    for nonsense in ["", "1\n{}\n", "2\n", "\u{0}"] {
        let other = Node::beside(&database, &config).await;
        other.until_redis_answers().await;
        assert_eq!(redis.command(&["SET", &format!("rollcall|{key}"), nonsense]), "+OK");
        assert_eq!(other.read(None).await.0, 0, "{nonsense:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_costs_milliseconds_and_is_used_again_when_it_answers() {
    let (database, redis) = cluster().await;
    let config = CacheConfig::of(&redis.url());
    let node = Node::beside(&database, &config).await;
    node.until_redis_answers().await;
    assert_eq!(node.read(None).await.0, 0);
    redis.pause();
    node.add_batch("b".into()).await;
    let began = Instant::now();
    assert_eq!(node.read(None).await.0, 1);
    let first = began.elapsed();
    let began = Instant::now();
    for n in 0..20 {
        node.add_batch(format!("more-{n}")).await;
        assert_eq!(node.read(None).await.0, n + 2);
    }
    let rest = began.elapsed();
    // One time limit of 50 ms for the first, none for the others; the rest is this machine's.
    assert!(first < Duration::from_millis(1_000), "{first:?}");
    assert!(rest < Duration::from_millis(2_000), "{rest:?} for 20 writes and reads");
    assert!(matches!(node.cache.remote_state(), Some(RemoteState::Left { .. })));
    redis.resume();
    node.until_redis_answers().await;
    node.add_batch("last".into()).await;
    assert_eq!(node.read(None).await.0, 22);
    let key = "rollcall|dashboard|northside.example|count";
    let wait = || redis.command(&["EXISTS", key]) == ":1";
    node.until("what was computed to be in Redis again", wait).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_found_by_way_of_sentinels_and_as_a_cluster() {
    let (database, redis) = cluster().await;
    let (sentinel, nodes) = tokio::task::spawn_blocking({
        move || {
            let sentinel = redis.start_sentinel();
            ((sentinel, redis), Redis::start_cluster())
        }
    })
    .await
    .unwrap();
    for (url, redis) in [(sentinel.0.url(), &sentinel.1), (nodes.url(), &nodes)] {
        let config = CacheConfig::of(&url);
        let (one, two) = (Node::beside(&database, &config).await, Node::beside(&database, &config).await);
        one.until_redis_answers().await;
        two.until_redis_answers().await;
        assert_eq!(one.read(None).await.0, 0);
        one.until("the entry to be written", || redis.keys() == 1).await;
        assert_eq!(two.read(None).await.0, 0);
        assert_eq!((one.computed(), two.computed()), (1, 0), "{url}");
    }
}

/// What readers and writers of two origins did and were told.
struct History {
    nodes: [Arc<Node>; 2],
    /// Batches that are committed, with the newest bookmark that says so.
    newest: Mutex<(u64, Option<Bookmark>)>,
    reads: AtomicUsize,
    stop: AtomicBool,
}

impl History {
    async fn write(self: Arc<Self>) {
        for n in 0.. {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let at = self.nodes[n % 2].add_batch(format!("batch-{n}")).await;
            *self.newest.lock().unwrap() = (n as u64 + 1, Some(at));
            self.nodes[n % 2].touch_other().await;
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    /// What a bookmark promises, every read shows; and no reader goes back.
    async fn read(self: Arc<Self>) {
        let mut own = (0, None);
        for turn in 0.. {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let newest = *self.newest.lock().unwrap();
            let seen = if turn % 3 == 0 { newest } else { own };
            let seen = if seen.1 > own.1 { seen } else { own };
            let (batches, at) = self.nodes[turn % 2].read(seen.1).await;
            assert!(Some(at) >= seen.1, "read {at}, seen {:?}", seen.1);
            assert!(batches >= seen.0, "{batches} batches at {at}, {} at {:?}", seen.0, seen.1);
            own = (batches, Some(at));
            self.reads.fetch_add(1, Ordering::SeqCst);
        }
    }

    async fn goes_on(&self, what: &str) {
        let reads = self.reads.load(Ordering::SeqCst);
        self.nodes[0].until(what, || self.reads.load(Ordering::SeqCst) > reads + 300).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_every_failure_of_redis_no_read_is_behind_its_bookmark_or_goes_back() {
    let (database, mut redis) = cluster().await;
    let config = CacheConfig::of(&redis.url());
    let nodes = [Node::beside(&database, &config).await, Node::beside(&database, &config).await];
    for node in &nodes {
        node.until_redis_answers().await;
    }
    let history = Arc::new(History {
        nodes,
        newest: Mutex::default(),
        reads: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
    });
    let mut clients = tokio::task::JoinSet::new();
    clients.spawn(history.clone().write());
    (0..4).for_each(|_| drop(clients.spawn(history.clone().read())));
    history.goes_on("a quiet start").await;
    redis.save();
    history.goes_on("life after a snapshot").await;
    redis.pause();
    history.goes_on("life with a Redis that hangs").await;
    redis.resume();
    history.goes_on("life after it hung").await;
    redis.kill9();
    history.goes_on("life without Redis").await;
    redis.start_again();
    for node in &history.nodes {
        node.until_redis_answers().await;
    }
    history.goes_on("life with a Redis of the past").await;
    assert_eq!(redis.command(&["FLUSHALL"]), "+OK");
    history.goes_on("life with an empty Redis").await;
    history.stop.store(true, Ordering::SeqCst);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let (reads, computed) = (
        history.reads.load(Ordering::SeqCst),
        history.nodes.iter().map(|node| node.computed()).sum::<usize>(),
    );
    assert!(computed < reads, "{computed} of {reads} reads were computed");
}
