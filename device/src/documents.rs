//! Documents on the device: opening, editing and reading them, with or without a network.

use crate::clock::unix_seconds;
use crate::device::{Device, Event, Inner, State};
use crate::error::DeviceError;
use crate::replica::Replica;
use crate::store::NewDocument;
use automerge::sync::{Message, State as SyncState};
use automerge::transaction::{CommitOptions, Transactable as _, Transaction};
use automerge::{ActorId, Automerge, AutomergeError, ChangeHash, ObjId, PatchLog, ROOT, ReadDoc as _};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;
use sync_protocol::actor;
use sync_protocol::batch::Priority;
use sync_protocol::document_id::DocumentId;
use sync_protocol::document_limits::MAX_CHANGE_BYTES;
use sync_protocol::kind::{self, Kind, MARKS, MAX_REMARK_BYTES, SUCCESSOR, versions};

/// A student whose mark was written differently by several devices at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    pub student: String,
    /// The mark that every replica shows.
    pub shown: String,
    /// All marks that were written, in alphabetical order.
    pub marks: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Registered {
    document_id: DocumentId,
}

impl Device {
    /// The id of the document of `kind` about `subject`. Asks the edge once; after that the device knows, and the
    /// document can be opened and edited without a network.
    ///
    /// Where the document says that its history was cut, the edge is asked again, and the answer is what continues it. Without a
    /// network it stays the old one: what is written there is carried over.
    pub async fn register(&self, kind: Kind, subject: &str) -> Result<DocumentId, DeviceError> {
        let known = self.inner.lock().store.find_document(kind.as_str(), subject)?;
        if let Some(document) = known
            && self.successor(document)?.is_none()
        {
            return Ok(document);
        }
        let body = serde_json::json!({"kind": kind.as_str(), "subject": subject});
        let answer =
            self.inner.send(|http, base| http.post(format!("{base}/api/documents")).json(&body)).await;
        let answer = match (answer, known) {
            (Err(DeviceError::Offline | DeviceError::Network(_)), Some(document)) => return Ok(document),
            (answer, _) => answer?,
        };
        let registered: Registered =
            answer.json().await.map_err(|error| DeviceError::Protocol(error.to_string()))?;
        self.inner.add_registered(kind, subject, registered.document_id)?;
        Ok(registered.document_id)
    }

    /// The document that continues this one, whose history was cut, as the document itself says: whoever may write it may have
    /// written so. Of a registered document [`Device::register`] gives the true one.
    pub fn successor(&self, document: DocumentId) -> Result<Option<DocumentId>, DeviceError> {
        let mut state = self.inner.lock();
        let named = state.replica(document)?.doc.get(ROOT, SUCCESSOR)?;
        let url = named.as_ref().and_then(|(value, _)| value.as_str());
        Ok(url.and_then(|url| url.strip_prefix("automerge:")?.parse().ok()))
    }

