//! Receipts: how far a change or a command has come, over restarts of the device too.

use crate::device::{Device, Event, Inner};
use crate::error::DeviceError;
use crate::outbox::CommandState;
use automerge::ChangeHash;
use std::collections::BTreeMap;
use std::time::Duration;
use sync_protocol::document_id::DocumentId;

/// How far a change or a command has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receipt {
    /// On this device's disk, and nowhere else for all that it knows.
    Local,
    /// On an edge's disk: it is safe when this device is lost.
    AtEdge,
    /// Committed at the origin: it counts, and everybody who may read it gets it.
    AtOrigin,
    /// Not taken; the code is stable and says why.
    Refused(String),
}

impl From<&CommandState> for Receipt {
    fn from(state: &CommandState) -> Self {
        match state {
            CommandState::Pending => Receipt::Local,
            CommandState::AtEdge => Receipt::AtEdge,
            CommandState::Committed { .. } => Receipt::AtOrigin,
            CommandState::Refused(problem) => Receipt::Refused(problem.code.clone()),
        }
    }
}

impl Device {
    /// How far a change has come; none for one that is not on this device.
    pub fn receipt(&self, document: DocumentId, change: ChangeHash) -> Result<Option<Receipt>, DeviceError> {
        Ok(self.inner.lock().replica(document)?.receipt(&change))
    }

    /// How far a command has come; none for a key that this device has not given.
    pub fn command_receipt(&self, key: &str) -> Result<Option<Receipt>, DeviceError> {
        Ok(self.command(key)?.as_ref().map(Receipt::from))
    }

    /// Changes of this document that were not taken, with the codes that say why. One that is accepted later leaves.
    pub fn refusals(&self, document: DocumentId) -> Result<BTreeMap<ChangeHash, String>, DeviceError> {
        Ok(self.inner.lock().replica(document)?.refused.clone())
    }

    /// The server has said that it has every change that is here; it says so only of what is on its disk.
    pub fn acknowledged(&self, document: DocumentId) -> Result<bool, DeviceError> {
        Ok(self.inner.lock().replica(document)?.is_acknowledged())
    }

    /// The origin has committed every change that is here.
    pub fn committed(&self, document: DocumentId) -> Result<bool, DeviceError> {
        Ok(self.inner.lock().replica(document)?.is_committed())
    }

    pub async fn wait_until_acknowledged(
        &self,
        document: DocumentId,
        deadline: Duration,
    ) -> Result<(), DeviceError> {
        let what = format!("the edge to acknowledge document {document}");
        self.wait_until_true(&what, deadline, |device| device.acknowledged(document)).await
    }

    pub async fn wait_until_committed(
        &self,
        document: DocumentId,
        deadline: Duration,
    ) -> Result<(), DeviceError> {
        let what = format!("the origin to commit document {document}");
        self.wait_until_true(&what, deadline, |device| device.committed(document)).await
    }

    async fn wait_until_true(
        &self,
        what: &str,
        deadline: Duration,
        holds: impl Fn(&Self) -> Result<bool, DeviceError>,
    ) -> Result<(), DeviceError> {
        self.wait_for(what, deadline, |device| match holds(device) {
            Ok(holds) => holds.then_some(Ok(())),
            Err(error) => Some(Err(error)),
        })
        .await?
    }
}

