//! Document kinds: who may reach a document, how it begins, and what it says to the records.

mod doubt;
pub mod versions;

pub use doubt::{DoubtAnswer, DoubtThread, doubt_thread};

use crate::document_id::DocumentId;
use crate::link::DocumentRecord;
use crate::token::{Claims, Role};
use automerge::transaction::{CommitOptions, Transactable as _};
use automerge::{ActorId, Automerge, ObjType, ROOT, ReadDoc, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The attendance sheet of a class; subject: class id.
    Attendance,
    /// The notes of a class; subject: class id.
    Notes,
    /// A doubt thread of a batch; subject: `BATCH/NAME`.
    Doubt,
    /// A study planner; subject: the user id of its owner.
    Planner,
    /// Brought by a client without registration; subject: the document id.
    Private,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("kind is not one of attendance, notes, doubt, planner")]
pub struct KindError;

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Attendance => "attendance",
            Kind::Notes => "notes",
            Kind::Doubt => "doubt",
            Kind::Planner => "planner",
            Kind::Private => "private",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "attendance" => Ok(Kind::Attendance),
            "notes" => Ok(Kind::Notes),
            "doubt" => Ok(Kind::Doubt),
            "planner" => Ok(Kind::Planner),
            "private" => Ok(Kind::Private),
            _ => Err(KindError),
        }
    }
}

/// What somebody may do with a document. Ordered: write includes read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    None,
    Read,
    Write,
}

/// Who asks for a document, as far as access depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    pub user: &'a str,
    pub role: Role,
    /// Batches that the user teaches or studies in.
    pub batches: &'a [String],
}

impl<'a> From<&'a Claims> for Member<'a> {
    fn from(claims: &'a Claims) -> Self {
        Self { user: &claims.sub, role: claims.role, batches: &claims.batches }
    }
}

/// What `member`, who is of the document's institute, may do with it.
///
/// A kind that this build does not know can be reached by its owner and by admins alone.
pub fn access(record: &DocumentRecord, member: Member<'_>) -> Access {
    let owner = owns(record, member);
    let in_batch = record.batch.as_ref().is_some_and(|batch| member.batches.contains(batch));
    let admin = member.role == Role::Admin;
    let teacher = member.role == Role::Teacher && in_batch;
    let student = member.role == Role::Student && in_batch;
    let (write, read) = match record.kind.parse() {
        Ok(Kind::Attendance) => (admin || teacher, false),
        Ok(Kind::Notes) => (admin || teacher, student),
        Ok(Kind::Doubt) => (admin || teacher || student, false),
        Ok(Kind::Planner) => (owner, admin),
        Ok(Kind::Private) | Err(KindError) => (owner, admin),
    };
    if write {
        Access::Write
    } else if read {
        Access::Read
    } else {
        Access::None
    }
}

/// Whether `member` may delete the document, for everybody and for good: an admin any, the owner what is his alone.
///
/// A doubt belongs to its batch once there are answers, and a sheet or notes to the class.
pub fn may_delete(record: &DocumentRecord, member: Member<'_>) -> bool {
    let own = owns(record, member);
    match record.kind.parse() {
        Ok(Kind::Attendance | Kind::Notes | Kind::Doubt) => member.role == Role::Admin,
        Ok(Kind::Planner | Kind::Private) | Err(KindError) => own || member.role == Role::Admin,
    }
}

/// A guardian has no documents: what a guardian may read is a student's.
fn owns(record: &DocumentRecord, member: Member<'_>) -> bool {
    record.owner == member.user && member.role != Role::Guardian
}

/// The code of what reaches a document that was deleted.
pub const DELETED: &str = "document-deleted";

