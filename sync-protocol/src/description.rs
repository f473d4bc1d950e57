//! What a change would do to a document, for a person who decides whether it should.

use automerge::legacy::{ElementId, Key, ObjectId, Op, OpId, OpType};
use automerge::{Automerge, Change, ObjId, ROOT, ReadDoc as _, ScalarValue, Value};
use serde::Serialize;
use std::collections::HashMap;

/// Most operations that are told of one change; a person reads no more, and a change may have millions.
pub const MAX_DESCRIBED: usize = 200;
/// Largest change that is taken apart, in operations: each takes some hundreds of bytes of memory.
pub const MAX_DECODED: usize = 100_000;
/// Longest text that is told of one value, in characters.
pub const MAX_VALUE_CHARS: usize = 500;

/// One step of a change. Letters that are typed in a row are one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// From the root, for example `/marks/<student>`. `?` for a place that the document does not have.
    pub path: String,
    pub action: Action,
    /// What is written: text or number as JSON shows it, the type of an object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What stands there now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    Set,
    Insert,
    Make,
    Delete,
    Increment,
    /// Formats a run of text, or ends that.
    Mark,
}

/// What a change says of itself, and its steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Description {
    pub actor: String,
    pub sequence: u64,
    /// Seconds since the Unix epoch, as the device's clock had it; 0 when it says nothing.
    pub time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    pub steps: Vec<Step>,
    /// Operations beyond [`MAX_DESCRIBED`] steps.
    pub more: usize,
}

/// Describes `change` against the document as it is now.
pub fn describe(doc: &Automerge, change: &Change) -> Description {
    let total = change.len();
    let operations = if total > MAX_DECODED { Vec::new() } else { change.decode().operations };
    let mut places = Places { doc, made: HashMap::new() };
    let mut steps: Vec<Step> = Vec::new();
    let mut told = 0;
    let mut typed_after = None;
    let ids = (change.start_op().get()..).map(|counter| OpId(counter, change.actor_id().clone()));
    for (id, op) in ids.zip(operations) {
        let letter = letter_of(&op);
        let goes_on = typed_after.as_ref() == Some(&op.key);
        match (letter, steps.last_mut().filter(|_| goes_on)) {
            (Some(letter), Some(last)) => append(last.value.get_or_insert_default(), letter),
            (Some(_) | None, _) => {
                if steps.len() == MAX_DESCRIBED {
                    break;
                }
                steps.push(places.step(&id, &op));
            }
        }
        typed_after = letter.is_some().then(|| Key::Seq(ElementId::Id(id)));
        told += 1;
    }
    Description {
        actor: change.actor_id().to_hex_string(),
        sequence: change.seq(),
        time: change.timestamp(),
        message: change.message().map(|message| shortened(message)),
        steps,
        more: total - told,
    }
}

/// A letter that is typed into a text.
fn letter_of(op: &Op) -> Option<&str> {
    match &op.action {
        OpType::Put(ScalarValue::Str(text)) if op.insert => Some(text),
        _ => None,
    }
}

fn append(value: &mut String, letter: &str) {
    if value.chars().count() < MAX_VALUE_CHARS {
        value.push_str(letter);
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(MAX_VALUE_CHARS).collect()
}

/// Finds out where operations are.
struct Places<'a> {
    doc: &'a Automerge,
    /// Paths of the objects that the change makes.
    made: HashMap<OpId, String>,
}

impl Places<'_> {
    fn step(&mut self, id: &OpId, op: &Op) -> Step {
        let object = self.path(&op.obj);
        let path = match &op.key {
            Key::Map(key) => format!("{}/{}", object.trim_end_matches('/'), shortened(key)),
            Key::Seq(_) => object,
        };
        let (action, value) = match &op.action {
            OpType::Make(kind) => {
                self.made.insert(id.clone(), path.clone());
                (Action::Make, Some(kind.to_string()))
            }
            OpType::Put(value) if op.insert => (Action::Insert, Some(scalar(value))),
            OpType::Put(value) => (Action::Set, Some(scalar(value))),
            OpType::Delete => (Action::Delete, None),
            OpType::Increment(by) => (Action::Increment, Some(by.to_string())),
            OpType::MarkBegin(..) | OpType::MarkEnd(..) => (Action::Mark, None),
        };
        let before = if op.insert { None } else { self.before(op) };
        Step { path, action, value, before }
    }

    fn path(&self, object: &ObjectId) -> String {
        let ObjectId::Id(id) = object else { return "/".to_owned() };
        if let Some(made) = self.made.get(id) {
            return made.clone();
        }
        let mut path = String::new();
        let Ok(parents) = self.doc.parents(existing(id)) else { return "?".to_owned() };
        for parent in parents {
            path = format!("/{}{path}", parent.prop);
        }
        if path.is_empty() { "?".to_owned() } else { path }
    }

    fn before(&self, op: &Op) -> Option<String> {
        let Key::Map(key) = &op.key else { return None };
        let object = match &op.obj {
            ObjectId::Root => ROOT,
            ObjectId::Id(id) => existing(id),
        };
        let (value, id) = self.doc.get(&object, key.as_str()).ok()??;
        Some(match value {
            Value::Object(automerge::ObjType::Text) => shortened(&self.doc.text(&id).ok()?),
            Value::Object(kind) => kind.to_string(),
            Value::Scalar(value) => scalar(&value),
        })
    }
}

