//! Days and times of day as Postgres counts them: from 2000-01-01, in the proleptic Gregorian calendar.

use super::value::ValueError;

pub(super) const MICROS_PER_DAY: i64 = 24 * 3600 * 1_000_000;
/// Days from 1970-01-01 to 2000-01-01.
pub(super) const DAYS_1970_TO_2000: i64 = 10_957;
/// Days in the 400 years after which the calendar repeats.
const DAYS_PER_ERA: i64 = 146_097;
/// Days from 0000-03-01, where a year begins whose last day may be a leap day, to 2000-01-01.
const DAYS_FROM_MARCH_OF_YEAR_0: i64 = 730_425;

pub(super) type Date = (i32, u8, u8);
pub(super) type Time = (u8, u8, u8, u32);

pub(super) fn days((year, month, day): Date) -> Result<i64, ValueError> {
    let bad = || ValueError::NoDate { year, month, day };
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return Err(bad());
    }
    let from_march = i64::from((month + 9) % 12);
    let year_from_march = i64::from(year) - i64::from(month <= 2);
    let (era, year_of_era) = (year_from_march.div_euclid(400), year_from_march.rem_euclid(400));
    let day_of_year = (153 * from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * DAYS_PER_ERA + day_of_era - DAYS_FROM_MARCH_OF_YEAR_0;
    // 31 April would be 1 May.
    if date(days) == Some((year, month, day)) { Ok(days) } else { Err(bad()) }
}

pub(super) fn date(days: i64) -> Option<Date> {
    let days = days + DAYS_FROM_MARCH_OF_YEAR_0;
    let (era, day_of_era) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
    let leap_days = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Some((year.try_into().ok()?, month as u8, day as u8))
}

/// Microseconds since midnight; what is finer is cut off.
pub(super) fn micros((hour, minute, second, nanosecond): Time) -> Result<i64, ValueError> {
    if hour > 23 || minute > 59 || second > 59 || nanosecond > 999_999_999 {
        return Err(ValueError::NoTime { hour, minute, second });
    }
    let seconds = (i64::from(hour) * 60 + i64::from(minute)) * 60 + i64::from(second);
    Ok(seconds * 1_000_000 + i64::from(nanosecond) / 1_000)
}

/// Of less than a day.
pub(super) fn time(micros: i64) -> Time {
    let seconds = micros / 1_000_000;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    (hour as u8, minute as u8, second as u8, (micros % 1_000_000) as u32 * 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_2000_and_come_back() {
        for (date_of, count) in [
            ((2000, 1, 1), 0),
            ((1999, 12, 31), -1),
            ((1970, 1, 1), -DAYS_1970_TO_2000),
            ((2000, 2, 29), 59),
            ((2000, 3, 1), 60),
            ((2026, 11, 25), 9_825),
            ((1, 1, 1), -730_119),
        ] {
            assert_eq!(days(date_of).unwrap(), count, "{date_of:?}");
            assert_eq!(date(count), Some(date_of));
        }
        for count in (-800_000..800_000).step_by(37) {
            assert_eq!(days(date(count).unwrap()).unwrap(), count);
        }
    }

    #[test]
    fn dates_and_times_that_there_are_not_are_refused() {
        for date in [(2023, 2, 29), (1900, 2, 29), (2024, 4, 31), (2024, 13, 1), (2024, 0, 1), (2024, 1, 0)] {
            assert!(days(date).is_err(), "{date:?}");
        }
        for time in [(24, 0, 0, 0), (0, 60, 0, 0), (0, 0, 60, 0), (0, 0, 0, 1_000_000_000)] {
            assert!(micros(time).is_err(), "{time:?}");
        }
        assert_eq!(time(micros((23, 59, 58, 123_456_789)).unwrap()), (23, 59, 58, 123_456_000));
    }
}
