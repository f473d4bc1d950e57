//! Two sample institutes to try Rollcall on, the same on every machine.
//!
//! A new institute gets everything in one transaction. One that is there already gets only the days that its timetable
//! lacks, so that its teachers have classes today however old the store is.

mod samples;

use super::local_time::LocalTime;
use super::passwords::{self, PasswordError};
use crate::store::{
    Assignment, AttendanceRow, NewClass, NewInvoice, NewMessage, NewSubmission, NewUser, PaymentRow, Store,
    StoreError, WriteTx, arrival_of_history,
};
use jiff::ToSpan as _;
use jiff::civil::Date;
use samples::{BATCHES, HOMEWORK, INSTITUTES, Person, Sample, SampleBatch};
use uuid::Uuid;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// The timetable: four weeks of history, half a year ahead.
const DAYS_BACK: i64 = 28;
const DAYS_AHEAD: i64 = 26 * 7;

#[derive(Debug, thiserror::Error)]
pub(crate) enum SeedError {
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Loads what is missing of the sample institutes and says how many records that was. Blocks.
pub(crate) fn load(store: &Store, now: i64) -> Result<u64, SeedError> {
    // One hash for all sample people: they have one password, and hashing is slow on purpose.
    let password_hash = passwords::hash(samples::PASSWORD)?;
    let mut added = 0;
    for sample in &INSTITUTES {
        let password_hash = password_hash.clone();
        let loaded = store.write_blocking::<_, SeedError, _>(sample.institute, move |tx| {
            let mut loader = Loader::new(tx, sample, now)?;
            loader.load(&password_hash)?;
            Ok(loader.added)
        })?;
        added += loaded.value;
    }
    Ok(added)
}

struct Loader<'t, 'c> {
    tx: &'t mut WriteTx<'c>,
    sample: &'static Sample,
    time: LocalTime,
    today: Date,
    now: i64,
    added: u64,
}

impl<'t, 'c> Loader<'t, 'c> {
    fn new(tx: &'t mut WriteTx<'c>, sample: &'static Sample, now: i64) -> Result<Self, StoreError> {
        let time = LocalTime::new(sample.time_zone)?;
        let today = time.date(now);
        Ok(Self { tx, sample, time, today, now, added: 0 })
    }

    fn load(&mut self, password_hash: &str) -> Result<(), StoreError> {
        let sample = self.sample;
        let new = self.tx.add_institute(sample.name, sample.time_zone, sample.currency, self.now)?;
        if new {
            self.people(password_hash)?;
            self.batches()?;
        }
        self.timetable()?;
        if new {
            self.coursework()?;
            self.attendance()?;
            self.messages()?;
            self.fees()?;
        }
        if self.added > 0 {
            self.tx.touch_everything();
        }
        Ok(())
    }

    fn count(&mut self, added: bool) {
        self.added += u64::from(added);
    }

    fn people(&mut self, password_hash: &str) -> Result<(), StoreError> {
        for person in samples::people() {
            let added = self.tx.add_user(
                &NewUser {
                    user: self.user(&person.local),
                    email: self.email(&person.local),
                    name: person.name,
                    role: person.role,
                    password_hash: Some(password_hash.to_owned()),
                },
                self.now,
            )?;
            self.count(added);
        }
        for ward in samples::wards() {
            let added = self.tx.add_guardian(&self.user("guardian"), &self.user(&ward.local))?;
            self.count(added);
        }
        Ok(())
    }

    fn batches(&mut self) -> Result<(), StoreError> {
        let joined_at = self.now - DAYS_BACK * DAY_MS;
        for batch in &BATCHES {
            let added = self.tx.add_batch(batch.batch, batch.title)?;
            self.count(added);
            for teacher in batch.teachers {
                let added = self.tx.add_teacher(batch.batch, &self.user(teacher))?;
                self.count(added);
            }
            for student in batch.students() {
                let added = self.tx.add_enrolment(batch.batch, &self.user(&student.local), joined_at)?;
                self.count(added);
            }
        }
        Ok(())
    }

    fn timetable(&mut self) -> Result<(), StoreError> {
        for (batch, date, class) in self.classes(-DAYS_BACK..=DAYS_AHEAD) {
            let starts_at = self.time.at(date, batch.hour, batch.minute);
            let added = self.tx.add_class(&NewClass {
                class,
                batch: batch.batch.to_owned(),
                title: batch.title.to_owned(),
                room: batch.room.to_owned(),
                teacher: self.user(batch.teachers[0]),
                starts_at,
                ends_at: starts_at + batch.minutes * 60 * 1000,
            })?;
            self.count(added);
        }
        Ok(())
    }

