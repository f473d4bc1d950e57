//! Doubt threads as rows: the question, the answers with their authors, and the words that a search looks for.

use super::{Writer, differ, json, owners_of};
use crate::services::documents::ORIGIN;
use crate::services::documents::replica::hex_heads;
use crate::store::{DoubtRow, StoreError, ThreadTimes, Words, WriteTx};
use automerge::Automerge;
use serde::Serialize;
use sync_protocol::kind::{DoubtAnswer, DoubtThread, Written, doubt_thread};
use sync_protocol::link::DocumentRecord;

/// Most bytes of a thread's texts that its row has: forty answers of a page. A document may have a hundred times as many, and
/// lists, searches and the index of words must not grow with it; all of it is in the document.
const MAX_BYTES: usize = 128 * 1024;
/// Most answers of a row.
const MAX_ANSWERS: usize = 500;

/// What a doubt thread says, as far as its row has it.
pub(in crate::services::documents) struct Thread {
    said: DoubtThread,
    answer_count: usize,
    answered_by: Option<String>,
    omitted_bytes: usize,
    heads: Vec<String>,
}

/// An answer as its row has it.
#[derive(Serialize)]
struct Told<'a> {
    author: &'a str,
    text: &'a str,
    /// All concurrent texts with who wrote which, the shown one last.
    #[serde(skip_serializing_if = "Option::is_none")]
    writers: Option<Vec<Writer<'a>>>,
}

/// Takes texts until there is no room.
struct Room {
    left: usize,
    omitted: usize,
}

impl Room {
    fn take(&mut self, text: &str) -> String {
        let end = text.floor_char_boundary(self.left);
        self.left -= end;
        self.omitted += text.len() - end;
        sound(&text[..end])
    }
}

/// Postgres takes no text with a NUL.
fn sound(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

impl Thread {
    pub(super) fn of(record: &DocumentRecord, doc: &Automerge) -> Self {
        let DoubtThread { question, answers } = doubt_thread(doc, record.document);
        let others = answers.iter().rev().find(|a| a.author != record.owner && !a.text.trim().is_empty());
        let answered_by = others.map(|answer| sound(&answer.author));
        let answer_count = answers.len();
        let mut room = Room { left: MAX_BYTES, omitted: 0 };
        let question = room.take(&question);
        let mut kept = Vec::new();
        for answer in answers {
            if kept.len() == MAX_ANSWERS {
                room.left = 0;
            }
            let cut = take(&mut room, &answer);
            if kept.len() < MAX_ANSWERS {
                kept.push(cut);
            }
        }
        let mut heads = hex_heads(doc);
        heads.sort_unstable();
        let said = DoubtThread { question, answers: kept };
        Self { said, answer_count, answered_by, omitted_bytes: room.omitted, heads }
    }

    /// Makes the row of the thread what its document says; how many rows were something else. A thread in which nobody has
    /// written anything has none.
    ///
    /// No view depends on it that is kept: nothing is touched but the document, which is with what was written.
    pub(super) fn project(&self, tx: &WriteTx<'_>, record: &DocumentRecord) -> Result<usize, StoreError> {
        let before = tx.doubt(&record.subject)?;
        let Some(row) = self.row(tx, record)? else {
            let Some(before) = before else { return Ok(0) };
            return Ok(usize::from(tx.remove_doubt(&record.subject, &before.document)?));
        };
        if before.as_ref() == Some(&row) {
            return Ok(0);
        }
        tx.put_doubt(&row)?;
        Ok(1)
    }

    fn row(&self, tx: &WriteTx<'_>, record: &DocumentRecord) -> Result<Option<DoubtRow>, StoreError> {
        let written = !self.said.question.trim().is_empty() || self.answer_count > 0;
        let times = tx.thread_times(record.document, ORIGIN)?;
        let (true, Some(batch), Some(times)) = (written, &record.batch, times) else { return Ok(None) };
        let ThreadTimes { asked_at, updated_at } = times;
        let conflicts = self.said.answers.iter().filter(|answer| differ(&answer.values)).count();
        let owners = if conflicts > 0 { owners_of(tx, record.document)? } else { Default::default() };
        let told = self.said.answers.iter().map(|answer| {
            let written = answer.values.iter();
            let writers =
                written.map(|value| Writer { text: Some(&value.text), ..Writer::of(value, &owners) });
            let writers = differ(&answer.values).then(|| writers.collect());
            Told { author: &answer.author, text: &answer.text, writers }
        });
        let answers = json(&told.collect::<Vec<_>>());
        let shown = self.said.answers.iter().flat_map(|answer| {
            std::iter::once(answer.text.as_str()).chain(answer.values.iter().map(|value| value.text.as_str()))
        });
        let words = Words::of(std::iter::once(self.said.question.as_str()).chain(shown)).text();
        Ok(Some(DoubtRow {
            subject: record.subject.clone(),
            document: record.document.to_string(),
            batch: batch.clone(),
            asked_by: record.owner.clone(),
            question: self.said.question.clone(),
            answers,
            answer_count: self.answer_count as u64,
            answered_by: self.answered_by.clone(),
            conflicts: conflicts as u64,
            omitted_bytes: self.omitted_bytes as u64,
            words,
            asked_at,
            updated_at,
            heads: json(&self.heads),
        }))
    }
}

/// An answer as far as there is room for it.
fn take(room: &mut Room, answer: &DoubtAnswer) -> DoubtAnswer {
    let text = room.take(&answer.text);
    // One alone is the text that is shown.
    let several: &[Written] = if differ(&answer.values) { &answer.values } else { &[] };
    let values = several.iter().map(|value| Written { text: room.take(&value.text), ..value.clone() });
    DoubtAnswer { author: sound(&answer.author), text, values: values.collect() }
}
