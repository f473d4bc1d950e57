//! The document log in `spin:sqlite`: snapshots and the changes behind them, append-only between compactions.
//!
//! Under `rollcall-edge` each institute has a database of its own; other hosts give one to all, so every row names its
//! institute. Several instances may write to one log: each looks for the others' rows when it takes the write lock.

mod appends;
mod figures;
mod quarantine;

use crate::bindings::spin::sqlite::sqlite::{Connection, Error, RowResult, Value};
use quarantine::Usages;
use std::collections::BTreeMap;
use sync_protocol::actor::Binding;
use sync_protocol::directory::DirectoryEntry;
use sync_protocol::document_id::DocumentId;
use sync_protocol::engine::{Effect, Position, Stored};
use sync_protocol::link::{DocumentRecord, Hash, MAX_PUSH_BYTES, MAX_PUSH_ITEMS, PushItem};

/// Applied when a log is opened; each statement may run again.
const SCHEMA: [&str; 14] = [
    "CREATE TABLE IF NOT EXISTS meta (
        institute TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
        PRIMARY KEY (institute, key)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS documents (
        institute TEXT NOT NULL, document BLOB NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL,
        batch TEXT, owner TEXT NOT NULL, behind INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (institute, document)) WITHOUT ROWID",
    // `source`: 0 a device, to be pushed; 1 the origin.
    "CREATE TABLE IF NOT EXISTS changes (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        institute TEXT NOT NULL, document BLOB NOT NULL, hash BLOB NOT NULL,
        user TEXT NOT NULL, device TEXT NOT NULL, source INTEGER NOT NULL, bytes BLOB NOT NULL,
        logged_at INTEGER NOT NULL DEFAULT 0, UNIQUE (institute, document, hash))",
    "CREATE INDEX IF NOT EXISTS changes_by_document ON changes (institute, document, sequence)",
    "CREATE INDEX IF NOT EXISTS changes_to_push ON changes (institute, sequence) WHERE source = 0",
    // `upto`: the highest sequence that the snapshot covers.
    "CREATE TABLE IF NOT EXISTS snapshots (
        institute TEXT NOT NULL, document BLOB NOT NULL, upto INTEGER NOT NULL, bytes BLOB NOT NULL,
        PRIMARY KEY (institute, document))",
    // What of a snapshot is beyond the first `SNAPSHOT_PIECE` bytes.
    "CREATE TABLE IF NOT EXISTS snapshot_pieces (
        institute TEXT NOT NULL, document BLOB NOT NULL, piece INTEGER NOT NULL, bytes BLOB NOT NULL,
        PRIMARY KEY (institute, document, piece))",
    // `told`: the origin has it, and the bytes are gone here. `by_origin`: the origin refused it, and it is never taken again.
    "CREATE TABLE IF NOT EXISTS refusals (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        institute TEXT NOT NULL, document BLOB NOT NULL, hash BLOB NOT NULL,
        user TEXT NOT NULL, device TEXT NOT NULL, code TEXT NOT NULL, by_origin INTEGER NOT NULL,
        told INTEGER NOT NULL, refused_at INTEGER NOT NULL, bytes BLOB NOT NULL,
        UNIQUE (institute, document, hash))",
    "CREATE INDEX IF NOT EXISTS refusals_to_tell ON refusals (institute, sequence) WHERE told = 0",
    "CREATE INDEX IF NOT EXISTS refusals_by_device ON refusals (institute, device)",
    // `entry`: a `DirectoryEntry` in CBOR.
    "CREATE TABLE IF NOT EXISTS directory (
        institute TEXT NOT NULL, user TEXT NOT NULL, entry BLOB NOT NULL,
        PRIMARY KEY (institute, user)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS tombstones (
        institute TEXT NOT NULL, document BLOB NOT NULL, PRIMARY KEY (institute, document)) WITHOUT ROWID",
    // `since`: when an edge logged the actor's first change, in milliseconds since the Unix epoch.
    "CREATE TABLE IF NOT EXISTS actors (
        institute TEXT NOT NULL, document BLOB NOT NULL, actor BLOB NOT NULL, user TEXT NOT NULL, device TEXT NOT NULL,
        since INTEGER NOT NULL, PRIMARY KEY (institute, document, actor)) WITHOUT ROWID",
    // `heads`: hashes of 32 bytes in a row; the origin has them, and all that they depend on.
    "CREATE TABLE IF NOT EXISTS committed (
        institute TEXT NOT NULL, document BLOB NOT NULL, heads BLOB NOT NULL,
        PRIMARY KEY (institute, document)) WITHOUT ROWID",
];

