//! What the store promises whoever writes and reads it, the same on both engines, and what one of them promises alone.

/// The same claims, checked on each engine.
macro_rules! on_each_engine {
    ($($claim:ident,)*) => {
        mod sqlite {
            use super::TestStore;
            $(#[test] fn $claim() { super::$claim(&TestStore::sqlite()); })*
        }
        mod postgres {
            use super::TestStore;
            $(#[test] fn $claim() { super::$claim(&TestStore::postgres()); })*
        }
    };
}

mod administration;
mod cluster;
mod conformance;
mod doubts;
mod fees;
mod moving;
mod series;
mod sessions;
mod tenants;

use super::*;
use crate::testing::TestDatabase;
use sync_protocol::tag;

const INSTITUTE: &str = "northside.example";

/// A store of one engine, with one institute at revision 1; all of it goes with the test.
struct TestStore {
    store: Store,
    _folder: Option<tempfile::TempDir>,
    _database: Option<TestDatabase>,
}

impl TestStore {
    fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        add_institute(&store);
        Self { store, _folder: Some(folder), _database: None }
    }

    fn postgres() -> Self {
        let database = TestDatabase::create();
        let store = Store::connect(&database.config()).unwrap();
        add_institute(&store);
        Self { store, _folder: None, _database: Some(database) }
    }
}

fn add_institute(store: &Store) {
    write(store, |tx| {
        tx.add_institute("Northside", "UTC", "EUR", 0)?;
        tx.touch_everything();
        Ok(())
    })
    .unwrap();
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
fn a_second_process_is_told_who_has_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let fault = Store::open(folder.path()).map(drop).unwrap_err().to_string();
    assert!(fault.contains(&format!("process {}", std::process::id())), "{fault}");
    drop(store);
    assert!(Store::open(folder.path()).is_ok());
}
