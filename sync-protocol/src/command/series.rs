//! Commands about series of classes: what can be checked of them without looking anything up.

use super::checks::{date, field, id, optional, room, something, title};
use super::{Command, CommandError, MAX_ID_BYTES};
use serde::de::value::Error as ValueError;
use serde::de::{Error as _, IntoDeserializer as _};
use serde::{Deserialize, Deserializer, Serialize};

/// Most classes of a series: one on every day of a year, with room.
pub const MAX_SERIES_CLASSES: usize = 400;
/// Most days from the first to the last date of a series: three years.
pub const MAX_SERIES_DAYS: i64 = 3 * 366;
/// Longest class in minutes: a day, as a class alone may be.
const MAX_MINUTES: u32 = 24 * 60;
/// Most weeks from one to the next in which there are classes: a year.
const MAX_EVERY_WEEKS: u32 = 52;
/// What the id of a class has more than that of its series: a hyphen and a date.
const DATE_BYTES: usize = 11;

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Weekday {
    /// Days after Monday.
    pub fn days_after_monday(self) -> i8 {
        self as i8
    }
}

/// serde would name the day that it does not know, and not the field.
pub(super) fn read_weekdays<'de, D: Deserializer<'de>>(names: D) -> Result<Vec<Weekday>, D::Error> {
    let unknown = || D::Error::custom("`weekdays` has a day that is none of monday to sunday");
    let names =
        Vec::<String>::deserialize(names).map_err(|_| D::Error::custom("`weekdays` is no list of days"))?;
    let read = |name: &String| {
        Weekday::deserialize(name.as_str().into_deserializer()).map_err(|_: ValueError| unknown())
    };
    names.iter().map(read).collect()
}

pub(super) fn every_week() -> u32 {
    1
}

impl Command {
    /// The commands about series of classes.
    pub(super) fn validate_series(&self) -> Result<(), CommandError> {
        if let Command::CreateClassSeries { series, batch, title: text, room: place, teacher, .. } = self {
            optional(series, |series| series_id(series))?;
            id("batch", batch)?;
            title("title", text)?;
            room(place)?;
            id("teacher", teacher)?;
            self.validate_rule()?;
        }
        if let Command::ChangeClassSeries { class, title: text, room: place, teacher, starts, minutes } = self
        {
            id("class", class)?;
            if minutes.is_none() {
                something("class", &[text, place, teacher, starts])?;
            }
            optional(text, |text| title("title", text))?;
            optional(place, |place| room(place))?;
            optional(teacher, |teacher| id("teacher", teacher))?;
            optional(starts, |starts| clock(starts))?;
            optional(minutes, |minutes| length(*minutes))?;
        }
        if let Command::CancelClassSeries { class } = self {
            id("class", class)?;
        }
        Ok(())
    }

    /// When a new series takes place.
    fn validate_rule(&self) -> Result<(), CommandError> {
        let Command::CreateClassSeries {
            weekdays, every_weeks, from, until, starts, minutes, except, ..
        } = self
        else {
            return Ok(());
        };
        let twice = weekdays.iter().enumerate().any(|(at, day)| weekdays[..at].contains(day));
        if weekdays.is_empty() || twice {
            return Err(field("weekdays", "weekdays is not 1 to 7 days, each once"));
        }
        if !(1..=MAX_EVERY_WEEKS).contains(every_weeks) {
            return Err(field("every_weeks", &format!("every_weeks is not 1 to {MAX_EVERY_WEEKS}")));
        }
        date("from", from)?;
        date("until", until)?;
        clock(starts)?;
        length(*minutes)?;
        if except.len() > MAX_SERIES_CLASSES {
            return Err(field("except", &format!("except has more than {MAX_SERIES_CLASSES} dates")));
        }
        except.iter().try_for_each(|day| date("except", day))
    }
}

fn series_id(series: &str) -> Result<(), CommandError> {
    id("series", series)?;
    if series.len() + DATE_BYTES > MAX_ID_BYTES {
        let message = format!("series is longer than {} characters", MAX_ID_BYTES - DATE_BYTES);
        return Err(field("series", &message));
    }
    Ok(())
}

/// A time of the day, `HH:MM`.
fn clock(text: &str) -> Result<(), CommandError> {
    let sound = text.split_once(':').is_some_and(|(hour, minute)| {
        let below = |part: &str, end: u32| {
            let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
            digits && part.parse().is_ok_and(|n: u32| n < end)
        };
        below(hour, 24) && below(minute, 60)
    });
    if sound { Ok(()) } else { Err(field("starts", "starts is not a time of the day, HH:MM")) }
}

fn length(minutes: u32) -> Result<(), CommandError> {
    let sound = (1..=MAX_MINUTES).contains(&minutes);
    if sound { Ok(()) } else { Err(field("minutes", &format!("minutes is not 1 to {MAX_MINUTES}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn faulty(change: Value) -> String {
        let mut command = json!({
            "command": "create-class-series", "series": "algebra", "batch": "b", "title": "Algebra", "teacher": "t",
            "weekdays": ["monday", "friday"], "from": "2026-11-02", "until": "2027-03-31", "starts": "09:05",
            "minutes": 90, "except": ["2026-12-25"],
        });
        for (name, value) in change.as_object().unwrap() {
            command[name] = value.clone();
        }
        match Command::decode(command.to_string().as_bytes()) {
            Ok(_) => "sound".to_owned(),
            Err(error) => error.field().unwrap_or(error.code()).to_owned(),
        }
    }

    #[test]
    fn each_fault_of_a_series_names_its_field() {
        assert_eq!(faulty(json!({})), "sound");
        assert_eq!(faulty(json!({"series": "x".repeat(53)})), "sound");
        for (change, field) in [
            (json!({"series": "x".repeat(54)}), "series"),
            (json!({"weekdays": []}), "weekdays"),
            (json!({"weekdays": ["monday", "monday"]}), "weekdays"),
            (json!({"weekdays": ["someday"]}), "weekdays"),
            (json!({"weekdays": "monday"}), "weekdays"),
            (json!({"every_weeks": 0}), "every_weeks"),
            (json!({"every_weeks": 53}), "every_weeks"),
            (json!({"from": "2.11.2026"}), "from"),
            (json!({"starts": "9:05"}), "starts"),
            (json!({"starts": "24:00"}), "starts"),
            (json!({"starts": "+9:05"}), "starts"),
            (json!({"starts": "09:60"}), "starts"),
            (json!({"minutes": 0}), "minutes"),
            (json!({"minutes": 1441}), "minutes"),
            (json!({"except": vec!["2026-12-25"; 401]}), "except"),
            (json!({"except": ["Christmas"]}), "except"),
        ] {
            assert_eq!(faulty(change), field);
        }
        let nothing = Command::decode(br#"{"command":"change-class-series","class":"c"}"#).unwrap_err();
        assert_eq!(nothing.field(), Some("class"));
    }
}
