//! Who is stopped when, by one process and by several.

use super::*;
use crate::services::cache::{Cache, CacheConfig};
use crate::store::Store;
use crate::testing::TestDatabase;
use std::time::Instant;
use test_servers::Redis;
use tokio_util::sync::CancellationToken;

/// Longest wait for Redis, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn by(account: &str) -> By<'_> {
    By { account: Some(account), address: None }
}

#[tokio::test]
async fn an_account_is_stopped_after_its_burst_and_let_in_again_with_time() {
    let limits = RateLimits::new(Shared::Nobody);
    for _ in 0..Attempt::Guess.account().burst {
        assert_eq!(limits.reserve(Attempt::Guess, by("a@x"), 1_000).await, Ok(()));
    }
    for _ in 0..2 {
        let wait = limits.reserve(Attempt::Guess, by("a@x"), 1_000).await.unwrap_err();
        assert_eq!(wait.as_millis(), 3_000, "who is stopped does not wait longer for trying");
    }
    assert_eq!(limits.reserve(Attempt::Guess, by("b@x"), 1_000).await, Ok(()));
    assert_eq!(limits.reserve(Attempt::Mail, by("a@x"), 1_000).await, Ok(()), "each kind has its own bucket");
    assert_eq!(limits.reserve(Attempt::Guess, by("a@x"), 4_000).await, Ok(()));
    assert!(limits.reserve(Attempt::Guess, by("a@x"), 4_000).await.is_err());
    limits.give_back(Attempt::Guess, by("a@x"), 4_000).await;
    assert_eq!(limits.reserve(Attempt::Guess, by("a@x"), 4_000).await, Ok(()), "an attempt was given back");
    limits.forgive(Attempt::Guess, "a@x").await;
    assert_eq!(limits.reserve(Attempt::Guess, by("a@x"), 1_000).await, Ok(()));
    assert_eq!(limits.reserve(Attempt::Guess, by("a@x"), 1_000).await, Ok(()));
}

#[tokio::test]
async fn an_address_is_stopped_over_many_accounts() {
    let limits = RateLimits::new(Shared::Nobody);
    let address = Some(IpAddr::from([127, 0, 0, 1]));
    for n in 0..Attempt::Guess.address().burst {
        let by = By { account: Some(&format!("{n}@x")), address };
        assert_eq!(limits.reserve(Attempt::Guess, by, 0).await, Ok(()));
    }
    assert!(limits.reserve(Attempt::Guess, By { account: None, address }, 0).await.is_err());
    assert_eq!(limits.reserve(Attempt::Guess, by("new@x"), 0).await, Ok(()));
}

#[tokio::test]
async fn memory_is_bounded_however_many_accounts_are_tried() {
    let limits = RateLimits::new(Shared::Nobody);
    for n in 0..MAX_BUCKETS + 10 {
        assert_eq!(limits.reserve(Attempt::Guess, by(&format!("{n}@x")), 0).await, Ok(()));
    }
    assert_eq!(limits.own.full_at.lock().unwrap().len(), MAX_BUCKETS);
    assert_eq!(limits.reserve(Attempt::Guess, by("late@x"), 3_001).await, Ok(()));
    assert_eq!(limits.own.full_at.lock().unwrap().len(), 1, "full buckets are forgotten first");
}

/// Tries of one account at two processes in turn, until one of them says no.
async fn tries(nodes: [&RateLimits; 2], account: &str, now: i64) -> i64 {
    for tries in 0.. {
        let node = nodes[usize::from(tries % 2 == 1)];
        if node.reserve(Attempt::Guess, by(account), now).await.is_err() {
            return tries;
        }
    }
    unreachable!("the loop ends with a return")
}

fn burst() -> i64 {
    Attempt::Guess.account().burst
}

async fn two_give_what_one_does(nodes: [&RateLimits; 2]) {
    let now = crate::clock::unix_ms();
    assert_eq!(tries(nodes, "a@x", now).await, burst());
    for node in nodes {
        let wait = node.reserve(Attempt::Guess, by("a@x"), now).await.unwrap_err();
        assert_eq!(wait.as_millis(), 3_000);
        assert_eq!(node.reserve(Attempt::Mail, by("a@x"), now).await, Ok(()), "each kind has its own bucket");
        assert_eq!(node.reserve(Attempt::Guess, by("a@x"), now + 3_000).await, Ok(()));
        for attempt in [Attempt::Mail, Attempt::Guess] {
            node.give_back(attempt, by("a@x"), now).await;
        }
    }
    // Who has proved themselves at one may try at either; what a process has counted itself it forgets in time.
    nodes[0].forgive(Attempt::Guess, "a@x").await;
    assert_eq!(nodes[0].reserve(Attempt::Guess, by("a@x"), now).await, Ok(()));
    assert_eq!(tries(nodes, "b@x", now + 1).await, burst());
    many_at_once_are_granted_what_one_after_the_other_is(nodes, now).await;
    an_attempt_that_the_address_may_not_make_costs_the_account_nothing(nodes, now).await;
}

