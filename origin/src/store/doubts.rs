//! Doubts: what the threads say, as rows.

use super::error::StoreError;
use sync_protocol::document_id::DocumentId;

/// A thread's row, as its document says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DoubtRow {
    /// `BATCH/NAME`.
    pub(crate) subject: String,
    pub(crate) document: String,
    pub(crate) batch: String,
    /// User id, as the other two names.
    pub(crate) asked_by: String,
    pub(crate) question: String,
    /// JSON array.
    pub(crate) answers: String,
    pub(crate) answer_count: u64,
    /// Who of others than the one who asked stands last in the thread.
    pub(crate) answered_by: Option<String>,
    /// Answers of which there are several concurrent texts.
    pub(crate) conflicts: u64,
    /// Bytes of the thread that are not in the row.
    pub(crate) omitted_bytes: u64,
    /// The words of question and answers in lower case, each once, in order, with a space between them.
    pub(crate) words: String,
    pub(crate) asked_at: i64,
    pub(crate) updated_at: i64,
    /// The changes of the document that the row comes from, as a JSON array of hex hashes.
    pub(crate) heads: String,
}

/// When something was asked and when somebody last wrote there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ThreadTimes {
    pub(crate) asked_at: i64,
    pub(crate) updated_at: i64,
}

impl ThreadTimes {
    /// Of the time at which its first document was made, and that of the last change that somebody brought. None without a document.
    pub(super) fn of((asked_at, changed_at): (Option<i64>, Option<i64>)) -> Option<Self> {
        let asked_at = asked_at?;
        Some(Self { asked_at, updated_at: changed_at.map_or(asked_at, |at| at.max(asked_at)) })
    }
}

/// Which threads somebody looks for.
#[derive(Debug, Clone)]
pub(crate) struct DoubtQuery {
    /// Of these batches.
    pub(crate) batches: Vec<String>,
    /// With a word that begins with each of these; [`Words`] has their form.
    pub(crate) words: Option<Words>,
    /// Whether others than the one who asked have answered.
    pub(crate) answered: Option<bool>,
    /// Before this time and, of those of the same time, this document.
    pub(crate) before: Option<(i64, String)>,
    pub(crate) limit: u32,
}

/// A thread in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundDoubt {
    pub(crate) document: String,
    pub(crate) subject: String,
    pub(crate) batch: String,
    pub(crate) asked_by: String,
    pub(crate) asked_by_name: String,
    /// The first 200 characters of the question.
    pub(crate) excerpt: String,
    pub(crate) answer_count: u64,
    pub(crate) answered_by: Option<String>,
    pub(crate) conflicts: u64,
    pub(crate) asked_at: i64,
    pub(crate) updated_at: i64,
}

/// Longest word that is indexed and looked for, in characters; of a longer one the beginning.
const MAX_WORD_CHARS: usize = 40;

/// The words of a text in lower case, each once and in order: runs of letters and digits. Both engines index and look for
/// these, so that a search finds the same on each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Words(Vec<String>);

impl Words {
    pub(crate) fn of<'t>(texts: impl IntoIterator<Item = &'t str>) -> Self {
        let mut words: Vec<String> = Vec::new();
        for text in texts {
            let runs = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
            words.extend(runs.map(|word| {
                // A letter's lower case may be a letter and a mark, which splits no word: both engines get the letters alone.
                let letters = word.chars().flat_map(char::to_lowercase).filter(|c| c.is_alphanumeric());
                letters.take(MAX_WORD_CHARS).collect()
            }));
        }
        words.sort_unstable();
        words.dedup();
        words.retain(|word: &String| !word.is_empty());
        Self(words)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// As they are indexed.
    pub(crate) fn text(&self) -> String {
        self.0.join(" ")
    }

    /// The query of Postgres for rows that have a word that begins with each. Words are letters and digits: nothing in them
    /// means anything to `tsquery`.
    pub(super) fn tsquery(&self) -> String {
        let words: Vec<String> = self.0.iter().map(|word| format!("'{word}':*")).collect();
        words.join(" & ")
    }

    /// The same for SQLite's FTS5.
    pub(super) fn fts5(&self) -> String {
        let words: Vec<String> = self.0.iter().map(|word| format!("\"{word}\"*")).collect();
        words.join(" ")
    }
}

pub(crate) trait ReadDoubts {
    fn doubt(&self, subject: &str) -> Result<Option<DoubtRow>, StoreError>;

    /// The times of a thread from its document and those that it continues; what `origin` itself wrote is nobody's writing. None
    /// of a document that is not there.
    fn thread_times(&self, document: DocumentId, origin: &str) -> Result<Option<ThreadTimes>, StoreError>;

    /// Threads in which somebody wrote last first, of the same time those of higher document ids first.
    fn doubts_of(&self, query: &DoubtQuery) -> Result<Vec<FoundDoubt>, StoreError>;
}

pub(crate) trait WriteDoubts {
    /// Puts the row of a thread in the place of the one that is there.
    fn put_doubt(&self, row: &DoubtRow) -> Result<(), StoreError>;

    /// Removes the row of a thread if it is of this document; whether it was.
    fn remove_doubt(&self, subject: &str, document: &str) -> Result<bool, StoreError>;

    /// Removes rows whose document was deleted or cut, or is not there; how many.
    fn remove_stray_doubts(&self) -> Result<usize, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_runs_of_letters_and_digits_each_once() {
        let words = Words::of(["Why is lim(x→0) 1/x² ∞? why", "Größe, 3D: क्या"]);
        assert_eq!(words.text(), "0 1 3d größe is lim why x x² क या");
        assert_eq!(Words::of(["a'b\"c* & \0d:e"]).tsquery(), "'a':* & 'b':* & 'c':* & 'd':* & 'e':*");
        assert_eq!(Words::of(["b A"]).fts5(), "\"a\"* \"b\"*");
        assert_eq!(Words::of(["?! …", ""]).len(), 0);
        assert_eq!(Words::of(["İstanbul"]), Words::of(["istanbul"]));
        assert_eq!(Words::of(["x".repeat(100).as_str()]).text().len(), MAX_WORD_CHARS);
    }
}
