//! Deletion: who may, what goes with it, and what stays.

use super::*;
use crate::testing::Answer;

async fn delete(origin: &TestOrigin, user: &User, document: DocumentId) -> Answer {
    let key = uuid::Uuid::new_v4().to_string();
    origin.command(user, &key, json!({"command": "delete-document", "document": document.to_string()})).await
}

async fn changes_left(origin: &TestOrigin, document: DocumentId) -> usize {
    let left = origin.app.store.read(NORTHSIDE, move |records| records.changes_after(document, 0));
    let left: Result<_, StoreError> = left.await;
    left.unwrap().len()
}

#[tokio::test]
async fn a_deleted_sheet_takes_its_rows_along_and_comes_back_by_nobodys_copy() {
    let origin = TestOrigin::start().await;
    let class = origin.class_today("maths-a").await;
    let teacher = origin.user("teacher@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let admin = origin.user("admin@northside.example").await;
    let sheet = register(&origin, &teacher, "attendance", &class).await;
    let mut doc = replica(&origin, sheet).await;
    let marked = mark(&mut doc, &student.claims.sub, "late");
    let asleep = mark(&mut doc, &student.claims.sub, "asleep");
    push(&origin, vec![item(1, sheet, &teacher, &marked), item(2, sheet, &teacher, &asleep)]).await;
    let mark_of = async || {
        let schedule = origin.get(&student, "/api/students/schedule").await.json();
        let classes = schedule["classes"].as_array().unwrap();
        classes.iter().find(|c| c["class"] == *class).unwrap()["mark"].clone()
    };
    assert_eq!(mark_of().await, "late");
    for user in [&teacher, &student] {
        assert_eq!(delete(&origin, user, sheet).await.problem(), (403, "forbidden".into()));
    }
    let foreign = origin.user("admin@riverside.example").await;
    assert_eq!(delete(&origin, &foreign, sheet).await.problem(), (404, "not-found".into()));

    let before = origin.app.store.read(NORTHSIDE, |records| records.revision());
    let before: Result<u64, StoreError> = before.await;
    assert_eq!(delete(&origin, &admin, sheet).await.json()["outcome"]["deleted"], true);
    assert_eq!(delete(&origin, &admin, sheet).await.json()["outcome"]["deleted"], false);
    let feed = origin.app.store.read(NORTHSIDE, move |records| records.feed_after(before.unwrap(), 10));
    let feed: Result<_, StoreError> = feed.await;
    assert_eq!(feed.unwrap()[0].documents, [(sheet, vec![])]);
    assert_eq!(mark_of().await, serde_json::Value::Null);
    assert_eq!(changes_left(&origin, sheet).await, 0);
    let quarantine = origin.get(&admin, "/admin/v1/quarantine").await.json();
    assert_eq!(quarantine["items"], json!([]), "nothing is left to decide");

    // A replica that was away brings all that it has.
    let later = mark(&mut doc, &student.claims.sub, "present");
    let all: Vec<PushItem> = doc
        .get_changes(&[])
        .iter()
        .zip(10..)
        .map(|(change, sequence)| item(sequence, sheet, &teacher, change.raw_bytes()))
        .chain([item(20, sheet, &admin, &later)])
        .collect();
    let pushed = push(&origin, all).await;
    assert!(codes(&pushed).iter().all(|(_, code)| *code == "document-deleted"), "{pushed:?}");
    assert_eq!(pushed.refused.len(), 6);
    assert_eq!(changes_left(&origin, sheet).await, 0);
    let answer = pull(&origin, sheet, &[]).await;
    assert!(answer.deleted && answer.record.is_none());
    let quarantine = origin.get(&admin, "/admin/v1/quarantine").await.json();
    assert_eq!(quarantine["items"], json!([]));

    // The class may have a new sheet.
    let second = register(&origin, &teacher, "attendance", &class).await;
    assert_ne!(second, sheet);
    let mut doc = replica(&origin, second).await;
    let marked = mark(&mut doc, &student.claims.sub, "excused");
    assert_eq!(codes(&push(&origin, vec![item(30, second, &teacher, &marked)]).await), []);
    assert_eq!(mark_of().await, "excused");
    let origin = origin.restart().await;
    assert!(pull(&origin, sheet, &[]).await.deleted);
}

#[tokio::test]
async fn what_is_ones_own_alone_one_may_delete() {
    let origin = TestOrigin::start().await;
    let student = origin.user("student@northside.example").await;
    let teacher = origin.user("teacher@northside.example").await;
    let planner = register(&origin, &student, "planner", &student.claims.sub).await;
    let private = DocumentId::from_bytes([42; 16]);
    let mut doc = Automerge::new();
    let first = edit(&mut doc, |tx| tx.put(ROOT, "mine", true).unwrap());
    push(&origin, vec![item(1, private, &student, &first)]).await;
    for document in [planner, private] {
        assert_eq!(delete(&origin, &teacher, document).await.problem(), (403, "forbidden".into()));
        assert_eq!(delete(&origin, &student, document).await.json()["outcome"]["deleted"], true);
    }
    // Its id does not become somebody else's.
    let pushed = push(&origin, vec![item(2, private, &teacher, &first)]).await;
    assert_eq!(codes(&pushed), [(2, "document-deleted")]);
    let doubt = register(&origin, &student, "doubt", "maths-a/limits").await;
    assert_eq!(delete(&origin, &student, doubt).await.problem(), (403, "forbidden".into()));
}
