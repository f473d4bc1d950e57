//! Changes that were refused, here or at an edge: kept within bounds, shown to admins, and accepted or dropped by them.

use super::push::{self, Place, Work};
use super::races::retried;
use super::{DocumentError, DocumentService, Membership, ORIGIN, gate, succession};
use crate::clock::unix_ms;
use crate::store::{AuditEntry, QuarantineOutcome, QuarantineRow, StoreError, WriteTx};
use automerge::Automerge;
use serde::Serialize;
use serde_json::json;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use sync_protocol::actor::FOREIGN_ACTOR;
use sync_protocol::description::{self, Description};
use sync_protocol::document_id::DocumentId;
use sync_protocol::document_limits::DocumentLimits;
use sync_protocol::kind::versions::UNKNOWN_VERSION;
use sync_protocol::kind::{Access, DELETED};
use sync_protocol::link::{self, DocumentRecord, PushItem, Quarantined};
use sync_protocol::quarantine::{Usage, has_room};
use sync_protocol::rules;
use sync_protocol::token::Claims;
use utoipa::ToSchema;

/// Items that follow an accepted one at most; the others wait to be accepted themselves.
const MAX_FOLLOWERS: u32 = 1_000;
/// The code of a change that depends on one that is not there.
const MISSING_DEPENDENCY: &str = "missing-dependency";

/// Codes of what an edge refuses only because it knows less than the origin.
const DOUBTFUL: [&str; 2] = [FOREIGN_ACTOR, UNKNOWN_VERSION];

/// Keeps refused changes, as many as there is room for.
pub(super) fn keep<'a>(
    tx: &WriteTx<'_>,
    rows: impl Iterator<Item = &'a QuarantineRow>,
) -> Result<(), StoreError> {
    let mut devices: HashMap<&str, Usage> = HashMap::new();
    let mut institute = None;
    // Of a document that was deleted there is nothing to decide.
    for row in rows.filter(|row| row.code != DELETED) {
        let of_device = match devices.get_mut(row.device.as_str()) {
            Some(usage) => usage,
            None => {
                let (of_device, of_institute) = tx.quarantine_usage(&row.device)?;
                institute.get_or_insert(of_institute);
                devices.entry(&row.device).or_insert(of_device)
            }
        };
        let of_institute = institute.get_or_insert_default();
        if !has_room(*of_device, *of_institute, row.bytes.len()) {
            tracing::warn!(device = row.device, document = %row.document, "no room in quarantine");
            continue;
        }
        if tx.quarantine(row)? {
            of_device.add(row.bytes.len());
            of_institute.add(row.bytes.len());
        }
    }
    Ok(())
}

/// A refused change that nobody has settled.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QuarantinedItem {
    #[schema(value_type = String)]
    document: DocumentId,
    /// Of the change, in hex; with the document it names the item.
    hash: String,
    user: String,
    device: String,
    edge: String,
    code: String,
    bytes: u64,
    refused_at: i64,
}

impl QuarantinedItem {
    fn new(row: QuarantineRow, bytes: u64) -> Self {
        let QuarantineRow { document, hash, user, device, edge, code, refused_at, bytes: _ } = row;
        Self { document, hash: hex::encode(hash), user, device, edge, code, bytes, refused_at }
    }
}

/// One item with what it would do.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QuarantinedChange {
    #[serde(flatten)]
    item: QuarantinedItem,
    /// What the institute knows of the document; absent when it knows none.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    /// Absent for bytes that are no change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    change: Option<Description>,
}

/// What came of an acceptance.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Acceptance {
    /// Hashes of the changes that are now in the document: the accepted one, and those that had waited for it.
    accepted: Vec<String>,
}

