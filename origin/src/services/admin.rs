//! What an institute's admins read and write: pages of its collections, single records, search, and commands on records.
//!
//! Rights are those that the store knows now: somebody who was an admin when the token was made and is none any more
//! sees nothing.

mod messages;
pub(crate) mod orders;
mod query;
mod queues;
pub(crate) mod shapes;
pub(crate) mod tables;
#[cfg(test)]
mod tests;

pub(crate) use crate::store::collections;
pub(crate) use queues::Settling;

use super::auth::account_of;
use super::commands::{CommandFault, CommandService, Order, Receipt};
use super::import::ImportError;
use super::records::{self, Subject};
use crate::clock::unix_ms;
use crate::store::{Records, Store, StoreError};
use collections::Collection;
use collections::Selection;
use query::PageQuery;
use serde_json::Value;
use shapes::{EdgeLog, EdgeRecord, Hit};
use std::collections::BTreeMap;
use std::sync::Arc;
use sync_protocol::bookmark::Bookmark;
use sync_protocol::command::Command;
use sync_protocol::token::{Claims, Role, TokenError};
use tables::Imports;

/// Most people and most other records that one search finds.
const MAX_HITS: u32 = 20;
/// Most logs of edges that are told: an edge that lost its store begins a new one.
const MAX_EDGE_LOGS: u32 = 1_000;
/// Longest search, in characters.
const MAX_SEARCH_CHARS: usize = 100;

#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    #[error("this is for an admin of the institute")]
    NotAdmin,
    #[error("there is no such {0}")]
    NotFound(&'static str),
    #[error("{field} {problem}")]
    Field { field: String, problem: String },
    /// The reader has seen a later state than this store holds.
    #[error("this origin is at {current}, the reader has seen {seen}")]
    Behind { current: Bookmark, seen: Bookmark },
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error("a table could not be written: {0}")]
    Csv(csv::Error),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Command(#[from] CommandFault),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AdminError {
    fn field(field: &str, problem: impl Into<String>) -> Self {
        Self::Field { field: field.to_owned(), problem: problem.into() }
    }

    fn csv(error: csv::Error) -> Self {
        Self::Csv(error)
    }
}

/// One page of a collection.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) items: Vec<Value>,
    /// Where the next page begins; absent after the last one.
    pub(crate) next: Option<String>,
    pub(crate) bookmark: Bookmark,
}

/// One record.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) record: Value,
    pub(crate) entity_tag: String,
    pub(crate) bookmark: Bookmark,
}

#[derive(Clone)]
pub(crate) struct AdminService {
    store: Store,
    commands: CommandService,
    imports: Arc<Imports>,
}

impl AdminService {
    pub(crate) fn new(store: Store, commands: CommandService) -> Self {
        Self { store, commands, imports: Arc::default() }
    }

    /// One page of a collection; `query` has the names and values of the URL's.
    pub(crate) async fn list(
        &self,
        claims: &Claims,
        collection: &'static Collection,
        query: Vec<(String, String)>,
        seen: Option<Bookmark>,
    ) -> Result<Page, AdminError> {
        let query = PageQuery::read(collection, query)?;
        let read = move |records: &dyn Records, bookmark| page(records, collection, &query, bookmark);
        self.read_as_admin(claims, seen, read).await
    }

    /// One record.
    pub(crate) async fn read(
        &self,
        claims: &Claims,
        collection: &'static Collection,
        key: Vec<String>,
        seen: Option<Bookmark>,
    ) -> Result<Found, AdminError> {
        let read = move |records: &dyn Records, bookmark| found(records, collection, key, bookmark);
        self.read_as_admin(claims, seen, read).await
    }