/// Bytes of a snapshot in one row: a database takes values of 32 MiB at most, and a document of much pasted text may have more.
const SNAPSHOT_PIECE: usize = 16 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("the database is full")]
    Full,
    #[error("{0}")]
    Store(String),
}

impl From<Error> for LogError {
    fn from(error: Error) -> Self {
        match error {
            Error::DatabaseFull => LogError::Full,
            Error::Io(cause) if cause.contains("disk is full") => LogError::Full,
            Error::Io(cause) => LogError::Store(cause),
            Error::NoSuchDatabase => LogError::Store("there is no database `default`".into()),
            Error::AccessDenied => LogError::Store("the database `default` is not allowed".into()),
            Error::InvalidConnection => LogError::Store("the connection is not valid".into()),
        }
    }
}

pub(crate) struct Log {
    connection: Connection,
    institute: String,
    in_transaction: bool,
    /// Highest sequence that this instance has written or looked at.
    seen: i64,
    acknowledged: u64,
    /// Documents that others have written to, and the sequence behind which they did.
    foreign: BTreeMap<DocumentId, i64>,
    /// The same of those that were handed out and not loaded since.
    news: BTreeMap<DocumentId, i64>,
    usages: Usages,
}

fn blob(bytes: &[u8]) -> Value {
    Value::Blob(bytes.to_vec())
}

fn integer(n: u64) -> Value {
    Value::Integer(i64::try_from(n).unwrap_or(i64::MAX))
}

fn as_integer(row: &RowResult, column: usize) -> i64 {
    match row.values.get(column) {
        Some(Value::Integer(n)) => *n,
        _ => 0,
    }
}

fn as_text(row: &mut RowResult, column: usize) -> String {
    match row.values.get_mut(column) {
        Some(Value::Text(text)) => std::mem::take(text),
        _ => String::new(),
    }
}

fn as_bytes(row: &mut RowResult, column: usize) -> Vec<u8> {
    match row.values.get_mut(column) {
        Some(Value::Blob(bytes)) => std::mem::take(bytes),
        _ => Vec::new(),
    }
}

fn as_document(row: &mut RowResult, column: usize) -> Option<DocumentId> {
    as_bytes(row, column).try_into().ok().map(DocumentId::from_bytes)
}

/// A log from before has changes without a time.
fn add_logged_at(connection: &Connection) -> Result<(), LogError> {
    let known = "SELECT 1 FROM pragma_table_info('changes') WHERE name = 'logged_at'";
    if connection.execute(known, &[])?.rows.is_empty() {
        connection.execute("ALTER TABLE changes ADD COLUMN logged_at INTEGER NOT NULL DEFAULT 0", &[])?;
    }
    Ok(())
}

impl Log {
    pub(crate) fn open(institute: &str) -> Result<Self, LogError> {
        let connection = Connection::open("default")?;
        for statement in SCHEMA {
            connection.execute(statement, &[])?;
        }
        add_logged_at(&connection)?;
        let mut log = Self {
            connection,
            institute: institute.to_owned(),
            in_transaction: false,
            seen: 0,
            acknowledged: 0,
            foreign: BTreeMap::new(),
            news: BTreeMap::new(),
            usages: Usages::default(),
        };
        log.run("INSERT OR IGNORE INTO meta VALUES (?, 'log', lower(hex(randomblob(16))))", vec![log.own()])?;
        log.seen = log.highest()?;
        Ok(log)
    }

    fn own(&self) -> Value {
        Value::Text(self.institute.clone())
    }

    fn run(&self, statement: &str, parameters: Vec<Value>) -> Result<(), LogError> {
        self.connection.execute(statement, &parameters)?;
        Ok(())
    }

