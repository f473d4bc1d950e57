//! Each rule with what it must let through and what tries to get around it.

use super::*;
use crate::document_id::DocumentId;
use crate::kind::genesis;
use automerge::transaction::{Transactable as _, Transaction};

const DOCUMENT: DocumentId = DocumentId::from_bytes([4; 16]);

fn record(kind: Kind) -> DocumentRecord {
    DocumentRecord {
        document: DOCUMENT,
        kind: kind.as_str().into(),
        subject: "x".into(),
        batch: Some("b1".into()),
        owner: "sam".into(),
    }
}

fn document(kind: Kind) -> Automerge {
    Automerge::load(&genesis(kind, DOCUMENT).unwrap()).unwrap()
}

fn studies(user: &str, batch: &str) -> Option<bool> {
    match (user, batch) {
        ("s1" | "s2", "b1") => Some(true),
        ("elsewhere", _) => Some(false),
        _ => None,
    }
}

/// What a change is judged to be that `user` makes on `doc`; it goes in when it passes.
fn judge(
    doc: &mut Automerge,
    kind: Kind,
    user: &str,
    edit: impl FnOnce(&mut Transaction<'_>),
) -> Result<(), &'static str> {
    let mut device = doc.fork();
    let mut tx = device.transaction();
    edit(&mut tx);
    assert!(tx.commit().0.is_some(), "the edit changes something");
    let change = device.get_changes(&doc.get_heads()).pop().unwrap();
    let writer = Writer { user, moderates: user == "tara" };
    check(doc, &record(kind), &change, writer, studies)?;
    doc.apply_changes([change]).unwrap();
    Ok(())
}

#[test]
fn a_sheet_takes_marks_of_students_and_nothing_else() {
    let mut doc = document(Kind::Attendance);
    let sheet = object(&doc, "marks").unwrap();
    let mut judge = |edit: &dyn Fn(&mut Transaction<'_>)| judge(&mut doc, Kind::Attendance, "tara", edit);
    for mark in MARKS {
        assert_eq!(judge(&|tx| tx.put(&sheet, "s1", mark).unwrap()), Ok(()));
    }
    assert_eq!(judge(&|tx| tx.put(&sheet, "nobody-knows", "late").unwrap()), Ok(()));
    assert_eq!(judge(&|tx| tx.put(&sheet, "elsewhere", "late").unwrap()), Err(NOT_A_STUDENT));
    assert_eq!(judge(&|tx| tx.put(&sheet, "s1", "asleep").unwrap()), Err(INVALID_MARK));
    assert_eq!(judge(&|tx| tx.put(&sheet, "s1", 1).unwrap()), Err(INVALID_MARK));
    assert_eq!(judge(&|tx| drop(tx.put_object(&sheet, "s1", ObjType::Map).unwrap())), Err(INVALID_MARK));
    assert_eq!(judge(&|tx| tx.put(ROOT, "marks", "none").unwrap()), Err(KIND_STRUCTURE));
    assert_eq!(judge(&|tx| tx.delete(ROOT, "marks").unwrap()), Err(KIND_STRUCTURE));
    assert_eq!(judge(&|tx| tx.put(ROOT, "kind", "notes").unwrap()), Err(KIND_STRUCTURE));
    // One bad mark among good ones.
    let mixed = |tx: &mut Transaction<'_>| {
        tx.put(&sheet, "s1", "late").unwrap();
        tx.put(&sheet, "s2", "asleep").unwrap();
    };
    assert_eq!(judge(&mixed), Err(INVALID_MARK));
    assert_eq!(judge(&|tx| tx.delete(&sheet, "s1").unwrap()), Ok(()));
    assert_eq!(judge(&|tx| tx.put(ROOT, "of a later version", 1).unwrap()), Ok(()));
}

