//! How Postgres finds what commands and sign-in ask for, in an institute of the Open University's size.

use crate::testing::{Answer, TestDatabase, TestOrigin, User, plans, scans_of};
use axum::http::StatusCode;
use serde_json::{Value, json};

const LARGE: &str = include_str!("../../services/views/large_institute.sql");
/// Tables of as many rows as there are students, or more.
const LARGE_TABLES: [&str; 13] = [
    "guardians",
    "submissions",
    "users",
    "enrolments",
    "attendance",
    "messages",
    "invoices",
    "payments",
    "ledger",
    "notifications",
    "payment_events",
    "figures",
    "class_figures",
];

async fn done(origin: &TestOrigin, user: &User, command: Value) -> Value {
    let key = uuid::Uuid::new_v4().to_string();
    let answer: Answer = origin.command(user, &key, command.clone()).await;
    assert_eq!(answer.status, StatusCode::OK, "{command}: {answer:?}");
    answer.json()["outcome"].clone()
}

/// An origin on an institute of that size, which explains in the server's log whatever it asks for.
async fn explaining(database: &TestDatabase) -> TestOrigin {
    drop(TestOrigin::start_on_postgres(database.config()).await);
    database.sql(LARGE);
    database.sql(
        "UPDATE users SET password_hash = (SELECT password_hash FROM users WHERE email = 'student@northside.example')
         WHERE institute = 'large.example';
         UPDATE users SET role = 'admin' WHERE \"user\" = 'teacher-220';
         ANALYZE",
    );
    database.explain_statements();
    TestOrigin::start_on_postgres(database.config()).await
}

async fn look_at_messages(origin: &TestOrigin, admin: &User) {
    for path in [
        "/admin/v1/messages?author=teacher-1&sort=-posted_at",
        "/admin/v1/messages?retracted=true",
        "/admin/v1/messages/message-7",
    ] {
        assert_eq!(origin.get(admin, path).await.status, StatusCode::OK, "{path}");
    }
    done(origin, admin, json!({"command": "retract-message", "message": "message-7", "reason": "Wrong"}))
        .await;
}

async fn settle_and_read(origin: &TestOrigin, admin: &User) {
    let settle = json!({"command": "settle-payment-event", "provider": "stripe", "event": "event-100",
        "reason": "A test"});
    done(origin, admin, settle).await;
    done(origin, admin, json!({"command": "mark-messages-read", "until": 7})).await;
}

#[tokio::test]
async fn no_command_scans_a_large_table_of_postgres() {
    let database = TestDatabase::create();
    let origin = explaining(&database).await;
    let before = database.server.whole_log().len();
    let admin = origin.user("teacher-220@large.example").await;
    let teacher = origin.user("teacher-1@large.example").await;
    let student = origin.user("student-220@large.example").await;
    let guardian = origin.user("guardian-220@large.example").await;

    done(
        &origin,
        &teacher,
        json!({"command": "grade-submission", "assignment": "assignment-1",
        "student": "student-220", "score": 7}),
    )
    .await;
    let letters = [
        (&teacher, "student-220"),
        (&student, "teacher-1"),
        (&guardian, "teacher-1"),
        (&guardian, "teacher-220"),
    ];
    for (author, user) in letters {
        done(&origin, author, json!({"command": "post-message", "to": {"user": user}, "text": "A word"}))
            .await;
    }
    look_at_messages(&origin, &admin).await;
    settle_and_read(&origin, &admin).await;
    let paid = done(
        &origin,
        &admin,
        json!({"command": "record-payment", "invoice": "invoice-220", "amount_minor": 5,
        "method": "cash"}),
    )
    .await;
    done(
        &origin,
        &admin,
        json!({"command": "refund-payment", "payment": paid["payment"], "amount_minor": 5}),
    )
    .await;
    done(
        &origin,
        &admin,
        json!({"command": "create-invoice", "student": "student-220", "title": "Trip",
        "amount_minor": 5_000, "due_on": "2030-02-28"}),
    )
    .await;
    done(&origin, &admin, json!({"command": "enroll-student", "student": "student-220", "batch": "batch-7"}))
        .await;
    done(&origin, &admin, json!({"command": "change-user", "user": "student-220", "name": "Another"})).await;
    done(&origin, &admin, json!({"command": "deactivate-user", "user": "student-220"})).await;

    let log = database.server.whole_log();
    let log = &log[before..];
    let plans = plans(log);
    assert!(plans > 60, "{plans} plans in the log");
    // A partition of a quarter to come is empty, and reading nothing costs nothing.
    let scans = scans_of(log, &LARGE_TABLES, 0.0);
    assert!(scans.is_empty(), "{}", scans.join("\n"));
}
