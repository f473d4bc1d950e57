//! What a change may do inside a document of a kind: an attendance sheet holds marks of students, and in a doubt thread
//! nobody edits another's words.
//!
//! A change is judged by its operations against the document that it is about to enter, so the cost follows the change.
//! Edges and the origin judge alike. Kinds without rules of their own (notes, planner) are judged by [`crate::kind::access`] and
//! for their version alone, private documents by the first.

use crate::gate::names_key;
use crate::kind::versions::{self, UNKNOWN_VERSION, VERSION, container};
use crate::kind::{Kind, MARKS, MAX_REMARK_BYTES};
use crate::link::DocumentRecord;
use automerge::legacy::{ElementId, Key, ObjectId, Op, OpId, OpType};
use automerge::{Automerge, Change, ObjId, ObjType, Prop, ROOT, ReadDoc as _, ScalarValue, Value};
use std::collections::HashMap;

/// A field that the first change of the document made, or the document's kind, was replaced.
pub const KIND_STRUCTURE: &str = "kind-structure";
/// A value that is none of [`MARKS`], or a mark that was edited in place.
pub const INVALID_MARK: &str = "invalid-mark";
/// A remark that is no text or longer than [`MAX_REMARK_BYTES`], or was edited in place.
pub const INVALID_REMARK: &str = "invalid-remark";
/// A mark or a remark for somebody who does not study in the sheet's batch.
pub const NOT_A_STUDENT: &str = "not-a-student";
/// Words that somebody else wrote were edited or removed.
pub const NOT_YOUR_WORDS: &str = "not-your-words";
/// An answer that does not name its writer as its author.
pub const ANSWER_WITHOUT_AUTHOR: &str = "answer-without-author";

/// More operations than are judged one by one.
pub const TOO_MANY_OPERATIONS: &str = "too-many-operations";

/// An operation on an object that the document does not have.
pub const UNKNOWN_OBJECT: &str = "unknown-object";
/// An object that is further below the root than is judged.
pub const NESTED_TOO_DEEP: &str = "nested-too-deep";

/// Most operations of a change to a document whose kind has rules, which take memory and time for each: a class of
/// hundreds, or a page of text, in one edit.
pub const MAX_JUDGED_OPERATIONS: usize = 1 << 16;
/// Deepest object below the root that is judged: an answer's text is at 3. Every operation looks at what it is in, level by
/// level.
pub const MAX_JUDGED_DEPTH: usize = 32;

/// The field of an answer that names the user who wrote it.
const AUTHOR: &str = "author";

/// Who brings a change.
#[derive(Debug, Clone, Copy)]
pub struct Writer<'a> {
    pub user: &'a str,
    /// Teachers and admins may remove any answer, though not edit it.
    pub moderates: bool,
}

/// Whether changes of this kind of document are judged one by one, each against the document with those before it.
pub fn has_rules(record: &DocumentRecord) -> bool {
    matches!(record.kind.parse(), Ok(Kind::Attendance | Kind::Doubt))
}

/// Judges a change whose dependencies `doc` has. The error is the code of the refusal.
///
/// `studies` says whether a user studies in a batch, and none when that is not known: then the mark passes.
pub fn check(
    doc: &Automerge,
    record: &DocumentRecord,
    change: &Change,
    writer: Writer<'_>,
    studies: impl Fn(&str, &str) -> Option<bool>,
) -> Result<(), &'static str> {
    check_as_of(u32::MAX, doc, record, change, writer, studies)
}

/// The same by the rules of a build that knows versions of kinds up to `newest`.
pub fn check_as_of(
    newest: u32,
    doc: &Automerge,
    record: &DocumentRecord,
    change: &Change,
    writer: Writer<'_>,
    studies: impl Fn(&str, &str) -> Option<bool>,
) -> Result<(), &'static str> {
    check_version(newest, record, change)?;
    let Ok(kind @ (Kind::Attendance | Kind::Doubt)) = record.kind.parse() else { return Ok(()) };
    if versions::is_own_actor(record.document, change.actor_id()) {
        return Ok(());
    }
    if change.len() > MAX_JUDGED_OPERATIONS {
        return Err(TOO_MANY_OPERATIONS);
    }
    let operations = Operations::of(change);
    match kind {
        Kind::Attendance => check_attendance(newest, doc, record, &operations, studies),
        Kind::Doubt => check_doubt(doc, record, &operations, writer),
        Kind::Notes | Kind::Planner | Kind::Private => Ok(()),
    }
}

/// Judges by the version alone, which not even an admin may forge: under an actor of the kind's own there are its first change
/// and its migrations up to `newest`, and no other change writes the version.
pub fn check_version(newest: u32, record: &DocumentRecord, change: &Change) -> Result<(), &'static str> {
    let kind = match record.kind.parse() {
        Ok(Kind::Private) | Err(_) => return Ok(()),
        Ok(kind) => kind,
    };
    if versions::is_own_actor(record.document, change.actor_id()) {
        let known = versions::is_own(kind, record.document, change, newest);
        return if known { Ok(()) } else { Err(UNKNOWN_VERSION) };
    }
    if !names_key(change, VERSION) {
        return Ok(());
    }
    if change.len() > MAX_JUDGED_OPERATIONS {
        return Err(TOO_MANY_OPERATIONS);
    }
    let on_version = |op: &Op| op.obj == ObjectId::Root && op.key == Key::Map(VERSION.into());
    let forged = change.decode().operations.iter().any(on_version);
    if forged { Err(UNKNOWN_VERSION) } else { Ok(()) }
}

