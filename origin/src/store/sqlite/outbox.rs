//! The outbox: what commits ask to be done after them.

use super::transaction::Transaction;
use crate::store::error::StoreError;
use crate::store::outbox::{AfterFailure, OutboxFigures, ReadOutbox, SetAside, Work, WriteOutbox};
use crate::store::transaction::{to_i64, to_u64};
use rusqlite::Row;
use std::time::Duration;

impl ReadOutbox for Transaction<'_> {
    fn outbox_figures(&self) -> Result<OutboxFigures, StoreError> {
        let waiting = self.one(
            "SELECT count(*), min(committed_at) FROM outbox WHERE set_aside_at IS NULL",
            (),
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?)),
        )?;
        let (waiting, oldest) = waiting.unwrap_or_default();
        let set_aside = self.number("SELECT count(*) FROM outbox WHERE set_aside_at IS NOT NULL", ())?;
        Ok(OutboxFigures { waiting: to_u64(waiting), oldest, set_aside })
    }

    fn work_set_aside(&self, limit: u32) -> Result<Vec<SetAside>, StoreError> {
        self.all(
            "SELECT institute, consumer, revision, events, committed_at, failures, coalesce(fault, ''), set_aside_at
             FROM outbox WHERE set_aside_at IS NOT NULL AND (?1 = '' OR institute = ?1)
             ORDER BY set_aside_at LIMIT ?2",
            (self.institute, limit),
            |row| {
                Ok(SetAside {
                    work: work(row)?,
                    failures: to_u64(row.get(5)?),
                    fault: row.get(6)?,
                    set_aside_at: row.get(7)?,
                })
            },
        )
    }

    fn consumer_figures(&self, consumer: &str, most: u32) -> Result<OutboxFigures, StoreError> {
        let figures = self.one(
            "SELECT (SELECT count(*) FROM (SELECT 1 FROM outbox WHERE institute = ?1 AND consumer = ?2
                     AND set_aside_at IS NULL LIMIT ?3)),
                 (SELECT committed_at FROM outbox WHERE institute = ?1 AND consumer = ?2 AND set_aside_at IS NULL
                     ORDER BY revision LIMIT 1),
                 (SELECT count(*) FROM (SELECT 1 FROM outbox WHERE institute = ?1 AND consumer = ?2
                     AND set_aside_at IS NOT NULL LIMIT ?3))",
            (self.institute, consumer, most),
            |row| {
                let (waiting, set_aside) = (to_u64(row.get(0)?), to_u64(row.get(2)?));
                Ok(OutboxFigures { waiting, oldest: row.get(1)?, set_aside })
            },
        )?;
        Ok(figures.unwrap_or(OutboxFigures { waiting: 0, oldest: None, set_aside: 0 }))
    }

    fn failures_of_work(&self, consumer: &str, revision: u64) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT failures FROM outbox WHERE institute = ?1 AND consumer = ?2 AND revision = ?3";
        self.one(sql, (self.institute, consumer, to_i64(revision)), |row| Ok(to_u64(row.get(0)?)))
    }
}

impl WriteOutbox for Transaction<'_> {
    fn claim_work(&self, lease: Duration, limit: u32) -> Result<Vec<Work>, StoreError> {
        let mut claimed = self.all(
            "UPDATE outbox SET due_at = CAST(unixepoch('subsec') * 1000 AS INTEGER) + ?1
             WHERE (institute, consumer, revision) IN (
                 SELECT institute, consumer, revision FROM outbox
                 WHERE set_aside_at IS NULL AND due_at <= CAST(unixepoch('subsec') * 1000 AS INTEGER)
                 ORDER BY due_at, revision LIMIT ?2)
             RETURNING institute, consumer, revision, events, committed_at",
            (millis(lease), limit),
            work,
        )?;
        claimed.sort_by_key(|work| work.revision);
        Ok(claimed)
    }

    fn take_work(&self, consumer: &str, revision: u64) -> Result<Option<Work>, StoreError> {
        self.one(
            "DELETE FROM outbox WHERE institute = ?1 AND consumer = ?2 AND revision = ?3
             RETURNING institute, consumer, revision, events, committed_at",
            (self.institute, consumer, to_i64(revision)),
            work,
        )
    }

    fn put_off_work(&self, consumer: &str, revisions: &[u64], pause: Duration) -> Result<(), StoreError> {
        for revision in revisions {
            self.run(
                "UPDATE outbox SET due_at = CAST(unixepoch('subsec') * 1000 AS INTEGER) + ?4
                 WHERE institute = ?1 AND consumer = ?2 AND revision = ?3 AND set_aside_at IS NULL",
                (self.institute, consumer, to_i64(*revision), millis(pause)),
            )?;
        }
        Ok(())
    }

    fn fail_work(
        &self,
        consumer: &str,
        revision: u64,
        fault: &str,
        after: AfterFailure,
    ) -> Result<(), StoreError> {
        let (pause, aside) = match after {
            AfterFailure::Retry(pause) => (millis(pause), false),
            AfterFailure::SetAside => (0, true),
        };
        self.run(
            "UPDATE outbox SET failures = failures + 1, fault = ?4,
                 due_at = CAST(unixepoch('subsec') * 1000 AS INTEGER) + ?5,
                 set_aside_at = CASE WHEN ?6 THEN CAST(unixepoch('subsec') * 1000 AS INTEGER) END
             WHERE institute = ?1 AND consumer = ?2 AND revision = ?3",
            (self.institute, consumer, to_i64(revision), fault, pause, aside),
        )?;
        Ok(())
    }

    fn replay_one(&self, consumer: &str, revision: u64) -> Result<bool, StoreError> {
        let replayed = self.run(
            "UPDATE outbox SET failures = 0, fault = NULL, set_aside_at = NULL,
                 due_at = CAST(unixepoch('subsec') * 1000 AS INTEGER)
             WHERE institute = ?1 AND consumer = ?2 AND revision = ?3 AND set_aside_at IS NOT NULL",
            (self.institute, consumer, to_i64(revision)),
        )?;
        Ok(replayed > 0)
    }

    fn drop_work(&self, consumer: &str, revision: u64) -> Result<bool, StoreError> {
        let sql = "DELETE FROM outbox
             WHERE institute = ?1 AND consumer = ?2 AND revision = ?3 AND set_aside_at IS NOT NULL";
        Ok(self.run(sql, (self.institute, consumer, to_i64(revision)))? > 0)
    }

    fn replay_work(&self, revision: Option<u64>) -> Result<u64, StoreError> {
        let replayed = self.run(
            "UPDATE outbox SET failures = 0, fault = NULL, set_aside_at = NULL,
                 due_at = CAST(unixepoch('subsec') * 1000 AS INTEGER)
             WHERE institute = ?1 AND set_aside_at IS NOT NULL AND (?2 IS NULL OR revision = ?2)",
            (self.institute, revision.map(to_i64)),
        )?;
        Ok(replayed as u64)
    }
}

fn work(row: &Row<'_>) -> rusqlite::Result<Work> {
    Ok(Work {
        institute: row.get(0)?,
        consumer: row.get(1)?,
        revision: to_u64(row.get(2)?),
        events: row.get(3)?,
        committed_at: row.get(4)?,
    })
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
