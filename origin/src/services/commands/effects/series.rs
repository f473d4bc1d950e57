//! Commands about series of classes: the same weekdays at the same time by the institute's clocks.
//!
//! A series is made of classes like any others, which are there from the first moment on and can be changed and cancelled alone.
//! What holds them together is the series' id.

use super::timetable::{require_is_teacher, touch};
use super::{
    CommandFault, already_exists, forbidden, invalid, local, not_found, require_batch, require_teacher,
};
use crate::services::events::{self, Event};
use crate::services::local_time::LocalTime;
use crate::store::{Account, ClassChange, ClassRow, ClassTimes, NewSeries, WriteTx};
use jiff::ToSpan as _;
use jiff::civil::{Date, Time};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use sync_protocol::command::{Command, MAX_SERIES_CLASSES, MAX_SERIES_DAYS, Weekday};
use sync_protocol::token::Role;
use uuid::Uuid;

const MINUTE_MS: i64 = 60_000;

pub(super) fn apply(
    tx: &mut WriteTx<'_>,
    by: &Account,
    command: &Command,
    at: i64,
) -> Result<Value, CommandFault> {
    match command {
        Command::CreateClassSeries { .. } => create(tx, by, command),
        Command::ChangeClassSeries { .. } => change(tx, by, command),
        Command::CancelClassSeries { class } => cancel(tx, by, class, at),
        _ => Err(forbidden("the command is not about series of classes")),
    }
}

/// When a series takes place.
struct Rule {
    weekdays: Vec<Weekday>,
    every_weeks: u32,
    from: Date,
    until: Date,
    starts: Time,
    minutes: u32,
    except: BTreeSet<Date>,
}

impl Rule {
    /// The days of the series, in order. Weeks begin on Monday and are counted from that of `from`.
    fn days(&self) -> Result<Vec<Date>, CommandFault> {
        let span = self.from.until(self.until).map_or(-1, |span| i64::from(span.get_days()));
        if !(0..MAX_SERIES_DAYS).contains(&span) {
            let detail = format!("until is not from 0 to {} days after from", MAX_SERIES_DAYS - 1);
            return Err(invalid("until", detail));
        }
        let first_week = i64::from(self.from.weekday().to_monday_zero_offset());
        let mut days = Vec::new();
        for (n, day) in (0..=span).zip(self.from.series(1.day())) {
            let weekday = day.weekday().to_monday_zero_offset();
            let week = (n + first_week) / 7;
            let named = self.weekdays.iter().any(|named| named.days_after_monday() == weekday);
            if named && week % i64::from(self.every_weeks) == 0 && !self.except.contains(&day) {
                days.push(day);
            }
        }
        match days.len() {
            0 => Err(invalid("weekdays", "no class is left between from and until".to_owned())),
            n if n > MAX_SERIES_CLASSES => Err(invalid(
                "until",
                format!("the series has {n} classes, the limit is {MAX_SERIES_CLASSES}"),
            )),
            _ => Ok(days),
        }
    }
}

fn create(tx: &mut WriteTx<'_>, by: &Account, command: &Command) -> Result<Value, CommandFault> {
    let Command::CreateClassSeries {
        series,
        batch,
        title,
        room,
        teacher,
        weekdays,
        every_weeks,
        from,
        until,
        starts,
        minutes,
        except,
    } = command
    else {
        return Err(forbidden("the command makes no series"));
    };
    require_teacher(tx, by, batch)?;
    require_batch(tx, batch, "batch")?;
    require_is_teacher(tx, teacher)?;
    let rule = Rule {
        weekdays: weekdays.clone(),
        every_weeks: *every_weeks,
        from: read_date("from", from)?,
        until: read_date("until", until)?,
        starts: read_clock(starts)?,
        minutes: *minutes,
        except: except.iter().map(|day| read_date("except", day)).collect::<Result<_, _>>()?,
    };
    let series = series.clone().unwrap_or_else(|| Uuid::now_v7().to_string());
    let time = institute_time(tx)?;
    let classes: Vec<ClassTimes> = rule
        .days()?
        .into_iter()
        .map(|day| {
            let (starts_at, ends_at) = moments(&time, day, rule.starts, rule.minutes);
            ClassTimes { class: format!("{series}-{day}"), starts_at, ends_at }
        })
        .collect();
    let new = NewSeries {
        series: series.clone(),
        batch: batch.clone(),
        title: title.clone(),
        room: room.clone(),
        teacher: teacher.clone(),
        classes,
    };
    if tx.series_exists(&series)? || !tx.add_series(&new)? {
        return Err(already_exists("series", &series));
    }
    touch(tx, batch, &[teacher]);
    outcome(tx, command.name(), (&series, batch), &new.classes)
}

