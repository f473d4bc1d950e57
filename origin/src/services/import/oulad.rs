//! The Open University Learning Analytics Dataset.
//!
//! Courses become batches (`AAA-2013J`), students users who cannot sign in yet, registrations enrolments, assessments
//! assignments, and studentAssessment submissions. Days count from the begin of a presentation: `B` is February, `J`
//! October.

use super::table::{Row, Table};
use super::{Faults, ImportError, Record};
use crate::services::seed::user_id_of;
use crate::store::{Assignment, NewSubmission, NewUser};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use sync_protocol::token::Role;

const DAY_MS: f64 = 24.0 * 60.0 * 60.0 * 1000.0;
/// Days before and after the begin of a presentation that are believed: registrations come up to a year early.
const DAYS: std::ops::RangeInclusive<f64> = -1_000.0..=1_000.0;
/// All assessments are scored in per cent.
const MAX_SCORE: f64 = 100.0;

struct Oulad {
    institute: String,
    records: Vec<(Record, String)>,
    /// Begin of each presentation (Unix milliseconds), by batch.
    begins: HashMap<String, f64>,
    students: HashSet<String>,
    /// Begin of the presentation of each assessment.
    assessments: HashMap<String, f64>,
}

type ReadRow = fn(&mut Oulad, &Row<'_>, &mut Faults);

pub(super) fn read(
    folder: &Path,
    institute: &str,
    faults: &mut Faults,
) -> Result<Vec<(Record, String)>, ImportError> {
    let mut oulad = Oulad {
        institute: institute.to_owned(),
        records: Vec::new(),
        begins: HashMap::new(),
        students: HashSet::new(),
        assessments: HashMap::new(),
    };
    let course = ["code_module", "code_presentation"];
    let tables: [(&str, &[&'static str], ReadRow); 5] = [
        ("courses", &["module_presentation_length"], Oulad::course),
        ("assessments", &["id_assessment", "assessment_type", "date"], Oulad::assessment),
        ("studentInfo", &["id_student"], Oulad::student),
        ("studentRegistration", &["id_student", "date_registration"], Oulad::registration),
        ("studentAssessment", &["id_assessment", "id_student", "date_submitted"], Oulad::submission),
    ];
    for (name, columns, read) in tables {
        let of_course: &[&'static str] = if name == "studentAssessment" { &[] } else { &course };
        let columns: Vec<&'static str> = of_course.iter().chain(columns).copied().collect();
        if let Some(table) = Table::open_in(folder, name, &columns, faults)? {
            table.each(faults, |row, faults| read(&mut oulad, row, faults))?;
        }
    }
    Ok(oulad.records)
}

impl Oulad {
    fn add(&mut self, record: Record, row: &Row<'_>) {
        self.records.push((record, row.place.clone()));
    }

    fn email(&self, student: &str) -> String {
        format!("oulad-{student}@{}", self.institute)
    }

    fn course(&mut self, row: &Row<'_>, faults: &mut Faults) {
        let (module, presentation) = (row.id("code_module", faults), row.id("code_presentation", faults));
        let (Some(module), Some(presentation)) = (module, presentation) else { return };
        let Some(begin) = begin_of(&presentation) else {
            let problem = format!("is {presentation:?}, not a year and B or J");
            faults.add(&row.place, "code_presentation", problem);
            return;
        };
        let batch = format!("{module}-{presentation}");
        self.begins.insert(batch.clone(), begin);
        self.add(Record::Batch { batch, title: format!("{module} {presentation}") }, row);
    }

    /// The row's batch and its begin; a fault when the course is not there.
    fn batch(&self, row: &Row<'_>, faults: &mut Faults) -> Option<(String, f64)> {
        let batch = format!("{}-{}", row.field("code_module"), row.field("code_presentation"));
        let begin = self.begins.get(&batch).copied();
        if begin.is_none() {
            faults.add(&row.place, "code_presentation", format!("there is no course {batch:?}"));
        }
        begin.map(|begin| (batch, begin))
    }

    fn assessment(&mut self, row: &Row<'_>, faults: &mut Faults) {
        let assignment = row.id("id_assessment", faults);
        // The day of a final exam is not always known.
        let due = if matches!(row.field("date"), "" | "?") { None } else { row.number("date", DAYS, faults) };
        let (Some(assignment), Some((batch, begin))) = (assignment, self.batch(row, faults)) else { return };
        self.assessments.insert(assignment.clone(), begin);
        let title = format!("{} {assignment}", row.field("assessment_type"));
        let due_at = due.map(|days| at(begin, days));
        let assignment = Assignment { assignment, batch, title, due_at, max_score: MAX_SCORE };
        self.add(Record::Assignment(assignment), row);
    }

    fn student(&mut self, row: &Row<'_>, faults: &mut Faults) {
        let (Some(student), Some(_)) = (row.id("id_student", faults), self.batch(row, faults)) else {
            return;
        };
        // One row for each presentation that the student took part in.
        if !self.students.insert(student.clone()) {
            return;
        }
        let email = self.email(&student);
        let user = NewUser {
            user: user_id_of(&email),
            email,
            name: format!("Student {student}"),
            role: Role::Student,
            password_hash: None,
        };
        self.add(Record::User(user), row);
    }

    fn registration(&mut self, row: &Row<'_>, faults: &mut Faults) {
        let day = row.field("date_registration");
        let day = if matches!(day, "" | "?") { None } else { row.number("date_registration", DAYS, faults) };
        let student = self.known_student(row, faults);
        let (Some(student), Some((batch, begin))) = (student, self.batch(row, faults)) else { return };
        let enrolled_at = day.map(|day| at(begin, day));
        let email = self.email(&student);
        self.add(Record::Enrolment { batch, email, enrolled_at }, row);
    }

    fn submission(&mut self, row: &Row<'_>, faults: &mut Faults) {
        let student = self.known_student(row, faults);
        let assignment = row.field("id_assessment").to_owned();
        let begin = self.assessments.get(&assignment).copied();
        if begin.is_none() {
            faults.add(&row.place, "id_assessment", format!("there is no assessment {assignment:?}"));
        }
        let day = row.number("date_submitted", DAYS, faults);
        let (Some(student), Some(begin), Some(day)) = (student, begin, day) else { return };
        let work = NewSubmission {
            submission: format!("{assignment}-{student}"),
            assignment,
            student: self.email(&student),
            submitted_at: Some(at(begin, day)),
            text: None,
        };
        self.add(Record::Submission(work), row);
    }

    fn known_student(&self, row: &Row<'_>, faults: &mut Faults) -> Option<String> {
        let student = row.field("id_student");
        if !self.students.contains(student) {
            faults.add(&row.place, "id_student", format!("there is no student {student:?}"));
            return None;
        }
        Some(student.to_owned())
    }
}

/// When a presentation begins, in Unix milliseconds.
fn begin_of(presentation: &str) -> Option<f64> {
    let (year, term) = presentation.split_at_checked(4)?;
    let month = match term {
        "B" => 2,
        "J" => 10,
        _ => return None,
    };
    let begin = Date::new(year.parse().ok()?, month, 1).ok()?;
    let begin = begin.to_zoned(TimeZone::UTC).ok()?;
    // Milliseconds of this millennium are far below 2^52, where f64 is exact.
    Some(begin.timestamp().as_millisecond() as f64)
}

fn at(begin: f64, days: f64) -> i64 {
    (begin + days * DAY_MS) as i64
}
