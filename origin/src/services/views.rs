//! Views: what people see, computed from the records of one revision.
//!
//! Every answer is JSON in `snake_case`. Times are RFC 3339 with the institute's offset, dates `YYYY-MM-DD`, money in
//! minor units of `currency`, shares between 0 and 1; a figure that nothing supports yet is `null`. Lists are bounded.
//! Field by field the shapes are the structs of this module: [`StudentDashboard`], [`TeacherDashboard`],
//! [`GuardianDashboard`], [`AdminDashboard`], [`Schedule`], [`StudentFees`] and [`AdminFees`].

mod admin;
mod attendance;
mod fees;
mod grades;
mod guardian;
mod roster;
mod schedule;
mod student;
mod teacher;

pub(crate) use {
    admin::AdminDashboard, attendance::Attendance, fees::AdminFees, fees::StudentFees, grades::Grades,
    guardian::GuardianDashboard, roster::Roster, schedule::Schedule, student::StudentDashboard,
    teacher::TeacherDashboard,
};

use super::cache::{Cache, Computed, Key, Served, Strategy};
use super::local_time::LocalTime;
use crate::clock::unix_ms;
use crate::store::{
    Account, AttendanceFigures, ClassRow, Institute, MessageRow, PaymentRow, Records, Store, StoreError,
    Unread,
};
use jiff::civil::Date;
use serde::Serialize;
use sync_protocol::bookmark::Bookmark;
use sync_protocol::tag;
use sync_protocol::token::{Claims, Role, TokenError};
use utoipa::ToSchema;

/// Most entries of one list in a view, so that a view's size does not follow an institute's age.
const LIST: u32 = 50;
/// Of each mailbox so many of the last messages are looked at for those that are unread: nobody needs to know more.
const UNREAD_MAX: u32 = 100;
/// Most entries of a short list: next classes, recent messages and payments.
const SHORT_LIST: u32 = 10;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ViewError {
    #[error("there is no class {0:?}")]
    NoClass(String),
    #[error("a roster is for the class's teacher, the batch's teachers and admins")]
    NotTheirClass,
    #[error("this view is for a {}", .0.as_str())]
    WrongRole(Role),
    #[error("the user is not of this institute any more")]
    UnknownUser,
    #[error("only the student, a guardian and an admin may see this")]
    NotTheirs,
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("date is not YYYY-MM-DD")]
    Date,
    /// The reader has seen a later state than this store holds: an older copy answers, or this one was restored.
    #[error("this origin is at {current}, the reader has seen {seen}")]
    Behind { current: Bookmark, seen: Bookmark },
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Clone)]
pub(crate) struct ViewService {
    store: Store,
    cache: Cache,
}

/// Under which name a view is kept, and for how long.
struct Kept {
    strategy: Strategy,
    name: &'static str,
    /// What of that name was asked for: a schedule's day, if by its date, or a roster's class; else empty.
    of: String,
    /// Whether the view shows what is today and what comes next.
    until_midnight: bool,
    /// The student whose view it is; else it is the reader's own.
    student: Option<String>,
}

impl Kept {
    const fn dashboard(name: &'static str) -> Self {
        Self { strategy: Strategy::Dashboard, name, of: String::new(), until_midnight: true, student: None }
    }

    /// Of the student that the claims name, or of `student`, of whom they name the guardian or an admin.
    fn of_student(self, claims: &Claims, student: Option<String>) -> Result<Self, ViewError> {
        if student.is_none() && claims.role != Role::Student {
            return Err(ViewError::WrongRole(Role::Student));
        }
        Ok(Self { student, ..self })
    }

    /// Of a day, which is today without a date.
    fn day(name: &'static str, date: Option<Date>) -> Self {
        let of = date.map_or_else(String::new, |date| date.to_string());
        Self { until_midnight: date.is_none(), ..Self::records(name, of) }
    }

