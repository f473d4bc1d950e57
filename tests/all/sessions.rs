//! Sessions end at every edge at once, passwords change hands, and keys take turns, while edges stay connected.

use integration_tests::{House, Person, SOON, program, until};
use reqwest::Method;
use serde_json::json;
use std::time::{Duration, Instant};

const STUDENT: &str = "student@northside.example";
const DASHBOARD: &str = "/api/students/dashboard";

/// Waits until the edge refuses the person's token, and says how long that took.
async fn shut_out(person: &Person) -> Duration {
    let began = Instant::now();
    until("the edge to be told", SOON, async || (person.get(DASHBOARD).await.status == 401).then_some(()))
        .await;
    assert_eq!(person.get(DASHBOARD).await.problem(401), "token-revoked");
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_everywhere_stops_the_users_tokens_and_sockets_at_every_edge() {
    let mut house = House::start().await;
    let second = house.second_edge().await;
    let student = house.sign_in(STUDENT).await;
    let other = house.sign_in("teacher@northside.example").await;
    let device = house.device_at(&second, STUDENT, "tablet");
    device.wait_until_connected(SOON).await.unwrap();
    let elsewhere = student.at(second.url());
    assert_eq!(student.get(DASHBOARD).await.status, 200);
    assert_eq!(elsewhere.get(DASHBOARD).await.status, 200);

    assert_eq!(student.post("/api/auth/logout-everywhere", &json!({})).await.status, 204);
    let took = shut_out(&student).await.max(shut_out(&elsewhere).await);
    // A second is the promise; the rest is for machines that do other things too.
    assert!(took < Duration::from_secs(5), "{took:?}");
    until("the socket to be closed", SOON, async || (!device.is_connected()).then_some(())).await;
    let refresh = json!({"refresh_token": student.refresh_token});
    assert_eq!(house.stranger().post("/api/auth/refresh", &refresh).await.problem(401), "token-invalid");
    assert_eq!(other.get("/api/teachers/dashboard").await.status, 200);

    let again = house.sign_in(STUDENT).await;
    assert_eq!(again.get(DASHBOARD).await.status, 200);
    assert_eq!(again.at(second.url()).get(DASHBOARD).await.status, 200);

    // What the edge was told counts over a restart without the origin.
    house.origin.stop().await;
    house.edge.kill9().await;
    house.edge.start_again().await;
    assert_eq!(student.get(DASHBOARD).await.problem(401), "token-revoked");
    assert_ne!(again.get(DASHBOARD).await.status, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_session_of_several_ends_through_the_edge() {
    let house = House::start().await;
    let (here, lost) = (house.sign_in_on(STUDENT, "here").await, house.sign_in_on(STUDENT, "lost").await);
    assert_eq!(lost.get(DASHBOARD).await.status, 200);
    let named = here.request(Method::PUT, "/api/auth/devices/lost").json(&json!({"name": "Lost phone"}));
    assert_eq!(here.send(named).await.status, 204);
    let list = here.get("/api/auth/sessions").await;
    assert_eq!(list.header("cache-control"), Some("no-store"));
    let sessions = list.ok()["sessions"].as_array().unwrap().clone();
    let found = sessions.iter().find(|session| session["device_name"] == "Lost phone").unwrap();
    let path = format!("/api/auth/sessions/{}", found["session"].as_str().unwrap());
    assert_eq!(here.send(here.request(Method::DELETE, &path)).await.status, 204);
    shut_out(&lost).await;
    assert_eq!(here.get(DASHBOARD).await.status, 200);
    let out = json!({"refresh_token": here.refresh_token});
    assert_eq!(house.stranger().post("/api/auth/logout", &out).await.status, 204);
    shut_out(&here).await;
    for (method, path, status) in [
        (Method::GET, "/api/auth/logout", 405),
        (Method::POST, "/api/auth/sessions", 405),
        (Method::GET, "/api/auth/nothing", 404),
    ] {
        let person = house.sign_in(STUDENT).await;
        person.send(person.request(method, path)).await.problem(status);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forgotten_password_is_set_through_the_edge() {
    let house = House::start().await;
    let student = house.sign_in(STUDENT).await;
    let stranger = house.stranger();
    for email in [STUDENT, "nobody@northside.example"] {
        let asked = stranger.post("/api/auth/password/forgot", &json!({"email": email})).await;
        assert_eq!((asked.status, asked.body.len()), (202, 0), "{email}");
    }
    let folder = house.origin.folder().join("mail");
    let mail = until("the mail", SOON, async || {
        let mut files = std::fs::read_dir(&folder).ok()?.flatten().map(|file| file.path());
        let file = files.find(|file| file.extension().is_some_and(|extension| extension == "eml"))?;
        std::fs::read_to_string(file).ok()
    })
    .await;
    let (_, body) = mail.split_once("\r\n\r\n").unwrap();
    let body =
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, body.replace("\r\n", "")).unwrap();
    let body = String::from_utf8(body).unwrap();
    let token = body.split_once("#token=").unwrap().1.split_whitespace().next().unwrap();
    let set = json!({"token": token, "password": "correct horse"});
    assert_eq!(stranger.post("/api/auth/password/reset", &set).await.status, 204);
    assert_eq!(stranger.post("/api/auth/password/reset", &set).await.problem(422), "reset-token-invalid");
    shut_out(&student).await;
    assert_eq!(student.log_in("rollcall", "browser").await.problem(401), "wrong-credentials");
    assert_eq!(student.log_in("correct horse", "browser").await.status, 200);
}

/// The header of a token, which names its key.
fn key_of(token: &str) -> String {
    token.split('.').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_rotated_beside_the_running_origin_and_edges_follow_without_a_new_connection() {
    let house = House::start().await;
    let before = house.sign_in(STUDENT).await;
    assert_eq!(before.get(DASHBOARD).await.status, 200);
    let rotate = std::process::Command::new(program("rollcall-origin"))
        .args(["keys", "rotate", "--lead", "4", "--data"])
        .arg(house.origin.folder())
        .output()
        .unwrap();
    assert!(rotate.status.success(), "{rotate:?}");
    let after = until("a token of the new key", SOON, async || {
        let person = house.sign_in(STUDENT).await;
        // Whichever key has signed, the edge knows it.
        assert_eq!(person.get(DASHBOARD).await.status, 200);
        (key_of(&person.token) != key_of(&before.token)).then_some(person)
    })
    .await;
    assert_eq!(after.get(DASHBOARD).await.status, 200);
    assert_eq!(before.get(DASHBOARD).await.status, 200, "the old key's tokens live on");
    assert_eq!(house.edge.program.log().matches("link up").count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fees_at_the_edge_are_cached_until_money_moves() {
    let house = House::start().await;
    let student = house.sign_in(STUDENT).await;
    let admin = house.sign_in("admin@northside.example").await;
    let fees = async || student.get("/api/students/fees").await;
    let first = fees().await.ok();
    until("the view to be kept", SOON, async || fees().await.is_hit().then_some(())).await;
    assert_eq!(fees().await.ok(), first);
    let issue = json!({"command": "create-invoice", "student": student.claims()["sub"], "title": "Trip",
        "amount_minor": 700, "due_on": "2030-01-01"});
    assert_eq!(admin.commands("trip", &issue).await.status, 200);
    let balance = first["balance_minor"].as_i64().unwrap() + 700;
    until("the new balance", SOON, async || (fees().await.ok()["balance_minor"] == balance).then_some(()))
        .await;
    let overview = admin.get("/api/admin/fees").await.ok();
    assert!(overview["outstanding_minor"].as_i64().unwrap() >= balance);

    let teacher = house.sign_in("teacher@northside.example").await;
    let ward = format!("/api/students/fees?student={}", student.claims()["sub"].as_str().unwrap());
    assert_eq!(teacher.get(&ward).await.problem(403), "forbidden");
    let (guardian, child) = (teacher.claims()["sub"].clone(), student.claims()["sub"].clone());
    let change = |command: &str| json!({"command": command, "guardian": guardian, "student": child});
    assert_eq!(admin.commands("guard", &change("add-guardian")).await.status, 200);
    assert_eq!(teacher.get(&ward).await.ok()["balance_minor"], balance);
    until("the view to be kept", SOON, async || teacher.get(&ward).await.is_hit().then_some(())).await;
    let day = ward.replace("fees", "schedule") + "&date=2026-11-22";
    assert_eq!(teacher.get(&day).await.ok()["date"], "2026-11-22");
    until("the day to be kept", SOON, async || teacher.get(&day).await.is_hit().then_some(())).await;
    assert_eq!(admin.commands("unguard", &change("remove-guardian")).await.status, 200);
    for view in [&ward, &day] {
        until("the view to be taken away", SOON, async || {
            (teacher.get(view).await.status == 403).then_some(())
        })
        .await;
    }
}