/// JavaScript clients write each string as a collaborative text.
#[test]
fn a_mark_that_is_a_text_is_judged_by_its_letters_and_cannot_be_edited_afterwards() {
    let mut doc = document(Kind::Attendance);
    let sheet = object(&doc, "marks").unwrap();
    let write = |tx: &mut Transaction<'_>, text: &str| {
        let mark = tx.put_object(&sheet, "s1", ObjType::Text).unwrap();
        tx.splice_text(&mark, 0, 0, text).unwrap();
    };
    assert_eq!(judge(&mut doc, Kind::Attendance, "tara", |tx| write(tx, "asleep")), Err(INVALID_MARK));
    // The letters of a mark, put in so that they read otherwise.
    let backwards = |tx: &mut Transaction<'_>| {
        let mark = tx.put_object(&sheet, "s1", ObjType::Text).unwrap();
        for letter in ["l", "a", "t", "e"] {
            tx.splice_text(&mark, 0, 0, letter).unwrap();
        }
    };
    assert_eq!(judge(&mut doc, Kind::Attendance, "tara", backwards), Err(INVALID_MARK));
    assert_eq!(judge(&mut doc, Kind::Attendance, "tara", |tx| write(tx, "late")), Ok(()));
    let (_, mark) = doc.get(&sheet, "s1").unwrap().unwrap();
    let edit = |tx: &mut Transaction<'_>| tx.splice_text(&mark, 0, 0, "very ").unwrap();
    assert_eq!(judge(&mut doc, Kind::Attendance, "tara", edit), Err(INVALID_MARK));
}

fn answer(tx: &mut Transaction<'_>, answers: &ObjId, at: usize, author: &str, text: &str) -> ObjId {
    let answer = tx.insert_object(answers, at, ObjType::Map).unwrap();
    tx.put(&answer, AUTHOR, author).unwrap();
    let words = tx.put_object(&answer, "text", ObjType::Text).unwrap();
    tx.splice_text(&words, 0, 0, text).unwrap();
    answer
}

#[test]
fn nobody_edits_anothers_words_in_a_doubt() {
    let mut doc = document(Kind::Doubt);
    let question = object(&doc, "question").unwrap();
    let answers = object(&doc, "answers").unwrap();
    let mut judge =
        |user: &str, edit: &dyn Fn(&mut Transaction<'_>)| judge(&mut doc, Kind::Doubt, user, edit);
    let ask = |tx: &mut Transaction<'_>| tx.splice_text(&question, 0, 0, "Why? ").unwrap();
    assert_eq!(judge("uma", &ask), Err(NOT_YOUR_WORDS));
    assert_eq!(
        judge("tara", &ask),
        Err(NOT_YOUR_WORDS),
        "a teacher removes, and does not put words in mouths"
    );
    assert_eq!(judge("sam", &ask), Ok(()));
    assert_eq!(judge("uma", &|tx| drop(answer(tx, &answers, 0, "uma", "Because."))), Ok(()));
    assert_eq!(
        judge("uma", &|tx| drop(answer(tx, &answers, 0, "sam", "I am silly."))),
        Err(ANSWER_WITHOUT_AUTHOR)
    );
    assert_eq!(judge("uma", &|tx| tx.insert(&answers, 0, "no author").unwrap()), Err(ANSWER_WITHOUT_AUTHOR));

    let first = |tx: &Transaction<'_>| tx.get(&answers, 0).unwrap().unwrap().1;
    let words = |tx: &Transaction<'_>| tx.get(first(tx), "text").unwrap().unwrap().1;
    let edit = |tx: &mut Transaction<'_>| {
        let words = words(tx);
        tx.splice_text(&words, 0, 0, "Not ").unwrap();
    };
    let claim = |tx: &mut Transaction<'_>| {
        let first = first(tx);
        tx.put(&first, AUTHOR, "sam").unwrap();
    };
    let replace = |tx: &mut Transaction<'_>| {
        let mine = tx.put_object(&answers, 0, ObjType::Map).unwrap();
        tx.put(&mine, AUTHOR, "sam").unwrap();
    };
    for edit in
        [&edit as &dyn Fn(&mut Transaction<'_>), &claim, &replace, &|tx| tx.delete(&answers, 0).unwrap()]
    {
        assert_eq!(judge("sam", edit), Err(NOT_YOUR_WORDS));
    }
    assert_eq!(judge("tara", &edit), Err(NOT_YOUR_WORDS));
    assert_eq!(judge("uma", &claim), Err(NOT_YOUR_WORDS), "an answer keeps its author");
    assert_eq!(judge("uma", &edit), Ok(()));
    assert_eq!(judge("tara", &|tx| tx.delete(&answers, 0).unwrap()), Ok(()));
    assert_eq!(judge("sam", &|tx| tx.put(ROOT, "answers", "none").unwrap()), Err(KIND_STRUCTURE));
}

/// Two changes of one device: the second edits what the first has made.
#[test]
fn an_author_that_a_javascript_client_wrote_as_a_text_counts_and_is_not_changed_letter_by_letter() {
    let mut doc = document(Kind::Doubt);
    let answers = object(&doc, "answers").unwrap();
    let make = |tx: &mut Transaction<'_>, author: &str| {
        let answer = tx.insert_object(&answers, 0, ObjType::Map).unwrap();
        let name = tx.put_object(&answer, AUTHOR, ObjType::Text).unwrap();
        tx.splice_text(&name, 0, 0, author).unwrap();
    };
    assert_eq!(judge(&mut doc, Kind::Doubt, "uma", |tx| make(tx, "sam")), Err(ANSWER_WITHOUT_AUTHOR));
    assert_eq!(judge(&mut doc, Kind::Doubt, "uma", |tx| make(tx, "uma")), Ok(()));
    let (_, answer) = doc.get(&answers, 0).unwrap().unwrap();
    let (_, name) = doc.get(&answer, AUTHOR).unwrap().unwrap();
    let rename = |tx: &mut Transaction<'_>| tx.splice_text(&name, 0, 3, "sam").unwrap();
    assert_eq!(judge(&mut doc, Kind::Doubt, "uma", rename), Err(NOT_YOUR_WORDS));
    assert_eq!(judge(&mut doc, Kind::Doubt, "uma", |tx| tx.put(&answer, "note", "PS").unwrap()), Ok(()));
    assert_eq!(
        judge(&mut doc, Kind::Doubt, "sam", |tx| tx.put(&answer, "note", "PPS").unwrap()),
        Err(NOT_YOUR_WORDS)
    );
}

