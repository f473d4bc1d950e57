//! What the store promises whoever writes and reads it.

use super::*;
use sync_protocol::tag;

const INSTITUTE: &str = "northside.example";

fn open() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    write(&store, |tx| {
        tx.add_institute("Northside", "UTC", "EUR", 0)?;
        tx.touch_everything();
        Ok(())
    })
    .unwrap();
    (folder, store)
}

fn write(
    store: &Store,
    work: impl FnOnce(&mut WriteTx<'_>) -> Result<(), StoreError> + Send + 'static,
) -> Result<u64, StoreError> {
    store.write_blocking::<_, StoreError, _>(INSTITUTE, work).map(|done| done.revision)
}

fn add_batch(store: &Store, batch: String) -> Result<u64, StoreError> {
    write(store, move |tx| {
        tx.add_batch(&batch, "A batch")?;
        tx.touch(tag::batch(&batch));
        Ok(())
    })
}

fn feed(store: &Store) -> Vec<FeedRow> {
    store.read_blocking::<_, StoreError>(INSTITUTE, |records| records.feed_after(0, 10_000)).unwrap()
}

#[test]
fn the_feed_has_no_gap_under_concurrent_writers_some_of_which_fail() {
    let (_folder, store) = open();
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let store = store.clone();
            std::thread::spawn(move || {
                for n in 0..40 {
                    let failed = write(&store, move |tx| {
                        tx.add_batch(&format!("failed-{writer}-{n}"), "Undone")?;
                        tx.touch_everything();
                        Err(StoreError::Closed)
                    });
                    assert!(failed.is_err());
                    add_batch(&store, format!("batch-{writer}-{n}")).unwrap();
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let feed = feed(&store);
    assert_eq!(feed.len(), 1 + 8 * 40);
    for (row, revision) in feed.iter().zip(1..) {
        assert_eq!(row.revision, revision);
        assert!(row.tags.contains(&tag::INSTITUTE.to_owned()));
    }
    let batches = store.read_blocking::<_, StoreError>(INSTITUTE, |records| records.institute_counts());
    assert_eq!(batches.unwrap().batches, 8 * 40);
}

#[test]
fn a_write_that_touches_nothing_makes_no_revision() {
    let (_folder, store) = open();
    assert_eq!(write(&store, |_| Ok(())).unwrap(), 1);
    assert_eq!(add_batch(&store, "b".into()).unwrap(), 2);
}

#[test]
fn a_panic_undoes_its_own_write_and_the_writer_goes_on() {
    let (_folder, store) = open();
    let panicked = write(&store, |tx| {
        tx.add_batch("lost", "Lost")?;
        panic!("on purpose");
    });
    assert!(matches!(panicked, Err(StoreError::Panicked)));
    assert_eq!(add_batch(&store, "kept".into()).unwrap(), 2);
    let lost = store.read_blocking::<_, StoreError>(INSTITUTE, |records| records.batch_exists("lost"));
    assert!(!lost.unwrap());
}

#[test]
fn an_attempt_that_fails_is_undone_with_its_tags_and_the_rest_commits() {
    let (_folder, store) = open();
    let revision = write(&store, |tx| {
        let refused = tx.attempt::<(), StoreError>(|tx| {
            tx.add_batch("refused", "Refused")?;
            tx.touch(tag::batch("refused"));
            Err(StoreError::Closed)
        });
        assert!(refused.is_err());
        tx.add_batch("kept", "Kept").map(drop)
    });
    assert_eq!(revision.unwrap(), 1);
    let exist = store.read_blocking::<_, StoreError>(INSTITUTE, |records| {
        Ok((records.batch_exists("refused")?, records.batch_exists("kept")?))
    });
    assert_eq!(exist.unwrap(), (false, true));
}

#[test]
fn a_commit_of_too_many_tags_touches_everything() {
    let (_folder, store) = open();
    write(&store, |tx| {
        (0..=tag::MAX_TAGS).for_each(|n| tx.touch(tag::batch(&n.to_string())));
        Ok(())
    })
    .unwrap();
    assert_eq!(feed(&store)[1].tags, [tag::EVERYTHING, tag::INSTITUTE]);
}

#[test]
fn a_second_process_is_told_who_has_the_folder() {
    let (folder, store) = open();
    let fault = Store::open(folder.path()).map(drop).unwrap_err().to_string();
    assert!(fault.contains(&format!("process {}", std::process::id())), "{fault}");
    drop(store);
    assert!(Store::open(folder.path()).is_ok());
}

#[tokio::test]
async fn a_watcher_wakes_after_each_commit() {
    let (_folder, store) = tokio::task::spawn_blocking(open).await.unwrap();
    let mut changed = store.watch(INSTITUTE);
    let written = store.write::<_, StoreError, _>(INSTITUTE, |tx| {
        tx.touch_everything();
        Ok(())
    });
    assert_eq!(written.await.unwrap().revision, 2);
    changed.changed().await.unwrap();
    assert_eq!(*changed.borrow_and_update(), 2);
}
