//! The views and the headers that edges need.

use crate::testing::TestOrigin;
use axum::http::{Method, StatusCode};
use serde_json::json;
use sync_protocol::bookmark::Bookmark;

#[tokio::test]
async fn a_student_sees_their_own_dashboard() {
    let origin = TestOrigin::start().await;
    let student = origin.user("student@northside.example").await;
    let answer = origin.get(&student, "/api/students/dashboard").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let view = answer.json();
    assert_eq!(view["student"]["email"], "student@northside.example");
    assert_eq!(view["institute"]["time_zone"], "Asia/Kolkata");
    assert_eq!(view["batches"].as_array().unwrap().len(), 3);
    assert!(view["attendance"]["rate"].as_f64().unwrap() > 0.5);
    assert_eq!(view["assignments"]["open"].as_array().unwrap().len(), 6);
    assert_eq!(view["assignments"]["submitted"].as_array().unwrap().len(), 3);
    assert_eq!(view["assignments"]["graded"].as_array().unwrap().len(), 3);
    assert!(view["assignments"]["average"].as_f64().unwrap() >= 0.5);
    assert_eq!(view["fees"]["currency"], "INR");
    assert_eq!(view["fees"]["paid"], 1_200_000);
    assert_eq!(view["fees"]["due"], 1_200_000 + 240_000);
    assert_eq!(view["unread_messages"], 2);
    assert!(!view["next_classes"].as_array().unwrap().is_empty());
    let tags: Vec<&str> = answer.header("rollcall-tags").split(", ").collect();
    let own = format!("user:{}", student.claims.sub);
    let member = format!("member:{}", student.claims.sub);
    assert_eq!(tags, ["everything", &own, "batch:english-a", "batch:maths-a", "batch:physics-a", &member]);
    assert_eq!(answer.point(), "1.1");
    assert_eq!(answer.header("cache-control"), "private, no-cache");
}

#[tokio::test]
async fn a_teacher_sees_todays_classes_and_the_work_to_grade() {
    let origin = TestOrigin::start().await;
    let teacher = origin.user("teacher@northside.example").await;
    let view = origin.get(&teacher, "/api/teachers/dashboard").await.json();
    assert_eq!(view["batches"][0], json!({"batch": "maths-a", "title": "Mathematics A", "students": 21}));
    assert_eq!(view["today"].as_array().unwrap().len(), 2);
    let class = &view["today"][0];
    assert_eq!(class["attendance"]["unmarked"], 21);
    assert_eq!(class["conflicts"], json!([]));
    assert_eq!(class["documents"], json!({"attendance": null, "notes": null}));
    assert!(class["starts_at"].as_str().unwrap().ends_with("+05:30"));
    let waiting = view["to_grade"]["submissions"].as_array().unwrap();
    assert_eq!(view["to_grade"]["count"], waiting.len());
    assert!(waiting.iter().any(|work| work["student_name"] == "Sam Student"));
    assert!(view["recent_attendance"]["rate"].as_f64().unwrap() > 0.8);
}

#[tokio::test]
async fn an_admin_sees_the_whole_institute_and_no_other() {
    let origin = TestOrigin::start().await;
    let admin = origin.user("admin@riverside.example").await;
    let answer = origin.get(&admin, "/api/admin/dashboard").await;
    let view = answer.json();
    assert_eq!(view["institute"]["id"], "riverside.example");
    assert_eq!(view["counts"]["students"], 61);
    assert_eq!(view["counts"]["teachers"], 4);
    assert_eq!(view["counts"]["batches"], 6);
    assert_eq!(view["fees"]["currency"], "GBP");
    assert_eq!(view["recent_payments"].as_array().unwrap().len(), 10);
    let tags = format!("everything, institute, member:{}", admin.claims.sub);
    assert_eq!(answer.header("rollcall-tags"), tags);
    assert!(!String::from_utf8(answer.body).unwrap().contains("northside"));
}

