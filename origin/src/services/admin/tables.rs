//! CSV out and in: whole collections, a page in memory at a time, and tables that are checked before anything is written.

use super::shapes::{ImportCount, ImportReport};
use super::{AdminError, AdminService};
use crate::services::import::{self, ImportError, Source, Upload};
use crate::services::records;
use crate::store::collections::{Cell, Collection, Selection};
use crate::store::{AuditEntry, StoreError};
use serde_json::json;
use std::io::Read;
use sync_protocol::token::Claims;

/// Rows of one part of an export: a few hundred kilobytes, and a connection held for milliseconds.
const PART_ROWS: u32 = 1_000;

/// A part of an export.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) csv: Vec<u8>,
    /// Where the next part begins; absent after the last.
    pub(crate) next: Option<Vec<Cell>>,
}

impl AdminService {
    /// The part of a collection's export that begins after a row; the first has the header. Each part is of one
    /// revision, the parts together need not be.
    pub(crate) async fn export_part(
        &self,
        claims: &Claims,
        collection: &'static Collection,
        after: Option<Vec<Cell>>,
    ) -> Result<Part, AdminError> {
        self.read_as_admin(claims, None, move |records, _| {
            let time = records::local_time(records)?;
            let sort = &collection.sorts[0];
            let first = after.is_none();
            let selection =
                Selection { filters: Vec::new(), sort, descending: false, after, limit: PART_ROWS };
            let rows = records.select(collection, &selection)?;
            let columns: Vec<_> = collection.columns.iter().filter(|column| !column.alone).collect();
            let at = |name: &str| columns.iter().position(|column| column.name == name);
            let full = rows.len() == PART_ROWS as usize;
            let next = rows
                .last()
                .filter(|_| full)
                .map(|row| sort.columns.iter().filter_map(|name| row.get(at(name)?).cloned()).collect());
            let mut csv = csv::Writer::from_writer(Vec::new());
            if first {
                csv.write_record(columns.iter().map(|column| column.name)).map_err(AdminError::csv)?;
            }
            for row in rows {
                let fields = row.into_iter().map(|cell| match cell {
                    Cell::Null => String::new(),
                    Cell::Text(text) | Cell::Json(text) => text,
                    Cell::Integer(number) => number.to_string(),
                    Cell::Real(number) => number.to_string(),
                    Cell::Time(at) => time.text(at),
                    Cell::Flag(flag) => flag.to_string(),
                });
                csv.write_record(fields).map_err(AdminError::csv)?;
            }
            let csv = csv.into_inner().map_err(|error| AdminError::csv(error.into_error().into()))?;
            Ok(Part { csv, next })
        })
        .await
    }

    /// Checks a table as it arrives, then writes it if nothing is wrong with it.
    pub(crate) async fn import(
        &self,
        claims: &Claims,
        upload: Upload,
        bytes: Box<dyn Read + Send>,
        dry_run: bool,
    ) -> Result<ImportReport, AdminError> {
        self.admit(claims).await?;
        // Imports hold a whole table in memory and write for long: one at a time.
        let turn = self.imports.clone().acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let (store, claims) = (self.store.clone(), claims.clone());
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let source = Source::receive(upload, bytes)?;
            let summary = import::run(&store, &claims.inst, source, dry_run)?;
            let counts: Vec<ImportCount> = summary
                .into_counts()
                .map(|(kind, new, there)| ImportCount { kind: kind.to_owned(), new, there })
                .collect();
            let report = ImportReport { dry_run, counts };
            if !dry_run {
                let after = json!({"counts": report.counts}).to_string();
                let institute = claims.inst.clone();
                store.write_blocking::<_, StoreError, _>(&institute, move |tx| {
                    let act = match upload {
                        Upload::Roster => "import-roster",
                        Upload::Results => "import-results",
                    };
                    let entry = AuditEntry::of_act(&claims, act, "import");
                    tx.add_audit(&AuditEntry { after: Some(after), revision: tx.revision()?, ..entry })
                })?;
            }
            Ok::<_, ImportError>(report)
        });
        Ok(done.await.unwrap_or_else(|_| Err(StoreError::Panicked.into()))?)
    }
}
