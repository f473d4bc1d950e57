//! How much one component may run at once, and how long: `[component.X.tool.rollcall.execution]`.

use crate::limits;
use serde::Deserialize;
use std::time::Duration;

/// Bounds of one component's instances and requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execution {
    /// Requests that one instance answers before it is replaced. WASI 0.3 only: a WASI 0.2 instance answers one.
    pub requests_per_instance: usize,
    /// Of those, at once.
    pub concurrent_per_instance: usize,
    /// An instance without work is kept this long.
    pub idle: Duration,
    /// A request must have its answer's head by then.
    pub timeout: Duration,
    /// After its answers, an instance goes when nothing of their bodies was taken for this long.
    pub body_timeout: Duration,
    /// Requests of the component that run at once.
    pub concurrent: usize,
    /// Requests that wait for one of those to end; more are refused at once.
    pub queue: usize,
}

impl Default for Execution {
    fn default() -> Self {
        Self {
            requests_per_instance: limits::REQUESTS_PER_INSTANCE,
            concurrent_per_instance: limits::CONCURRENT_PER_INSTANCE,
            idle: limits::INSTANCE_IDLE,
            timeout: limits::ANSWER_TIMEOUT,
            body_timeout: limits::BODY_TIMEOUT,
            concurrent: limits::CONCURRENT_PER_COMPONENT,
            queue: limits::QUEUE_PER_COMPONENT,
        }
    }
}

/// The table as the manifest has it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecutionTable {
    requests_per_instance: Option<usize>,
    concurrent_per_instance: Option<usize>,
    idle_ms: Option<u64>,
    timeout_ms: Option<u64>,
    body_timeout_ms: Option<u64>,
    concurrent: Option<usize>,
    queue: Option<usize>,
}

/// A value that nothing could run with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {value}, it may be {least} to {most}")]
pub struct ExecutionError {
    name: &'static str,
    value: u64,
    least: u64,
    most: u64,
}

impl ExecutionTable {
    pub fn check(&self) -> Result<Execution, ExecutionError> {
        let usual = Execution::default();
        let count = |name, value: Option<usize>, usual, least: usize, most: usize| {
            Ok(within(name, value.map(|v| v as u64), usual as u64, least as u64, most as u64)? as usize)
        };
        let time = |name, value, usual: Duration, most: Duration| {
            let most = most.as_millis() as u64;
            within(name, value, usual.as_millis() as u64, 1, most).map(Duration::from_millis)
        };
        let most = limits::MAX_CONCURRENT_PER_COMPONENT;
        Ok(Execution {
            requests_per_instance: count(
                "requests_per_instance",
                self.requests_per_instance,
                usual.requests_per_instance,
                1,
                1_000_000,
            )?,
            concurrent_per_instance: count(
                "concurrent_per_instance",
                self.concurrent_per_instance,
                usual.concurrent_per_instance,
                1,
                1_000,
            )?,
            idle: time("idle_ms", self.idle_ms, usual.idle, limits::MAX_INSTANCE_IDLE)?,
            timeout: time("timeout_ms", self.timeout_ms, usual.timeout, limits::MAX_ANSWER_TIMEOUT)?,
            body_timeout: time(
                "body_timeout_ms",
                self.body_timeout_ms,
                usual.body_timeout,
                limits::MAX_BODY_TIMEOUT,
            )?,
            concurrent: count("concurrent", self.concurrent, usual.concurrent, 1, most)?,
            queue: count("queue", self.queue, usual.queue, 0, most)?,
        })
    }
}

fn within(
    name: &'static str,
    value: Option<u64>,
    usual: u64,
    least: u64,
    most: u64,
) -> Result<u64, ExecutionError> {
    match value {
        None => Ok(usual),
        Some(value) if (least..=most).contains(&value) => Ok(value),
        Some(value) => Err(ExecutionError { name, value, least, most }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_is_as_in_spin_and_what_is_out_of_bounds_is_named() {
        let execution = ExecutionTable::default().check().unwrap();
        assert_eq!((execution.requests_per_instance, execution.concurrent_per_instance), (128, 16));
        assert_eq!(execution.idle, Duration::from_secs(1));
        let table: ExecutionTable = toml::from_str("concurrent = 0").unwrap();
        assert_eq!(table.check().unwrap_err().to_string(), "concurrent is 0, it may be 1 to 16384");
        let table: ExecutionTable = toml::from_str("queue = 0\ntimeout_ms = 7").unwrap();
        let execution = table.check().unwrap();
        assert_eq!((execution.queue, execution.timeout), (0, Duration::from_millis(7)));
    }
}
