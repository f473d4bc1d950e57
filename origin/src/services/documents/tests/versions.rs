//! Sheets of version 1, of which an origin of yesterday has made the first change alone, and what becomes of them.

use super::projection::{rebuild, rows};
use super::*;
use crate::services::documents::projection::Rebuilt;
use automerge::Change;
use link::{Quarantine, QuarantineItem};
use serde_json::Value;
use sync_protocol::kind::versions::{
    UNKNOWN_VERSION, container, migrate, migration_actor, own_changes, version,
};

const OLD: DocumentId = DocumentId::from_bytes([77; 16]);

struct School {
    origin: TestOrigin,
    class: String,
    teacher: User,
    assistant: User,
    student: User,
}

impl School {
    /// With a sheet of version 1 of today's class.
    async fn start() -> Self {
        let origin = TestOrigin::start().await;
        let class = origin.class_today("maths-a").await;
        let teacher = origin.user("teacher@northside.example").await;
        let assistant = origin.user("assistant@northside.example").await;
        let student = origin.user("student@northside.example").await;
        let record = DocumentRecord {
            document: OLD,
            kind: "attendance".into(),
            subject: class.clone(),
            batch: Some("maths-a".into()),
            owner: teacher.claims.sub.clone(),
        };
        let first = own_changes(Kind::Attendance, OLD).remove(0);
        let made: Result<_, StoreError> = origin
            .app
            .store
            .write(NORTHSIDE, move |tx| {
                let row = push::migration_row(&first, (&record.owner, "phone"), 0);
                assert!(tx.add_document(&NewDocument { record, created_at: 0 })?);
                assert!(tx.append_changes(OLD, 0, &[row], &[first.hash().to_string()])?);
                Ok(())
            })
            .await;
        made.unwrap();
        Self { origin, class, teacher, assistant, student }
    }

    /// What one says who knows no versions, about the sheet as the origin has it.
    async fn version(&self) -> Option<u32> {
        version(&replica(&self.origin, OLD).await, OLD)
    }
}

/// The sheet of a device that has it as it was made.
fn old_replica() -> Automerge {
    let mut doc = Automerge::new();
    doc.apply_changes(own_changes(Kind::Attendance, OLD).into_iter().take(1)).unwrap();
    doc
}

/// The migration, as a device makes it.
fn migrated(doc: &mut Automerge) -> Vec<u8> {
    let made = migrate(doc, Kind::Attendance, OLD);
    doc.apply_changes(made.clone()).unwrap();
    made[0].raw_bytes().to_vec()
}

fn remark(doc: &mut Automerge, student: &str, text: &str) -> Vec<u8> {
    let remarks = container(doc, OLD, "remarks").unwrap();
    edit(doc, |tx| tx.put(&remarks, student, text).unwrap())
}

/// A migration with one operation more than there is in it.
fn forged() -> Vec<u8> {
    let mut doc = old_replica().with_actor(migration_actor(OLD, 2));
    let mut tx = doc.transaction();
    tx.put(ROOT, "version", 2_i64).unwrap();
    tx.put_object(ROOT, "remarks", ObjType::Map).unwrap();
    tx.put(ROOT, "extra", 1).unwrap();
    tx.commit_with(automerge::transaction::CommitOptions::default().with_time(0));
    doc.get_changes(&[])[1].raw_bytes().to_vec()
}

#[tokio::test]
async fn an_old_sheet_becomes_new_when_it_is_asked_for_and_once() {
    let school = School::start().await;
    let origin = &school.origin;
    assert_eq!(school.version().await, Some(1));
    assert_eq!(register(origin, &school.teacher, "attendance", &school.class).await, OLD);
    assert_eq!(school.version().await, Some(2));
    let revision = async || {
        origin.get(&school.teacher, "/api/teachers/dashboard").await.header("rollcall-bookmark").to_owned()
    };
    let before = revision().await;
    assert_eq!(register(origin, &school.assistant, "attendance", &school.class).await, OLD);
    assert_eq!(revision().await, before, "nothing more is written");
    assert_eq!(replica(origin, OLD).await.get_changes(&[]).len(), 2);
}

#[tokio::test]
async fn a_new_document_is_of_the_newest_version() {
    let origin = TestOrigin::start().await;
    let class = origin.class_today("maths-a").await;
    let teacher = origin.user("teacher@northside.example").await;
    for (kind, newest) in [("attendance", 2), ("notes", 1)] {
        let document = register(&origin, &teacher, kind, &class).await;
        assert_eq!(version(&replica(&origin, document).await, document), Some(newest));
    }
}