    /// Of a view that says what the records say, whatever the day.
    const fn records(name: &'static str, of: String) -> Self {
        Self { strategy: Strategy::Api, name, of, until_midnight: false, student: None }
    }
}

/// What every view is computed from.
struct Scene<'r> {
    records: &'r dyn Records,
    /// Whose view it is.
    account: Account,
    /// Whether that is who reads it, and not their guardian or an admin.
    own: bool,
    institute: Institute,
    time: LocalTime,
    now: i64,
    today: Date,
    /// Batches of the user.
    batches: Vec<String>,
}

impl ViewService {
    pub(crate) fn new(store: Store, cache: Cache) -> Self {
        Self { store, cache }
    }

    pub(crate) async fn student_dashboard(
        &self,
        claims: &Claims,
        student: Option<String>,
        seen: Option<Bookmark>,
    ) -> Result<Served, ViewError> {
        self.of_student(claims, student, seen, Kept::dashboard("student"), student::dashboard).await
    }

    pub(crate) async fn teacher_dashboard(
        &self,
        claims: &Claims,
        seen: Option<Bookmark>,
    ) -> Result<Served, ViewError> {
        self.view(claims, Role::Teacher, seen, Kept::dashboard("teacher"), teacher::dashboard).await
    }

    pub(crate) async fn guardian_dashboard(
        &self,
        claims: &Claims,
        seen: Option<Bookmark>,
    ) -> Result<Served, ViewError> {
        if claims.role != Role::Guardian {
            return Err(ViewError::WrongRole(Role::Guardian));
        }
        let compute = |scene: &Scene<'_>| Ok(guardian::dashboard(scene)?);
        self.keep(claims, seen, Kept::dashboard("guardian"), compute).await
    }

    pub(crate) async fn admin_dashboard(
        &self,
        claims: &Claims,
        seen: Option<Bookmark>,
    ) -> Result<Served, ViewError> {
        self.view(claims, Role::Admin, seen, Kept::dashboard("admin"), admin::dashboard).await
    }

    pub(crate) async fn grades(
        &self,
        claims: &Claims,
        student: Option<String>,
        seen: Option<Bookmark>,
    ) -> Result<Served, ViewError> {
        let kept = Kept::records("grades", String::new());
        self.of_student(claims, student, seen, kept, grades::grades).await
    }

    pub(crate) async fn attendance(
        &self,
        claims: &Claims,
        student: Option<String>,
        seen: Option<Bookmark>,
    ) -> Result<Served, ViewError> {
        let kept = Kept::records("attendance", String::new());
        self.of_student(claims, student, seen, kept, attendance::attendance).await
    }

    /// The students of a class, for its teacher, teachers of its batch and admins.
    pub(crate) async fn roster(
        &self,
        claims: &Claims,
        class: String,
        seen: Option<Bookmark>,
    ) -> Result<Served, ViewError> {
        let kept = Kept::records("roster", class.clone());
        self.keep(claims, seen, kept, move |scene| roster::roster(scene, &class)).await
    }

    /// The classes of one day, today when `date` is absent, for the teacher that the claims name.
    pub(crate) async fn teacher_schedule(
        &self,
        claims: &Claims,
        date: Option<&str>,
        seen: Option<Bookmark>,
    ) -> Result<Served, ViewError> {
        let date = date.map(parse_date).transpose()?;
        let compute = move |scene: &Scene<'_>| schedule::schedule(scene, date);
        self.view(claims, Role::Teacher, seen, Kept::day("schedule", date), compute).await
    }

    /// The same for a student.
    pub(crate) async fn student_schedule(
        &self,
        claims: &Claims,
        student: Option<String>,
        date: Option<&str>,
        seen: Option<Bookmark>,
    ) -> Result<Served, ViewError> {
        let date = date.map(parse_date).transpose()?;
        let compute = move |scene: &Scene<'_>| schedule::schedule(scene, date);
        self.of_student(claims, student, seen, Kept::day("schedule", date), compute).await
    }