/// A change's operations with their ids, and the objects that they make.
struct Operations {
    all: Vec<(OpId, Op)>,
    /// Which operations are on each object that the change makes.
    made: HashMap<OpId, Vec<usize>>,
}

impl Operations {
    fn of(change: &Change) -> Self {
        let expanded = change.decode();
        let (start, actor) = (change.start_op().get(), change.actor_id());
        let ids = (start..).map(|counter| OpId(counter, actor.clone()));
        let all: Vec<(OpId, Op)> = ids.zip(expanded.operations).collect();
        let makes = all.iter().filter(|(_, op)| matches!(op.action, OpType::Make(_)));
        let mut made: HashMap<OpId, Vec<usize>> = makes.map(|(id, _)| (id.clone(), Vec::new())).collect();
        for (at, (_, op)) in all.iter().enumerate() {
            if let ObjectId::Id(object) = &op.obj
                && let Some(within) = made.get_mut(object)
            {
                within.push(at);
            }
        }
        Self { all, made }
    }

    fn is_made_here(&self, object: &ObjectId) -> bool {
        matches!(object, ObjectId::Id(id) if self.made.contains_key(id))
    }

    fn within(&self, object: &OpId) -> impl Iterator<Item = &(OpId, Op)> + use<'_> {
        self.made.get(object).into_iter().flatten().map(|at| &self.all[*at])
    }

    /// A text that an operation writes: a scalar, or a collaborative text that this change makes from its first letter
    /// to its last. None for anything else, such as letters that are put in out of order.
    fn text(&self, id: &OpId, op: &Op) -> Option<String> {
        match &op.action {
            OpType::Put(ScalarValue::Str(text)) => Some(text.to_string()),
            OpType::Make(ObjType::Text) => {
                let mut text = String::new();
                let mut last = ElementId::Head;
                for (letter, op) in self.within(id) {
                    let OpType::Put(ScalarValue::Str(put)) = &op.action else { return None };
                    if !op.insert || op.key != Key::Seq(last) {
                        return None;
                    }
                    text.push_str(put);
                    last = ElementId::Id(letter.clone());
                }
                Some(text)
            }
            _ => None,
        }
    }
}

fn object(doc: &Automerge, field: &str) -> Option<ObjId> {
    let (value, id) = doc.get(ROOT, field).ok()??;
    matches!(value, Value::Object(_)).then_some(id)
}

fn existing(object: &ObjectId) -> ObjId {
    match object {
        ObjectId::Root => ObjId::Root,
        // The last number is a hint where to find the actor.
        ObjectId::Id(OpId(counter, actor)) => ObjId::Id(*counter, actor.clone(), 0),
    }
}

/// Refuses an operation on the root that touches what the kind is made of. Fields that this build does not know pass.
fn check_root(op: &Op, fields: &[&str]) -> Result<(), &'static str> {
    match &op.key {
        Key::Map(key) if fields.contains(&key.as_str()) => Err(KIND_STRUCTURE),
        Key::Map(_) | Key::Seq(_) => Ok(()),
    }
}

/// A map of an attendance sheet that holds a text for each student.
struct SheetField {
    name: &'static str,
    /// The version that it came with.
    since: u32,
    /// The code of what is no text of it.
    code: &'static str,
    takes: fn(&str) -> bool,
}

const SHEET_FIELDS: [SheetField; 2] = [
    SheetField { name: "marks", since: 1, code: INVALID_MARK, takes: |text| MARKS.contains(&text) },
    SheetField {
        name: "remarks",
        since: 2,
        code: INVALID_REMARK,
        takes: |text| text.len() <= MAX_REMARK_BYTES,
    },
];

fn check_attendance(
    newest: u32,
    doc: &Automerge,
    record: &DocumentRecord,
    operations: &Operations,
    studies: impl Fn(&str, &str) -> Option<bool>,
) -> Result<(), &'static str> {
    let known: Vec<&SheetField> = SHEET_FIELDS.iter().filter(|field| field.since <= newest).collect();
    // What a version makes that the document does not have yet is kept free for it.
    let reserved: Vec<&str> = known.iter().map(|field| field.name).chain(["kind"]).collect();
    let made = known.iter().filter_map(|field| Some((container(doc, record.document, field.name)?, *field)));
    let made: Vec<(ObjId, &SheetField)> = made.collect();
    if made.is_empty() {
        return Err(KIND_STRUCTURE);
    }
    for (id, op) in &operations.all {
        if op.obj == ObjectId::Root {
            check_root(op, &reserved)?;
            continue;
        }
        if operations.is_made_here(&op.obj) {
            // Judged with the operation that makes the object.
            continue;
        }
        let at = existing(&op.obj);
        let Some((_, field)) = made.iter().find(|(container, _)| at == *container) else {
            for (container, field) in &made {
                if place_in(doc, &at, container)?.is_some() {
                    return Err(field.code);
                }
            }
            continue;
        };
        let Key::Map(student) = &op.key else { return Err(field.code) };
        if op.action == OpType::Delete {
            continue;
        }
        if !operations.text(id, op).is_some_and(|text| (field.takes)(&text)) {
            return Err(field.code);
        }
        let batch = record.batch.as_deref().unwrap_or_default();
        if studies(student, batch) == Some(false) {
            return Err(NOT_A_STUDENT);
        }
    }
    Ok(())
}

