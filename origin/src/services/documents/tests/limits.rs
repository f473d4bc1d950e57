//! A document that is full: what devices bring is refused and kept for an admin, who may go a little further, and all else goes on.

use super::*;
use crate::testing::Answer;
use serde_json::Value;
use sync_protocol::document_limits::{ATTENDANCE_BYTES, ATTENDANCE_CHANGES, DOCUMENT_FULL};
use sync_protocol::kind;

/// Writes beside the marks, where a sheet takes what it does not know.
fn remark(doc: &mut Automerge, text: &str) -> Vec<u8> {
    edit(doc, |tx| tx.put(ROOT, "remark", text).unwrap())
}

/// One change that leaves so many bytes.
fn all_but(bytes: usize) -> String {
    "x".repeat(usize::try_from(ATTENDANCE_BYTES).unwrap() - bytes)
}

async fn quarantined(origin: &TestOrigin, admin: &User) -> Vec<Value> {
    origin.get(admin, "/admin/v1/quarantine").await.json()["items"].as_array().unwrap().clone()
}

async fn accept(origin: &TestOrigin, admin: &User, item: &Value) -> Answer {
    let part = |name: &str| item[name].as_str().unwrap().to_owned();
    let path = format!("/admin/v1/quarantine/{}/{}/accept", part("document"), part("hash"));
    origin.post(admin, &path, json!({})).await
}

async fn check_full(origin: &TestOrigin) {
    let class = origin.class_today("maths-a").await;
    let teacher = origin.user("teacher@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let admin = origin.user("admin@northside.example").await;
    let sheet = register(origin, &teacher, "attendance", &class).await;
    let notes = register(origin, &teacher, "notes", &class).await;
    let mut doc = replica(origin, sheet).await;
    let fills = remark(&mut doc, &all_but(20_000));
    assert_eq!(codes(&push(origin, vec![item(1, sheet, &teacher, &fills)]).await), []);

    let full = doc.get_heads();
    let large = remark(&mut doc.fork(), &"y".repeat(30_000));
    let small = mark(&mut doc, &student.claims.sub, "late");
    let mut other = replica(origin, notes).await;
    let beside = edit(&mut other, |tx| tx.put(ROOT, "topic", "limits").unwrap());
    let items = vec![
        item(2, sheet, &teacher, &large),
        item(3, notes, &teacher, &beside),
        item(4, sheet, &teacher, &small),
        item(5, sheet, &teacher, &fills),
    ];
    let pushed = push(origin, items).await;
    assert_eq!((pushed.acknowledged, codes(&pushed)), (5, vec![(2, DOCUMENT_FULL)]));
    assert_ne!(replica(origin, sheet).await.get_heads(), full, "what is small still fits");
    assert_eq!(replica(origin, notes).await.get_heads(), other.get_heads());

    let listed = quarantined(origin, &admin).await;
    assert_eq!((listed.len(), &listed[0]["code"]), (1, &json!(DOCUMENT_FULL)), "{listed:?}");
    let accepted = accept(origin, &admin, &listed[0]).await;
    assert_eq!(accepted.status, StatusCode::OK, "an admin may go beyond: {accepted:?}");
    let after = replica(origin, sheet).await;
    assert_eq!(kind::attendance_marks(&after)[&student.claims.sub].mark, "late");

    // What is more than an admin's reserve is refused to admins too, in words.
    let mut doc = after.fork();
    let too_large = remark(&mut doc, &"z".repeat(usize::try_from(ATTENDANCE_BYTES / 8).unwrap()));
    assert_eq!(codes(&push(origin, vec![item(6, sheet, &teacher, &too_large)]).await), [(6, DOCUMENT_FULL)]);
    let listed = quarantined(origin, &admin).await;
    let refused = accept(origin, &admin, &listed[0]).await;
    assert!(refused.json()["detail"].as_str().unwrap().contains(DOCUMENT_FULL), "{refused:?}");
    assert_eq!(refused.problem(), (422, "not-acceptable".into()));
    assert_eq!(quarantined(origin, &admin).await.len(), 1, "it waits on");
    assert_eq!(replica(origin, sheet).await.get_heads(), after.get_heads());
}

#[tokio::test]
async fn a_full_document_refuses_and_the_rest_goes_on_on_sqlite() {
    check_full(&TestOrigin::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_document_refuses_and_the_rest_goes_on_on_postgres() {
    let database = TestDatabase::create();
    check_full(&TestOrigin::start_on_postgres(database.config()).await).await;
}

/// The changes of a push count before they are in the log, and those of another process when they are.
#[tokio::test]
async fn a_push_takes_the_last_changes_that_fit_and_no_more() {
    let origin = TestOrigin::start().await;
    let class = origin.class_today("maths-a").await;
    let teacher = origin.user("teacher@northside.example").await;
    let sheet = register(&origin, &teacher, "attendance", &class).await;
    let mut doc = replica(&origin, sheet).await;
    let (mut rows, logged) = (Vec::new(), doc.get_changes(&[]).len() as u64);
    while logged + (rows.len() as u64) < ATTENDANCE_CHANGES - 2 {
        let bytes = remark(&mut doc, if rows.len() % 2 == 0 { "a" } else { "b" });
        let hash = doc.get_heads()[0].0;
        let (user, device, edge) = (teacher.claims.sub.clone(), "phone".into(), "edge-2".into());
        rows.push(ChangeRow { hash, bytes, user, device, edge, received_at: 1 });
    }
    let heads = replica::hex_heads(&doc);
    let append = move |tx: &mut WriteTx<'_>| tx.append_changes(sheet, logged, &rows, &heads);
    let appended = origin.app.store.write::<_, StoreError, _>(NORTHSIDE, append).await.unwrap();
    assert!(appended.value);

    let changes: Vec<Vec<u8>> = (0..4).map(|n| remark(&mut doc, &n.to_string())).collect();
    let items = changes.iter().zip(1..).map(|(bytes, n)| item(n, sheet, &teacher, bytes)).collect();
    let refused = [(3, DOCUMENT_FULL), (4, DOCUMENT_FULL)];
    assert_eq!(codes(&push(&origin, items).await), refused);
    let origin = origin.restart().await;
    let again = changes.iter().zip(1..).map(|(bytes, n)| item(n, sheet, &teacher, bytes)).collect();
    assert_eq!(codes(&push(&origin, again).await), refused);
    assert_eq!(replica(&origin, sheet).await.get_changes(&[]).len() as u64, ATTENDANCE_CHANGES);
}
