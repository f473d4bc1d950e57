//! Dropping what was kept long enough.
//!
//! Little by little and institute by institute, so that nobody waits for it; several origins may do it at once. The feed
//! is not here: each commit trims its own (`store/transaction.rs`).

use crate::clock::unix_ms;
use crate::store::{NO_INSTITUTE, Store, StoreError};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it is looked for, and how long after the start first.
const EVERY: Duration = Duration::from_secs(6 * 60 * 60);
const FIRST: Duration = Duration::from_secs(60);
/// Rows that one transaction drops at most, and the pause after one that did.
const ROWS: u32 = 1_000;
const PAUSE: Duration = Duration::from_millis(50);
/// Institutes that are listed at a time.
const INSTITUTES: u32 = 100;
/// Refresh tokens stay for so long after they have expired: whoever shows one is told that, and not that it never was.
const EXPIRED_TOKENS: Duration = Duration::from_secs(30 * 24 * 60 * 60);

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// An edge delivers commands that are as old as 30 days, and asks again until it is answered: a decision must be known
/// for longer.
const DECISIONS_DAYS: std::ops::RangeInclusive<u32> = 60..=36_500;
const NOTIFICATIONS_DAYS: std::ops::RangeInclusive<u32> = 1..=36_500;
const ACTIVITIES_DAYS: std::ops::RangeInclusive<u32> = 1..=36_500;

const TRIMMED: &str = "rollcall_origin_retention_rows_total";

/// The settings under `[retention]` as they are written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RetentionSettings {
    decisions_days: u32,
    notifications_days: u32,
    activities_days: u32,
}

impl Default for RetentionSettings {
    fn default() -> Self {
        Self { decisions_days: 400, notifications_days: 180, activities_days: 400 }
    }
}

/// How long what is kept, checked.
#[derive(Debug, Clone)]
pub(crate) struct RetentionConfig {
    /// What was decided about commands. A command that is delivered again after that is applied again.
    decisions_days: u32,
    notifications_days: u32,
    /// On Postgres a month goes when its last day is as old.
    activities_days: u32,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        RetentionSettings::default().check(&mut Vec::new())
    }
}

impl RetentionSettings {
    pub(crate) fn check(self, faults: &mut Vec<String>) -> RetentionConfig {
        let mut within = |name: &str, days: u32, range: std::ops::RangeInclusive<u32>| {
            if !range.contains(&days) {
                faults.push(format!("retention.{name} is {days}, not {} to {}", range.start(), range.end()));
            }
        };
        within("decisions_days", self.decisions_days, DECISIONS_DAYS);
        within("notifications_days", self.notifications_days, NOTIFICATIONS_DAYS);
        within("activities_days", self.activities_days, ACTIVITIES_DAYS);
        let Self { decisions_days, notifications_days, activities_days } = self;
        RetentionConfig { decisions_days, notifications_days, activities_days }
    }
}

#[derive(Clone)]
pub(crate) struct RetentionService {
    store: Store,
    config: RetentionConfig,
}

/// What is trimmed.
#[derive(Debug, Clone, Copy)]
enum Kept {
    Decisions,
    Notifications,
    RefreshTokens,
    Activities,
}

impl Kept {
    const ALL: [Self; 4] = [Self::Decisions, Self::Notifications, Self::RefreshTokens, Self::Activities];

    fn as_str(self) -> &'static str {
        match self {
            Kept::Decisions => "decisions",
            Kept::Notifications => "notifications",
            Kept::RefreshTokens => "refresh-tokens",
            Kept::Activities => "activities",
        }
    }
}

impl RetentionService {
    pub(crate) fn new(store: Store, config: RetentionConfig) -> Self {
        Self { store, config }
    }