/// The member of a container that something is or is in, and, unless it is that member itself, the property of the member
/// that it is or is in.
type Place = (ObjId, Option<Prop>);

/// Where `object` is below `container`, if it is.
fn place_in(doc: &Automerge, object: &ObjId, container: &ObjId) -> Result<Option<Place>, &'static str> {
    let mut at = object.clone();
    let mut property = None;
    // Nobody knows yet what it will be: somebody else's words, perhaps, whose number was guessed.
    let parents = doc.parents(object).map_err(|_| UNKNOWN_OBJECT)?;
    for (depth, parent) in parents.enumerate() {
        if parent.obj == *container {
            return Ok(Some((at, property)));
        }
        if depth >= MAX_JUDGED_DEPTH {
            return Err(NESTED_TOO_DEEP);
        }
        at = parent.obj;
        property = Some(parent.prop);
    }
    Ok(None)
}

fn check_doubt(
    doc: &Automerge,
    record: &DocumentRecord,
    operations: &Operations,
    writer: Writer<'_>,
) -> Result<(), &'static str> {
    let question = object(doc, "question").ok_or(KIND_STRUCTURE)?;
    let answers = object(doc, "answers").ok_or(KIND_STRUCTURE)?;
    for (id, op) in &operations.all {
        if op.obj == ObjectId::Root {
            check_root(op, &["kind", "question", "answers"])?;
            continue;
        }
        if operations.is_made_here(&op.obj) {
            continue;
        }
        let at = existing(&op.obj);
        if at == question {
            // An edge may not know yet who asked; the origin does.
            if !record.owner.is_empty() && record.owner != writer.user {
                return Err(NOT_YOUR_WORDS);
            }
        } else if at == answers {
            check_answer(doc, operations, (id, op), writer)?;
        } else if let Some((answer, property)) = place_in(doc, &at, &answers)? {
            let names_author = match (&op.key, property) {
                (Key::Map(key), None) => key == AUTHOR,
                (_, Some(Prop::Map(key))) => key == AUTHOR,
                (_, Some(Prop::Seq(_)) | None) => false,
            };
            if names_author || author(doc, &answer).as_deref() != Some(writer.user) {
                return Err(NOT_YOUR_WORDS);
            }
        }
    }
    Ok(())
}

/// An operation on the list of answers: a new answer names its writer, an old one is its writer's to replace or remove.
fn check_answer(
    doc: &Automerge,
    operations: &Operations,
    (id, op): (&OpId, &Op),
    writer: Writer<'_>,
) -> Result<(), &'static str> {
    let removes = op.action == OpType::Delete;
    // An operation need not name what it takes the place of: the item that it is on was somebody's answer first.
    let item = match &op.key {
        Key::Seq(ElementId::Id(item)) if !op.insert && !operations.made.contains_key(item) => Some(item),
        Key::Seq(_) | Key::Map(_) => None,
    };
    for before in op.pred.iter().chain(item) {
        let before = ObjId::Id(before.counter(), before.actor().clone(), 0);
        let own = author(doc, &before).as_deref() == Some(writer.user);
        let may = own || (removes && writer.moderates);
        if !may {
            return Err(NOT_YOUR_WORDS);
        }
    }
    if removes {
        return Ok(());
    }
    if op.action != OpType::Make(ObjType::Map) {
        return Err(ANSWER_WITHOUT_AUTHOR);
    }
    let mut names = operations.within(id).filter(|(_, op)| matches!(&op.key, Key::Map(key) if key == AUTHOR));
    let (Some((id, op)), None) = (names.next(), names.next()) else { return Err(ANSWER_WITHOUT_AUTHOR) };
    match operations.text(id, op).as_deref() == Some(writer.user) {
        true => Ok(()),
        false => Err(ANSWER_WITHOUT_AUTHOR),
    }
}

/// The user whom an answer names.
fn author(doc: &Automerge, answer: &ObjId) -> Option<String> {
    match doc.get(answer, AUTHOR).ok()?? {
        (Value::Object(ObjType::Text), text) => doc.text(&text).ok(),
        (Value::Object(_), _) => None,
        (Value::Scalar(scalar), _) => scalar.as_str().map(str::to_owned),
    }
}

#[cfg(test)]
mod tests;