    /// Makes a document of this user's own. Others of the user's devices find it by its id.
    pub fn create_private<F>(&self, content: F) -> Result<DocumentId, DeviceError>
    where
        F: FnOnce(&mut Transaction<'_>) -> Result<(), AutomergeError>,
    {
        let document = DocumentId::from_bytes(*uuid::Uuid::new_v4().as_bytes());
        self.inner.lock().replicas.insert(document, Replica::wanted(self.inner.actor(), Priority::Normal));
        let made = self.edit(document, content);
        if made.is_err() {
            self.inner.lock().replicas.remove(&document);
        }
        made.map(|()| document)
    }

    /// Gets a document by its id: from the store when it is there, else from the edge.
    ///
    /// [`DeviceError::Unavailable`] when the edge says that it has no such document for this user. That is not final;
    /// a later call asks again.
    pub async fn find(&self, document: DocumentId, deadline: Duration) -> Result<(), DeviceError> {
        if self.inner.want(document)? {
            return Ok(());
        }
        let what = format!("document {document}");
        let found = self.wait_for(&what, deadline, |device| {
            let state = device.inner.lock();
            let replica = state.replicas.get(&document)?;
            if !replica.is_empty() {
                return Some(Ok(()));
            }
            replica.unavailable.then_some(Err(DeviceError::Unavailable(document)))
        });
        found.await?
    }

    /// The documents on this device, those of high priority first.
    pub fn documents(&self) -> Result<Vec<DocumentId>, DeviceError> {
        self.inner.lock().store.documents()
    }

    /// Documents of higher priority sync first.
    pub fn set_priority(&self, document: DocumentId, priority: Priority) -> Result<(), DeviceError> {
        let mut state = self.inner.lock();
        state.replica(document)?.priority = priority;
        state.store.put_priority(document, priority)
    }

    /// Edits a document. The edit is on disk when this returns, and on its way to the edge when there is one.
    pub fn edit<T, F>(&self, document: DocumentId, change: F) -> Result<T, DeviceError>
    where
        F: FnOnce(&mut Transaction<'_>) -> Result<T, AutomergeError>,
    {
        self.inner.edit(document, None, change).map(|(value, _)| value)
    }

    /// Edits a document as it was at `heads`, as if nothing else had arrived since, and gives the hash of the change
    /// on which to go on; none when nothing was changed.
    pub fn edit_at<F>(
        &self,
        document: DocumentId,
        heads: &[ChangeHash],
        change: F,
    ) -> Result<Option<ChangeHash>, DeviceError>
    where
        F: FnOnce(&mut Transaction<'_>) -> Result<(), AutomergeError>,
    {
        self.inner.edit(document, Some(heads), change).map(|((), made)| made)
    }

    /// Reads a document.
    pub fn read<T>(
        &self,
        document: DocumentId,
        look: impl FnOnce(&Automerge) -> T,
    ) -> Result<T, DeviceError> {
        let mut state = self.inner.lock();
        Ok(look(&state.replica(document)?.doc))
    }

    pub fn heads(&self, document: DocumentId) -> Result<Vec<ChangeHash>, DeviceError> {
        self.read(document, Automerge::get_heads)
    }

    /// Marks a student on an attendance sheet.
    pub fn mark_attendance(&self, sheet: DocumentId, student: &str, mark: &str) -> Result<(), DeviceError> {
        if !MARKS.contains(&mark) {
            return Err(DeviceError::NotAMark(mark.to_owned()));
        }
        let marks = self.field(sheet, "marks")?;
        self.edit(sheet, |tx| tx.put(&marks, student, mark))
    }

    /// The marks of an attendance sheet by student id.
    pub fn marks(&self, sheet: DocumentId) -> Result<BTreeMap<String, String>, DeviceError> {
        let marks = self.read(sheet, kind::attendance_marks)?;
        Ok(marks.into_iter().map(|(student, mark)| (student, mark.mark)).collect())
    }

    /// Notes something beside a student's mark, at most 500 bytes; an empty text removes it. A sheet of version 1 becomes one of
    /// version 2 for it, online or not.
    pub fn remark(&self, sheet: DocumentId, student: &str, text: &str) -> Result<(), DeviceError> {
        if text.len() > MAX_REMARK_BYTES {
            return Err(DeviceError::LongRemark(text.len()));
        }
        self.inner.migrate(sheet, Kind::Attendance)?;
        let remarks = self.read(sheet, |doc| versions::container(doc, sheet, "remarks"))?;
        let remarks = remarks.ok_or_else(|| DeviceError::NoSuchField("remarks".to_owned()))?;
        self.edit(sheet, |tx| match text {
            "" => tx.delete(&remarks, student),
            text => tx.put(&remarks, student, text),
        })
    }

    /// The remarks of an attendance sheet by student id.
    pub fn remarks(&self, sheet: DocumentId) -> Result<BTreeMap<String, String>, DeviceError> {
        let remarks = self.read(sheet, |doc| kind::attendance_remarks(doc, sheet))?;
        Ok(remarks.into_iter().map(|(student, remark)| (student, remark.text)).collect())
    }

    /// The version of a registered document; none of one that has not come yet, or is private.
    pub fn version(&self, document: DocumentId) -> Result<Option<u32>, DeviceError> {
        self.read(document, |doc| versions::version(doc, document))
    }

    /// The students of an attendance sheet whom several devices marked differently at once.
    pub fn conflicts(&self, sheet: DocumentId) -> Result<Vec<Conflict>, DeviceError> {
        let marks = self.read(sheet, kind::attendance_marks)?;
        let conflict = |(student, mark): (String, kind::AttendanceMark)| {
            let mut marks: Vec<String> = mark.values.into_iter().map(|value| value.text).collect();
            marks.sort_unstable();
            marks.dedup();
            (marks.len() > 1).then_some(Conflict { student, shown: mark.mark, marks })
        };
        Ok(marks.into_iter().filter_map(conflict).collect())
    }

    /// Replaces `deleted` characters at `position` of a text field with `inserted`.
    pub fn splice_text(
        &self,
        document: DocumentId,
        field: &str,
        position: usize,
        deleted: isize,
        inserted: &str,
    ) -> Result<(), DeviceError> {
        let text = self.field(document, field)?;
        self.edit(document, |tx| tx.splice_text(&text, position, deleted, inserted))
    }

    pub fn text(&self, document: DocumentId, field: &str) -> Result<String, DeviceError> {
        let text = self.field(document, field)?;
        Ok(self.read(document, |doc| doc.text(&text))??)
    }

    /// The object that stands in a field of the document's root.
    pub fn field(&self, document: DocumentId, field: &str) -> Result<ObjId, DeviceError> {
        let object = |doc: &Automerge| {
            let found = doc.get(ROOT, field).ok().flatten();
            found.filter(|(value, _)| value.is_object()).map(|(_, id)| id)
        };
        self.read(document, object)?.ok_or_else(|| DeviceError::NoSuchField(field.to_owned()))
    }

    /// The edge has said that it has no such document for this user, and nothing else since.
    pub fn is_unavailable(&self, document: DocumentId) -> Result<bool, DeviceError> {
        Ok(self.inner.lock().replica(document)?.unavailable)
    }
}

impl State {
    /// The document, loaded from the store if need be.
    pub(crate) fn replica(&mut self, document: DocumentId) -> Result<&mut Replica, DeviceError> {
        if !self.replicas.contains_key(&document) {
            let stored = self.store.load_document(document)?.ok_or(DeviceError::UnknownDocument(document))?;
            self.replicas.insert(document, Replica::load(stored)?);
        }
        self.replicas.get_mut(&document).ok_or(DeviceError::UnknownDocument(document))
    }

    /// Stores what came to a replica in memory. When that fails, memory has more than the disk: the replica is
    /// forgotten, so that the next use loads what is really there and nobody is told of more.
    fn persist(&mut self, document: DocumentId, changes: &[u8]) -> Result<(), DeviceError> {
        let written = self.write(document, changes);
        if written.is_err() {
            self.replicas.remove(&document);
        }
        written
    }

    /// Writes down what the server is now known to have, and which refused changes it has taken after all.
    fn note_server_heads(&mut self, document: DocumentId, before: &[ChangeHash]) -> Result<(), DeviceError> {
        let replica = self.replica(document)?;
        let (stored, heads, accepted) =
            (replica.stored, replica.server_heads.clone(), replica.forget_accepted());
        if stored && heads != before {
            self.store.put_server_heads(document, &heads)?;
        }
        if stored {
            self.store.remove_refusals(document, &accepted)?;
        }
        Ok(())
    }

    fn write(&mut self, document: DocumentId, changes: &[u8]) -> Result<(), DeviceError> {
        let replica = self.replicas.get_mut(&document).ok_or(DeviceError::UnknownDocument(document))?;
        if !replica.stored {
            self.store.add_document(&NewDocument {
                document,
                registered: None,
                priority: replica.priority,
                actor: replica.doc.get_actor(),
                snapshot: &replica.doc.save(),
            })?;
            replica.stored = true;
            return Ok(());
        }
        if self.store.append_changes(document, changes)? {
            self.store.put_snapshot(document, &replica.doc.save())?;
        }
        Ok(())
    }
}

impl Inner {
    fn edit<T, F>(
        &self,
        document: DocumentId,
        heads: Option<&[ChangeHash]>,
        change: F,
    ) -> Result<(T, Option<ChangeHash>), DeviceError>
    where
        F: FnOnce(&mut Transaction<'_>) -> Result<T, AutomergeError>,
    {
        let mut state = self.lock();
        let doc = &mut state.replica(document)?.doc;
        let before = doc.get_heads();
        let mut tx = match heads {
            Some(heads) => transaction_at(doc, heads)?,
            None => doc.transaction(),
        };
        let value = match change(&mut tx) {
            Ok(value) => value,
            Err(error) => {
                tx.rollback();
                return Err(error.into());
            }
        };
        let made = tx.commit_with(CommitOptions::default().with_time(unix_seconds())).0;
        if let Some(hash) = made {
            let bytes = doc.get_change_by_hash(&hash).map_or(0, |change| change.raw_bytes().len());
            if bytes > MAX_CHANGE_BYTES {
                // No server takes it, nor anything that is written after it: it is undone while nobody has seen it.
                state.replicas.remove(&document);
                return Err(DeviceError::LargeChange(bytes));
            }
            let changes = state.replica(document)?.doc.save_after(&before);
            state.persist(document, &changes)?;
            state.touched.insert(document);
            drop(state);
            self.touched.notify_one();
            self.changed();
        }
        Ok((value, made))
    }

    /// Brings a document to the newest version that this build knows of its kind, if it has an older one.
    ///
    /// Only what needs the version asks for it: a device may be newer than the edges that it meets.
    fn migrate(&self, document: DocumentId, kind: Kind) -> Result<(), DeviceError> {
        let mut state = self.lock();
        let doc = &mut state.replica(document)?.doc;
        let migrations = versions::migrate(doc, kind, document);
        if migrations.is_empty() {
            return Ok(());
        }
        let before = doc.get_heads();
        doc.apply_changes(migrations)?;
        let changes = doc.save_after(&before);
        state.persist(document, &changes)?;
        state.touched.insert(document);
        drop(state);
        self.touched.notify_one();
        self.changed();
        Ok(())
    }

    /// A new actor of this device, which every edge knows to be its own.
    fn actor(&self) -> ActorId {
        let random = *uuid::Uuid::new_v4().as_bytes();
        let mut unique = [0; 8];
        // The other half has the bits that make it a UUID.
        unique.copy_from_slice(&random[8..]);
        unique[0] = random[0];
        actor::registered(&self.device, unique)
    }

    /// Takes a registered document up, with the first change that every replica makes alike.
    fn add_registered(&self, kind: Kind, subject: &str, document: DocumentId) -> Result<(), DeviceError> {
        let mut state = self.lock();
        if state.replica(document).is_ok_and(|replica| replica.stored) {
            return state.store.name_document(document, kind.as_str(), subject);
        }
        let snapshot = kind::genesis(kind, document)
            .ok_or_else(|| DeviceError::Protocol(format!("a document of kind {kind} is not registered")))?;
        // A sheet is what a teacher opens the app for, and it is small.
        let priority = if kind == Kind::Attendance { Priority::High } else { Priority::Normal };
        state.store.add_document(&NewDocument {
            document,
            registered: Some((kind.as_str(), subject)),
            priority,
            actor: &self.actor(),
            snapshot: &snapshot,
        })?;
        state.replicas.remove(&document);
        state.touched.insert(document);
        drop(state);
        self.touched.notify_one();
        self.changed();
        Ok(())
    }

    /// Whether the document is here; if not, it is asked for.
    fn want(&self, document: DocumentId) -> Result<bool, DeviceError> {
        let mut state = self.lock();
        match state.replica(document) {
            Ok(replica) if !replica.is_empty() => return Ok(true),
            Ok(replica) => replica.unavailable = false,
            Err(DeviceError::UnknownDocument(_)) => {
                state.replicas.insert(document, Replica::wanted(self.actor(), Priority::High));
            }
            Err(error) => return Err(error),
        }
        state.touched.insert(document);
        drop(state);
        self.touched.notify_one();
        Ok(false)
    }

    /// Applies a sync message of the server. What it brought is on disk when this returns.
    pub(crate) fn receive(
        &self,
        document: DocumentId,
        sync: &mut SyncState,
        data: &[u8],
    ) -> Result<(), DeviceError> {
        let message = Message::decode(data).map_err(|error| DeviceError::Protocol(error.to_string()))?;
        let mut state = self.lock();
        let replica = state.replica(document)?;
        let known = replica.server_heads.clone();
        let received = replica.receive(sync, message);
        let changes = match received {
            Ok(changes) => changes,
            Err(error) => {
                state.replicas.remove(&document);
                return Err(error);
            }
        };
        if let Some(changes) = &changes {
            replica.unavailable = false;
            state.persist(document, changes)?;
        }
        state.note_server_heads(document, &known)?;
        drop(state);
        if changes.is_some() {
            self.tell(Event::RemoteChange(document));
        } else {
            self.changed();
        }
        Ok(())
    }

    /// The server is equal to this replica, as the batch route says without a message.
    pub(crate) fn server_is_equal(
        &self,
        document: DocumentId,
        heads: &[ChangeHash],
    ) -> Result<(), DeviceError> {
        let mut state = self.lock();
        let replica = state.replica(document)?;
        let known = replica.server_heads.clone();
        replica.server_has(heads);
        state.note_server_heads(document, &known)?;
        drop(state);
        self.changed();
        Ok(())
    }

    /// The origin has deleted the document: the copy here goes too.
    pub(crate) fn remove(&self, document: DocumentId) -> Result<(), DeviceError> {
        let mut state = self.lock();
        let known = state.replicas.remove(&document).is_some();
        let stored = state.store.load_document(document)?.is_some();
        state.store.remove_document(document)?;
        state.touched.remove(&document);
        if known || stored {
            // Before anybody can find it gone.
            self.tell(Event::Deleted(document));
        }
        drop(state);
        Ok(())
    }

    pub(crate) fn set_unavailable(&self, document: DocumentId) {
        if let Ok(replica) = self.lock().replica(document) {
            replica.unavailable = true;
        }
        self.changed();
    }
}

fn transaction_at<'a>(
    doc: &'a mut Automerge,
    heads: &[ChangeHash],
) -> Result<Transaction<'a>, AutomergeError> {
    if let Some(missing) = heads.iter().find(|hash| doc.get_change_meta_by_hash(hash).is_none()) {
        return Err(AutomergeError::MissingHash(*missing));
    }
    let now = doc.get_heads();
    if now.len() == heads.len() && heads.iter().all(|hash| now.contains(hash)) {
        // Much quicker than looking at the past, which has no index.
        return Ok(doc.transaction());
    }
    let past = doc.transaction_at(PatchLog::inactive(), heads);
    Ok(past.expect("a log that was made for this call matches any document"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_edge::TestEdge;

    #[tokio::test]
    async fn a_change_that_no_server_takes_is_undone_and_the_next_one_is_not() {
        let edge = TestEdge::start().await;
        let folder = tempfile::tempdir().unwrap();
        let device = edge.device(&folder, "one").offline().open();
        let document = device.create_private(|tx| tx.put(ROOT, "a", 1)).unwrap();
        let before = device.heads(document).unwrap();
        let pasted = "x".repeat(MAX_CHANGE_BYTES);
        let refused = device.edit(document, |tx| tx.put(ROOT, "pasted", &pasted[..]));
        assert!(matches!(refused, Err(DeviceError::LargeChange(bytes)) if bytes > MAX_CHANGE_BYTES));
        assert_eq!(device.heads(document).unwrap(), before);
        device.edit(document, |tx| tx.put(ROOT, "pasted", &pasted[..MAX_CHANGE_BYTES / 2])).unwrap();
        let made = device.create_private(|tx| tx.put(ROOT, "pasted", &pasted[..]));
        assert!(matches!(made, Err(DeviceError::LargeChange(_))));
        assert_eq!(device.documents().unwrap(), [document]);
    }
}
