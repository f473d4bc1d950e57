//! Import of records from CSV files.
//!
//! First everything is read and checked, and all faults are told with file, line and field; then, if there is none, it
//! is written in chunks. What is there already stays as it is, so a second run adds nothing, and a run that was cut off
//! is finished by the next.

mod check;
mod oulad;
mod rehearsal;
mod results;
mod roster;
mod table;

#[cfg(test)]
mod tests;

use crate::clock::unix_ms;
use crate::config::ImportSource;
use crate::store::{Assignment, AuditEntry, NewSubmission, NewUser, Store, StoreError, WriteTx};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::fmt;
use std::io::{IsTerminal as _, Read};
use std::time::{Duration, Instant};
use sync_protocol::token::Claims;
use table::Table;

/// Records read in one transaction.
const CHUNK: usize = 5_000;
/// How long one transaction writes: one fsync for hundreds of rows, and nobody else who writes waits longer for a turn.
const TURN: Duration = Duration::from_millis(500);
/// Faults that are told; more of them have one cause.
const MAX_FAULTS: usize = 100;
/// Rows of a table that comes over the network: all of them are in memory while they are checked, some hundred bytes
/// each. The results of the Open University's dataset have 173,912.
const MAX_UPLOAD_ROWS: u64 = 300_000;
/// Of an institute that an import makes.
const DEFAULT_TIME_ZONE: &str = "UTC";
const DEFAULT_CURRENCY: &str = "USD";

/// A fault in one field of one row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// `FILE:LINE`.
    place: String,
    field: String,
    problem: String,
}

impl Fault {
    /// Row (the header is row 1), column and what is wrong.
    pub(crate) fn into_parts(self) -> (u64, String, String) {
        let row = self.place.rsplit(':').next().and_then(|line| line.parse().ok()).unwrap_or(0);
        (row, self.field, self.problem)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.place, self.field, self.problem)
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error("{file}: {source}")]
    File { file: String, source: std::io::Error },
    #[error("{}", faults_text(.0))]
    Faults(Vec<Fault>),
    #[error("institute is {0:?}, not a domain name of 1 to 253 lower case characters")]
    Institute(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn faults_text(faults: &[Fault]) -> String {
    let lines: Vec<String> = faults.iter().map(|fault| format!("  {fault}")).collect();
    let more = if faults.len() >= MAX_FAULTS { " or more" } else { "" };
    format!("nothing was imported, {}{more} faults:\n{}", faults.len(), lines.join("\n"))
}

/// Faults collected so far.
#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, place: &str, field: &str, problem: impl Into<String>) {
        if !self.full() {
            self.0.push(Fault { place: place.to_owned(), field: field.to_owned(), problem: problem.into() });
        }
    }

    fn full(&self) -> bool {
        self.0.len() >= MAX_FAULTS
    }
}

/// A table that comes over the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upload {
    Roster,
    Results,
}

impl Upload {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Upload::Roster => "roster",
            Upload::Results => "results",
        }
    }

    /// As the audit log names an import that is done, and one that has begun and takes several transactions.
    fn acts(self) -> (&'static str, &'static str) {
        match self {
            Upload::Roster => ("import-roster", "begin-import-roster"),
            Upload::Results => ("import-results", "begin-import-results"),
        }
    }
}

/// A record to be written. The order of the list is the order of writing: what is referred to comes first.
#[derive(Debug, Clone)]
enum Record {
    User(NewUser),
    Batch {
        batch: String,
        title: String,
    },
    Teacher {
        batch: String,
        email: String,
    },
    /// Enrolled when it is imported, unless the source knows the time.
    Enrolment {
        batch: String,
        email: String,
        enrolled_at: Option<i64>,
    },
    /// Both are named by their addresses.
    Guardianship {
        guardian: String,
        student: String,
    },
    Assignment(Assignment),
    /// The student is named by their address.
    Submission(NewSubmission),
    /// A grade for a student's assignment, with the assignment's full score.
    Result {
        assignment: String,
        email: String,
        score: f64,
        max_score: f64,
    },
}

/// Kinds of records, in the order in which a summary tells them.
const KINDS: [&str; 8] = [
    "users",
    "batches",
    "batch teachers",
    "enrolments",
    "guardianships",
    "assignments",
    "submissions",
    "results",
];

impl Record {
    fn kind(&self) -> usize {
        match self {
            Record::User(_) => 0,
            Record::Batch { .. } => 1,
            Record::Teacher { .. } => 2,
            Record::Enrolment { .. } => 3,
            Record::Guardianship { .. } => 4,
            Record::Assignment(_) => 5,
            Record::Submission(_) => 6,
            Record::Result { .. } => 7,
        }
    }
}

/// What was read, with the place of each record for faults that show only in the store.
pub(crate) struct Source {
    records: Vec<(Record, String)>,
    faults: Faults,
}

