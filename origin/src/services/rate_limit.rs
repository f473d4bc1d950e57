//! Limits on guesses and on mail: a bucket of attempts for each account and each address, filled again with time.
//!
//! An attempt is counted before anybody looks whether it is right, and given back when it was: else as many as come at
//! once would all be looked at.
//!
//! Origins count together, so that several grant what one does: in Redis where there is one, else in the store. Each
//! counts for itself too, and by that alone while neither answers: an origin that is away, or a Redis, locks nobody out
//! and lets nobody try for ever.

mod shared;
#[cfg(test)]
mod tests;

pub(crate) use shared::Shared;

use sha2::{Digest as _, Sha256};
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

/// Names a bucket to whoever counts for several origins: a hash, so that no addresses of people lie about there.
pub(crate) type BucketName = [u8; 32];

/// Attempts that may follow on each other, and the time until one more is allowed.
struct Limit {
    burst: i64,
    refill_ms: i64,
}

impl Limit {
    /// Who owes more time than this has no attempt left.
    fn owed_max_ms(&self) -> i64 {
        (self.burst - 1) * self.refill_ms
    }

    /// How long somebody has to wait whose bucket is full again at `full_at`.
    fn wait(&self, full_at: Option<i64>, now: i64) -> i64 {
        let owed = full_at.map_or(0, |full_at| (full_at - now).max(0));
        // What others say cannot lock anybody out for longer than attempts could.
        owed.min(2 * self.burst * self.refill_ms) - self.owed_max_ms()
    }
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
pub(crate) struct RateLimits {
    own: Buckets,
    shared: Shared,
}

impl RateLimits {
    pub(crate) fn new(shared: Shared) -> Self {
        Self { own: Buckets::default(), shared }
    }

    /// Counts an attempt that is about to be made, or says how long to wait when account or address has tried too
    /// often. That is not counted.
    pub(crate) async fn reserve(&self, attempt: Attempt, by: By<'_>, now: i64) -> Result<(), Duration> {
        told(self.own.reserve(attempt, by, now))?;
        let reserved = told(self.shared.reserve(shared_buckets(attempt, by), now).await);
        if reserved.is_err() {
            self.own.give_back(attempt, by);
        }
        reserved
    }

    /// Takes back what [`RateLimits::reserve`] counted of an attempt that was right, or was not looked at.
    pub(crate) async fn give_back(&self, attempt: Attempt, by: By<'_>, now: i64) {
        self.own.give_back(attempt, by);
        self.shared.give_back(shared_buckets(attempt, by), now).await;
    }

    /// Forgets what was counted of an account, whose owner has proved themselves.
    pub(crate) async fn forgive(&self, attempt: Attempt, account: &str) {
        let bucket = (attempt, Who::Account(account.to_owned()));
        self.shared.forget(name(&bucket)).await;
        self.own.forget(&bucket);
    }
}

type Bucket = (Attempt, Who);

/// What this process has counted.
#[derive(Default)]
struct Buckets {
    /// When the bucket will be full again (Unix milliseconds): all that a bucket is.
    full_at: Mutex<HashMap<Bucket, i64>>,
}

impl Buckets {
    /// How long to wait, in milliseconds; counted when that is not above 0.
    fn reserve(&self, attempt: Attempt, by: By<'_>, now: i64) -> i64 {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let waits =
            buckets(attempt, by).map(|(bucket, limit)| limit.wait(full_at.get(&bucket).copied(), now));
        let wait = waits.max().unwrap_or(0);
        if wait > 0 {
            return wait;
        }
        if full_at.len() >= MAX_BUCKETS {
            full_at.retain(|_, full| *full > now);
        }
        for (bucket, limit) in buckets(attempt, by) {
            if full_at.len() < MAX_BUCKETS || full_at.contains_key(&bucket) {
                let full = full_at.entry(bucket).or_insert(now);
                *full = (*full).max(now) + limit.refill_ms;
            }
        }
        wait
    }

    fn give_back(&self, attempt: Attempt, by: By<'_>) {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        for (bucket, limit) in buckets(attempt, by) {
            if let Some(full) = full_at.get_mut(&bucket) {
                *full -= limit.refill_ms;
            }
        }
    }

    fn forget(&self, bucket: &Bucket) {
        self.full_at.lock().unwrap_or_else(PoisonError::into_inner).remove(bucket);
    }
}

fn name((attempt, who): &Bucket) -> BucketName {
    let attempt = match attempt {
        Attempt::Guess => "guess",
        Attempt::Mail => "mail",
    };
    let (kind, who) = match who {
        Who::Account(account) => ("account", account.clone()),
        Who::Address(address) => ("address", address.to_string()),
    };
    Sha256::digest(format!("{attempt} {kind} {who}")).into()
}

/// As those who count for several origins know them.
fn shared_buckets(attempt: Attempt, by: By<'_>) -> Vec<(BucketName, &'static Limit)> {
    buckets(attempt, by).map(|(bucket, limit)| (name(&bucket), limit)).collect()
}

/// A wait in milliseconds; none when it is not above 0.
fn told(wait: i64) -> Result<(), Duration> {
    match u64::try_from(wait) {
        Ok(wait) if wait > 0 => Err(Duration::from_millis(wait)),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn buckets(attempt: Attempt, by: By<'_>) -> impl Iterator<Item = (Bucket, &'static Limit)> {
    let account = by.account.map(|account| (Who::Account(account.to_owned()), attempt.account()));
    let address = by.address.map(|address| (Who::Address(address), attempt.address()));
    account.into_iter().chain(address).map(move |(who, limit)| ((attempt, who), limit))
}
