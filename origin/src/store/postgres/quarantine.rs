//! Changes that were refused, until an admin settles them.

use super::transaction::{Millis, Transaction, millis};
use crate::store::error::StoreError;
use crate::store::figures::Figure;
use crate::store::quarantine::{QuarantineOutcome, QuarantineRow, ReadQuarantine, WriteQuarantine};
use crate::store::transaction::{to_i64, to_u64};
use sync_protocol::document_id::DocumentId;
use sync_protocol::quarantine::Usage;
use tokio_postgres::Row;

const COLUMNS: &str = r#"document, hash, "user", device, edge, code, bytes, refused_at"#;
const WITHOUT_BYTES: &str = r#"document, hash, "user", device, edge, code, ''::bytea, refused_at"#;

fn read_row(row: &Row) -> Result<(String, Vec<u8>, QuarantineRow), tokio_postgres::Error> {
    let item = QuarantineRow {
        document: DocumentId::from_bytes([0; 16]),
        hash: [0; 32],
        user: row.try_get(2)?,
        device: row.try_get(3)?,
        edge: row.try_get(4)?,
        code: row.try_get(5)?,
        bytes: row.try_get(6)?,
        refused_at: millis(row, 7)?,
    };
    Ok((row.try_get(0)?, row.try_get(1)?, item))
}

fn parse((document, hash, row): (String, Vec<u8>, QuarantineRow)) -> Result<QuarantineRow, StoreError> {
    let document =
        document.parse().map_err(|_| StoreError::Corrupt { what: "document id", text: document })?;
    let hash = hash
        .try_into()
        .map_err(|hash| StoreError::Corrupt { what: "hash of a change", text: format!("{hash:?}") })?;
    Ok(QuarantineRow { document, hash, ..row })
}

fn read_usage(row: &Row) -> Result<Usage, tokio_postgres::Error> {
    Ok(Usage { items: to_u64(row.try_get(0)?), bytes: to_u64(row.try_get(1)?) })
}

impl ReadQuarantine for Transaction<'_> {
    fn quarantine_usage(&self, device: &str) -> Result<(Usage, Usage), StoreError> {
        let of_device = self.one(
            "SELECT count(*), coalesce(sum(octet_length(bytes)), 0)::bigint FROM quarantine
             WHERE institute = $1 AND device = $2 AND settled_at IS NULL",
            &[&self.institute, &device],
            read_usage,
        )?;
        let of_institute = self.one(
            "SELECT count(*), coalesce(sum(octet_length(bytes)), 0)::bigint FROM quarantine
             WHERE institute = $1 AND settled_at IS NULL",
            &[&self.institute],
            read_usage,
        )?;
        Ok((of_device.unwrap_or_default(), of_institute.unwrap_or_default()))
    }

    fn quarantine_of(&self, document: DocumentId, limit: u32) -> Result<Vec<QuarantineRow>, StoreError> {
        let sql = format!(
            "SELECT {WITHOUT_BYTES} FROM quarantine WHERE institute = $1 AND document = $2 AND settled_at IS NULL
             ORDER BY refused_at, hash LIMIT $3"
        );
        let document = document.to_string();
        let rows = self.all(&sql, &[&self.institute, &document, &i64::from(limit)], read_row)?;
        rows.into_iter().map(parse).collect()
    }

    fn quarantined(
        &self,
        document: DocumentId,
        hash: &[u8; 32],
    ) -> Result<Option<QuarantineRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM quarantine
             WHERE institute = $1 AND document = $2 AND hash = $3 AND settled_at IS NULL"
        );
        let row = self.one(&sql, &[&self.institute, &document.to_string(), &hash.as_slice()], read_row)?;
        row.map(parse).transpose()
    }
}

impl WriteQuarantine for Transaction<'_> {
    fn quarantine(&self, row: &QuarantineRow) -> Result<bool, StoreError> {
        let added = self.run(
            r#"INSERT INTO quarantine (institute, document, hash, "user", device, edge, code, bytes, refused_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING"#,
            &[
                &self.institute,
                &row.document.to_string(),
                &row.hash.as_slice(),
                &row.user,
                &row.device,
                &row.edge,
                &row.code,
                &row.bytes,
                &Millis(row.refused_at),
            ],
        )?;
        self.figures.add(Figure::Quarantined, "", i64::from(added > 0));
        Ok(added > 0)
    }

    fn settle_arrived(&self, document: DocumentId, hashes: &[[u8; 32]], now: i64) -> Result<(), StoreError> {
        let hashes: Vec<&[u8]> = hashes.iter().map(<[u8; 32]>::as_slice).collect();
        let settled = self.run(
            r"UPDATE quarantine SET settled_at = $4, outcome = $5, bytes = ''
             WHERE institute = $1 AND document = $2 AND hash = ANY ($3) AND settled_at IS NULL",
            &[
                &self.institute,
                &document.to_string(),
                &hashes,
                &Millis(now),
                &QuarantineOutcome::Arrived.as_str(),
            ],
        )?;
        self.figures.add(Figure::Quarantined, "", -to_i64(settled));
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
            r"UPDATE quarantine SET settled_at = $4, settled_by = $5, outcome = $6, bytes = ''
             WHERE institute = $1 AND document = $2 AND hash = $3 AND settled_at IS NULL",
            &[&self.institute, &document.to_string(), &hash.as_slice(), &Millis(now), &by, &outcome.as_str()],
        )?;
        self.figures.add(Figure::Quarantined, "", -i64::from(settled > 0));
        Ok(settled > 0)
    }
}
