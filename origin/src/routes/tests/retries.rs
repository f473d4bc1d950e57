//! Requests that come again because their answer was lost get what they got, and nobody else's.

use crate::clock::unix_ms;
use crate::store::{PostgresConfig, RefreshToken, StoreError};
use crate::testing::{Answer, TestOrigin, User, on_both_engines};
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::time::{Duration, Instant};
use test_servers::Postgres;

const INSTITUTE: &str = "northside.example";
const STUDENT: &str = "student@northside.example";
const ADMIN: &str = "admin@northside.example";
const DASHBOARD: &str = "/api/students/dashboard";
const PATIENCE: Duration = Duration::from_secs(60);
const MINUTE_MS: i64 = 60_000;

async fn refresh(origin: &TestOrigin, token: &str) -> Answer {
    let body = json!({"refresh_token": token}).to_string();
    origin.request(Method::POST, "/api/auth/refresh", &[], body).await
}

fn signed_in(origin: &TestOrigin, answer: &Answer) -> User {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let tokens = answer.json();
    let access = tokens["access_token"].as_str().unwrap().to_owned();
    let claims = (*origin.app.auth.verify(&access).unwrap()).clone();
    User { access, refresh: tokens["refresh_token"].as_str().unwrap().to_owned(), claims }
}

async fn reused(origin: &TestOrigin, user: &str) -> usize {
    let admin = origin.user(ADMIN).await;
    let path = format!("/admin/v1/activities?user={user}&kind=token-reused");
    origin.get(&admin, &path).await.json()["items"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_whose_answer_was_lost_may_come_again() {
    on_both_engines(async |origin| {
        let student = origin.user(STUDENT).await;
        let lost = signed_in(origin, &refresh(origin, &student.refresh).await);
        let lost_too = signed_in(origin, &refresh(origin, &student.refresh).await);
        let kept = signed_in(origin, &refresh(origin, &student.refresh).await);
        assert_eq!(kept.claims.sid, student.claims.sid);
        assert_eq!(origin.get(&kept, DASHBOARD).await.status, StatusCode::OK);
        let list = origin.get(&kept, "/api/auth/sessions").await.json();
        assert_eq!(list["sessions"].as_array().unwrap().len(), 1, "{list}");
        let next = signed_in(origin, &refresh(origin, &kept.refresh).await);
        assert_eq!(reused(origin, &student.claims.sub).await, 0);
        // What the lost answers brought is worth nothing, and whoever comes with it has read them.
        assert_ne!(lost.refresh, lost_too.refresh);
        assert_eq!(refresh(origin, &lost.refresh).await.problem(), (401, "token-invalid".into()));
        assert_eq!(refresh(origin, &next.refresh).await.problem(), (401, "token-invalid".into()));
        assert_eq!(origin.get(&next, DASHBOARD).await.problem(), (401, "token-revoked".into()));
        assert_eq!(reused(origin, &student.claims.sub).await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_have_one_refresh_token_the_first_to_come_back_is_found_out() {
    on_both_engines(async |origin| {
        let student = origin.user(STUDENT).await;
        let own = signed_in(origin, &refresh(origin, &student.refresh).await);
        let thief = signed_in(origin, &refresh(origin, &student.refresh).await);
        assert_eq!(refresh(origin, &own.refresh).await.problem(), (401, "token-invalid".into()));
        assert_eq!(refresh(origin, &thief.refresh).await.problem(), (401, "token-invalid".into()));
        assert_eq!(origin.get(&thief, DASHBOARD).await.problem(), (401, "token-revoked".into()));
        assert_eq!(reused(origin, &student.claims.sub).await, 1);
    })
    .await;
}

/// A session whose token `old-NAME` was used so long ago and gave `next-NAME`, which is dated so much later.
async fn rotated(origin: &TestOrigin, user: &str, name: &str, (ago, dated_after): (i64, i64)) {
    let hash = |token: String| Sha256::digest(token).to_vec();
    let (old, next) = (hash(format!("old-{name}")), hash(format!("next-{name}")));
    let (family, user, at) = (name.to_owned(), user.to_owned(), unix_ms() - ago);
    let written = origin.app.store.write::<_, StoreError, _>(INSTITUTE, move |tx| {
        for (token_hash, issued_at) in [(old.clone(), at - 1), (next.clone(), at + dated_after)] {
            tx.add_refresh_token(&RefreshToken {
                token_hash,
                family: family.clone(),
                user: user.clone(),
                device: "phone".into(),
                issued_at,
                expires_at: at + 30 * 24 * 60 * MINUTE_MS,
                rotated_at: None,
                revoked_at: None,
                successor: None,
            })?;
        }
        tx.mark_rotated(&old, Some(&next), at)
    });
    written.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_comes_again_within_minutes_and_not_while_another_request_uses_it() {
    on_both_engines(async |origin| {
        let student = origin.user(STUDENT).await;
        let user = &student.claims.sub;
        rotated(origin, user, "soon", (9 * MINUTE_MS, 0)).await;
        assert_eq!(refresh(origin, "old-soon").await.status, StatusCode::OK);
        rotated(origin, user, "late", (11 * MINUTE_MS, 0)).await;
        assert_eq!(refresh(origin, "old-late").await.problem(), (401, "token-invalid".into()));
        assert_eq!(refresh(origin, "next-late").await.problem(), (401, "token-invalid".into()));
        // The other request used the token after this one had come.
        rotated(origin, user, "race", (0, MINUTE_MS)).await;
        let in_flight = refresh(origin, "old-race").await;
        assert_eq!(in_flight.problem(), (503, "refresh-in-flight".into()));
        assert!(in_flight.header("retry-after").parse::<u32>().unwrap() >= 1);
        assert_eq!(refresh(origin, "next-race").await.status, StatusCode::OK, "what the other gave is good");
    })
    .await;
}

async fn settled(origin: &TestOrigin, send: impl AsyncFn(&TestOrigin) -> Answer) -> Answer {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = send(origin).await;
        if answer.status != StatusCode::SERVICE_UNAVAILABLE {
            return answer;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A commit that waits for a standby that hangs has an unknown outcome: the device asks again with the token it has.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_session_outlives_a_commit_of_which_nobody_knows_and_a_hanging_store_tells_nobody_who_has_an_account()
 {
    let (primary, standby) = tokio::task::spawn_blocking(|| {
        let primary = Postgres::start();
        let standby = Postgres::replica_of(&primary, "standby");
        primary.create_database("rollcall");
        (primary, standby)
    })
    .await
    .unwrap();
    let config = PostgresConfig::of(&primary.url("rollcall"), Vec::new());
    let origin = TestOrigin::start_on_postgres(config).await;
    let student = origin.user(STUDENT).await;
    primary.set_synchronous(&["standby"]);
    standby.pause();
    let unknown = refresh(&origin, &student.refresh).await;
    assert_eq!(unknown.problem(), (503, "store-unavailable".into()));
    for email in ["teacher@northside.example", "nobody@northside.example"] {
        let wrong = origin.login(email, "wrong").await;
        assert_eq!(wrong.problem(), (401, "wrong-credentials".into()), "{email}");
    }
    standby.resume();
    let again = settled(&origin, async |origin| refresh(origin, &student.refresh).await).await;
    let student = signed_in(&origin, &again);
    assert_eq!(origin.get(&student, DASHBOARD).await.status, StatusCode::OK);
    assert_eq!(refresh(&origin, &student.refresh).await.status, StatusCode::OK);
    assert_eq!(reused(&origin, &student.claims.sub).await, 0);
}

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
    origin.request(method.parse().unwrap(), path, &all, body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_comes_again_is_told_the_tag_that_it_made_and_not_a_later_one() {
    on_both_engines(async |origin| {
        let admin = origin.user(ADMIN).await;
        let path = "/admin/v1/batches/maths-a";
        let patch = async |key: &str, tag: &str, title: &str| {
            let headers = [("idempotency-key", key), ("if-match", tag)];
            send(origin, &admin, ("PATCH", path), &headers, json!({"title": title})).await
        };
        let at_first = origin.get(&admin, path).await.header("etag").to_owned();
        let one = patch("one", &at_first, "One").await;
        let other = patch("other", one.header("etag"), "Other").await;
        assert_eq!(other.status, StatusCode::OK, "{other:?}");
        let again = patch("one", &at_first, "One").await;
        assert_eq!((again.status, again.point()), (StatusCode::OK, one.point()));
        assert_eq!(again.json()["outcome"], one.json()["outcome"]);
        assert_eq!(again.header("etag"), one.header("etag"));
        let blind = patch("two", again.header("etag"), "Two").await;
        assert_eq!(
            blind.problem(),
            (412, "precondition-failed".into()),
            "nobody else's change is overwritten"
        );
        assert_eq!(origin.get(&admin, path).await.header("etag"), other.header("etag"));
        // The command takes the giver's own token: it is answered all the same.
        let own = format!("/admin/v1/users/{}/devices/phone", admin.claims.sub);
        let removed = send(origin, &admin, ("DELETE", &own), &[], Value::Null).await;
        assert_eq!(removed.json()["outcome"]["sessions"], 1, "{removed:?}");
    })
    .await;
}

/// What is fresh at one origin is graded at another, whose replica has not heard of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn work_is_graded_as_soon_as_it_is_handed_in_however_far_behind_replicas_are() {
    let (primary, replica) = tokio::task::spawn_blocking(|| {
        let primary = Postgres::start();
        let replica = Postgres::replica_of(&primary, "replica");
        primary.create_database("rollcall");
        (primary, replica)
    })
    .await
    .unwrap();
    let config = PostgresConfig::of(&primary.url("rollcall"), vec![replica.url("rollcall")]);
    let one = TestOrigin::start_on_postgres(config.clone()).await;
    let other = TestOrigin::start_on_postgres(config).await;
    let (student, admin) = (one.user(STUDENT).await, other.user(ADMIN).await);
    let assignment = json!({"command": "create-assignment", "assignment": "fresh", "batch": "maths-a",
        "title": "Fresh", "due_at": "2030-05-01T10:00:00Z", "max_score": 10});
    assert_eq!(other.command(&admin, "a", assignment).await.status, StatusCode::OK);
    let seen = other.get(&admin, "/admin/v1/batches/maths-a").await;
    assert_eq!(seen.status, StatusCode::OK, "{seen:?}");
    replica.pause_replay();
    let work = json!({"command": "submit-assignment", "assignment": "fresh", "text": "x"});
    let handed_in = one.command(&student, "w", work).await;
    assert_eq!(handed_in.status, StatusCode::OK, "{handed_in:?}");
    let submission = handed_in.json()["outcome"]["submission"].as_str().unwrap().to_owned();
    let path = format!("/admin/v1/submissions/{submission}/grade");
    let graded = send(&other, &admin, ("PUT", &path), &[("if-match", "*")], json!({"score": 7})).await;
    assert_eq!(graded.status, StatusCode::OK, "{graded:?}");
    replica.resume_replay();
}

async fn mail_token(origin: &TestOrigin, email: &str, sent_before: usize) -> String {
    let body = json!({"email": email}).to_string();
    let asked = origin.request(Method::POST, "/api/auth/password/forgot", &[], body).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED);
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(mail) = origin.mail().get(sent_before) {
            let (_, token) = mail.split_once("#token=").unwrap();
            return token.split_whitespace().next().unwrap().to_owned();
        }
        assert!(Instant::now() < deadline, "no mail came");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn reset(origin: &TestOrigin, token: &str) -> Answer {
    let body = json!({"token": token, "password": "correct horse"}).to_string();
    origin.request(Method::POST, "/api/auth/password/reset", &[], body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_activated_again_signs_in_again() {
    on_both_engines(async |origin| {
        let admin = origin.user(ADMIN).await;
        let student = origin.user(STUDENT).await;
        let token = mail_token(origin, STUDENT, 0).await;
        let path = format!("/admin/v1/users/{}", student.claims.sub);
        for act in ["deactivate", "reactivate"] {
            let done = send(origin, &admin, ("POST", &format!("{path}/{act}")), &[], Value::Null).await;
            assert_eq!(done.status, StatusCode::OK, "{done:?}");
        }
        assert_eq!(refresh(origin, &student.refresh).await.problem(), (401, "token-invalid".into()));
        assert_eq!(origin.get(&student, DASHBOARD).await.problem(), (401, "token-revoked".into()));
        assert_eq!(reset(origin, &token).await.problem(), (422, "reset-token-invalid".into()));
        let again = origin.user(STUDENT).await;
        assert_eq!(origin.get(&again, DASHBOARD).await.status, StatusCode::OK);
        // To do it once more ends nothing: they are active.
        send(origin, &admin, ("POST", &format!("{path}/reactivate")), &[], Value::Null).await;
        assert_eq!(origin.get(&again, DASHBOARD).await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_mailbox_sets_no_password_of_a_new_address() {
    on_both_engines(async |origin| {
        let admin = origin.user(ADMIN).await;
        let student = origin.user(STUDENT).await;
        let token = mail_token(origin, STUDENT, 0).await;
        let path = format!("/admin/v1/users/{}", student.claims.sub);
        let tag = origin.get(&admin, &path).await.header("etag").to_owned();
        let new = json!({"email": "moved@northside.example"});
        let changed = send(origin, &admin, ("PATCH", &path), &[("if-match", &tag)], new).await;
        assert_eq!(changed.status, StatusCode::OK, "{changed:?}");
        assert_eq!(reset(origin, &token).await.problem(), (422, "reset-token-invalid".into()));
        let token = mail_token(origin, "moved@northside.example", 1).await;
        assert_eq!(reset(origin, &token).await.status, StatusCode::NO_CONTENT);
    })
    .await;
}
