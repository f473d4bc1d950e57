//! What the sample institutes are made of.

use sync_protocol::token::Role;

/// Of all sample people.
pub(super) const PASSWORD: &str = "rollcall";

pub(super) struct Sample {
    pub(super) institute: &'static str,
    pub(super) name: &'static str,
    pub(super) time_zone: &'static str,
    pub(super) currency: &'static str,
    /// One term's tuition, minor units.
    pub(super) tuition_minor: i64,
}

pub(super) const INSTITUTES: [Sample; 2] = [
    Sample {
        institute: "northside.example",
        name: "Northside Coaching",
        time_zone: "Asia/Kolkata",
        currency: "INR",
        tuition_minor: 2_400_000,
    },
    Sample {
        institute: "riverside.example",
        name: "Riverside Tutors",
        time_zone: "Europe/London",
        currency: "GBP",
        tuition_minor: 96_000,
    },
];

pub(super) struct SampleBatch {
    pub(super) batch: &'static str,
    pub(super) title: &'static str,
    pub(super) room: &'static str,
    /// Local parts of their addresses; the first one's name stands on the timetable.
    pub(super) teachers: &'static [&'static str],
    /// Monday is 0.
    pub(super) weekdays: &'static [i8],
    pub(super) hour: i8,
    pub(super) minute: i8,
    pub(super) minutes: i64,
    /// Further students by number, besides `student@` where `student` is set.
    numbers: std::ops::Range<usize>,
    student: bool,
}

const EVERY_DAY: &[i8] = &[0, 1, 2, 3, 4, 5, 6];

pub(super) const BATCHES: [SampleBatch; 6] = [
    SampleBatch {
        batch: "maths-a",
        title: "Mathematics A",
        room: "Room 1",
        teachers: &["teacher", "assistant"],
        weekdays: EVERY_DAY,
        hour: 9,
        minute: 0,
        minutes: 90,
        numbers: 0..20,
        student: true,
    },
    SampleBatch {
        batch: "physics-a",
        title: "Physics A",
        room: "Lab 2",
        teachers: &["teacher", "assistant"],
        weekdays: EVERY_DAY,
        hour: 17,
        minute: 30,
        minutes: 90,
        numbers: 10..30,
        student: true,
    },
    SampleBatch {
        batch: "english-a",
        title: "English A",
        room: "Room 3",
        teachers: &["nadia"],
        weekdays: &[0, 1, 2, 3, 4],
        hour: 15,
        minute: 0,
        minutes: 60,
        numbers: 0..25,
        student: true,
    },
    SampleBatch {
        batch: "chemistry-a",
        title: "Chemistry A",
        room: "Lab 1",
        teachers: &["omar"],
        weekdays: &[0, 2, 4],
        hour: 11,
        minute: 0,
        minutes: 90,
        numbers: 20..40,
        student: false,
    },
    SampleBatch {
        batch: "biology-a",
        title: "Biology A",
        room: "Lab 1",
        teachers: &["omar"],
        weekdays: &[1, 3, 5],
        hour: 11,
        minute: 0,
        minutes: 90,
        numbers: 30..50,
        student: false,
    },
    SampleBatch {
        batch: "maths-b",
        title: "Mathematics B",
        room: "Room 2",
        teachers: &["nadia"],
        weekdays: &[0, 1, 2, 3, 4, 5],
        hour: 9,
        minute: 0,
        minutes: 90,
        numbers: 40..60,
        student: false,
    },
];

impl SampleBatch {
    pub(super) fn students(&self) -> impl Iterator<Item = Person> {
        let named = self.student.then(|| Person::student("student", "Sam Student"));
        named.into_iter().chain(self.numbers.clone().map(numbered_student))
    }
}

pub(super) enum HomeworkState {
    Graded,
    Submitted,
    Open,
}

pub(super) struct Homework {
    pub(super) title: &'static str,
    pub(super) max_score: f64,
    pub(super) due_in_days: i64,
    pub(super) state: HomeworkState,
}

pub(super) const HOMEWORK: [Homework; 4] = [
    Homework {
        title: "exercises of chapter 1",
        max_score: 20.0,
        due_in_days: -14,
        state: HomeworkState::Graded,
    },
    Homework {
        title: "exercises of chapter 2",
        max_score: 20.0,
        due_in_days: -2,
        state: HomeworkState::Submitted,
    },
    Homework { title: "exercises of chapter 3", max_score: 20.0, due_in_days: 5, state: HomeworkState::Open },
    Homework { title: "mock test", max_score: 100.0, due_in_days: 19, state: HomeworkState::Open },
];

pub(super) struct Person {
    /// Of the e-mail address.
    pub(super) local: String,
    pub(super) name: String,
    pub(super) role: Role,
}

impl Person {
    pub(super) fn student(local: &str, name: &str) -> Self {
        Self { local: local.to_owned(), name: name.to_owned(), role: Role::Student }
    }
}

const FIRST_NAMES: [&str; 15] = [
    "Aarav", "Beatriz", "Chen", "Divya", "Emeka", "Fatima", "Grace", "Hiro", "Ines", "Jonas", "Kavya",
    "Liam", "Mei", "Noor", "Olga",
];
const LAST_NAMES: [&str; 4] = ["Adeyemi", "Brown", "Chandra", "Diaz"];

/// Further students of each institute.
const STUDENTS: usize = FIRST_NAMES.len() * LAST_NAMES.len();

fn numbered_student(number: usize) -> Person {
    let first = FIRST_NAMES[number % FIRST_NAMES.len()];
    let last = LAST_NAMES[number / FIRST_NAMES.len() % LAST_NAMES.len()];
    let local = format!("{}.{}", first.to_lowercase(), last.to_lowercase());
    Person::student(&local, &format!("{first} {last}"))
}

pub(super) fn students() -> impl Iterator<Item = Person> {
    std::iter::once(Person::student("student", "Sam Student")).chain((0..STUDENTS).map(numbered_student))
}

/// Whose guardian `guardian@` is.
pub(super) fn wards() -> [Person; 2] {
    [Person::student("student", "Sam Student"), numbered_student(0)]
}

pub(super) fn people() -> impl Iterator<Item = Person> {
    let staff = [
        ("admin", "Ada Admin", Role::Admin),
        ("teacher", "Tara Teacher", Role::Teacher),
        ("assistant", "Arjun Assistant", Role::Teacher),
        ("nadia", "Nadia Novak", Role::Teacher),
        ("omar", "Omar Okafor", Role::Teacher),
        ("guardian", "Gita Guardian", Role::Guardian),
    ];
    let staff = staff.map(|(local, name, role)| Person { local: local.into(), name: name.into(), role });
    staff.into_iter().chain(students())
}

/// A number that depends on nothing but the texts: FNV-1a, finished so that its low bits are mixed.
pub(super) fn dice(texts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in texts.iter().flat_map(|text| text.bytes().chain([0])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd) >> 33
}
