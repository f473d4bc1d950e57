//! What the edge's own file keeps, and what it refuses.

use super::*;

fn store() -> (tempfile::TempDir, KeyValueStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = KeyValueStore::open(&folder.path().join("key-value.db")).unwrap();
    (folder, store)
}

#[tokio::test]
async fn what_is_set_is_found_in_its_own_store_and_after_a_reopen() {
    let (folder, store) = store();
    store.set("default", "k".into(), b"v".to_vec()).await.unwrap();
    store.set("default", "k".into(), b"w".to_vec()).await.unwrap();
    assert_eq!(store.get("default", "k").unwrap(), Some(b"w".to_vec()));
    assert_eq!(store.get("other", "k").unwrap(), None);
    assert_eq!(store.keys("default").unwrap(), ["k"]);
    drop(store);
    let store = KeyValueStore::open(&folder.path().join("key-value.db")).unwrap();
    assert_eq!(store.get("default", "k").unwrap(), Some(b"w".to_vec()));
    store.delete("default", "k".into()).await.unwrap();
    assert_eq!(store.get("default", "k").unwrap(), None);
}

#[tokio::test]
async fn a_batch_is_set_whole_or_not_at_all() {
    let (_folder, store) = store();
    let pairs = |names: &[&str]| names.iter().map(|name| (name.to_string(), b"v".to_vec())).collect();
    store.set_many("s", pairs(&["a", "b", "c"])).await.unwrap();
    let long = "k".repeat(limits::MAX_KEY_BYTES + 1);
    let error = store.set_many("s", pairs(&["d", &long])).await.unwrap_err();
    assert!(matches!(error, KeyValueError::KeyTooLong(_)));
    store.delete_many("s", vec!["a".into(), "never".into()]).await.unwrap();
    assert_eq!(store.keys("s").unwrap(), ["b", "c"]);
}

#[tokio::test]
async fn increments_at_once_all_count_and_only_numbers_are_incremented() {
    let (_folder, store) = store();
    let increments = (0..50).map(|_| store.increment("s", "n".into(), 2));
    futures_util::future::try_join_all(increments).await.unwrap();
    assert_eq!(store.get("s", "n").unwrap(), Some(b"100".to_vec()));
    assert_eq!(store.increment("s", "n".into(), -101).await.unwrap(), -1);
    store.set("s", "n".into(), b"9223372036854775807".to_vec()).await.unwrap();
    let error = store.increment("s", "n".into(), 1).await.unwrap_err();
    assert!(matches!(error, KeyValueError::Overflow(_)), "{error}");
    store.set("s", "n".into(), b"seven".to_vec()).await.unwrap();
    let error = store.increment("s", "n".into(), 1).await.unwrap_err();
    assert!(matches!(error, KeyValueError::NoNumber(_)), "{error}");
}

#[tokio::test]
async fn of_swaps_that_saw_the_same_value_one_succeeds() {
    let (_folder, store) = store();
    let swaps = (0..20).map(|n: u8| store.swap("s", "k".into(), None, vec![n]));
    let results = futures_util::future::try_join_all(swaps).await.unwrap();
    assert_eq!(results.iter().filter(|result| result.is_none()).count(), 1);
    let now = store.get("s", "k").unwrap();
    assert!(results.iter().flatten().all(|found| *found == now));
    assert_eq!(store.swap("s", "k".into(), now, b"next".to_vec()).await.unwrap(), None);
}

#[tokio::test]
async fn a_change_that_fails_is_undone_alone() {
    let (_folder, store) = store();
    let bad = store.change(|stores| {
        stores.set("s", "bad", b"1")?;
        Err(rusqlite::Error::InvalidQuery)
    });
    let good = store.set("s", "good".into(), b"2".to_vec());
    let (bad, good) = tokio::join!(bad, good);
    assert!(matches!(bad, Err(KeyValueError::Sqlite(_))));
    good.unwrap();
    assert_eq!(store.keys("s").unwrap(), ["good"]);
}

