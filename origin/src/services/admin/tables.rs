//! CSV out and in: whole collections, a page in memory at a time, and tables that are checked before anything is written.

use super::shapes::{ImportCount, ImportReport};
use super::{AdminError, AdminService};
use crate::services::import::{self, ImportError, Importer, Source};
use crate::services::records;
use crate::store::StoreError;
use crate::store::collections::{Cell, Collection, Selection};
use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use sync_protocol::bookmark::Bookmark;
use sync_protocol::token::Claims;
use tokio::sync::{Mutex as Turns, OwnedMutexGuard, Semaphore};

/// Rows of one part of an export: a few hundred kilobytes, and a connection held for milliseconds.
const PART_ROWS: u32 = 1_000;
/// Imports that are worked on at once: each holds a whole table in memory. One that is large holds up no small one.
const WORKING: usize = 2;

/// A part of an export.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) csv: Vec<u8>,
    /// Where the next part begins; absent after the last.
    pub(crate) next: Option<Vec<Cell>>,
    /// Of the revision that the part shows.
    pub(crate) bookmark: Bookmark,
}

/// Who may import now. An institute has one import at a time, from before its table arrives: a client that is slow holds
/// up its own institute alone.
pub(crate) struct Imports {
    institutes: Mutex<HashMap<String, Weak<Turns<()>>>>,
    working: Arc<Semaphore>,
}

impl Default for Imports {
    fn default() -> Self {
        Self { institutes: Mutex::default(), working: Arc::new(Semaphore::new(WORKING)) }
    }
}

/// That of one institute.
pub(crate) struct ImportTurn {
    _institute: OwnedMutexGuard<()>,
}

impl Imports {
    async fn turn_of(&self, institute: &str) -> ImportTurn {
        let turns = {
            let mut institutes = self.institutes.lock().unwrap_or_else(PoisonError::into_inner);
            // What nobody has or waits for.
            institutes.retain(|_, turns| turns.strong_count() > 0);
            let known = institutes.get(institute).and_then(Weak::upgrade);
            let turns = known.unwrap_or_default();
            institutes.insert(institute.to_owned(), Arc::downgrade(&turns));
            turns
        };
        ImportTurn { _institute: turns.lock_owned().await }
    }
}

impl AdminService {
    /// The part of a collection's export that begins after a row; the first has the header. Each part is of one
    /// revision, which is not before what the reader has `seen`; the parts together need not be.
    pub(crate) async fn export_part(
        &self,
        claims: &Claims,
        collection: &'static Collection,
        after: Option<Vec<Cell>>,
        seen: Option<Bookmark>,
    ) -> Result<Part, AdminError> {
        self.read_as_admin(claims, seen, move |records, bookmark| {
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
            Ok(Part { csv, next, bookmark })
        })
        .await
    }

    /// Waits until no other import of the institute is on its way; for admins.
    pub(crate) async fn import_turn(&self, claims: &Claims) -> Result<ImportTurn, AdminError> {
        self.admit(claims).await?;
        Ok(self.imports.turn_of(&claims.inst).await)
    }

    /// Checks a table that has arrived, then writes it if nothing is wrong with it.
    pub(crate) async fn import(
        &self,
        turn: ImportTurn,
        importer: Importer,
        table: File,
        dry_run: bool,
    ) -> Result<ImportReport, AdminError> {
        let working = self.imports.working.clone().acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let store = self.store.clone();
        let done = tokio::task::spawn_blocking(move || {
            let _held = (turn, working);
            let source = Source::receive(importer.upload, Box::new(table))?;
            let institute = importer.claims.inst.clone();
            let summary = import::run(&store, &institute, source, Some(&importer), dry_run)?;
            let counts = summary
                .into_counts()
                .map(|(kind, new, there)| ImportCount { kind: kind.to_owned(), new, there })
                .collect();
            Ok::<_, ImportError>(ImportReport { dry_run, counts })
        });
        Ok(done.await.unwrap_or_else(|_| Err(StoreError::Panicked.into()))?)
    }
}
