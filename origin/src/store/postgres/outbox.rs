//! The outbox: what commits ask to be done after them.

use super::transaction::{Transaction, millis};
use crate::store::error::StoreError;
use crate::store::outbox::{AfterFailure, OutboxFigures, ReadOutbox, SetAside, Work, WriteOutbox};
use crate::store::transaction::{to_i64, to_u64};
use std::time::Duration;
use tokio_postgres::Row;

impl ReadOutbox for Transaction<'_> {
    fn outbox_figures(&self) -> Result<OutboxFigures, StoreError> {
        let figures = self.one("SELECT waiting, oldest, set_aside FROM outbox_figures()", &[], |row| {
            Ok(OutboxFigures {
                waiting: to_u64(row.try_get(0)?),
                oldest: super::transaction::some_millis(row, 1)?,
                set_aside: to_u64(row.try_get(2)?),
            })
        })?;
        Ok(figures.unwrap_or(OutboxFigures { waiting: 0, oldest: None, set_aside: 0 }))
    }

    fn work_set_aside(&self, limit: u32) -> Result<Vec<SetAside>, StoreError> {
        let read = |row: &Row| {
            Ok(SetAside {
                work: work(row)?,
                failures: to_u64(row.try_get(5)?),
                fault: row.try_get::<_, Option<String>>(6)?.unwrap_or_default(),
                set_aside_at: millis(row, 7)?,
            })
        };
        if self.institute.is_empty() {
            return self.all("SELECT * FROM work_set_aside($1)", &[&i64::from(limit)], read);
        }
        self.all(
            "SELECT institute, consumer, revision, events::text, committed_at, failures, fault, set_aside_at
             FROM outbox WHERE institute = $1 AND set_aside_at IS NOT NULL ORDER BY set_aside_at LIMIT $2",
            &[&self.institute, &i64::from(limit)],
            read,
        )
    }

    fn consumer_figures(&self, consumer: &str, most: u32) -> Result<OutboxFigures, StoreError> {
        let figures = self.one(
            "SELECT (SELECT count(*) FROM (SELECT 1 FROM outbox WHERE institute = $1 AND consumer = $2
                     AND set_aside_at IS NULL ORDER BY revision LIMIT $3) waiting),
                 (SELECT committed_at FROM outbox WHERE institute = $1 AND consumer = $2 AND set_aside_at IS NULL
                     ORDER BY revision LIMIT 1),
                 (SELECT count(*) FROM (SELECT 1 FROM outbox WHERE institute = $1 AND consumer = $2
                     AND set_aside_at IS NOT NULL ORDER BY set_aside_at LIMIT $3) aside)",
            &[&self.institute, &consumer, &i64::from(most)],
            |row| {
                Ok(OutboxFigures {
                    waiting: to_u64(row.try_get(0)?),
                    oldest: super::transaction::some_millis(row, 1)?,
                    set_aside: to_u64(row.try_get(2)?),
                })
            },
        )?;
        Ok(figures.unwrap_or(OutboxFigures { waiting: 0, oldest: None, set_aside: 0 }))
    }

    fn failures_of_work(&self, consumer: &str, revision: u64) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT failures FROM outbox WHERE institute = $1 AND consumer = $2 AND revision = $3";
        self.one(sql, &[&self.institute, &consumer, &to_i64(revision)], |row| Ok(to_u64(row.try_get(0)?)))
    }
}

impl WriteOutbox for Transaction<'_> {
    fn claim_work(&self, lease: Duration, limit: u32) -> Result<Vec<Work>, StoreError> {
        let sql = "SELECT institute, consumer, revision, events, committed_at FROM claim_work($1, $2)";
        let mut claimed = self.all(sql, &[&duration(lease), &i64::from(limit)], work)?;
        claimed.sort_by_key(|work| work.revision);
        Ok(claimed)
    }

    fn take_work(&self, consumer: &str, revision: u64) -> Result<Option<Work>, StoreError> {
        self.one(
            "DELETE FROM outbox WHERE institute = $1 AND consumer = $2 AND revision = $3
             RETURNING institute, consumer, revision, events::text, committed_at",
            &[&self.institute, &consumer, &to_i64(revision)],
            work,
        )
    }

    fn put_off_work(&self, consumer: &str, revisions: &[u64], pause: Duration) -> Result<(), StoreError> {
        let revisions: Vec<i64> = revisions.iter().copied().map(to_i64).collect();
        self.run(
            "UPDATE outbox SET due_at = clock_timestamp() + $4::bigint * interval '1 millisecond'
             WHERE institute = $1 AND consumer = $2 AND revision = ANY ($3) AND set_aside_at IS NULL",
            &[&self.institute, &consumer, &revisions, &duration(pause)],
        )?;
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
            AfterFailure::Retry(pause) => (duration(pause), false),
            AfterFailure::SetAside => (0, true),
        };
        self.run(
            "UPDATE outbox SET failures = failures + 1, fault = $4,
                 due_at = date_trunc('milliseconds', clock_timestamp()) + $5::bigint * interval '1 millisecond',
                 set_aside_at = CASE WHEN $6 THEN date_trunc('milliseconds', clock_timestamp()) END
             WHERE institute = $1 AND consumer = $2 AND revision = $3",
            &[&self.institute, &consumer, &to_i64(revision), &fault, &pause, &aside],
        )?;
        Ok(())
    }

    fn replay_one(&self, consumer: &str, revision: u64) -> Result<bool, StoreError> {
        let replayed = self.run(
            "UPDATE outbox SET failures = 0, fault = NULL, set_aside_at = NULL,
                 due_at = date_trunc('milliseconds', clock_timestamp())
             WHERE institute = $1 AND consumer = $2 AND revision = $3 AND set_aside_at IS NOT NULL",
            &[&self.institute, &consumer, &to_i64(revision)],
        )?;
        Ok(replayed > 0)
    }

    fn drop_work(&self, consumer: &str, revision: u64) -> Result<bool, StoreError> {
        let sql = "DELETE FROM outbox
             WHERE institute = $1 AND consumer = $2 AND revision = $3 AND set_aside_at IS NOT NULL";
        Ok(self.run(sql, &[&self.institute, &consumer, &to_i64(revision)])? > 0)
    }

    fn replay_work(&self, revision: Option<u64>) -> Result<u64, StoreError> {
        self.run(
            "UPDATE outbox SET failures = 0, fault = NULL, set_aside_at = NULL,
                 due_at = date_trunc('milliseconds', clock_timestamp())
             WHERE institute = $1 AND set_aside_at IS NOT NULL AND ($2::bigint IS NULL OR revision = $2)",
            &[&self.institute, &revision.map(to_i64)],
        )
    }
}

fn work(row: &Row) -> Result<Work, tokio_postgres::Error> {
    Ok(Work {
        institute: row.try_get(0)?,
        consumer: row.try_get(1)?,
        revision: to_u64(row.try_get(2)?),
        events: row.try_get(3)?,
        committed_at: millis(row, 4)?,
    })
}

fn duration(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