#[test]
fn kinds_without_rules_take_any_other_change_of_a_writer() {
    let mut doc = document(Kind::Notes);
    assert_eq!(judge(&mut doc, Kind::Notes, "tara", |tx| tx.put(ROOT, "text", "replaced").unwrap()), Ok(()));
    assert!(!has_rules(&record(Kind::Notes)) && has_rules(&record(Kind::Doubt)));
}

/// The library names what an operation takes the place of. An operation that names nothing would be shown instead, all the same.
#[test]
fn an_answer_is_not_hidden_by_an_operation_that_does_not_say_what_it_replaces() {
    let mut doc = document(Kind::Doubt);
    let answers = object(&doc, "answers").unwrap();
    let answer = |user: &'static str| {
        let answers = answers.clone();
        move |tx: &mut Transaction<'_>| {
            let answer = tx.insert_object(&answers, 0, ObjType::Map).unwrap();
            tx.put(&answer, "author", user).unwrap();
        }
    };
    assert_eq!(judge(&mut doc, Kind::Doubt, "uma", answer("uma")), Ok(()));
    for (user, outcome) in [("sam", Err(NOT_YOUR_WORDS)), ("uma", Ok(()))] {
        let mut device = doc.fork();
        let mut tx = device.transaction();
        let made = tx.put_object(&answers, 0, ObjType::Map).unwrap();
        tx.put(&made, "author", user).unwrap();
        tx.commit();
        let mut change = device.get_changes(&doc.get_heads()).pop().unwrap().decode();
        for operation in &mut change.operations {
            operation.pred = automerge::legacy::SortedVec::new();
        }
        let writer = Writer { user, moderates: false };
        assert_eq!(check(&doc, &record(Kind::Doubt), &Change::from(change), writer, studies), outcome);
    }
}

/// Whoever guesses the number of another's next operation could write into what it will make.
#[test]
fn an_operation_on_an_object_that_is_not_there_yet_is_refused() {
    for (kind, made) in [(Kind::Doubt, "question"), (Kind::Attendance, "marks")] {
        let doc = document(kind);
        let mut device = doc.fork();
        let mut tx = device.transaction();
        let object = tx.put_object(ROOT, "free", ObjType::Map).unwrap();
        tx.put(&object, made, 1).unwrap();
        tx.commit();
        let mut change = device.get_changes(&doc.get_heads()).pop().unwrap().decode();
        // Without the operation that makes it.
        change.operations.remove(0);
        let writer = Writer { user: "sam", moderates: true };
        let outcome = check(&doc, &record(kind), &Change::from(change), writer, studies);
        assert_eq!(outcome, Err(UNKNOWN_OBJECT));
    }
}

