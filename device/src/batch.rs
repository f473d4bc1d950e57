//! Sync over `POST /sync/v1/batch`: many documents in one request, for a device that is awake for a few seconds.

use crate::device::{Device, Inner};
use crate::error::DeviceError;
use automerge::ChangeHash;
use automerge::sync::State as SyncState;
use std::collections::{BTreeSet, HashMap};
use sync_protocol::batch::{
    BatchMessage, BatchRequest, BatchResponse, BatchResult, CONTENT_TYPE, MAX_BATCH_BYTES, MAX_MESSAGES,
    Outcome,
};
use sync_protocol::document_id::DocumentId;
use sync_protocol::kind::DELETED;

/// Room in a request for the frames around the messages: an id, a priority and lengths for each.
const FRAME_BYTES: usize = 64;
/// Two requests bring any document in step, a third follows a false positive of the Bloom filters; more than this
/// many mean that others write faster than this device reads.
const MAX_REQUESTS: usize = 64;

/// What a batch sync did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchReport {
    pub requests: usize,
    /// Documents that are now equal to the edge's.
    pub in_step: BTreeSet<DocumentId>,
    /// Documents that the edge does not have for this user.
    pub unavailable: BTreeSet<DocumentId>,
    /// Documents that were deleted, and are gone from this device too.
    pub deleted: BTreeSet<DocumentId>,
    /// Documents whose changes the edge did not take, with the reason's code.
    pub refused: HashMap<DocumentId, String>,
}

/// The state of one batch sync, kept between its requests.
struct BatchSync<'a> {
    inner: &'a Inner,
    states: HashMap<DocumentId, SyncState>,
    /// Documents with something to say, those of high priority first.
    open: Vec<DocumentId>,
    report: BatchReport,
}

/// What was sent of a document: the state to go back to when it must be sent again, and the heads that were named.
struct Sent {
    before: SyncState,
    heads: Vec<ChangeHash>,
}

impl Device {
    /// Syncs all documents over the batch route until each is in step with the edge.
    pub async fn sync_batch(&self) -> Result<BatchReport, DeviceError> {
        let open = self.inner.lock().store.documents()?;
        let mut sync =
            BatchSync { inner: &self.inner, states: HashMap::new(), open, report: BatchReport::default() };
        while !sync.open.is_empty() && sync.report.requests < MAX_REQUESTS {
            sync.exchange().await?;
        }
        Ok(sync.report)
    }
}