impl DocumentService {
    /// Keeps what an edge has refused. When this returns, the edge need not say it again.
    ///
    /// Whose an actor is the edge may not know, which has met its device less often than others have, nor a version of the
    /// kind that is newer than it is itself: such a change is judged again here.
    pub(crate) async fn quarantine(
        &self,
        edge: &str,
        refused: link::Quarantine,
    ) -> Result<Quarantined, DocumentError> {
        let link::Quarantine { institute, log, items } = refused;
        let (doubtful, items): (Vec<_>, Vec<_>) =
            items.into_iter().partition(|item| DOUBTFUL.contains(&item.code.as_str()));
        let acknowledged = doubtful.iter().chain(&items).map(|item| item.sequence).max().unwrap_or(0);
        self.judge_again(edge, &institute, doubtful).await?;
        let edge = edge.to_owned();
        self.store
            .write(&institute, move |tx| {
                if tx.institute()?.is_none() {
                    return Ok(());
                }
                let rows: Vec<QuarantineRow> = items.into_iter().map(|item| row_of(item, &edge)).collect();
                let mut arrived = HashSet::new();
                for row in &rows {
                    let there = tx.changes_among(row.document, &[row.hash])?;
                    arrived.extend(there.into_iter().map(|hash| (row.document, hash)));
                }
                let mut deleted = HashSet::new();
                for document in rows.iter().map(|row| row.document).collect::<HashSet<_>>() {
                    if tx.is_deleted(document)? {
                        deleted.insert(document);
                    }
                }
                let lacks = |row: &&QuarantineRow| !arrived.contains(&(row.document, row.hash));
                keep(tx, rows.iter().filter(lacks).filter(|row| !deleted.contains(&row.document)))
            })
            .await
            .map_err(DocumentError::Store)?;
        Ok(Quarantined { institute, log, acknowledged })
    }

