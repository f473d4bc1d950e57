//! The cache's part of the configuration.

use super::redis_link::RedisAddress;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const MIB: u64 = 1024 * 1024;
/// Least and most memory of the local layer, in MiB: with 0 it keeps nothing, and beyond the most Redis is the place.
const LOCAL_MIB: std::ops::RangeInclusive<u64> = 0..=16_384;
/// Shortest and longest time that Redis may take, in milliseconds. More would make a hanging Redis felt.
const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 1..=1_000;
/// Longest namespace, in bytes.
const NAMESPACE_BYTES_MAX: usize = 64;

/// The settings under `[cache]` as they are written. No `Debug`: the address may hold a password.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CacheSettings {
    url: Option<String>,
    namespace: String,
    timeout_ms: u64,
    local_mib: u64,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { url: None, namespace: "rollcall".to_owned(), timeout_ms: 50, local_mib: 64 }
    }
}

/// How the cache is kept, checked.
#[derive(Debug, Clone)]
pub(crate) struct CacheConfig {
    /// Memory for the entries of this process. Too little computes what was computed a moment ago.
    pub(super) local_bytes: u64,
    pub(super) remote: Option<RemoteConfig>,
}

/// A Redis that all origins of one store share.
#[derive(Debug, Clone)]
pub(super) struct RemoteConfig {
    pub(super) address: RedisAddress,
    /// Before each key.
    pub(super) namespace: String,
    /// An answer that takes longer is not waited for, and the connection is given up.
    pub(super) timeout: Duration,
}

impl Default for CacheConfig {
    fn default() -> Self {
        CacheSettings::default().check(&mut Vec::new())
    }
}

impl CacheConfig {
    /// The defaults with a Redis of a test.
    #[cfg(test)]
    pub(crate) fn of(url: &str) -> Self {
        let mut faults = Vec::new();
        let config =
            CacheSettings { url: Some(url.to_owned()), ..CacheSettings::default() }.check(&mut faults);
        assert!(faults.is_empty(), "{faults:?}");
        config
    }
}

impl CacheSettings {
    pub(crate) fn check(self, faults: &mut Vec<String>) -> CacheConfig {
        let mut within = |name: &str, value: u64, range: std::ops::RangeInclusive<u64>| {
            if !range.contains(&value) {
                faults.push(format!("cache.{name} is {value}, not {} to {}", range.start(), range.end()));
            }
        };
        within("timeout_ms", self.timeout_ms, TIMEOUT_MS);
        within("local_mib", self.local_mib, LOCAL_MIB);
        let plain = self.namespace.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !plain || self.namespace.is_empty() || self.namespace.len() > NAMESPACE_BYTES_MAX {
            faults.push(format!(
                "cache.namespace is not 1 to {NAMESPACE_BYTES_MAX} letters, digits, dots, dashes and underscores"
            ));
        }
        let address = self.url.as_deref().map(RedisAddress::parse).transpose();
        let address = address.unwrap_or_else(|problem| {
            // Without the address, which may hold a password.
            faults.push(format!("cache.url is no address of Redis: {problem}"));
            None
        });
        CacheConfig {
            local_bytes: self.local_mib.saturating_mul(MIB),
            remote: address.map(|address| RemoteConfig {
                address,
                namespace: self.namespace,
                timeout: Duration::from_millis(self.timeout_ms),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_name_the_setting_and_never_the_password() {
        let mut faults = Vec::new();
        let url = Some("http://:s3cret@cache.example".to_owned());
        CacheSettings { url, namespace: "a b".into(), timeout_ms: 0, local_mib: 16_385 }.check(&mut faults);
        let faults = faults.join("; ");
        for setting in ["cache.url", "cache.namespace", "cache.timeout_ms", "cache.local_mib"] {
            assert!(faults.contains(setting), "{faults}");
        }
        assert!(!faults.contains("s3cret"), "{faults}");
        assert!(CacheConfig::default().remote.is_none());
    }
}