    fn rows(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<RowResult>, LogError> {
        Ok(self.connection.execute(statement, &parameters)?.rows)
    }

    fn highest(&self) -> Result<i64, LogError> {
        let rows = self
            .rows("SELECT coalesce(max(sequence), 0) FROM changes WHERE institute = ?", vec![self.own()])?;
        Ok(rows.first().map_or(0, |row| as_integer(row, 0)))
    }

    fn meta(&self, key: &str) -> Result<String, LogError> {
        let key = Value::Text(key.to_owned());
        let mut rows =
            self.rows("SELECT value FROM meta WHERE institute = ? AND key = ?", vec![self.own(), key])?;
        Ok(rows.first_mut().map(|row| as_text(row, 0)).unwrap_or_default())
    }

    fn set_meta(&self, key: &str, value: u64) -> Result<(), LogError> {
        let (key, value) = (Value::Text(key.to_owned()), Value::Text(value.to_string()));
        self.run("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", vec![self.own(), key, value])
    }

    pub(crate) fn position(&mut self) -> Result<Position, LogError> {
        let number = |text: String| text.parse().unwrap_or(0);
        self.acknowledged = number(self.meta("acknowledged")?);
        let behind =
            self.rows("SELECT document FROM documents WHERE institute = ? AND behind = 1", vec![self.own()])?;
        Ok(Position {
            epoch: number(self.meta("epoch")?),
            revision: number(self.meta("revision")?),
            log: self.meta("log")?,
            acknowledged: self.acknowledged,
            behind: behind.into_iter().filter_map(|mut row| as_document(&mut row, 0)).collect(),
            directory: self.directory()?,
        })
    }

    /// All entries, once the origin has sent a whole directory.
    fn directory(&self) -> Result<Option<Vec<DirectoryEntry>>, LogError> {
        if self.meta("directory")?.is_empty() {
            return Ok(None);
        }
        let rows = self.rows("SELECT entry FROM directory WHERE institute = ?", vec![self.own()])?;
        let entry = |mut row: RowResult| {
            minicbor::decode(&as_bytes(&mut row, 0))
                .map_err(|error| LogError::Store(format!("directory: {error}")))
        };
        rows.into_iter().map(entry).collect::<Result<_, _>>().map(Some)
    }

    fn save_directory(&self, entries: Vec<DirectoryEntry>, whole: bool) -> Result<(), LogError> {
        if whole {
            self.run("DELETE FROM directory WHERE institute = ?", vec![self.own()])?;
            self.set_meta("directory", 1)?;
        }
        for entry in entries {
            let bytes = minicbor::to_vec(&entry).map_err(|error| LogError::Store(error.to_string()))?;
            self.run(
                "INSERT OR REPLACE INTO directory VALUES (?, ?, ?)",
                vec![self.own(), Value::Text(entry.user), Value::Blob(bytes)],
            )?;
        }
        Ok(())
    }

    /// Documents that other instances are known to have written to, each once.
    pub(crate) fn take_foreign(&mut self) -> Vec<DocumentId> {
        let foreign = std::mem::take(&mut self.foreign);
        for (document, after) in &foreign {
            self.news.entry(*document).or_insert(*after);
        }
        foreign.into_keys().collect()
    }

    /// Looks for what other instances have written since this one last looked. Within a transaction nobody else writes, and
    /// its beginning has looked.
    pub(crate) fn look_for_foreign(&mut self) -> Result<(), LogError> {
        let highest = self.highest()?;
        if highest > self.seen {
            let rows = self.rows(
                "SELECT DISTINCT document FROM changes WHERE institute = ? AND sequence > ?",
                vec![self.own(), Value::Integer(self.seen)],
            )?;
            for document in rows.into_iter().filter_map(|mut row| as_document(&mut row, 0)) {
                self.foreign.entry(document).or_insert(self.seen);
            }
            self.seen = highest;
        }
        Ok(())
    }

    /// Takes the write lock, and with it the certainty that nobody else writes until the commit.
    fn begin(&mut self) -> Result<(), LogError> {
        if !self.in_transaction {
            self.run("BEGIN IMMEDIATE", Vec::new())?;
            self.in_transaction = true;
            self.look_for_foreign()?;
        }
        Ok(())
    }

    pub(crate) fn commit(&mut self) -> Result<(), LogError> {
        if self.in_transaction {
            self.seen = self.highest()?;
            self.run("COMMIT", Vec::new())?;
            self.in_transaction = false;
        }
        Ok(())
    }

    pub(crate) fn roll_back(&mut self) {
        self.usages = Usages::default();
        if std::mem::take(&mut self.in_transaction)
            && let Err(error) = self.run("ROLLBACK", Vec::new())
        {
            eprintln!("document log: roll back: {error}");
        }
    }

    pub(crate) fn has_record(&self, document: DocumentId) -> Result<bool, LogError> {
        let parameters = vec![self.own(), blob(document.as_bytes())];
        let rows = self.rows("SELECT 1 FROM documents WHERE institute = ? AND document = ?", parameters)?;
        Ok(!rows.is_empty())
    }

    /// The whole document.
    pub(crate) fn load(&mut self, document: DocumentId) -> Result<Option<Stored>, LogError> {
        self.news.remove(&document);
        self.stored(document, None)
    }

    /// What others have written to a document that is in memory; all of it when they have made a snapshot of that.
    pub(crate) fn load_news(&mut self, document: DocumentId) -> Result<Option<Stored>, LogError> {
        let after = self.news.remove(&document);
        self.stored(document, after)
    }

    /// The whole document, or what was written behind a sequence.
    pub(crate) fn stored(
        &self,
        document: DocumentId,
        after: Option<i64>,
    ) -> Result<Option<Stored>, LogError> {
        let key = || vec![self.own(), blob(document.as_bytes())];
        let statement =
            "SELECT kind, subject, batch, owner FROM documents WHERE institute = ? AND document = ?";
        let Some(mut row) = self.rows(statement, key())?.pop() else { return Ok(None) };
        let batch = matches!(row.values.get(2), Some(Value::Text(_))).then(|| as_text(&mut row, 2));
        let record = DocumentRecord {
            document,
            kind: as_text(&mut row, 0),
            subject: as_text(&mut row, 1),
            batch,
            owner: as_text(&mut row, 3),
        };
        let statement = "SELECT heads FROM committed WHERE institute = ? AND document = ?";
        let committed = self.rows(statement, key())?.pop().map(|mut row| as_bytes(&mut row, 0));
        let statement = "SELECT upto FROM snapshots WHERE institute = ? AND document = ?";
        let upto = self.rows(statement, key())?.first().map(|row| as_integer(row, 0));
        let behind = after.filter(|after| upto.is_none_or(|upto| upto <= *after));
        let mut chunks = Vec::new();
        if behind.is_none() && upto.is_some() {
            chunks.push(self.snapshot_bytes(document)?);
        }
        let statement = "SELECT bytes FROM changes WHERE institute = ? AND document = ? AND sequence > ? ORDER BY sequence";
        let mut parameters = key();
        parameters.push(Value::Integer(behind.or(upto).unwrap_or(0)));
        let rows = self.rows(statement, parameters)?;
        let tail = rows.len();
        chunks.extend(rows.into_iter().map(|mut row| as_bytes(&mut row, 0)));
        let committed = committed.unwrap_or_default().as_chunks().0.iter().map(|hash| Hash(*hash)).collect();
        let actors = self.bindings(document)?;
        Ok(Some(Stored { record, chunks, tail, whole: behind.is_none(), committed, actors }))
    }

    fn bindings(&self, document: DocumentId) -> Result<Vec<Binding>, LogError> {
        let rows = self.rows(
            "SELECT actor, user, device, since FROM actors WHERE institute = ? AND document = ?",
            vec![self.own(), blob(document.as_bytes())],
        )?;
        let binding = |mut row: RowResult| Binding {
            actor: as_bytes(&mut row, 0).into(),
            user: as_text(&mut row, 1),
            device: as_text(&mut row, 2),
            since: as_integer(&row, 3).unsigned_abs(),
        };
        Ok(rows.into_iter().map(binding).collect())
    }

    pub(crate) fn documents(&self) -> Result<Vec<DocumentId>, LogError> {
        let rows = self.rows("SELECT document FROM documents WHERE institute = ?", vec![self.own()])?;
        Ok(rows.into_iter().filter_map(|mut row| as_document(&mut row, 0)).collect())
    }

    /// The next changes for the origin, as many as one push may carry.
    pub(crate) fn unpushed(&self, after: u64) -> Result<Vec<PushItem>, LogError> {
        let own_after = || vec![self.own(), integer(after)];
        let sizes = self.rows(
            &format!(
                "SELECT sequence, length(bytes) FROM changes
                 WHERE institute = ? AND sequence > ? AND source = 0 ORDER BY sequence LIMIT {MAX_PUSH_ITEMS}"
            ),
            own_after(),
        )?;
        let mut bytes = 0;
        let fits = |row: &&RowResult| {
            bytes += as_integer(row, 1);
            bytes <= MAX_PUSH_BYTES as i64
        };
        let count = sizes.iter().take_while(fits).count().max(1);
        let Some(last) = sizes[..count.min(sizes.len())].last().map(|row| as_integer(row, 0)) else {
            return Ok(Vec::new());
        };
        let mut parameters = own_after();
        parameters.push(Value::Integer(last));
        let rows = self.rows(
            "SELECT sequence, document, user, device, bytes, logged_at FROM changes
             WHERE institute = ? AND sequence > ? AND sequence <= ? AND source = 0 ORDER BY sequence",
            parameters,
        )?;
        let item = |mut row: RowResult| {
            Some(PushItem {
                sequence: u64::try_from(as_integer(&row, 0)).ok()?,
                document: as_document(&mut row, 1)?,
                user: as_text(&mut row, 2),
                device: as_text(&mut row, 3),
                bytes: as_bytes(&mut row, 4).into(),
                logged_at: as_integer(&row, 5).unsigned_abs(),
            })
        };
        Ok(rows.into_iter().filter_map(item).collect())
    }

    /// Writes an effect down. Those that write nothing are not passed here; many changes go to [`Log::append`].
    pub(crate) fn write(&mut self, effect: Effect) -> Result<(), LogError> {
        self.begin()?;
        match effect {
            Effect::SaveRecord(record) => self.save_record(record),
            Effect::Append { document, hash, author, bytes } => {
                self.append(document, &author, vec![(hash, bytes)])
            }
            Effect::Snapshot { document, bytes } => self.snapshot(document, bytes),
            Effect::Quarantine { document, hash, author, bytes, code } => {
                self.quarantine(document, hash, author, bytes, code)
            }
            Effect::Discard { document, refused } => self.discard(document, refused),
            Effect::Delete(document) => self.delete(document),
            Effect::SaveCursor { epoch, revision } => {
                self.set_meta("epoch", epoch)?;
                self.set_meta("revision", revision)
            }
            Effect::SaveAcknowledged(sequence) => self.acknowledge(sequence),
            Effect::SaveBinding { document, binding } => self.save_binding(document, binding),
            Effect::SaveTold(sequence) => self.save_told(sequence),
            Effect::SaveCommitted { document, heads } => self.save_committed(document, &heads),
            Effect::SaveDirectory { entries, whole } => self.save_directory(entries, whole),
            Effect::MarkBehind(document) => self.mark(document, 1),
            Effect::MarkCurrent(document) => self.mark(document, 0),
            Effect::Send { .. }
            | Effect::Close { .. }
            | Effect::Link(_)
            | Effect::Load(_)
            | Effect::LoadNews(_)
            | Effect::ReadLog { .. }
            | Effect::ReadQuarantine
            | Effect::ListDocuments
            | Effect::Report(_) => Ok(()),
        }
    }

    fn mark(&self, document: DocumentId, behind: i64) -> Result<(), LogError> {
        self.run(
            "UPDATE documents SET behind = ? WHERE institute = ? AND document = ?",
            vec![Value::Integer(behind), self.own(), blob(document.as_bytes())],
        )
    }

    fn save_record(&self, record: DocumentRecord) -> Result<(), LogError> {
        self.run(
            "INSERT INTO documents (institute, document, kind, subject, batch, owner) VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET kind = excluded.kind, subject = excluded.subject,
                batch = excluded.batch, owner = excluded.owner",
            vec![
                self.own(),
                blob(record.document.as_bytes()),
                Value::Text(record.kind),
                Value::Text(record.subject),
                record.batch.map_or(Value::Null, Value::Text),
                Value::Text(record.owner),
            ],
        )
    }

    fn snapshot(&self, document: DocumentId, mut bytes: Vec<u8>) -> Result<(), LogError> {
        // The document in memory lacks what others have written: a later snapshot will have it.
        if self.foreign.contains_key(&document) || self.news.contains_key(&document) {
            return Ok(());
        }
        let key = || vec![self.own(), blob(document.as_bytes())];
        let statement = "SELECT coalesce(max(sequence), 0) FROM changes WHERE institute = ? AND document = ?";
        let upto = self.rows(statement, key())?.first().map_or(0, |row| as_integer(row, 0));
        let more = bytes.split_off(bytes.len().min(SNAPSHOT_PIECE));
        let mut parameters = key();
        parameters.extend([Value::Integer(upto), Value::Blob(bytes)]);
        self.run("INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?)", parameters)?;
        self.run("DELETE FROM snapshot_pieces WHERE institute = ? AND document = ?", key())?;
        for (piece, bytes) in (1..).zip(more.chunks(SNAPSHOT_PIECE)) {
            let mut parameters = key();
            parameters.extend([Value::Integer(piece), blob(bytes)]);
            self.run("INSERT INTO snapshot_pieces VALUES (?, ?, ?, ?)", parameters)?;
        }
        let mut parameters = key();
        parameters.push(integer(self.acknowledged));
        self.run(
            "DELETE FROM changes WHERE institute = ? AND document = ? AND (source = 1 OR sequence <= ?)",
            parameters,
        )
    }

    fn snapshot_bytes(&self, document: DocumentId) -> Result<Vec<u8>, LogError> {
        let key = || vec![self.own(), blob(document.as_bytes())];
        let first = "SELECT bytes FROM snapshots WHERE institute = ? AND document = ?";
        let more = "SELECT bytes FROM snapshot_pieces WHERE institute = ? AND document = ? ORDER BY piece";
        let mut bytes = Vec::new();
        for mut row in self.rows(first, key())?.into_iter().chain(self.rows(more, key())?) {
            bytes.append(&mut as_bytes(&mut row, 0));
        }
        Ok(bytes)
    }

    fn discard(&mut self, document: DocumentId, refused: Vec<(u64, String)>) -> Result<(), LogError> {
        let by_origin = !refused.is_empty();
        for (sequence, code) in refused {
            self.note_refused_by_origin(sequence, code)?;
            let key = vec![self.own(), integer(sequence)];
            self.run("DELETE FROM changes WHERE institute = ? AND sequence = ?", key)?;
        }
        if by_origin {
            self.trim_refused_by_origin()?;
        }
        let key = || vec![self.own(), blob(document.as_bytes())];
        self.run("DELETE FROM snapshots WHERE institute = ? AND document = ?", key())?;
        self.run("DELETE FROM snapshot_pieces WHERE institute = ? AND document = ?", key())?;
        self.run("DELETE FROM documents WHERE institute = ? AND document = ?", key())?;
        self.run("DELETE FROM committed WHERE institute = ? AND document = ?", key())?;
        self.run("DELETE FROM actors WHERE institute = ? AND document = ?", key())?;
        let mut parameters = key();
        parameters.push(integer(self.acknowledged));
        self.run(
            "DELETE FROM changes WHERE institute = ? AND document = ? AND (source = 1 OR sequence <= ?)",
            parameters,
        )
    }

    pub(crate) fn is_deleted(&self, document: DocumentId) -> Result<bool, LogError> {
        let statement = "SELECT 1 FROM tombstones WHERE institute = ? AND document = ?";
        Ok(!self.rows(statement, vec![self.own(), blob(document.as_bytes())])?.is_empty())
    }

    fn delete(&mut self, document: DocumentId) -> Result<(), LogError> {
        let key = || vec![self.own(), blob(document.as_bytes())];
        for table in
            ["snapshots", "snapshot_pieces", "documents", "committed", "actors", "refusals", "changes"]
        {
            self.run(&format!("DELETE FROM {table} WHERE institute = ? AND document = ?"), key())?;
        }
        self.run("INSERT OR IGNORE INTO tombstones VALUES (?, ?)", key())?;
        self.usages = Usages::default();
        Ok(())
    }

    fn save_binding(&self, document: DocumentId, binding: Binding) -> Result<(), LogError> {
        self.run(
            "INSERT OR REPLACE INTO actors VALUES (?, ?, ?, ?, ?, ?)",
            vec![
                self.own(),
                blob(document.as_bytes()),
                Value::Blob(binding.actor.into()),
                Value::Text(binding.user),
                Value::Text(binding.device),
                integer(binding.since),
            ],
        )
    }

    fn save_committed(&self, document: DocumentId, heads: &[Hash]) -> Result<(), LogError> {
        let heads = heads.iter().flat_map(|head| head.0).collect();
        self.run(
            "INSERT OR REPLACE INTO committed VALUES (?, ?, ?)",
            vec![self.own(), blob(document.as_bytes()), Value::Blob(heads)],
        )
    }

    fn acknowledge(&mut self, sequence: u64) -> Result<(), LogError> {
        self.set_meta("acknowledged", sequence)?;
        let before = std::mem::replace(&mut self.acknowledged, sequence);
        self.run(
            "DELETE FROM changes WHERE institute = ? AND sequence > ? AND sequence <= ? AND sequence <= (
                SELECT upto FROM snapshots
                WHERE snapshots.institute = changes.institute AND snapshots.document = changes.document)",
            vec![self.own(), integer(before), integer(sequence)],
        )
    }
}
