//! Limits on guesses and on mail: a bucket of attempts for each account and each address, filled again with time.
//!
//! Each process counts for itself: behind a balancer, N origins grant N times as much. The limits are chosen so that this
//! does not matter for a handful of origins, and an origin that is away locks nobody out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Buckets kept; full ones are forgotten first. About 100 bytes each.
const MAX_BUCKETS: usize = 100_000;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Attempt {
    /// A password, or a token that sets one, that was wrong.
    Guess,
    /// A mail that somebody asked for.
    Mail,
}

impl Attempt {
    fn account(self) -> &'static Limit {
        match self {
            // A person who tries their passwords is never stopped, somebody who guesses gets 28,800 tries a day.
            Attempt::Guess => &Limit { burst: 20, refill_ms: 3_000 },
            // Nobody's mailbox is flooded: three at once, then one in 20 minutes.
            Attempt::Mail => &Limit { burst: 3, refill_ms: 20 * 60 * 1_000 },
        }
    }

    /// An edge brings the attempts of all its devices from one address.
    fn address(self) -> &'static Limit {
        match self {
            Attempt::Guess => &Limit { burst: 1_000, refill_ms: 50 },
            Attempt::Mail => &Limit { burst: 200, refill_ms: 1_000 },
        }
    }
}

/// Attempts that may follow on each other, and the time until one more is allowed.
struct Limit {
    burst: i64,
    refill_ms: i64,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Who {
    Account(String),
    Address(IpAddr),
}

/// Who makes an attempt, as far as it is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct By<'a> {
    pub(crate) account: Option<&'a str>,
    pub(crate) address: Option<IpAddr>,
}

/// Attempts, by account and by address.
#[derive(Default)]
pub(crate) struct RateLimits {
    /// When the bucket will be full again (Unix milliseconds): all that a bucket is.
    full_at: Mutex<HashMap<(Attempt, Who), i64>>,
}

impl RateLimits {
    /// Says how long to wait when account or address has tried too often.
    pub(crate) fn check(&self, attempt: Attempt, by: By<'_>, now: i64) -> Result<(), Duration> {
        let full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = buckets(attempt, by)
            .map(|(bucket, limit)| {
                let owed = full_at.get(&bucket).map_or(0, |full| (full - now).max(0));
                owed - (limit.burst - 1) * limit.refill_ms
            })
            .max()
            .unwrap_or(0);
        match u64::try_from(wait) {
            Ok(wait) if wait > 0 => Err(Duration::from_millis(wait)),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Counts an attempt.
    pub(crate) fn count(&self, attempt: Attempt, by: By<'_>, now: i64) {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        if full_at.len() >= MAX_BUCKETS {
            full_at.retain(|_, full| *full > now);
        }
        for (bucket, limit) in buckets(attempt, by) {
            if full_at.len() < MAX_BUCKETS || full_at.contains_key(&bucket) {
                let full = full_at.entry(bucket).or_insert(now);
                *full = (*full).max(now) + limit.refill_ms;
            }
        }
    }

    /// Forgets what was counted of an account, whose owner has proved themselves.
    pub(crate) fn forgive(&self, attempt: Attempt, account: &str) {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        full_at.remove(&(attempt, Who::Account(account.to_owned())));
    }
}

fn buckets(attempt: Attempt, by: By<'_>) -> impl Iterator<Item = ((Attempt, Who), &'static Limit)> {
    let account = by.account.map(|account| (Who::Account(account.to_owned()), attempt.account()));
    let address = by.address.map(|address| (Who::Address(address), attempt.address()));
    account.into_iter().chain(address).map(move |(who, limit)| ((attempt, who), limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(account: &str) -> By<'_> {
        By { account: Some(account), address: None }
    }

    #[test]
    fn an_account_is_stopped_after_its_burst_and_let_in_again_with_time() {
        let limits = RateLimits::default();
        for _ in 0..Attempt::Guess.account().burst {
            assert_eq!(limits.check(Attempt::Guess, by("a@x"), 1_000), Ok(()));
            limits.count(Attempt::Guess, by("a@x"), 1_000);
        }
        let wait = limits.check(Attempt::Guess, by("a@x"), 1_000).unwrap_err();
        assert_eq!(wait.as_millis(), 3_000);
        assert_eq!(limits.check(Attempt::Guess, by("b@x"), 1_000), Ok(()));
        assert_eq!(limits.check(Attempt::Mail, by("a@x"), 1_000), Ok(()), "each kind has its own bucket");
        assert_eq!(limits.check(Attempt::Guess, by("a@x"), 4_000), Ok(()));
        limits.forgive(Attempt::Guess, "a@x");
        limits.count(Attempt::Guess, by("a@x"), 1_000);
        assert_eq!(limits.check(Attempt::Guess, by("a@x"), 1_000), Ok(()));
    }

    #[test]
    fn an_address_is_stopped_over_many_accounts() {
        let limits = RateLimits::default();
        let address = Some(IpAddr::from([127, 0, 0, 1]));
        for n in 0..Attempt::Guess.address().burst {
            limits.count(Attempt::Guess, By { account: Some(&format!("{n}@x")), address }, 0);
        }
        assert!(limits.check(Attempt::Guess, By { account: None, address }, 0).is_err());
        assert_eq!(limits.check(Attempt::Guess, by("new@x"), 0), Ok(()));
    }

    #[test]
    fn memory_is_bounded_however_many_accounts_are_tried() {
        let limits = RateLimits::default();
        for n in 0..MAX_BUCKETS + 10 {
            limits.count(Attempt::Guess, by(&format!("{n}@x")), 0);
        }
        assert_eq!(limits.full_at.lock().unwrap().len(), MAX_BUCKETS);
        limits.count(Attempt::Guess, by("late@x"), 3_001);
        assert_eq!(limits.full_at.lock().unwrap().len(), 1, "full buckets are forgotten first");
    }
}
