//! Changes that were refused, until the origin has them; behind that their hashes, so that none is kept or told twice.

use super::{Log, LogError, as_bytes, as_document, as_integer, as_text, blob, integer};
use crate::bindings::spin::sqlite::sqlite::{RowResult, Value};
use rollcall_guest::now_ms;
use std::collections::BTreeMap;
use sync_protocol::document_id::DocumentId;
use sync_protocol::engine::Author;
use sync_protocol::link::{Hash, MAX_PUSH_BYTES, MAX_PUSH_ITEMS, QuarantineItem};
use sync_protocol::quarantine::{INSTITUTE_ITEMS_MAX, Usage, has_room};

/// How much is kept, as far as this instance has counted. What others add meanwhile is bounded by their own counts.
#[derive(Default)]
pub(super) struct Usages {
    institute: Option<Usage>,
    devices: BTreeMap<String, Usage>,
    /// What the origin has was forgotten to make room, and nothing has come to the origin since.
    pruned: bool,
}

impl Log {
    /// Keeps a refused change when there is room for it; the first reason stays when it comes again.
    pub(super) fn quarantine(
        &mut self,
        document: DocumentId,
        hash: Hash,
        author: Author,
        bytes: Vec<u8>,
        code: String,
    ) -> Result<(), LogError> {
        let statement = "SELECT 1 FROM refusals WHERE institute = ? AND document = ? AND hash = ?";
        let key = vec![self.own(), blob(document.as_bytes()), blob(&hash.0)];
        if !self.rows(statement, key)?.is_empty() || !self.make_room(&author.device, bytes.len())? {
            return Ok(());
        }
        if let Some(institute) = &mut self.usages.institute {
            institute.add(bytes.len());
        }
        if let Some(device) = self.usages.devices.get_mut(&author.device) {
            device.add(bytes.len());
        }
        self.run(
            "INSERT INTO refusals
                 (institute, document, hash, user, device, code, by_origin, told, refused_at, bytes)
             VALUES (?, ?, ?, ?, ?, ?, 0, 0, ?, ?)",
            vec![
                self.own(),
                blob(document.as_bytes()),
                blob(&hash.0),
                Value::Text(author.user),
                Value::Text(author.device),
                Value::Text(code),
                Value::Integer(now_ms()),
                Value::Blob(bytes),
            ],
        )
    }

    /// Whether there is room for one more, after what the origin has of the device is forgotten if need be.
    fn make_room(&mut self, device: &str, bytes: usize) -> Result<bool, LogError> {
        if self.has_room(device, bytes)? {
            return Ok(true);
        }
        if self.usages.pruned {
            return Ok(false);
        }
        self.run(
            "DELETE FROM refusals WHERE institute = ? AND told = 1 AND by_origin = 0",
            vec![self.own()],
        )?;
        self.usages = Usages { pruned: true, ..Usages::default() };
        let room = self.has_room(device, bytes)?;
        if !room {
            eprintln!("document log: no room in quarantine for a change of device {device}");
        }
        Ok(room)
    }

    fn has_room(&mut self, device: &str, bytes: usize) -> Result<bool, LogError> {
        let institute = match self.usages.institute {
            Some(usage) => usage,
            None => *self
                .usages
                .institute
                .insert(self.usage("institute = ? AND by_origin = 0", vec![self.own()])?),
        };
        let of_device = match self.usages.devices.get(device) {
            Some(usage) => *usage,
            None => {
                let key = vec![self.own(), Value::Text(device.to_owned())];
                let usage = self.usage("institute = ? AND device = ? AND by_origin = 0", key)?;
                self.usages.devices.insert(device.to_owned(), usage);
                usage
            }
        };
        Ok(has_room(of_device, institute, bytes))
    }

    fn usage(&self, of: &str, parameters: Vec<Value>) -> Result<Usage, LogError> {
        let statement = format!("SELECT count(*), coalesce(sum(length(bytes)), 0) FROM refusals WHERE {of}");
        let rows = self.rows(&statement, parameters)?;
        let number = |column| rows.first().map_or(0, |row| as_integer(row, column)).unsigned_abs();
        Ok(Usage { items: number(0), bytes: number(1) })
    }

    /// The first changes that the origin has not, as many as one message may carry.
    pub(crate) fn untold(&self) -> Result<Vec<QuarantineItem>, LogError> {
        let rows = self.rows(
            &format!(
                "SELECT sequence, document, user, device, code, refused_at, bytes FROM (
                     SELECT *, sum(length(bytes)) OVER (ORDER BY sequence) - length(bytes) AS before
                     FROM refusals WHERE institute = ? AND told = 0 ORDER BY sequence LIMIT {MAX_PUSH_ITEMS})
                 WHERE before < {MAX_PUSH_BYTES} ORDER BY sequence"
            ),
            vec![self.own()],
        )?;
        let item = |mut row: RowResult| {
            Some(QuarantineItem {
                sequence: u64::try_from(as_integer(&row, 0)).ok()?,
                document: as_document(&mut row, 1)?,
                user: as_text(&mut row, 2),
                device: as_text(&mut row, 3),
                code: as_text(&mut row, 4),
                refused_at: as_integer(&row, 5).unsigned_abs(),
                bytes: as_bytes(&mut row, 6).into(),
            })
        };
        Ok(rows.into_iter().filter_map(item).collect())
    }

    /// The origin has them: what stays is that they are known.
    pub(super) fn save_told(&mut self, sequence: u64) -> Result<(), LogError> {
        self.usages = Usages::default();
        self.run(
            "UPDATE refusals SET told = 1, bytes = x'' WHERE institute = ? AND told = 0 AND sequence <= ?",
            vec![self.own(), integer(sequence)],
        )
    }

    /// Notes that the origin refused a change of the log: it has it in its own quarantine. These have a bound of their own, and the
    /// oldest go: a device that brings one of them again hears the origin's answer once more.
    pub(super) fn note_refused_by_origin(&mut self, sequence: u64, code: String) -> Result<(), LogError> {
        self.usages = Usages::default();
        self.run(
            "INSERT OR REPLACE INTO refusals
                 (institute, document, hash, user, device, code, by_origin, told, refused_at, bytes)
             SELECT institute, document, hash, user, device, ?, 1, 1, ?, x'' FROM changes
             WHERE institute = ? AND sequence = ?",
            vec![Value::Text(code), Value::Integer(now_ms()), self.own(), integer(sequence)],
        )
    }

    /// Forgets the oldest of what the origin has refused, beyond what is kept.
    pub(super) fn trim_refused_by_origin(&mut self) -> Result<(), LogError> {
        self.run(
            &format!(
                "DELETE FROM refusals WHERE institute = ?1 AND by_origin = 1 AND sequence <= (
                    SELECT sequence FROM refusals WHERE institute = ?1 AND by_origin = 1
                    ORDER BY sequence DESC LIMIT 1 OFFSET {INSTITUTE_ITEMS_MAX})"
            ),
            vec![self.own()],
        )
    }

    /// Changes that the origin has refused, with its codes.
    pub(crate) fn refused(&self, document: DocumentId) -> Result<Vec<(Hash, String)>, LogError> {
        let rows = self.rows(
            "SELECT hash, code FROM refusals WHERE institute = ? AND document = ? AND by_origin = 1 LIMIT 10000",
            vec![self.own(), blob(document.as_bytes())],
        )?;
        let refused = |mut row: RowResult| {
            let hash = as_bytes(&mut row, 0).try_into().ok().map(Hash)?;
            Some((hash, as_text(&mut row, 1)))
        };
        Ok(rows.into_iter().filter_map(refused).collect())
    }
}