    /// Classes by day, counted from today.
    fn classes(&self, days: std::ops::RangeInclusive<i64>) -> Vec<(&'static SampleBatch, Date, String)> {
        let dates = days.filter_map(|day| self.today.checked_add(day.days()).ok());
        dates
            .flat_map(|date| {
                let weekday = date.weekday().to_monday_zero_offset();
                BATCHES
                    .iter()
                    .filter(move |batch| batch.weekdays.contains(&weekday))
                    .map(move |batch| (batch, date, format!("{}-{date}", batch.batch)))
            })
            .collect()
    }

    /// Four pieces of homework for each batch: one graded, one waiting for grades, two open.
    fn coursework(&mut self) -> Result<(), StoreError> {
        for batch in &BATCHES {
            for (homework, number) in HOMEWORK.iter().zip(1..) {
                let due = self.today.checked_add(homework.due_in_days.days()).unwrap_or(self.today);
                let assignment = format!("{}-homework-{number}", batch.batch);
                let due_at = self.time.at(due, 20, 0);
                let added = self.tx.add_assignment(&Assignment {
                    assignment: assignment.clone(),
                    batch: batch.batch.to_owned(),
                    title: format!("{}: {}", batch.title, homework.title),
                    due_at: Some(due_at),
                    max_score: homework.max_score,
                })?;
                self.count(added);
                for student in batch.students() {
                    self.work(&assignment, due_at, homework, batch, &student)?;
                }
            }
        }
        Ok(())
    }

    fn work(
        &mut self,
        assignment: &str,
        due_at: i64,
        homework: &samples::Homework,
        batch: &SampleBatch,
        student: &Person,
    ) -> Result<(), StoreError> {
        let dice = samples::dice(&[self.sample.institute, assignment, &student.local]);
        let handed_in = match homework.state {
            samples::HomeworkState::Graded => !dice.is_multiple_of(8) || student.local == "student",
            samples::HomeworkState::Submitted => dice.is_multiple_of(3) || student.local == "student",
            samples::HomeworkState::Open => false,
        };
        if !handed_in {
            return Ok(());
        }
        let submission = format!("{assignment}-{}", student.local);
        let hours_early = i64::try_from(dice % 40).unwrap_or(0);
        let submitted_at = due_at - hours_early * 60 * 60 * 1000;
        let added = self.tx.add_submission(&NewSubmission {
            submission: submission.clone(),
            assignment: assignment.to_owned(),
            student: self.user(&student.local),
            submitted_at: Some(submitted_at),
            text: Some("My answers are on the attached sheet, with the working.".to_owned()),
        })?;
        self.count(added);
        if matches!(homework.state, samples::HomeworkState::Graded) {
            // Between half and all of the points, in whole points.
            let points = f64::from(u32::try_from(dice % 51).unwrap_or(0));
            let score = (homework.max_score * (50.0 + points) / 100.0).round();
            let teacher = self.user(batch.teachers[0]);
            let graded_at = due_at + DAY_MS;
            self.tx.grade_submission(&submission, score, Some("Well reasoned."), &teacher, graded_at)?;
        }
        Ok(())
    }

    /// Marks for the classes of the past; today's sheets are empty.
    fn attendance(&mut self) -> Result<(), StoreError> {
        for (batch, _, class) in self.classes(-DAYS_BACK..=-1) {
            for student in batch.students() {
                let mark = match samples::dice(&[self.sample.institute, &class, &student.local]) % 20 {
                    0 => "absent",
                    1 => "late",
                    2 => "excused",
                    _ => "present",
                };
                let student = self.user(&student.local);
                let row = AttendanceRow::without_sheet(student, mark.to_owned());
                self.tx.put_attendance(&class, &row)?;
                self.count(true);
            }
        }
        Ok(())
    }

