//! The queue of an institute, for its admins: how much waits, what was set aside and why, and what becomes of that.

use super::shapes::QueueRecord;
use super::{AdminError, AdminService, admit, require_admin};
use crate::services::events::Consumer;
use crate::services::records::{self, Subject};
use crate::store::collections::SET_ASIDE;
use crate::store::{AuditEntry, WriteTx};
use sync_protocol::bookmark::Bookmark;
use sync_protocol::token::Claims;

/// Work is counted up to this: nobody needs to know more, and counting costs.
const COUNTED: u32 = 10_000;

/// What becomes of work that was set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settling {
    /// It is done again.
    Replay,
    /// It is never done.
    Drop,
}

impl Settling {
    fn act(self) -> &'static str {
        match self {
            Settling::Replay => "replay-work",
            Settling::Drop => "drop-work",
        }
    }

    fn settle(self, tx: &WriteTx<'_>, consumer: &str, revision: u64) -> Result<bool, AdminError> {
        Ok(match self {
            Settling::Replay => tx.replay_one(consumer, revision)?,
            Settling::Drop => tx.drop_work(consumer, revision)?,
        })
    }
}

impl AdminService {
    /// How much of the institute's work waits for each consumer, and how much was set aside.
    pub(crate) async fn queues(
        &self,
        claims: &Claims,
        seen: Option<Bookmark>,
    ) -> Result<(Vec<QueueRecord>, Bookmark), AdminError> {
        self.read_as_admin(claims, seen, |records, bookmark| {
            let time = records::local_time(records)?;
            let queues = Consumer::ALL.into_iter().map(|consumer| {
                let figures = records.consumer_figures(consumer.as_str(), COUNTED)?;
                Ok::<_, AdminError>(QueueRecord {
                    consumer: consumer.as_str().to_owned(),
                    waiting: figures.waiting,
                    oldest_at: figures.oldest.map(|at| time.text(at)),
                    set_aside: figures.set_aside,
                })
            });
            Ok((queues.collect::<Result<_, _>>()?, bookmark))
        })
        .await
    }

    /// Settles what one commit asks of one consumer, which was set aside.
    pub(crate) async fn settle_work(
        &self,
        claims: &Claims,
        (consumer, revision): (String, u64),
        settling: Settling,
    ) -> Result<(), AdminError> {
        self.as_admin(claims, move |tx, claims| {
            let key = vec![consumer.clone(), revision.to_string()];
            let sound = !consumer.contains('\0') && i64::try_from(revision).is_ok();
            let subject = Subject::of(&SET_ASIDE, Some(key));
            let state = if sound { subject.state(tx.records())? } else { None };
            let state = state.ok_or(AdminError::NotFound(SET_ASIDE.record))?;
            if !settling.settle(tx, &consumer, revision)? {
                return Err(AdminError::NotFound(SET_ASIDE.record));
            }
            let entry = AuditEntry::of_act(claims, settling.act(), SET_ASIDE.record);
            let (record, before) = (subject.name(), Some(subject.logged(state)));
            Ok(tx.add_audit(&AuditEntry { record, before, revision: tx.revision()?, ..entry })?)
        })
        .await
    }

    /// Has all work of the institute that was set aside done again; how much.
    pub(crate) async fn replay_all(&self, claims: &Claims) -> Result<u64, AdminError> {
        self.as_admin(claims, |tx, claims| {
            let replayed = tx.replay_work(None)?;
            if replayed > 0 {
                let entry = AuditEntry::of_act(claims, Settling::Replay.act(), SET_ASIDE.record);
                let after = Some(serde_json::json!({"replayed": replayed}).to_string());
                tx.add_audit(&AuditEntry { after, revision: tx.revision()?, ..entry })?;
            }
            Ok(replayed)
        })
        .await
    }

    /// Writes, beside the institute's other writes, in the name of somebody who is an admin now.
    async fn as_admin<T: Send + 'static>(
        &self,
        claims: &Claims,
        work: impl FnOnce(&WriteTx<'_>, &Claims) -> Result<T, AdminError> + Send + 'static,
    ) -> Result<T, AdminError> {
        require_admin(claims)?;
        let claims = claims.clone();
        let institute = claims.inst.clone();
        let done = self.store.write_aside(&institute, move |tx| {
            admit(tx.records(), &claims, None)?;
            work(tx, &claims)
        });
        Ok(done.await?.value)
    }
}
