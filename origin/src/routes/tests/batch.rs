//! Several views in one request, rosters, and a student's grades and attendance.

use crate::testing::{TestOrigin, point_of};
use axum::http::StatusCode;
use serde_json::{Value, json};

#[tokio::test]
async fn each_view_of_a_batch_has_its_own_status_and_is_what_it_is_alone() {
    let origin = TestOrigin::start().await;
    let student = origin.user("student@northside.example").await;
    let alone = origin.get(&student, "/api/students/grades").await;
    let batch = json!({"requests": [
        {"path": "/api/students/grades"},
        {"path": "/api/students/grades", "if_none_match": alone.header("etag")},
        {"path": "/api/students/attendance"},
        {"path": "/api/teachers/dashboard"},
        {"path": "/api/students/schedule?date=never"},
        {"path": "/api/students/nothing"},
        {"path": "/api/guardians/dashboard"},
        {"path": "/api/students/grades?student=somebody.else"},
    ]});
    let answer = origin.post(&student, "/api/batch", batch).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let answer = answer.json();
    let statuses: Vec<u64> =
        answer["responses"].as_array().unwrap().iter().map(|one| one["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [200, 304, 200, 403, 422, 404, 403, 403]);
    let first = &answer["responses"][0];
    assert_eq!(first["body"], alone.json());
    assert_eq!(first["headers"]["etag"], alone.header("etag"));
    assert_eq!(point_of(first["headers"]["rollcall-bookmark"].as_str().unwrap()), "1.1");
    assert_eq!(first["headers"]["rollcall-tags"], alone.header("rollcall-tags"));
    assert_eq!(answer["responses"][1]["body"], Value::Null);
    assert_eq!(answer["responses"][4]["body"]["field"], "date");
}

#[tokio::test]
async fn a_batch_is_bounded_and_reaches_views_alone() {
    let origin = TestOrigin::start().await;
    let admin = origin.user("admin@northside.example").await;
    let problem = async |batch: Value| {
        let answer = origin.post(&admin, "/api/batch", batch).await;
        assert_eq!(answer.problem(), (422, "invalid-field".into()), "{answer:?}");
        answer.json()["field"].as_str().unwrap().to_owned()
    };
    let view = json!({"path": "/api/admin/dashboard"});
    assert_eq!(problem(json!({"requests": []})).await, "requests");
    assert_eq!(problem(json!({"requests": vec![view.clone(); 11]})).await, "requests");
    for path in [
        "/admin/v1/users",
        "/api/batch",
        "https://elsewhere.example/",
        "/api/admin/../auth",
        "",
        "/api/students/a b",
    ] {
        let field = problem_or_missing(&origin, &admin, path).await;
        assert!(field, "{path}");
    }
    let long = json!({"path": format!("/api/students/{}", "x".repeat(600))});
    assert_eq!(problem(json!({"requests": [view, long]})).await, "requests.1.path");
    let tags = json!({"path": "/api/admin/dashboard", "if_none_match": "x".repeat(600)});
    assert_eq!(problem(json!({"requests": [tags]})).await, "requests.0.if_none_match");
    assert_eq!(problem(json!({"requests": [{"path": "/api/x", "method": "DELETE"}]})).await, "method");
}

/// Whether a path is refused, or leads nowhere.
async fn problem_or_missing(origin: &TestOrigin, admin: &crate::testing::User, path: &str) -> bool {
    let answer = origin.post(admin, "/api/batch", json!({"requests": [{"path": path}]})).await;
    match answer.status {
        StatusCode::UNPROCESSABLE_ENTITY => answer.json()["field"] == "requests.0.path",
        StatusCode::OK => answer.json()["responses"][0]["status"] == 404,
        _ => false,
    }
}

#[tokio::test]
async fn grades_and_attendance_are_a_students_own_and_complete() {
    let origin = TestOrigin::start().await;
    let student = origin.user("student@northside.example").await;
    let dashboard = origin.get(&student, "/api/students/dashboard").await.json();
    let grades = origin.get(&student, "/api/students/grades").await;
    assert_eq!(grades.json()["average"], dashboard["assignments"]["average"]);
    assert_eq!(grades.json()["graded"], dashboard["assignments"]["graded"]);
    let attendance = origin.get(&student, "/api/students/attendance").await;
    assert_eq!(attendance.json()["attendance"], dashboard["attendance"]);
    let marks = attendance.json()["classes"].as_array().unwrap().len() as u64;
    let counted = ["present", "absent", "late", "excused"];
    let counted: u64 = counted.iter().map(|mark| dashboard["attendance"][mark].as_u64().unwrap()).sum();
    assert_eq!(marks, counted);
    for answer in [grades, attendance] {
        assert!(answer.header("rollcall-tags").contains(&format!("user:{}", student.claims.sub)));
    }
    let teacher = origin.user("teacher@northside.example").await;
    assert_eq!(origin.get(&teacher, "/api/students/grades").await.problem(), (403, "forbidden".into()));
}

#[tokio::test]
async fn a_roster_is_for_the_batchs_teachers_and_admins() {
    let origin = TestOrigin::start().await;
    let class = origin.class_today("maths-a").await;
    let path = format!("/api/classes/{class}/roster");
    let teacher = origin.user("teacher@northside.example").await;
    let roster = origin.get(&teacher, &path).await;
    assert_eq!(roster.status, StatusCode::OK, "{roster:?}");
    assert_eq!(roster.json()["class"]["batch"], "maths-a");
    let students = roster.json()["students"].as_array().unwrap().clone();
    assert_eq!(students.len(), 21);
    assert!(students.iter().any(|student| student["name"] == "Sam Student" && student["mark"].is_null()));
    assert!(roster.header("rollcall-tags").contains("batch:maths-a"));
    let admin = origin.user("admin@northside.example").await;
    assert_eq!(origin.get(&admin, &path).await.json(), roster.json());
    for stranger in ["nadia@northside.example", "student@northside.example"] {
        let stranger = origin.user(stranger).await;
        assert_eq!(origin.get(&stranger, &path).await.problem(), (403, "forbidden".into()));
    }
    let elsewhere = origin.user("teacher@riverside.example").await;
    // Both sample institutes have a class of this name, each its own.
    assert_ne!(origin.get(&elsewhere, &path).await.json()["students"], roster.json()["students"]);
    for path in ["/api/classes/none/roster", "/api/classes/a%00b/roster"] {
        assert_eq!(origin.get(&elsewhere, path).await.problem(), (404, "not-found".into()));
    }
}
