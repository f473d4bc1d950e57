//! Import of records from CSV files.
//!
//! First everything is read and checked, and all faults are told with file, line and field; then, if there is none, it
//! is written in chunks. What is there already stays as it is, so a second run adds nothing, and a run that was cut off
//! is finished by the next.

mod check;
mod oulad;
mod results;
mod roster;
mod table;

#[cfg(test)]
mod tests;

use crate::clock::unix_ms;
use crate::config::ImportSource;
use crate::store::{Assignment, NewSubmission, NewUser, Store, StoreError, WriteTx};
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt;
use std::io::{IsTerminal as _, Read};
use table::Table;

/// Records written in one transaction: one fsync for thousands of rows, and the lock is free again within a second.
const CHUNK: usize = 5_000;
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

/// How many rows of each kind were new and how many were there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    counts: Counts,
    dry_run: bool,
}

impl Summary {
    /// For each kind that the table has: its name, rows that were new, rows that were there.
    pub(crate) fn into_counts(self) -> impl Iterator<Item = (&'static str, u64, u64)> {
        let counts = KINDS.into_iter().zip(self.counts).map(|(kind, (new, there))| (kind, new, there));
        counts.filter(|(_, new, there)| new + there > 0)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, (new, there)) in KINDS.iter().zip(self.counts) {
            if new + there > 0 {
                writeln!(f, "{kind}: {new} new, {there} there already")?;
            }
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
    dry_run: bool,
) -> Result<Summary, ImportError> {
    let Source { records, mut faults } = source;
    check::against_store(store, institute, &records, &mut faults)?;
    if !faults.0.is_empty() {
        return Err(ImportError::Faults(faults.0));
    }
    let records = records.into_iter().map(|(record, _)| record).collect();
    if dry_run { rehearse(store, institute, records) } else { write(store, institute, records) }
}

/// Writes all of it in one transaction and undoes that: the counts are those that a run would tell.
fn rehearse(store: &Store, institute: &str, records: Vec<Record>) -> Result<Summary, ImportError> {
    enum Undo {
        Counted(Counts),
        Failed(StoreError),
    }
    impl From<StoreError> for Undo {
        fn from(error: StoreError) -> Self {
            Undo::Failed(error)
        }
    }
    let name = institute.to_owned();
    let rehearsed = store.write_blocking::<(), Undo, _>(institute, move |tx| {
        tx.add_institute(&name, DEFAULT_TIME_ZONE, DEFAULT_CURRENCY, unix_ms())?;
        Err(Undo::Counted(write_chunk(tx, records)?))
    });
    match rehearsed {
        Err(Undo::Counted(counts)) => Ok(Summary { counts, dry_run: true }),
        Err(Undo::Failed(error)) => Err(error.into()),
        Ok(_) => Ok(Summary::default()),
    }
}

fn check_institute(institute: &str) -> Result<(), ImportError> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-');
    if institute.is_empty() || institute.len() > 253 || !institute.bytes().all(allowed) {
        return Err(ImportError::Institute(institute.to_owned()));
    }
    Ok(())
}

fn write(store: &Store, institute: &str, records: Vec<Record>) -> Result<Summary, ImportError> {
    let progress = Progress::new(records.len() as u64);
    let mut summary = Summary::default();
    let mut records = records.into_iter();
    loop {
        let chunk: Vec<Record> = records.by_ref().take(CHUNK).collect();
        if chunk.is_empty() {
            break;
        }
        let rows = chunk.len() as u64;
        let name = institute.to_owned();
        let counts = store.write_blocking::<_, StoreError, _>(institute, move |tx| {
            tx.add_institute(&name, DEFAULT_TIME_ZONE, DEFAULT_CURRENCY, unix_ms())?;
            write_chunk(tx, chunk)
        })?;
        for (sum, (new, there)) in summary.counts.iter_mut().zip(counts.value) {
            sum.0 += new;
            sum.1 += there;
        }
        progress.advance(rows);
    }
    progress.finish();
    Ok(summary)
}

fn write_chunk(tx: &mut WriteTx<'_>, chunk: Vec<Record>) -> Result<Counts, StoreError> {
    let now = unix_ms();
    let mut counts = [(0, 0); KINDS.len()];
    for record in chunk {
        let kind = record.kind();
        if write_record(tx, record, now)? {
            counts[kind].0 += 1;
        } else {
            counts[kind].1 += 1;
        }
    }
    if counts.iter().any(|(new, _)| *new > 0) {
        tx.touch_everything();
    }
    Ok(counts)
}

/// Whether the record was new.
fn write_record(tx: &WriteTx<'_>, record: Record, now: i64) -> Result<bool, StoreError> {
    match record {
        Record::User(user) => tx.add_user(&user, now),
        Record::Batch { batch, title } => tx.add_batch(&batch, &title),
        Record::Teacher { batch, email } => tx.add_teacher(&batch, &user_id(tx, &email)?),
        Record::Enrolment { batch, email, enrolled_at } => {
            tx.add_enrolment(&batch, &user_id(tx, &email)?, enrolled_at.unwrap_or(now))
        }
        Record::Guardianship { guardian, student } => {
            tx.add_guardian(&user_id(tx, &guardian)?, &user_id(tx, &student)?)
        }
        Record::Assignment(assignment) => tx.add_assignment(&assignment),
        Record::Submission(mut work) => {
            work.student = user_id(tx, &work.student)?;
            tx.add_submission(&work)
        }
        Record::Result { assignment, email, score, .. } => {
            let student = user_id(tx, &email)?;
            write_result(tx, assignment, student, score, now)
        }
    }
}

/// Grades the student's work; a result without handed-in work, such as an exam's, makes an empty one.
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
    let submission = match work {
        Some(work) => work.submission,
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
            submission
        }
    };
    tx.grade_submission(&submission, score, None, "import", now)?;
    Ok(true)
}

fn user_id(tx: &WriteTx<'_>, email: &str) -> Result<String, StoreError> {
    let account = tx.account_by_email(email)?;
    let missing = || StoreError::Corrupt { what: "user of an imported row", text: email.to_owned() };
    Ok(account.ok_or_else(missing)?.user)
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
