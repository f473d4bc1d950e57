//! What users do with their accounts.

use super::transaction::{Millis, Transaction};
use crate::store::activities::{Activity, WriteActivities};
use crate::store::error::StoreError;
use crate::store::retention::Trimmed;

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

    fn trim_activities(&self, before: i64, _limit: u32) -> Result<Trimmed, StoreError> {
        self.retire("retire_activity_partition", before)
    }
}