/// The first change of a registered document, as a saved document.
///
/// Every replica that makes it makes the same bytes: the actor is derived from the document's id and the time is 0, so
/// containers exist once however many devices begin to use the document offline. None for [`Kind::Private`].
pub fn genesis(kind: Kind, document: DocumentId) -> Option<Vec<u8>> {
    let mut doc = Automerge::new();
    doc.set_actor(ActorId::from(document.as_bytes().as_slice()));
    let mut tx = doc.transaction();
    let put = |tx: &mut automerge::transaction::Transaction<'_>| -> Result<bool, automerge::AutomergeError> {
        tx.put(ROOT, "kind", kind.as_str())?;
        // Signed: an unsigned integer is a BigInt to JavaScript, which no JSON takes.
        tx.put(ROOT, "version", 1_i64)?;
        match kind {
            Kind::Attendance => drop(tx.put_object(ROOT, "marks", ObjType::Map)?),
            Kind::Notes => drop(tx.put_object(ROOT, "text", ObjType::Text)?),
            Kind::Doubt => {
                tx.put_object(ROOT, "question", ObjType::Text)?;
                tx.put_object(ROOT, "answers", ObjType::List)?;
            }
            Kind::Planner => drop(tx.put_object(ROOT, "items", ObjType::Map)?),
            Kind::Private => return Ok(false),
        }
        Ok(true)
    };
    let made = put(&mut tx).expect("putting into the root of an empty document never fails");
    if !made {
        tx.rollback();
        return None;
    }
    tx.commit_with(CommitOptions::default().with_time(0));
    Some(doc.save_nocompress())
}

/// The field of a document's root that names, as an `automerge:` URL, what continues the document since its history was cut.
pub const SUCCESSOR: &str = "rollcallSuccessor";

/// One student's mark on an attendance sheet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttendanceMark {
    /// The value that every replica shows.
    pub mark: String,
    /// All concurrent values, the shown one last. Longer than one: a conflict.
    pub values: Vec<Written>,
}

/// One value that somebody wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub text: String,
    /// Of the writer, in hex.
    pub actor: String,
    /// The change that wrote it, in hex.
    pub change: String,
}

/// The marks that an attendance sheet may hold.
pub const MARKS: [&str; 4] = ["present", "absent", "late", "excused"];

/// Longest remark beside a mark, in bytes of UTF-8: some lines on a phone. With one
/// for each student of a class of 300 a sheet grows by 150 KB.
pub const MAX_REMARK_BYTES: usize = 500;

/// One remark on an attendance sheet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// The text that every replica shows; not empty.
    pub text: String,
    /// All concurrent texts, the shown one last. Longer than one: a conflict.
    pub values: Vec<Written>,
}

/// Reads the remarks of an attendance sheet of version 2 by student id; an empty one is none. Of a sheet of version 1 there
/// are none, whatever stands in the field.
pub fn attendance_remarks(doc: &Automerge, document: DocumentId) -> BTreeMap<String, Remark> {
    let Some(remarks) = versions::container(doc, document, "remarks") else { return BTreeMap::new() };
    let written = written_in(doc, &remarks, MAX_REMARK_BYTES, |_| true).into_iter();
    let remark = |(student, values): (String, Vec<Written>)| {
        let text = values.last().map(|shown| shown.text.clone()).filter(|text| !text.is_empty())?;
        Some((student, Remark { text, values }))
    };
    written.filter_map(remark).collect()
}

/// Reads the marks of an attendance sheet by student id. Values that are no mark are passed over.
pub fn attendance_marks(doc: &Automerge) -> BTreeMap<String, AttendanceMark> {
    let Ok(Some((Value::Object(ObjType::Map), sheet))) = doc.get(ROOT, "marks") else {
        return BTreeMap::new();
    };
    let longest = MARKS.iter().map(|mark| mark.len()).max().unwrap_or(0);
    let written = written_in(doc, &sheet, longest, |text| MARKS.contains(&text)).into_iter();
    let mark = |(student, values): (String, Vec<Written>)| {
        let mark = values.last()?.text.clone();
        Some((student, AttendanceMark { mark, values }))
    };
    written.filter_map(mark).collect()
}

