//! Rows are what the log says, and can be made again from it.

use super::*;
use crate::services::documents::projection::Rebuilt;
use crate::store::AttendanceRow;
use serde_json::Value;
use sync_protocol::token::Role;

pub(super) async fn rows(origin: &TestOrigin, class: &str) -> Vec<AttendanceRow> {
    let class = class.to_owned();
    let rows = origin.app.store.read(NORTHSIDE, move |records| records.attendance(&class));
    let rows: Result<_, StoreError> = rows.await;
    rows.unwrap()
}

pub(super) async fn rebuild(origin: &TestOrigin) -> Rebuilt {
    // A process of its own has no replicas in memory.
    let documents = DocumentService::new(origin.app.store.clone());
    let rebuilt = tokio::task::spawn_blocking(move || documents.rebuild_projections(NORTHSIDE));
    rebuilt.await.unwrap().unwrap()
}

#[tokio::test]
async fn spoilt_rows_are_made_again_from_the_log() {
    let origin = TestOrigin::start().await;
    let class = origin.class_today("maths-a").await;
    let teacher = origin.user("teacher@northside.example").await;
    let assistant = origin.user("assistant@northside.example").await;
    let sam = origin.user("student@northside.example").await.claims.sub;
    let chen = crate::services::seed::user_id_of("chen.brown@northside.example");
    let sheet = register(&origin, &teacher, "attendance", &class).await;
    let (mut one, mut two) = (replica(&origin, sheet).await, replica(&origin, sheet).await);
    let first = mark(&mut one, &sam, "present");
    let second = mark(&mut two, &sam, "late");
    let others = mark(&mut one, &chen, "absent");
    let tablet = PushItem { device: "tablet".into(), ..item(2, sheet, &assistant, &second) };
    let items = vec![item(1, sheet, &teacher, &first), tablet, item(3, sheet, &teacher, &others)];
    assert_eq!(codes(&push(&origin, items).await), []);

    let good = rows(&origin, &class).await;
    let conflict = good.iter().find(|row| row.student == sam).unwrap();
    let mut writers: Vec<Value> = serde_json::from_str(conflict.writers.as_ref().unwrap()).unwrap();
    writers.sort_by_key(|writer| writer["mark"].to_string());
    let told = |n: usize| {
        [&writers[n]["mark"], &writers[n]["user"], &writers[n]["device"]].map(|v| v.as_str().unwrap())
    };
    assert_eq!(told(0), ["late", &assistant.claims.sub, "tablet"]);
    assert_eq!(told(1), ["present", &teacher.claims.sub, "phone"]);
    let heads: Vec<String> = serde_json::from_str(conflict.heads.as_ref().unwrap()).unwrap();
    let hash_of = |bytes: &[u8]| automerge::Change::try_from(bytes).unwrap().hash().to_string();
    assert_eq!(heads.len(), 2);
    assert!(heads.contains(&hash_of(&first)) && heads.contains(&hash_of(&second)), "{heads:?}");
    assert_eq!(rebuild(&origin).await, Rebuilt { documents: 1, corrected: 0 });

    let spoil = class.clone();
    let spoilt: Result<_, StoreError> = origin
        .app
        .store
        .write(NORTHSIDE, move |tx| {
            let mut row = tx.attendance(&spoil)?.into_iter().find(|row| row.student == sam).unwrap();
            row.mark = "excused".into();
            row.marks = None;
            tx.put_attendance(&spoil, &row)?;
            tx.remove_attendance(&spoil, &chen)?;
            let of_batch = |entry: &DirectoryEntry| {
                entry.role == Role::Student && entry.batches.contains(&"maths-a".to_owned())
            };
            let mut others = tx
                .directory()?
                .into_iter()
                .filter(|entry| of_batch(entry) && entry.user != sam && entry.user != chen);
            let student = others.next().unwrap().user;
            tx.put_attendance(&spoil, &AttendanceRow { student, ..row })
        })
        .await;
    spoilt.unwrap();
    assert_ne!(rows(&origin, &class).await, good);
    assert_eq!(rebuild(&origin).await, Rebuilt { documents: 1, corrected: 3 });
    assert_eq!(rows(&origin, &class).await, good);
}
