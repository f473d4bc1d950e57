//! Figures that are kept beside what they count: whatever happened, they are what counting anew gives. On each engine.

use super::conformance::{AT, school};
use super::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::sync::atomic::{AtomicU64, Ordering};
use sync_protocol::document_id::DocumentId;
use sync_protocol::link::DocumentRecord;
use sync_protocol::token::Role;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Rows of either side that the other lacks. What came to nothing may be kept as nothing.
const DIFFERENCES: &str = "SELECT * FROM (
        SELECT figure, part, value FROM figures WHERE institute = 'northside.example' AND value <> 0
        EXCEPT SELECT figure, part, value FROM counted_figures WHERE institute = 'northside.example') wrong
    UNION ALL SELECT * FROM (
        SELECT figure, part, value FROM counted_figures WHERE institute = 'northside.example' AND value <> 0
        EXCEPT SELECT figure, part, value FROM figures WHERE institute = 'northside.example') missing
    UNION ALL SELECT * FROM (
        SELECT 'marks', class, present + 10 * absent + 100 * late + 1000 * excused + 10000 * conflicts
        FROM class_figures WHERE institute = 'northside.example'
            AND present + absent + late + excused + conflicts <> 0
        EXCEPT SELECT 'marks', class, present + 10 * absent + 100 * late + 1000 * excused + 10000 * conflicts
        FROM counted_class_figures WHERE institute = 'northside.example') wrong_marks
    UNION ALL SELECT * FROM (
        SELECT 'marks', class, present + 10 * absent + 100 * late + 1000 * excused + 10000 * conflicts
        FROM counted_class_figures WHERE institute = 'northside.example'
        EXCEPT SELECT 'marks', class, present + 10 * absent + 100 * late + 1000 * excused + 10000 * conflicts
        FROM class_figures WHERE institute = 'northside.example') missing_marks";

