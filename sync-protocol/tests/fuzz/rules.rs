//! Documents of kinds with rules, edited by several users in any way there is. What the rules let through leaves the document
//! as they promise.

use crate::gate::{following, walk};
use crate::input::Input;
use automerge::transaction::{Transactable as _, Transaction};
use automerge::{ActorId, Automerge, ObjId, ObjType, ROOT, ReadDoc, ScalarValue, Value, hydrate};
use std::collections::BTreeMap;
use sync_protocol::document_id::DocumentId;
use sync_protocol::gate::{self, Counters};
use sync_protocol::kind::{self, Kind, MARKS, MAX_REMARK_BYTES, versions};
use sync_protocol::link::DocumentRecord;
use sync_protocol::rules::{self, Writer};

const DOCUMENT: DocumentId = DocumentId::from_bytes([3; 16]);
/// The last one moderates, the first one owns the document.
const USERS: [&str; 3] = ["sam", "uma", "tara"];
const KEYS: [&str; 10] =
    ["marks", "question", "answers", "kind", "version", "author", "body", "s1", "elsewhere", "remarks"];
const TEXTS: [&str; 8] = ["present", "late", "asleep", "sam", "uma", "tara", "", "p"];

pub(crate) fn rules(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.pick(&[Kind::Attendance, Kind::Doubt]);
    let mut doc = Automerge::load(&kind::genesis(kind, DOCUMENT).unwrap()).unwrap();
    doc.apply_changes(versions::migrate(&doc, kind, DOCUMENT)).unwrap();
    let record = DocumentRecord {
        document: DOCUMENT,
        kind: kind.as_str().into(),
        subject: "x".into(),
        batch: Some("b1".into()),
        owner: USERS[0].into(),
    };
    let mut counters = Counters::of(&doc);
    for turn in 0..64_u8 {
        if input.is_empty() {
            break;
        }
        let user = input.pick(&USERS);
        let bytes = match input.below(4) {
            0 => following(&doc, input.bytes()),
            _ => edited(&doc, turn, &mut input),
        };
        let Ok(changes) = gate::changes_in(&bytes) else { continue };
        for change in changes {
            let writer = Writer { user, moderates: user == "tara" };
            let studies = |user: &str, _: &str| (user == "elsewhere").then_some(false);
            let fits = counters.check(&doc, &change).is_ok();
            if !fits || rules::check(&doc, &record, &change, writer, studies).is_err() {
                continue;
            }
            let before = doc.clone();
            counters.admit(&change);
            if doc.apply_changes([change]).is_err() {
                return;
            }
            let shown = doc.get_all(ROOT, versions::VERSION).unwrap();
            assert_eq!((shown.len(), versions::version(&doc, DOCUMENT)), (1, Some(kind.version())));
            match kind {
                Kind::Attendance => texts_of_a_sheet_are_its_own(&doc),
                Kind::Doubt => words_are_their_authors(&before, &doc, user),
                Kind::Notes | Kind::Planner | Kind::Private => {}
            }
            walk(&doc);
        }
    }
}

/// The bytes of a change with some edits in it.
fn edited(doc: &Automerge, turn: u8, input: &mut Input<'_>) -> Vec<u8> {
    let mut device = doc.clone().with_actor(ActorId::from([50 + turn]));
    let mut objects = vec![ROOT];
    collect(&device, &mut objects);
    let mut tx = device.transaction();
    for _ in 0..=input.below(6) {
        let object = objects[input.below(objects.len())].clone();
        objects.extend(edit(&mut tx, &object, input));
    }
    tx.commit();
    let new = device.get_changes(&doc.get_heads());
    new.iter().flat_map(|change| change.raw_bytes().to_vec()).collect()
}

fn collect(doc: &Automerge, objects: &mut Vec<ObjId>) {
    let mut at = 0;
    while let Some(object) = objects.get(at).cloned() {
        at += 1;
        let members: Vec<ObjId> = match doc.object_type(&object) {
            Ok(ObjType::Map | ObjType::Table) => doc
                .keys(&object)
                .filter_map(|key| doc.get(&object, key).ok().flatten())
                .filter(|(value, _)| value.is_object())
                .map(|(_, id)| id)
                .collect(),
            Ok(ObjType::List) => (0..doc.length(&object))
                .filter_map(|at| doc.get(&object, at).ok().flatten())
                .filter(|(value, _)| value.is_object())
                .map(|(_, id)| id)
                .collect(),
            Ok(ObjType::Text) | Err(_) => Vec::new(),
        };
        objects.extend(members);
        objects.truncate(256);
    }
}

