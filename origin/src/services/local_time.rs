//! An institute's own time: where its days begin, and how its views write a moment.

use crate::store::StoreError;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

/// The time zone of one institute.
pub(crate) struct LocalTime {
    zone: TimeZone,
}

impl LocalTime {
    /// `zone` is an IANA name.
    pub(crate) fn new(zone: &str) -> Result<Self, StoreError> {
        let zone = TimeZone::get(zone)
            .map_err(|_| StoreError::Corrupt { what: "time zone of an institute", text: zone.to_owned() })?;
        Ok(Self { zone })
    }

    /// RFC 3339 with the institute's offset.
    pub(crate) fn text(&self, unix_ms: i64) -> String {
        let at = Timestamp::from_millisecond(unix_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        at.display_with_offset(self.zone.to_offset(at)).to_string()
    }

    pub(crate) fn date(&self, unix_ms: i64) -> Date {
        let at = Timestamp::from_millisecond(unix_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        at.to_zoned(self.zone.clone()).date()
    }

    /// Begin of `date` and of the day after, in milliseconds since the Unix epoch.
    pub(crate) fn day(&self, date: Date) -> (i64, i64) {
        let next = date.checked_add(1.day()).unwrap_or(Date::MAX);
        (self.at(date, 0, 0), self.at(next, 0, 0))
    }

    /// A moment of a local day. A time that a clock change leaves out is the moment after the gap.
    pub(crate) fn at(&self, date: Date, hour: i8, minute: i8) -> i64 {
        let local = date.at(hour, minute, 0, 0);
        self.zone
            .to_ambiguous_zoned(local)
            .compatible()
            .map_or_else(|_| Timestamp::MAX.as_millisecond(), |at| at.timestamp().as_millisecond())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn days_begin_and_moments_read_in_the_zone_of_the_institute() {
        let india = LocalTime::new("Asia/Kolkata").unwrap();
        let (from, until) = india.day(date(2026, 11, 22));
        assert_eq!(until - from, 24 * 3_600_000);
        assert_eq!(india.text(from), "2026-11-22T00:00:00+05:30");
        assert_eq!(india.date(from - 1), date(2026, 11, 21));
    }

    #[test]
    fn a_day_with_a_clock_change_has_23_hours() {
        let london = LocalTime::new("Europe/London").unwrap();
        let (from, until) = london.day(date(2026, 3, 29));
        assert_eq!(until - from, 23 * 3_600_000);
    }

    #[test]
    fn an_unknown_zone_is_an_error() {
        assert!(LocalTime::new("Mars/Olympus").is_err());
    }
}