    fn messages(&mut self) -> Result<(), StoreError> {
        let (student, guardian) = (self.user("student"), self.user("guardian"));
        let texts = [
            (
                "welcome",
                "admin",
                None,
                Some(&student),
                9,
                "Welcome to the new term. Your timetable is in the app.",
            ),
            (
                "revision",
                "teacher",
                Some("maths-a"),
                None,
                2,
                "We revise chapter 4 on Friday. Bring your questions.",
            ),
            (
                "homework",
                "teacher",
                Some("maths-a"),
                None,
                1,
                "Homework 3 is out. Start with the second exercise.",
            ),
            ("lab", "assistant", Some("physics-a"), None, 1, "The lab opens half an hour early this week."),
            (
                "evening",
                "teacher",
                None,
                Some(&guardian),
                3,
                "The parents' evening is on the last Friday of term.",
            ),
        ];
        for (message, author, batch, recipient, days_ago, text) in texts {
            let added = self.tx.add_message(&NewMessage {
                message: message.to_owned(),
                author: self.user(author),
                recipient: recipient.cloned(),
                batch: batch.map(str::to_owned),
                text: text.to_owned(),
                posted_at: self.now - days_ago * DAY_MS,
                arrived: Some(arrival_of_history(self.now - days_ago * DAY_MS)),
            })?;
            self.count(added);
        }
        self.tx.read_messages(&student, arrival_of_history(self.now - DAY_MS - DAY_MS / 2))?;
        Ok(())
    }

    /// One invoice of tuition for each student, paid in full, in part or not at all; a second one for `student@`.
    fn fees(&mut self) -> Result<(), StoreError> {
        for student in samples::students() {
            let tuition = self.sample.tuition_minor;
            let paid = match samples::dice(&[self.sample.institute, &student.local]) % 3 {
                _ if student.local == "student" => tuition / 2,
                0 => 0,
                1 => tuition / 2,
                _ => tuition,
            };
            let invoice = format!("tuition-{}", student.local);
            self.invoice(&invoice, &student, "Tuition of this term", tuition, paid)?;
        }
        let student = Person::student("student", "Sam Student");
        self.invoice("library-student", &student, "Library and lab", self.sample.tuition_minor / 10, 0)
    }

    fn invoice(
        &mut self,
        invoice: &str,
        student: &Person,
        title: &str,
        amount_minor: i64,
        paid_minor: i64,
    ) -> Result<(), StoreError> {
        let due_on = self.today.checked_add(14.days()).unwrap_or(self.today);
        let added = self.tx.add_invoice(&NewInvoice {
            invoice: invoice.to_owned(),
            student: self.user(&student.local),
            title: title.to_owned(),
            amount_minor,
            due_on: due_on.to_string(),
            issued_at: self.now - 30 * DAY_MS,
        })?;
        self.count(added);
        if paid_minor > 0 {
            let days_ago = i64::try_from(samples::dice(&[invoice]) % 20).unwrap_or(0) + 1;
            let added = self.tx.add_payment(&PaymentRow {
                payment: format!("{invoice}-1"),
                invoice: invoice.to_owned(),
                student_name: String::new(),
                amount_minor: paid_minor,
                method: "transfer".to_owned(),
                reference: None,
                recorded_by: self.user("admin"),
                paid_at: self.now - days_ago * DAY_MS,
            })?;
            self.count(added);
        }
        Ok(())
    }

    fn email(&self, local: &str) -> String {
        format!("{local}@{}", self.sample.institute)
    }

    fn user(&self, local: &str) -> String {
        user_id_of(&self.email(local))
    }
}

/// The id of a person who came with records: the same for an address on every machine.
pub(crate) fn user_id_of(email: &str) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("mailto:{email}").as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_348_800_000; // 2026-11-22T12:00:00Z, a Sunday.

    #[test]
    fn loading_twice_adds_nothing_and_a_later_start_extends_the_timetable() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert!(load(&store, NOW).unwrap() > 3_000);
        let revision = |store: &Store| {
            store.read_blocking::<_, StoreError>("northside.example", |records| records.revision()).unwrap()
        };
        assert_eq!(revision(&store), 1);
        assert_eq!(load(&store, NOW).unwrap(), 0);
        assert_eq!(revision(&store), 1);
        let added = load(&store, NOW + 7 * DAY_MS).unwrap();
        assert!(added > 0 && added < 100, "{added}");
    }

    #[test]
    fn the_teacher_has_classes_on_each_day_of_half_a_year() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        load(&store, NOW).unwrap();
        for sample in &INSTITUTES {
            let time = LocalTime::new(sample.time_zone).unwrap();
            store
                .read_blocking::<_, StoreError>(sample.institute, |records| {
                    for day in 0..180 {
                        let (from, until) = time.day(time.date(NOW + day * DAY_MS));
                        let classes = records.classes_of(&["maths-a".to_owned()], from, until, 10)?;
                        assert_eq!(classes.len(), 1, "{} day {day}", sample.institute);
                    }
                    Ok(())
                })
                .unwrap();
        }
    }
}
