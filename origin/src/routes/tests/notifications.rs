//! Notifications: who is told what, and what they have read.

use crate::testing::{TestOrigin, User};
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Longest wait for the workers, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

async fn list(origin: &TestOrigin, user: &User, query: &str) -> Value {
    let answer = origin.get(user, &format!("/api/notifications{query}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()
}

pub(super) async fn until_unread(origin: &TestOrigin, user: &User, unread: u64) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let page = list(origin, user, "").await;
        if page["unread"] == unread {
            return page;
        }
        assert!(Instant::now() < deadline, "waited for {unread} unread: {page}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_told_once_and_in_order_and_mark_what_they_have_read() {
    let origin = TestOrigin::start().await;
    let working = tokio::spawn(origin.app.queue.clone().run(origin.app.stopping.clone()));
    let teacher = origin.user("teacher@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let admin = origin.user("admin@northside.example").await;
    let class = origin.class_today("maths-a").await;
    let me = &student.claims.sub;
    let commands = [
        (
            &teacher,
            json!({"command": "grade-submission", "assignment": "maths-a-homework-2", "student": me, "score": 18.0}),
        ),
        (&teacher, json!({"command": "post-message", "to": {"batch": "maths-a"}, "text": "Bring a ruler."})),
        (
            &admin,
            json!({"command": "record-payment", "invoice": "library-student", "amount_minor": 500, "method": "cash"}),
        ),
        (
            &teacher,
            json!({"command": "reschedule-class", "class": class, "starts_at": "2026-11-22T10:00:00Z", "ends_at": "2026-11-22T11:00:00Z"}),
        ),
    ];
    for (n, (user, command)) in commands.iter().enumerate() {
        for _ in 0..2 {
            let done = origin.command(user, &format!("k{n}"), command.clone()).await;
            assert_eq!(done.status, StatusCode::OK, "{done:?}");
        }
    }
    let page = until_unread(&origin, &student, 4).await;
    let told = page["notifications"].as_array().unwrap();
    let kinds: Vec<_> = told.iter().map(|told| told["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["class-rescheduled", "payment-recorded", "message-posted", "submission-graded"]);
    assert_eq!(told[3]["about"]["score"], 18.0);
    assert_eq!(told[1]["about"]["due_minor"], 239_500);
    assert_eq!(told[2]["about"]["text"], "Bring a ruler.");
    // Who did it is not told.
    assert_eq!(list(&origin, &teacher, "").await["unread"], 0);

    let until = json!({"until": told[2]["id"]});
    let read = origin.post(&student, "/api/notifications/read", until.clone()).await;
    assert_eq!(read.json(), json!({"read": 2}));
    assert_eq!(origin.post(&student, "/api/notifications/read", until).await.json(), json!({"read": 0}));
    let page = list(&origin, &student, "").await;
    assert_eq!(page["unread"], 2);
    let read: Vec<_> = page["notifications"].as_array().unwrap().iter().map(|told| &told["read"]).collect();
    assert_eq!(read, [false, false, true, true]);
    let older = list(&origin, &student, &format!("?before={}", told[2]["id"].as_str().unwrap())).await;
    assert_eq!(older["notifications"].as_array().unwrap().len(), 1);
    origin.app.stopping.cancel();
    working.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_another_room_and_a_cancelled_class_are_told_and_another_title_is_not() {
    let origin = TestOrigin::start().await;
    let working = tokio::spawn(origin.app.queue.clone().run(origin.app.stopping.clone()));
    let student = origin.user("student@northside.example").await;
    let admin = origin.user("admin@northside.example").await;
    let class = origin.class_today("maths-a").await;
    let me = &student.claims.sub;
    let more = [
        json!({"command": "create-invoice", "invoice": "trip", "student": me, "title": "Trip", "amount_minor": 900,
            "due_on": "2030-01-01"}),
        json!({"command": "change-class", "class": class, "title": "Only another title"}),
        json!({"command": "change-class", "class": class, "room": "Hall 7"}),
        json!({"command": "cancel-class", "class": class}),
    ];
    for (n, command) in more.iter().enumerate() {
        let done = origin.command(&admin, &format!("more{n}"), command.clone()).await;
        assert_eq!(done.status, StatusCode::OK, "{done:?}");
    }
    let page = until_unread(&origin, &student, 3).await;
    let newest: Vec<_> = page["notifications"].as_array().unwrap().iter().map(|told| &told["kind"]).collect();
    assert_eq!(newest, ["class-cancelled", "class-rescheduled", "invoice-issued"]);
    assert_eq!(page["notifications"][1]["about"]["room"], "Hall 7");
    origin.app.stopping.cancel();
    working.await.unwrap();
}

#[tokio::test]
async fn faulty_requests_name_the_field() {
    let origin = TestOrigin::start().await;
    let student = origin.user("student@northside.example").await;
    for wrong in ["?before=yesterday", "?after=1-0", "?before=1-0&before=2-0"] {
        let refused = origin.get(&student, &format!("/api/notifications{wrong}")).await;
        assert_eq!(refused.problem(), (422, "invalid-field".into()), "{wrong}");
    }
    let refused = origin.post(&student, "/api/notifications/read", json!({"until": "x"})).await;
    assert_eq!((refused.problem().0, refused.json()["field"].clone()), (422, json!("until")));
    let nobody = origin.request(Method::GET, "/api/notifications", &[], "").await;
    assert_eq!(nobody.problem(), (401, "token-missing".into()));
}

#[tokio::test]
async fn pages_go_on_where_the_last_one_ended() {
    let origin = TestOrigin::start().await;
    let student = origin.user("student@northside.example").await;
    let user = student.claims.sub.clone();
    let told = origin.app.store.write::<_, crate::store::StoreError, _>("northside.example", move |tx| {
        for position in 0..120 {
            let id = crate::store::NotificationId { revision: 7, position };
            let body = json!({"position": position}).to_string();
            tx.notify_user(
                &user,
                &crate::store::NewNotification { id, kind: "message-posted", body, created_at: 1 },
            )?;
        }
        Ok(())
    });
    told.await.unwrap();
    let mut positions = Vec::new();
    let mut query = String::new();
    loop {
        let page = list(&origin, &student, &query).await;
        let rows = page["notifications"].as_array().unwrap();
        positions.extend(rows.iter().map(|row| row["about"]["position"].as_u64().unwrap()));
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?before={next}");
    }
    assert_eq!(positions, (0..120).rev().collect::<Vec<_>>());
}
