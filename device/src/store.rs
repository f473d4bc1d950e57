//! The device's SQLite file: documents, tokens and the outbox.
//!
//! Each write is one transaction that is on disk when the call returns (WAL, `synchronous=FULL`). Notes about what the
//! server has may be lost without harm and are written without waiting for the disk.

use crate::error::DeviceError;
use crate::outbox::{CommandState, OutboxEntry};
use automerge::{ActorId, ChangeHash};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use std::collections::BTreeMap;
use std::path::Path;
use sync_protocol::batch::Priority;
use sync_protocol::bookmark::Bookmark;
use sync_protocol::document_id::DocumentId;

const SCHEMA_VERSION: i64 = 2;

const SCHEMA: &str = "
CREATE TABLE device (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    device TEXT NOT NULL,
    email TEXT NOT NULL,
    access_token TEXT,
    expires_at INTEGER NOT NULL DEFAULT 0,
    refresh_token TEXT,
    bookmark TEXT
) STRICT;
CREATE TABLE documents (
    document BLOB PRIMARY KEY,
    kind TEXT,
    subject TEXT,
    priority INTEGER NOT NULL,
    actor BLOB NOT NULL,
    snapshot BLOB NOT NULL,
    server_heads BLOB NOT NULL DEFAULT x''
) STRICT;
CREATE UNIQUE INDEX documents_by_subject ON documents (kind, subject) WHERE kind IS NOT NULL;
-- What came after the snapshot, in order; each row is a run of encoded changes.
CREATE TABLE increments (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    document BLOB NOT NULL REFERENCES documents (document),
    changes BLOB NOT NULL
) STRICT;
CREATE INDEX increments_by_document ON increments (document, sequence);
CREATE TABLE outbox (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    priority INTEGER NOT NULL,
    command TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'at-edge', 'committed', 'refused')),
    -- JSON: the outcome or the problem.
    detail TEXT,
    bookmark TEXT
) STRICT;
CREATE INDEX outbox_open ON outbox (state, priority DESC, sequence) WHERE state IN ('pending', 'at-edge');
";

/// What version 2 adds: receipts.
const RECEIPTS: &str = "
-- Heads that the origin has.
ALTER TABLE documents ADD COLUMN committed_heads BLOB NOT NULL DEFAULT x'';
-- Changes that the edge or the origin did not take.
CREATE TABLE refusals (
    document BLOB NOT NULL REFERENCES documents (document),
    change BLOB NOT NULL,
    code TEXT NOT NULL,
    PRIMARY KEY (document, change)
) STRICT, WITHOUT ROWID;
";

/// Increments of a document before they are folded into its snapshot: loading stays quick, and a snapshot is rare
/// beside the edits that it sums up.
const MAX_INCREMENTS: i64 = 512;

pub(crate) struct Store {
    connection: Connection,
}

/// A document as the store has it.
pub(crate) struct StoredDocument {
    pub(crate) actor: ActorId,
    pub(crate) priority: Priority,
    pub(crate) snapshot: Vec<u8>,
    pub(crate) increments: Vec<u8>,
    pub(crate) server_heads: Vec<ChangeHash>,
    pub(crate) committed_heads: Vec<ChangeHash>,
    pub(crate) refused: BTreeMap<ChangeHash, String>,
}

/// A document that is about to be stored for the first time.
pub(crate) struct NewDocument<'a> {
    pub(crate) document: DocumentId,
    /// Kind and subject of a registered document.
    pub(crate) registered: Option<(&'a str, &'a str)>,
    pub(crate) priority: Priority,
    pub(crate) actor: &'a ActorId,
    pub(crate) snapshot: &'a [u8],
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Tokens {
    pub(crate) access: Option<String>,
    /// Seconds since the Unix epoch.
    pub(crate) expires_at: i64,
    pub(crate) refresh: Option<String>,
}

