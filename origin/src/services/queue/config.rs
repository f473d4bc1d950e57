//! The queue's part of the configuration.

use lapin::uri::AMQPUri;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Longest pause between two tries of work that fails.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// Shortest and longest lease. A worker that died is missed for this long.
const LEASE_S: std::ops::RangeInclusive<u64> = 1..=3_600;
/// Most tries that may be asked for: at the longest pause a week of them.
const FAILURES_MAX: std::ops::RangeInclusive<u64> = 1..=2_000;

/// Shortest and longest time after which a message is published again.
const REDELIVER_S: std::ops::RangeInclusive<u64> = 1..=86_400;

/// The settings under `[queue]` as they are written. No `Debug`: the address may hold a password.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct QueueSettings {
    url: Option<String>,
    redeliver_s: u64,
    lease_s: u64,
    retry_ms: u64,
    failures_max: u64,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { url: None, redeliver_s: 300, lease_s: 30, retry_ms: 1_000, failures_max: 10 }
    }
}

/// How work of the outbox is treated, checked.
#[derive(Debug, Clone)]
pub(crate) struct QueueConfig {
    /// Work that was taken up and not done is taken up again after this. Too short does work twice for nothing, too
    /// long leaves the work of a worker that died.
    pub(crate) lease: Duration,
    /// Pause after the first failure; it doubles with each.
    pub(crate) retry: Duration,
    /// Work that failed so often is set aside.
    pub(crate) failures_max: u64,
    pub(super) broker: Option<BrokerConfig>,
}

/// The RabbitMQ that carries work between origins.
#[derive(Clone)]
pub(super) struct BrokerConfig {
    pub(super) uri: AMQPUri,
    /// Work whose message the broker has confirmed and that is not done after this is published again: the broker may
    /// have lost it. Too short fills the queues with messages that do nothing.
    pub(super) redeliver: Duration,
}

/// Without the address, which may hold a password.
impl std::fmt::Debug for BrokerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BrokerConfig").field("redeliver", &self.redeliver).finish_non_exhaustive()
    }
}

impl QueueSettings {
    pub(crate) fn check(self, faults: &mut Vec<String>) -> QueueConfig {
        let mut within = |name: &str, value: u64, range: std::ops::RangeInclusive<u64>| {
            if !range.contains(&value) {
                faults.push(format!("queue.{name} is {value}, not {} to {}", range.start(), range.end()));
            }
        };
        within("lease_s", self.lease_s, LEASE_S);
        within("retry_ms", self.retry_ms, 1..=PAUSE_MAX.as_secs() * 1_000);
        within("failures_max", self.failures_max, FAILURES_MAX);
        within("redeliver_s", self.redeliver_s, REDELIVER_S);
        let uri = self.url.as_ref().map(|url| url.parse::<AMQPUri>());
        if matches!(uri, Some(Err(_))) {
            // Without the address, which may hold a password.
            faults.push("queue.url is not amqp://USER:PASSWORD@HOST[:PORT]/VHOST".to_owned());
        }
        let redeliver = Duration::from_secs(self.redeliver_s);
        QueueConfig {
            lease: Duration::from_secs(self.lease_s),
            retry: Duration::from_millis(self.retry_ms),
            failures_max: self.failures_max,
            broker: uri.and_then(Result::ok).map(|uri| BrokerConfig { uri, redeliver }),
        }
    }
}

impl Default for QueueConfig {
    fn default() -> Self {
        QueueSettings::default().check(&mut Vec::new())
    }
}

impl QueueConfig {
    /// The pause after work failed that had failed so often before.
    pub(super) fn pause_after(&self, failures: u64) -> Duration {
        let doubled = u32::try_from(failures).ok().and_then(|failures| 2_u32.checked_pow(failures));
        doubled.and_then(|times| self.retry.checked_mul(times)).unwrap_or(PAUSE_MAX).min(PAUSE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit() {
        let config = QueueConfig::default();
        let pauses: Vec<u64> =
            [0, 1, 2, 8, 9, 400].map(|failures| config.pause_after(failures).as_secs()).into();
        assert_eq!(pauses, [1, 2, 4, 256, 300, 300]);
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let mut faults = Vec::new();
        let url = Some("amqp//:s3cret@host".to_owned());
        let wrong = QueueSettings { url, redeliver_s: 0, lease_s: 0, retry_ms: 0, failures_max: 3_000 };
        wrong.check(&mut faults);
        assert_eq!(faults.len(), 5);
        assert!(faults.iter().all(|fault| !fault.contains("s3cret")), "{faults:?}");
        assert_eq!(faults[2], "queue.failures_max is 3000, not 1 to 2000");
    }
}
