//! Limits on failed sign-ins: a bucket of attempts for each account and each address, filled again with time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Failures of one account that may follow on each other, and the time until one more is allowed: a person who tries
/// their passwords is never stopped, somebody who guesses gets 28,800 tries a day.
const ACCOUNT: Limit = Limit { burst: 20, refill_ms: 3_000 };
/// The same for an address. An edge brings the sign-ins of all its devices from one address.
const ADDRESS: Limit = Limit { burst: 1_000, refill_ms: 50 };
/// Buckets kept; full ones are forgotten first. About 100 bytes each.
const MAX_BUCKETS: usize = 100_000;

struct Limit {
    burst: i64,
    refill_ms: i64,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Who {
    Account(String),
    Address(IpAddr),
}

/// Failed sign-ins, by account and by address.
#[derive(Default)]
pub(crate) struct RateLimits {
    /// When the bucket will be full again (Unix milliseconds): all that a bucket is.
    full_at: Mutex<HashMap<Who, i64>>,
}

impl RateLimits {
    /// Says how long to wait when account or address has failed too often.
    pub(crate) fn check(&self, account: &str, address: Option<IpAddr>, now: i64) -> Result<(), Duration> {
        let full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = whos(account, address)
            .map(|(who, limit)| {
                let owed = full_at.get(&who).map_or(0, |full| (full - now).max(0));
                owed - (limit.burst - 1) * limit.refill_ms
            })
            .max()
            .unwrap_or(0);
        match u64::try_from(wait) {
            Ok(wait) if wait > 0 => Err(Duration::from_millis(wait)),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Counts a failed sign-in.
    pub(crate) fn failed(&self, account: &str, address: Option<IpAddr>, now: i64) {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        if full_at.len() >= MAX_BUCKETS {
            full_at.retain(|_, full| *full > now);
        }
        for (who, limit) in whos(account, address) {
            if full_at.len() < MAX_BUCKETS || full_at.contains_key(&who) {
                let full = full_at.entry(who).or_insert(now);
                *full = (*full).max(now) + limit.refill_ms;
            }
        }
    }
}

fn whos(account: &str, address: Option<IpAddr>) -> impl Iterator<Item = (Who, &'static Limit)> {
    let account = (Who::Account(account.to_owned()), &ACCOUNT);
    std::iter::once(account).chain(address.map(|address| (Who::Address(address), &ADDRESS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_stopped_after_its_burst_and_let_in_again_with_time() {
        let limits = RateLimits::default();
        for _ in 0..ACCOUNT.burst {
            assert_eq!(limits.check("a@x", None, 1_000), Ok(()));
            limits.failed("a@x", None, 1_000);
        }
        let wait = limits.check("a@x", None, 1_000).unwrap_err();
        assert_eq!(wait.as_millis(), 3_000);
        assert_eq!(limits.check("b@x", None, 1_000), Ok(()));
        assert_eq!(limits.check("a@x", None, 4_000), Ok(()));
    }

    #[test]
    fn an_address_is_stopped_over_many_accounts() {
        let limits = RateLimits::default();
        let address = Some(IpAddr::from([127, 0, 0, 1]));
        for n in 0..ADDRESS.burst {
            limits.failed(&format!("{n}@x"), address, 0);
        }
        assert!(limits.check("new@x", address, 0).is_err());
        assert_eq!(limits.check("new@x", None, 0), Ok(()));
    }
}