/// A sheet of version 1 and one of version 2.
fn sheets() -> [Automerge; 2] {
    let old = document(Kind::Attendance);
    let mut new = old.fork();
    new.apply_changes(versions::migrate(&old, Kind::Attendance, DOCUMENT)).unwrap();
    [old, new]
}

#[test]
fn remarks_are_short_texts_beside_students() {
    let [_, mut doc] = sheets();
    let remarks = object(&doc, "remarks").unwrap();
    let mut judge = |edit: &dyn Fn(&mut Transaction<'_>)| judge(&mut doc, Kind::Attendance, "tara", edit);
    let long = "x".repeat(MAX_REMARK_BYTES);
    assert_eq!(judge(&|tx| tx.put(&remarks, "s1", "the bus").unwrap()), Ok(()));
    assert_eq!(judge(&|tx| tx.put(&remarks, "s1", long.as_str()).unwrap()), Ok(()));
    assert_eq!(judge(&|tx| tx.put(&remarks, "s1", format!("{long}x")).unwrap()), Err(INVALID_REMARK));
    assert_eq!(judge(&|tx| tx.put(&remarks, "s1", 1).unwrap()), Err(INVALID_REMARK));
    assert_eq!(judge(&|tx| drop(tx.put_object(&remarks, "s1", ObjType::List).unwrap())), Err(INVALID_REMARK));
    assert_eq!(judge(&|tx| tx.put(&remarks, "elsewhere", "who?").unwrap()), Err(NOT_A_STUDENT));
    let letters = |text: &'static str| {
        let remarks = remarks.clone();
        move |tx: &mut Transaction<'_>| {
            let remark = tx.put_object(&remarks, "s2", ObjType::Text).unwrap();
            tx.splice_text(&remark, 0, 0, text).unwrap();
        }
    };
    assert_eq!(judge(&letters("as JavaScript writes it")), Ok(()));
    let edit = |tx: &mut Transaction<'_>| {
        let (_, remark) = tx.get(&remarks, "s2").unwrap().unwrap();
        tx.splice_text(&remark, 0, 0, "not ").unwrap();
    };
    assert_eq!(judge(&edit), Err(INVALID_REMARK), "who said what would be nobody's to tell");
    assert_eq!(judge(&|tx| tx.delete(&remarks, "s2").unwrap()), Ok(()));
    assert_eq!(judge(&|tx| tx.delete(ROOT, "remarks").unwrap()), Err(KIND_STRUCTURE));
    assert_eq!(judge(&|tx| tx.put(ROOT, "remarks", "none").unwrap()), Err(KIND_STRUCTURE));
}

#[test]
fn the_name_of_what_a_version_adds_is_kept_free_in_older_documents() {
    let [mut old, _] = sheets();
    let taken = |tx: &mut Transaction<'_>| drop(tx.put_object(ROOT, "remarks", ObjType::Map).unwrap());
    assert_eq!(judge(&mut old, Kind::Attendance, "tara", taken), Err(KIND_STRUCTURE));
}

/// The change that brings a document of `kind` from version 1 to `version`, as somebody makes it who may change it before.
fn migration(kind: Kind, version: u32, forge: impl FnOnce(&mut Transaction<'_>)) -> Change {
    let actor = versions::migration_actor(DOCUMENT, version);
    let mut doc = document(kind).with_actor(actor);
    let mut tx = doc.transaction();
    tx.put(ROOT, VERSION, i64::from(version)).unwrap();
    tx.put_object(ROOT, "remarks", ObjType::Map).unwrap();
    forge(&mut tx);
    tx.commit_with(automerge::transaction::CommitOptions::default().with_time(0));
    doc.get_changes(&[]).pop().unwrap()
}

fn of_anybody(newest: u32, kind: Kind, doc: &Automerge, change: &Change) -> Result<(), &'static str> {
    let writer = Writer { user: "anybody", moderates: false };
    check_as_of(newest, doc, &record(kind), change, writer, studies)
}

