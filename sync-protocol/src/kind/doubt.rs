//! What a doubt thread says: the question and the answers, each in its author's name.

use super::versions::container;
use super::{Written, written_at};
use crate::document_id::DocumentId;
use automerge::{Automerge, ObjId, ObjType, ReadDoc as _, Value};

/// A doubt thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoubtThread {
    /// Of the document's owner.
    pub question: String,
    /// In the order that every replica shows.
    pub answers: Vec<DoubtAnswer>,
}

/// One answer of a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoubtAnswer {
    /// The user whom the answer names: its writer, as the rules of the kind see to.
    pub author: String,
    /// The text that every replica shows; empty for an answer without one.
    pub text: String,
    /// All concurrent texts, the shown one last: somebody wrote on two devices. Longer than one: a conflict.
    pub values: Vec<Written>,
}

/// The field of an answer that names who wrote it, and the one with the words.
const AUTHOR: &str = "author";
const TEXT: &str = "text";

/// Reads a doubt thread. What is no answer in its list is passed over.
pub fn doubt_thread(doc: &Automerge, document: DocumentId) -> DoubtThread {
    let question = container(doc, document, "question").and_then(|text| doc.text(&text).ok());
    let answers = container(doc, document, "answers");
    let answers = answers.map(|list| answers_in(doc, &list)).unwrap_or_default();
    DoubtThread { question: question.unwrap_or_default(), answers }
}

fn answers_in(doc: &Automerge, list: &ObjId) -> Vec<DoubtAnswer> {
    (0..doc.length(list)).filter_map(|at| answer_at(doc, list, at)).collect()
}

/// The answer at a place: its author may have put several there at once.
fn answer_at(doc: &Automerge, list: &ObjId, at: usize) -> Option<DoubtAnswer> {
    let all = doc.get_all(list, at).ok()?.into_iter();
    let maps: Vec<ObjId> =
        all.filter(|(value, _)| matches!(value, Value::Object(ObjType::Map))).map(|(_, map)| map).collect();
    let author = written_at(doc, maps.last()?, AUTHOR, usize::MAX, |_| true).pop()?.text;
    let words = |map| written_at(doc, map, TEXT, usize::MAX, |_| true);
    let text = words(maps.last()?).pop().map(|shown| shown.text).unwrap_or_default();
    Some(DoubtAnswer { author, text, values: maps.iter().flat_map(words).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::{Kind, genesis};
    use automerge::ROOT;
    use automerge::transaction::{Transactable as _, Transaction};

    fn edit<T>(doc: &mut Automerge, change: impl FnOnce(&mut Transaction<'_>) -> T) -> T {
        let mut tx = doc.transaction();
        let made = change(&mut tx);
        tx.commit();
        made
    }

    fn list(doc: &Automerge) -> ObjId {
        doc.get(ROOT, "answers").unwrap().unwrap().1
    }

    fn answer(tx: &mut Transaction<'_>, list: &ObjId, at: usize, author: &str, text: &str) -> ObjId {
        let answer = tx.insert_object(list, at, ObjType::Map).unwrap();
        tx.put(&answer, AUTHOR, author).unwrap();
        let words = tx.put_object(&answer, TEXT, ObjType::Text).unwrap();
        tx.splice_text(&words, 0, 0, text).unwrap();
        answer
    }

    #[test]
    fn a_thread_says_who_answered_what_and_what_somebody_wrote_on_two_devices() {
        let document = DocumentId::from_bytes([9; 16]);
        let mut doc = Automerge::load(&genesis(Kind::Doubt, document).unwrap()).unwrap();
        assert_eq!(doubt_thread(&doc, document), DoubtThread { question: String::new(), answers: vec![] });
        let question = doc.get(ROOT, "question").unwrap().unwrap().1;
        let answers = list(&doc);
        let first = edit(&mut doc, |tx| {
            tx.splice_text(&question, 0, 0, "Why?").unwrap();
            let first = answer(tx, &answers, 0, "uma", "Because.");
            answer(tx, &answers, 1, "tara", "See page 3.");
            // A scalar, an item that is no answer, and one without words.
            tx.insert(&answers, 2, "noise").unwrap();
            let silent = tx.insert_object(&answers, 2, ObjType::Map).unwrap();
            tx.put(&silent, AUTHOR, "sam").unwrap();
            first
        });
        let mut tablet = doc.fork();
        edit(&mut doc, |tx| tx.put(&first, TEXT, "Because of this.").unwrap());
        edit(&mut tablet, |tx| tx.put(&first, TEXT, "Because of that.").unwrap());
        doc.merge(&mut tablet).unwrap();

        let thread = doubt_thread(&doc, document);
        assert_eq!(thread.question, "Why?");
        let told: Vec<(&str, &str, usize)> =
            thread.answers.iter().map(|a| (a.author.as_str(), a.text.as_str(), a.values.len())).collect();
        assert_eq!(told[1..], [("tara", "See page 3.", 1), ("sam", "", 0)]);
        assert_eq!((told[0].0, told[0].2), ("uma", 2));
        let mut both: Vec<&str> = thread.answers[0].values.iter().map(|value| value.text.as_str()).collect();
        assert_eq!(both.last(), Some(&told[0].1), "the shown one last");
        both.sort_unstable();
        assert_eq!(both, ["Because of that.", "Because of this."]);
    }

    #[test]
    fn an_answer_that_was_replaced_on_two_devices_has_both_texts() {
        let document = DocumentId::from_bytes([9; 16]);
        let mut doc = Automerge::load(&genesis(Kind::Doubt, document).unwrap()).unwrap();
        let answers = list(&doc);
        edit(&mut doc, |tx| drop(answer(tx, &answers, 0, "uma", "first")));
        let mut tablet = doc.fork();
        for (doc, text) in [(&mut doc, "second"), (&mut tablet, "third")] {
            edit(doc, |tx| {
                let new = tx.put_object(&answers, 0, ObjType::Map).unwrap();
                tx.put(&new, AUTHOR, "uma").unwrap();
                tx.put(&new, TEXT, text).unwrap();
            });
        }
        doc.merge(&mut tablet).unwrap();
        let thread = doubt_thread(&doc, document);
        assert_eq!((thread.answers.len(), thread.answers[0].values.len()), (1, 2));
        assert_eq!(thread.answers[0].values[1].text, thread.answers[0].text);
    }
}
