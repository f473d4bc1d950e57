//! Money: what is issued, paid, refunded and told by payment providers always balances, on both engines.

mod balance;
mod events;

use crate::testing::{Answer, TestDatabase, TestOrigin, WEBHOOK_SECRET};
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

const HOOK: &str = "/webhooks/payments/northside.example/stripe";
const LIBRARY: &str = "library-student";

fn now() -> i64 {
    crate::clock::unix_ms() / 1000
}

pub(super) fn paid(event: &str, payment: &str, invoice: &str, amount: i64) -> Value {
    json!({"id": event, "type": "payment_intent.succeeded", "data": {"object": {
        "id": payment, "amount_received": amount, "currency": "inr", "metadata": {"invoice": invoice}}}})
}

pub(super) async fn tell(origin: &TestOrigin, body: &Value) -> Answer {
    let body = body.to_string();
    let signature = crate::services::webhooks::sign(WEBHOOK_SECRET.as_bytes(), body.as_bytes(), now());
    origin.request(Method::POST, HOOK, &[("stripe-signature", &signature)], body).await
}

#[tokio::test]
async fn an_invoice_is_issued_paid_refunded_and_voided_and_the_student_sees_each_step() {
    let origin = TestOrigin::start().await;
    let admin = origin.user("admin@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let fees = async || origin.get(&student, "/api/students/fees").await.json();
    let before = fees().await;
    assert_eq!(before["balance_minor"], 1_200_000 + 240_000);
    assert_eq!(before["entries"].as_array().unwrap().len(), 3);

    let issue = json!({"command": "create-invoice", "student": student.claims.sub, "title": "Trip",
        "amount_minor": 5_000, "due_on": "2020-02-29", "currency": "INR"});
    let issued = origin.command(&admin, "i", issue).await.json();
    let invoice = issued["outcome"]["invoice"].as_str().unwrap().to_owned();
    assert_eq!(issued["outcome"]["balance_minor"], 1_445_000);
    let view = fees().await;
    let trip = &view["invoices"][0];
    assert_eq!(
        (&trip["title"], &trip["state"], &trip["due_minor"]),
        (&json!("Trip"), &json!("overdue"), &json!(5_000))
    );

    let pay =
        json!({"command": "record-payment", "invoice": invoice, "amount_minor": 2_000, "method": "cash"});
    let paid = origin.command(&admin, "p", pay).await.json();
    assert_eq!(
        (&paid["outcome"]["paid_minor"], &paid["outcome"]["due_minor"]),
        (&json!(2_000), &json!(3_000))
    );
    let payment = paid["outcome"]["payment"].as_str().unwrap().to_owned();
    let void = json!({"command": "void-invoice", "invoice": invoice});
    assert_eq!(origin.command(&admin, "v1", void.clone()).await.json()["field"], "invoice");

    let refund =
        |amount: i64| json!({"command": "refund-payment", "payment": payment, "amount_minor": amount});
    assert_eq!(origin.command(&admin, "r1", refund(2_001)).await.json()["field"], "amount_minor");
    assert_eq!(origin.command(&admin, "r2", refund(1_500)).await.json()["outcome"]["refunded_minor"], 1_500);
    assert_eq!(origin.command(&admin, "r3", refund(501)).await.json()["field"], "amount_minor");
    assert_eq!(origin.command(&admin, "r4", refund(500)).await.json()["outcome"]["refunded_minor"], 2_000);
    assert_eq!(origin.command(&admin, "v2", void).await.status, StatusCode::OK);
    let view = fees().await;
    assert_eq!((&view["balance_minor"], &view["invoices"][0]["state"]), (&json!(1_440_000), &json!("void")));
    let kinds: Vec<&str> = view["entries"]
        .as_array()
        .unwrap()
        .iter()
        .take(5)
        .map(|entry| entry["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "refund").count(), 2);
    assert!(kinds.contains(&"void") && kinds.contains(&"payment") && kinds.contains(&"invoice"));
    let pay = json!({"command": "record-payment", "invoice": invoice, "amount_minor": 1, "method": "cash"});
    assert_eq!(origin.command(&admin, "p2", pay).await.json()["field"], "invoice");
    let dashboard = origin.get(&student, "/api/students/dashboard").await.json();
    assert_eq!(dashboard["fees"]["due"], 1_440_000);
}

#[tokio::test]
async fn only_admins_move_money_and_impossible_invoices_are_refused() {
    let origin = TestOrigin::start().await;
    let admin = origin.user("admin@northside.example").await;
    let teacher = origin.user("teacher@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let invoice = |student: &str, amount: i64, due_on: &str, currency: Value| {
        json!({"command": "create-invoice", "student": student, "title": "T", "amount_minor": amount,
            "due_on": due_on, "currency": currency})
    };
    let sub = &student.claims.sub;
    for (at, command) in [
        invoice(sub, 1, "2027-01-01", Value::Null),
        json!({"command": "void-invoice", "invoice": LIBRARY}),
        json!({"command": "refund-payment", "payment": "tuition-student-1", "amount_minor": 1}),
    ]
    .into_iter()
    .enumerate()
    {
        for user in [&teacher, &student] {
            let refused = origin.command(user, &format!("{at}-{}", user.claims.sub), command.clone()).await;
            assert_eq!(refused.problem(), (403, "forbidden".into()));
        }
    }
    for (key, command, field) in [
        ("a", invoice(&teacher.claims.sub, 1, "2027-01-01", Value::Null), "student"),
        ("b", invoice("nobody", 1, "2027-01-01", Value::Null), "student"),
        ("c", invoice(sub, 1, "2027-02-29", Value::Null), "due_on"),
        ("d", invoice(sub, 1, "2027-01-01", json!("EUR")), "currency"),
        ("e", json!({"command": "void-invoice", "invoice": "none"}), "invoice"),
        ("f", json!({"command": "refund-payment", "payment": "none", "amount_minor": 1}), "payment"),
    ] {
        let refused = origin.command(&admin, key, command).await;
        assert_eq!(
            (refused.json()["field"].as_str(), refused.status.is_client_error()),
            (Some(field), true),
            "{key}"
        );
    }
    // Ten of the largest are the most that one student can owe.
    let mut issued = 0;
    let stopped = loop {
        let command = invoice(sub, 1_000_000_000_000, "2027-01-01", Value::Null);
        let answer = origin.command(&admin, &format!("big-{issued}"), command).await;
        if answer.status != StatusCode::OK {
            break answer;
        }
        issued += 1;
    };
    assert_eq!((issued, stopped.json()["field"].as_str()), (9, Some("amount_minor")));
}

async fn a_provider_pays_once_whatever_is_repeated(origin: &TestOrigin) {
    let admin = origin.user("admin@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let event = paid("evt_1", "pi_1", LIBRARY, 100_000);
    let told = tell(origin, &event).await;
    assert_eq!((told.status, told.json()), (StatusCode::OK, json!({"status": "applied"})));
    assert_eq!(tell(origin, &event).await.json(), json!({"status": "known"}));
    // Another event about the same payment moves nothing more.
    assert_eq!(
        tell(origin, &paid("evt_2", "pi_1", LIBRARY, 100_000)).await.json(),
        json!({"status": "applied"})
    );
    let balance = async || origin.get(&student, "/api/students/fees").await.json()["balance_minor"].clone();
    assert_eq!(balance().await, 1_340_000);

    let mut euros = paid("evt_5", "pi_5", LIBRARY, 1);
    euros["data"]["object"]["currency"] = json!("eur");
    let mut nameless = paid("evt_6", "pi_6", LIBRARY, 1);
    nameless["data"]["object"]["metadata"] = json!({});
    for event in
        [&paid("evt_3", "pi_3", "none", 1), &paid("evt_4", "pi_4", LIBRARY, 140_001), &euros, &nameless]
    {
        assert_eq!(tell(origin, event).await.json(), json!({"status": "set-aside"}), "{event}");
        assert_eq!(tell(origin, event).await.json(), json!({"status": "known"}), "{event}");
    }
    assert_eq!(
        tell(origin, &json!({"id": "evt_7", "type": "customer.created"})).await.json()["status"],
        "ignored"
    );
    assert_eq!(balance().await, 1_340_000);
    let refund = json!({"id": "evt_8", "type": "refund.created", "data": {"object": {
        "id": "re_1", "payment_intent": "pi_1", "amount": 40_000, "currency": "inr", "reason": "requested_by_customer"}}});
    assert_eq!(tell(origin, &refund).await.json()["status"], "applied");
    assert_eq!(balance().await, 1_380_000);
    let view = origin.get(&admin, "/api/admin/fees").await.json();
    let events: Vec<&str> =
        view["set_aside"].as_array().unwrap().iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["evt_3", "evt_4", "evt_5", "evt_6"]);
    assert!(view["set_aside"][1]["reason"].as_str().unwrap().contains("140000"));
    assert_eq!(view["set_aside"][1]["body"], paid("evt_4", "pi_4", LIBRARY, 140_001).to_string());
}

#[tokio::test]
async fn a_provider_pays_once_on_sqlite() {
    a_provider_pays_once_whatever_is_repeated(&TestOrigin::start().await).await;
}

#[tokio::test]
async fn a_provider_pays_once_on_postgres() {
    let database = TestDatabase::create();
    let origin = TestOrigin::start_on_postgres(database.config()).await;
    a_provider_pays_once_whatever_is_repeated(&origin).await;
}

#[tokio::test]
async fn an_event_without_a_genuine_signature_of_now_changes_nothing() {
    let origin = TestOrigin::start().await;
    let body = paid("evt_1", "pi_1", LIBRARY, 100).to_string();
    let sign =
        |secret: &str, time: i64| crate::services::webhooks::sign(secret.as_bytes(), body.as_bytes(), time);
    let genuine = sign(WEBHOOK_SECRET, now());
    let refused = async |path: &str, signature: &str, body: String| {
        let answer = origin.request(Method::POST, path, &[("stripe-signature", signature)], body).await;
        assert_eq!(answer.problem(), (401, "signature-invalid".into()), "{path} {signature}");
        answer.body
    };
    let mut answers = vec![
        refused(HOOK, &sign("another secret that is long", now()), body.clone()).await,
        refused(HOOK, &sign(WEBHOOK_SECRET, now() - 301), body.clone()).await,
        refused(HOOK, &sign(WEBHOOK_SECRET, now() + 330), body.clone()).await,
        refused(HOOK, "", body.clone()).await,
        refused(HOOK, &genuine, body.replace("100", "900")).await,
        refused("/webhooks/payments/riverside.example/stripe", &genuine, body.clone()).await,
        refused("/webhooks/payments/northside.example/other", &genuine, body.clone()).await,
        refused("/webhooks/payments/nowhere.example/stripe", &genuine, body.clone()).await,
    ];
    answers.dedup();
    assert_eq!(answers.len(), 1, "the answer does not say what was wrong");
    let long = "x".repeat(64 * 1024 + 1);
    let answer = origin.request(Method::POST, HOOK, &[("stripe-signature", &genuine)], long).await;
    assert_eq!(answer.problem(), (413, "body-too-large".into()));
    let nonsense = "{}";
    let signature = crate::services::webhooks::sign(WEBHOOK_SECRET.as_bytes(), nonsense.as_bytes(), now());
    let answer = origin.request(Method::POST, HOOK, &[("stripe-signature", &signature)], nonsense).await;
    assert_eq!(answer.problem(), (400, "invalid-event".into()));
    assert_eq!(tell(&origin, &paid("evt_1", "pi_1", LIBRARY, 100)).await.json()["status"], "applied");
}
