//! Random commands and events, repeated and at the same time: after each, the ledger, the tables and a model agree.

use super::now;
use crate::services::commands::{CommandFault, Order};
use crate::store::{EntryKind, NewUser, StoreError};
use crate::testing::{TestDatabase, TestOrigin, WEBHOOK_SECRET};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use sync_protocol::command::Command;
use sync_protocol::token::{Claims, Role};

const INSTITUTE: &str = "northside.example";
const MAX_BALANCE: i64 = 10_000_000_000_000;

/// One step; numbers choose among what is there.
#[derive(Debug, Clone)]
enum Step {
    Issue(i64),
    Void(usize),
    Pay(usize, i64),
    Refund(usize, i64),
    /// The provider's payment: which invoice, how much, whether in our currency.
    Told(usize, i64, bool),
    ToldRefund(usize, i64),
    /// An earlier step comes again, under its own key or event.
    Again(usize),
}

fn amount() -> impl Strategy<Value = i64> {
    prop_oneof![8 => 1..1_000_i64, 1 => Just(1_000_000_000_000), 1 => Just(500)]
}

fn step() -> impl Strategy<Value = Step> {
    let n = 0..6_usize;
    prop_oneof![
        3 => amount().prop_map(Step::Issue),
        1 => n.clone().prop_map(Step::Void),
        4 => (n.clone(), amount()).prop_map(|(n, amount)| Step::Pay(n, amount)),
        3 => (n.clone(), amount()).prop_map(|(n, amount)| Step::Refund(n, amount)),
        3 => (n.clone(), amount(), prop::bool::weighted(0.9)).prop_map(|(n, amount, ours)| Step::Told(n, amount, ours)),
        2 => (n.clone(), amount()).prop_map(|(n, amount)| Step::ToldRefund(n, amount)),
        2 => (0..20_usize).prop_map(Step::Again),
    ]
}

/// What may be sent any number of times.
#[derive(Debug, Clone)]
enum Sent {
    Command { key: String, command: Value },
    Event(Value),
}

struct Invoice {
    id: String,
    amount: i64,
    paid: i64,
    void: bool,
}

struct Payment {
    id: String,
    invoice: usize,
    amount: i64,
    refunded: i64,
}

/// What has to be true, kept without the code that is tested.
#[derive(Default)]
struct Model {
    invoices: Vec<Invoice>,
    payments: Vec<Payment>,
    set_aside: Vec<String>,
    entries: usize,
    /// Everything that was sent, with the answer that it got.
    sent: Vec<(Sent, String)>,
}

impl Model {
    fn balance(&self) -> i64 {
        let invoiced: i64 = self.invoices.iter().filter(|i| !i.void).map(|i| i.amount).sum();
        let paid: i64 = self.payments.iter().map(|p| p.amount).sum();
        let refunded: i64 = self.payments.iter().map(|p| p.refunded).sum();
        invoiced - paid + refunded
    }

    /// What came in and was not given back.
    fn received(&self) -> i64 {
        self.payments.iter().map(|p| p.amount - p.refunded).sum()
    }

    fn can_pay(&self, invoice: usize, amount: i64) -> bool {
        self.invoices.get(invoice).is_some_and(|i| !i.void && amount <= i.amount - i.paid)
    }

    fn pay(&mut self, id: String, invoice: usize, amount: i64) {
        self.invoices[invoice].paid += amount;
        self.payments.push(Payment { id, invoice, amount, refunded: 0 });
        self.entries += 1;
    }

    fn can_refund(&self, payment: usize, amount: i64) -> bool {
        self.payments.get(payment).is_some_and(|p| amount <= p.amount - p.refunded)
    }

    fn refund(&mut self, payment: usize, amount: i64) {
        self.payments[payment].refunded += amount;
        let invoice = self.payments[payment].invoice;
        self.invoices[invoice].paid -= amount;
        self.entries += 1;
    }
}

struct Run {
    origin: Arc<TestOrigin>,
    admin: Claims,
    student: String,
    model: Model,
    /// What the whole institute had to receive, and had received, before.
    before: (i64, i64),
}

/// What the whole institute has still to receive, and has received.
async fn sums(origin: &TestOrigin) -> (i64, i64) {
    let read = origin.app.store.read::<_, StoreError, _>(INSTITUTE, |records| {
        Ok((records.institute_figures()?.outstanding_minor, records.received_since_minor(0)?))
    });
    read.await.unwrap()
}

impl Run {
    /// Sends the same thing several times at once; the one answer that all agree on.
    async fn send(&self, sent: &Sent, copies: usize) -> String {
        let mut tasks = Vec::new();
        for _ in 0..copies {
            let (origin, admin, sent) = (self.origin.clone(), self.admin.clone(), sent.clone());
            tasks.push(tokio::spawn(async move { deliver(&origin, &admin, sent).await }));
        }
        let mut answers = Vec::new();
        for task in tasks {
            answers.push(task.await.unwrap());
        }
        // Of an event, one copy is taken in and the others are known by then.
        let first = answers.iter().find(|answer| *answer != "known").unwrap_or(&answers[0]).clone();
        let known = answers.iter().filter(|answer| *answer == "known").count();
        match sent {
            Sent::Command { .. } => assert!(answers.iter().all(|answer| *answer == first), "{answers:?}"),
            Sent::Event(_) => assert!(known >= copies - 1, "{answers:?}"),
        }
        first
    }