/// An old device marks; a new one has migrated for itself, offline, and remarks; a student carries the migration here first,
/// who may not even read the sheet.
#[tokio::test]
async fn old_and_new_devices_write_one_sheet_and_its_rows_have_all_of_it() {
    let school = School::start().await;
    let (origin, sam) = (&school.origin, school.student.claims.sub.clone());
    let (mut old, mut new) = (old_replica(), old_replica());
    let marked = mark(&mut old, &sam, "late");
    let step = migrated(&mut new);
    let remarked = remark(&mut new, &sam, "the bus");
    assert_eq!(codes(&push(origin, vec![item(1, OLD, &school.student, &step)]).await), []);
    let items = vec![
        item(2, OLD, &school.teacher, &marked),
        item(3, OLD, &school.assistant, &step),
        item(4, OLD, &school.assistant, &remarked),
    ];
    assert_eq!(codes(&push(origin, items).await), []);
    let merged = replica(origin, OLD).await;
    assert_eq!(merged.get_changes(&[]).len(), 4, "the first change, the migration once, and two edits");
    let row = rows(origin, &school.class).await.into_iter().find(|row| row.student == sam).unwrap();
    assert_eq!((row.mark.as_str(), row.remark.as_deref()), ("late", Some("the bus")));
    let heads: Vec<String> = serde_json::from_str(row.heads.as_ref().unwrap()).unwrap();
    assert_eq!(heads.len(), 2, "the row names the changes of the mark and of the remark");
    // The old device goes on, knowing nothing.
    let again = mark(&mut old, &sam, "present");
    assert_eq!(codes(&push(origin, vec![item(5, OLD, &school.teacher, &again)]).await), []);
    let view = origin.get(&school.student, "/api/students/attendance").await.json();
    let shown = view["classes"].as_array().unwrap().iter().find(|c| c["class"] == *school.class).unwrap();
    assert_eq!((&shown["mark"], &shown["remark"]), (&json!("present"), &json!("the bus")));
    let roster = origin.get(&school.teacher, &format!("/api/classes/{}/roster", school.class)).await.json();
    let shown = roster["students"].as_array().unwrap().iter().find(|s| s["student"] == *sam).unwrap();
    assert_eq!((&shown["mark"], &shown["remark"]), (&json!("present"), &json!("the bus")));
}

#[tokio::test]
async fn the_first_write_of_an_old_device_makes_a_sheet_new() {
    let school = School::start().await;
    let mut old = old_replica();
    let marked = mark(&mut old, &school.student.claims.sub, "late");
    push(&school.origin, vec![item(1, OLD, &school.teacher, &marked)]).await;
    assert_eq!(school.version().await, Some(2));
    // Another process, which reads the log anew.
    let origin = school.origin.restart().await;
    assert_eq!(version(&replica(&origin, OLD).await, OLD), Some(2));
}

#[tokio::test]
async fn remarks_are_projected_with_who_wrote_them_and_made_again_from_the_log() {
    let school = School::start().await;
    let (origin, sam) = (&school.origin, school.student.claims.sub.clone());
    let chen = crate::services::seed::user_id_of("chen.brown@northside.example");
    let (mut one, mut two) = (old_replica(), old_replica());
    let step = migrated(&mut one);
    migrated(&mut two);
    let items = vec![
        item(1, OLD, &school.teacher, &step),
        item(2, OLD, &school.teacher, &mark(&mut one, &sam, "late")),
        item(3, OLD, &school.teacher, &remark(&mut one, &sam, "the bus")),
        item(4, OLD, &school.assistant, &remark(&mut two, &sam, "the train")),
        item(5, OLD, &school.assistant, &remark(&mut two, &chen, "called in")),
    ];
    assert_eq!(codes(&push(origin, items).await), []);
    let good = rows(origin, &school.class).await;
    let row = good.iter().find(|row| row.student == sam).unwrap();
    let writers: Vec<Value> = serde_json::from_str(row.remark_writers.as_ref().unwrap()).unwrap();
    let mut told: Vec<(&str, &str)> =
        writers.iter().map(|w| (w["remark"].as_str().unwrap(), w["user"].as_str().unwrap())).collect();
    told.sort_unstable();
    let by = |user: &School| [user.teacher.claims.sub.clone(), user.assistant.claims.sub.clone()];
    let [teacher, assistant] = by(&school);
    assert_eq!(told, [("the bus", teacher.as_str()), ("the train", assistant.as_str())]);
    assert_eq!(row.remark.as_deref(), writers.last().unwrap()["remark"].as_str(), "the shown one is last");
    assert!(good.iter().all(|row| row.student != chen), "without a mark there is no row");

    let (class, student) = (school.class.clone(), sam.clone());
    let spoilt: Result<_, StoreError> = origin
        .app
        .store
        .write(NORTHSIDE, move |tx| {
            let mut row = tx.attendance(&class)?.into_iter().find(|row| row.student == student).unwrap();
            (row.remark, row.remark_writers) = (None, None);
            tx.put_attendance(&class, &row)
        })
        .await;
    spoilt.unwrap();
    assert_eq!(rebuild(origin).await, Rebuilt { documents: 1, corrected: 1 });
    assert_eq!(rows(origin, &school.class).await, good);
    // The mark comes, and with it what was noted before.
    let late = mark(&mut two, &chen, "excused");
    push(origin, vec![item(6, OLD, &school.assistant, &late)]).await;
    let row = rows(origin, &school.class).await.into_iter().find(|row| row.student == chen);
    assert_eq!(row.map(|row| row.remark), Some(Some("called in".into())));
}

