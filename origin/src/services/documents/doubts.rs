//! The search in doubt threads, for whoever may read them: the rows that are made of the documents, by the rights that hold
//! for the documents.

use super::{DocumentError, DocumentService, Membership};
use crate::services::auth::account_of;
use crate::services::local_time::LocalTime;
use crate::store::{DoubtQuery, FoundDoubt, Records, Words};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use sync_protocol::bookmark::Bookmark;
use sync_protocol::command::MAX_ID_BYTES;
use sync_protocol::document_id::DocumentId;
use sync_protocol::kind::{Access, Kind};
use sync_protocol::link::DocumentRecord;
use sync_protocol::token::{Claims, Role};
use utoipa::ToSchema;

/// Threads of one page.
const PAGE: u32 = 50;
/// Longest search, in characters.
const MAX_SEARCH_CHARS: usize = 200;

/// Words of letters and digits; what stands between them means nothing.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(max_length = 200, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*[A-Za-z0-9][^\\x00-\\x1f\\x7f-\\x9f]*$")]
pub(crate) struct SearchWords(String);

/// Where a page begins: the `next` of the one before.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(pattern = "^[0-9]{1,13}[.][A-Za-z0-9]{1,40}$")]
pub(crate) struct DoubtPlace(String);

/// What somebody looks for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DoubtSearch {
    /// Of the question or an answer, or their beginnings.
    q: Option<SearchWords>,
    /// Of one's own batches this one; an admin names one.
    batch: Option<String>,
    answered: Option<bool>,
    before: Option<DoubtPlace>,
}

/// `GET /api/doubts`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DoubtPage {
    /// Those in which somebody wrote last first.
    doubts: Vec<DoubtView>,
    /// Where the next page begins (`before`); null on the last one.
    next: Option<String>,
}

/// A thread; all of it is in its document.
#[derive(Debug, Serialize, ToSchema)]
struct DoubtView {
    /// The document's id.
    document: String,
    /// `BATCH/NAME`.
    subject: String,
    batch: String,
    /// Name of who asked.
    asked_by: String,
    asked_by_user: String,
    /// The first 200 characters of the question.
    excerpt: String,
    answers: u64,
    /// Whether others than the one who asked have answered.
    answered: bool,
    /// Answers of which there are several concurrent texts.
    conflicts: u64,
    asked_at: String,
    /// When somebody last wrote there.
    updated_at: String,
}

impl DocumentService {
    /// One page of the threads that the claims' user may read, and what they were read at.
    pub(crate) async fn search_doubts(
        &self,
        claims: &Claims,
        search: DoubtSearch,
        seen: Option<Bookmark>,
    ) -> Result<(DoubtPage, Bookmark), DocumentError> {
        let field = |field| move |problem| DocumentError::Field { field, problem };
        let words = search.q.map(|text| read_words(&text.0).map_err(field("q"))).transpose()?;
        let batch = search.batch.map(check_batch).transpose()?;
        let before = search.before.map(|place| parse_place(&place.0)).transpose()?;
        let claims = claims.clone();
        let institute = claims.inst.clone();
        let read = move |records: &dyn Records| {
            let account = account_of::<DocumentError>(records, &claims)?.ok_or(DocumentError::Forbidden)?;
            let current = Bookmark::new(records.epoch(), records.revision()?);
            if let Some(seen) = seen.filter(|seen| *seen > current) {
                return Err(DocumentError::Behind { current, seen });
            }
            let batches = readable(records, (&account.user, account.role), batch)?;
            let answered = search.answered;
            // One more shows whether there is a next page.
            let query = DoubtQuery { batches, words, answered, before, limit: PAGE + 1 };
            let mut found = records.doubts_of(&query)?;
            let more = found.len() > PAGE as usize;
            found.truncate(PAGE as usize);
            let next = found.last().filter(|_| more).map(place_text);
            let institute = records.institute()?.ok_or(DocumentError::Forbidden)?;
            let time = LocalTime::new(&institute.time_zone)?;
            let doubts = found.into_iter().map(|doubt| view(doubt, &time)).collect();
            Ok((DoubtPage { doubts, next }, current))
        };
        self.store.read_after(&institute, seen, read).await
    }
}