fn change(tx: &mut WriteTx<'_>, by: &Account, command: &Command) -> Result<Value, CommandFault> {
    let Command::ChangeClassSeries { class, title, room, teacher, starts, minutes } = command else {
        return Err(forbidden("the command changes no series"));
    };
    let (series, following) = following(tx, class)?;
    let batch = following[0].batch.clone();
    require_teacher(tx, by, &batch)?;
    if let Some(teacher) = teacher {
        require_is_teacher(tx, teacher)?;
    }
    let time = institute_time(tx)?;
    let starts = starts.as_deref().map(read_clock).transpose()?;
    let moved: Vec<ClassTimes> = following
        .iter()
        .map(|class| {
            let length =
                minutes.map_or(class.ends_at - class.starts_at, |minutes| i64::from(minutes) * MINUTE_MS);
            // Each stays on its day, and without another time where it is.
            let starts_at = starts.map_or(class.starts_at, |starts| {
                time.at(time.date(class.starts_at), starts.hour(), starts.minute())
            });
            ClassTimes { class: class.class.clone(), starts_at, ends_at: starts_at + length }
        })
        .collect();
    let times = None;
    let change = ClassChange { title: title.clone(), room: room.clone(), teacher: teacher.clone(), times };
    tx.change_classes(&moved, &change)?;
    touch_all(tx, &batch, &following, teacher.as_ref());
    let first = (&following[0], &moved[0]);
    let elsewhere = room.as_ref().is_some_and(|room| following.iter().any(|class| class.room != *room));
    let otherwise = following
        .iter()
        .zip(&moved)
        .any(|(was, is)| (was.starts_at, was.ends_at) != (is.starts_at, is.ends_at));
    // Another title or teacher is nothing that anybody has to be told at once.
    if elsewhere || otherwise {
        let event = Event::ClassSeriesRescheduled {
            series: series.clone(),
            class: class.clone(),
            batch: batch.clone(),
            by: by.user.clone(),
            title: title.clone().unwrap_or_else(|| first.0.title.clone()),
            starts_at: first.1.starts_at,
            ends_at: first.1.ends_at,
            room: room.clone().unwrap_or_else(|| first.0.room.clone()),
            classes: moved.len() as u64,
            teachers: teacher.clone().map_or_else(|| teachers_of(&following), |teacher| vec![teacher]),
        };
        events::emit(tx, &event);
    }
    outcome(tx, command.name(), (&series, &batch), &moved)
}

fn cancel(tx: &mut WriteTx<'_>, by: &Account, class: &str, at: i64) -> Result<Value, CommandFault> {
    let (series, following) = following(tx, class)?;
    let own = following.iter().all(|class| class.teacher == by.user);
    if by.role != Role::Admin && !own {
        return Err(forbidden("only the teacher of all these classes or an admin may do this"));
    }
    let batch = following[0].batch.clone();
    let classes: Vec<ClassTimes> = following
        .iter()
        .map(|class| ClassTimes {
            class: class.class.clone(),
            starts_at: class.starts_at,
            ends_at: class.ends_at,
        })
        .collect();
    tx.cancel_classes(&classes, at)?;
    touch_all(tx, &batch, &following, None);
    let event = Event::ClassSeriesCancelled {
        series: series.clone(),
        class: class.to_owned(),
        batch: batch.clone(),
        by: by.user.clone(),
        title: following[0].title.clone(),
        starts_at: following[0].starts_at,
        classes: following.len() as u64,
        teachers: teachers_of(&following),
    };
    events::emit(tx, &event);
    outcome(tx, "cancel-class-series", (&series, &batch), &classes)
}

/// The series of a class, and those of its classes that take place with this one or after it; there is one at least.
fn following(tx: &WriteTx<'_>, class: &str) -> Result<(String, Vec<ClassRow>), CommandFault> {
    if tx.class(class)?.is_none() {
        return Err(not_found("class", class));
    }
    let Some(series) = tx.series_of(class)? else {
        return Err(invalid("class", "the class is of no series".to_owned()));
    };
    let following = tx.following_classes(class)?;
    if following.is_empty() {
        return Err(invalid("class", "no class of the series takes place from this one on".to_owned()));
    }
    Ok((series, following))
}

fn teachers_of(classes: &[ClassRow]) -> Vec<String> {
    let teachers: BTreeSet<&String> = classes.iter().map(|class| &class.teacher).collect();
    teachers.into_iter().cloned().collect()
}

fn touch_all(tx: &mut WriteTx<'_>, batch: &str, classes: &[ClassRow], new: Option<&String>) {
    let teachers = teachers_of(classes);
    let teachers: Vec<&str> = teachers.iter().chain(new).map(String::as_str).collect();
    touch(tx, batch, &teachers);
}

fn institute_time(tx: &WriteTx<'_>) -> Result<LocalTime, CommandFault> {
    let zone = tx.institute()?.map_or_else(|| "UTC".to_owned(), |institute| institute.time_zone);
    Ok(LocalTime::new(&zone)?)
}

