//! The wall clock, read here alone.

/// Milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