#[tokio::test]
async fn views_are_for_their_role_alone() {
    let origin = TestOrigin::start().await;
    let student = origin.user("student@northside.example").await;
    for path in ["/api/teachers/dashboard", "/api/admin/dashboard", "/api/teachers/schedule"] {
        assert_eq!(origin.get(&student, path).await.problem(), (403, "forbidden".into()));
    }
    let teacher = origin.user("teacher@northside.example").await;
    assert_eq!(origin.get(&teacher, "/api/students/schedule").await.problem(), (403, "forbidden".into()));
}

#[tokio::test]
async fn schedules_are_of_one_day() {
    let origin = TestOrigin::start().await;
    let teacher = origin.user("teacher@northside.example").await;
    let today = origin.get(&teacher, "/api/teachers/schedule").await.json();
    assert_eq!(today["classes"].as_array().unwrap().len(), 2);
    let date = today["date"].as_str().unwrap();
    let named = origin.get(&teacher, &format!("/api/teachers/schedule?date={date}")).await.json();
    assert_eq!(named, today);
    let long_ago = origin.get(&teacher, "/api/teachers/schedule?date=1999-01-01").await.json();
    assert_eq!(long_ago["classes"], json!([]));
    let wrong = origin.get(&teacher, "/api/teachers/schedule?date=yesterday").await;
    assert_eq!(wrong.problem(), (422, "invalid-field".into()));
    assert_eq!(wrong.json()["field"], "date");
}

#[tokio::test]
async fn a_reader_who_has_seen_more_is_told_to_wait() {
    let origin = TestOrigin::start().await;
    let student = origin.user("student@northside.example").await;
    let read = async |bookmark: &str| {
        let headers = [("authorization", &*student.bearer()), ("rollcall-bookmark", bookmark)];
        origin.request(Method::GET, "/api/students/dashboard", &headers, "").await
    };
    let proven = |institute: &str, epoch, revision| {
        origin.app.auth.prove_bookmark(institute, Bookmark::new(epoch, revision), 7).to_string()
    };
    let inst = "northside.example";
    assert_eq!(read(&proven(inst, 1, 1)).await.status, StatusCode::OK);
    for (epoch, revision) in [(1, 2), (2, 0)] {
        let behind = read(&proven(inst, epoch, revision)).await;
        assert_eq!(behind.problem(), (503, "origin-behind".into()));
        assert_eq!(behind.header("retry-after"), "1");
    }
    // What nobody gave out counts as none: it makes nobody wait.
    let given = proven(inst, 1, 1);
    let elsewhere = proven("riverside.example", 1, 999_999);
    let later = given.replacen("1.1.", "1.999999.", 1);
    let further = given.replacen(".7.", ".8.", 1);
    for invented in ["1.2", "9.18446744073709551615", &elsewhere, &later, &further] {
        let answer = read(invented).await;
        assert_eq!((answer.status, answer.point()), (StatusCode::OK, "1.1"), "{invented}");
    }
    for malformed in ["yesterday", "1", "1.1.7", "1.1.7.00"] {
        assert_eq!(read(malformed).await.problem(), (400, "invalid-field".into()), "{malformed}");
    }
}

#[tokio::test]
async fn a_known_body_is_not_sent_again() {
    let origin = TestOrigin::start().await;
    let teacher = origin.user("teacher@northside.example").await;
    let path = "/api/teachers/schedule?date=2026-11-22";
    let first = origin.get(&teacher, path).await;
    let headers = [("authorization", &*teacher.bearer()), ("if-none-match", first.header("etag"))];
    let again = origin.request(Method::GET, path, &headers, "").await;
    assert_eq!(again.status, StatusCode::NOT_MODIFIED);
    assert!(again.body.is_empty());
    assert_eq!(again.point(), "1.1");
}

const OF_A_STUDENT: [&str; 5] = ["dashboard", "schedule", "grades", "attendance", "fees"];