#[tokio::test]
async fn keys_with_a_prefix_are_found_whatever_follows() {
    let (_folder, store) = store();
    for key in ["a", "feed/a", "feed/z%_", "feed0", "floor/a"] {
        store.set("s", key.into(), vec![]).await.unwrap();
    }
    let check = |stores: &Stores<'_>| {
        assert_eq!(stores.keys("s", "feed/")?, ["feed/a", "feed/z%_"]);
        Ok(())
    };
    store.change(check).await.unwrap();
}

#[tokio::test]
async fn long_keys_and_values_are_refused_with_their_length() {
    let (_folder, store) = store();
    let error = store.set("s", "k".repeat(1025), vec![]).await.unwrap_err();
    assert_eq!(error.to_string(), "key is 1025 bytes, the limit is 1024");
    let error = store.set("s", "k".into(), vec![0; limits::MAX_VALUE_BYTES + 1]).await.unwrap_err();
    assert!(matches!(error, KeyValueError::ValueTooLong(_)));
}

#[tokio::test]
async fn a_store_that_is_full_takes_no_more_until_something_is_deleted_and_others_are_not_full() {
    const ENTRY: usize = 100_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key-value.db");
    let open = || KeyValueStore::open_with(&path, 10 * (ENTRY as u64 + 1)).unwrap();
    let store = open();
    let set = async |store: &KeyValueStore, label: &str, key: &str| {
        store.set(label, key.to_owned(), vec![7; ENTRY]).await
    };
    for key in ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"] {
        set(&store, "s", key).await.unwrap();
    }
    assert!(matches!(set(&store, "s", "a").await, Err(KeyValueError::Full(_))));
    set(&store, "s", "0").await.unwrap();
    set(&store, "other", "a").await.unwrap();
    let error = store.set_many("s", vec![("0".into(), vec![]), ("b".into(), vec![0; 2 * ENTRY])]).await;
    assert!(matches!(error, Err(KeyValueError::Full(_))));
    assert_eq!(store.get("s", "0").unwrap().unwrap().len(), ENTRY, "all or nothing");
    assert!(matches!(store.increment("s", "n".into(), 1).await, Err(KeyValueError::Full(_))));
    assert!(matches!(store.swap("s", "n".into(), None, vec![1]).await, Err(KeyValueError::Full(_))));
    store.change(|stores| stores.set("s", "of the host", b"1")).await.unwrap();
    drop(store);
    let store = open();
    assert!(matches!(set(&store, "s", "a").await, Err(KeyValueError::Full(_))), "a start does not forget");
    store.delete_many("s", vec!["9".into(), "of the host".into(), "never".into()]).await.unwrap();
    set(&store, "s", "a").await.unwrap();
    assert!(matches!(set(&store, "s", "b").await, Err(KeyValueError::Full(_))));
}

#[tokio::test]
async fn what_a_file_of_before_holds_is_counted_when_it_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key-value.db");
    let before = Connection::open(&path).unwrap();
    before
        .execute_batch(
            "CREATE TABLE entry (store TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (store, key)) WITHOUT ROWID;
             INSERT INTO entry VALUES ('s', 'old', zeroblob(900));",
        )
        .unwrap();
    drop(before);
    let store = KeyValueStore::open_with(&path, 1_000).unwrap();
    assert!(matches!(store.set("s", "new".into(), vec![0; 100]).await, Err(KeyValueError::Full(_))));
    store.set("s", "new".into(), vec![0; 90]).await.unwrap();
    assert_eq!(store.get("s", "old").unwrap().unwrap().len(), 900);
}

#[test]
fn the_file_itself_has_a_largest_size() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, _) = open_for_writing(&folder.path().join("key-value.db")).unwrap();
    let pages: u32 = writer.query_row("PRAGMA max_page_count", [], |row| row.get(0)).unwrap();
    assert_eq!(pages, limits::KEY_VALUE_PAGES);
}