/// The batches whose threads the user may read, or the one that is asked for if it is one of them.
fn readable(
    records: &dyn Records,
    (user, role): (&str, Role),
    wanted: Option<String>,
) -> Result<Vec<String>, DocumentError> {
    let member = Membership::load(records, user)?.ok_or(DocumentError::Forbidden)?;
    if role == Role::Admin && wanted.is_none() {
        let problem = "is needed: /admin/v1/doubts lists those of all batches".to_owned();
        return Err(DocumentError::Field { field: "batch", problem });
    }
    let of_children = member.children.iter().flat_map(|child| &child.batches);
    let reached: BTreeSet<&String> = member.entry.batches.iter().chain(of_children).chain(&wanted).collect();
    // The rule for the documents themselves decides; of a thread it asks for the batch alone.
    let may_read = |batch: &str| {
        let record = DocumentRecord {
            document: DocumentId::from_bytes([0; 16]),
            kind: Kind::Doubt.as_str().to_owned(),
            subject: String::new(),
            batch: Some(batch.to_owned()),
            owner: String::new(),
        };
        member.access(&record) != Access::None
    };
    let batches: Vec<String> = reached.into_iter().filter(|batch| may_read(batch)).cloned().collect();
    match wanted {
        None => Ok(batches),
        Some(wanted) if batches.contains(&wanted) => Ok(vec![wanted]),
        Some(_) => Err(DocumentError::Forbidden),
    }
}

/// What is no id is no batch, and Postgres does not take every text.
fn check_batch(batch: String) -> Result<String, DocumentError> {
    if (1..=MAX_ID_BYTES).contains(&batch.len()) && batch.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(batch);
    }
    let problem = format!("is not 1 to {MAX_ID_BYTES} visible ASCII characters");
    Err(DocumentError::Field { field: "batch", problem })
}

/// The words that somebody looks for; the error says what is wrong with the text.
pub(crate) fn read_words(text: &str) -> Result<Words, String> {
    let words = Words::of([text]);
    if text.chars().count() <= MAX_SEARCH_CHARS && words.len() > 0 {
        return Ok(words);
    }
    Err(format!("has not a letter or digit and at most {MAX_SEARCH_CHARS} characters"))
}

/// `MILLISECONDS.DOCUMENT` of the last thread of a page.
fn place_text(last: &FoundDoubt) -> String {
    format!("{}.{}", last.updated_at, last.document)
}

fn parse_place(text: &str) -> Result<(i64, String), DocumentError> {
    let place = text.split_once('.').and_then(|(at, document)| {
        // Digits alone, and as many as both engines' calendars take: Rust reads a sign too.
        let digits = (1..=13).contains(&at.len()) && at.bytes().all(|byte| byte.is_ascii_digit());
        let id = (1..=40).contains(&document.len()) && document.bytes().all(|b| b.is_ascii_alphanumeric());
        Some((at.parse().ok().filter(|_| digits && id)?, document.to_owned()))
    });
    let problem = "is not the `next` of a page".to_owned();
    place.ok_or(DocumentError::Field { field: "before", problem })
}

fn view(doubt: FoundDoubt, time: &LocalTime) -> DoubtView {
    DoubtView {
        document: doubt.document,
        subject: doubt.subject,
        batch: doubt.batch,
        asked_by: doubt.asked_by_name,
        asked_by_user: doubt.asked_by,
        excerpt: doubt.excerpt,
        answers: doubt.answer_count,
        answered: doubt.answered_by.is_some(),
        conflicts: doubt.conflicts,
        asked_at: time.text(doubt.asked_at),
        updated_at: time.text(doubt.updated_at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_time_and_a_document() {
        let document = DocumentId::from_bytes([7; 16]).to_string();
        assert_eq!(parse_place(&format!("12.{document}")).unwrap(), (12, document.clone()));
        for wrong in ["12", "12.", ".x", "-1.x", "+1.x", "12.not an id", "99999999999999.x", "1.x.y"] {
            assert!(parse_place(wrong).is_err(), "{wrong}");
        }
        assert!(parse_place(&format!("1.{}", "x".repeat(41))).is_err());
    }

    #[test]
    fn a_search_has_a_word() {
        assert_eq!(read_words("Why, x?").unwrap().text(), "why x");
        assert!(read_words("?!").is_err() && read_words(&"x ".repeat(101)).is_err());
    }
}
