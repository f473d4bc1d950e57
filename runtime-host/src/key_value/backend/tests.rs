//! What holds for every kind of store, and what only Redis can do wrong.

use super::*;
use test_servers::Redis;

struct Stores {
    _folder: tempfile::TempDir,
    redis: Redis,
    all: Vec<Backend>,
}

/// A store of each kind, empty.
fn stores() -> Stores {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyValueStore::open(&folder.path().join("key-value.db")).unwrap();
    let redis = Redis::start();
    let all = vec![
        Backend::File(file, "s".into()),
        Backend::Memory(Arc::default()),
        Backend::Redis(RedisStore::new(&redis.url()).unwrap()),
    ];
    Stores { _folder: folder, redis, all }
}

fn pairs(names: &[&str]) -> Vec<(String, Vec<u8>)> {
    names.iter().map(|name| ((*name).to_owned(), name.as_bytes().to_vec())).collect()
}

#[tokio::test]
async fn each_kind_of_store_keeps_what_it_is_given() {
    for store in stores().all {
        assert_eq!(store.get("k").await.unwrap(), None, "{store}");
        assert!(!store.exists("k").await.unwrap(), "{store}");
        store.set("k".into(), vec![0, 255]).await.unwrap();
        store.set("empty".into(), vec![]).await.unwrap();
        assert_eq!(store.get("k").await.unwrap(), Some(vec![0, 255]), "{store}");
        assert_eq!(store.get("empty").await.unwrap(), Some(vec![]), "{store}");
        assert!(store.exists("empty").await.unwrap(), "{store}");
        store.set_many(pairs(&["c", "a", "b"])).await.unwrap();
        store.set_many(vec![]).await.unwrap();
        assert_eq!(store.clone().keys().await.unwrap().unwrap(), ["a", "b", "c", "empty", "k"], "{store}");
        store.delete_many(vec!["a".into(), "never".into(), "k".into()]).await.unwrap();
        store.delete_many(vec![]).await.unwrap();
        store.delete("empty".into()).await.unwrap();
        assert_eq!(store.clone().keys().await.unwrap().unwrap(), ["b", "c"], "{store}");
    }
}

#[tokio::test]
async fn each_kind_of_store_counts_and_swaps_in_one_step() {
    for store in stores().all {
        let increments = (0..50).map(|_| store.increment("n".into(), 2));
        futures_util::future::try_join_all(increments).await.unwrap();
        assert_eq!(store.get("n").await.unwrap(), Some(b"100".to_vec()), "{store}");
        store.set("n".into(), i64::MAX.to_string().into_bytes()).await.unwrap();
        let error = store.increment("n".into(), 1).await.unwrap_err();
        assert!(matches!(error, KeyValueError::Overflow(_)), "{store}: {error}");
        store.set("n".into(), b"seven".to_vec()).await.unwrap();
        let error = store.increment("n".into(), 1).await.unwrap_err();
        assert!(matches!(error, KeyValueError::NoNumber(_)), "{store}: {error}");

        let swaps = (0..20).map(|n: u8| store.swap("k".into(), None, vec![n]));
        let results = futures_util::future::try_join_all(swaps).await.unwrap();
        assert_eq!(results.iter().filter(|result| result.is_none()).count(), 1, "{store}");
        let now = store.get("k").await.unwrap();
        assert!(results.iter().flatten().all(|found| *found == now), "{store}");
        assert_eq!(store.swap("k".into(), Some(b"no".to_vec()), vec![]).await.unwrap(), Some(now.clone()));
        assert_eq!(store.swap("k".into(), now, b"next".to_vec()).await.unwrap(), None, "{store}");
        assert_eq!(store.get("k").await.unwrap(), Some(b"next".to_vec()), "{store}");
        assert_eq!(store.swap("gone".into(), Some(vec![]), vec![]).await.unwrap(), Some(None), "{store}");
    }
}

#[tokio::test]
async fn each_kind_of_store_refuses_what_is_too_long_and_stores_none_of_it() {
    for store in stores().all {
        let long = "k".repeat(limits::MAX_KEY_BYTES + 1);
        let error = store.set_many(pairs(&["d", &long])).await.unwrap_err();
        assert!(matches!(error, KeyValueError::KeyTooLong(_)), "{store}");
        let error = store.set("k".into(), vec![0; limits::MAX_VALUE_BYTES + 1]).await.unwrap_err();
        assert!(matches!(error, KeyValueError::ValueTooLong(_)), "{store}");
        assert!(matches!(store.increment(long.clone(), 1).await.unwrap_err(), KeyValueError::KeyTooLong(_)));
        assert!(matches!(store.swap(long, None, vec![]).await.unwrap_err(), KeyValueError::KeyTooLong(_)));
        assert!(store.keys().await.unwrap().unwrap().is_empty());
    }
}

