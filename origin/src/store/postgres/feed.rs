//! The feed: what each commit touched, and how far the logs of the edges are committed.

use super::transaction::Transaction;
use crate::store::error::StoreError;
use crate::store::feed::{FeedRow, ReadFeed, WriteFeed};
use crate::store::transaction::{from_json, to_i64, to_u64};

impl ReadFeed for Transaction<'_> {
    fn epoch(&self) -> u64 {
        self.at.epoch
    }

    fn revision(&self) -> Result<u64, StoreError> {
        // Known since the transaction began: a reading one sees one snapshot, a writing one holds the row.
        Ok(self.at.revision)
    }

    fn feed_after(&self, revision: u64, limit: u32) -> Result<Vec<FeedRow>, StoreError> {
        let rows = self.all(
            "SELECT revision, tags, documents::text FROM feed
             WHERE institute = $1 AND revision > $2 ORDER BY revision LIMIT $3",
            &[&self.institute, &to_i64(revision), &i64::from(limit)],
            |row| Ok((row.try_get::<_, i64>(0)?, row.try_get(1)?, row.try_get::<_, String>(2)?)),
        )?;
        rows.into_iter()
            .map(|(revision, tags, documents)| {
                Ok(FeedRow {
                    revision: to_u64(revision),
                    tags,
                    documents: from_json("documents of a commit", &documents)?,
                })
            })
            .collect()
    }

    fn acknowledged(&self, log: &str) -> Result<u64, StoreError> {
        let sql = "SELECT acknowledged FROM edge_logs WHERE institute = $1 AND log = $2";
        self.number(sql, &[&self.institute, &log])
    }
}

impl WriteFeed for Transaction<'_> {
    fn acknowledge(&self, log: &str, edge: &str, sequence: u64) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO edge_logs (institute, log, edge, acknowledged) VALUES ($1, $2, $3, $4)
             ON CONFLICT (institute, log) DO UPDATE
             SET acknowledged = greatest(edge_logs.acknowledged, excluded.acknowledged), edge = excluded.edge",
            &[&self.institute, &log, &edge, &to_i64(sequence)],
        )?;
        Ok(())
    }
}
