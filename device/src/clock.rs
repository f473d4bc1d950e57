//! The time, for what is only compared with other clocks roughly.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since the Unix epoch; 0 when the clock stands before it.
pub(crate) fn unix_seconds() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}
