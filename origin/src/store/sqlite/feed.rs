//! The feed: what each commit touched, and how far the logs of the edges are committed.

use super::transaction::Transaction;
use crate::store::error::StoreError;
use crate::store::feed::{FeedRow, ReadFeed, WriteFeed};
use crate::store::transaction::{from_json, to_i64, to_u64};

impl ReadFeed for Transaction<'_> {
    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn revision(&self) -> Result<u64, StoreError> {
        let sql = "SELECT revision FROM institutes WHERE institute = ?1";
        let revision = self.one(sql, (self.institute,), |row| row.get::<_, i64>(0))?;
        Ok(to_u64(revision.unwrap_or(0)))
    }

    fn feed_after(&self, revision: u64, limit: u32) -> Result<Vec<FeedRow>, StoreError> {
        let rows = self.all(
            "SELECT revision, tags, documents FROM feed
             WHERE institute = ?1 AND revision > ?2 ORDER BY revision LIMIT ?3",
            (self.institute, to_i64(revision), limit),
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?)),
        )?;
        rows.into_iter()
            .map(|(revision, tags, documents)| {
                Ok(FeedRow {
                    revision: to_u64(revision),
                    tags: from_json("tags of a commit", &tags)?,
                    documents: from_json("documents of a commit", &documents)?,
                })
            })
            .collect()
    }

    fn acknowledged(&self, log: &str) -> Result<u64, StoreError> {
        let sql = "SELECT acknowledged FROM edge_logs WHERE institute = ?1 AND log = ?2";
        let acknowledged = self.one(sql, (self.institute, log), |row| row.get::<_, i64>(0))?;
        Ok(to_u64(acknowledged.unwrap_or(0)))
    }
}

impl WriteFeed for Transaction<'_> {
    fn acknowledge(&self, log: &str, edge: &str, sequence: u64) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO edge_logs (institute, log, edge, acknowledged) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (institute, log) DO UPDATE
             SET acknowledged = max(acknowledged, excluded.acknowledged), edge = excluded.edge",
            (self.institute, log, edge, to_i64(sequence)),
        )?;
        Ok(())
    }
}
