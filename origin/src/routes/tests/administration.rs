//! `/admin/v1`, the commands behind it, entity tags and the audit log.

use crate::testing::{Answer, TestOrigin, User, point_of};
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

const ADMIN: &str = "admin@northside.example";

/// A request with a body and headers beside the token.
async fn send(
    origin: &TestOrigin,
    user: &User,
    (method, path): (&str, &str),
    headers: &[(&str, &str)],
    body: Value,
) -> Answer {
    let bearer = user.bearer();
    let mut all = vec![("authorization", bearer.as_str())];
    all.extend(headers);
    let body = if body.is_null() { String::new() } else { body.to_string() };
    origin.request(method.parse::<Method>().unwrap(), path, &all, body).await
}

async fn audit(origin: &TestOrigin, admin: &User, filter: &str) -> Vec<Value> {
    let page = origin.get(admin, &format!("/admin/v1/audit?sort=-entry&{filter}")).await;
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    page.json()["items"].as_array().unwrap().clone()
}

/// What the test below does to a user, the newest first.
async fn the_log_tells_the_story(origin: &TestOrigin, admin: &User, user: &str, made_at: &str) {
    let log = audit(origin, admin, &format!("record={user}")).await;
    let steps: Vec<(&str, &Value)> =
        log.iter().map(|entry| (entry["command"].as_str().unwrap(), &entry["refusal"])).collect();
    let refused = json!("precondition-failed");
    let done = Value::Null;
    assert_eq!(
        steps,
        [
            ("deactivate-user", &done),
            ("change-user", &refused),
            ("change-user", &done),
            ("change-user", &refused),
            ("create-user", &done),
        ]
    );
    assert_eq!(log[0]["before"]["active"], true);
    assert_eq!(log[0]["after"]["active"], false);
    assert_eq!(log[2]["before"]["name"], "Nora New");
    assert_eq!(log[2]["after"]["name"], "Nora Newer");
    assert_eq!((&log[4]["before"], &log[4]["after"]["name"]), (&Value::Null, &json!("Nora New")));
    assert_eq!(log[4]["user"], admin.claims.sub);
    assert_eq!(log[4]["device"], "phone");
    let bookmark = format!("{}.{}", log[4]["epoch"], log[4]["revision"]);
    assert_eq!(bookmark, point_of(made_at));
    assert_eq!(audit(origin, admin, "command=create-user").await.len(), 2, "the refused one too");
}