    pub(crate) async fn student_fees(
        &self,
        claims: &Claims,
        student: Option<String>,
        seen: Option<Bookmark>,
    ) -> Result<Served, ViewError> {
        // An invoice is overdue from one day to the next.
        let kept = Kept { until_midnight: true, ..Kept::records("student-fees", String::new()) };
        // What happens in the student's batches changes nothing of it.
        let compute = |scene: &Scene<'_>| {
            let tags = vec![tag::EVERYTHING.to_owned(), tag::user(&scene.account.user)];
            Ok((fees::student_fees(scene)?, tags))
        };
        self.keep(claims, seen, kept.of_student(claims, student)?, compute).await
    }

    pub(crate) async fn admin_fees(
        &self,
        claims: &Claims,
        seen: Option<Bookmark>,
    ) -> Result<Served, ViewError> {
        let kept = Kept { until_midnight: true, ..Kept::records("admin-fees", String::new()) };
        self.view(claims, Role::Admin, seen, kept, fees::admin_fees).await
    }

    /// A view of the student that the claims name, or of `student`, of whom they name the guardian or an admin.
    async fn of_student<T: Serialize>(
        &self,
        claims: &Claims,
        student: Option<String>,
        seen: Option<Bookmark>,
        kept: Kept,
        compute: impl FnOnce(&Scene<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Served, ViewError> {
        let kept = kept.of_student(claims, student)?;
        self.keep(claims, seen, kept, move |scene| Ok((compute(scene)?, scene.tags()))).await
    }

    async fn view<T: Serialize>(
        &self,
        claims: &Claims,
        role: Role,
        seen: Option<Bookmark>,
        kept: Kept,
        compute: impl FnOnce(&Scene<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Served, ViewError> {
        if claims.role != role {
            return Err(ViewError::WrongRole(role));
        }
        self.keep(claims, seen, kept, move |scene| Ok((compute(scene)?, scene.tags()))).await
    }

    /// What is kept, or body and tags computed in one transaction that shows at least what the reader has seen.
    ///
    /// The key holds the user and the role of the token: what one reader may see is never served to another. What is kept
    /// says which of the user's tokens count no more, and depends on it.
    async fn keep<T: Serialize>(
        &self,
        claims: &Claims,
        seen: Option<Bookmark>,
        kept: Kept,
        compute: impl FnOnce(&Scene<'_>) -> Result<(T, Vec<String>), ViewError> + Send + 'static,
    ) -> Result<Served, ViewError> {
        let user = claims.sub.clone();
        let student = kept.student.unwrap_or_else(|| user.clone());
        let parts = [kept.name, claims.role.as_str(), &user, &student, &kept.of];
        let key = Key::new(kept.strategy, &claims.inst, &parts);
        let computed = || {
            self.store.read_after(&claims.inst, seen, move |records| {
                let current = Bookmark::new(records.epoch(), records.revision()?);
                if let Some(seen) = seen.filter(|seen| *seen > current) {
                    return Err(ViewError::Behind { current, seen });
                }
                let (Some(reader), Some(institute)) = records.reader(&user)? else {
                    return Err(ViewError::UnknownUser);
                };
                let revocation = reader.revocation.clone();
                let scene = Scene::open(records, reader, institute, &student)?;
                let (view, mut tags) = compute(&scene)?;
                tags.push(tag::member(&user));
                if !scene.own {
                    // Who is whose guardian changes with it.
                    tags.push(tag::user(&user));
                }
                let body = serde_json::to_vec(&view).expect("texts and finite numbers are always JSON");
                // What shows today and what comes next is another thing tomorrow.
                let valid_until = kept.until_midnight.then(|| scene.time.day(scene.today).1);
                Ok(Computed { body, tags, bookmark: current, valid_until, revocation })
            })
        };
        let served = self.cache.get_or_compute(key, seen, computed).await?;
        if served.content.revocation.covers(claims) {
            return Err(TokenError::Revoked.into());
        }
        Ok(served)
    }
}

impl<'r> Scene<'r> {
    /// What `reader` sees of `user`: themselves, or a student.
    fn open(
        records: &'r dyn Records,
        reader: Account,
        institute: Institute,
        user: &str,
    ) -> Result<Self, ViewError> {
        let own = reader.user == user;
        let account = if own { reader } else { visible_student(records, &reader, user)? };
        let time = LocalTime::new(&institute.time_zone)?;
        let batches = records.batches_of(&account)?;
        let now = unix_ms();
        let today = time.date(now);
        Ok(Self { records, account, own, institute, time, now, today, batches })
    }

    /// What the view depends on: the user and their batches, or the whole institute.
    fn tags(&self) -> Vec<String> {
        let mut tags = vec![tag::EVERYTHING.to_owned()];
        // Four places are taken: by everything, by the user, and by the reader and their membership.
        let too_many = self.batches.len() + 4 > tag::MAX_TAGS;
        if self.account.role == Role::Admin || too_many {
            tags.push(tag::INSTITUTE.to_owned());
        } else {
            tags.push(tag::user(&self.account.user));
            tags.extend(self.batches.iter().map(|batch| tag::batch(batch)));
        }
        tags
    }

    fn institute_view(&self) -> InstituteView {
        InstituteView {
            id: self.institute.institute.clone(),
            name: self.institute.name.clone(),
            time_zone: self.institute.time_zone.clone(),
        }
    }

    fn person(&self) -> Person {
        Person {
            id: self.account.user.clone(),
            name: self.account.name.clone(),
            email: self.account.email.clone(),
        }
    }

    fn class_view(&self, class: &ClassRow) -> ClassView {
        ClassView {
            class: class.class.clone(),
            batch: class.batch.clone(),
            title: class.title.clone(),
            room: class.room.clone(),
            teacher: class.teacher_name.clone(),
            teacher_user: class.teacher.clone(),
            starts_at: self.time.text(class.starts_at),
            ends_at: self.time.text(class.ends_at),
        }
    }

    fn payment_view(&self, payment: PaymentRow) -> PaymentView {
        PaymentView {
            payment: payment.payment,
            invoice: payment.invoice,
            student: payment.student_name,
            amount_minor: payment.amount_minor,
            method: payment.method,
            reference: payment.reference,
            paid_at: self.time.text(payment.paid_at),
        }
    }

    fn messages(&self) -> Result<Messages, StoreError> {
        let user = &self.account.user;
        let recent = self.records.messages_to(user, &self.batches, SHORT_LIST)?;
        let unread = self.records.unread_messages(user, &self.batches, UNREAD_MAX)?;
        Ok(self.messages_view(unread, recent))
    }

    fn messages_view(&self, unread: Unread, recent: Vec<MessageRow>) -> Messages {
        let recent = recent.into_iter().map(|message| MessageView {
            message: message.message,
            from: message.author_name,
            from_user: message.author,
            batch: message.batch,
            text: message.text,
            posted_at: self.time.text(message.posted_at),
            retracted: message.retracted,
        });
        Messages { unread: unread.count, until: unread.newest, recent: recent.collect() }
    }
}

/// A student whose records somebody else may see: their guardian, or an admin.
fn visible_student(records: &dyn Records, reader: &Account, student: &str) -> Result<Account, ViewError> {
    if reader.role != Role::Admin && !wards(records, &reader.user)?.iter().any(|ward| ward == student) {
        return Err(ViewError::NotTheirs);
    }
    let account = records.account(student)?.filter(|account| account.role == Role::Student);
    account.ok_or(ViewError::NotTheirs)
}

/// The students whose guardian the user is, whatever the user's role.
fn wards(records: &dyn Records, user: &str) -> Result<Vec<String>, StoreError> {
    Ok(records.directory_entry(user)?.map(|entry| entry.guardian_of).unwrap_or_default())
}

fn parse_date(text: &str) -> Result<Date, ViewError> {
    // jiff reads more than the plain form: `20261122`, for example.
    if text.len() != "YYYY-MM-DD".len() {
        return Err(ViewError::Date);
    }
    text.parse().map_err(|_| ViewError::Date)
}

/// The share of marked students who were there, late or not; excused ones do not count.
fn rate(figures: &AttendanceFigures) -> Option<f64> {
    let came = figures.present + figures.late;
    let counted = came + figures.absent;
    // Counts of people are far below 2^52, where f64 is exact.
    (counted > 0).then(|| came as f64 / counted as f64)
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InstituteView {
    id: String,
    name: String,
    time_zone: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Person {
    id: String,
    name: String,
    email: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClassView {
    class: String,
    batch: String,
    title: String,
    room: String,
    /// Name.
    teacher: String,
    teacher_user: String,
    starts_at: String,
    ends_at: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Messages {
    /// Of the last 100 of each mailbox that the reader has not marked read: those that others wrote.
    unread: u64,
    /// What `mark-messages-read` takes to mark read all that is there; null when nothing is unread.
    until: Option<i64>,
    /// The newest first.
    recent: Vec<MessageView>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MessageView {
    message: String,
    /// Name.
    from: String,
    from_user: String,
    /// Absent for a message to the reader alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<String>,
    /// Empty for one that was retracted.
    text: String,
    posted_at: String,
    /// Whether an admin has retracted it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    retracted: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What somebody sees of themselves.
    fn scene<'r>(records: &'r dyn Records, user: &str) -> Result<Scene<'r>, ViewError> {
        let (Some(account), Some(institute)) = records.reader(user)? else {
            return Err(ViewError::UnknownUser);
        };
        Scene::open(records, account, institute, user)
    }

    #[test]
    fn the_rate_counts_late_as_there_and_leaves_excused_out() {
        let figures = AttendanceFigures { present: 2, late: 1, absent: 1, excused: 5, conflicts: 0 };
        assert_eq!(rate(&figures), Some(0.75));
        assert_eq!(rate(&AttendanceFigures { excused: 3, ..AttendanceFigures::default() }), None);
    }

    #[test]
    fn no_view_reads_a_whole_table() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        crate::services::seed::load(&store, unix_ms()).unwrap();
        let user = |local: &str| crate::services::seed::user_id_of(&format!("{local}@northside.example"));
        let steps = crate::store::plans::of(|| {
            let read = store.read_blocking::<_, ViewError>("northside.example", |records| {
                student::dashboard(&scene(records, &user("student"))?)?;
                let student = scene(records, &user("student"))?;
                fees::student_fees(&student)?;
                records.sessions(&user("student"), unix_ms())?;
                records.devices(&user("student"))?;
                fees::admin_fees(&scene(records, &user("admin"))?)?;
                schedule::schedule(&scene(records, &user("student"))?, None)?;
                schedule::schedule(&scene(records, &user("teacher"))?, None)?;
                grades::grades(&scene(records, &user("student"))?)?;
                attendance::attendance(&scene(records, &user("student"))?)?;
                let teacher = scene(records, &user("teacher"))?;
                let class = records.classes_of(&teacher.batches, 0, i64::MAX, 1)?.remove(0).class;
                roster::roster(&teacher, &class)?;
                guardian::dashboard(&scene(records, &user("guardian"))?)?;
                teacher::dashboard(&scene(records, &user("teacher"))?)?;
                admin::dashboard(&scene(records, &user("admin"))?)?;
                records.share_batch(&user("student"), &user("teacher"))?;
                records.account_by_email("student@northside.example")?;
                records.feed_after(0, 10)?;
                Ok(())
            });
            read.unwrap();
        });
        assert!(steps.len() > 40, "{steps:#?}");
        // `mine` is the list of one user's batches, a query within a query the last messages of a mailbox.
        let few = |step: &str| step.starts_with("SCAN mine") || step.starts_with("SCAN (subquery");
        let whole: Vec<_> = steps.iter().filter(|step| step.starts_with("SCAN") && !few(step)).collect();
        assert!(whole.is_empty(), "{whole:#?}");
        // A search by the institute alone reads all of the institute: only an ordered list with a limit may, which stops.
        let wide = steps.iter().filter(|step| step.contains("(institute=?)"));
        let limited = [
            "FROM institutes",
            "FROM payments",
            "FROM invoices INDEXED BY invoices_open",
            "FROM payment_events INDEXED BY",
        ];
        let unexpected: Vec<_> =
            wide.filter(|step| !limited.iter().any(|allowed| step.contains(allowed))).collect();
        assert!(unexpected.is_empty(), "{unexpected:#?}");
    }

    /// One institute of the size of the Open University's dataset, beside a small one.
    const LARGE: &str = include_str!("views/large_institute.sql");

    #[test]
    fn no_view_scans_a_large_table_of_postgres() {
        let database = crate::testing::TestDatabase::create();
        let store = Store::connect(&database.config()).unwrap();
        crate::services::seed::load(&store, unix_ms()).unwrap();
        database.sql(LARGE);
        database.explain_statements();
        drop(store);
        let store = Store::connect(&database.config()).unwrap();
        // The way of readers, whose statements are planned for any value.
        let read = store.read_after::<_, ViewError, _>("large.example", None, |records| {
            student::dashboard(&scene(records, "student-7")?)?;
            schedule::schedule(&scene(records, "student-7")?, None)?;
            schedule::schedule(&scene(records, "teacher-3")?, None)?;
            grades::grades(&scene(records, "student-7")?)?;
            attendance::attendance(&scene(records, "student-7")?)?;
            roster::roster(&scene(records, "teacher-3")?, "class-2")?;
            teacher::dashboard(&scene(records, "teacher-3")?)?;
            guardian::dashboard(&scene(records, "guardian-3")?)?;
            let student = scene(records, "student-7")?;
            fees::student_fees(&student)?;
            let admin = scene(records, "admin-1")?;
            admin::dashboard(&admin)?;
            fees::admin_fees(&admin)?;
            records.sessions("student-7", unix_ms())?;
            records.share_batch("student-7", "teacher-3")?;
            records.account_by_email("student-7@large.example")?;
            records.submission("assignment-3", "student-7")?;
            records.feed_after(0, 10)?;
            records.decision("key")?;
            Ok(())
        });
        tokio::runtime::Runtime::new().unwrap().block_on(read).unwrap();
        let log = database.server.whole_log();
        let plans = crate::testing::plans(&log);
        assert!(plans > 25, "{plans} plans in the log");
        let large = [
            "submissions",
            "users",
            "enrolments",
            "attendance",
            "messages",
            "invoices",
            "payments",
            "ledger",
            "payment_events",
            "classes",
            "class_figures",
        ];
        // A partition of a quarter to come is empty, and reading nothing costs nothing.
        let scans = crate::testing::scans_of(&log, &large, 0.0);
        assert!(scans.is_empty(), "{scans:#?}");
    }

    #[test]
    fn dates_are_read_in_one_form_alone() {
        assert!(parse_date("2026-11-22").is_ok());
        for wrong in ["20261122", "2026-11-31", "tomorrow", "2026-11-22T00:00", ""] {
            assert!(matches!(parse_date(wrong), Err(ViewError::Date)), "{wrong}");
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
struct PaymentView {
    payment: String,
    invoice: String,
    /// Name.
    student: String,
    amount_minor: i64,
    method: String,
    reference: Option<String>,
    paid_at: String,
}