#[tokio::test]
async fn what_is_a_students_is_seen_by_their_guardian_and_the_admin_too_and_by_nobody_else() {
    let origin = TestOrigin::start().await;
    let admin = origin.user("admin@northside.example").await;
    let teacher = origin.user("teacher@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let foreign = origin.user("admin@riverside.example").await;
    let path = |view: &str| format!("/api/students/{view}?student={}", student.claims.sub);
    for view in OF_A_STUDENT {
        let own = origin.get(&student, &format!("/api/students/{view}")).await;
        let named = origin.get(&student, &path(view)).await;
        assert_eq!((named.status, named.body), (StatusCode::OK, own.body), "{view}");
        assert_eq!(origin.get(&admin, &path(view)).await.status, StatusCode::OK, "{view}");
        for stranger in [&foreign, &teacher] {
            assert_eq!(
                origin.get(stranger, &path(view)).await.problem(),
                (403, "forbidden".into()),
                "{view}"
            );
        }
        let nobodys = origin.get(&teacher, &format!("/api/students/{view}")).await;
        assert_eq!(nobodys.problem(), (403, "forbidden".into()), "{view}");
        // An id of the institute that is no student's.
        let not_a_student = format!("/api/students/{view}?student={}", teacher.claims.sub);
        assert_eq!(origin.get(&admin, &not_a_student).await.problem(), (403, "forbidden".into()), "{view}");
    }
    let guardian =
        json!({"command": "add-guardian", "guardian": teacher.claims.sub, "student": student.claims.sub});
    assert_eq!(origin.command(&admin, "g", guardian).await.status, StatusCode::OK);
    let (ward, own) = (format!("user:{}", student.claims.sub), format!("user:{}", teacher.claims.sub));
    let member = format!("member:{}", teacher.claims.sub);
    for view in OF_A_STUDENT {
        let seen = origin.get(&teacher, &path(view)).await;
        assert_eq!(seen.status, StatusCode::OK, "{view}");
        if view != "schedule" {
            assert_eq!(seen.json()["student"]["email"], "student@northside.example", "{view}");
        }
        let tags: Vec<&str> = seen.header("rollcall-tags").split(", ").collect();
        assert_eq!(tags[..2], ["everything", &ward], "{view}");
        assert_eq!(tags[tags.len() - 2..], [&member, &own], "{view}");
        for bad in ["", "a%00b", "a%20b", &"x".repeat(65)] {
            let refused = origin.get(&teacher, &format!("/api/students/{view}?student={bad}")).await;
            assert_eq!(refused.json()["field"], "student", "{view} {bad:?}");
        }
    }
    let day = origin.get(&teacher, &format!("{}&date=2026-11-22", path("schedule"))).await;
    assert_eq!(day.json()["date"], "2026-11-22");
    assert_eq!(
        origin.get(&teacher, &format!("{}&date=tomorrow", path("schedule"))).await.json()["field"],
        "date"
    );

    let remove =
        json!({"command": "remove-guardian", "guardian": teacher.claims.sub, "student": student.claims.sub});
    assert_eq!(origin.command(&admin, "r", remove).await.status, StatusCode::OK);
    for view in OF_A_STUDENT {
        assert_eq!(origin.get(&teacher, &path(view)).await.problem(), (403, "forbidden".into()), "{view}");
    }
}

#[tokio::test]
async fn messages_to_a_student_are_the_students_alone() {
    let origin = TestOrigin::start().await;
    let admin = origin.user("admin@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let own = origin.get(&student, "/api/students/dashboard").await.json();
    assert_eq!(own["messages"]["unread"], own["unread_messages"]);
    let path = format!("/api/students/dashboard?student={}", student.claims.sub);
    let mut seen = origin.get(&admin, &path).await.json();
    assert_eq!((seen["messages"].take(), seen["unread_messages"].take()), (json!(null), json!(null)));
    seen["messages"] = own["messages"].clone();
    seen["unread_messages"] = own["unread_messages"].clone();
    assert_eq!(seen, own, "all else is the same");
}
