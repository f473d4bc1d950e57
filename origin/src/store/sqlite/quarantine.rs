//! Changes that were refused, until an admin settles them.

use super::transaction::Transaction;
use crate::store::error::StoreError;
use crate::store::figures::Figure;
use crate::store::quarantine::{QuarantineOutcome, QuarantineRow, ReadQuarantine, WriteQuarantine};
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

    fn quarantine_of(&self, document: DocumentId, limit: u32) -> Result<Vec<QuarantineRow>, StoreError> {
        let sql = format!(
            "SELECT {WITHOUT_BYTES} FROM quarantine WHERE institute = ?1 AND document = ?2 AND settled_at IS NULL
             ORDER BY refused_at, hash LIMIT ?3"
        );
        let rows = self.all(&sql, (self.institute, document.to_string(), limit), read_row)?;
        rows.into_iter().map(parse).collect()
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
        self.figures.add(Figure::Quarantined, "", i64::from(added > 0));
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
        self.figures.add(Figure::Quarantined, "", -i64::from(settled > 0));
        Ok(settled > 0)
    }
}
