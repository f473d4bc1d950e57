//! Documents of an older version of their kind, which become new ones when somebody asks for them by kind and subject; those
//! that somebody writes do with what is written ([`super::push`]).

use super::push::{Place, Work, append, commit};
use super::races::retried;
use super::{DocumentError, DocumentService, ORIGIN};
use crate::clock::unix_ms;
use crate::store::StoreError;
use sync_protocol::document_id::DocumentId;
use sync_protocol::kind::Kind;
use sync_protocol::kind::versions::newest_migration;
use sync_protocol::token::Claims;

impl DocumentService {
    /// Migrates the document if it has not been, so that a client that cannot do so itself finds what it is to write into.
    pub(super) async fn bring_up_to_date(
        &self,
        by: &Claims,
        kind: Kind,
        document: DocumentId,
    ) -> Result<(), DocumentError> {
        let Some(newest) = newest_migration(kind, document) else { return Ok(()) };
        let there = self.store.read::<_, StoreError, _>(&by.inst, move |records| {
            Ok(!records.changes_among(document, &[newest.0])?.is_empty())
        });
        // Most are new: they wait for nobody's turn.
        if there.await? {
            return Ok(());
        }
        let turn = self.turns.take(&by.inst).await;
        let (service, by) = (self.clone(), by.clone());
        let migrated = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            retried(|| service.migrate_blocking(&by, document))
        });
        migrated.await.unwrap_or(Err(DocumentError::Panicked))
    }

    fn migrate_blocking(&self, by: &Claims, document: DocumentId) -> Result<(), DocumentError> {
        let record =
            self.store.read_blocking::<_, StoreError>(&by.inst, |records| records.document(document))?;
        // Deleted meanwhile.
        let Some(record) = record else { return Ok(()) };
        let now = unix_ms();
        let place =
            Place { store: &self.store, replicas: &self.replicas, institute: &by.inst, edge: ORIGIN, now };
        let mut work = Work::open(place, record, false)?;
        work.migrate(now, (&by.sub, &by.dev))?;
        if !work.accepted.is_empty() {
            let append = append(&mut work);
            self.store.write_blocking::<_, DocumentError, _>(&by.inst, move |tx| commit(tx, &[append]))?;
        }
        self.replicas.put(document, work.replica);
        Ok(())
    }
}