/// What one operation does; numbers choose among what may be there.
#[derive(Debug, Clone)]
enum Step {
    User(u8, Role),
    Role(u8, Role),
    Batch(u8),
    Enrol(u8, u8),
    Withdraw(u8, u8),
    Class(u8, u8),
    Cancel(u8),
    /// Class, student, mark, and whether it is one of several.
    Mark(u8, u8, &'static str, bool),
    Unmark(u8, u8),
    Submit(u8),
    Invoice(u8, u8, i64),
    Void(u8),
    /// Payment, invoice, amount, day.
    Pay(u8, u8, i64, i64),
    Refund(u8, u8, i64, i64),
    Document(u8, &'static str),
    Append(u8, u8),
    Succeed(u8, u8),
    Delete(u8),
    Quarantine(u8, u8),
    Settle(u8, u8),
    Arrived(u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let n = || 0..4_u8;
    let role = || prop::sample::select(Role::ALL.to_vec());
    let mark = prop::sample::select(vec!["present", "absent", "late", "excused"]);
    let kind = prop::sample::select(vec!["notes", "doubt"]);
    let (amount, day) = (|| 1..500_i64, || 0..3_i64);
    let people = prop_oneof![
        (n(), role()).prop_map(|(n, role)| Step::User(n, role)),
        (n(), role()).prop_map(|(n, role)| Step::Role(n, role)),
        n().prop_map(Step::Batch),
        (n(), n()).prop_map(|(b, s)| Step::Enrol(b, s)),
        (n(), n()).prop_map(|(b, s)| Step::Withdraw(b, s)),
        n().prop_map(Step::Submit),
    ];
    let classes = prop_oneof![
        (n(), n()).prop_map(|(c, b)| Step::Class(c, b)),
        n().prop_map(Step::Cancel),
        (n(), n(), mark, any::<bool>()).prop_map(|(c, s, mark, several)| Step::Mark(c, s, mark, several)),
        (n(), n()).prop_map(|(c, s)| Step::Unmark(c, s)),
    ];
    let money = prop_oneof![
        (n(), n(), amount()).prop_map(|(i, s, amount)| Step::Invoice(i, s, amount)),
        n().prop_map(Step::Void),
        (n(), n(), amount(), day()).prop_map(|(p, i, amount, day)| Step::Pay(p, i, amount, day)),
        (n(), n(), amount(), day()).prop_map(|(r, p, amount, day)| Step::Refund(r, p, amount, day)),
    ];
    let documents = prop_oneof![
        2 => (n(), kind).prop_map(|(d, kind)| Step::Document(d, kind)),
        3 => (n(), 1..4_u8).prop_map(|(d, count)| Step::Append(d, count)),
        1 => (n(), n()).prop_map(|(d, e)| Step::Succeed(d, e)),
        1 => n().prop_map(Step::Delete),
        2 => (n(), n()).prop_map(|(d, h)| Step::Quarantine(d, h)),
        1 => (n(), n()).prop_map(|(d, h)| Step::Settle(d, h)),
        1 => (n(), n()).prop_map(|(d, h)| Step::Arrived(d, h)),
    ];
    prop_oneof![people, classes, money, documents]
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Touches,
    TouchesNothing,
    Fails,
}

/// Steps, each of which may be undone, and the end.
fn transaction() -> impl Strategy<Value = (Vec<(Step, bool)>, End)> {
    let end = prop_oneof![6 => Just(End::Touches), 2 => Just(End::TouchesNothing), 1 => Just(End::Fails)];
    (prop::collection::vec((step(), prop::bool::weighted(0.1)), 1..12), end)
}

/// The ids of one run, which no other run has.
#[derive(Debug, Clone, Copy)]
struct World(u64);

impl World {
    fn id(self, kind: &str, n: u8) -> String {
        format!("w{}-{kind}{n}", self.0)
    }

    fn document(self, n: u8) -> DocumentId {
        let mut bytes = [n; 16];
        bytes[..8].copy_from_slice(&self.0.to_be_bytes());
        DocumentId::from_bytes(bytes)
    }

    /// Does what the step says, if what it is about is there.
    fn take(self, tx: &mut WriteTx<'_>, step: &Step) -> Result<(), StoreError> {
        match step {
            Step::User(n, role) => {
                let user = self.id("u", *n);
                let email = format!("{user}@x.example");
                tx.add_user(&NewUser { user, email, name: "N".into(), role: *role, password_hash: None }, AT)
                    .map(drop)
            }
            Step::Role(n, role) => tx.set_role(&self.id("u", *n), *role),
            Step::Batch(n) => tx.add_batch(&self.id("b", *n), "B").map(drop),
            Step::Enrol(b, s) if self.has(tx, *b, *s)? => {
                tx.add_enrolment(&self.id("b", *b), &self.id("u", *s), AT).map(drop)
            }
            Step::Withdraw(b, s) => tx.remove_enrolment(&self.id("b", *b), &self.id("u", *s)).map(drop),
            Step::Submit(s) if tx.account(&self.id("u", *s))?.is_some() => {
                let student = self.id("u", *s);
                let (submission, assignment) = (format!("work-{student}"), "a1".into());
                let (submitted_at, text) = (None, None);
                let work = NewSubmission { submission, assignment, student, submitted_at, text };
                tx.add_submission(&work).map(drop)
            }
            Step::Enrol(..) | Step::Submit(_) => Ok(()),
            Step::Class(..) | Step::Cancel(_) | Step::Mark(..) | Step::Unmark(..) => self.teach(tx, step),
            Step::Invoice(..) | Step::Void(_) | Step::Pay(..) | Step::Refund(..) => self.move_money(tx, step),
            Step::Document(..)
            | Step::Append(..)
            | Step::Succeed(..)
            | Step::Delete(_)
            | Step::Quarantine(..)
            | Step::Settle(..)
            | Step::Arrived(..) => self.log(tx, step),
        }
    }

    fn has(self, tx: &WriteTx<'_>, batch: u8, user: u8) -> Result<bool, StoreError> {
        Ok(tx.batch_exists(&self.id("b", batch))? && tx.account(&self.id("u", user))?.is_some())
    }

    fn teach(self, tx: &mut WriteTx<'_>, step: &Step) -> Result<(), StoreError> {
        match step {
            Step::Class(c, b) if tx.batch_exists(&self.id("b", *b))? => {
                let (class, batch) = (self.id("c", *c), self.id("b", *b));
                let (title, room, teacher) = ("C".into(), String::new(), "teacher".into());
                let class = NewClass { class, batch, title, room, teacher, starts_at: AT, ends_at: AT + 1 };
                tx.add_class(&class).map(drop)
            }
            Step::Cancel(c) => tx.cancel_class(&self.id("c", *c), AT).map(drop),
            Step::Mark(c, s, mark, several)
                if tx.class(&self.id("c", *c))?.is_some() && tx.account(&self.id("u", *s))?.is_some() =>
            {
                let row = AttendanceRow::without_sheet(self.id("u", *s), (*mark).to_owned());
                let marks = several.then(|| r#"["absent","late"]"#.to_owned());
                tx.put_attendance(&self.id("c", *c), &AttendanceRow { marks, ..row })
            }
            Step::Unmark(c, s) => tx.remove_attendance(&self.id("c", *c), &self.id("u", *s)),
            _ => Ok(()),
        }
    }

    fn move_money(self, tx: &mut WriteTx<'_>, step: &Step) -> Result<(), StoreError> {
        match step {
            Step::Invoice(i, s, amount_minor) if tx.account(&self.id("u", *s))?.is_some() => {
                let (invoice, student) = (self.id("i", *i), self.id("u", *s));
                let invoice = NewInvoice { invoice, student, ..super::fees::invoice("", *amount_minor) };
                tx.add_invoice(&invoice).map(drop)
            }
            Step::Void(i) => match tx.invoice(&self.id("i", *i))? {
                Some(found) if found.voided_at.is_none() && found.paid_minor == 0 => {
                    tx.void_invoice(&found, AT)
                }
                _ => Ok(()),
            },
            Step::Pay(p, i, amount, day) => match tx.invoice(&self.id("i", *i))? {
                Some(found) if found.due_minor() > 0 => {
                    let (payment, invoice) = (self.id("p", *p), self.id("i", *i));
                    let paid = super::fees::payment("", (*amount).min(found.due_minor()));
                    let paid_at = AT + day * DAY_MS;
                    tx.add_payment(&PaymentRow { payment, invoice, paid_at, ..paid }).map(drop)
                }
                _ => Ok(()),
            },
            Step::Refund(r, p, amount, day) => match tx.payment(&self.id("p", *p))? {
                Some(found) if found.refunded_minor < found.amount_minor => {
                    let (refund, payment) = (self.id("r", *r), self.id("p", *p));
                    let amount_minor = (*amount).min(found.amount_minor - found.refunded_minor);
                    let (reason, refunded_by, refunded_at) = (None, None, AT + day * DAY_MS);
                    let new = NewRefund { refund, payment, amount_minor, reason, refunded_by, refunded_at };
                    tx.add_refund(&new).map(drop)
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn log(self, tx: &mut WriteTx<'_>, step: &Step) -> Result<(), StoreError> {
        match step {
            Step::Document(d, kind) => {
                let (document, subject) = (self.document(*d), self.id("s", *d));
                let (kind, owner) = ((*kind).to_owned(), "teacher".into());
                let record = DocumentRecord { document, kind, subject, batch: None, owner };
                tx.add_document(&NewDocument { record, created_at: AT }).map(drop)
            }
            Step::Append(d, count) if tx.document(self.document(*d))?.is_some() => {
                let document = self.document(*d);
                let there = tx.changes_after(document, 0)?.len() as u64;
                let changes: Vec<ChangeRow> = (0..*count).map(|_| change()).collect();
                assert!(tx.append_changes(document, there, &changes, &["ab".to_owned()])?);
                assert!(!tx.append_changes(document, there, &changes, &["ab".to_owned()])?, "too late");
                Ok(())
            }
            Step::Succeed(d, e) if tx.document(self.document(*d))?.is_some() => {
                let succession =
                    Succession { successor: self.document(*e), heads: vec![[1; 32]], first: [2; 32] };
                tx.succeed_document(self.document(*d), &succession).map(drop)
            }
            Step::Delete(d) if tx.document(self.document(*d))?.is_some() => {
                tx.delete_document(self.document(*d), "teacher", AT)
            }
            Step::Quarantine(d, h) => {
                let (user, device, edge) = ("ann".into(), "phone".into(), "edge".into());
                let (document, hash) = (self.document(*d), [*h; 32]);
                let (code, bytes, refused_at) = ("forbidden".into(), vec![1], AT);
                tx.quarantine(&QuarantineRow { document, hash, user, device, edge, code, bytes, refused_at })
                    .map(drop)
            }
            Step::Settle(d, h) => {
                let outcome = QuarantineOutcome::Dropped;
                tx.settle_quarantined(self.document(*d), &[*h; 32], outcome, Some("ada"), AT).map(drop)
            }
            Step::Arrived(d, h) => tx.settle_arrived(self.document(*d), &[[*h; 32], [h + 1; 32]], AT),
            _ => Ok(()),
        }
    }
}

/// A change that no log has.
fn change() -> ChangeRow {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut hash = [9; 32];
    hash[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    let (user, device, edge) = ("teacher".into(), "phone".into(), "edge".into());
    ChangeRow { hash, bytes: vec![1], user, device, edge, received_at: AT }
}

/// Runs a transaction; only the one that is to fail does.
fn run(store: &Store, world: World, (steps, end): (Vec<(Step, bool)>, End)) {
    let done = store.write_blocking::<_, StoreError, _>(INSTITUTE, move |tx| {
        for (step, undone) in &steps {
            let taken = tx.attempt(|tx| {
                world.take(tx, step)?;
                if *undone { Err(StoreError::Closed) } else { Ok(()) }
            });
            match taken {
                Err(StoreError::Closed) if *undone => {}
                taken => taken?,
            }
        }
        match end {
            End::Touches => tx.touch_everything(),
            End::TouchesNothing => {}
            End::Fails => return Err(StoreError::Closed),
        }
        Ok(())
    });
    match (end, done) {
        (End::Fails, Err(StoreError::Closed)) | (End::Touches | End::TouchesNothing, Ok(_)) => {}
        (end, done) => panic!("{end:?}: {done:?}"),
    }
}

fn differences(store: &TestStore) -> Vec<String> {
    if let Some(database) = &store._database {
        return database.sql(DIFFERENCES).lines().map(str::to_owned).collect();
    }
    let folder = store._folder.as_ref().unwrap();
    let connection = rusqlite::Connection::open(folder.path().join("origin.sqlite")).unwrap();
    let mut found = connection.prepare(DIFFERENCES).unwrap();
    let rows = found.query_map([], |row| {
        Ok(format!("{}|{}|{}", row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

fn figures_are_what_counting_gives(store: &TestStore, cases: u32) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    school(&store.store);
    assert_eq!(differences(store), [""; 0]);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let held = runner.run(&prop::collection::vec(transaction(), 1..8), |transactions| {
        let world = World(NEXT.fetch_add(1, Ordering::Relaxed));
        for transaction in transactions {
            run(&store.store, world, transaction.clone());
            let wrong = differences(store);
            prop_assert!(wrong.is_empty(), "{wrong:#?}\nafter {transaction:?}");
        }
        Ok(())
    });
    held.unwrap();
}

#[test]
fn figures_are_what_counting_gives_on_sqlite() {
    figures_are_what_counting_gives(&TestStore::sqlite(), 96);
}

#[test]
fn figures_are_what_counting_gives_on_postgres() {
    figures_are_what_counting_gives(&TestStore::postgres(), 24);
}
