//! Documents as rows: what an attendance sheet says of each student and what is written in a doubt thread, and the way back
//! from the log to all rows.

mod attendance;
mod doubt;

use super::races::retried;
use super::replica::hex_heads;
use super::{DocumentError, DocumentService};
use crate::store::{StoreError, WriteTx};
use attendance::Sheet;
use automerge::Automerge;
use doubt::Thread;
use serde::Serialize;
use std::collections::HashMap;
use sync_protocol::actor::Binding;
use sync_protocol::document_id::DocumentId;
use sync_protocol::kind::{Kind, Written};
use sync_protocol::link::DocumentRecord;

/// Documents that a rebuilding lists at a time.
const PAGE: u32 = 256;
/// The kinds of documents that have rows.
const PROJECTED: [Kind; 2] = [Kind::Attendance, Kind::Doubt];

/// Who wrote one of several concurrent marks, remarks or answers.
#[derive(Serialize)]
struct Writer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    mark: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remark: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    actor: &'a str,
    /// Absent for an actor of a time when nobody kept whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'a str>,
}

type Owners = HashMap<String, Binding>;

impl<'a> Writer<'a> {
    fn of(value: &'a Written, owners: &'a Owners) -> Self {
        let owner = owners.get(&value.actor);
        Self {
            mark: None,
            remark: None,
            text: None,
            actor: &value.actor,
            user: owner.map(|owner| owner.user.as_str()),
            device: owner.map(|owner| owner.device.as_str()),
        }
    }
}

/// Whose the document's actors are, by the actor in hex.
fn owners_of(tx: &WriteTx<'_>, document: DocumentId) -> Result<Owners, StoreError> {
    let bindings = tx.bindings(document)?.into_iter();
    Ok(bindings.map(|binding| (hex::encode(&*binding.actor), binding)).collect())
}

/// What a document says to the rows.
pub(super) enum Projection {
    Attendance(Sheet),
    Doubt(Thread),
}

impl Projection {
    /// None of a document of a kind that has no rows.
    pub(super) fn of(record: &DocumentRecord, doc: &Automerge) -> Option<Self> {
        match record.kind.parse() {
            Ok(Kind::Attendance) => Some(Self::Attendance(Sheet::of(record, doc))),
            Ok(Kind::Doubt) => Some(Self::Doubt(Thread::of(record, doc))),
            Ok(Kind::Notes | Kind::Planner | Kind::Private) | Err(_) => None,
        }
    }

    /// Makes the rows of the subject what the document says; how many were something else.
    pub(super) fn write(&self, tx: &mut WriteTx<'_>, record: &DocumentRecord) -> Result<usize, StoreError> {
        match self {
            Self::Attendance(sheet) => attendance::project(tx, record, sheet),
            Self::Doubt(thread) => thread.project(tx, record),
        }
    }
}

fn differ(values: &[Written]) -> bool {
    values.windows(2).any(|pair| pair[0].text != pair[1].text)
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts are always JSON")
}

/// What a rebuilding found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Rebuilt {
    pub(crate) documents: usize,
    /// Rows that were not what the log says.
    pub(crate) corrected: usize,
}

impl DocumentService {
    /// Projects every document of the institute anew from its log. Blocks. The origin may serve meanwhile.
    pub(crate) fn rebuild_projections(&self, institute: &str) -> Result<Rebuilt, DocumentError> {
        let mut rebuilt = Rebuilt::default();
        for kind in PROJECTED {
            self.rebuild_kind(institute, kind, &mut rebuilt)?;
        }
        // Rows that no document stands behind any more.
        let stray =
            self.store.write_blocking::<_, StoreError, _>(institute, |tx| tx.remove_stray_doubts())?;
        rebuilt.corrected += stray.value;
        Ok(rebuilt)
    }

    fn rebuild_kind(&self, institute: &str, kind: Kind, rebuilt: &mut Rebuilt) -> Result<(), DocumentError> {
        let mut after: Option<DocumentId> = None;
        loop {
            let page = self.store.read_blocking::<_, StoreError>(institute, |records| {
                records.documents_of_kind(kind.as_str(), after, PAGE)
            })?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.document);
            for record in page {
                rebuilt.corrected += self.rebuild(institute, &record)?;
                rebuilt.documents += 1;
            }
        }
    }

    fn rebuild(&self, institute: &str, record: &DocumentRecord) -> Result<usize, DocumentError> {
        retried(|| self.rebuild_once(institute, record))
    }

    fn rebuild_once(&self, institute: &str, record: &DocumentRecord) -> Result<usize, DocumentError> {
        let document = record.document;
        let replica = self.replicas.take(&self.store, institute, document)?;
        let (position, heads) = (replica.changes, hex_heads(&replica.doc));
        let (record, projection) = (record.clone(), Projection::of(record, &replica.doc));
        self.replicas.put(document, replica);
        let corrected = self.store.write_blocking::<_, DocumentError, _>(institute, move |tx| {
            // Nothing is appended; it fails when somebody else has, or has deleted the document.
            if !tx.append_changes(document, position, &[], &heads)? {
                return Err(DocumentError::Raced(document));
            }
            projection.map_or(Ok(0), |projection| Ok(projection.write(tx, &record)?))
        });
        Ok(corrected?.value)
    }
}