/// One edit; whether the object takes it is the library's to say. Gives the object that it makes.
fn edit(tx: &mut Transaction<'_>, object: &ObjId, input: &mut Input<'_>) -> Option<ObjId> {
    let key = input.pick(&KEYS);
    let at = input.below(4);
    let text = input.pick(&TEXTS);
    let kind = input.pick(&[ObjType::Map, ObjType::List, ObjType::Text]);
    let is_map = matches!(tx.object_type(object), Ok(ObjType::Map | ObjType::Table));
    match (input.below(9), is_map) {
        (0, true) => drop(tx.put(object, key, text)),
        (0, false) => drop(tx.insert(object, at, text)),
        (1, true) => return tx.put_object(object, key, kind).ok(),
        (1, false) => return tx.insert_object(object, at, kind).ok(),
        (2, true) => drop(tx.delete(object, key)),
        (2, false) => drop(tx.delete(object, at)),
        (3, _) => drop(tx.splice_text(object, at, input.below(3) as isize, text)),
        (4, true) => drop(tx.put(object, key, ScalarValue::counter(1))),
        (4, false) => drop(tx.put(object, at, text)),
        (5, true) => drop(tx.increment(object, key, 1)),
        (5, false) => return tx.put_object(object, at, kind).ok(),
        (6, _) => {
            let mark = automerge::marks::Mark::new(key.to_owned(), text, at, at + 2);
            drop(tx.mark(object, mark, automerge::marks::ExpandMark::Both));
        }
        (7, true) => {
            let made = tx.put_object(object, key, ObjType::Text).ok()?;
            drop(tx.splice_text(&made, 0, 0, text));
            return Some(made);
        }
        (7, false) => {
            let made = tx.insert_object(object, at, ObjType::Map).ok()?;
            drop(tx.put(&made, "author", text));
            return Some(made);
        }
        (_, _) => drop(tx.put(object, key, at as i64)),
    }
    None
}

fn texts_of_a_sheet_are_its_own(doc: &Automerge) {
    each_text(doc, "marks", |mark| MARKS.contains(&mark));
    each_text(doc, "remarks", |remark| remark.len() <= MAX_REMARK_BYTES);
}

fn each_text(doc: &Automerge, field: &str, fits: impl Fn(&str) -> bool) {
    let Ok(Some((Value::Object(ObjType::Map), texts))) = doc.get(ROOT, field) else {
        panic!("{field} is gone")
    };
    for student in doc.keys(&texts) {
        for (value, id) in doc.get_all(&texts, student.as_str()).unwrap() {
            let text = match value {
                Value::Object(ObjType::Text) => doc.text(&id).unwrap(),
                Value::Object(_) => panic!("an object in {field}"),
                Value::Scalar(scalar) => scalar.as_str().expect("a text").to_owned(),
            };
            assert!(fits(&text), "{text:?} in {field}");
        }
    }
}

/// Who names himself as the author, and all that he says.
type Answer = (Option<String>, Option<hydrate::Value>);

/// The question, and the answers by their ids.
fn words(doc: &Automerge) -> (String, BTreeMap<String, Answer>) {
    let Ok(Some((Value::Object(ObjType::Text), question))) = doc.get(ROOT, "question") else {
        panic!("the question is gone")
    };
    let Ok(Some((Value::Object(ObjType::List), list))) = doc.get(ROOT, "answers") else {
        panic!("the answers are gone")
    };
    let answers = (0..doc.length(&list)).map(|at| {
        let all = doc.get_all(&list, at).unwrap();
        let (value, id) = all.last().expect("an item has a value").clone();
        assert!(matches!(value, Value::Object(ObjType::Map)), "an answer is {value:?}");
        let author = match doc.get(&id, "author").unwrap() {
            Some((Value::Object(ObjType::Text), text)) => Some(doc.text(&text).unwrap()),
            Some((Value::Scalar(scalar), _)) => scalar.as_str().map(str::to_owned),
            Some((Value::Object(_), _)) | None => None,
        };
        (id.to_string(), (author, ReadDoc::hydrate(doc, &id, None).ok()))
    });
    let marked = format!("{}{:?}", doc.text(&question).unwrap(), doc.marks(&question).unwrap());
    (marked, answers.collect())
}

fn words_are_their_authors(before: &Automerge, after: &Automerge, user: &str) {
    let ((asked, answered), (asks, answers)) = (words(before), words(after));
    assert!(asked == asks || user == USERS[0], "{user} edits the question");
    for (id, (author, _)) in &answers {
        assert!(
            author.is_some() && (answered.contains_key(id) || author.as_deref() == Some(user)),
            "an answer of {author:?} by {user}"
        );
    }
    for (id, (author, said)) in &answered {
        let own = author.as_deref() == Some(user);
        match answers.get(id) {
            Some((still, says)) => {
                assert!(still == author && (own || said == says), "{user} edits {author:?}");
            }
            None => assert!(own || user == "tara", "{user} removes an answer of {author:?}"),
        }
    }
}