    /// The edges that have written for the institute or are connected to this process, in order of name.
    pub(crate) async fn edges(
        &self,
        claims: &Claims,
        connected: Vec<String>,
        seen: Option<Bookmark>,
    ) -> Result<(Vec<EdgeRecord>, Bookmark), AdminError> {
        self.read_as_admin(claims, seen, move |records, bookmark| {
            let sort = &collections::EDGE_LOGS.sorts[0];
            let selection =
                Selection { filters: Vec::new(), sort, descending: false, after: None, limit: MAX_EDGE_LOGS };
            let time = records::local_time(records)?;
            let mut edges: BTreeMap<String, EdgeRecord> = BTreeMap::new();
            let new = |edge: &str| EdgeRecord { edge: edge.to_owned(), connected: false, logs: Vec::new() };
            for row in records.select(&collections::EDGE_LOGS, &selection)? {
                let log = records::to_json(&collections::EDGE_LOGS, row, &time, false)?;
                let edge = log["edge"].as_str().unwrap_or_default();
                edges.entry(edge.to_owned()).or_insert_with(|| new(edge)).logs.push(EdgeLog {
                    log: log["log"].as_str().unwrap_or_default().to_owned(),
                    acknowledged: log["acknowledged"].as_u64().unwrap_or_default(),
                });
            }
            for edge in connected {
                edges.entry(edge.clone()).or_insert_with(|| new(&edge)).connected = true;
            }
            Ok((edges.into_values().collect(), bookmark))
        })
        .await
    }

    /// The institute itself.
    pub(crate) async fn institute(
        &self,
        claims: &Claims,
        seen: Option<Bookmark>,
    ) -> Result<Found, AdminError> {
        let key = vec![claims.inst.clone()];
        self.read(claims, &collections::INSTITUTES, key, seen).await
    }

    /// People by name, address or id, and batches and assignments by title or id.
    pub(crate) async fn search(
        &self,
        claims: &Claims,
        query: Vec<(String, String)>,
        seen: Option<Bookmark>,
    ) -> Result<(Vec<Hit>, Bookmark), AdminError> {
        let [(name, text)] = query.as_slice() else {
            return Err(AdminError::field("q", "is to be the one parameter"));
        };
        if name != "q" {
            return Err(AdminError::field("q", "is missing"));
        }
        let text = text.trim().to_lowercase();
        if text.is_empty() || text.chars().count() > MAX_SEARCH_CHARS || text.contains('\0') {
            return Err(AdminError::field("q", format!("has not 1 to {MAX_SEARCH_CHARS} characters")));
        }
        self.read_as_admin(claims, seen, move |records, bookmark| {
            let words: Vec<String> = text
                .split(|c: char| !c.is_alphanumeric())
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect();
            let people = records.search_people(&words, &text, MAX_HITS)?;
            let people = people.into_iter().map(|[id, name, email, role]| Hit {
                kind: "user".to_owned(),
                id,
                title: name,
                detail: format!("{email}, {role}"),
            });
            let titles = records.search_titles(&text, MAX_HITS)?;
            let titles =
                titles.into_iter().map(|[kind, id, title, batch]| Hit { kind, id, title, detail: batch });
            Ok((people.chain(titles).collect(), bookmark))
        })
        .await
    }

    /// Applies a command on a record. Without a key it cannot be repeated safely.
    pub(crate) async fn apply(
        &self,
        claims: &Claims,
        command: Command,
        key: Option<String>,
        if_match: Option<String>,
    ) -> Result<Receipt, AdminError> {
        if claims.role != Role::Admin {
            return Err(AdminError::NotAdmin);
        }
        command.validate().map_err(CommandFault::from)?;
        let now = unix_ms();
        let key = key.unwrap_or_else(|| format!("once-{}", uuid::Uuid::now_v7()));
        let order = Order { key, command, if_match, at: now, now };
        Ok(self.commands.apply(claims, order).await?)
    }