impl Store {
    /// Opens or creates the store. The file is locked for as long as the store lives: two devices that believed to be
    /// the same one would write different changes under one actor and sequence number.
    pub(crate) fn open(path: &Path, email: &str, new_device: &str) -> Result<Self, DeviceError> {
        let connection = Connection::open(path)?;
        let busy = |error: rusqlite::Error| match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
                DeviceError::AlreadyOpen(path.display().to_string())
            }
            _ => DeviceError::Store(error),
        };
        connection.busy_timeout(std::time::Duration::ZERO)?;
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(busy)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.execute_batch("BEGIN EXCLUSIVE").map_err(busy)?;
        let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version > SCHEMA_VERSION {
            return Err(DeviceError::NewerStore(version));
        }
        if version == 0 {
            connection.execute_batch(SCHEMA)?;
            connection
                .execute("INSERT INTO device (id, device, email) VALUES (1, ?1, ?2)", [new_device, email])?;
        }
        if version < SCHEMA_VERSION {
            connection.execute_batch(RECEIPTS)?;
            connection.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        }
        connection.execute_batch("COMMIT")?;
        let store = Self { connection };
        let stored: String = store.connection.query_row("SELECT email FROM device", [], |row| row.get(0))?;
        if stored != email {
            return Err(DeviceError::OtherUser { stored, wanted: email.to_owned() });
        }
        Ok(store)
    }

    pub(crate) fn device(&self) -> Result<String, DeviceError> {
        Ok(self.connection.query_row("SELECT device FROM device", [], |row| row.get(0))?)
    }

    pub(crate) fn tokens(&self) -> Result<Tokens, DeviceError> {
        let sql = "SELECT access_token, expires_at, refresh_token FROM device";
        Ok(self.connection.query_row(sql, [], |row| {
            Ok(Tokens { access: row.get(0)?, expires_at: row.get(1)?, refresh: row.get(2)? })
        })?)
    }

    pub(crate) fn put_tokens(&mut self, tokens: &Tokens) -> Result<(), DeviceError> {
        self.connection.execute(
            "UPDATE device SET access_token = ?1, expires_at = ?2, refresh_token = ?3",
            params![tokens.access, tokens.expires_at, tokens.refresh],
        )?;
        Ok(())
    }

    pub(crate) fn bookmark(&self) -> Result<Option<Bookmark>, DeviceError> {
        let text: Option<String> =
            self.connection.query_row("SELECT bookmark FROM device", [], |row| row.get(0))?;
        Ok(text.and_then(|text| text.parse().ok()))
    }

    pub(crate) fn add_document(&mut self, new: &NewDocument<'_>) -> Result<(), DeviceError> {
        let (kind, subject) = new.registered.unzip();
        let transaction = self.connection.transaction()?;
        if let Some(name) = new.registered {
            free(&transaction, name)?;
        }
        transaction.execute(
            "INSERT INTO documents (document, kind, subject, priority, actor, snapshot) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                new.document.as_bytes(),
                kind,
                subject,
                priority_number(new.priority),
                new.actor.to_bytes(),
                new.snapshot
            ],
        )?;
        Ok(transaction.commit()?)
    }

    /// Forgets a document, with what was not handed over.
    pub(crate) fn remove_document(&mut self, document: DocumentId) -> Result<(), DeviceError> {
        let transaction = self.connection.transaction()?;
        for table in ["increments", "refusals", "documents"] {
            let sql = format!("DELETE FROM {table} WHERE document = ?1");
            transaction.execute(&sql, [document.as_bytes()])?;
        }
        Ok(transaction.commit()?)
    }

    /// Notes that a document that is here already is the one of `kind` and `subject`, and no other is.
    pub(crate) fn name_document(
        &mut self,
        document: DocumentId,
        kind: &str,
        subject: &str,
    ) -> Result<(), DeviceError> {
        let transaction = self.connection.transaction()?;
        free(&transaction, (kind, subject))?;
        transaction.execute(
            "UPDATE documents SET kind = ?2, subject = ?3 WHERE document = ?1",
            params![document.as_bytes(), kind, subject],
        )?;
        Ok(transaction.commit()?)
    }

    pub(crate) fn find_document(&self, kind: &str, subject: &str) -> Result<Option<DocumentId>, DeviceError> {
        let sql = "SELECT document FROM documents WHERE kind = ?1 AND subject = ?2";
        let found: Option<[u8; 16]> =
            self.connection.query_row(sql, [kind, subject], |row| row.get(0)).optional()?;
        Ok(found.map(DocumentId::from_bytes))
    }

    /// All documents, those of high priority first.
    pub(crate) fn documents(&self) -> Result<Vec<DocumentId>, DeviceError> {
        let mut statement =
            self.connection.prepare("SELECT document FROM documents ORDER BY priority DESC, document")?;
        let rows = statement.query_map([], |row| row.get(0).map(DocumentId::from_bytes))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub(crate) fn load_document(&self, document: DocumentId) -> Result<Option<StoredDocument>, DeviceError> {
        let sql = "SELECT actor, priority, snapshot, server_heads, committed_heads FROM documents WHERE document = ?1";
        let found = self
            .connection
            .query_row(sql, [document.as_bytes()], |row| {
                Ok(StoredDocument {
                    actor: ActorId::from(row.get::<_, Vec<u8>>(0)?),
                    priority: priority_of(row.get(1)?),
                    snapshot: row.get(2)?,
                    increments: Vec::new(),
                    server_heads: heads_of(&row.get::<_, Vec<u8>>(3)?),
                    committed_heads: heads_of(&row.get::<_, Vec<u8>>(4)?),
                    refused: BTreeMap::new(),
                })
            })
            .optional()?;
        let Some(mut stored) = found else { return Ok(None) };
        let mut statement = self
            .connection
            .prepare_cached("SELECT changes FROM increments WHERE document = ?1 ORDER BY sequence")?;
        let mut rows = statement.query([document.as_bytes()])?;
        while let Some(row) = rows.next()? {
            stored.increments.extend_from_slice(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?);
        }
        stored.refused = self.refusals(document)?;
        Ok(Some(stored))
    }

    fn refusals(&self, document: DocumentId) -> Result<BTreeMap<ChangeHash, String>, DeviceError> {
        let sql = "SELECT change, code FROM refusals WHERE document = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([document.as_bytes()], |row| {
            Ok((ChangeHash(row.get::<_, [u8; 32]>(0)?), row.get(1)?))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub(crate) fn put_refusal(
        &mut self,
        document: DocumentId,
        change: &ChangeHash,
        code: &str,
    ) -> Result<(), DeviceError> {
        self.connection.execute(
            "INSERT OR REPLACE INTO refusals (document, change, code) VALUES (?1, ?2, ?3)",
            params![document.as_bytes(), change.0, code],
        )?;
        Ok(())
    }

    pub(crate) fn remove_refusals(
        &mut self,
        document: DocumentId,
        changes: &[ChangeHash],
    ) -> Result<(), DeviceError> {
        for change in changes {
            self.connection.execute(
                "DELETE FROM refusals WHERE document = ?1 AND change = ?2",
                params![document.as_bytes(), change.0],
            )?;
        }
        Ok(())
    }

    /// Appends encoded changes to a document and says whether it is time for [`Store::put_snapshot`].
    pub(crate) fn append_changes(
        &mut self,
        document: DocumentId,
        changes: &[u8],
    ) -> Result<bool, DeviceError> {
        self.connection
            .prepare_cached("INSERT INTO increments (document, changes) VALUES (?1, ?2)")?
            .execute(params![document.as_bytes(), changes])?;
        let stored: i64 = self
            .connection
            .prepare_cached("SELECT count(*) FROM increments WHERE document = ?1")?
            .query_row([document.as_bytes()], |row| row.get(0))?;
        Ok(stored >= MAX_INCREMENTS)
    }

    pub(crate) fn put_snapshot(&mut self, document: DocumentId, snapshot: &[u8]) -> Result<(), DeviceError> {
        let transaction = self.connection.transaction()?;
        transaction.execute(
            "UPDATE documents SET snapshot = ?2 WHERE document = ?1",
            params![document.as_bytes(), snapshot],
        )?;
        transaction.execute("DELETE FROM increments WHERE document = ?1", [document.as_bytes()])?;
        Ok(transaction.commit()?)
    }

    pub(crate) fn put_priority(
        &mut self,
        document: DocumentId,
        priority: Priority,
    ) -> Result<(), DeviceError> {
        self.connection.execute(
            "UPDATE documents SET priority = ?2 WHERE document = ?1",
            params![document.as_bytes(), priority_number(priority)],
        )?;
        Ok(())
    }

    pub(crate) fn put_server_heads(
        &mut self,
        document: DocumentId,
        heads: &[ChangeHash],
    ) -> Result<(), DeviceError> {
        self.note_heads("UPDATE documents SET server_heads = ?2 WHERE document = ?1", document, heads)
    }

    pub(crate) fn put_committed_heads(
        &mut self,
        document: DocumentId,
        heads: &[ChangeHash],
    ) -> Result<(), DeviceError> {
        self.note_heads("UPDATE documents SET committed_heads = ?2 WHERE document = ?1", document, heads)
    }

    /// Written without waiting for the disk: a lost note costs one more exchange with the server.
    fn note_heads(
        &mut self,
        statement: &str,
        document: DocumentId,
        heads: &[ChangeHash],
    ) -> Result<(), DeviceError> {
        let bytes: Vec<u8> = heads.iter().flat_map(|hash| hash.0).collect();
        self.connection.pragma_update(None, "synchronous", "NORMAL")?;
        let written = self
            .connection
            .prepare_cached(statement)
            .and_then(|mut statement| statement.execute(params![document.as_bytes(), bytes]));
        self.connection.pragma_update(None, "synchronous", "FULL")?;
        written?;
        Ok(())
    }

    pub(crate) fn add_command(
        &mut self,
        key: &str,
        priority: Priority,
        command: &str,
    ) -> Result<(), DeviceError> {
        self.connection.execute(
            "INSERT INTO outbox (key, priority, command, state) VALUES (?1, ?2, ?3, 'pending')",
            params![key, priority_number(priority), command],
        )?;
        Ok(())
    }

    /// What the device still has to do, in the order in which it does it.
    pub(crate) fn open_commands(&self) -> Result<Vec<OutboxEntry>, DeviceError> {
        self.commands("WHERE state IN ('pending', 'at-edge') ORDER BY priority DESC, sequence")
    }

    /// All commands, oldest first.
    pub(crate) fn all_commands(&self) -> Result<Vec<OutboxEntry>, DeviceError> {
        self.commands("ORDER BY sequence")
    }

    fn commands(&self, clause: &str) -> Result<Vec<OutboxEntry>, DeviceError> {
        let sql = format!("SELECT key, priority, command, state, detail, bookmark FROM outbox {clause}");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map([], entry_of)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub(crate) fn command(&self, key: &str) -> Result<Option<OutboxEntry>, DeviceError> {
        let sql = "SELECT key, priority, command, state, detail, bookmark FROM outbox WHERE key = ?1";
        Ok(self.connection.query_row(sql, [key], entry_of).optional()?)
    }

    /// Stores what became of a command, and with it the bookmark that later reads must not go behind.
    pub(crate) fn put_command_state(&mut self, key: &str, state: &CommandState) -> Result<(), DeviceError> {
        let last = self.bookmark()?;
        let transaction = self.connection.transaction()?;
        let bookmark = state.bookmark();
        transaction.execute(
            "UPDATE outbox SET state = ?2, detail = ?3, bookmark = ?4 WHERE key = ?1",
            params![key, state.name(), state.detail(), bookmark.map(|bookmark| bookmark.to_string())],
        )?;
        if let Some(bookmark) = bookmark.filter(|bookmark| Some(*bookmark) > last) {
            transaction.execute("UPDATE device SET bookmark = ?1", [bookmark.to_string()])?;
        }
        Ok(transaction.commit()?)
    }
}

fn entry_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<OutboxEntry> {
    let state: String = row.get(3)?;
    let bookmark: Option<String> = row.get(5)?;
    Ok(OutboxEntry {
        key: row.get(0)?,
        priority: priority_of(row.get(1)?),
        command: row.get(2)?,
        state: CommandState::from_stored(
            &state,
            row.get(4)?,
            bookmark.and_then(|bookmark| bookmark.parse().ok()),
        ),
    })
}

fn heads_of(bytes: &[u8]) -> Vec<ChangeHash> {
    bytes.as_chunks::<32>().0.iter().map(|hash| ChangeHash(*hash)).collect()
}

/// Takes a name from the document that has it.
fn free(transaction: &Transaction<'_>, (kind, subject): (&str, &str)) -> Result<(), DeviceError> {
    let sql = "UPDATE documents SET kind = NULL, subject = NULL WHERE kind = ?1 AND subject = ?2";
    transaction.execute(sql, (kind, subject))?;
    Ok(())
}

fn priority_number(priority: Priority) -> i64 {
    match priority {
        Priority::Low => 0,
        Priority::Normal => 1,
        Priority::High => 2,
    }
}

fn priority_of(number: i64) -> Priority {
    match number {
        i64::MIN..=0 => Priority::Low,
        1 => Priority::Normal,
        2.. => Priority::High,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(folder: &tempfile::TempDir) -> Store {
        Store::open(&folder.path().join("device.db"), "t@x.example", "phone-1").unwrap()
    }

    #[test]
    fn a_second_device_on_the_same_file_and_another_user_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device.db");
        let first = store(&folder);
        let second = Store::open(&path, "t@x.example", "phone-2");
        assert!(matches!(second, Err(DeviceError::AlreadyOpen(_))), "{:?}", second.err());
        drop(first);
        let other = Store::open(&path, "s@x.example", "phone-2");
        assert!(matches!(other, Err(DeviceError::OtherUser { .. })), "{:?}", other.err());
        assert_eq!(store(&folder).device().unwrap(), "phone-1");
    }

    #[test]
    fn a_store_of_version_1_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(SCHEMA).unwrap();
        old.execute_batch(
            "INSERT INTO device (id, device, email) VALUES (1, 'phone-1', 't@x.example');
             INSERT INTO documents (document, priority, actor, snapshot)
             VALUES (x'01010101010101010101010101010101', 1, x'05', x'');
             PRAGMA user_version = 1;",
        )
        .unwrap();
        drop(old);
        let mut store = store(&folder);
        let document = DocumentId::from_bytes([1; 16]);
        let change = ChangeHash([7; 32]);
        store.put_refusal(document, &change, "forbidden").unwrap();
        store.put_committed_heads(document, &[change]).unwrap();
        let stored = store.load_document(document).unwrap().unwrap();
        assert_eq!(stored.refused, [(change, "forbidden".to_owned())].into());
        assert_eq!(stored.committed_heads, [change]);
    }

    #[test]
    fn commands_come_back_by_priority_and_then_by_age() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store(&folder);
        for (key, priority) in
            [("a", Priority::Low), ("b", Priority::High), ("c", Priority::Normal), ("d", Priority::High)]
        {
            store.add_command(key, priority, "{}").unwrap();
        }
        let keys: Vec<String> = store.open_commands().unwrap().into_iter().map(|entry| entry.key).collect();
        assert_eq!(keys, ["b", "d", "c", "a"]);
    }

    #[test]
    fn the_bookmark_never_goes_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store(&folder);
        let committed = |revision| CommandState::Committed {
            outcome: serde_json::Value::Null,
            bookmark: Some(Bookmark::new(1, revision)),
        };
        for (key, revision) in [("a", 9), ("b", 4)] {
            store.add_command(key, Priority::Normal, "{}").unwrap();
            store.put_command_state(key, &committed(revision)).unwrap();
        }
        assert_eq!(store.bookmark().unwrap(), Some(Bookmark::new(1, 9)));
        assert_eq!(store.command("b").unwrap().unwrap().state, committed(4));
    }
}