    async fn take(&mut self, at: usize, step: Step, copies: usize) {
        let key = format!("{}-{at}", self.student);
        match step {
            Step::Issue(amount) => self.issue(key, amount, copies).await,
            Step::Void(n) => {
                let command = json!({"command": "void-invoice", "invoice": self.invoice(n)});
                let allowed = self.model.invoices.get(n).is_some_and(|i| i.void || i.paid == 0);
                self.command(key, command, copies, allowed).await;
                if let Some(invoice) = self.model.invoices.get_mut(n).filter(|i| allowed && !i.void) {
                    invoice.void = true;
                    self.model.entries += 1;
                }
            }
            Step::Pay(n, amount) => {
                let command = json!({"command": "record-payment", "invoice": self.invoice(n),
                    "amount_minor": amount, "method": "cash"});
                let allowed = self.model.can_pay(n, amount);
                if let Some(outcome) = self.command(key, command, copies, allowed).await {
                    self.model.pay(outcome["payment"].as_str().unwrap().to_owned(), n, amount);
                }
            }
            Step::Refund(n, amount) => {
                let command =
                    json!({"command": "refund-payment", "payment": self.payment(n), "amount_minor": amount});
                let allowed = self.model.can_refund(n, amount);
                if self.command(key, command, copies, allowed).await.is_some() {
                    self.model.refund(n, amount);
                }
            }
            Step::Told(n, amount, ours) => self.told(key, (n, amount), ours, copies).await,
            Step::ToldRefund(n, amount) => self.told_refund(key, (n, amount), copies).await,
            Step::Again(n) => self.again(n, copies).await,
        }
    }

    fn invoice(&self, n: usize) -> String {
        self.model.invoices.get(n).map_or("none".into(), |invoice| invoice.id.clone())
    }

    fn payment(&self, n: usize) -> String {
        self.model.payments.get(n).map_or("none".into(), |payment| payment.id.clone())
    }

    /// Gives a command; its outcome when it was not refused, which has to be when it is allowed.
    async fn command(&mut self, key: String, command: Value, copies: usize, allowed: bool) -> Option<Value> {
        let sent = Sent::Command { key, command };
        let answer = self.send(&sent, copies).await;
        assert_eq!(answer != "refused", allowed, "{sent:?}: {answer}");
        let outcome = allowed.then(|| serde_json::from_str(&answer).unwrap());
        self.model.sent.push((sent, answer));
        outcome
    }

    async fn issue(&mut self, key: String, amount: i64, copies: usize) {
        let command = json!({"command": "create-invoice", "student": self.student, "title": "T",
            "amount_minor": amount, "due_on": "2027-01-01"});
        let allowed = self.model.balance() + amount <= MAX_BALANCE;
        if let Some(outcome) = self.command(key, command, copies, allowed).await {
            let id = outcome["invoice"].as_str().unwrap().to_owned();
            self.model.invoices.push(Invoice { id, amount, paid: 0, void: false });
            self.model.entries += 1;
        }
    }

    async fn told(&mut self, key: String, (n, amount): (usize, i64), ours: bool, copies: usize) {
        let object = json!({"id": format!("pi_{key}"), "amount_received": amount,
            "currency": if ours { "inr" } else { "eur" }, "metadata": {"invoice": self.invoice(n)}});
        let allowed = ours && self.model.can_pay(n, amount);
        if self.tell("payment_intent.succeeded", object, &key, copies, allowed).await {
            self.model.pay(format!("stripe:pi_{key}"), n, amount);
        }
    }

    async fn told_refund(&mut self, key: String, (n, amount): (usize, i64), copies: usize) {
        let payment = self.payment(n);
        // What we recorded by hand is none of the provider's payments.
        let theirs = payment.starts_with("stripe:");
        let object = json!({"id": format!("re_{key}"), "amount": amount, "currency": "inr",
            "payment_intent": payment.trim_start_matches("stripe:")});
        let allowed = theirs && self.model.can_refund(n, amount);
        if self.tell("refund.created", object, &key, copies, allowed).await {
            self.model.refund(n, amount);
        }
    }

    async fn again(&mut self, n: usize, copies: usize) {
        let Some((sent, answer)) = self.model.sent.get(n).cloned() else { return };
        let again = self.send(&sent, copies).await;
        match sent {
            Sent::Command { .. } => assert_eq!(again, answer),
            Sent::Event(_) => assert_eq!(again, "known"),
        }
    }

