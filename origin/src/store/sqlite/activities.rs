//! What users do with their accounts.

use super::transaction::Transaction;
use crate::store::activities::{Activity, WriteActivities};
use crate::store::error::StoreError;
use crate::store::retention::Trimmed;

impl WriteActivities for Transaction<'_> {
    fn add_activity(&self, activity: &Activity) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO user_activities (institute, activity, at, user, kind, device)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            (
                self.institute,
                &activity.activity,
                activity.at,
                &activity.user,
                activity.kind.as_str(),
                &activity.device,
            ),
        )?;
        Ok(())
    }

    fn trim_activities(&self, before: i64, limit: u32) -> Result<Trimmed, StoreError> {
        // The oldest come first in the order of their ids.
        let trimmed = self.run(
            "DELETE FROM user_activities WHERE institute = ?1 AND activity IN (
                 SELECT activity FROM (SELECT activity, at FROM user_activities WHERE institute = ?1
                     ORDER BY activity LIMIT ?3) WHERE at < ?2)",
            (self.institute, before, limit),
        )?;
        Ok(Trimmed::of_rows(trimmed as u64, limit))
    }
}