    async fn judge_again(
        &self,
        edge: &str,
        institute: &str,
        items: Vec<link::QuarantineItem>,
    ) -> Result<(), DocumentError> {
        if items.is_empty() {
            return Ok(());
        }
        let turn = self.turns.take(institute).await;
        let (service, edge, institute) = (self.clone(), edge.to_owned(), institute.to_owned());
        let judged = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let items: Vec<PushItem> = items.into_iter().map(push_item).collect();
            push::merge_items(&service.store, &service.replicas, &edge, (&institute, None), &items)
        });
        judged.await.unwrap_or(Err(DocumentError::Panicked)).map(drop)
    }

    /// One item, with what its change would do to the document as it is now.
    pub(crate) async fn quarantined_change(
        &self,
        institute: &str,
        document: DocumentId,
        hash: [u8; 32],
    ) -> Result<QuarantinedChange, DocumentError> {
        let (service, institute) = (self.clone(), institute.to_owned());
        let turn = self.turns.take(&institute).await;
        let described = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            service.describe_blocking(&institute, document, hash)
        });
        described.await.unwrap_or(Err(DocumentError::Panicked))
    }

    fn describe_blocking(
        &self,
        institute: &str,
        document: DocumentId,
        hash: [u8; 32],
    ) -> Result<QuarantinedChange, DocumentError> {
        let (row, record) = self.quarantined(institute, document, hash)?;
        let change = gate::decode(&row.bytes).ok();
        let description = match (&record, change) {
            (_, None) => None,
            (Some(_), Some(change)) => {
                let replica = self.replicas.take(&self.store, institute, document)?;
                let described = describe(&replica.doc, &change);
                self.replicas.put(document, replica);
                described
            }
            (None, Some(change)) => describe(&Automerge::new(), &change),
        };
        let (kind, subject) = record.map(|record| (record.kind, record.subject)).unzip();
        let bytes = row.bytes.len() as u64;
        Ok(QuarantinedChange { item: QuarantinedItem::new(row, bytes), kind, subject, change: description })
    }

    fn quarantined(
        &self,
        institute: &str,
        document: DocumentId,
        hash: [u8; 32],
    ) -> Result<(QuarantineRow, Option<DocumentRecord>), DocumentError> {
        let (row, record) = self.store.read_blocking::<_, StoreError>(institute, |records| {
            Ok((records.quarantined(document, &hash)?, records.document(document)?))
        })?;
        Ok((row.ok_or(DocumentError::NotQuarantined)?, record))
    }

    /// Drops an item: its bytes are forgotten, and it does not come back when its device offers it again.
    pub(crate) async fn drop_quarantined(
        &self,
        admin: &Claims,
        document: DocumentId,
        hash: [u8; 32],
    ) -> Result<(), DocumentError> {
        let (by, institute) = (admin.clone(), admin.inst.clone());
        let settled = self.store.write::<_, StoreError, _>(&institute, move |tx| {
            let outcome = QuarantineOutcome::Dropped;
            let found = tx.settle_quarantined(document, &hash, outcome, Some(&by.sub), unix_ms())?;
            if found {
                audit(tx, &by, "drop-quarantined", document, &[hash])?;
            }
            Ok(found)
        });
        if settled.await?.value { Ok(()) } else { Err(DocumentError::NotQuarantined) }
    }

    /// Merges a refused change under an admin's authority, and with it what had waited for it.
    pub(crate) async fn accept_quarantined(
        &self,
        admin: &Claims,
        document: DocumentId,
        hash: [u8; 32],
    ) -> Result<Acceptance, DocumentError> {
        let (service, admin) = (self.clone(), admin.clone());
        let turn = self.turns.take(&admin.inst).await;
        let accepted = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            retried(|| service.accept_blocking(&admin, document, hash))
        });
        accepted.await.unwrap_or(Err(DocumentError::Panicked))
    }

    fn accept_blocking(
        &self,
        admin: &Claims,
        document: DocumentId,
        hash: [u8; 32],
    ) -> Result<Acceptance, DocumentError> {
        let (row, record) = self.quarantined(&admin.inst, document, hash)?;
        let record = record.ok_or(DocumentError::NotAcceptable("unknown-document"))?;
        let now = unix_ms();
        let place =
            Place { store: &self.store, replicas: &self.replicas, institute: &admin.inst, edge: ORIGIN, now };
        let mut work = Work::open(place, record, false)?;
        let mut accepted = vec![row.hash];
        let limits = work.limits().with_reserve();
        admit(place, &mut work, limits, &row).map_err(DocumentError::NotAcceptable)?;
        let mut refused = Vec::new();
        push::apply(place, &mut work, &mut refused)?;
        if work.accepted.is_empty() {
            return Err(DocumentError::NotAcceptable("merge-refused"));
        }
        accepted.extend(self.follow(place, &mut work)?);
        let mut works = BTreeMap::from([(document, work)]);
        succession::carry_over(place, &mut works)?;
        let appends: Vec<push::Append> = works.values_mut().map(push::append).collect();
        let (by, settled) = (admin.clone(), accepted.clone());
        self.store.write_blocking::<_, DocumentError, _>(&admin.inst, move |tx| {
            for hash in &settled {
                let outcome = QuarantineOutcome::Accepted;
                if !tx.settle_quarantined(document, hash, outcome, Some(&by.sub), now)? {
                    return Err(DocumentError::NotQuarantined);
                }
            }
            push::commit(tx, &appends)?;
            Ok(audit(tx, &by, "accept-quarantined", document, &settled)?)
        })?;
        for (document, work) in works {
            self.replicas.put(document, work.replica);
        }
        tracing::info!(%document, admin = admin.sub, changes = accepted.len(), "quarantined changes accepted");
        Ok(Acceptance { accepted: accepted.iter().map(hex::encode).collect() })
    }

    /// Takes in what had waited for an accepted change, by the rights and rules that hold for everybody.
    fn follow(&self, place: Place<'_>, work: &mut Work) -> Result<Vec<[u8; 32]>, DocumentError> {
        let document = work.record.document;
        let mut waiting = self.store.read_blocking::<_, StoreError>(place.institute, |records| {
            let items = records.quarantine_of(document, MAX_FOLLOWERS)?.into_iter();
            let waits = items.filter(|row| row.code == MISSING_DEPENDENCY);
            let rows = waits.map(|row| records.quarantined(document, &row.hash));
            rows.filter_map(Result::transpose).collect::<Result<Vec<QuarantineRow>, _>>()
        })?;
        let mut followed = Vec::new();
        loop {
            let before = waiting.len();
            let mut left = Vec::new();
            for row in std::mem::take(&mut waiting) {
                match self.follows(place, work, &row)? {
                    true => followed.push(row.hash),
                    false => left.push(row),
                }
            }
            waiting = left;
            if waiting.len() == before {
                return Ok(followed);
            }
        }
    }

    /// Whether a change that waited goes in now.
    fn follows(&self, place: Place<'_>, work: &mut Work, row: &QuarantineRow) -> Result<bool, DocumentError> {
        let Ok(change) = gate::decode(&row.bytes) else { return Ok(false) };
        let member = self.store.read_blocking::<_, StoreError>(place.institute, |records| {
            Membership::load(records, &row.user)
        })?;
        let Some(member) = member.filter(|member| member.access(&work.record) == Access::Write) else {
            return Ok(false);
        };
        if !work.complete(&change) || push::judge(place, work, &change, &member.entry).is_err() {
            return Ok(false);
        }
        if admit(place, work, work.limits(), row).is_err() {
            return Ok(false);
        }
        let count = work.accepted.len();
        push::apply(place, work, &mut Vec::new())?;
        Ok(work.accepted.len() == count)
    }
}

