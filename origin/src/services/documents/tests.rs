//! Registration, merging and projection, through the service as the link calls it.

mod actors;
mod deletion;
mod limits;
mod projection;
mod quarantine;
mod succession;
mod versions;

use super::*;
use crate::testing::{TestDatabase, TestOrigin, User};
use automerge::transaction::Transactable as _;
use automerge::{ObjType, ROOT, ReadDoc as _};
use axum::http::StatusCode;
use serde_json::json;
use sync_protocol::link::{Pull, Push, PushItem, Pushed};

const NORTHSIDE: &str = "northside.example";

async fn register(origin: &TestOrigin, user: &User, kind: &str, subject: &str) -> DocumentId {
    let answer = origin.post(user, "/api/documents", json!({"kind": kind, "subject": subject})).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()["documentId"].as_str().unwrap().parse().unwrap()
}

fn item(sequence: u64, document: DocumentId, user: &User, bytes: &[u8]) -> PushItem {
    let (user, device) = (user.claims.sub.clone(), "phone".to_owned());
    PushItem { sequence, document, user, device, bytes: bytes.to_vec().into(), logged_at: sequence }
}

async fn push(origin: &TestOrigin, items: Vec<PushItem>) -> Pushed {
    let push = Push { institute: NORTHSIDE.into(), log: "log".into(), items };
    origin.app.documents.push_changes("edge-1", push).await.unwrap()
}

async fn pull(origin: &TestOrigin, document: DocumentId, have: &[Hash]) -> link::Document {
    let pull = Pull { institute: NORTHSIDE.into(), document, have: have.to_vec() };
    origin.app.documents.pull_changes(pull).await.unwrap()
}

/// A replica of a device, from what the origin has.
async fn replica(origin: &TestOrigin, document: DocumentId) -> Automerge {
    let mut doc = Automerge::new();
    for chunk in pull(origin, document, &[]).await.chunks {
        doc.load_incremental(&chunk).unwrap();
    }
    doc
}

/// Marks a student and gives the change.
fn mark(doc: &mut Automerge, student: &str, value: &str) -> Vec<u8> {
    let (_, sheet) = doc.get(ROOT, "marks").unwrap().unwrap();
    edit(doc, |tx| tx.put(&sheet, student, value).unwrap())
}

