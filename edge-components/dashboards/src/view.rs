//! The ten views: their paths, their query, who may read them, and where they are kept.

use rollcall_guest::Problem;
use sync_protocol::command::MAX_ID_BYTES;
use sync_protocol::token::{Claims, Role};

/// A date and its name take 15 bytes; the rest is room for what a client may add by mistake and be told about.
const QUERY_BYTES_MAX: usize = 256;
/// Dates of one reader that are kept at once, for each schedule: two months of days.
///
/// A date's slot is reused by dates further off, which bounds what one reader can make the edge keep.
const DATE_SLOTS: u32 = 64;
/// Students of one guardian whose views are kept at once; as with dates, it bounds what one reader can make the edge keep.
const STUDENT_SLOTS: u32 = 16;
/// Dates that are kept at once of each of them: a week and a little.
const WARD_DATE_SLOTS: u32 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ViewKind {
    StudentDashboard,
    TeacherDashboard,
    AdminDashboard,
    StudentSchedule,
    TeacherSchedule,
    StudentFees,
    AdminFees,
    StudentGrades,
    StudentAttendance,
    GuardianDashboard,
}

const VIEWS: [ViewKind; 10] = [
    ViewKind::StudentDashboard,
    ViewKind::TeacherDashboard,
    ViewKind::AdminDashboard,
    ViewKind::StudentSchedule,
    ViewKind::TeacherSchedule,
    ViewKind::StudentFees,
    ViewKind::AdminFees,
    ViewKind::StudentGrades,
    ViewKind::StudentAttendance,
    ViewKind::GuardianDashboard,
];

impl ViewKind {
    fn path(self) -> &'static str {
        match self {
            ViewKind::StudentDashboard => "/api/students/dashboard",
            ViewKind::TeacherDashboard => "/api/teachers/dashboard",
            ViewKind::AdminDashboard => "/api/admin/dashboard",
            ViewKind::StudentSchedule => "/api/students/schedule",
            ViewKind::TeacherSchedule => "/api/teachers/schedule",
            ViewKind::StudentFees => "/api/students/fees",
            ViewKind::AdminFees => "/api/admin/fees",
            ViewKind::StudentGrades => "/api/students/grades",
            ViewKind::StudentAttendance => "/api/students/attendance",
            ViewKind::GuardianDashboard => "/api/guardians/dashboard",
        }
    }

    fn role(self) -> Role {
        match self {
            ViewKind::StudentDashboard
            | ViewKind::StudentSchedule
            | ViewKind::StudentFees
            | ViewKind::StudentGrades
            | ViewKind::StudentAttendance => Role::Student,
            ViewKind::TeacherDashboard | ViewKind::TeacherSchedule => Role::Teacher,
            ViewKind::AdminDashboard | ViewKind::AdminFees => Role::Admin,
            ViewKind::GuardianDashboard => Role::Guardian,
        }
    }

    /// Whether guardians and admins may ask for it, naming the student.
    fn takes_student(self) -> bool {
        self.role() == Role::Student
    }

    fn takes_date(self) -> bool {
        matches!(self, ViewKind::StudentSchedule | ViewKind::TeacherSchedule)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// `YYYY-MM-DD` of the Gregorian calendar.
    fn decode(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
            return None;
        }
        let number = |from: usize, to: usize| -> Option<u16> {
            let digits = &text.get(from..to)?;
            digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
        };
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            _ => return None,
        };
        let date = Self { year, month: u8::try_from(month).ok()?, day: u8::try_from(day).ok()? };
        (1..=days).contains(&day).then_some(date)
    }

    fn slot(self) -> u32 {
        (u32::from(self.month) * 31 + u32::from(self.day)) % DATE_SLOTS
    }
}

impl std::fmt::Display for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// One view as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    kind: ViewKind,
    date: Option<Date>,
    /// Of whom a guardian asks, whatever the guardian's own role.
    student: Option<String>,
}

impl View {
    pub(crate) fn decode(path: &str, query: Option<&str>) -> Result<Self, Problem> {
        let kind = VIEWS.into_iter().find(|kind| kind.path() == path).ok_or_else(Problem::not_found)?;
        let query = query.unwrap_or_default();
        if query.len() > QUERY_BYTES_MAX {
            let detail = format!("query is {} bytes, the limit is {QUERY_BYTES_MAX}", query.len());
            return Err(Problem::invalid_field("query", detail).limit(QUERY_BYTES_MAX));
        }
        let mut view = Self { kind, date: None, student: None };
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            if name == "student" && kind.takes_student() && view.student.is_none() {
                view.student = Some(decode_id(value)?);
                continue;
            }
            if name != "date" || !kind.takes_date() {
                return Err(Problem::invalid_field(
                    name,
                    format!("{} has no parameter {name:?}", kind.path()),
                ));
            }
            if view.date.is_some() {
                return Err(Problem::invalid_field("date", "date is there twice"));
            }
            let date = Date::decode(value)
                .ok_or_else(|| Problem::invalid_field("date", format!("date {value:?} is not YYYY-MM-DD")))?;
            view.date = Some(date);
        }
        Ok(view)
    }

    pub(crate) fn check_role(&self, role: Role) -> Result<(), Problem> {
        if role == self.kind.role() || self.student.is_some() {
            return Ok(());
        }
        Err(Problem::forbidden(format!("{} is for the role {}", self.kind.path(), self.kind.role().as_str())))
    }

    pub(crate) fn path_and_query(&self) -> String {
        let path = self.kind.path();
        match (&self.date, &self.student) {
            (Some(date), Some(student)) => format!("{path}?date={date}&student={student}"),
            (Some(date), None) => format!("{path}?date={date}"),
            (None, Some(student)) => format!("{path}?student={student}"),
            (None, None) => path.to_owned(),
        }
    }

    /// Where the view of this reader is kept: claims of the verified token, never the token.
    ///
    /// Two dates, or two students, may share a key; the entry says which view it is.
    pub(crate) fn cache_key(&self, claims: &Claims) -> String {
        let slot = match (self.date, &self.student) {
            (Some(date), None) => format!("/{}", date.slot()),
            (Some(date), Some(student)) => {
                format!("/of/{}/{}", student_slot(student), date.slot() % WARD_DATE_SLOTS)
            }
            (None, Some(student)) => format!("/of/{}", student_slot(student)),
            (None, None) => String::new(),
        };
        format!("view/{}/{}/{}{}{slot}", claims.inst, claims.role.as_str(), claims.sub, self.kind.path())
    }
}