    /// Trims once in a while until the process stops.
    pub(crate) async fn run(self, stopping: CancellationToken) {
        let mut pause = FIRST;
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let trimming = self.trim(unix_ms());
            let trimmed = tokio::select! {
                () = stopping.cancelled() => return,
                trimmed = trimming => trimmed,
            };
            match trimmed {
                Ok(0) => {}
                Ok(rows) => tracing::info!(rows, "what was kept long enough is gone"),
                Err(error) => tracing::warn!(%error, "what was kept long enough stays for now"),
            }
            pause = EVERY;
        }
    }

    /// Drops what is too old at `now`; how many rows.
    pub(crate) async fn trim(&self, now: i64) -> Result<u64, StoreError> {
        let (mut trimmed, mut after) = (0, String::new());
        loop {
            let last = after.clone();
            let listed = self.store.read::<_, StoreError, _>(NO_INSTITUTE, move |records| {
                records.institutes_after(&last, INSTITUTES)
            });
            let institutes = listed.await?;
            let Some(last) = institutes.last() else { return Ok(trimmed) };
            after.clone_from(last);
            for institute in &institutes {
                for kept in Kept::ALL {
                    trimmed += self.trim_one(institute, kept, now).await?;
                }
            }
        }
    }

    async fn trim_one(&self, institute: &str, kept: Kept, now: i64) -> Result<u64, StoreError> {
        let before = now - self.age(kept);
        let mut trimmed = 0;
        loop {
            let dropped = self.store.write_aside::<_, StoreError, _>(institute, move |tx| match kept {
                Kept::Decisions => tx.trim_decisions(before, ROWS),
                Kept::Notifications => tx.trim_notifications(before, ROWS),
                Kept::RefreshTokens => tx.trim_refresh_tokens(before, ROWS),
                Kept::Activities => tx.trim_activities(before, ROWS),
            });
            let dropped = dropped.await?.value;
            trimmed += dropped;
            metrics::counter!(TRIMMED, "kind" => kept.as_str()).increment(dropped);
            if dropped < u64::from(ROWS) {
                return Ok(trimmed);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// In milliseconds.
    fn age(&self, kept: Kept) -> i64 {
        match kept {
            Kept::Decisions => i64::from(self.config.decisions_days) * DAY_MS,
            Kept::Notifications => i64::from(self.config.notifications_days) * DAY_MS,
            Kept::Activities => i64::from(self.config.activities_days) * DAY_MS,
            Kept::RefreshTokens => i64::try_from(EXPIRED_TOKENS.as_millis()).unwrap_or(i64::MAX),
        }
    }
}

pub(crate) fn describe() {
    metrics::describe_counter!(TRIMMED, "Rows that were kept long enough and are gone, by kind.");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::seed;
    use crate::store::collections::{ACTIVITIES, Selection};
    use crate::store::{
        Activity, ActivityKind, Decision, DecisionStatus, NewNotification, NotificationId, RefreshToken,
        WriteTx,
    };
    use crate::testing::TestDatabase;

    const INSTITUTE: &str = "northside.example";
    /// A few more than one transaction drops.
    const OLD: u64 = ROWS as u64 + 5;

    fn add_activities(tx: &WriteTx<'_>, user: &str, now: i64, days_ago: &[i64]) -> Result<(), StoreError> {
        for days in days_ago {
            tx.add_activity(&Activity {
                activity: format!("{:013}", now - days * DAY_MS),
                at: now - days * DAY_MS,
                user: user.to_owned(),
                kind: ActivityKind::SignedIn,
                device: "d".into(),
            })?;
        }
        Ok(())
    }

    async fn only_what_is_old_enough_goes(store: Store) {
        let now = unix_ms();
        let student = seed::user_id_of("student@northside.example");
        let user = student.clone();
        let written = store.write::<_, StoreError, _>(INSTITUTE, move |tx| {
            for position in 0..=OLD {
                let id = NotificationId { revision: 1, position };
                let days = if position == OLD { 179 } else { 181 };
                let body = "{}".to_owned();
                let created_at = now - days * DAY_MS;
                tx.notify_user(&user, &NewNotification { id, kind: "k", body, created_at })?;
            }
            for (key, days) in [("young", 399), ("old", 401)] {
                let decision = Decision {
                    user: user.clone(),
                    device: "d".into(),
                    request_hash: vec![1],
                    status: DecisionStatus::Delivered,
                    outcome: "{}".into(),
                    revision: 1,
                };
                tx.add_decision(key, &decision, now - days * DAY_MS)?;
            }
            for (hash, days) in [([1; 32], 29), ([2; 32], 31)] {
                tx.add_refresh_token(&RefreshToken {
                    token_hash: hash.to_vec(),
                    family: "f".into(),
                    user: user.clone(),
                    device: "d".into(),
                    issued_at: 0,
                    expires_at: now - days * DAY_MS,
                    rotated_at: None,
                    revoked_at: None,
                })?;
            }
            add_activities(tx, &user, now, &[1, 300, 460, 800])
        });
        written.await.unwrap();
        let retention = RetentionService::new(store.clone(), RetentionConfig::default());
        assert_eq!(retention.trim(now).await.unwrap(), OLD + 4);
        assert_eq!(retention.trim(now).await.unwrap(), 0);
        let left = store.read::<_, StoreError, _>(INSTITUTE, move |records| {
            let decisions = [records.decision("young")?.is_some(), records.decision("old")?.is_some()];
            let activities = Selection {
                filters: Vec::new(),
                sort: &ACTIVITIES.sorts[0],
                descending: false,
                after: None,
                limit: 10,
            };
            let activities = records.select(&ACTIVITIES, &activities)?.len();
            Ok((records.notifications(&student, None, 10)?.len(), decisions, activities))
        });
        assert_eq!(left.await.unwrap(), (1, [true, false], 2));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn only_what_is_old_enough_goes_on_sqlite() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let opened = tokio::task::spawn_blocking(move || {
            let store = Store::open(&path).unwrap();
            seed::load(&store, unix_ms()).unwrap();
            store
        });
        only_what_is_old_enough_goes(opened.await.unwrap()).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn only_what_is_old_enough_goes_on_postgres() {
        let opened = tokio::task::spawn_blocking(|| {
            let database = TestDatabase::create();
            let store = Store::connect(&database.config()).unwrap();
            seed::load(&store, unix_ms()).unwrap();
            (store, database)
        });
        let (store, _database) = opened.await.unwrap();
        only_what_is_old_enough_goes(store).await;
    }

    #[test]
    fn decisions_outlive_what_an_edge_may_still_deliver() {
        let mut faults = Vec::new();
        RetentionSettings { decisions_days: 30, notifications_days: 0, activities_days: 400 }
            .check(&mut faults);
        assert_eq!(faults[0], "retention.decisions_days is 30, not 60 to 36500");
        assert_eq!(faults.len(), 2);
    }
}