#[tokio::test]
async fn what_others_have_put_into_redis_does_not_hurt() {
    let stores = stores();
    let store = &stores.all[2];
    stores.redis.command(&["SETRANGE", "huge", &limits::MAX_VALUE_BYTES.to_string(), "x"]);
    let error = store.get("huge").await.unwrap_err();
    assert!(matches!(error, KeyValueError::StoredTooLong), "{error}");
    let error = store.swap("huge".into(), None, vec![]).await.unwrap_err();
    assert!(matches!(error, KeyValueError::StoredTooLong), "{error}");
    stores.redis.command(&["LPUSH", "list", "x"]);
    assert!(matches!(store.get("list").await.unwrap_err(), KeyValueError::Redis(_)));
    store.set("plain".into(), vec![1]).await.unwrap();
    assert_eq!(store.get("plain").await.unwrap(), Some(vec![1]));
}

#[tokio::test]
async fn a_server_that_is_gone_is_an_error_and_one_that_is_back_is_used_again() {
    let mut stores = stores();
    let store = stores.all[2].clone();
    store.set("k".into(), vec![1]).await.unwrap();
    stores.redis.kill9();
    let began = std::time::Instant::now();
    assert!(matches!(store.get("k").await.unwrap_err(), KeyValueError::Redis(_)));
    assert!(began.elapsed() < limits::REDIS_RESPONSE_TIMEOUT * 2, "{:?}", began.elapsed());
    stores.redis.start_again();
    let again = async {
        while store.set("k".into(), vec![2]).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), again).await.unwrap();
    assert_eq!(store.get("k").await.unwrap(), Some(vec![2]));
}

#[tokio::test]
async fn each_kind_of_store_returns_no_more_in_one_call_than_fits_and_refuses_the_rest() {
    for store in stores().all {
        store.set("k".into(), vec![7; limits::MAX_VALUE_BYTES]).await.unwrap();
        store.set("s".into(), vec![1]).await.unwrap();
        let keys = |key: &str, times: usize| vec![key.to_owned(); times];
        let fit = limits::KEY_VALUE_BATCH_BYTES / (limits::MAX_VALUE_BYTES + 1);
        let found = store.clone().get_many(keys("k", fit)).await.unwrap().unwrap();
        assert_eq!(found.len(), fit, "{store}");
        assert!(
            found.iter().all(|(_, value)| value.as_ref().is_some_and(|v| v.len() == limits::MAX_VALUE_BYTES))
        );
        let error = store.clone().get_many(keys("k", 2_000)).await.unwrap().unwrap_err();
        assert!(matches!(error, KeyValueError::TooMuchAtOnce), "{store}: {error}");
        let two = store.clone().get_many(vec!["s".into(), "never".into()]).await.unwrap().unwrap();
        assert_eq!(two, [("s".to_owned(), Some(vec![1])), ("never".to_owned(), None)], "{store}");
        let many = limits::KEY_VALUE_BATCH_KEYS + 1;
        let error = store.clone().get_many(keys("s", many)).await.unwrap().unwrap_err();
        assert!(matches!(error, KeyValueError::TooManyAtOnce(_)), "{store}: {error}");
        let error = store.delete_many(keys("s", many)).await.unwrap_err();
        assert!(matches!(error, KeyValueError::TooManyAtOnce(_)), "{store}: {error}");
        let error = store.set_many(vec![("s".into(), vec![]); many]).await.unwrap_err();
        assert!(matches!(error, KeyValueError::TooManyAtOnce(_)), "{store}: {error}");
        assert_eq!(store.get("s").await.unwrap(), Some(vec![1]), "{store}");
    }
}

#[tokio::test]
async fn each_kind_of_store_lists_so_many_keys_and_no_more() {
    const PER_CALL: usize = 5_000;
    for store in stores().all {
        for first in (0..limits::LISTED_KEYS).step_by(PER_CALL) {
            let pairs = (first..first + PER_CALL).map(|n| (n.to_string(), Vec::new())).collect();
            store.set_many(pairs).await.unwrap();
        }
        assert_eq!(store.clone().keys().await.unwrap().unwrap().len(), limits::LISTED_KEYS, "{store}");
        store.set("more".into(), vec![]).await.unwrap();
        let error = store.clone().keys().await.unwrap().unwrap_err();
        assert!(matches!(error, KeyValueError::TooManyKeys), "{store}: {error}");
    }
}
