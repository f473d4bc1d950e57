//! What holds when several processes, replicas and servers that fail come in.

use super::*;
use std::time::{Duration, Instant};
use sync_protocol::bookmark::Bookmark;
use test_servers::Postgres;

const PATIENCE: Duration = Duration::from_secs(30);

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_commit_of_another_process_wakes_the_watchers_of_this_one() {
    let database = TestDatabase::create();
    let [one, other] = [(); 2].map(|()| Store::connect(&database.config()).unwrap());
    add_institute(&one);
    let mut changed = other.watch(INSTITUTE);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for revision in 2..6 {
        assert_eq!(add_batch(&one, format!("batch-{revision}")).unwrap(), revision);
        let seen = runtime.block_on(async {
            let reached = changed.wait_for(|seen| *seen >= revision);
            tokio::time::timeout(PATIENCE, reached).await.map(|seen| *seen.unwrap())
        });
        assert_eq!(seen.unwrap(), revision);
    }
}

#[test]
fn the_feed_of_an_institute_that_two_processes_write_has_no_gap() {
    let database = TestDatabase::create();
    let stores = [(); 2].map(|()| Store::connect(&database.config()).unwrap());
    add_institute(&stores[0]);
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let store = stores[writer % 2].clone();
            std::thread::spawn(move || {
                (0..25).map(|n| add_batch(&store, format!("{writer}-{n}")).unwrap()).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut revisions: Vec<u64> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, (2..=101).collect::<Vec<_>>());
    let feed: Vec<u64> = feed(&stores[1]).iter().map(|row| row.revision).collect();
    assert_eq!(feed, (1..=101).collect::<Vec<_>>());
}

/// A primary with replicas, the first of which is synchronous, and a store on them.
struct Servers {
    // Before the servers: its connections close first.
    store: Store,
    runtime: tokio::runtime::Runtime,
    replicas: Vec<Postgres>,
    primary: Postgres,
}

impl Servers {
    fn start(replicas: usize) -> Self {
        let primary = Postgres::start();
        let names: Vec<String> = (1..=replicas).map(|n| format!("replica{n}")).collect();
        let replicas: Vec<Postgres> = names.iter().map(|name| Postgres::replica_of(&primary, name)).collect();
        primary.set_synchronous(&["replica1"]);
        primary.create_database("rollcall");
        let all: Vec<&Postgres> = std::iter::once(&primary).chain(&replicas).collect();
        let url = Postgres::url_of_any(&all, "rollcall");
        let config = PostgresConfig::of(&url, replicas.iter().map(|it| it.url("rollcall")).collect());
        let store = Store::connect(&config).unwrap();
        add_institute(&store);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let servers = Self { store, runtime, replicas, primary };
        until("all servers to be used", || servers.used() == vec![true; 1 + names.len()]);
        servers
    }

    fn used(&self) -> Vec<bool> {
        self.store.servers().iter().map(|server| server.used).collect()
    }

    /// Transactions on the primary and on the first replica.
    fn transactions(&self) -> (u64, u64) {
        let servers = self.store.servers();
        (servers[0].transactions, servers[1].transactions)
    }

    fn read_after(&self, seen: Option<Bookmark>) -> Result<Bookmark, StoreError> {
        let read = self
            .store
            .read_after(INSTITUTE, seen, |records| Ok(Bookmark::new(records.epoch(), records.revision()?)));
        self.runtime.block_on(read)
    }
}

#[test]
fn a_replica_is_never_read_behind_the_bookmark_and_comes_back_by_itself() {
    let servers = Servers::start(1);
    let Servers { store, primary, replicas, .. } = &servers;
    primary.set_synchronous(&[]);
    let (_, before) = servers.transactions();
    let seen = Bookmark::new(store.epoch(), 1);
    for _ in 0..10 {
        assert_eq!(servers.read_after(Some(seen)).unwrap(), seen);
    }
    assert!(servers.transactions().1 >= before + 10, "reads are the replica's");

    replicas[0].pause_replay();
    for revision in 2..8 {
        assert_eq!(add_batch(store, format!("batch-{revision}")).unwrap(), revision);
        let seen = Bookmark::new(store.epoch(), revision);
        assert_eq!(servers.read_after(Some(seen)).unwrap(), seen, "a read behind its bookmark");
    }
    until("the replica to be left out for its lag", || servers.used() == [true, false]);
    replicas[0].pause();
    let seen = Bookmark::new(store.epoch(), 7);
    assert_eq!(servers.read_after(Some(seen)).unwrap(), seen, "a replica that hangs holds no read up");
    replicas[0].resume();
    replicas[0].resume_replay();
    until("the replica to be used again", || servers.used() == [true, true]);
    let (_, before) = servers.transactions();
    until("the replica to be read again", || {
        assert_eq!(servers.read_after(Some(seen)).unwrap(), seen);
        servers.transactions().1 > before
    });
}

#[test]
fn reads_go_on_without_the_primary_and_a_promotion_begins_a_new_epoch() {
    let mut servers = Servers::start(2);
    let first = servers.store.epoch();
    let acknowledged = add_batch(&servers.store, "kept".into()).unwrap();
    let seen = Bookmark::new(first, acknowledged);
    assert_eq!(servers.read_after(Some(seen)).unwrap(), seen);
    let mut changed = servers.store.watch(INSTITUTE);
    changed.borrow_and_update();

    servers.primary.kill9();
    until("the primary's end to be seen", || servers.used() == [false, true, true]);
    assert_eq!(servers.read_after(Some(seen)).unwrap(), seen, "reads go on");
    let refused = add_batch(&servers.store, "refused".into()).unwrap_err();
    assert!(matches!(refused, StoreError::NoConnection { .. } | StoreError::NoAnswer(_)), "{refused}");

    servers.replicas[0].promote();
    servers.replicas[1].follow(&servers.replicas[0], "replica2");
    servers.replicas[0].set_synchronous(&["replica2"]);
    until("a write on the new primary", || add_batch(&servers.store, "after".into()).is_ok());
    assert_eq!(servers.store.epoch(), first + 1);
    assert!(changed.has_changed().unwrap(), "watchers learn of the new epoch");
    let read = servers.read_after(Some(seen)).unwrap();
    assert_eq!(read, Bookmark::new(first + 1, acknowledged + 1));
    let kept = servers.store.read_blocking::<_, StoreError>(INSTITUTE, |records| {
        Ok((records.batch_exists("kept")?, records.batch_exists("after")?))
    });
    assert_eq!(kept.unwrap(), (true, true), "what was acknowledged is there");

    servers.primary.start_again();
    let fenced = servers.store.servers()[0].transactions;
    for n in 0..5 {
        add_batch(&servers.store, format!("fenced-{n}")).unwrap();
    }
    assert!(servers.store.servers()[0].transactions >= fenced + 5);
    let on_the_old =
        servers.primary.sql("rollcall", "SELECT count(*) FROM batches WHERE batch LIKE 'fenced%'");
    assert_eq!(on_the_old, "0", "a primary of the past is not written");
}

#[test]
fn a_server_whose_certificate_is_not_trusted_or_not_its_own_is_refused() {
    let server = Postgres::start_with_tls();
    server.create_database("rollcall");
    let connect = |host: &str, trusted: bool| {
        let mut config = PostgresConfig::of(&server.tls_url(host, "rollcall"), Vec::new());
        config.ca_file = trusted.then(|| server.certificate());
        Store::connect(&config).map(drop).map_err(|error| error.to_string())
    };
    let unknown = connect("localhost", false).unwrap_err();
    assert!(unknown.contains("certificate"), "{unknown}");
    let other_name = connect("127.0.0.1", true).unwrap_err();
    assert!(other_name.contains("certificate"), "{other_name}");
    connect("localhost", true).unwrap();
    let by_tls = server.sql("rollcall", "SELECT count(*) FROM refinery_schema_history");
    assert_ne!(by_tls, "0");
}

#[test]
fn a_reader_that_goes_away_leaves_no_open_transaction_to_the_next() {
    let database = TestDatabase::create();
    let store = Store::connect(&database.config()).unwrap();
    add_institute(&store);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let read = async || {
        store
            .read::<_, StoreError, _>(INSTITUTE, |records| {
                assert!(!records.batch_exists("none")?);
                records.revision()
            })
            .await
    };
    runtime.block_on(async {
        for _ in 0..50 {
            // Polled once, it has asked for its transaction; then its caller is gone.
            assert!(futures_util::poll!(std::pin::pin!(read())).is_pending());
        }
    });
    for revision in 2..40 {
        assert_eq!(add_batch(&store, format!("batch-{revision}")).unwrap(), revision);
        assert_eq!(runtime.block_on(read()).unwrap(), revision, "an old snapshot was left open");
    }
    let open = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
    until("all transactions to end", || database.sql(open) == "0");
}