#[tokio::test]
async fn a_record_is_made_read_changed_and_every_step_is_in_the_audit_log() {
    let origin = TestOrigin::start().await;
    let admin = origin.user(ADMIN).await;
    let new = json!({"email": "New@Northside.example", "name": "Nora New", "role": "student"});
    let made =
        send(&origin, &admin, ("POST", "/admin/v1/users"), &[("idempotency-key", "n1")], new.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let again =
        send(&origin, &admin, ("POST", "/admin/v1/users"), &[("idempotency-key", "n1")], new.clone()).await;
    assert_eq!(again.body, made.body, "the same key makes one user");
    let taken = send(&origin, &admin, ("POST", "/admin/v1/users"), &[], new).await;
    assert_eq!((taken.problem(), &taken.json()["field"]), ((409, "already-exists".into()), &json!("email")));
    let user = made.json()["outcome"]["user"].as_str().unwrap().to_owned();
    let path = format!("/admin/v1/users/{user}");
    let read = origin.get(&admin, &path).await;
    assert_eq!(read.header("etag"), made.header("etag"));
    assert_eq!(read.json()["email"], "new@northside.example");
    assert_eq!(read.json()["has_password"], false);

    let change = json!({"name": "Nora Newer"});
    let blind = send(&origin, &admin, ("PATCH", &path), &[], change.clone()).await;
    assert_eq!(blind.problem(), (428, "precondition-required".into()));
    let stale = [("if-match", "\"00000000000000000000000000000000\"")];
    let stale = send(&origin, &admin, ("PATCH", &path), &stale, change.clone()).await;
    assert_eq!(stale.problem(), (412, "precondition-failed".into()));
    let tag = read.header("etag");
    let changed = send(&origin, &admin, ("PATCH", &path), &[("if-match", tag)], change.clone()).await;
    assert_eq!(changed.status, StatusCode::OK, "{changed:?}");
    assert_ne!(changed.header("etag"), tag);
    let late = send(&origin, &admin, ("PATCH", &path), &[("if-match", tag)], json!({"name": "Lost"})).await;
    assert_eq!(
        late.problem(),
        (412, "precondition-failed".into()),
        "who comes second has seen another record"
    );
    let off = send(&origin, &admin, ("POST", &format!("{path}/deactivate")), &[], Value::Null).await;
    assert_eq!(off.json()["outcome"]["deactivated"], true);
    assert_eq!(origin.get(&admin, "/admin/v1/users?active=false").await.json()["items"][0]["user"], user);

    the_log_tells_the_story(&origin, &admin, &user, made.header("rollcall-bookmark")).await;
    let future = audit(&origin, &admin, "from=2100-01-01T00:00:00Z").await;
    assert!(future.is_empty());
    assert_eq!(audit(&origin, &admin, "until=2100-01-01T00:00:00Z").await.len(), 6);
}

#[tokio::test]
async fn of_two_changes_that_saw_the_same_state_one_wins() {
    let origin = TestOrigin::start().await;
    let admin = origin.user(ADMIN).await;
    let path = "/admin/v1/batches/maths-a";
    let tag = origin.get(&admin, path).await.header("etag").to_owned();
    let tries = (0..8).map(|n| {
        let (origin, admin, tag) = (&origin, &admin, tag.as_str());
        async move {
            let change = json!({"title": format!("Title {n}")});
            send(origin, admin, ("PATCH", path), &[("if-match", tag)], change).await.status
        }
    });
    let statuses = futures_util::future::join_all(tries).await;
    let won = statuses.iter().filter(|status| **status == StatusCode::OK).count();
    let lost = statuses.iter().filter(|status| **status == StatusCode::PRECONDITION_FAILED).count();
    assert_eq!((won, lost), (1, 7), "{statuses:?}");
}

#[tokio::test]
async fn a_command_may_carry_the_tag_too_and_a_grade_needs_it_from_admins() {
    let origin = TestOrigin::start().await;
    let admin = origin.user(ADMIN).await;
    let waiting = origin.get(&admin, "/admin/v1/submissions?graded=false&limit=1").await.json();
    let work = &waiting["items"][0];
    let path = format!("/admin/v1/submissions/{}", work["submission"].as_str().unwrap());
    let read = origin.get(&admin, &path).await;
    assert!(read.json()["text"].is_string(), "{read:?}");
    let grade = json!({"score": 3.5, "feedback": "Good."});
    let tag = [("if-match", read.header("etag"))];
    let graded = send(&origin, &admin, ("PUT", &format!("{path}/grade")), &tag, grade).await;
    assert_eq!(graded.status, StatusCode::OK, "{graded:?}");
    let now = origin.get(&admin, &path).await;
    assert_eq!((&now.json()["score"], now.header("etag")), (&json!(3.5), graded.header("etag")));
    let command = json!({"command": "grade-submission", "assignment": work["assignment"],
        "student": work["student"], "score": 4});
    let stale = [("idempotency-key", "g1"), ("if-match", read.header("etag"))];
    let stale = send(&origin, &admin, ("POST", "/commands"), &stale, command).await;
    assert_eq!(stale.problem(), (412, "precondition-failed".into()));
    let huge = "x".repeat(600);
    let huge = [("idempotency-key", "g2"), ("if-match", huge.as_str())];
    let huge =
        send(&origin, &admin, ("POST", "/commands"), &huge, json!({"command": "cancel-class", "class": "c"}));
    assert_eq!(huge.await.problem(), (400, "invalid-field".into()));
}

#[tokio::test]
async fn classes_assignments_invoices_and_the_institute_are_written_by_commands() {
    let origin = TestOrigin::start().await;
    let admin = origin.user(ADMIN).await;
    let teacher = origin.user("teacher@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let class = json!({"command": "create-class", "batch": "maths-a", "title": "Extra", "room": "9",
        "teacher": teacher.claims.sub, "starts_at": "2030-05-01T10:00:00Z", "ends_at": "2030-05-01T11:00:00Z"});
    let made = origin.command(&teacher, "c1", class.clone()).await;
    assert_eq!(made.status, StatusCode::OK, "{made:?}");
    let class = made.json()["outcome"]["class"].as_str().unwrap().to_owned();
    let day = "/api/students/schedule?date=2030-05-01";
    assert_eq!(origin.get(&student, day).await.json()["classes"][0]["class"], class.as_str());
    let path = format!("/admin/v1/classes/{class}");
    let tag = origin.get(&admin, &path).await.header("etag").to_owned();
    let one = json!({"starts_at": "2030-05-01T10:00:00Z"});
    let one = send(&origin, &admin, ("PATCH", &path), &[("if-match", &tag)], one).await;
    assert_eq!((one.problem(), &one.json()["field"]), ((422, "invalid-field".into()), &json!("ends_at")));
    let moved = send(&origin, &admin, ("PATCH", &path), &[("if-match", &tag)], json!({"room": "10"})).await;
    assert_eq!(moved.json()["outcome"]["room"], "10");
    let cancelled = origin.command(&teacher, "c2", json!({"command": "cancel-class", "class": class})).await;
    assert_eq!(cancelled.json()["outcome"]["cancelled"], true);
    assert_eq!(origin.get(&student, day).await.json()["classes"], json!([]));
    assert_eq!(origin.get(&admin, &path).await.json()["cancelled"], true);

    let assignment = json!({"command": "create-assignment", "assignment": "extra-1", "batch": "maths-a",
        "title": "Extra", "due_at": "2030-05-01T10:00:00Z", "max_score": 10});
    assert_eq!(origin.command(&teacher, "a1", assignment.clone()).await.status, StatusCode::OK);
    assert_eq!(origin.command(&teacher, "a2", assignment).await.problem(), (409, "already-exists".into()));
    origin
        .command(
            &student,
            "a3",
            json!({"command": "submit-assignment", "assignment": "extra-1", "text": "x"}),
        )
        .await;
    let grade = json!({"command": "grade-submission", "assignment": "extra-1", "student": student.claims.sub, "score": 9});
    assert_eq!(origin.command(&teacher, "a4", grade).await.status, StatusCode::OK);
    let lower = json!({"command": "change-assignment", "assignment": "extra-1", "max_score": 8});
    let lower = origin.command(&teacher, "a5", lower).await;
    assert_eq!(lower.json()["field"], "max_score", "{lower:?}");

    let invoice =
        json!({"student": student.claims.sub, "title": "Trip", "amount_minor": 500, "due_on": "2030-02-30"});
    let wrong = send(&origin, &admin, ("POST", "/admin/v1/invoices"), &[], invoice.clone()).await;
    assert_eq!((wrong.problem(), &wrong.json()["field"]), ((422, "invalid-field".into()), &json!("due_on")));
    let mut invoice = invoice;
    invoice["due_on"] = "2030-02-28".into();
    let made = send(&origin, &admin, ("POST", "/admin/v1/invoices"), &[], invoice).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let fees = origin.get(&student, "/api/students/dashboard").await.json();
    assert!(fees["fees"]["invoices"].as_array().unwrap().iter().any(|invoice| invoice["title"] == "Trip"));

    let tag = origin.get(&admin, "/admin/v1/institute").await.header("etag").to_owned();
    let zone = json!({"time_zone": "Mars/Olympus"});
    let zone = send(&origin, &admin, ("PATCH", "/admin/v1/institute"), &[("if-match", &tag)], zone).await;
    assert_eq!(zone.json()["field"], "time_zone");
    let zone = json!({"time_zone": "Europe/London"});
    let zone = send(&origin, &admin, ("PATCH", "/admin/v1/institute"), &[("if-match", &tag)], zone).await;
    assert_eq!(zone.status, StatusCode::OK, "{zone:?}");
    let shown = origin.get(&admin, "/api/admin/dashboard").await.json();
    assert_eq!(shown["institute"]["time_zone"], "Europe/London");
}

