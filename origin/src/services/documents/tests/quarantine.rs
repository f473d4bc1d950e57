//! What becomes of refused changes: kept within bounds, shown to admins alone, accepted with what follows, or dropped.

use super::*;
use automerge::ActorId;
use link::{Quarantine, QuarantineItem};
use serde_json::Value;
use sync_protocol::quarantine::DEVICE_ITEMS_MAX;

const LIST: &str = "/admin/v1/quarantine";

fn refused(sequence: u64, document: DocumentId, user: &User, bytes: &[u8]) -> QuarantineItem {
    QuarantineItem {
        sequence,
        document,
        user: user.claims.sub.clone(),
        device: "phone".into(),
        code: "forbidden".into(),
        refused_at: 1_795_348_800_000 + sequence,
        bytes: bytes.to_vec().into(),
    }
}

async fn tell(origin: &TestOrigin, items: Vec<QuarantineItem>) -> u64 {
    let told = Quarantine { institute: NORTHSIDE.into(), log: "log".into(), items };
    origin.app.documents.quarantine("edge-1", told).await.unwrap().acknowledged
}

async fn items(origin: &TestOrigin, admin: &User) -> Vec<Value> {
    let answer = origin.get(admin, LIST).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()["items"].as_array().unwrap().clone()
}

/// The newest entry of the audit log.
async fn audit(origin: &TestOrigin, admin: &User) -> Value {
    origin.get(admin, "/admin/v1/audit").await.json()["items"][0].clone()
}

fn path(item: &Value, action: &str) -> String {
    format!("{LIST}/{}/{}{action}", item["document"].as_str().unwrap(), item["hash"].as_str().unwrap())
}

#[tokio::test]
async fn what_an_edge_refused_is_kept_once_and_told_to_admins_alone_in_words() {
    let origin = TestOrigin::start().await;
    let class = origin.class_today("maths-a").await;
    let teacher = origin.user("teacher@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let admin = origin.user("admin@northside.example").await;
    let sheet = register(&origin, &teacher, "attendance", &class).await;
    let mut doc = replica(&origin, sheet).await;
    let honest = mark(&mut doc, &student.claims.sub, "absent");
    push(&origin, vec![item(1, sheet, &teacher, &honest)]).await;
    let cheat = mark(&mut doc, &student.claims.sub, "present");
    let told = vec![refused(4, sheet, &student, &cheat), refused(9, sheet, &student, b"no change")];
    assert_eq!(tell(&origin, told.clone()).await, 9);
    assert_eq!(tell(&origin, told).await, 9);
    // What the document has needs nobody to look at it.
    tell(&origin, vec![refused(10, sheet, &student, &honest)]).await;

    let listed = items(&origin, &admin).await;
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert_eq!((&listed[0]["code"], &listed[0]["edge"]), (&json!("forbidden"), &json!("edge-1")));
    let one = origin.get(&admin, &path(&listed[0], "")).await.json();
    let step = json!({"path": format!("/marks/{}", student.claims.sub), "action": "set", "value": "present",
        "before": "absent"});
    assert_eq!((&one["kind"], &one["change"]["steps"]), (&json!("attendance"), &json!([step])));
    let broken = origin.get(&admin, &path(&listed[1], "")).await.json();
    assert_eq!((broken.get("change"), &broken["bytes"]), (None, &json!(9)));

    let entry = origin.get(&admin, &format!("/admin/v1/documents/{sheet}")).await.json();
    let expected = json!({"document": sheet.to_string(), "kind": "attendance", "subject": class, "changes": 3,
        "quarantined": 2, "last_refusal": "forbidden"});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&entry[name], value, "{name} of {entry}");
    }
    assert!(
        entry["bytes"].as_u64().unwrap() > 50 && entry["heads"].as_array().unwrap().len() == 1,
        "{entry}"
    );
    for user in [&teacher, &student] {
        assert_eq!(origin.get(user, "/admin/v1/documents").await.problem(), (403, "forbidden".into()));
        assert_eq!(origin.get(user, LIST).await.problem(), (403, "forbidden".into()));
        assert_eq!(origin.get(user, &path(&listed[0], "")).await.problem(), (403, "forbidden".into()));
        let accepted = origin.post(user, &path(&listed[0], "/accept"), json!({})).await;
        assert_eq!(accepted.problem(), (403, "forbidden".into()));
    }
    let elsewhere = origin.user("admin@riverside.example").await;
    assert_eq!(items(&origin, &elsewhere).await, Vec::<Value>::new());
    let accepted = origin.post(&elsewhere, &path(&listed[0], "/accept"), json!({})).await;
    assert_eq!(accepted.problem(), (404, "not-found".into()));
}

