//! What a command changes is in the state of its record: the audit log shows it, and `If-Match` notices it.

use crate::testing::{TestOrigin, User, on_both_engines};
use axum::http::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use sync_protocol::command::NAMES;

/// The records of these are none that admins read.
const NO_RECORD: [&str; 1] = ["revoke-device"];

async fn done(origin: &TestOrigin, user: &User, command: Value) -> Value {
    let key = uuid::Uuid::new_v4().to_string();
    let answer = origin.command(user, &key, command.clone()).await;
    assert_eq!(answer.status, StatusCode::OK, "{command}: {answer:?}");
    answer.json()["outcome"].clone()
}

async fn all_of_one(
    origin: &TestOrigin,
    admin: &User,
    user: &User,
    commands: Vec<Value>,
) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for command in commands {
        let giver = if command["command"] == "submit-assignment" { user } else { admin };
        let outcome = done(origin, giver, command.clone()).await;
        let name = command["command"].as_str().unwrap();
        let log =
            origin.get(admin, &format!("/admin/v1/audit?command={name}&sort=-entry&limit=1")).await.json();
        let entry = &log["items"][0];
        if !NO_RECORD.contains(&name) {
            assert_ne!(
                entry["before"], entry["after"],
                "{command} did {outcome}, and {entry} does not show it"
            );
        }
        names.insert(name.to_owned());
    }
    names
}

async fn about_people(origin: &TestOrigin, admin: &User, user: &User) -> BTreeSet<String> {
    let new =
        |email: &str| json!({"command": "create-user", "email": email, "name": "New", "role": "student"});
    let made = done(origin, admin, new("first@northside.example")).await["user"].clone();
    let teacher = origin.user("assistant@northside.example").await.claims.sub;
    let commands = vec![
        new("second@northside.example"),
        json!({"command": "change-user", "user": made, "name": "Newer"}),
        json!({"command": "create-batch", "batch": "b", "title": "B"}),
        json!({"command": "change-batch", "batch": "b", "title": "C"}),
        json!({"command": "enroll-student", "student": made, "batch": "b"}),
        json!({"command": "withdraw-student", "student": made, "batch": "b"}),
        json!({"command": "assign-teacher", "teacher": teacher, "batch": "b"}),
        json!({"command": "unassign-teacher", "teacher": teacher, "batch": "b"}),
        json!({"command": "add-guardian", "guardian": teacher, "student": made}),
        json!({"command": "remove-guardian", "guardian": teacher, "student": made}),
        json!({"command": "deactivate-user", "user": made}),
        json!({"command": "reactivate-user", "user": made}),
        json!({"command": "change-user", "user": made, "role": "guardian"}),
        json!({"command": "change-institute", "time_zone": "UTC"}),
        json!({"command": "revoke-device", "user": user.claims.sub, "device": "none"}),
    ];
    all_of_one(origin, admin, user, commands).await
}

async fn about_teaching(origin: &TestOrigin, admin: &User, user: &User) -> BTreeSet<String> {
    let teacher = origin.user("teacher@northside.example").await.claims.sub;
    let (starts_at, ends_at) = ("2030-05-01T10:00:00Z", "2030-05-01T11:00:00Z");
    let notes = json!({"kind": "notes", "subject": origin.class_today("maths-a").await});
    let document = origin.post(admin, "/api/documents", notes).await.json()["documentId"].clone();
    let commands = vec![
        json!({"command": "create-class", "class": "c", "batch": "maths-a", "title": "T", "teacher": teacher,
            "starts_at": starts_at, "ends_at": ends_at}),
        json!({"command": "change-class", "class": "c", "room": "7"}),
        json!({"command": "reschedule-class", "class": "c", "starts_at": "2030-05-02T10:00:00Z",
            "ends_at": "2030-05-02T11:00:00Z"}),
        json!({"command": "cancel-class", "class": "c"}),
        json!({"command": "create-assignment", "assignment": "a", "batch": "maths-a", "title": "T", "max_score": 10}),
        json!({"command": "change-assignment", "assignment": "a", "max_score": 20}),
        json!({"command": "submit-assignment", "assignment": "a", "text": "42"}),
        json!({"command": "grade-submission", "assignment": "a", "student": user.claims.sub, "score": 7}),
        json!({"command": "post-message", "to": {"batch": "maths-a"}, "text": "Hello"}),
        json!({"command": "mark-messages-read", "until": 1}),
        json!({"command": "retract-message", "message": "homework", "reason": "Wrong"}),
        json!({"command": "delete-document", "document": document}),
    ];
    all_of_one(origin, admin, user, commands).await
}

async fn about_series(origin: &TestOrigin, admin: &User, user: &User) -> BTreeSet<String> {
    let teacher = origin.user("teacher@northside.example").await.claims.sub;
    let create = json!({"command": "create-class-series", "batch": "maths-a", "title": "T", "teacher": teacher,
        "weekdays": ["monday"], "from": "2030-06-01", "until": "2030-06-30", "starts": "09:00", "minutes": 60});
    let mut names = all_of_one(origin, admin, user, vec![create]).await;
    let classes = origin.get(admin, "/admin/v1/classes?from=2030-06-01T00:00:00Z&limit=1").await.json();
    let class = &classes["items"][0]["class"];
    let commands = vec![
        json!({"command": "change-class-series", "class": class, "starts": "10:30"}),
        json!({"command": "cancel-class-series", "class": class}),
    ];
    names.append(&mut all_of_one(origin, admin, user, commands).await);
    names
}

async fn about_money(origin: &TestOrigin, admin: &User, user: &User) -> BTreeSet<String> {
    let invoice = |invoice: &str| {
        json!({"command": "create-invoice", "invoice": invoice, "student": user.claims.sub, "title": "T",
            "amount_minor": 500, "due_on": "2030-01-01"})
    };
    for event in ["evt_1", "evt_2"] {
        let told = super::fees::tell(origin, &super::fees::paid(event, event, "later", 500)).await;
        assert_eq!(told.json()["status"], "set-aside");
    }
    let pay = json!({"command": "record-payment", "invoice": "library-student", "amount_minor": 5, "method": "cash"});
    let payment = done(origin, admin, pay.clone()).await["payment"].clone();
    let commands = vec![
        invoice("later"),
        pay,
        json!({"command": "refund-payment", "payment": payment, "amount_minor": 5}),
        json!({"command": "apply-payment-event", "provider": "stripe", "event": "evt_1"}),
        json!({"command": "settle-payment-event", "provider": "stripe", "event": "evt_2", "reason": "A test"}),
        invoice("void"),
        json!({"command": "void-invoice", "invoice": "void"}),
    ];
    all_of_one(origin, admin, user, commands).await
}

async fn every_command_shows(origin: &TestOrigin) {
    let admin = origin.user("admin@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let mut given = about_people(origin, &admin, &student).await;
    given.append(&mut about_teaching(origin, &admin, &student).await);
    given.append(&mut about_series(origin, &admin, &student).await);
    given.append(&mut about_money(origin, &admin, &student).await);
    assert_eq!(given, NAMES.iter().map(|name| (*name).to_owned()).collect(), "every command is tried");
}

#[tokio::test]
async fn what_a_command_changes_is_in_the_state_of_its_record() {
    on_both_engines(every_command_shows).await;
}