#[tokio::test]
async fn lists_are_pages_with_filters_orders_and_limits() {
    let origin = TestOrigin::start().await;
    let admin = origin.user(ADMIN).await;
    let all = origin.get(&admin, "/admin/v1/users?limit=200&role=student").await.json();
    let names = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap().iter();
        items.map(|user| user["name"].as_str().unwrap().to_owned()).collect()
    };
    let mut walked = Vec::new();
    let mut path = "/admin/v1/users?limit=7&role=student".to_owned();
    loop {
        let page = origin.get(&admin, &path).await;
        assert_eq!(page.point(), "1.1");
        let page = page.json();
        walked.extend(names(&page));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/admin/v1/users?limit=7&role=student&cursor={next}");
    }
    assert!(walked.len() > 20 && walked.is_sorted(), "{walked:?}");
    assert_eq!(walked, names(&all));
    for (query, field) in
        [("limit=0", "limit"), ("colour=red", "colour"), ("cursor=x", "cursor"), ("sort=age", "sort")]
    {
        let wrong = origin.get(&admin, &format!("/admin/v1/users?{query}")).await;
        assert_eq!((wrong.problem(), &wrong.json()["field"]), ((422, "invalid-field".into()), &json!(field)));
    }
    let long = origin.get(&admin, &format!("/admin/v1/users?role={}", "x".repeat(5000))).await;
    assert_eq!(long.problem(), (422, "invalid-field".into()));
    assert_eq!(origin.get(&admin, "/admin/v1/users/nobody").await.problem(), (404, "not-found".into()));
    assert_eq!(origin.get(&admin, "/admin/v1/users/a%00b").await.problem(), (404, "not-found".into()));
    let found = origin.get(&admin, "/admin/v1/search?q=sam").await.json();
    assert!(found["hits"].as_array().unwrap().iter().any(|hit| hit["title"] == "Sam Student"), "{found}");
}

