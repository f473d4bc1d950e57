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
mod figures;
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

/// What the migrations make of a store in which `sam` had read up to a time and `ann` nothing, with one class, one invoice that is
/// paid in part, and three messages.
pub(in crate::store) fn same_unread_and_counted(records: &dyn Records) -> Result<(), StoreError> {
    let batches = ["b".to_owned()];
    let unread = |user: &str| records.unread_messages(user, &batches, 100);
    let newest = Some(arrival_of_history(2_001));
    assert_eq!(unread("sam")?, Unread { count: 1, newest });
    assert_eq!(unread("ann")?, Unread { count: 2, newest });
    let figures = records.institute_figures()?;
    assert_eq!((figures.students, figures.teachers, figures.batches), (2, 1, 1));
    assert_eq!(figures.outstanding_minor, 300);
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    assert_eq!((records.received_since_minor(DAY_MS)?, records.received_since_minor(2 * DAY_MS)?), (200, 0));
    let today = records.classes_figures(0, 10)?;
    assert_eq!((today.classes, today.expected), (1, 2));
    let marks = AttendanceFigures { present: 1, late: 1, conflicts: 1, ..AttendanceFigures::default() };
    assert_eq!(today.marks, marks);
    Ok(())
}
