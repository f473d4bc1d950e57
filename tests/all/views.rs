//! Views: cached at the edge, fresh after a commit, there without the origin, and never somebody else's.

use integration_tests::{Answer, House, Person, SOON, until};
use serde_json::json;
use std::time::{Duration, Instant};

const TEACHER: &str = "teacher@northside.example";
const STUDENT: &str = "student@northside.example";
const TEACHERS: &str = "/api/teachers/dashboard";
const STUDENTS: &str = "/api/students/dashboard";

async fn cached(person: &Person, path: &str) -> Answer {
    until("the view to be cached", SOON, async || {
        let answer = person.get(path).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.is_hit().then_some(answer)
    })
    .await
}

#[tokio::test]
async fn the_first_read_is_a_miss_and_the_second_a_hit_with_the_same_body() {
    let house = House::start().await;
    let student = house.sign_in(STUDENT).await;
    let views = [
        STUDENTS,
        "/api/students/schedule",
        "/api/students/schedule?date=2026-11-23",
        "/api/students/grades",
        "/api/students/attendance",
    ];
    for path in views {
        let first = student.get(path).await;
        assert_eq!(first.status, 200, "{}", first.text());
        assert!(!first.is_hit(), "{:?}", first.header("cache-status"));
        let status = first.header("cache-status").unwrap_or_default();
        assert!(status.starts_with("rollcall-edge"), "{status}");
        let second = cached(&student, path).await;
        assert_eq!(second.body, first.body);
        assert_eq!(second.header("rollcall-bookmark"), first.header("rollcall-bookmark"));
        assert!(second.header("age").is_some());
    }
}

