//! Commands: once, with the right, in the own institute.

use crate::testing::{SECRET, TestOrigin, User};
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;

fn grade(student: &User, score: f64) -> Value {
    json!({"command": "grade-submission", "assignment": "maths-a-homework-2", "student": student.claims.sub, "score": score})
}

#[tokio::test]
async fn a_grade_shows_on_both_dashboards_and_moves_the_bookmark() {
    let origin = TestOrigin::start().await;
    let teacher = origin.user("teacher@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let graded = origin.command(&teacher, "g1", grade(&student, 18.0)).await;
    assert_eq!(graded.status, StatusCode::OK, "{graded:?}");
    assert_eq!(graded.json()["outcome"]["score"], 18.0);
    assert_eq!(graded.json()["outcome"]["max_score"], 20.0);
    assert_eq!(crate::testing::point_of(graded.json()["bookmark"].as_str().unwrap()), "1.2");
    assert_eq!(graded.point(), "1.2");
    let view = origin.get(&student, "/api/students/dashboard").await;
    assert_eq!(view.point(), "1.2");
    assert_eq!(view.json()["assignments"]["graded"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn a_repeated_key_has_one_effect_and_the_same_answer() {
    let origin = TestOrigin::start().await;
    let admin = origin.user("admin@northside.example").await;
    let payment = |amount: i64| json!({"command": "record-payment", "invoice": "library-student", "amount_minor": amount, "method": "cash"});
    let first = origin.command(&admin, "p1", payment(1_000)).await;
    let again = origin.command(&admin, "p1", payment(1_000)).await;
    assert_eq!((first.status, &first.body), (StatusCode::OK, &again.body));
    assert_eq!(first.json()["outcome"]["due_minor"], 239_000);
    let other = origin.command(&admin, "p1", payment(2_000)).await;
    assert_eq!(other.problem(), (422, "idempotency-key-reused".into()));
    let state = origin.get(&admin, "/commands/p1").await.json();
    assert_eq!(state["status"], "delivered");
    assert_eq!(state["outcome"], first.json()["outcome"]);
}

#[tokio::test]
async fn concurrent_deliveries_of_one_key_have_one_effect() {
    let origin = Arc::new(TestOrigin::start().await);
    let admin = Arc::new(origin.user("admin@northside.example").await);
    let payment = json!({"command": "record-payment", "invoice": "library-student", "amount_minor": 7, "method": "cash"});
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (origin, admin, payment) = (origin.clone(), admin.clone(), payment.clone());
            tokio::spawn(async move { origin.command(&admin, "same", payment).await.body })
        })
        .collect();
    let mut bodies = Vec::new();
    for task in tasks {
        bodies.push(task.await.unwrap());
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1);
    let view = origin.get(&admin, "/api/admin/dashboard").await;
    assert_eq!(view.point(), "1.2");
}

#[tokio::test]
async fn a_refusal_is_kept_and_repeated() {
    let origin = TestOrigin::start().await;
    let teacher = origin.user("teacher@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let refused = origin.command(&teacher, "g1", grade(&student, 21.0)).await;
    assert_eq!(refused.problem(), (422, "invalid-field".into()));
    assert_eq!(refused.json()["field"], "score");
    assert_eq!(origin.command(&teacher, "g1", grade(&student, 21.0)).await.body, refused.body);
    let state = origin.get(&teacher, "/commands/g1").await.json();
    assert_eq!(state["status"], "refused");
    assert_eq!(state["outcome"]["code"], "invalid-field");
    assert_eq!(crate::testing::point_of(state["bookmark"].as_str().unwrap()), "1.1");
}

#[tokio::test]
async fn rights_are_checked_for_each_command() {
    let origin = TestOrigin::start().await;
    let student = origin.user("student@northside.example").await;
    let nadia = origin.user("nadia@northside.example").await;
    let teacher = origin.user("teacher@northside.example").await;
    let class = origin.class_today("maths-a").await;
    let me = &student.claims.sub;
    let forbidden = [
        (&student, grade(&student, 1.0)),
        (&nadia, grade(&student, 1.0)),
        (
            &teacher,
            json!({"command": "record-payment", "invoice": "library-student", "amount_minor": 1, "method": "cash"}),
        ),
        (&teacher, json!({"command": "enroll-student", "student": me, "batch": "maths-b"})),
        (&teacher, json!({"command": "submit-assignment", "assignment": "maths-a-homework-3", "text": "x"})),
        (&student, json!({"command": "submit-assignment", "assignment": "maths-b-homework-3", "text": "x"})),
        (&student, json!({"command": "post-message", "to": {"batch": "maths-b"}, "text": "x"})),
        (
            &nadia,
            json!({"command": "reschedule-class", "class": class, "starts_at": "2026-11-22T10:00:00Z", "ends_at": "2026-11-22T11:00:00Z"}),
        ),
    ];
    for (n, (user, command)) in forbidden.into_iter().enumerate() {
        let refused = origin.command(user, &format!("k{n}"), command.clone()).await;
        assert_eq!(refused.problem(), (403, "forbidden".into()), "{command}");
    }
}

#[tokio::test]
async fn the_other_commands_have_their_effects() {
    let origin = TestOrigin::start().await;
    let student = origin.user("student@northside.example").await;
    let teacher = origin.user("teacher@northside.example").await;
    let admin = origin.user("admin@northside.example").await;
    let class = origin.class_today("maths-a").await;
    let submit = json!({"command": "submit-assignment", "assignment": "maths-a-homework-3", "text": "42"});
    let submitted = origin.command(&student, "s1", submit).await.json();
    assert_eq!(submitted["outcome"]["late"], false);
    let message = json!({"command": "post-message", "to": {"batch": "maths-a"}, "text": "Bring a ruler."});
    assert_eq!(origin.command(&teacher, "m1", message).await.status, StatusCode::OK);
    let enroll = json!({"command": "enroll-student", "student": student.claims.sub, "batch": "maths-b"});
    assert_eq!(origin.command(&admin, "e1", enroll.clone()).await.json()["outcome"]["enrolled"], true);
    assert_eq!(origin.command(&admin, "e2", enroll).await.json()["outcome"]["enrolled"], false);
    let view = origin.get(&student, "/api/students/dashboard").await.json();
    assert_eq!(view["unread_messages"], 3);
    assert_eq!(view["batches"].as_array().unwrap().len(), 4);
    assert_eq!(view["assignments"]["submitted"].as_array().unwrap().len(), 4);
    let moved = json!({"command": "reschedule-class", "class": class, "room": "Hall",
        "starts_at": "2030-01-01T10:00:00+05:30", "ends_at": "2030-01-01T11:00:00+05:30"});
    assert_eq!(origin.command(&teacher, "r1", moved).await.json()["outcome"]["room"], "Hall");
    let that_day = origin.get(&student, "/api/students/schedule?date=2030-01-01").await.json();
    assert_eq!(that_day["classes"][0]["class"], class.as_str());
}

async fn cancelled_classes_stay(origin: &TestOrigin) {
    let teacher = origin.user("teacher@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let class = origin.class_today("maths-a").await;
    let cancel = json!({"command": "cancel-class", "class": class});
    assert_eq!(origin.command(&teacher, "c", cancel).await.status, StatusCode::OK);
    let times = ("2030-01-01T10:00:00Z", "2030-01-01T11:00:00Z");
    for (key, command) in [
        (
            "r",
            json!({"command": "reschedule-class", "class": class, "starts_at": times.0, "ends_at": times.1}),
        ),
        ("m", json!({"command": "change-class", "class": class, "room": "9"})),
    ] {
        let refused = origin.command(&teacher, key, command).await;
        let told = refused.json();
        assert_eq!((refused.problem(), &told["field"]), ((422, "invalid-field".into()), &json!("class")));
    }
    let working = tokio::spawn(origin.app.queue.clone().run(origin.app.stopping.clone()));
    let page = super::notifications::until_unread(origin, &student, 1).await;
    assert_eq!(page["notifications"][0]["kind"], "class-cancelled", "nobody is told that it moves");
    working.abort();
}

#[tokio::test]
async fn a_cancelled_class_is_not_moved() {
    crate::testing::on_both_engines(cancelled_classes_stay).await;
}

#[tokio::test]
async fn records_of_another_institute_do_not_exist() {
    let origin = TestOrigin::start().await;
    let foreign = origin.user("admin@riverside.example").await;
    let student = origin.user("student@northside.example").await;
    let reached = origin.command(&foreign, "x1", grade(&student, 1.0)).await;
    assert_eq!(reached.problem(), (404, "not-found".into()));
    let message = json!({"command": "post-message", "to": {"user": student.claims.sub}, "text": "hello"});
    assert_eq!(origin.command(&foreign, "x2", message).await.problem(), (404, "not-found".into()));
    let teacher = origin.user("teacher@northside.example").await;
    assert_eq!(origin.command(&teacher, "x1", grade(&student, 1.0)).await.status, StatusCode::OK);
    assert_eq!(origin.get(&foreign, "/commands/x1").await.json()["status"], "refused");
    assert_eq!(origin.get(&student, "/commands/x1").await.problem(), (404, "not-found".into()));
}

#[tokio::test]
async fn faulty_commands_are_told_apart() {
    let origin = TestOrigin::start().await;
    let teacher = origin.user("teacher@northside.example").await;
    let headers = [("authorization", teacher.bearer())];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let keyless = origin.request(Method::POST, "/commands", &headers, "{}").await;
    assert_eq!(keyless.problem(), (400, "missing-idempotency-key".into()));
    let problem = async |key: &str, command: Value| origin.command(&teacher, key, command).await.problem();
    assert_eq!(problem("a b", json!({})).await, (400, "invalid-idempotency-key".into()));
    assert_eq!(problem("k", json!({"command": "fly"})).await, (422, "unknown-command".into()));
    assert_eq!(problem("k", json!({"command": "enroll-student"})).await, (422, "invalid-field".into()));
    let huge = json!({"command": "post-message", "to": {"batch": "b"}, "text": "x".repeat(100_000)});
    assert_eq!(problem("k", huge).await, (413, "body-too-large".into()));
}

#[tokio::test]
async fn an_edge_delivers_for_a_user_whose_token_is_long_gone() {
    let origin = TestOrigin::start().await;
    let teacher = origin.user("teacher@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let mut identity = teacher.claims.clone();
    identity.exp = 0;
    let body = json!({"identity": identity, "key": "f1", "accepted_at": 1, "command": grade(&student, 12.0)});
    let deliver = async |secret: &str, body: &Value| {
        let bearer = format!("Bearer {secret}");
        let headers = [("authorization", bearer.as_str()), ("rollcall-edge", "edge-1")];
        origin.request(Method::POST, "/edge/v1/commands", &headers, body.to_string()).await
    };
    assert_eq!(deliver("wrong", &body).await.problem(), (401, "wrong-edge-secret".into()));
    let first = deliver(SECRET, &body).await;
    assert_eq!(first.status, StatusCode::OK, "{first:?}");
    assert_eq!(first.point(), "1.2");
    assert_eq!(deliver(SECRET, &body).await.body, first.body);
    assert_eq!(origin.command(&teacher, "f1", grade(&student, 12.0)).await.body, first.body);
    let nowhere = {
        let mut identity = identity.clone();
        identity.inst = "nowhere.example".into();
        json!({"identity": identity, "key": "f2", "accepted_at": 1, "command": grade(&student, 12.0)})
    };
    assert_eq!(deliver(SECRET, &nowhere).await.problem(), (403, "forbidden".into()));
}