fn existing(id: &OpId) -> ObjId {
    // The last number is a hint where to find the actor.
    ObjId::Id(id.counter(), id.actor().clone(), 0)
}

fn scalar(value: &ScalarValue) -> String {
    match value {
        ScalarValue::Str(text) => shortened(text),
        ScalarValue::Bytes(bytes) => format!("{} bytes", bytes.len()),
        ScalarValue::Int(_)
        | ScalarValue::Uint(_)
        | ScalarValue::F64(_)
        | ScalarValue::Counter(_)
        | ScalarValue::Timestamp(_)
        | ScalarValue::Boolean(_)
        | ScalarValue::Unknown { .. }
        | ScalarValue::Null => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document_id::DocumentId;
    use crate::kind::{self, Kind};
    use automerge::ObjType;
    use automerge::transaction::{Transactable as _, Transaction};

    fn document(kind: Kind) -> Automerge {
        Automerge::load(&kind::genesis(kind, DocumentId::from_bytes([6; 16])).unwrap()).unwrap()
    }

    /// The change of an edit, described against the document before it.
    fn described(doc: &mut Automerge, edit: impl FnOnce(&mut Transaction<'_>)) -> Description {
        let before = doc.fork();
        let heads = doc.get_heads();
        let mut tx = doc.transaction();
        edit(&mut tx);
        tx.commit();
        describe(&before, &doc.get_changes(&heads)[0])
    }

    fn step(path: &str, action: Action, value: Option<&str>, before: Option<&str>) -> Step {
        Step { path: path.into(), action, value: value.map(Into::into), before: before.map(Into::into) }
    }

    #[test]
    fn a_mark_is_told_with_what_it_replaces() {
        let mut sheet = document(Kind::Attendance);
        let (_, marks) = sheet.get(ROOT, "marks").unwrap().unwrap();
        let first = described(&mut sheet, |tx| tx.put(&marks, "s1", "absent").unwrap());
        assert_eq!(first.steps, [step("/marks/s1", Action::Set, Some("absent"), None)]);
        let second = described(&mut sheet, |tx| tx.put(&marks, "s1", "present").unwrap());
        assert_eq!(second.steps, [step("/marks/s1", Action::Set, Some("present"), Some("absent"))]);
        assert_eq!((second.sequence, second.more), (2, 0));
        let third = described(&mut sheet, |tx| tx.delete(&marks, "s1").unwrap());
        assert_eq!(third.steps, [step("/marks/s1", Action::Delete, None, Some("present"))]);
    }

    #[test]
    fn typed_letters_are_one_step_and_objects_of_the_change_have_a_path() {
        let mut doubt = document(Kind::Doubt);
        let (_, question) = doubt.get(ROOT, "question").unwrap().unwrap();
        let typed = described(&mut doubt, |tx| tx.splice_text(&question, 0, 0, "Why?").unwrap());
        assert_eq!(typed.steps, [step("/question", Action::Insert, Some("Why?"), None)]);
        let (_, answers) = doubt.get(ROOT, "answers").unwrap().unwrap();
        let answered = described(&mut doubt, |tx| {
            let answer = tx.insert_object(&answers, 0, ObjType::Map).unwrap();
            tx.put(&answer, "author", "sam").unwrap();
        });
        let author = step("/answers/author", Action::Set, Some("sam"), None);
        assert_eq!(answered.steps, [step("/answers", Action::Make, Some("map"), None), author]);
    }

    #[test]
    fn a_huge_change_is_told_in_part_and_one_without_its_ground_all_the_same() {
        let mut notes = document(Kind::Notes);
        let huge = described(&mut notes, |tx| {
            for n in 0..1_000 {
                tx.put(ROOT, format!("k{n}"), "x".repeat(2_000)).unwrap();
            }
        });
        assert_eq!((huge.steps.len(), huge.more), (MAX_DESCRIBED, 1_000 - MAX_DESCRIBED));
        assert!(huge.steps.iter().all(|step| step.value.as_ref().unwrap().len() == MAX_VALUE_CHARS));

        let mut sheet = document(Kind::Attendance);
        let (_, marks) = sheet.get(ROOT, "marks").unwrap().unwrap();
        let before = sheet.get_heads();
        let mut tx = sheet.transaction();
        tx.put(&marks, "s1", "late").unwrap();
        tx.commit();
        let change = sheet.get_changes(&before).remove(0);
        assert_eq!(describe(&Automerge::new(), &change).steps[0].path, "?/s1");
    }
}