#[tokio::test]
async fn the_admin_api_is_for_those_who_are_admins_now() {
    let origin = TestOrigin::start().await;
    let admin = origin.user(ADMIN).await;
    for email in ["teacher@northside.example", "student@northside.example"] {
        let user = origin.user(email).await;
        assert_eq!(origin.get(&user, "/admin/v1/users").await.problem(), (403, "forbidden".into()));
        let new = json!({"batch": "x", "title": "X"});
        let refused = send(&origin, &user, ("POST", "/admin/v1/batches"), &[], new).await;
        assert_eq!(refused.problem(), (403, "forbidden".into()));
    }
    let new = json!({"email": "second@northside.example", "name": "Second", "role": "admin"});
    send(&origin, &admin, ("POST", "/admin/v1/users"), &[], new).await;
    let nobody = origin.request(Method::GET, "/admin/v1/users", &[], "").await;
    assert_eq!(nobody.problem(), (401, "token-missing".into()));
    // The token is good for some more minutes; the user is none any more.
    let me = admin.claims.sub.clone();
    let store = origin.app.store.clone();
    let gone = store.write::<_, crate::store::StoreError, _>("northside.example", move |tx| {
        tx.set_deactivated(&me, Some(1))
    });
    gone.await.unwrap();
    assert_eq!(origin.get(&admin, "/admin/v1/users").await.problem(), (403, "forbidden".into()));
    let new = json!({"batch": "x", "title": "X"});
    let refused = send(&origin, &admin, ("POST", "/admin/v1/batches"), &[], new).await;
    assert_eq!(refused.problem(), (403, "forbidden".into()));
}

#[tokio::test]
async fn a_revoked_device_gets_no_new_tokens() {
    let origin = TestOrigin::start().await;
    let admin = origin.user(ADMIN).await;
    let student = origin.user("student@northside.example").await;
    let me = &student.claims.sub;
    let sessions = origin.get(&admin, &format!("/admin/v1/sessions?user={me}")).await.json();
    assert_eq!(sessions["items"][0]["device"], "phone");
    let path = format!("/admin/v1/users/{me}/devices/phone");
    let revoked = send(&origin, &admin, ("DELETE", &path), &[], Value::Null).await;
    assert_eq!(revoked.json()["outcome"]["sessions"], 1, "{revoked:?}");
    let body = json!({"refresh_token": student.refresh}).to_string();
    let refused = origin.request(Method::POST, "/api/auth/refresh", &[], body).await;
    assert_eq!(refused.problem().0, 401);
    let sessions = origin.get(&admin, &format!("/admin/v1/sessions?user={me}")).await.json();
    assert!(sessions["items"][0]["revoked_at"].is_string());
}
