//! Guardians: what the role reads and writes, and how somebody gets it.

use crate::testing::{TestOrigin, User, on_both_engines};
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use sync_protocol::token::Role;

const GUARDIAN: &str = "guardian@northside.example";

async fn id_of(origin: &TestOrigin, admin: &User, local: &str) -> String {
    let found = origin.get(admin, &format!("/admin/v1/search?q={local}@northside.example")).await.json();
    found["hits"][0]["id"].as_str().unwrap_or_else(|| panic!("{local}: {found}")).to_owned()
}

async fn reads_alone_what_is_the_wards(origin: &TestOrigin) {
    let guardian = origin.user(GUARDIAN).await;
    assert_eq!((guardian.claims.role, guardian.claims.batches.len()), (Role::Guardian, 0));
    let admin = origin.user("admin@northside.example").await;
    let own = origin.get(&guardian, "/api/guardians/dashboard").await;
    assert_eq!(own.status, StatusCode::OK, "{own:?}");
    let view = own.json();
    let wards = view["students"].as_array().unwrap();
    let names: Vec<&Value> = wards.iter().map(|ward| &ward["name"]).collect();
    assert_eq!(names.len(), 2);
    assert!(names.contains(&&json!("Sam Student")) && names.contains(&&json!("Aarav Adeyemi")), "{view}");
    assert_eq!(view["unread_messages"], 1);
    assert!(view["messages"]["recent"][0]["text"].as_str().unwrap().contains("parents' evening"));
    let stranger = id_of(origin, &admin, "olga.adeyemi").await;
    for view in ["dashboard", "schedule", "grades", "attendance", "fees"] {
        for ward in wards {
            let path = format!("/api/students/{view}?student={}", ward["student"].as_str().unwrap());
            assert_eq!(origin.get(&guardian, &path).await.status, StatusCode::OK, "{path}");
        }
        for path in [format!("/api/students/{view}?student={stranger}"), format!("/api/students/{view}")] {
            assert_eq!(origin.get(&guardian, &path).await.problem(), (403, "forbidden".into()), "{path}");
        }
    }
    let class = origin.class_today("maths-a").await;
    for path in [
        "/api/teachers/dashboard",
        "/api/teachers/schedule",
        "/api/admin/dashboard",
        "/api/admin/fees",
        "/admin/v1/users",
        "/admin/v1/messages",
        &format!("/api/classes/{class}/roster"),
    ] {
        assert_eq!(origin.get(&guardian, path).await.problem(), (403, "forbidden".into()), "{path}");
    }
    for who in ["student", "teacher", "admin"] {
        let other = origin.user(&format!("{who}@northside.example")).await;
        let refused = origin.get(&other, "/api/guardians/dashboard").await;
        assert_eq!(refused.problem(), (403, "forbidden".into()), "{who}");
    }
    let both = json!({"requests": [{"path": "/api/guardians/dashboard"}, {"path": "/api/students/fees"}]});
    let both = origin.post(&guardian, "/api/batch", both).await.json();
    assert_eq!(
        (&both["responses"][0]["status"], &both["responses"][1]["status"]),
        (&json!(200), &json!(403))
    );
}

#[tokio::test]
async fn a_guardian_reads_what_is_their_students_and_nothing_else() {
    on_both_engines(reads_alone_what_is_the_wards).await;
}

