//! What users do with their accounts.

use super::transaction::{Millis, Transaction};
use crate::store::activities::{Activity, WriteActivities};
use crate::store::error::StoreError;
use crate::store::transaction::to_u64;

impl WriteActivities for Transaction<'_> {
    fn add_activity(&self, activity: &Activity) -> Result<(), StoreError> {
        self.run(
            r#"INSERT INTO user_activities (institute, activity, at, "user", kind, device)
             VALUES ($1, $2, $3, $4, $5, $6)"#,
            &[
                &self.institute,
                &activity.activity,
                &Millis(activity.at),
                &activity.user,
                &activity.kind.as_str(),
                &activity.device,
            ],
        )?;
        Ok(())
    }

    fn trim_activities(&self, before: i64, _limit: u32) -> Result<u64, StoreError> {
        let rows: Vec<i64> =
            self.all("SELECT retire_activity_partitions($1)", &[&Millis(before)], |row| row.try_get(0))?;
        Ok(rows.into_iter().map(to_u64).sum())
    }
}