/// Says in the audit log what an admin made of refused changes.
fn audit(
    tx: &WriteTx<'_>,
    by: &Claims,
    act: &'static str,
    document: DocumentId,
    hashes: &[[u8; 32]],
) -> Result<(), StoreError> {
    let hashes: Vec<String> = hashes.iter().map(hex::encode).collect();
    tx.add_audit(&AuditEntry {
        record: Some(document.to_string()),
        after: Some(json!({"changes": hashes}).to_string()),
        revision: tx.revision_after()?,
        ..AuditEntry::of_act(by, act, "document")
    })
}

/// Puts a quarantined change among the accepted ones of a document, within limits. The error is the code that speaks against it.
fn admit(
    place: Place<'_>,
    work: &mut Work,
    limits: DocumentLimits,
    row: &QuarantineRow,
) -> Result<(), &'static str> {
    let change = gate::decode(&row.bytes)?;
    // A forged migration would keep out the true one, here and on every device.
    rules::check_version(u32::MAX, &work.record, &change)?;
    if work.holds(&change.hash()) {
        return Err("already-there");
    }
    work.check_size(limits, &change)?;
    let (document, user, device) = (row.document, row.user.clone(), row.device.clone());
    let item =
        PushItem { sequence: 0, document, user, device, bytes: row.bytes.clone().into(), logged_at: 0 };
    work.admit(&item, change, place)
}

/// None for a change that the library cannot take apart.
fn describe(doc: &Automerge, change: &automerge::Change) -> Option<Description> {
    catch_unwind(AssertUnwindSafe(|| description::describe(doc, change))).ok()
}

fn push_item(item: link::QuarantineItem) -> PushItem {
    let link::QuarantineItem { sequence, document, user, device, code: _, refused_at, bytes } = item;
    PushItem { sequence, document, user, device, bytes, logged_at: refused_at }
}

fn row_of(item: link::QuarantineItem, edge: &str) -> QuarantineRow {
    let link::QuarantineItem { document, user, device, code, refused_at, bytes, sequence: _ } = item;
    let hash = gate::hash_of(&bytes);
    let refused_at = i64::try_from(refused_at).unwrap_or(i64::MAX);
    QuarantineRow {
        document,
        hash,
        user,
        device,
        edge: edge.to_owned(),
        code,
        bytes: bytes.into(),
        refused_at,
    }
}