#[tokio::test]
async fn an_accepted_change_is_merged_projected_and_fed_and_what_waited_for_it_follows() {
    let origin = TestOrigin::start().await;
    let class = origin.class_today("maths-a").await;
    let teacher = origin.user("teacher@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let admin = origin.user("admin@northside.example").await;
    let sheet = register(&origin, &teacher, "attendance", &class).await;
    let mut doc = replica(&origin, sheet).await;
    let first = mark(&mut doc, &student.claims.sub, "present");
    let upon = mark(&mut doc, &student.claims.sub, "late");
    let asleep = mark(&mut doc, &student.claims.sub, "asleep");
    let items_pushed = vec![
        item(1, sheet, &student, &first),
        item(2, sheet, &teacher, &upon),
        item(3, sheet, &teacher, &asleep),
    ];
    let pushed = push(&origin, items_pushed).await;
    assert_eq!(codes(&pushed), [(1, "forbidden"), (2, "missing-dependency"), (3, "missing-dependency")]);

    let listed = items(&origin, &admin).await;
    let forbidden = listed.iter().find(|item| item["code"] == "forbidden").unwrap();
    let waits = listed.iter().find(|item| item["code"] == "missing-dependency").unwrap();
    let early = origin.post(&admin, &path(waits, "/accept"), json!({})).await;
    assert_eq!(early.problem(), (422, "not-acceptable".into()));
    let before = origin.app.store.read(NORTHSIDE, |records| records.revision());
    let before: Result<u64, StoreError> = before.await;

    let accepted = origin.post(&admin, &path(forbidden, "/accept"), json!({})).await.json();
    // The third breaks the rules, whoever accepted what it stands on.
    assert_eq!(accepted["accepted"].as_array().unwrap().len(), 2, "{accepted}");
    let merged = replica(&origin, sheet).await;
    let marks = sync_protocol::kind::attendance_marks(&merged);
    assert_eq!(marks[&student.claims.sub].mark, "late");
    let schedule = origin.get(&student, "/api/students/schedule").await.json();
    let today = schedule["classes"].as_array().unwrap().iter().find(|c| c["class"] == *class).unwrap();
    assert_eq!(today["mark"], "late");
    let feed = origin.app.store.read(NORTHSIDE, move |records| records.feed_after(before.unwrap(), 10));
    let feed: Result<_, StoreError> = feed.await;
    assert_eq!(feed.unwrap()[0].documents, [(sheet, replica::hex_heads(&merged))]);
    let left = items(&origin, &admin).await;
    assert_eq!(left.len(), 1, "{left:?}");
    let again = origin.post(&admin, &path(forbidden, "/accept"), json!({})).await;
    assert_eq!(again.problem(), (404, "not-found".into()));
    let audited = audit(&origin, &admin).await;
    assert_eq!(audited["record"], sheet.to_string());
    assert_eq!(audited["after"]["changes"].as_array().unwrap().len(), 2, "{audited}");
    assert_eq!(audited["command"], "accept-quarantined");
}

#[tokio::test]
async fn what_was_dropped_does_not_come_back_and_what_comes_another_way_leaves() {
    let origin = TestOrigin::start().await;
    let class = origin.class_today("maths-a").await;
    let teacher = origin.user("teacher@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let admin = origin.user("admin@northside.example").await;
    let notes = register(&origin, &teacher, "notes", &class).await;
    let mut doc = replica(&origin, notes).await;
    let change = edit(&mut doc, |tx| tx.put(ROOT, "topic", "limits").unwrap());
    let mut other = replica(&origin, notes).await;
    let silly = edit(&mut other, |tx| tx.put(ROOT, "topic", "none").unwrap());
    push(&origin, vec![item(1, notes, &student, &change), item(2, notes, &student, &silly)]).await;
    push(&origin, vec![item(3, notes, &teacher, &change)]).await;
    let listed = items(&origin, &admin).await;
    assert_eq!(listed.len(), 1, "the teacher has brought the other one: {listed:?}");
    let dropped = origin.post(&admin, &path(&listed[0], "/drop"), json!({})).await;
    assert_eq!(dropped.status, StatusCode::NO_CONTENT);
    assert_eq!(audit(&origin, &admin).await["command"], "drop-quarantined");
    let again = push(&origin, vec![item(4, notes, &student, &silly)]).await;
    assert_eq!(codes(&again), [(4, "forbidden")]);
    assert_eq!(items(&origin, &admin).await, Vec::<Value>::new());
    let accepted = origin.post(&admin, &path(&listed[0], "/accept"), json!({})).await;
    assert_eq!(accepted.problem(), (404, "not-found".into()));
}

#[tokio::test]
async fn a_reused_sequence_number_is_beyond_an_admins_power_too() {
    let origin = TestOrigin::start().await;
    let class = origin.class_today("maths-a").await;
    let teacher = origin.user("teacher@northside.example").await;
    let admin = origin.user("admin@northside.example").await;
    let notes = register(&origin, &teacher, "notes", &class).await;
    let writer = |doc: Automerge| doc.with_actor(ActorId::from([7]));
    let (mut one, mut forger) =
        (writer(replica(&origin, notes).await), writer(replica(&origin, notes).await));
    let honest = edit(&mut one, |tx| tx.put(ROOT, "topic", "limits").unwrap());
    let forged = edit(&mut forger, |tx| tx.put(ROOT, "topic", "nonsense").unwrap());
    push(&origin, vec![item(1, notes, &teacher, &honest), item(2, notes, &teacher, &forged)]).await;
    let listed = items(&origin, &admin).await;
    let accepted = origin.post(&admin, &path(&listed[0], "/accept"), json!({})).await;
    assert_eq!(accepted.problem(), (422, "not-acceptable".into()));
    assert_eq!(items(&origin, &admin).await.len(), 1);
}

#[tokio::test]
async fn one_device_cannot_fill_the_quarantine() {
    let origin = TestOrigin::start().await;
    let student = origin.user("student@northside.example").await;
    let admin = origin.user("admin@northside.example").await;
    let document = DocumentId::from_bytes([7; 16]);
    let flood = (1..=DEVICE_ITEMS_MAX + 200)
        .map(|n| refused(n, document, &student, format!("rubbish {n}").as_bytes()))
        .collect();
    assert_eq!(tell(&origin, flood).await, DEVICE_ITEMS_MAX + 200, "the edge is not held up");
    let other = QuarantineItem { device: "tablet".into(), ..refused(1, document, &student, b"other") };
    tell(&origin, vec![other]).await;
    let large =
        QuarantineItem { device: "large".into(), ..refused(1, document, &student, &vec![0; 5 << 20]) };
    tell(&origin, vec![large]).await;
    let dashboard = origin.get(&admin, "/api/admin/dashboard").await.json();
    assert_eq!(dashboard["documents"]["quarantined"], DEVICE_ITEMS_MAX + 1);

    // Page by page, each item once.
    let (mut seen, mut cursor) = (std::collections::HashSet::new(), String::new());
    loop {
        let page = origin.get(&admin, &format!("{LIST}?limit=90{cursor}")).await.json();
        for item in page["items"].as_array().unwrap() {
            assert!(seen.insert(item["hash"].to_string()), "{item} comes twice");
        }
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen.len() as u64, DEVICE_ITEMS_MAX + 1);
    let wrong = origin.get(&admin, &format!("{LIST}?cursor=here")).await;
    assert_eq!(wrong.problem(), (422, "invalid-field".into()));
}