/// Ids need no percent-encoding.
fn decode_id(value: &str) -> Result<String, Problem> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if value.is_empty() || value.len() > MAX_ID_BYTES || !value.bytes().all(allowed) {
        return Err(Problem::invalid_field("student", format!("student {value:?} is no id")));
    }
    Ok(value.to_owned())
}

fn student_slot(student: &str) -> u32 {
    student.bytes().fold(0, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % STUDENT_SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(institute: &str, user: &str) -> Claims {
        Claims {
            iss: String::new(),
            aud: String::new(),
            sub: user.into(),
            inst: institute.into(),
            role: Role::Student,
            name: String::new(),
            dev: "d".into(),
            batches: Vec::new(),
            iat: 0,
            exp: 0,
            jti: String::new(),
            sid: String::new(),
        }
    }

    fn schedule(query: &str) -> Result<View, Problem> {
        View::decode("/api/students/schedule", Some(query))
    }

    #[test]
    fn only_the_views_and_only_date_are_known() {
        assert_eq!(View::decode("/api/students/dashboards", None).unwrap_err().code, "not-found");
        let view = schedule("date=2026-11-22").unwrap();
        assert_eq!(view.path_and_query(), "/api/students/schedule?date=2026-11-22");
        assert_eq!(schedule("").unwrap().path_and_query(), "/api/students/schedule");
        assert_eq!(schedule("day=1").unwrap_err().field.as_deref(), Some("day"));
        assert_eq!(schedule("date=2026-11-22&date=2026-11-23").unwrap_err().code, "invalid-field");
        let on_dashboard = View::decode("/api/students/dashboard", Some("date=2026-11-22"));
        assert_eq!(on_dashboard.unwrap_err().field.as_deref(), Some("date"));
        assert_eq!(schedule(&"x".repeat(QUERY_BYTES_MAX + 1)).unwrap_err().limit, Some(QUERY_BYTES_MAX));
    }

    #[test]
    fn dates_are_of_the_calendar() {
        for good in ["2024-02-29", "2000-02-29", "2026-12-31"] {
            assert_eq!(Date::decode(good).unwrap().to_string(), good);
        }
        for bad in [
            "2026-02-29",
            "1900-02-29",
            "2026-13-01",
            "2026-00-01",
            "2026-04-31",
            "2026-1-01",
            "+026-01-01",
            "é26-01-01",
        ] {
            assert_eq!(Date::decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_view_belongs_to_one_reader_of_one_institute() {
        let view = schedule("date=2026-11-22").unwrap();
        let key = view.cache_key(&claims("northside.example", "u1"));
        assert_ne!(key, view.cache_key(&claims("riverside.example", "u1")));
        assert_ne!(key, view.cache_key(&claims("northside.example", "u2")));
        assert_ne!(key, schedule("date=2026-11-23").unwrap().cache_key(&claims("northside.example", "u1")));
        assert_ne!(key, schedule("").unwrap().cache_key(&claims("northside.example", "u1")));
        assert!(view.check_role(Role::Student).is_ok());
        assert_eq!(view.check_role(Role::Admin).unwrap_err().code, "forbidden");
    }

    #[test]
    fn a_guardian_asks_for_a_day_of_a_student() {
        let of = |query: &str| schedule(query).unwrap();
        let view = of("student=s1&date=2026-11-22");
        assert_eq!(view, of("date=2026-11-22&student=s1"));
        assert_eq!(view.path_and_query(), "/api/students/schedule?date=2026-11-22&student=s1");
        assert!(view.check_role(Role::Teacher).is_ok() && view.check_role(Role::Guardian).is_ok());
        assert_eq!(of("date=2026-11-22").check_role(Role::Guardian).unwrap_err().code, "forbidden");
        let own = View::decode("/api/guardians/dashboard", None).unwrap();
        assert!(own.check_role(Role::Guardian).is_ok() && own.check_role(Role::Student).is_err());
        let parent = claims("northside.example", "p1");
        let key = view.cache_key(&parent);
        for other in
            ["student=s2&date=2026-11-22", "student=s1&date=2026-11-23", "student=s1", "date=2026-11-22"]
        {
            assert_ne!(key, of(other).cache_key(&parent), "{other}");
        }
        let teachers = View::decode("/api/teachers/schedule", Some("student=s1")).unwrap_err();
        assert_eq!(teachers.field.as_deref(), Some("student"));
    }

    #[test]
    fn one_reader_fills_a_bounded_number_of_slots() {
        let mut keys = std::collections::BTreeSet::new();
        for year in 2000..2030 {
            for month in 1..=12 {
                for day in 1..=28 {
                    let query = format!("date={year}-{month:02}-{day:02}");
                    keys.insert(schedule(&query).unwrap().cache_key(&claims("northside.example", "u1")));
                }
            }
        }
        assert!(keys.len() <= DATE_SLOTS as usize);
    }
}