async fn many_at_once_are_granted_what_one_after_the_other_is(nodes: [&RateLimits; 2], now: i64) {
    let attempts =
        (0..4 * burst()).map(|n| nodes[usize::from(n % 2 == 1)].reserve(Attempt::Guess, by("p@x"), now));
    let granted =
        futures_util::future::join_all(attempts).await.iter().filter(|granted| granted.is_ok()).count();
    assert_eq!(granted as i64, burst());
}

async fn an_attempt_that_the_address_may_not_make_costs_the_account_nothing(
    nodes: [&RateLimits; 2],
    now: i64,
) {
    let address = Some(IpAddr::from([127, 0, 0, 1]));
    let from = By { account: None, address };
    for n in 0..Attempt::Mail.address().burst {
        assert_eq!(nodes[usize::from(n % 2 == 1)].reserve(Attempt::Mail, from, now).await, Ok(()));
    }
    for node in nodes {
        assert!(node.reserve(Attempt::Mail, By { account: Some("q@x"), address }, now).await.is_err());
    }
    for n in 0..Attempt::Mail.account().burst {
        let granted = nodes[usize::from(n % 2 == 1)].reserve(Attempt::Mail, by("q@x"), now).await;
        assert_eq!(granted, Ok(()), "{n}");
    }
    assert!(nodes[0].reserve(Attempt::Mail, by("q@x"), now).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_on_one_database_grant_what_one_does() {
    let database = tokio::task::spawn_blocking(TestDatabase::create).await.unwrap();
    let connect = || {
        let config = database.config();
        tokio::task::spawn_blocking(move || Store::connect(&config).unwrap())
    };
    let (one, other) = (connect().await.unwrap(), connect().await.unwrap());
    let limits = |store: &Store| {
        let cache = Cache::new(store.clone(), &CacheConfig::default());
        RateLimits::new(Shared::of(&cache, store))
    };
    two_give_what_one_does([&limits(&one), &limits(&other)]).await;
    // Buckets that are full again go with the attempts of others.
    let rows = || database.sql("SELECT count(*) FROM attempts").parse::<u64>().unwrap();
    assert!(rows() > 0);
    let late = crate::clock::unix_ms() + 10_000_000;
    assert_eq!(limits(&one).reserve(Attempt::Guess, by("late@x"), late).await, Ok(()));
    assert_eq!(rows(), 1);
    assert_eq!(database.sql("SELECT count(*) FROM attempts WHERE length(bucket) <> 32"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_with_one_redis_grant_what_one_does_and_without_it_each_counts_for_itself() {
    let mut redis = Redis::start();
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let stopping = CancellationToken::new();
    let caches: Vec<Cache> = folders
        .iter()
        .map(|folder| {
            let cache = Cache::new(Store::open(folder.path()).unwrap(), &CacheConfig::of(&redis.url()));
            tokio::spawn(cache.clone().run(stopping.clone()));
            cache
        })
        .collect();
    let deadline = Instant::now() + PATIENCE;
    for cache in &caches {
        while cache.ask_remote("x", |key| redis::cmd("GET").arg(key).take()).await.is_none() {
            assert!(Instant::now() < deadline, "Redis never answered");
            tokio::task::yield_now().await;
        }
    }
    let limits: Vec<RateLimits> =
        caches.iter().map(|cache| RateLimits::new(Shared::Redis(cache.clone()))).collect();
    two_give_what_one_does([&limits[0], &limits[1]]).await;
    assert!(redis.keys() > 0);

    let now = crate::clock::unix_ms() + 2;
    redis.kill9();
    assert_eq!(tries([&limits[0], &limits[1]], "c@x", now).await, 2 * burst(), "each by itself");
    // What each has seen itself it does not forget with Redis.
    assert!(limits[0].reserve(Attempt::Guess, by("b@x"), now).await.is_ok(), "half of its tries were here");
    stopping.cancel();
}

/// A Redis that lies locks nobody out for longer than attempts could.
#[test]
fn what_others_say_is_bounded() {
    let limit = Attempt::Guess.account();
    assert_eq!(limit.wait(Some(i64::MAX / 2), 0), (limit.burst + 1) * limit.refill_ms);
    assert_eq!(limit.wait(Some(-5), 0), limit.wait(None, 0));
}