/// Begin and end of a class on a local day. A time that a clock change leaves out is the moment after the gap, of one that it
/// repeats the first counts (RFC 5545, section 3.3.5); the minutes are those that pass.
fn moments(time: &LocalTime, day: Date, starts: Time, minutes: u32) -> (i64, i64) {
    let starts_at = time.at(day, starts.hour(), starts.minute());
    (starts_at, starts_at + i64::from(minutes) * MINUTE_MS)
}

fn read_date(field: &str, text: &str) -> Result<Date, CommandFault> {
    let date = text.parse::<Date>().ok().filter(|date| date.year() >= 1970);
    date.ok_or_else(|| invalid(field, format!("{field} is not a date from 1970 on")))
}

/// `HH:MM`, whose form the command has checked.
fn read_clock(text: &str) -> Result<Time, CommandFault> {
    text.parse().map_err(|_| invalid("starts", "starts is not a time of the day, HH:MM".to_owned()))
}

fn outcome(
    tx: &WriteTx<'_>,
    command: &str,
    (series, batch): (&str, &str),
    classes: &[ClassTimes],
) -> Result<Value, CommandFault> {
    let ids: Vec<&str> = classes.iter().map(|class| class.class.as_str()).collect();
    let bound = |class: Option<&ClassTimes>| class.map(|class| local(tx, class.starts_at)).transpose();
    Ok(json!({
        "command": command, "series": series, "batch": batch, "classes": ids,
        "first_at": bound(classes.first())?, "last_at": bound(classes.last())?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    fn rule(weekdays: &[Weekday], every_weeks: u32, from: Date, until: Date) -> Rule {
        let (weekdays, except) = (weekdays.to_vec(), BTreeSet::new());
        Rule { weekdays, every_weeks, from, until, starts: Time::constant(9, 0, 0, 0), minutes: 60, except }
    }

    #[test]
    fn days_are_those_weekdays_of_every_so_many_weeks_but_for_the_exceptions() {
        // A Wednesday.
        let (from, until) = (date(2026, 11, 25), date(2026, 12, 15));
        let days = |rule: &Rule| rule.days().unwrap().iter().map(|day| day.day()).collect::<Vec<_>>();
        let mut weekly = rule(&[Weekday::Wednesday, Weekday::Monday], 1, from, until);
        assert_eq!(days(&weekly), [25, 30, 2, 7, 9, 14]);
        weekly.except.insert(date(2026, 12, 2));
        assert_eq!(days(&weekly), [25, 30, 7, 9, 14]);
        // The Monday of the first week was before `from`; the next week is left out.
        let second = rule(&[Weekday::Wednesday, Weekday::Monday], 2, from, until);
        assert_eq!(days(&second), [25, 7, 9]);
        assert_eq!(days(&rule(&[Weekday::Tuesday], 1, until, until)), [15]);
    }

    #[test]
    fn a_series_has_a_class_and_an_end() {
        let fault = |rule: Rule| match rule.days() {
            Err(CommandFault::Refused(refusal)) => refusal.field.unwrap(),
            other => panic!("{other:?}"),
        };
        let from = date(2026, 11, 25);
        assert_eq!(fault(rule(&[Weekday::Friday], 1, from, from)), "weekdays");
        assert_eq!(fault(rule(&[Weekday::Friday], 1, from, from.yesterday().unwrap())), "until");
        assert_eq!(fault(rule(&[Weekday::Friday], 1, from, date(2036, 11, 25))), "until");
        let all = [
            Weekday::Monday,
            Weekday::Tuesday,
            Weekday::Wednesday,
            Weekday::Thursday,
            Weekday::Friday,
            Weekday::Saturday,
            Weekday::Sunday,
        ];
        assert_eq!(rule(&all, 1, from, from + 399.days()).days().unwrap().len(), MAX_SERIES_CLASSES);
        assert_eq!(fault(rule(&all, 1, from, from + 400.days())), "until");
    }

    #[test]
    fn a_class_keeps_its_time_by_the_clock_when_the_clock_changes() {
        let london = LocalTime::new("Europe/London").unwrap();
        let nine = Time::constant(9, 0, 0, 0);
        let at = |day: Date| london.text(moments(&london, day, nine, 90).0);
        assert_eq!(at(date(2027, 3, 27)), "2027-03-27T09:00:00+00:00");
        assert_eq!(at(date(2027, 3, 28)), "2027-03-28T09:00:00+01:00");
        // Half past one is left out that night, and comes twice in October.
        let night = Time::constant(1, 30, 0, 0);
        let (from, until) = moments(&london, date(2027, 3, 28), night, 60);
        assert_eq!(london.text(from), "2027-03-28T02:30:00+01:00");
        assert_eq!(until - from, 60 * MINUTE_MS);
        let (from, until) = moments(&london, date(2027, 10, 31), night, 60);
        assert_eq!(london.text(from), "2027-10-31T01:30:00+01:00");
        assert_eq!(london.text(until), "2027-10-31T01:30:00+00:00", "the minutes are those that pass");
    }
}