fn edit(doc: &mut Automerge, change: impl FnOnce(&mut automerge::transaction::Transaction<'_>)) -> Vec<u8> {
    let before = doc.get_heads();
    let mut tx = doc.transaction();
    change(&mut tx);
    tx.commit();
    doc.get_changes(&before)[0].raw_bytes().to_vec()
}

fn codes(pushed: &Pushed) -> Vec<(u64, &str)> {
    pushed.refused.iter().map(|refused| (refused.sequence, refused.code.as_str())).collect()
}

#[tokio::test]
async fn a_subject_has_one_document_for_all_who_may_reach_it() {
    let origin = TestOrigin::start().await;
    let class = origin.class_today("maths-a").await;
    let teacher = origin.user("teacher@northside.example").await;
    let assistant = origin.user("assistant@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let sheet = register(&origin, &teacher, "attendance", &class).await;
    assert_eq!(register(&origin, &assistant, "attendance", &class).await, sheet);
    let notes = register(&origin, &student, "notes", &class).await;
    assert_eq!(register(&origin, &teacher, "notes", &class).await, notes);
    register(&origin, &student, "doubt", "maths-a/limits").await;
    register(&origin, &student, "planner", &student.claims.sub).await;
    let refused = async |user: &User, kind: &str, subject: &str| {
        origin.post(user, "/api/documents", json!({"kind": kind, "subject": subject})).await.problem()
    };
    let forbidden = (403, "forbidden".to_owned());
    assert_eq!(refused(&student, "attendance", &class).await, forbidden);
    assert_eq!(refused(&student, "doubt", "maths-b/limits").await, forbidden);
    assert_eq!(refused(&student, "planner", &teacher.claims.sub).await, forbidden);
    assert_eq!(refused(&teacher, "attendance", "no-class").await, (404, "not-found".into()));
    assert_eq!(refused(&teacher, "doubt", "maths-a").await, (422, "invalid-field".into()));
    assert_eq!(refused(&teacher, "private", "x").await, (422, "invalid-field".into()));
    let foreign = origin.user("teacher@riverside.example").await;
    let own = register(&origin, &foreign, "attendance", &class).await;
    assert_ne!(own, sheet);
}

#[tokio::test]
async fn concurrent_marks_become_rows_and_the_conflict_is_told_with_both_values() {
    let origin = TestOrigin::start().await;
    let class = origin.class_today("maths-a").await;
    let teacher = origin.user("teacher@northside.example").await;
    let assistant = origin.user("assistant@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let other = crate::services::seed::user_id_of("chen.brown@northside.example");
    let stranger = crate::services::seed::user_id_of("olga.diaz@northside.example");
    let sheet = register(&origin, &teacher, "attendance", &class).await;
    let mut one = replica(&origin, sheet).await;
    let mut two = replica(&origin, sheet).await;
    let items = vec![
        item(1, sheet, &teacher, &mark(&mut one, &student.claims.sub, "present")),
        item(2, sheet, &assistant, &mark(&mut two, &student.claims.sub, "late")),
        item(3, sheet, &assistant, &mark(&mut two, &other, "absent")),
        item(4, sheet, &assistant, &mark(&mut two, &stranger, "absent")),
    ];
    let pushed = push(&origin, items).await;
    assert_eq!((pushed.acknowledged, codes(&pushed)), (4, vec![(4, "not-a-student")]));
    let view = origin.get(&teacher, "/api/teachers/dashboard").await;
    let view = view.json();
    let today = view["today"].as_array().unwrap().iter().find(|today| today["class"] == *class).unwrap();
    assert_eq!(today["documents"]["attendance"], sheet.to_string());
    let figures = &today["attendance"];
    assert_eq!(figures["conflicts"], 1);
    // Those of the batch who have a mark: the student and Chen Brown when they are of it.
    let marked = 21 - figures["unmarked"].as_u64().unwrap();
    assert!(marked >= 1);
    let mut values: Vec<&str> =
        today["conflicts"][0]["values"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
    values.sort_unstable();
    assert_eq!(values, ["late", "present"]);
    assert_eq!(today["conflicts"][0]["name"], "Sam Student");
    // One of them decides: the conflict is gone.
    let mut one = replica(&origin, sheet).await;
    let decided = mark(&mut one, &student.claims.sub, "excused");
    push(&origin, vec![item(5, sheet, &teacher, &decided)]).await;
    let schedule = origin.get(&student, "/api/students/schedule").await.json();
    let class = schedule["classes"].as_array().unwrap().iter().find(|c| c["class"] == *class).unwrap();
    assert_eq!(class["mark"], "excused");
}

#[tokio::test]
async fn a_refused_change_goes_to_quarantine_and_the_rest_of_the_push_goes_on() {
    let origin = TestOrigin::start().await;
    let class = origin.class_today("maths-a").await;
    let teacher = origin.user("teacher@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let sheet = register(&origin, &teacher, "attendance", &class).await;
    let mut doc = replica(&origin, sheet).await;
    let mut cheat = replica(&origin, sheet).await;
    let kept = mark(&mut doc, &student.claims.sub, "absent");
    let lost = mark(&mut doc, &student.claims.sub, "late");
    let later = mark(&mut doc, &student.claims.sub, "excused");
    drop(lost);
    let items = vec![
        item(1, sheet, &student, &mark(&mut cheat, &student.claims.sub, "present")),
        item(2, sheet, &teacher, b"not a change"),
        item(3, sheet, &teacher, &kept),
        item(5, sheet, &teacher, &later),
    ];
    let pushed = push(&origin, items.clone()).await;
    assert_eq!(pushed.acknowledged, 5);
    let refused = [(1, "forbidden"), (2, "malformed-change"), (5, "missing-dependency")];
    assert_eq!(codes(&pushed), refused);
    let admin = origin.user("admin@northside.example").await;
    let before = origin.get(&admin, "/api/admin/dashboard").await;
    assert_eq!(before.json()["documents"]["quarantined"], 3);
    // The same again: nothing new, nothing twice.
    let again = push(&origin, items).await;
    assert_eq!(codes(&again), refused);
    let after = origin.get(&admin, "/api/admin/dashboard").await;
    assert_eq!(after.header("rollcall-bookmark"), before.header("rollcall-bookmark"));
    assert_eq!(after.json()["documents"], before.json()["documents"]);
}

/// The edge that brings it may be of another build, or not have known who studies where.
#[tokio::test]
async fn what_breaks_the_rules_of_a_kind_is_refused_here_too() {
    let origin = TestOrigin::start().await;
    let class = origin.class_today("maths-a").await;
    let teacher = origin.user("teacher@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let sheet = register(&origin, &teacher, "attendance", &class).await;
    let mut doc = replica(&origin, sheet).await;
    let good = mark(&mut doc, &student.claims.sub, "late");
    let mut other = replica(&origin, sheet).await;
    let bad = mark(&mut other, &student.claims.sub, "asleep");
    let upon = mark(&mut other, &student.claims.sub, "present");
    let better = mark(&mut doc, &student.claims.sub, "excused");
    let items = [&good, &bad, &upon, &better].into_iter().zip(1..);
    let items = items.map(|(bytes, sequence)| item(sequence, sheet, &teacher, bytes)).collect();
    let refused = [(2, "invalid-mark"), (3, "missing-dependency")];
    assert_eq!(codes(&push(&origin, items).await), refused);
    assert_eq!(replica(&origin, sheet).await.get_heads(), doc.get_heads());

    let doubt = register(&origin, &student, "doubt", "maths-a/limits").await;
    let mut doc = replica(&origin, doubt).await;
    let (_, question) = doc.get(ROOT, "question").unwrap().unwrap();
    let asked = edit(&mut doc, |tx| tx.splice_text(&question, 0, 0, "Why?").unwrap());
    let mut forged = doc.fork();
    let edited = edit(&mut forged, |tx| tx.splice_text(&question, 0, 0, "I am silly. ").unwrap());
    let items = vec![item(5, doubt, &student, &asked), item(6, doubt, &teacher, &edited)];
    assert_eq!(codes(&push(&origin, items).await), [(6, "not-your-words")]);
}

#[tokio::test]
async fn a_reader_who_brings_what_is_there_is_not_refused() {
    let origin = TestOrigin::start().await;
    let class = origin.class_today("maths-a").await;
    let student = origin.user("student@northside.example").await;
    let notes = register(&origin, &student, "notes", &class).await;
    let mut doc = replica(&origin, notes).await;
    let genesis = doc.get_changes(&[])[0].raw_bytes().to_vec();
    let own = edit(&mut doc, |tx| tx.put(ROOT, "topic", "mine").unwrap());
    let pushed =
        push(&origin, vec![item(1, notes, &student, &genesis), item(2, notes, &student, &own)]).await;
    assert_eq!(codes(&pushed), [(2, "forbidden")]);
}

#[tokio::test]
async fn a_reused_sequence_number_is_refused_alone() {
    let origin = TestOrigin::start().await;
    let class = origin.class_today("maths-a").await;
    let teacher = origin.user("teacher@northside.example").await;
    let notes = register(&origin, &teacher, "notes", &class).await;
    let mut one = replica(&origin, notes).await;
    let mut forger = one.clone().with_actor(one.get_actor().clone());
    let mut other = replica(&origin, notes).await;
    let honest = edit(&mut one, |tx| tx.put(ROOT, "topic", "limits").unwrap());
    let forged = edit(&mut forger, |tx| tx.put(ROOT, "topic", "nonsense").unwrap());
    let beside = edit(&mut other, |tx| tx.put(ROOT, "room", "1").unwrap());
    let items = vec![
        item(1, notes, &teacher, &honest),
        item(2, notes, &teacher, &forged),
        item(3, notes, &teacher, &beside),
    ];
    let pushed = push(&origin, items).await;
    assert_eq!(codes(&pushed), [(2, "sequence-reused")]);
    let merged = replica(&origin, notes).await;
    assert_eq!(merged.get(ROOT, "topic").unwrap().unwrap().0.as_str(), Some("limits"));
    assert_eq!(merged.get(ROOT, "room").unwrap().unwrap().0.as_str(), Some("1"));
}

#[tokio::test]
async fn an_unregistered_document_is_private_to_who_brought_it() {
    let origin = TestOrigin::start().await;
    let teacher = origin.user("teacher@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let document = DocumentId::from_bytes([42; 16]);
    let mut doc = Automerge::new();
    let first = edit(&mut doc, |tx| tx.put(ROOT, "mine", true).unwrap());
    let second = edit(&mut doc, |tx| tx.put(ROOT, "mine", false).unwrap());
    let items = vec![item(1, document, &student, &first), item(2, document, &teacher, &second)];
    let pushed = push(&origin, items).await;
    assert_eq!(codes(&pushed), [(2, "forbidden")]);
    let known = pull(&origin, document, &[]).await;
    let record = known.record.unwrap();
    assert_eq!((record.kind.as_str(), &record.owner), ("private", &student.claims.sub));
    assert_eq!(record.subject, document.to_string());
    // Another institute can neither read nor write it, nor learn that it is there.
    let foreign = Pull { institute: "riverside.example".into(), document, have: vec![] };
    assert_eq!(origin.app.documents.pull_changes(foreign).await.unwrap().record, None);
    let stranger = origin.user("student@riverside.example").await;
    let push = Push {
        institute: "riverside.example".into(),
        log: "other".into(),
        items: vec![item(1, document, &stranger, &second)],
    };
    let refused = origin.app.documents.push_changes("edge-2", push).await.unwrap();
    assert_eq!(codes(&refused), [(1, "forbidden")]);
}

#[tokio::test]
async fn unknown_institutes_and_users_are_refused() {
    let origin = TestOrigin::start().await;
    let stranger = origin.user("student@riverside.example").await;
    let document = DocumentId::from_bytes([43; 16]);
    let mut doc = Automerge::new();
    let change = edit(&mut doc, |tx| tx.put(ROOT, "x", 1).unwrap());
    let pushed = push(&origin, vec![item(1, document, &stranger, &change)]).await;
    assert_eq!(codes(&pushed), [(1, "unknown-user")]);
    let nowhere = Push {
        institute: "nowhere.example".into(),
        log: "log".into(),
        items: vec![item(7, document, &stranger, &change)],
    };
    let pushed = origin.app.documents.push_changes("edge-1", nowhere).await.unwrap();
    assert_eq!((pushed.acknowledged, codes(&pushed)), (7, vec![(7, "unknown-institute")]));
}

#[tokio::test]
async fn a_pull_brings_what_is_beyond_the_known_heads() {
    let origin = TestOrigin::start().await;
    let class = origin.class_today("maths-a").await;
    let teacher = origin.user("teacher@northside.example").await;
    let notes = register(&origin, &teacher, "notes", &class).await;
    let mut doc = replica(&origin, notes).await;
    let have: Vec<Hash> = doc.get_heads().into_iter().map(Hash::from).collect();
    let first = edit(&mut doc, |tx| tx.put(ROOT, "a", 1).unwrap());
    let second = edit(&mut doc, |tx| tx.put(ROOT, "b", 2).unwrap());
    push(&origin, vec![item(1, notes, &teacher, &first), item(2, notes, &teacher, &second)]).await;
    let beyond = pull(&origin, notes, &have).await;
    assert_eq!(beyond.chunks.iter().map(|chunk| chunk.to_vec()).collect::<Vec<_>>(), [first, second]);
    assert_eq!(beyond.heads, doc.get_heads().into_iter().map(Hash::from).collect::<Vec<_>>());
    assert!(pull(&origin, notes, &beyond.heads).await.chunks.is_empty());
    let unknown_heads = pull(&origin, notes, &[Hash([1; 32])]).await;
    assert_eq!(unknown_heads.chunks.len(), 1);
    assert_eq!(pull(&origin, DocumentId::from_bytes([1; 16]), &[]).await.record, None);
}

#[tokio::test]
async fn a_long_document_is_the_same_after_a_restart() {
    let origin = TestOrigin::start().await;
    let class = origin.class_today("maths-a").await;
    let teacher = origin.user("teacher@northside.example").await;
    let notes = register(&origin, &teacher, "notes", &class).await;
    let mut doc = replica(&origin, notes).await;
    let (_, text) = doc.get(ROOT, "text").unwrap().unwrap();
    let mut sequence = 0;
    for round in 0..6 {
        let items = (0..100)
            .map(|n| {
                sequence += 1;
                let change = edit(&mut doc, |tx| tx.splice_text(&text, round * 100 + n, 0, "x").unwrap());
                item(sequence, notes, &teacher, &change)
            })
            .collect();
        assert_eq!(codes(&push(&origin, items).await), []);
    }
    let snapshot = origin.app.store.read(NORTHSIDE, move |records| records.snapshot(notes));
    let snapshot: Result<_, StoreError> = snapshot.await;
    assert!(snapshot.unwrap().unwrap().0 >= 256);
    let origin = origin.restart().await;
    let loaded = replica(&origin, notes).await;
    assert_eq!(loaded.get_heads(), doc.get_heads());
    assert_eq!(loaded.text(&text).unwrap(), "x".repeat(600));
    let more = edit(&mut doc, |tx| tx.splice_text(&text, 0, 0, "y").unwrap());
    assert_eq!(codes(&push(&origin, vec![item(sequence + 1, notes, &teacher, &more)]).await), []);
}

#[tokio::test]
async fn edges_hear_of_a_documents_new_heads_in_the_feed() {
    let origin = TestOrigin::start().await;
    let student = origin.user("student@northside.example").await;
    let document = DocumentId::from_bytes([44; 16]);
    let mut doc = Automerge::new();
    let change = edit(&mut doc, |tx| drop(tx.put_object(ROOT, "list", ObjType::List).unwrap()));
    push(&origin, vec![item(1, document, &student, &change)]).await;
    let feed: Result<_, StoreError> =
        origin.app.store.read(NORTHSIDE, |records| records.feed_after(1, 10)).await;
    let feed = feed.unwrap();
    assert_eq!(feed.len(), 1);
    assert_eq!(feed[0].documents, [(document, replica::hex_heads(&doc))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_append_to_one_document_at_once_and_lose_nothing() {
    let database = TestDatabase::create();
    let one = TestOrigin::start_on_postgres(database.config()).await;
    let other = TestOrigin::start_on_postgres(database.config()).await;
    let teacher = one.user("teacher@northside.example").await;
    let class = one.class_today("maths-a").await;
    let notes = register(&one, &teacher, "notes", &class).await;
    const ROUNDS: usize = 30;
    let write = async |origin: &TestOrigin, letter: &str| {
        let mut doc = replica(origin, notes).await;
        let (_, text) = doc.get(ROOT, "text").unwrap().unwrap();
        for sequence in 1..=ROUNDS as u64 {
            let change = edit(&mut doc, |tx| tx.splice_text(&text, 0, 0, letter).unwrap());
            assert_eq!(codes(&push(origin, vec![item(sequence, notes, &teacher, &change)]).await), []);
        }
        text
    };
    let (text, _) = tokio::join!(write(&one, "a"), write(&other, "b"));
    let [first, second] = [replica(&one, notes).await, replica(&other, notes).await];
    assert_eq!(first.get_heads(), second.get_heads());
    let all = first.text(&text).unwrap();
    assert_eq!((all.matches('a').count(), all.matches('b').count()), (ROUNDS, ROUNDS), "{all}");
    let log = database.sql("SELECT count(*), count(DISTINCT hash), max(position) FROM changes");
    assert_eq!(log, format!("{0}|{0}|{0}", 2 * ROUNDS + 1));
}

/// Bytes that no compression makes less.
fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..bytes / 8).flat_map(|_| next()).collect()
}

#[test]
fn a_document_that_no_message_has_room_for_is_pulled_in_parts() {
    const PARTS: u64 = 4;
    let mut doc = Automerge::new();
    for n in 0..PARTS {
        // Two of them are more than one message takes.
        let pasted = noise(MAX_PULLED_BYTES / 8 * 5, n);
        edit(&mut doc, |tx| tx.put(ROOT, format!("part {n}"), pasted).unwrap());
    }
    let (mut edge, mut parts) = (Automerge::new(), 0);
    while edge.get_heads() != doc.get_heads() {
        let have: Vec<Hash> = edge.get_heads().into_iter().map(Hash::from).collect();
        let (chunks, actors) = chunks_beyond(&doc, &have);
        assert!(chunks.iter().map(|chunk| chunk.len()).sum::<usize>() <= MAX_PULLED_BYTES);
        assert_eq!(actors.map(|actors| actors.len()), Some(1), "whose the changes are");
        for chunk in chunks {
            edge.load_incremental(&chunk).unwrap();
        }
        parts += 1;
        assert!(parts <= PARTS);
    }
    assert_eq!(parts, PARTS);
}

/// One document that cannot be read here ended the link for all institutes of the edge, again and again.
#[tokio::test]
async fn a_damaged_document_holds_up_no_other_and_what_is_brought_to_it_is_kept() {
    let origin = TestOrigin::start().await;
    let class = origin.class_today("maths-a").await;
    let teacher = origin.user("teacher@northside.example").await;
    let admin = origin.user("admin@northside.example").await;
    let notes = register(&origin, &teacher, "notes", &class).await;
    let sheet = register(&origin, &teacher, "attendance", &class).await;
    let mut doc = replica(&origin, notes).await;
    let mut other = replica(&origin, sheet).await;
    let damaged = origin.app.store.write(NORTHSIDE, move |tx| tx.put_snapshot(notes, 1, b"no document"));
    let damaged: Result<_, StoreError> = damaged.await;
    damaged.unwrap();
    let origin = origin.restart().await;

    let brought = edit(&mut doc, |tx| tx.put(ROOT, "a", 1).unwrap());
    let student = origin.user("student@northside.example").await.claims.sub;
    let beside = mark(&mut other, &student, "late");
    let pushed =
        push(&origin, vec![item(1, notes, &teacher, &brought), item(2, sheet, &teacher, &beside)]).await;
    // It is not refused: the edge would forget its copy, which may be the last good one.
    assert_eq!((pushed.acknowledged, codes(&pushed)), (2, vec![]));
    assert_eq!(replica(&origin, sheet).await.get_heads(), other.get_heads());
    let listed = origin.get(&admin, "/admin/v1/quarantine").await.json();
    assert_eq!(listed["items"][0]["code"], "document-damaged", "{listed}");
}