/// All concurrent texts of at most `longest` bytes in each field of a map, of those that count, the shown one last.
fn written_in(
    doc: &Automerge,
    map: &automerge::ObjId,
    longest: usize,
    counts: impl Fn(&str) -> bool,
) -> BTreeMap<String, Vec<Written>> {
    let mut written = BTreeMap::new();
    for field in doc.keys(map) {
        let values = written_at(doc, map, &field, longest, &counts);
        if !values.is_empty() {
            written.insert(field, values);
        }
    }
    written
}

/// The same of one field.
fn written_at(
    doc: &Automerge,
    map: &automerge::ObjId,
    field: &str,
    longest: usize,
    counts: impl Fn(&str) -> bool,
) -> Vec<Written> {
    let Ok(all) = doc.get_all(map, field) else { return Vec::new() };
    let written = all.into_iter().filter_map(|(value, op)| {
        let text = text_of(doc, &value, &op, longest).filter(|text| counts(text))?;
        Some(Written { text, actor: writer(&op), change: writing_change(doc, &op) })
    });
    written.collect()
}

/// A text, as Rust clients write it (a scalar) and as JavaScript clients do (a collaborative text).
fn text_of(doc: &Automerge, value: &Value<'_>, id: &automerge::ObjId, longest: usize) -> Option<String> {
    let text = match value {
        Value::Object(ObjType::Text) if doc.length(id) <= longest => doc.text(id).ok(),
        Value::Object(_) => None,
        Value::Scalar(scalar) => scalar.as_str().map(str::to_owned),
    };
    text.filter(|text| text.len() <= longest)
}

fn writer(op: &automerge::ObjId) -> String {
    match op {
        automerge::ObjId::Id(_, actor, _) => actor.to_hex_string(),
        automerge::ObjId::Root => String::new(),
    }
}