#[tokio::test]
async fn each_role_reads_its_own_views_and_no_others() {
    let house = House::start().await;
    let views = [
        ("admin", "/api/admin/dashboard"),
        ("teacher", TEACHERS),
        ("teacher", "/api/teachers/schedule"),
        ("student", STUDENTS),
        ("student", "/api/students/schedule"),
        ("student", "/api/students/grades"),
        ("student", "/api/students/attendance"),
    ];
    for role in ["admin", "teacher", "student"] {
        let person = house.sign_in(&format!("{role}@northside.example")).await;
        for (reader, path) in views {
            // Twice: from the origin and from the cache.
            for _ in 0..2 {
                let answer = person.get(path).await;
                if reader == role {
                    assert_eq!(answer.status, 200, "{role} {path}: {}", answer.text());
                } else {
                    assert_eq!(answer.problem(403), "forbidden", "{role} {path}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_cached_view_is_fresh_within_a_second_of_a_commit_elsewhere() {
    let house = House::start().await;
    let student = house.sign_in(STUDENT).await;
    let admin_at_origin = house.sign_in("admin@northside.example").await.at(house.origin.url());
    let id = student.claims()["sub"].clone();
    for round in 1..=3 {
        let before = cached(&student, STUDENTS).await.json()["unread_messages"].as_u64().unwrap();
        let command =
            json!({"command": "post-message", "to": {"user": id}, "text": format!("message {round}")});
        let posted = admin_at_origin.commands(&format!("fresh-{round}"), &command).await;
        let committed = Instant::now();
        posted.ok();
        until("the student's cached dashboard to count the message", SOON, async || {
            let unread = student.get(STUDENTS).await.ok()["unread_messages"].as_u64().unwrap();
            (unread == before + 1).then_some(())
        })
        .await;
        let took = committed.elapsed();
        assert!(took < Duration::from_secs(1), "the edge showed the commit after {took:?}");
    }
}

#[tokio::test]
async fn without_the_origin_a_cached_view_is_served_as_stale_and_others_say_what_is_missing() {
    let mut house = House::start().await;
    let teacher = house.sign_in(TEACHER).await;
    let fresh = cached(&teacher, TEACHERS).await;
    house.origin.stop().await;
    let stale = until("the view to be called stale", SOON, async || {
        let answer = teacher.get(TEACHERS).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.header("cache-status").unwrap_or_default().contains("detail=stale").then_some(answer)
    })
    .await;
    assert!(stale.is_hit());
    assert!(stale.header("age").is_some_and(|age| age.parse::<u64>().is_ok()), "{stale:?}");
    assert_eq!(stale.body, fresh.body);

    let missing = teacher.get("/api/teachers/schedule?date=2026-12-24").await;
    assert_eq!(missing.problem(503), "origin-unavailable");
    assert!(missing.header("retry-after").is_some());

    // A reader who has seen more must not be taken back.
    let seen: String = fresh.header("rollcall-bookmark").unwrap().into();
    let mut parts: Vec<String> = seen.split('.').map(str::to_owned).collect();
    parts[1] = (parts[1].parse::<u64>().unwrap() + 1).to_string();
    let later = parts.join(".");
    let request = teacher.request("GET".parse().unwrap(), TEACHERS).header("rollcall-bookmark", later);
    assert_eq!(teacher.send(request).await.problem(503), "origin-unavailable");

    house.origin.start_again().await;
    until("the view to be fresh again", SOON, async || {
        let answer = teacher.get(TEACHERS).await;
        (!answer.header("cache-status").unwrap_or_default().contains("stale")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn people_of_another_institute_never_see_what_is_cached() {
    let house = House::start().await;
    for local in ["admin", "teacher", "student"] {
        let path = match local {
            "admin" => "/api/admin/dashboard",
            "teacher" => TEACHERS,
            _ => STUDENTS,
        };
        let here = house.sign_in(&format!("{local}@northside.example")).await;
        let there = house.sign_in(&format!("{local}@riverside.example")).await;
        let ours = cached(&here, path).await;
        for _ in 0..2 {
            let theirs = there.get(path).await;
            assert_eq!(theirs.ok()["institute"]["id"], "riverside.example");
            assert!(!theirs.text().contains("northside"), "{}", theirs.text());
        }
        assert_eq!(ours.ok()["institute"]["id"], "northside.example");
    }
}

#[tokio::test]
async fn two_teachers_of_one_institute_have_their_own_dashboards() {
    let house = House::start().await;
    let teacher = house.sign_in(TEACHER).await;
    let nadia = house.sign_in("nadia@northside.example").await;
    assert_eq!(cached(&teacher, TEACHERS).await.json()["teacher"]["email"], TEACHER);
    assert_eq!(cached(&nadia, TEACHERS).await.json()["teacher"]["email"], "nadia@northside.example");
}

#[tokio::test]
async fn a_date_that_is_none_is_named() {
    let house = House::start().await;
    let student = house.sign_in(STUDENT).await;
    for date in ["2026-02-30", "tomorrow", "2026-1-1", "%00"] {
        let answer = student.get(&format!("/api/students/schedule?date={date}")).await;
        assert!((400..=422).contains(&answer.status), "{date}: {}", answer.text());
        assert_eq!(answer.problem(answer.status), "invalid-field");
        assert_eq!(answer.json()["field"], "date");
    }
}

#[tokio::test]
async fn a_batch_and_a_roster_come_through_the_edge_as_from_the_origin() {
    let house = House::start().await;
    let teacher = house.sign_in(TEACHER).await;
    let dashboard = teacher.get(TEACHERS).await.ok();
    let class = dashboard["today"][0]["class"].as_str().unwrap();
    let roster = format!("/api/classes/{class}/roster");
    let here = teacher.get(&roster).await;
    assert!(here.ok()["students"].as_array().unwrap().len() > 10, "{}", here.text());
    assert_eq!(here.json(), teacher.at(house.origin.url()).get(&roster).await.ok());
    let known = teacher.request("GET".parse().unwrap(), &roster);
    let known = teacher.send(known.header("if-none-match", here.header("etag").unwrap())).await;
    assert_eq!(known.status, 304, "{}", known.text());

    let batch = json!({"requests": [{"path": roster}, {"path": TEACHERS}, {"path": STUDENTS}]});
    let answer = teacher.post("/api/batch", &batch).await.ok();
    let statuses = [0, 1, 2].map(|at| answer["responses"][at]["status"].as_u64().unwrap());
    assert_eq!(statuses, [200, 200, 403]);
    assert_eq!(answer["responses"][0]["body"], here.json());
    let too_many = json!({"requests": vec![json!({"path": TEACHERS}); 11]});
    assert_eq!(teacher.post("/api/batch", &too_many).await.problem(422), "invalid-field");
    assert_eq!(
        Person::stranger(house.edge.url()).post("/api/batch", &batch).await.problem(401),
        "token-missing"
    );
}

#[tokio::test]
async fn a_search_in_doubts_comes_through_the_edge_as_from_the_origin() {
    let house = House::start().await;
    let teacher = house.sign_in(TEACHER).await;
    let here = teacher.get("/api/doubts?q=why&batch=maths-a").await;
    assert_eq!(here.ok(), json!({"doubts": [], "next": null}));
    assert!(here.header("rollcall-bookmark").is_some());
    for (path, status, code) in
        [("/api/doubts?batch=maths-b", 403, "forbidden"), ("/api/doubts?q=%3F", 422, "invalid-field")]
    {
        assert_eq!(teacher.get(path).await.problem(status), code);
        assert_eq!(teacher.at(house.origin.url()).get(path).await.problem(status), code);
    }
    assert_eq!(Person::stranger(house.edge.url()).get("/api/doubts").await.problem(401), "token-missing");
}

#[tokio::test]
async fn a_command_with_a_precondition_is_refused_at_the_edge_and_not_weakened() {
    let house = House::start().await;
    let admin = house.sign_in("admin@northside.example").await;
    let command = json!({"command": "change-batch", "batch": "maths-a", "title": "Changed"});
    let request = admin.request("POST".parse().unwrap(), "/commands").header("idempotency-key", "c1");
    let request = request.header("if-match", "\"00000000000000000000000000000000\"").json(&command);
    assert_eq!(admin.send(request).await.problem(400), "invalid-field");
    let batch = admin.at(house.origin.url()).get("/admin/v1/batches/maths-a").await.ok();
    assert_ne!(batch["title"], "Changed");
}
