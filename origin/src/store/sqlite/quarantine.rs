//! Changes that were refused, until an admin settles them.

use super::transaction::Transaction;
use crate::store::error::StoreError;
use crate::store::quarantine::{
    QuarantineOutcome, QuarantinePlace, QuarantineRow, ReadQuarantine, WriteQuarantine,
};
use crate::store::transaction::to_u64;
use rusqlite::Row;
use sync_protocol::document_id::DocumentId;
use sync_protocol::quarantine::Usage;

const COLUMNS: &str = "document, hash, user, device, edge, code, bytes, refused_at";
const WITHOUT_BYTES: &str = "document, hash, user, device, edge, code, x'', refused_at";

fn read_row(row: &Row<'_>) -> rusqlite::Result<(String, QuarantineRow)> {
    let item = QuarantineRow {
        document: DocumentId::from_bytes([0; 16]),
        hash: row.get(1)?,
        user: row.get(2)?,
        device: row.get(3)?,
        edge: row.get(4)?,
        code: row.get(5)?,
        bytes: row.get(6)?,
        refused_at: row.get(7)?,
    };
    Ok((row.get(0)?, item))
}

fn parse((document, row): (String, QuarantineRow)) -> Result<QuarantineRow, StoreError> {
    let document =
        document.parse().map_err(|_| StoreError::Corrupt { what: "document id", text: document })?;
    Ok(QuarantineRow { document, ..row })
}

impl ReadQuarantine for Transaction<'_> {
    fn quarantine_usage(&self, device: &str) -> Result<(Usage, Usage), StoreError> {
        let read = |row: &Row<'_>| Ok(Usage { items: to_u64(row.get(0)?), bytes: to_u64(row.get(1)?) });
        let of_device = self.one(
            "SELECT count(*), coalesce(sum(length(bytes)), 0) FROM quarantine
             WHERE institute = ?1 AND device = ?2 AND settled_at IS NULL",
            (self.institute, device),
            read,
        )?;
        let of_institute = self.one(
            "SELECT count(*), coalesce(sum(length(bytes)), 0) FROM quarantine
             WHERE institute = ?1 AND settled_at IS NULL",
            (self.institute,),
            read,
        )?;
        Ok((of_device.unwrap_or_default(), of_institute.unwrap_or_default()))
    }

    fn quarantine_after(
        &self,
        place: Option<&QuarantinePlace>,
        document: Option<DocumentId>,
        limit: u32,
    ) -> Result<Vec<(QuarantineRow, u64)>, StoreError> {
        let sql = format!(
            "SELECT {WITHOUT_BYTES}, length(bytes) FROM quarantine
             WHERE institute = ?1 AND settled_at IS NULL AND (refused_at, document, hash) > (?2, ?3, ?4)
                 AND (?5 IS NULL OR document = ?5)
             ORDER BY refused_at, document, hash LIMIT ?6"
        );
        let (at, after, hash) = match place {
            Some(place) => (place.refused_at, place.document.to_string(), place.hash.to_vec()),
            None => (i64::MIN, String::new(), Vec::new()),
        };
        let document = document.map(|document| document.to_string());
        let rows = self.all(&sql, (self.institute, at, after, hash, document, limit), |row| {
            Ok((read_row(row)?, to_u64(row.get(8)?)))
        })?;
        rows.into_iter().map(|(row, size)| Ok((parse(row)?, size))).collect()
    }

    fn quarantined(
        &self,
        document: DocumentId,
        hash: &[u8; 32],
    ) -> Result<Option<QuarantineRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM quarantine
             WHERE institute = ?1 AND document = ?2 AND hash = ?3 AND settled_at IS NULL"
        );
        let row = self.one(&sql, (self.institute, document.to_string(), &hash[..]), read_row)?;
        row.map(parse).transpose()
    }
}

impl WriteQuarantine for Transaction<'_> {
    fn quarantine(&self, row: &QuarantineRow) -> Result<bool, StoreError> {
        let added = self.run(
            "INSERT INTO quarantine (institute, document, hash, user, device, edge, code, bytes, refused_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
            (
                self.institute,
                row.document.to_string(),
                &row.hash[..],
                &row.user,
                &row.device,
                &row.edge,
                &row.code,
                &row.bytes,
                row.refused_at,
            ),
        )?;
        Ok(added > 0)
    }

    fn settle_arrived(&self, document: DocumentId, hashes: &[[u8; 32]], now: i64) -> Result<(), StoreError> {
        for hash in hashes {
            self.settle_quarantined(document, hash, QuarantineOutcome::Arrived, None, now)?;
        }
        Ok(())
    }

    fn settle_quarantined(
        &self,
        document: DocumentId,
        hash: &[u8; 32],
        outcome: QuarantineOutcome,
        by: Option<&str>,
        now: i64,
    ) -> Result<bool, StoreError> {
        let settled = self.run(
            "UPDATE quarantine SET settled_at = ?4, settled_by = ?5, outcome = ?6, bytes = x''
             WHERE institute = ?1 AND document = ?2 AND hash = ?3 AND settled_at IS NULL",
            (self.institute, document.to_string(), &hash[..], now, by, outcome.as_str()),
        )?;
        Ok(settled > 0)
    }
}
