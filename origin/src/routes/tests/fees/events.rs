//! What providers told and could not be applied: it is found, applied later or settled, each once; and what is void or refunded
//! shows in lists and tags.

use super::{LIBRARY, paid, tell};
use crate::testing::{Answer, TestOrigin, User, on_both_engines};
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

async fn send(origin: &TestOrigin, user: &User, path: &str, body: Value) -> Answer {
    let bearer = user.bearer();
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    origin.request(Method::POST, path, &headers, body).await
}

async fn events(origin: &TestOrigin, admin: &User, query: &str) -> Vec<String> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/admin/v1/payment-events?limit=20{query}{cursor}");
        let page = origin.get(admin, &path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {page:?}");
        let page = page.json();
        found.extend(
            page["items"].as_array().unwrap().iter().map(|e| e["event"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else { return found };
        cursor = format!("&cursor={next}");
    }
}

/// What was dealt with is not dealt with again.
async fn neither_again(origin: &TestOrigin, admin: &User, path: &str) {
    for again in ["apply", "settle"] {
        let body = if again == "settle" { json!({"reason": "Twice"}) } else { Value::Null };
        let refused = send(origin, admin, &format!("{path}/{again}"), body).await;
        assert_eq!(
            (refused.problem(), &refused.json()["field"]),
            ((422, "invalid-field".into()), &json!("event"))
        );
    }
}

async fn are_paged_applied_and_settled(origin: &TestOrigin) {
    let admin = origin.user("admin@northside.example").await;
    let student = origin.user("student@northside.example").await;
    for n in 0..55 {
        let event = paid(&format!("evt_{n:02}"), &format!("pi_{n:02}"), "later", 100);
        assert_eq!(tell(origin, &event).await.json()["status"], "set-aside");
    }
    assert_eq!(tell(origin, &paid("evt_ok", "pi_ok", LIBRARY, 100)).await.json()["status"], "applied");
    let open = events(origin, &admin, "&open=true").await;
    assert_eq!((open.len(), open[54].as_str()), (55, "evt_54"), "none is lost behind the fiftieth");
    assert_eq!(events(origin, &admin, "&status=applied").await, ["evt_ok"]);
    assert_eq!(events(origin, &admin, "&open=false").await, ["evt_ok"]);
    let path = "/admin/v1/payment-events/stripe/evt_54";
    let read = origin.get(&admin, path).await;
    assert_eq!(read.json()["body"], paid("evt_54", "pi_54", "later", 100).to_string());
    let page = origin.get(&admin, "/admin/v1/payment-events?limit=1").await.json();
    assert!(page["items"][0].get("body").is_none());

    // The invoice is not there, and then it is: of 150 one event is paid, and no two.
    let early = send(origin, &admin, &format!("{path}/apply"), Value::Null).await;
    assert_eq!((early.problem(), &early.json()["field"]), ((404, "not-found".into()), &json!("invoice")));
    let invoice = json!({"command": "create-invoice", "invoice": "later", "student": student.claims.sub,
        "title": "Later", "amount_minor": 150, "due_on": "2030-01-01"});
    assert_eq!(origin.command(&admin, "i", invoice).await.status, StatusCode::OK);
    let applied = send(origin, &admin, &format!("{path}/apply"), Value::Null).await;
    assert_eq!(applied.status, StatusCode::OK, "{applied:?}");
    let now = origin.get(&admin, path).await;
    assert_eq!((&now.json()["status"], now.header("etag")), (&json!("applied"), applied.header("etag")));
    assert_ne!(now.header("etag"), read.header("etag"));
    assert_eq!(now.json()["settled_by"], admin.claims.sub.as_str());
    let paid_minor =
        async || origin.get(&admin, "/admin/v1/invoices/later").await.json()["paid_minor"].clone();
    assert_eq!(paid_minor().await, 100);
    neither_again(origin, &admin, path).await;
    let beyond = send(origin, &admin, "/admin/v1/payment-events/stripe/evt_53/apply", Value::Null).await;
    assert_eq!(beyond.problem(), (422, "invalid-field".into()), "50 are due, 100 were told");
    let reason = json!({"reason": "Given back in cash"});
    let settled = send(origin, &admin, "/admin/v1/payment-events/stripe/evt_53/settle", reason).await;
    assert_eq!(settled.status, StatusCode::OK, "{settled:?}");
    let settled = origin.get(&admin, "/admin/v1/payment-events/stripe/evt_53").await.json();
    assert_eq!(
        (&settled["status"], &settled["settlement"]),
        (&json!("set-aside"), &json!("Given back in cash"))
    );
    assert_eq!((paid_minor().await, events(origin, &admin, "&open=true").await.len()), (json!(100), 53));
    // The provider's repetition of either changes nothing.
    for n in [53, 54] {
        let event = paid(&format!("evt_{n}"), &format!("pi_{n}"), "later", 100);
        assert_eq!(tell(origin, &event).await.json()["status"], "known");
    }
    let none = send(origin, &admin, "/admin/v1/payment-events/other/evt_52/apply", Value::Null).await;
    assert_eq!(none.problem(), (404, "not-found".into()));
    let refused = send(origin, &student, "/admin/v1/payment-events/stripe/evt_52/apply", Value::Null).await;
    assert_eq!(refused.problem(), (403, "forbidden".into()));
}

#[tokio::test]
async fn events_set_aside_are_paged_applied_and_settled() {
    on_both_engines(are_paged_applied_and_settled).await;
}

async fn void_and_refunded_show(origin: &TestOrigin) {
    let admin = origin.user("admin@northside.example").await;
    let open = async |query: &str| {
        let page = origin.get(&admin, &format!("/admin/v1/invoices?limit=200&open={query}")).await.json();
        let items = page["items"].as_array().unwrap().iter();
        items.map(|item| item["invoice"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(open("true").await.contains(&LIBRARY.to_owned()));
    let before = origin.get(&admin, "/admin/v1/invoices/library-student").await;
    assert_eq!(before.json()["voided_at"], Value::Null);
    let void = json!({"command": "void-invoice", "invoice": LIBRARY});
    assert_eq!(origin.command(&admin, "v", void).await.status, StatusCode::OK);
    let after = origin.get(&admin, "/admin/v1/invoices/library-student").await;
    assert!(after.json()["voided_at"].is_string());
    assert_ne!(before.header("etag"), after.header("etag"));
    assert!(
        !open("true").await.contains(&LIBRARY.to_owned())
            && open("false").await.contains(&LIBRARY.to_owned())
    );

    let path = "/admin/v1/payments/tuition-student-1";
    let seen = origin.get(&admin, path).await;
    assert_eq!(seen.json()["refunded_minor"], 0);
    let refund = |key: &'static str, tag: String| {
        let body = json!({"command": "refund-payment", "payment": "tuition-student-1", "amount_minor": 5});
        let (origin, bearer) = (origin, admin.bearer());
        async move {
            let headers =
                [("authorization", bearer.as_str()), ("idempotency-key", key), ("if-match", tag.as_str())];
            origin.request(Method::POST, "/commands", &headers, body.to_string()).await
        }
    };
    let tag = seen.header("etag").to_owned();
    assert_eq!(refund("r1", tag.clone()).await.status, StatusCode::OK);
    assert_eq!(
        refund("r2", tag).await.problem(),
        (412, "precondition-failed".into()),
        "another one was faster"
    );
    assert_eq!(origin.get(&admin, path).await.json()["refunded_minor"], 5);
}

#[tokio::test]
async fn what_is_void_is_not_open_and_a_refund_changes_the_tag() {
    on_both_engines(void_and_refunded_show).await;
}

async fn the_currency_stays(origin: &TestOrigin) {
    let admin = origin.user("admin@northside.example").await;
    let change = |currency: &str| json!({"command": "change-institute", "currency": currency});
    let refused = origin.command(&admin, "c1", change("EUR")).await;
    assert_eq!(
        (refused.problem(), &refused.json()["field"]),
        ((422, "invalid-field".into()), &json!("currency"))
    );
    assert_eq!(origin.command(&admin, "c2", change("INR")).await.status, StatusCode::OK, "it is the one");
    assert_eq!(origin.get(&admin, "/admin/v1/institute").await.json()["currency"], "INR");
}

#[tokio::test]
async fn amounts_do_not_become_others_by_another_currency() {
    on_both_engines(the_currency_stays).await;
}
