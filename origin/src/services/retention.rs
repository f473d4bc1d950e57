//! Dropping what was kept long enough.
//!
//! Little by little and institute by institute, so that nobody waits for it; several origins may do it at once. The feed
//! is not here: each commit trims its own (`store/transaction.rs`).

#[cfg(test)]
mod tests;

use crate::clock::unix_ms;
use crate::store::{Left, NO_INSTITUTE, Store, StoreError, Trimmed};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it is looked for, and how long after the start first.
const EVERY: Duration = Duration::from_secs(6 * 60 * 60);
const FIRST: Duration = Duration::from_secs(60);
/// Rows that one transaction drops at most, and the pause after one that did.
const ROWS: u32 = 1_000;
const PAUSE: Duration = Duration::from_millis(50);
/// How often a partition is tried that somebody uses, and the pause before the next try: a read takes milliseconds, an
/// export or a backup minutes, and then it goes the next time.
const TRIES: u32 = 5;
const IN_USE_PAUSE: Duration = Duration::from_millis(500);
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
/// No less than a term: who comes back after it reads what was written to them.
const MESSAGES_DAYS: std::ops::RangeInclusive<u32> = 90..=36_500;

const TRIMMED: &str = "rollcall_origin_retention_rows_total";

/// The settings under `[retention]` as they are written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RetentionSettings {
    decisions_days: u32,
    notifications_days: u32,
    activities_days: u32,
    messages_days: Option<u32>,
}

impl Default for RetentionSettings {
    fn default() -> Self {
        Self { decisions_days: 400, notifications_days: 180, activities_days: 400, messages_days: None }
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
    /// On Postgres a quarter goes when its last day is as old. Without it messages stay.
    messages_days: Option<u32>,
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
        if let Some(days) = self.messages_days {
            within("messages_days", days, MESSAGES_DAYS);
        }
        let Self { decisions_days, notifications_days, activities_days, messages_days } = self;
        RetentionConfig { decisions_days, notifications_days, activities_days, messages_days }
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
    Messages,
}

impl Kept {
    const ALL: [Self; 5] =
        [Self::Decisions, Self::Notifications, Self::RefreshTokens, Self::Activities, Self::Messages];

    fn as_str(self) -> &'static str {
        match self {
            Kept::Decisions => "decisions",
            Kept::Notifications => "notifications",
            Kept::RefreshTokens => "refresh-tokens",
            Kept::Activities => "activities",
            Kept::Messages => "messages",
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
        let Some(age) = self.age(kept) else { return Ok(0) };
        let before = now - age;
        let (mut trimmed, mut tries) = (0, 0);
        loop {
            let dropped = self.store.write_aside::<_, StoreError, _>(institute, move |tx| {
                let rows = |rows| Trimmed::of_rows(rows, ROWS);
                match kept {
                    Kept::Decisions => tx.trim_decisions(before, ROWS).map(rows),
                    Kept::Notifications => tx.trim_notifications(before, ROWS).map(rows),
                    Kept::RefreshTokens => tx.trim_refresh_tokens(before, ROWS).map(rows),
                    Kept::Activities => tx.trim_activities(before, ROWS),
                    Kept::Messages => tx.trim_messages(before, ROWS),
                }
            });
            let dropped = dropped.await?.value;
            trimmed += dropped.rows;
            metrics::counter!(TRIMMED, "kind" => kept.as_str()).increment(dropped.rows);
            match dropped.left {
                Left::Nothing => return Ok(trimmed),
                Left::More => tokio::time::sleep(PAUSE).await,
                Left::InUse if tries == TRIES => {
                    tracing::info!(kind = kept.as_str(), "an old partition is in use and stays for now");
                    return Ok(trimmed);
                }
                Left::InUse => {
                    tries += 1;
                    tokio::time::sleep(IN_USE_PAUSE).await;
                }
            }
        }
    }

    /// In milliseconds; none for what is kept for good.
    fn age(&self, kept: Kept) -> Option<i64> {
        match kept {
            Kept::Decisions => Some(i64::from(self.config.decisions_days) * DAY_MS),
            Kept::Notifications => Some(i64::from(self.config.notifications_days) * DAY_MS),
            Kept::Activities => Some(i64::from(self.config.activities_days) * DAY_MS),
            Kept::Messages => self.config.messages_days.map(|days| i64::from(days) * DAY_MS),
            Kept::RefreshTokens => i64::try_from(EXPIRED_TOKENS.as_millis()).ok(),
        }
    }
}

pub(crate) fn describe() {
    metrics::describe_counter!(TRIMMED, "Rows that were kept long enough and are gone, by kind.");
}