impl Source {
    /// Reads files whole and checks each row by itself.
    pub(crate) fn read(source: &ImportSource, institute: &str) -> Result<Self, ImportError> {
        check_institute(institute)?;
        let mut faults = Faults::default();
        let records = match source {
            ImportSource::Oulad { folder } => oulad::read(folder, institute, &mut faults)?,
            ImportSource::Roster { file } => {
                roster::read(Table::open(file, &roster::COLUMNS, &mut faults)?, &mut faults)?
            }
            ImportSource::Results { file } => {
                results::read(Table::open(file, &results::COLUMNS, &mut faults)?, &mut faults)?
            }
        };
        Ok(Self { records, faults })
    }

    /// Reads a table as it arrives and checks each row by itself. Blocks.
    pub(crate) fn receive(upload: Upload, bytes: Box<dyn Read>) -> Result<Self, ImportError> {
        let mut faults = Faults::default();
        let table = |columns: &[&'static str]| {
            let table = Table::read(upload.name().to_owned(), bytes, columns, &mut faults);
            table.map(|table| table.at_most(MAX_UPLOAD_ROWS))
        };
        let records = match upload {
            Upload::Roster => {
                let table = table(&roster::COLUMNS);
                roster::read(table, &mut faults)?
            }
            Upload::Results => {
                let table = table(&results::COLUMNS);
                results::read(table, &mut faults)?
            }
        };
        Ok(Self { records, faults })
    }
}

/// New rows of each kind, and rows that were there.
type Counts = [(u64, u64); KINDS.len()];

/// Counts for people and programs: for each kind that the table has its name, rows that were new, rows that were there.
fn told(counts: Counts) -> impl Iterator<Item = (&'static str, u64, u64)> {
    let counts = KINDS.into_iter().zip(counts).map(|(kind, (new, there))| (kind, new, there));
    counts.filter(|(_, new, there)| new + there > 0)
}

/// Who imports what, for the audit log; from the command line nobody does.
#[derive(Debug, Clone)]
pub(crate) struct Importer {
    pub(crate) claims: Claims,
    pub(crate) upload: Upload,
}

impl Importer {
    /// The entry that goes with the first part of several, and the one that goes with the last.
    fn note(&self, tx: &WriteTx<'_>, done: bool, after: Value) -> Result<(), StoreError> {
        let (act, begin) = self.upload.acts();
        let entry = AuditEntry::of_act(&self.claims, if done { act } else { begin }, "import");
        let revision = tx.revision_after()?;
        tx.add_audit(&AuditEntry { after: Some(after.to_string()), revision, ..entry })
    }
}

/// How many rows of each kind were new and how many were there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    counts: Counts,
    dry_run: bool,
}

impl Summary {
    /// For each kind that the table has: its name, rows that were new, rows that were there.
    pub(crate) fn into_counts(self) -> impl Iterator<Item = (&'static str, u64, u64)> {
        told(self.counts)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, new, there) in told(self.counts) {
            writeln!(f, "{kind}: {new} new, {there} there already")?;
        }
        if self.dry_run {
            writeln!(f, "dry run: nothing was written")?;
        }
        Ok(())
    }
}

/// Writes what was read into an institute. Blocks.
pub(crate) fn run(
    store: &Store,
    institute: &str,
    source: Source,
    importer: Option<&Importer>,
    dry_run: bool,
) -> Result<Summary, ImportError> {
    let Source { records, mut faults } = source;
    check::against_store(store, institute, &records, &mut faults)?;
    if !faults.0.is_empty() {
        return Err(ImportError::Faults(faults.0));
    }
    let records: Vec<Record> = records.into_iter().map(|(record, _)| record).collect();
    let counts = if dry_run {
        rehearsal::rehearse(store, institute, &records)?
    } else {
        write(store, institute, records, importer, TURN)?
    };
    Ok(Summary { counts, dry_run })
}

fn check_institute(institute: &str) -> Result<(), ImportError> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-');
    if institute.is_empty() || institute.len() > 253 || !institute.bytes().all(allowed) {
        return Err(ImportError::Institute(institute.to_owned()));
    }
    Ok(())
}

/// Writes for a turn at a time, and lets whoever waits write in between. What the audit log says of it commits with it.
fn write(
    store: &Store,
    institute: &str,
    records: Vec<Record>,
    importer: Option<&Importer>,
    turn: Duration,
) -> Result<Counts, StoreError> {
    let rows = records.len() as u64;
    if rows == 0 && importer.is_none() {
        return Ok(Counts::default());
    }
    let progress = Progress::new(rows);
    let mut counts = [(0, 0); KINDS.len()];
    let mut left = records.into_iter();
    let mut first = true;
    loop {
        let (name, importer) = (institute.to_owned(), importer.cloned());
        let before = left.len() as u64;
        let written = store.write_blocking::<_, StoreError, _>(institute, move |tx| {
            tx.add_institute(&name, DEFAULT_TIME_ZONE, DEFAULT_CURRENCY, unix_ms())?;
            write_part(tx, &name, &mut left, turn, &mut counts)?;
            let done = left.len() == 0;
            if let Some(importer) = importer.filter(|_| done || first) {
                let after = if done { counts_to_json(counts) } else { json!({"rows": rows}) };
                importer.note(tx, done, after)?;
            }
            Ok((left, counts))
        })?;
        (left, counts) = written.value;
        first = false;
        progress.advance(before - left.len() as u64);
        if left.len() == 0 {
            break;
        }
    }
    progress.finish();
    Ok(counts)
}