/// The hash of the change that holds an operation.
fn writing_change(doc: &Automerge, op: &automerge::ObjId) -> String {
    doc.hash_for_opid(op).map(|hash| hash.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: Kind) -> DocumentRecord {
        DocumentRecord {
            document: DocumentId::from_bytes([1; 16]),
            kind: kind.as_str().into(),
            subject: "c1".into(),
            batch: Some("b1".into()),
            owner: "owner".into(),
        }
    }

    fn member<'a>(user: &'a str, role: Role, batches: &'a [String]) -> Member<'a> {
        Member { user, role, batches }
    }

    #[test]
    fn rights_follow_role_and_batch() {
        let b1 = ["b1".to_owned()];
        let b2 = ["b2".to_owned()];
        let sheet = record(Kind::Attendance);
        assert_eq!(access(&sheet, member("t", Role::Teacher, &b1)), Access::Write);
        assert_eq!(access(&sheet, member("t", Role::Teacher, &b2)), Access::None);
        assert_eq!(access(&sheet, member("s", Role::Student, &b1)), Access::None);
        assert_eq!(access(&record(Kind::Notes), member("s", Role::Student, &b1)), Access::Read);
        assert_eq!(access(&record(Kind::Doubt), member("s", Role::Student, &b1)), Access::Write);
        assert_eq!(access(&record(Kind::Private), member("s", Role::Student, &b1)), Access::None);
        assert_eq!(access(&record(Kind::Private), member("owner", Role::Student, &[])), Access::Write);
        assert_eq!(access(&record(Kind::Private), member("a", Role::Admin, &[])), Access::Read);
    }

    #[test]
    fn shared_documents_are_deleted_by_admins_alone() {
        let admin = member("a", Role::Admin, &[]);
        let owner = member("owner", Role::Teacher, &[]);
        let other = member("t", Role::Teacher, &[]);
        for kind in [Kind::Attendance, Kind::Notes, Kind::Doubt, Kind::Planner, Kind::Private] {
            let record = record(kind);
            assert!(may_delete(&record, admin));
            assert!(!may_delete(&record, other));
            assert_eq!(may_delete(&record, owner), matches!(kind, Kind::Planner | Kind::Private), "{kind}");
        }
    }

    #[test]
    fn a_guardian_has_no_documents_of_their_own() {
        let b1 = ["b1".to_owned()];
        let guardian = member("owner", Role::Guardian, &b1);
        for kind in [Kind::Attendance, Kind::Notes, Kind::Doubt, Kind::Planner, Kind::Private] {
            assert_eq!(access(&record(kind), guardian), Access::None, "{kind}");
            assert!(!may_delete(&record(kind), guardian), "{kind}");
        }
    }

    #[test]
    fn a_kind_of_the_future_is_its_owners_alone() {
        let mut future = record(Kind::Notes);
        future.kind = "whiteboard".into();
        assert_eq!(access(&future, member("t", Role::Teacher, &["b1".to_owned()])), Access::None);
        assert_eq!(access(&future, member("owner", Role::Teacher, &[])), Access::Write);
    }

    #[test]
    fn every_replica_makes_the_same_first_change() {
        let id = DocumentId::from_bytes([5; 16]);
        for kind in [Kind::Attendance, Kind::Notes, Kind::Doubt, Kind::Planner] {
            let first = genesis(kind, id).unwrap();
            assert_eq!(genesis(kind, id).unwrap(), first);
            let mut doc = Automerge::load(&first).unwrap();
            let mut again = Automerge::load(&first).unwrap();
            doc.merge(&mut again).unwrap();
            assert_eq!(doc.get_changes(&[]).len(), 1);
        }
        assert_eq!(genesis(Kind::Private, id), None);
    }

    #[test]
    fn a_mark_that_javascript_wrote_as_a_collaborative_text_counts() {
        let mut doc =
            Automerge::load(&genesis(Kind::Attendance, DocumentId::from_bytes([6; 16])).unwrap()).unwrap();
        let (_, sheet) = doc.get(ROOT, "marks").unwrap().unwrap();
        let mut tx = doc.transaction();
        let mark = tx.put_object(&sheet, "s1", ObjType::Text).unwrap();
        tx.splice_text(&mark, 0, 0, "absent").unwrap();
        let novel = tx.put_object(&sheet, "s2", ObjType::Text).unwrap();
        tx.splice_text(&novel, 0, 0, &"absent ".repeat(1_000)).unwrap();
        tx.commit();
        let marks = attendance_marks(&doc);
        assert_eq!(marks.keys().collect::<Vec<_>>(), ["s1"]);
        assert_eq!(marks["s1"].mark, "absent");
    }

    #[test]
    fn concurrent_marks_are_all_told_and_foreign_values_are_not() {
        let mut a =
            Automerge::load(&genesis(Kind::Attendance, DocumentId::from_bytes([6; 16])).unwrap()).unwrap();
        let mut b = a.fork();
        let mark = |doc: &mut Automerge, student: &str, mark: &str| {
            let (_, sheet) = doc.get(ROOT, "marks").unwrap().unwrap();
            let mut tx = doc.transaction();
            tx.put(&sheet, student, mark).unwrap();
            tx.commit();
        };
        mark(&mut a, "s1", "present");
        mark(&mut b, "s1", "late");
        mark(&mut b, "s2", "asleep");
        a.merge(&mut b).unwrap();
        let marks = attendance_marks(&a);
        assert_eq!(marks.len(), 1);
        let s1 = &marks["s1"];
        let mut values: Vec<&str> = s1.values.iter().map(|value| value.text.as_str()).collect();
        let written: Vec<&str> = s1.values.iter().map(|value| value.change.as_str()).collect();
        let heads = a.get_heads().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(heads.iter().any(|head| head == written[0] || head == written[1]), "{written:?}");
        assert_ne!(written[0], written[1]);
        assert_eq!(values.last(), Some(&s1.mark.as_str()));
        values.sort_unstable();
        assert_eq!(values, ["late", "present"]);
    }
}
