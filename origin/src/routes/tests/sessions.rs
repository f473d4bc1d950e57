//! Sessions end when they are told to, passwords change hands, and nobody learns who has an account.

use crate::testing::{TestOrigin, User};
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

const STUDENT: &str = "student@northside.example";
const DASHBOARD: &str = "/api/students/dashboard";

async fn post(origin: &TestOrigin, path: &str, body: Value) -> crate::testing::Answer {
    origin.request(Method::POST, path, &[], body.to_string()).await
}

async fn refresh(origin: &TestOrigin, token: &str) -> crate::testing::Answer {
    post(origin, "/api/auth/refresh", json!({"refresh_token": token})).await
}

async fn delete(origin: &TestOrigin, user: &User, path: &str) -> crate::testing::Answer {
    origin.request(Method::DELETE, path, &[("authorization", &user.bearer())], "").await
}

/// The next mail, which is sent after its request was answered.
async fn next_mail(origin: &TestOrigin, sent_before: usize) -> String {
    for _ in 0..500 {
        if let Some(mail) = origin.mail().get(sent_before) {
            return mail.clone();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no mail came");
}

fn token_in(mail: &str) -> String {
    let (_, token) = mail.split_once("#token=").expect("the mail has a link");
    token.split_whitespace().next().unwrap().to_owned()
}

#[tokio::test]
async fn a_logout_ends_its_own_session_and_no_other() {
    let origin = TestOrigin::start().await;
    let (phone, tablet) = (origin.user(STUDENT).await, origin.user(STUDENT).await);
    let before = origin.get(&phone, DASHBOARD).await;
    let out = post(&origin, "/api/auth/logout", json!({"refresh_token": phone.refresh})).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    assert_eq!(refresh(&origin, &phone.refresh).await.problem(), (401, "token-invalid".into()));
    assert_eq!(origin.get(&phone, DASHBOARD).await.problem(), (401, "token-revoked".into()));
    assert_eq!(origin.get(&phone, "/commands/k").await.problem(), (401, "token-revoked".into()));
    assert_eq!(origin.get(&phone, "/api/auth/sessions").await.problem(), (401, "token-revoked".into()));
    let message = json!({"command": "post-message", "to": {"batch": "maths-a"}, "text": "hello"});
    assert_eq!(origin.command(&phone, "k", message.clone()).await.problem(), (401, "token-revoked".into()));
    let document = json!({"kind": "planner", "subject": phone.claims.sub});
    assert_eq!(
        origin.post(&phone, "/api/documents", document).await.problem(),
        (401, "token-revoked".into())
    );
    let after = origin.get(&tablet, DASHBOARD).await;
    assert_eq!(after.status, StatusCode::OK);
    // What is kept for the user's other session is not for this one.
    assert_eq!(origin.get(&phone, DASHBOARD).await.problem(), (401, "token-revoked".into()));
    assert_ne!(after.header("rollcall-bookmark"), before.header("rollcall-bookmark"), "edges are told");
    assert_eq!(refresh(&origin, &tablet.refresh).await.status, StatusCode::OK);
    let admin = origin.user("admin@northside.example").await;
    let path = format!("/admin/v1/activities?user={}&sort=-activity", phone.claims.sub);
    let list = origin.get(&admin, &path).await.json();
    let kinds: Vec<_> = list["items"].as_array().unwrap().iter().map(|item| &item["kind"]).collect();
    assert_eq!(kinds, ["signed-out", "signed-in", "signed-in"]);
    // A token that nobody has, and one that has been used up, get the same answer.
    for token in ["nonsense", phone.refresh.as_str(), &"x".repeat(10_000)] {
        let again = post(&origin, "/api/auth/logout", json!({"refresh_token": token})).await;
        assert_eq!(again.status, StatusCode::NO_CONTENT);
    }
}

#[tokio::test]
async fn a_logout_everywhere_ends_every_token_and_the_next_sign_in_works_at_once() {
    let origin = TestOrigin::start().await;
    let (phone, tablet) = (origin.user(STUDENT).await, origin.user(STUDENT).await);
    let other = origin.user("teacher@northside.example").await;
    let out = origin.post(&phone, "/api/auth/logout-everywhere", json!({})).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    for user in [&phone, &tablet] {
        assert_eq!(origin.get(user, DASHBOARD).await.problem(), (401, "token-revoked".into()));
        assert_eq!(refresh(&origin, &user.refresh).await.problem(), (401, "token-invalid".into()));
    }
    let again = origin.user(STUDENT).await;
    assert_eq!(origin.get(&again, DASHBOARD).await.status, StatusCode::OK);
    assert_eq!(again.claims.exp - again.claims.iat, 900);
    assert_eq!(origin.get(&other, "/api/teachers/dashboard").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_copied_refresh_token_ends_the_access_tokens_of_its_session_too() {
    let origin = TestOrigin::start().await;
    let student = origin.user(STUDENT).await;
    let json = refresh(&origin, &student.refresh).await.json();
    let access = json["access_token"].as_str().unwrap();
    let claims = origin.app.auth.verify(access).unwrap();
    assert_eq!(claims.sid, student.claims.sid);
    let fresh = User { access: access.into(), refresh: String::new(), claims: (*claims).clone() };
    assert_eq!(origin.get(&fresh, DASHBOARD).await.status, StatusCode::OK);
    let next = json["refresh_token"].as_str().unwrap();
    assert_eq!(refresh(&origin, next).await.status, StatusCode::OK);
    assert_eq!(refresh(&origin, &student.refresh).await.problem(), (401, "token-invalid".into()));
    assert_eq!(origin.get(&fresh, DASHBOARD).await.problem(), (401, "token-revoked".into()));
}

#[tokio::test]
async fn people_see_and_end_their_own_sessions_and_nobody_elses() {
    let origin = TestOrigin::start().await;
    let (one, two) = (origin.user(STUDENT).await, origin.user(STUDENT).await);
    let teacher = origin.user("teacher@northside.example").await;
    let named = json!({"name": "Sam's phone", "platform": "android"});
    let put = [("authorization", one.bearer())];
    let put: Vec<(&str, &str)> = put.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let registered = origin.request(Method::PUT, "/api/auth/devices/phone", &put, named.to_string()).await;
    assert_eq!(registered.status, StatusCode::NO_CONTENT);
    let list = origin.get(&one, "/api/auth/sessions").await.json();
    let sessions = list["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    let current: Vec<_> = sessions.iter().filter(|session| session["current"] == true).collect();
    assert_eq!(current.len(), 1);
    assert_eq!(
        (&current[0]["session"], &current[0]["device_name"]),
        (&json!(one.claims.sid), &json!("Sam's phone"))
    );
    assert!(current[0]["signed_in_at"].as_str().unwrap().ends_with("+05:30"));

    let path = format!("/api/auth/sessions/{}", two.claims.sid);
    assert_eq!(delete(&origin, &teacher, &path).await.problem(), (404, "not-found".into()));
    assert_eq!(origin.get(&two, DASHBOARD).await.status, StatusCode::OK);
    assert_eq!(delete(&origin, &one, &path).await.status, StatusCode::NO_CONTENT);
    assert_eq!(delete(&origin, &one, &path).await.problem(), (404, "not-found".into()));
    assert_eq!(origin.get(&two, DASHBOARD).await.problem(), (401, "token-revoked".into()));
    assert_eq!(origin.get(&one, DASHBOARD).await.status, StatusCode::OK);

    let devices = origin.get(&one, "/api/auth/devices").await.json();
    assert_eq!(
        (&devices["devices"][0]["sessions"], &devices["devices"][0]["current"]),
        (&json!(1), &json!(true))
    );
    assert_eq!(delete(&origin, &one, "/api/auth/devices/phone").await.status, StatusCode::NO_CONTENT);
    assert_eq!(origin.get(&one, DASHBOARD).await.problem(), (401, "token-revoked".into()));
}

#[tokio::test]
async fn devices_are_bounded_and_their_names_are_checked() {
    let origin = TestOrigin::start().await;
    let student = origin.user(STUDENT).await;
    let register = async |device: &str, body: Value| {
        let headers = [("authorization", student.bearer())];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        origin.request(Method::PUT, &format!("/api/auth/devices/{device}"), &headers, body.to_string()).await
    };
    for (device, body, field) in [
        ("a%20b", json!({"name": "x"}), "device"),
        ("d", json!({"name": " "}), "name"),
        ("d", json!({"name": "x".repeat(101)}), "name"),
        ("d", json!({"name": "x", "platform": "a\nb"}), "platform"),
        ("d", json!({"name": "x", "colour": "red"}), "colour"),
    ] {
        let refused = register(device, body).await;
        assert_eq!(
            (refused.problem().1, refused.json()["field"].clone()),
            ("invalid-field".into(), json!(field))
        );
    }
    for n in 0..32 {
        assert_eq!(register(&format!("d{n}"), json!({"name": "x"})).await.status, StatusCode::NO_CONTENT);
    }
    assert_eq!(register("d32", json!({"name": "x"})).await.json()["field"], "device");
    assert_eq!(register("d31", json!({"name": "renamed"})).await.status, StatusCode::NO_CONTENT);
    let missing = delete(&origin, &student, "/api/auth/devices/none").await;
    assert_eq!(missing.problem(), (404, "not-found".into()));
}

#[tokio::test]
async fn sessions_of_one_user_are_bounded_and_the_oldest_goes() {
    let origin = TestOrigin::start().await;
    let first = origin.user(STUDENT).await;
    for _ in 0..64 {
        origin.user(STUDENT).await;
    }
    assert_eq!(refresh(&origin, &first.refresh).await.problem(), (401, "token-invalid".into()));
    let last = origin.user(STUDENT).await;
    let list = origin.get(&last, "/api/auth/sessions").await.json();
    assert_eq!(list["sessions"].as_array().unwrap().len(), 64);
}

#[tokio::test]
async fn a_password_changes_with_the_old_one_alone_and_ends_all_other_sessions() {
    let origin = TestOrigin::start().await;
    let (here, elsewhere) = (origin.user(STUDENT).await, origin.user(STUDENT).await);
    let change = async |current: &str, new: &str| {
        let body = json!({"current_password": current, "new_password": new});
        origin.post(&here, "/api/auth/password", body).await
    };
    let wrong = change("letmein", "correct horse").await;
    assert_eq!((wrong.problem().0, wrong.json()["field"].clone()), (422, json!("current_password")));
    assert_eq!(change("rollcall", "short").await.json()["field"], "new_password");
    let changed = change("rollcall", "correct horse").await;
    assert_eq!((changed.status, changed.header("cache-control")), (StatusCode::OK, "no-store"));
    let access = changed.json()["access_token"].as_str().unwrap().to_owned();
    let claims = origin.app.auth.verify(&access).unwrap();
    assert_eq!(claims.dev, here.claims.dev);
    let fresh = User { access, refresh: String::new(), claims: (*claims).clone() };
    assert_eq!(origin.get(&fresh, DASHBOARD).await.status, StatusCode::OK);
    for old in [&here, &elsewhere] {
        assert_eq!(origin.get(old, DASHBOARD).await.problem(), (401, "token-revoked".into()));
        assert_eq!(refresh(&origin, &old.refresh).await.problem(), (401, "token-invalid".into()));
    }
    assert_eq!(origin.login(STUDENT, "rollcall").await.problem(), (401, "wrong-credentials".into()));
    assert_eq!(origin.login(STUDENT, "correct horse").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_forgotten_password_is_set_once_by_the_token_that_came_by_mail() {
    let origin = TestOrigin::start().await;
    let student = origin.user(STUDENT).await;
    let asked =
        post(&origin, "/api/auth/password/forgot", json!({"email": "Student@Northside.example "})).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED);
    let mail = next_mail(&origin, 0).await;
    assert!(mail.contains(&format!("To: {STUDENT}\r\n")), "{mail}");
    let token = token_in(&mail);
    let reset = async |token: &str, password: &str| {
        post(&origin, "/api/auth/password/reset", json!({"token": token, "password": password})).await
    };
    assert_eq!(reset(&token, "short").await.json()["field"], "password");
    let mut forged = token.clone();
    forged.replace_range(0..1, if token.starts_with('A') { "B" } else { "A" });
    let elsewhere = token.split('.').next().unwrap().to_owned() + ".cml2ZXJzaWRlLmV4YW1wbGU";
    for bad in [forged.as_str(), &elsewhere, "", ".", "nonsense", &"x".repeat(5_000)] {
        assert_eq!(reset(bad, "correct horse").await.problem(), (422, "reset-token-invalid".into()));
    }
    assert_eq!(reset(&token, "correct horse").await.status, StatusCode::NO_CONTENT);
    assert_eq!(reset(&token, "another one").await.problem(), (422, "reset-token-invalid".into()));
    assert_eq!(origin.get(&student, DASHBOARD).await.problem(), (401, "token-revoked".into()));
    assert_eq!(refresh(&origin, &student.refresh).await.problem(), (401, "token-invalid".into()));
    assert_eq!(origin.login(STUDENT, "correct horse").await.status, StatusCode::OK);
}

#[tokio::test]
async fn somebody_who_was_imported_without_a_password_sets_one_by_mail() {
    let origin = TestOrigin::start().await;
    let added = origin.app.store.write::<_, crate::store::StoreError, _>("northside.example", |tx| {
        tx.add_user(
            &crate::store::NewUser {
                user: "imported".into(),
                email: "imported@northside.example".into(),
                name: "Ida".into(),
                role: sync_protocol::token::Role::Student,
                password_hash: None,
            },
            0,
        )
    });
    assert!(added.await.unwrap().value);
    assert_eq!(origin.login("imported@northside.example", "").await.status, StatusCode::UNAUTHORIZED);
    post(&origin, "/api/auth/password/forgot", json!({"email": "imported@northside.example"})).await;
    let token = token_in(&next_mail(&origin, 0).await);
    let set =
        post(&origin, "/api/auth/password/reset", json!({"token": token, "password": "correct horse"})).await;
    assert_eq!(set.status, StatusCode::NO_CONTENT);
    assert_eq!(origin.login("imported@northside.example", "correct horse").await.status, StatusCode::OK);
}

#[tokio::test]
async fn nobody_learns_whether_an_address_has_an_account() {
    let origin = TestOrigin::start().await;
    let forgot =
        async |email: &str| post(&origin, "/api/auth/password/forgot", json!({"email": email})).await;
    let (known, unknown) = (forgot(STUDENT).await, forgot("ghost@northside.example").await);
    assert_eq!((known.status, &known.body), (unknown.status, &unknown.body));
    next_mail(&origin, 0).await;
    // The limit is the same for both, and the mailbox is not flooded.
    for email in [STUDENT, "ghost@northside.example"] {
        let mut granted = 1;
        let stopped = loop {
            let answer = forgot(email).await;
            if answer.status != StatusCode::ACCEPTED {
                break answer;
            }
            granted += 1;
        };
        assert_eq!((granted, stopped.problem()), (3, (429, "too-many-attempts".into())));
        assert!(stopped.header("retry-after").parse::<u32>().unwrap() > 1);
    }
    next_mail(&origin, 2).await;
    assert_eq!(origin.mail().len(), 3);
    assert!(origin.mail().iter().all(|mail| mail.contains(STUDENT)));
    let long = forgot(&"x".repeat(300)).await;
    assert_eq!(long.json()["field"], "email");
    assert_eq!(forgot("a\r\nBcc: b@c.example").await.json()["field"], "email");
}

#[tokio::test]
async fn a_new_key_is_published_before_it_signs_and_the_old_one_goes_on_verifying() {
    let origin = TestOrigin::start().await;
    let before = origin.user(STUDENT).await;
    let kid = |token: &str| token.split('.').next().unwrap().to_owned();
    let rotate = async |lead: u64| {
        let rotated = origin.app.store.write::<_, crate::services::auth::AuthError, _>(
            crate::store::NO_INSTITUTE,
            move |tx| {
                crate::services::auth::rotate_keys(tx, crate::clock::unix_ms(), Duration::from_secs(lead))
            },
        );
        rotated.await.unwrap().value
    };
    let mut published = origin.app.auth.key_set();
    published.mark_unchanged();
    let next = rotate(600).await;
    origin.app.auth.reload_keys().await.unwrap();
    assert!(published.has_changed().unwrap(), "links are woken");
    let keys = origin.request(Method::GET, "/.well-known/jwks.json", &[], "").await.json();
    let kids: Vec<_> = keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect();
    assert!(kids.len() == 2 && kids.contains(&json!(next.kid)));
    assert_eq!(kid(&origin.user(STUDENT).await.access), kid(&before.access), "it does not sign yet");
    rotate(0).await;
    origin.app.auth.reload_keys().await.unwrap();
    let after = origin.user(STUDENT).await;
    assert_ne!(kid(&after.access), kid(&before.access));
    for user in [&before, &after] {
        assert_eq!(origin.get(user, DASHBOARD).await.status, StatusCode::OK);
    }
}