#[test]
fn a_version_is_written_by_its_migration_and_by_nothing_else() {
    let [old, new] = sheets();
    let honest = migration(Kind::Attendance, 2, |_| {});
    assert_eq!(of_anybody(u32::MAX, Kind::Attendance, &old, &honest), Ok(()));
    assert_eq!(of_anybody(1, Kind::Attendance, &old, &honest), Err(UNKNOWN_VERSION), "a server of yesterday");

    // One operation more; the same under another actor, or behind an edit; again, behind itself; of tomorrow.
    let more = migration(Kind::Attendance, 2, |tx| tx.put(ROOT, "extra", 1).unwrap());
    assert_eq!(of_anybody(u32::MAX, Kind::Attendance, &old, &more), Err(UNKNOWN_VERSION));
    let mut foreign = honest.decode();
    foreign.actor_id = automerge::ActorId::from([1; 16]);
    assert_eq!(of_anybody(u32::MAX, Kind::Attendance, &old, &Change::from(foreign)), Err(UNKNOWN_VERSION));
    let mut edited = document(Kind::Attendance);
    let mut tx = edited.transaction();
    tx.put(ROOT, "edit", 1).unwrap();
    tx.commit();
    let mut late = edited.clone().with_actor(versions::migration_actor(DOCUMENT, 2));
    let mut tx = late.transaction();
    tx.put(ROOT, VERSION, 2_i64).unwrap();
    tx.put_object(ROOT, "remarks", ObjType::Map).unwrap();
    tx.commit_with(automerge::transaction::CommitOptions::default().with_time(0));
    let late = late.get_changes(&[]).pop().unwrap();
    assert_eq!(of_anybody(u32::MAX, Kind::Attendance, &edited, &late), Err(UNKNOWN_VERSION));
    let mut again = new.fork().with_actor(versions::migration_actor(DOCUMENT, 2));
    let mut tx = again.transaction();
    tx.put(ROOT, "in nobody's name", 1).unwrap();
    tx.commit();
    let again = again.get_changes(&[]).pop().unwrap();
    assert_eq!(
        (again.seq(), of_anybody(u32::MAX, Kind::Attendance, &new, &again)),
        (2, Err(UNKNOWN_VERSION))
    );
    let future = migration(Kind::Attendance, 3, |_| {});
    assert_eq!(of_anybody(u32::MAX, Kind::Attendance, &new, &future), Err(UNKNOWN_VERSION));
}

#[test]
fn nobody_writes_the_version_of_any_registered_kind() {
    for kind in [Kind::Attendance, Kind::Notes, Kind::Doubt, Kind::Planner] {
        let mut doc = document(kind);
        let write = |tx: &mut Transaction<'_>| tx.put(ROOT, VERSION, 2).unwrap();
        assert_eq!(judge(&mut doc, kind, "sam", write), Err(UNKNOWN_VERSION), "{kind}");
        assert_eq!(
            judge(&mut doc, kind, "sam", |tx| tx.delete(ROOT, VERSION).unwrap()),
            Err(UNKNOWN_VERSION)
        );
        let tomorrow = migration(kind, 2, |tx| tx.put(ROOT, "extra", 1).unwrap());
        assert_eq!(of_anybody(u32::MAX, kind, &doc, &tomorrow), Err(UNKNOWN_VERSION), "{kind}");
        // The first change goes in wherever it is not yet.
        let first = document(kind).get_changes(&[]).remove(0);
        assert_eq!(of_anybody(u32::MAX, kind, &Automerge::new(), &first), Ok(()), "{kind}");
    }
    let mut own = document(Kind::Planner);
    let inner = |tx: &mut Transaction<'_>| {
        let item = tx.put_object(ROOT, "item", ObjType::Map).unwrap();
        tx.put(&item, VERSION, 2).unwrap();
    };
    assert_eq!(judge(&mut own, Kind::Planner, "sam", inner), Ok(()), "of something else");
    let mut private = document(Kind::Planner);
    assert_eq!(judge(&mut private, Kind::Private, "sam", |tx| tx.put(ROOT, VERSION, 2).unwrap()), Ok(()));
}

/// A page of text has the letters of the word, and is taken however long it is.
#[test]
fn a_long_text_about_versions_is_not_taken_apart() {
    let mut doc = document(Kind::Notes);
    let text = object(&doc, "text").unwrap();
    let page = "the version ".repeat(MAX_JUDGED_OPERATIONS / 10);
    assert_eq!(
        judge(&mut doc, Kind::Notes, "tara", |tx| tx.splice_text(&text, 0, 0, &page).unwrap()),
        Ok(())
    );
}