impl BatchSync<'_> {
    async fn exchange(&mut self) -> Result<(), DeviceError> {
        let (request, sent) = self.fill()?;
        if request.messages.is_empty() {
            return Ok(());
        }
        let bytes = request.encode();
        let answer = self
            .inner
            .send(|http, base| {
                http.post(format!("{base}/sync/v1/batch"))
                    .header("content-type", CONTENT_TYPE)
                    .body(bytes.clone())
            })
            .await?;
        self.report.requests += 1;
        let response = BatchResponse::decode(&answer.bytes().await?)
            .map_err(|error| DeviceError::Protocol(error.to_string()))?;
        for result in response.results {
            self.settle(result, &sent)?;
        }
        Ok(())
    }

    /// Takes messages of the open documents, as many as fit; a document without one is in step.
    fn fill(&mut self) -> Result<(BatchRequest, HashMap<DocumentId, Sent>), DeviceError> {
        let mut request = BatchRequest { messages: Vec::new() };
        let mut sent = HashMap::new();
        let mut bytes = 0;
        let mut left = Vec::new();
        for document in std::mem::take(&mut self.open) {
            if request.messages.len() == MAX_MESSAGES {
                left.push(document);
                continue;
            }
            let mut state = self.inner.lock();
            let replica = state.replica(document)?;
            let sync = self.states.entry(document).or_insert_with(|| replica.sync_state());
            let before = sync.clone();
            let Some(data) = replica.generate(sync, MAX_BATCH_BYTES / 2) else {
                self.report.in_step.insert(document);
                continue;
            };
            if bytes + data.len() + FRAME_BYTES > MAX_BATCH_BYTES {
                *sync = before;
                if request.messages.is_empty() {
                    self.report.refused.insert(document, "body-too-large".into());
                } else {
                    left.push(document);
                }
                continue;
            }
            bytes += data.len() + FRAME_BYTES;
            sent.insert(document, Sent { before, heads: replica.doc.get_heads() });
            let priority = replica.priority;
            request.messages.push(BatchMessage { document, priority, data: data.into() });
        }
        self.open = left;
        Ok((request, sent))
    }

    fn settle(&mut self, result: BatchResult, sent: &HashMap<DocumentId, Sent>) -> Result<(), DeviceError> {
        let BatchResult { document, outcome, refused, committed } = result;
        let (Some(sent), Some(state)) = (sent.get(&document), self.states.get_mut(&document)) else {
            return Err(DeviceError::Protocol(format!(
                "an answer about {document}, which was not asked for"
            )));
        };
        for change in refused.into_iter().flatten() {
            self.inner.note_refusal(document, change.hash.into(), change.code)?;
        }
        let committed = committed.map(|heads| heads.into_iter().map(Into::into).collect());
        match outcome {
            Outcome::Synced(Some(data)) => {
                self.inner.receive(document, state, &data)?;
                self.open.push(document);
            }
            Outcome::Synced(None) => {
                self.inner.server_is_equal(document, &sent.heads)?;
                self.report.in_step.insert(document);
            }
            Outcome::Unavailable => {
                self.inner.set_unavailable(document);
                self.report.unavailable.insert(document);
            }
            Outcome::Refused(code) if code == DELETED => {
                self.states.remove(&document);
                self.inner.remove(document)?;
                self.report.deleted.insert(document);
            }
            Outcome::Refused(code) => {
                self.report.refused.insert(document, code);
            }
            Outcome::Later => {
                *state = sent.before.clone();
                self.open.push(document);
            }
        }
        // After what the answer brought: the heads may be of changes that came with it.
        if let Some(heads) = committed {
            self.inner.note_committed(document, heads)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_edge::TestEdge;
    use sync_protocol::kind::Kind;

    #[tokio::test]
    async fn two_devices_are_in_step_after_at_most_three_requests_each() {
        let edge = TestEdge::start().await;
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (one, two) = (edge.device(&one, "one").open(), edge.device(&two, "two").open());
        let mut sheets = Vec::new();
        for class in ["c1", "c2", "c3"] {
            sheets.push(one.register(Kind::Attendance, class).await.unwrap());
            two.register(Kind::Attendance, class).await.unwrap();
        }
        edge.refuse_sockets();
        for (at, sheet) in sheets.iter().enumerate() {
            one.mark_attendance(*sheet, "s1", "present").unwrap();
            two.mark_attendance(*sheet, &format!("s{}", at + 2), "late").unwrap();
        }
        for device in [&one, &two, &one] {
            let report = device.sync_batch().await.unwrap();
            assert!(report.requests <= 3, "{report:?}");
            assert_eq!(report.in_step.len(), 3, "{report:?}");
        }
        for sheet in sheets {
            assert_eq!(one.heads(sheet).unwrap(), two.heads(sheet).unwrap());
            assert!(one.acknowledged(sheet).unwrap() && two.acknowledged(sheet).unwrap());
        }
        assert_eq!(one.sync_batch().await.unwrap().requests, 1);
    }

    #[tokio::test]
    async fn more_documents_than_a_request_holds_go_in_several() {
        let edge = TestEdge::start().await;
        let folder = tempfile::tempdir().unwrap();
        let device = edge.device(&folder, "one").offline().open();
        let put = |tx: &mut automerge::transaction::Transaction<'_>| {
            automerge::transaction::Transactable::put(tx, automerge::ROOT, "a", 1)
        };
        for _ in 0..=MAX_MESSAGES {
            device.create_private(put).unwrap();
        }
        edge.refuse_sockets();
        device.go_online();
        let report = device.sync_batch().await.unwrap();
        assert_eq!(report.in_step.len(), MAX_MESSAGES + 1);
        assert!(report.requests >= 2, "{report:?}");
    }
}