    async fn tell(&mut self, kind: &str, object: Value, key: &str, copies: usize, allowed: bool) -> bool {
        let event = json!({"id": format!("evt_{key}"), "type": kind, "data": {"object": object}});
        let sent = Sent::Event(event);
        let answer = self.send(&sent, copies).await;
        assert_eq!(answer, if allowed { "applied" } else { "set-aside" });
        if !allowed {
            self.model.set_aside.push(format!("evt_{key}"));
        }
        self.model.sent.push((sent, answer));
        allowed
    }

    /// The ledger is invoices − payments + refunds, the tables say the same, and nothing that was told is lost.
    async fn check(&self) {
        let student = self.student.clone();
        let payments: Vec<String> = self.model.payments.iter().map(|p| p.id.clone()).collect();
        let read = self.origin.app.store.read::<_, StoreError, _>(INSTITUTE, move |records| {
            let payments =
                payments.iter().map(|payment| records.payment(payment)).collect::<Result<Vec<_>, _>>()?;
            Ok((
                records.balance_minor(&student)?,
                records.ledger(&student, 10_000)?,
                records.student_invoices(&student)?,
                payments,
                records.set_aside_events(100_000)?,
            ))
        });
        let (balance, ledger, invoices, payments, set_aside) = read.await.unwrap();
        assert_eq!(balance, self.model.balance());
        let (outstanding, received) = self.before;
        let expected = (outstanding + self.model.balance(), received + self.model.received());
        assert_eq!(sums(&self.origin).await, expected, "the institute's figures");
        assert_eq!(ledger.iter().map(|entry| entry.amount_minor).sum::<i64>(), balance);
        assert_eq!(ledger.len(), self.model.entries);
        assert!(
            ledger.iter().all(|entry| (entry.amount_minor > 0)
                == matches!(entry.kind, EntryKind::Invoice | EntryKind::Refund))
        );
        assert_eq!(invoices.len(), self.model.invoices.len());
        for expected in &self.model.invoices {
            let found = invoices.iter().find(|invoice| invoice.invoice == expected.id).unwrap();
            assert_eq!((found.paid_minor, found.voided_at.is_some()), (expected.paid, expected.void));
            assert!((0..=found.amount_minor).contains(&found.paid_minor));
        }
        for (found, expected) in payments.iter().zip(&self.model.payments) {
            let found = found.as_ref().unwrap();
            assert_eq!((found.amount_minor, found.refunded_minor), (expected.amount, expected.refunded));
        }
        for event in &self.model.set_aside {
            assert!(set_aside.iter().any(|kept| kept.event == *event && kept.body.contains(event.as_str())));
        }
    }
}

/// The outcome as text, `refused`, or what became of the event.
async fn deliver(origin: &TestOrigin, admin: &Claims, sent: Sent) -> String {
    match sent {
        Sent::Command { key, command } => {
            let command = Command::decode(command.to_string().as_bytes()).unwrap();
            let at = crate::clock::unix_ms();
            let order = Order { key, command, if_match: None, at, now: at };
            match origin.app.commands.apply(admin, order).await {
                Ok(receipt) => receipt.outcome.to_string(),
                Err(CommandFault::Refused(_)) => "refused".to_owned(),
                Err(fault) => panic!("{fault}"),
            }
        }
        Sent::Event(event) => {
            let body = event.to_string();
            let signature =
                crate::services::webhooks::sign(WEBHOOK_SECRET.as_bytes(), body.as_bytes(), now());
            let path = (INSTITUTE, "stripe");
            let at = crate::clock::unix_ms();
            let receipt = origin.app.webhooks.receive(path, &signature, body.as_bytes(), at).await.unwrap();
            serde_json::to_value(receipt).unwrap()["status"].as_str().unwrap().to_owned()
        }
    }
}

fn sums_balance(start: impl AsyncFnOnce() -> TestOrigin, cases: u32) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (origin, admin) = runtime.block_on(async {
        let origin = start().await;
        let admin = origin.user("admin@northside.example").await.claims;
        (Arc::new(origin), admin)
    });
    let steps = prop::collection::vec((step(), 1..=3_usize), 1..30);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let held = runner.run(&steps, |steps| {
        let student = format!("student-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        runtime.block_on(async {
            let user = NewUser {
                user: student.clone(),
                email: format!("{student}@random.example"),
                name: "Random".into(),
                role: Role::Student,
                password_hash: None,
            };
            let added =
                origin.app.store.write::<_, StoreError, _>(INSTITUTE, move |tx| tx.add_user(&user, 0));
            assert!(added.await.unwrap().value);
            let before = sums(&origin).await;
            let (origin, admin, model) = (origin.clone(), admin.clone(), Model::default());
            let mut run = Run { origin, admin, student, model, before };
            for (at, (step, copies)) in steps.into_iter().enumerate() {
                run.take(at, step, copies).await;
                run.check().await;
            }
        });
        Ok(())
    });
    held.unwrap();
}

#[test]
fn sums_balance_after_every_step_on_sqlite() {
    sums_balance(TestOrigin::start, 48);
}

#[test]
fn sums_balance_after_every_step_on_postgres() {
    let database = TestDatabase::create();
    sums_balance(async || TestOrigin::start_on_postgres(database.config()).await, 24);
}