    /// Grades a work that is named by its own id.
    pub(crate) async fn grade(
        &self,
        claims: &Claims,
        submission: String,
        (score, feedback): (f64, Option<String>),
        key: Option<String>,
        if_match: Option<String>,
    ) -> Result<Receipt, AdminError> {
        require_admin(claims)?;
        // Where the command will find it: a replica may not have it yet.
        let reader = claims.clone();
        let work = self.store.read(&claims.inst, move |records| {
            let bookmark = admit(records, &reader, None)?;
            found(records, &collections::SUBMISSIONS, vec![submission], bookmark)
        });
        let work = work.await?;
        let text = |name: &str| work.record[name].as_str().unwrap_or_default().to_owned();
        let command = Command::GradeSubmission {
            assignment: text("assignment"),
            student: text("student"),
            score,
            feedback,
        };
        self.apply(claims, command, key, if_match).await
    }

    /// Refuses whoever is no admin of the claims' institute now, and a token that was revoked.
    pub(crate) async fn admit(&self, claims: &Claims) -> Result<(), AdminError> {
        self.read_as_admin(claims, None, |_, _| Ok(())).await
    }

    /// Reads in one transaction for an admin of the claims' institute.
    pub(crate) async fn read_as_admin<T: Send + 'static>(
        &self,
        claims: &Claims,
        seen: Option<Bookmark>,
        work: impl FnOnce(&dyn Records, Bookmark) -> Result<T, AdminError> + Send + 'static,
    ) -> Result<T, AdminError> {
        require_admin(claims)?;
        let claims = claims.clone();
        let institute = claims.inst.clone();
        self.store
            .read_after(&institute, seen, move |records| {
                let current = admit(records, &claims, seen)?;
                work(records, current)
            })
            .await
    }
}

/// What the token says costs no transaction; [`admit`] asks the store.
fn require_admin(claims: &Claims) -> Result<(), AdminError> {
    if claims.role == Role::Admin { Ok(()) } else { Err(AdminError::NotAdmin) }
}

/// Where the transaction is, for an active admin of the claims' institute whose token counts.
fn admit(records: &dyn Records, claims: &Claims, seen: Option<Bookmark>) -> Result<Bookmark, AdminError> {
    let account = account_of::<AdminError>(records, claims)?.ok_or(AdminError::NotAdmin)?;
    if account.role != Role::Admin {
        return Err(AdminError::NotAdmin);
    }
    let current = Bookmark::new(records.epoch(), records.revision()?);
    if let Some(seen) = seen.filter(|seen| *seen > current) {
        return Err(AdminError::Behind { current, seen });
    }
    Ok(current)
}

fn page(
    records: &dyn Records,
    collection: &'static Collection,
    query: &PageQuery,
    bookmark: Bookmark,
) -> Result<Page, AdminError> {
    let time = records::local_time(records)?;
    let mut selection = query.selection()?;
    // One more shows whether there is a next page.
    selection.limit += 1;
    let mut rows = records.select(collection, &selection)?;
    let next = (rows.len() > query.limit()).then(|| {
        rows.truncate(query.limit());
        rows.last().map(|row| query.cursor(row))
    });
    let items = rows.into_iter().map(|row| records::to_json(collection, row, &time, false));
    Ok(Page { items: items.collect::<Result<_, _>>()?, next: next.flatten(), bookmark })
}

fn found(
    records: &dyn Records,
    collection: &'static Collection,
    key: Vec<String>,
    bookmark: Bookmark,
) -> Result<Found, AdminError> {
    // No id has such a character, and Postgres takes none.
    let sound = key.iter().all(|part| !part.contains('\0'));
    let subject = Subject::of(collection, Some(key));
    let state = if sound { subject.state(records)? } else { None };
    let record = state.ok_or(AdminError::NotFound(collection.record))?;
    Ok(Found { entity_tag: records::entity_tag(&record), record, bookmark })
}

/// A moment that a query names, in milliseconds since the Unix epoch.
fn read_moment(field: &str, text: &str) -> Result<i64, AdminError> {
    let moment: Result<jiff::Timestamp, _> = text.parse();
    let moment = moment.map_err(|_| AdminError::field(field, "is not an RFC 3339 time with an offset"))?;
    Ok(moment.as_millisecond().max(0))
}
