//! Bodies of writes about series of classes.

use super::{Day, Id, IntoCommand, Room, Title, given};
use serde::Deserialize;
use std::collections::BTreeSet;
use sync_protocol::command::{Command, Weekday};
use utoipa::ToSchema;

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WeekdayName {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl From<WeekdayName> for Weekday {
    fn from(name: WeekdayName) -> Self {
        match name {
            WeekdayName::Monday => Weekday::Monday,
            WeekdayName::Tuesday => Weekday::Tuesday,
            WeekdayName::Wednesday => Weekday::Wednesday,
            WeekdayName::Thursday => Weekday::Thursday,
            WeekdayName::Friday => Weekday::Friday,
            WeekdayName::Saturday => Weekday::Saturday,
            WeekdayName::Sunday => Weekday::Sunday,
        }
    }
}

/// A time of the day by the institute's clocks, `HH:MM`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$")]
pub(crate) struct ClockTime(String);

/// The id of a series; its classes have it and a date.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(pattern = "^[A-Za-z0-9._-]{1,53}$")]
pub(crate) struct SeriesId(String);

/// A series of classes to be made: at most 400, within three years.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewClassSeries {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = SeriesId, required = false)]
    series: Option<SeriesId>,
    batch: Id,
    title: Title,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Room, required = false)]
    room: Option<Room>,
    teacher: Id,
    #[schema(min_items = 1, max_items = 7)]
    weekdays: BTreeSet<WeekdayName>,
    /// In every so many weeks, counted from that of `from`; weeks begin on Monday. 1 without it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = u32, required = false, minimum = 1, maximum = 52)]
    every_weeks: Option<u32>,
    from: Day,
    /// The last date on which there may be a class.
    until: Day,
    starts: ClockTime,
    /// How long each class is.
    #[schema(minimum = 1, maximum = 1440)]
    minutes: u32,
    /// Dates without a class: holidays.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Vec<Day>, required = false, max_items = 400)]
    except: Option<Vec<Day>>,
}

/// What changes of a class of a series and those that follow it, at least one of these; each stays on its day.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClassSeriesChange {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Title, required = false)]
    title: Option<Title>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Room, required = false)]
    room: Option<Room>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Id, required = false)]
    teacher: Option<Id>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = ClockTime, required = false)]
    starts: Option<ClockTime>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = u32, required = false, minimum = 1, maximum = 1440)]
    minutes: Option<u32>,
}

impl IntoCommand for NewClassSeries {
    fn into_command(self, _: String) -> Command {
        Command::CreateClassSeries {
            series: self.series.map(|it| it.0),
            batch: self.batch.0,
            title: self.title.0,
            room: self.room.map(|it| it.0).unwrap_or_default(),
            teacher: self.teacher.0,
            weekdays: self.weekdays.into_iter().map(Weekday::from).collect(),
            every_weeks: self.every_weeks.unwrap_or(1),
            from: self.from.0,
            until: self.until.0,
            starts: self.starts.0,
            minutes: self.minutes,
            except: self.except.unwrap_or_default().into_iter().map(|day| day.0).collect(),
        }
    }
}

impl IntoCommand for ClassSeriesChange {
    fn into_command(self, class: String) -> Command {
        Command::ChangeClassSeries {
            class,
            title: self.title.map(|it| it.0),
            room: self.room.map(|it| it.0),
            teacher: self.teacher.map(|it| it.0),
            starts: self.starts.map(|it| it.0),
            minutes: self.minutes,
        }
    }
}