async fn makes_no_document(origin: &TestOrigin) {
    let guardian = origin.user(GUARDIAN).await;
    let teacher = origin.user("teacher@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let class = origin.class_today("maths-a").await;
    let notes = json!({"kind": "notes", "subject": class});
    let not_yet = origin.post(&guardian, "/api/documents", notes.clone()).await;
    assert_eq!(not_yet.problem(), (403, "forbidden".into()), "a guardian makes nothing");
    let made = origin.post(&teacher, "/api/documents", notes.clone()).await.json();
    assert_eq!(origin.post(&guardian, "/api/documents", notes).await.json(), made);
    let fetched = format!("/api/documents/{}", made["documentId"].as_str().unwrap());
    assert_eq!(origin.get(&guardian, &fetched).await.status, StatusCode::OK);
    let doubt = json!({"kind": "doubt", "subject": "maths-a/why"});
    let doubt = origin.post(&student, "/api/documents", doubt).await.json();
    let path = format!("/api/documents/{}", doubt["documentId"].as_str().unwrap());
    assert_eq!(origin.get(&guardian, &path).await.status, StatusCode::OK);
    let delete = json!({"command": "delete-document", "document": doubt["documentId"]});
    assert_eq!(origin.command(&guardian, "delete", delete).await.problem(), (403, "forbidden".into()));
    for (kind, subject) in [
        ("attendance", class.clone()),
        ("planner", guardian.claims.sub.clone()),
        ("doubt", "maths-a/new".to_owned()),
        ("doubt", "chemistry-a/new".to_owned()),
    ] {
        let refused =
            origin.post(&guardian, "/api/documents", json!({"kind": kind, "subject": subject})).await;
        assert_eq!(refused.problem(), (403, "forbidden".into()), "{kind} {subject}");
    }
}

#[tokio::test]
async fn a_guardian_reads_their_students_documents_and_makes_none() {
    on_both_engines(makes_no_document).await;
}

async fn writes_messages_alone(origin: &TestOrigin) {
    let guardian = origin.user(GUARDIAN).await;
    let admin = origin.user("admin@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let teacher = origin.user("teacher@northside.example").await;
    let stranger = id_of(origin, &admin, "omar").await;
    let to = |to: Value| json!({"command": "post-message", "to": to, "text": "About the homework"});
    for (n, (recipient, status)) in [
        (json!({"user": admin.claims.sub}), 200),
        (json!({"user": teacher.claims.sub}), 200),
        (json!({"user": stranger}), 403),
        (json!({"user": student.claims.sub}), 403),
        (json!({"batch": "maths-a"}), 403),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = origin.command(&guardian, &format!("to-{n}"), to(recipient.clone())).await;
        assert_eq!(answer.status.as_u16(), status, "{recipient}");
    }
    let answer = origin.command(&teacher, "answer", to(json!({"user": guardian.claims.sub}))).await;
    assert_eq!(answer.status, StatusCode::OK);
    let seen = origin.get(&guardian, "/api/guardians/dashboard").await.json();
    assert_eq!(seen["unread_messages"], 2);
    let other = origin.user("omar@northside.example").await;
    let refused = origin.command(&other, "stranger", to(json!({"user": guardian.claims.sub}))).await;
    assert_eq!(refused.problem(), (403, "forbidden".into()));
    for (n, command) in [
        json!({"command": "submit-assignment", "assignment": "maths-a-homework-3", "text": "Mine"}),
        json!({"command": "grade-submission", "assignment": "maths-a-homework-1",
            "student": student.claims.sub, "score": 20}),
        json!({"command": "change-user", "user": student.claims.sub, "name": "Mine"}),
        json!({"command": "create-invoice", "student": student.claims.sub, "title": "x",
            "amount_minor": 1, "due_on": "2030-01-01"}),
        json!({"command": "add-guardian", "guardian": guardian.claims.sub, "student": stranger}),
    ]
    .into_iter()
    .enumerate()
    {
        let refused = origin.command(&guardian, &format!("no-{n}"), command.clone()).await;
        assert_eq!(refused.problem(), (403, "forbidden".into()), "{command}");
    }
    for path in ["/api/notifications", "/api/auth/sessions", "/api/auth/devices"] {
        assert_eq!(origin.get(&guardian, path).await.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn a_guardian_writes_to_admins_and_their_students_teachers_and_nothing_else() {
    on_both_engines(writes_messages_alone).await;
}

async fn admin(origin: &TestOrigin, user: &User, call: (Method, &str), body: Value) -> (u16, Value) {
    let bearer = user.bearer();
    let mut headers = vec![("authorization", bearer.as_str()), ("content-type", "application/json")];
    // What is not there yet has no state to name.
    if call.0 == Method::PATCH {
        headers.push(("if-match", "*"));
    }
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = origin.request(call.0, call.1, &headers, body).await;
    (answer.status.as_u16(), answer.json())
}

async fn are_made_and_found(origin: &TestOrigin) {
    let user = origin.user("admin@northside.example").await;
    let student = id_of(origin, &user, "student").await;
    let new = json!({"email": "new.parent@northside.example", "name": "New Parent", "role": "guardian"});
    let (status, made) = admin(origin, &user, (Method::POST, "/admin/v1/users"), new).await;
    assert_eq!((status, &made["outcome"]["role"]), (201, &json!("guardian")), "{made}");
    let parent = made["outcome"]["user"].as_str().unwrap();
    let path = format!("/admin/v1/guardians/{parent}/students/{student}");
    assert_eq!(admin(origin, &user, (Method::PUT, &path), Value::Null).await.0, 200);
    let put = format!("/admin/v1/batches/maths-a/students/{parent}");
    assert_eq!(
        admin(origin, &user, (Method::PUT, &put), Value::Null).await.0,
        404,
        "a guardian is no student"
    );
    let listed = origin.get(&user, "/admin/v1/users?role=guardian").await.json();
    let names: Vec<&Value> = listed["items"].as_array().unwrap().iter().map(|item| &item["name"]).collect();
    assert_eq!(names, [&json!("Gita Guardian"), &json!("New Parent")]);

    let csv = "email,name,role,batch,student\n\
        late@northside.example,Late Parent,guardian,,student@northside.example\n\
        late@northside.example,Late Parent,guardian,,child@northside.example\n\
        child@northside.example,Child,student,maths-a,\n";
    let bearer = user.bearer();
    let headers = [("authorization", bearer.as_str()), ("content-type", "text/csv")];
    let import = async |csv: &str| {
        origin.request(Method::POST, "/admin/v1/import/roster", &headers, csv.to_owned()).await
    };
    let done = import(csv).await.json();
    assert_eq!(done["counts"][3], json!({"kind": "guardianships", "new": 2, "there": 0}), "{done}");
    assert_eq!(import(csv).await.json()["counts"][3]["there"], 2);
    for (row, column) in [
        ("late@northside.example,Late Parent,guardian,maths-a,", "batch"),
        ("late@northside.example,Late Parent,guardian,,teacher@northside.example", "student"),
        ("child@northside.example,Child,student,,student@northside.example", "student"),
    ] {
        let faulty = import(&format!("email,name,role,batch,student\n{row}\n")).await;
        assert_eq!(faulty.json()["faults"][0]["column"], column, "{row}");
    }
}

#[tokio::test]
async fn guardians_are_made_listed_and_imported() {
    on_both_engines(are_made_and_found).await;
}

async fn come_from_students(origin: &TestOrigin) {
    let user = origin.user("admin@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let as_guardian = json!({"role": "guardian"});
    for (who, id) in
        [("enrolled", student.claims.sub.clone()), ("teacher", id_of(origin, &user, "omar").await)]
    {
        let path = format!("/admin/v1/users/{id}");
        let (status, refused) = admin(origin, &user, (Method::PATCH, &path), as_guardian.clone()).await;
        assert_eq!((status, &refused["field"]), (422, &json!("role")), "{who}");
    }
    // Somebody who was made a student to be a guardian, before there was the role.
    let hash = crate::services::passwords::hash("rollcall").unwrap();
    let added = origin.app.store.write::<_, crate::store::StoreError, _>("northside.example", |tx| {
        let (email, name) = ("old@northside.example".to_owned(), "Old Parent".to_owned());
        let (user, password_hash) = ("old-parent".to_owned(), Some(hash));
        tx.add_user(&crate::store::NewUser { user, email, name, role: Role::Student, password_hash }, 0)?;
        tx.touch_everything();
        Ok(())
    });
    added.await.unwrap();
    let path = format!("/admin/v1/guardians/old-parent/students/{}", student.claims.sub);
    assert_eq!(admin(origin, &user, (Method::PUT, &path), Value::Null).await.0, 200);
    let before = origin.user("old@northside.example").await;
    assert_eq!(before.claims.role, Role::Student);
    let ward = format!("/api/students/fees?student={}", student.claims.sub);
    assert_eq!(origin.get(&before, &ward).await.status, StatusCode::OK);
    let (status, done) =
        admin(origin, &user, (Method::PATCH, "/admin/v1/users/old-parent"), as_guardian.clone()).await;
    assert_eq!((status, &done["outcome"]["role"]), (200, &json!("guardian")), "{done}");
    assert_eq!(origin.get(&before, &ward).await.problem(), (401, "token-revoked".into()));
    let after = origin.user("old@northside.example").await;
    assert_eq!(after.claims.role, Role::Guardian);
    assert_eq!(origin.get(&after, &ward).await.status, StatusCode::OK);
    let again = admin(origin, &user, (Method::PATCH, "/admin/v1/users/old-parent"), as_guardian).await;
    assert_eq!(again.0, 200);
    assert_eq!(origin.get(&after, &ward).await.status, StatusCode::OK, "nothing changed for them");
}

#[tokio::test]
async fn who_was_a_student_to_be_a_guardian_becomes_one_and_signs_in_anew() {
    on_both_engines(come_from_students).await;
}