#[tokio::test]
async fn a_forged_migration_is_refused_even_with_an_admins_word_and_the_true_one_goes_in() {
    let school = School::start().await;
    let (origin, bytes) = (&school.origin, forged());
    let written = edit(&mut old_replica(), |tx| tx.put(ROOT, "version", 2).unwrap());
    let items = vec![item(1, OLD, &school.teacher, &bytes), item(2, OLD, &school.teacher, &written)];
    assert_eq!(codes(&push(origin, items).await), [(1, UNKNOWN_VERSION), (2, UNKNOWN_VERSION)]);
    assert_eq!(school.version().await, Some(1));
    let admin = origin.user("admin@northside.example").await;
    for bytes in [&bytes, &written] {
        let hash = Change::try_from(bytes.as_slice()).unwrap().hash();
        let accept = format!("/admin/v1/quarantine/{OLD}/{hash}/accept");
        let answer = origin.post(&admin, &accept, json!({})).await;
        assert_eq!(answer.problem(), (422, "not-acceptable".into()));
    }
    let step = migrated(&mut old_replica());
    assert_eq!(codes(&push(origin, vec![item(3, OLD, &school.teacher, &step)]).await), []);
    assert_eq!(school.version().await, Some(2));
}

/// An edge of yesterday refuses what it does not know. Here it is known, and goes in; what is forged stays refused.
#[tokio::test]
async fn what_an_older_edge_does_not_know_is_judged_again_here() {
    let school = School::start().await;
    let origin = &school.origin;
    let told = |sequence, bytes: &[u8]| QuarantineItem {
        sequence,
        document: OLD,
        user: school.teacher.claims.sub.clone(),
        device: "phone".into(),
        code: UNKNOWN_VERSION.into(),
        refused_at: 1_795_348_800_000,
        bytes: bytes.to_vec().into(),
    };
    let tell = async |items| {
        let told = Quarantine { institute: NORTHSIDE.into(), log: "log".into(), items };
        origin.app.documents.quarantine("edge-1", told).await.unwrap();
    };
    tell(vec![told(1, &forged())]).await;
    assert_eq!(school.version().await, Some(1));
    let step = migrated(&mut old_replica());
    tell(vec![told(2, &step)]).await;
    assert_eq!(school.version().await, Some(2));
    let admin = origin.user("admin@northside.example").await;
    let kept = origin.get(&admin, "/admin/v1/quarantine").await.json();
    assert_eq!(kept["items"].as_array().unwrap().len(), 1, "the forged one alone");
}

/// The history of an old sheet is cut; what comes late is of both versions, and the successor is new from its beginning.
#[tokio::test]
async fn the_successor_of_an_old_sheet_is_new_and_remarks_that_come_late_are_in_it() {
    let school = School::start().await;
    let (origin, sam) = (&school.origin, school.student.claims.sub.clone());
    let (mut old, mut new) = (old_replica(), old_replica());
    let marked = mark(&mut old, &sam, "late");
    assert_eq!(migrated(&mut new), own_changes(Kind::Attendance, OLD)[1].raw_bytes());
    let remarked = remark(&mut new, &sam, "the bus");
    let step = own_changes(Kind::Attendance, OLD)[1].raw_bytes().to_vec();

    let admin = origin.user("admin@northside.example").await;
    let body = json!({"heads": replica::hex_heads(&old_replica())});
    let cut = origin.post(&admin, &format!("/admin/v1/documents/{OLD}/cut-history"), body).await.json();
    let successor: DocumentId = cut["successor"].as_str().unwrap().parse().unwrap();
    assert_eq!(version(&replica(origin, successor).await, successor), Some(2));
    let items = vec![
        item(1, OLD, &school.teacher, &marked),
        item(2, OLD, &school.assistant, &step),
        item(3, OLD, &school.assistant, &remarked),
    ];
    assert_eq!(codes(&push(origin, items).await), []);
    let whole = replica(origin, successor).await;
    assert_eq!(version(&whole, successor), Some(2));
    let remarks = container(&whole, successor, "remarks").unwrap();
    assert_eq!(whole.get(&remarks, sam.as_str()).unwrap().unwrap().0.as_str(), Some("the bus"));
    assert_eq!(whole.get_all(ROOT, "remarks").unwrap().len(), 1, "nobody made it twice");
    let (_, marks) = whole.get(ROOT, "marks").unwrap().unwrap();
    assert_eq!(whole.get(&marks, sam.as_str()).unwrap().unwrap().0.as_str(), Some("late"));
}