fn counts_to_json(counts: Counts) -> Value {
    let counts = told(counts).map(|(kind, new, there)| json!({"kind": kind, "new": new, "there": there}));
    json!({"counts": counts.collect::<Vec<_>>()})
}

/// Writes records until none is left or the turn is over, one at least.
fn write_part(
    tx: &mut WriteTx<'_>,
    institute: &str,
    left: &mut std::vec::IntoIter<Record>,
    turn: Duration,
    counts: &mut Counts,
) -> Result<(), StoreError> {
    let (now, began) = (unix_ms(), Instant::now());
    let mut changed = false;
    for record in left.by_ref() {
        let (new, there) = &mut counts[record.kind()];
        let is_new = write_record(tx, institute, record, now)?;
        changed |= is_new;
        *if is_new { new } else { there } += 1;
        if began.elapsed() >= turn {
            break;
        }
    }
    if changed {
        tx.touch_everything();
    }
    Ok(())
}

/// Whether the record was new.
fn write_record(tx: &WriteTx<'_>, institute: &str, record: Record, now: i64) -> Result<bool, StoreError> {
    let user_id = |email: &str| user_id(tx, institute, email);
    match record {
        Record::User(user) => add_person(tx, user, now),
        Record::Batch { batch, title } => tx.add_batch(&batch, &title),
        Record::Teacher { batch, email } => tx.add_teacher(&batch, &user_id(&email)?),
        Record::Enrolment { batch, email, enrolled_at } => {
            tx.add_enrolment(&batch, &user_id(&email)?, enrolled_at.unwrap_or(now))
        }
        Record::Guardianship { guardian, student } => {
            tx.add_guardian(&user_id(&guardian)?, &user_id(&student)?)
        }
        Record::Assignment(assignment) => tx.add_assignment(&assignment),
        Record::Submission(mut work) => {
            work.student = user_id(&work.student)?;
            tx.add_submission(&work)
        }
        Record::Result { assignment, email, score, .. } => {
            let student = user_id(&email)?;
            write_result(tx, assignment, student, score, now)
        }
    }
}

/// Ids are made of addresses, which may change hands: where somebody has the id and another address by now, whoever comes
/// with the old one is somebody else.
fn add_person(tx: &WriteTx<'_>, user: NewUser, now: i64) -> Result<bool, StoreError> {
    if tx.add_user(&user, now)? {
        return Ok(true);
    }
    if tx.holder_of_address(&user.email)?.is_some() {
        return Ok(false);
    }
    tx.add_user(&NewUser { user: uuid::Uuid::now_v7().to_string(), ..user }, now)
}

/// Grades the student's work, and leaves what its teacher wrote; a result without handed-in work, such as an exam's, makes an empty one.
fn write_result(
    tx: &WriteTx<'_>,
    assignment: String,
    student: String,
    score: f64,
    now: i64,
) -> Result<bool, StoreError> {
    let work = tx.submission(&assignment, &student)?;
    if work.as_ref().is_some_and(|work| work.score == Some(score)) {
        return Ok(false);
    }
    let (submission, feedback) = match work {
        Some(work) => (work.submission, work.feedback),
        None => {
            let submission = uuid::Uuid::now_v7().to_string();
            let work = NewSubmission {
                submission: submission.clone(),
                assignment,
                student,
                submitted_at: None,
                text: None,
            };
            tx.add_submission(&work)?;
            (submission, None)
        }
    };
    tx.grade_submission(&submission, score, feedback.as_deref(), "import", now)?;
    Ok(true)
}

/// The id of a person of the institute, deactivated or not.
fn user_id(tx: &WriteTx<'_>, institute: &str, email: &str) -> Result<String, StoreError> {
    let holder = tx.holder_of_address(email)?.filter(|holder| holder.institute == institute);
    let missing = || StoreError::Corrupt { what: "user of an imported row", text: email.to_owned() };
    Ok(holder.ok_or_else(missing)?.user)
}

/// A bar on a terminal, a line for each tenth elsewhere.
struct Progress {
    bar: Option<ProgressBar>,
    total: u64,
    done: std::cell::Cell<u64>,
}

impl Progress {
    fn new(total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:40} {pos}/{len} rows, {eta} left");
            ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, total, done: std::cell::Cell::new(0) }
    }

    fn advance(&self, rows: u64) {
        let before = self.done.get();
        let done = before + rows;
        self.done.set(done);
        match &self.bar {
            Some(bar) => bar.inc(rows),
            None if before * 10 / self.total.max(1) != done * 10 / self.total.max(1) => {
                eprintln!("{done} of {} rows", self.total);
            }
            None => {}
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