impl Inner {
    /// The edge did not take a change of this device.
    pub(crate) fn note_refusal(
        &self,
        document: DocumentId,
        change: ChangeHash,
        code: String,
    ) -> Result<(), DeviceError> {
        let mut state = self.lock();
        let replica = match state.replica(document) {
            Ok(replica) => replica,
            Err(DeviceError::UnknownDocument(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        if replica.refused.get(&change) == Some(&code) || replica.is_anothers(&change) {
            return Ok(());
        }
        replica.refused.insert(change, code.clone());
        if replica.stored {
            state.store.put_refusal(document, &change, &code)?;
        }
        drop(state);
        self.tell(Event::Refused { document, change, code });
        Ok(())
    }

    /// The origin has these heads of a document, as the edge says.
    pub(crate) fn note_committed(
        &self,
        document: DocumentId,
        heads: Vec<ChangeHash>,
    ) -> Result<(), DeviceError> {
        let mut state = self.lock();
        let replica = match state.replica(document) {
            Ok(replica) => replica,
            Err(DeviceError::UnknownDocument(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        if replica.committed_heads == heads {
            return Ok(());
        }
        replica.committed_heads.clone_from(&heads);
        let accepted = replica.forget_accepted();
        if replica.stored {
            state.store.put_committed_heads(document, &heads)?;
            state.store.remove_refusals(document, &accepted)?;
        }
        drop(state);
        self.tell(Event::Committed(document));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_edge::TestEdge;
    use automerge::ROOT;
    use automerge::transaction::Transactable as _;

    const SOON: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_change_is_local_then_at_the_edge_then_at_the_origin_and_a_restart_forgets_none_of_it() {
        let edge = TestEdge::start().await;
        edge.stop_origin();
        let folder = tempfile::tempdir().unwrap();
        let device = edge.device(&folder, "phone").offline().open();
        let document = device.create_private(|tx| tx.put(ROOT, "a", 1)).unwrap();
        let first = device.heads(document).unwrap()[0];
        assert_eq!(device.receipt(document, first).unwrap(), Some(Receipt::Local));
        assert_eq!(device.receipt(document, ChangeHash([7; 32])).unwrap(), None);

        device.go_online();
        device.wait_until_acknowledged(document, SOON).await.unwrap();
        assert_eq!(device.receipt(document, first).unwrap(), Some(Receipt::AtEdge));
        device.close().await;
        let device = edge.device(&folder, "phone").offline().open();
        assert_eq!(device.receipt(document, first).unwrap(), Some(Receipt::AtEdge));

        edge.start_origin();
        device.go_online();
        device.wait_until_committed(document, SOON).await.unwrap();
        device.close().await;
        let device = edge.device(&folder, "phone").offline().open();
        device.edit(document, |tx| tx.put(ROOT, "a", 2)).unwrap();
        let second = device.heads(document).unwrap()[0];
        assert_eq!(device.receipt(document, first).unwrap(), Some(Receipt::AtOrigin));
        assert_eq!(device.receipt(document, second).unwrap(), Some(Receipt::Local));
        assert!(!device.committed(document).unwrap());
    }

    #[tokio::test]
    async fn a_refusal_is_kept_over_a_restart_until_the_change_is_accepted() {
        let edge = TestEdge::start().await;
        let folder = tempfile::tempdir().unwrap();
        let device = edge.device(&folder, "phone").offline().open();
        let document = device.create_private(|tx| tx.put(ROOT, "a", 1)).unwrap();
        let change = device.heads(document).unwrap()[0];
        device.inner.note_refusal(document, change, "forbidden".into()).unwrap();
        device.close().await;
        let device = edge.device(&folder, "phone").offline().open();
        let refused = Receipt::Refused("forbidden".into());
        assert_eq!(device.receipt(document, change).unwrap(), Some(refused));

        device.go_online();
        device.wait_until_acknowledged(document, SOON).await.unwrap();
        device.close().await;
        let device = edge.device(&folder, "phone").offline().open();
        assert_eq!(device.refusals(document).unwrap(), BTreeMap::new());
    }

    #[test]
    fn a_commands_receipt_follows_its_state() {
        let problem = crate::Problem { status: 404, code: "not-found".into(), detail: String::new() };
        let committed = CommandState::Committed { outcome: serde_json::Value::Null, bookmark: None };
        let states = [CommandState::Pending, CommandState::AtEdge, committed, CommandState::Refused(problem)];
        let receipts: Vec<Receipt> = states.iter().map(Receipt::from).collect();
        let refused = Receipt::Refused("not-found".into());
        assert_eq!(receipts, [Receipt::Local, Receipt::AtEdge, Receipt::AtOrigin, refused]);
    }
}
