//! Signing in and what its tokens open.

use crate::testing::TestOrigin;
use axum::http::{Method, StatusCode};
use ed25519_dalek::SigningKey;
use serde_json::json;
use sync_protocol::token::{self, KeySet, Role};

#[tokio::test]
async fn a_sign_in_gives_a_token_that_the_published_keys_verify() {
    let origin = TestOrigin::start().await;
    let teacher = origin.user("Teacher@Northside.example").await;
    let keys = origin.request(Method::GET, "/.well-known/jwks.json", &[], "").await;
    let keys = KeySet::from_json(std::str::from_utf8(&keys.body).unwrap()).unwrap();
    let claims = keys.verify(&teacher.access, crate::clock::unix_ms() / 1000).unwrap();
    assert_eq!(claims.inst, "northside.example");
    assert_eq!(claims.role, Role::Teacher);
    assert_eq!(claims.dev, "phone");
    assert_eq!(claims.batches, ["maths-a", "physics-a"]);
    assert_eq!(claims.exp - claims.iat, 15 * 60);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_get_the_same_answer() {
    let origin = TestOrigin::start().await;
    let wrong = origin.login("teacher@northside.example", "wrong").await;
    let unknown = origin.login("nobody@northside.example", "rollcall").await;
    assert_eq!(wrong.problem(), (401, "wrong-credentials".into()));
    assert_eq!(wrong.body, unknown.body);
    assert_eq!(wrong.header("www-authenticate"), "Bearer");
}

#[tokio::test]
async fn faulty_sign_ins_name_the_field() {
    let origin = TestOrigin::start().await;
    let post = |body: String| origin.request(Method::POST, "/api/auth/login", &[], body);
    let cut = post("{\"email\":".into()).await;
    assert_eq!(cut.problem(), (400, "invalid-json".into()));
    let missing = post(json!({"email": "a@b.example"}).to_string()).await;
    assert_eq!(missing.problem(), (422, "invalid-field".into()));
    assert_eq!(missing.json()["field"], "password");
    let device = json!({"email": "a@b.example", "password": "x", "device": "my phone"}).to_string();
    assert_eq!(post(device).await.json()["field"], "device");
    let long = json!({"email": "a@b.example", "password": "x".repeat(2000)}).to_string();
    assert_eq!(post(long).await.json()["field"], "password");
}

#[tokio::test]
async fn an_account_is_locked_for_a_while_after_many_failures() {
    let origin = TestOrigin::start().await;
    // On a busy machine the account earns further tries meanwhile, but slower than it uses them up.
    let mut failures = 0;
    let stopped = loop {
        let answer = origin.login("ghost@northside.example", "x").await;
        if answer.status != StatusCode::UNAUTHORIZED {
            break answer;
        }
        failures += 1;
        assert!(failures < 100, "never stopped");
    };
    assert!(failures >= 20);
    assert_eq!(stopped.problem(), (429, "too-many-attempts".into()));
    assert!(stopped.header("retry-after").parse::<u32>().unwrap() >= 1);
    assert_eq!(origin.login("student@northside.example", "rollcall").await.status, StatusCode::OK);
}

#[tokio::test]
async fn guesses_that_come_at_once_are_as_many_as_guesses_one_after_the_other() {
    let origin = TestOrigin::start().await;
    let guesses = (0..80).map(|n| {
        let origin = &origin;
        async move { origin.login("student@northside.example", &format!("guess {n}")).await.status }
    });
    let statuses = futures_util::future::join_all(guesses).await;
    let looked_at = statuses.iter().filter(|status| **status == StatusCode::UNAUTHORIZED).count();
    let stopped = statuses.iter().filter(|status| **status == StatusCode::TOO_MANY_REQUESTS).count();
    // While passwords are checked the account earns no further tries: all have asked before.
    assert_eq!((looked_at, stopped), (20, 60), "{statuses:?}");
}

#[tokio::test]
async fn a_failed_sign_in_is_noted_after_its_answer_and_before_the_end() {
    let origin = TestOrigin::start().await;
    let student = origin.user("student@northside.example").await;
    assert_eq!(origin.login("student@northside.example", "wrong").await.status, StatusCode::UNAUTHORIZED);
    origin.app.auth.drain().await;
    let admin = origin.user("admin@northside.example").await;
    let path = format!("/admin/v1/activities?user={}&kind=sign-in-failed", student.claims.sub);
    let noted = origin.get(&admin, &path).await.json();
    assert_eq!(noted["items"].as_array().unwrap().len(), 1, "{noted}");
}

#[tokio::test]
async fn missing_forged_and_foreign_tokens_are_refused() {
    let origin = TestOrigin::start().await;
    let path = "/api/students/dashboard";
    let missing = origin.request(Method::GET, path, &[], "").await;
    assert_eq!(missing.problem(), (401, "token-missing".into()));
    let student = origin.user("student@northside.example").await;
    let mut claims = student.claims.clone();
    claims.role = Role::Admin;
    let forged = format!("Bearer {}", token::sign(&claims, "k1", &SigningKey::from_bytes(&[9; 32])));
    let forged = origin.request(Method::GET, "/api/admin/dashboard", &[("authorization", &forged)], "").await;
    assert_eq!(forged.problem(), (401, "token-invalid".into()));
    let other = TestOrigin::start().await;
    assert_eq!(other.get(&student, path).await.problem(), (401, "token-invalid".into()));
}

#[tokio::test]
async fn a_refresh_token_works_once_and_its_reuse_ends_the_family() {
    let origin = TestOrigin::start().await;
    let student = origin.user("student@northside.example").await;
    let refresh = async |token: &str| {
        let body = json!({"refresh_token": token}).to_string();
        origin.request(Method::POST, "/api/auth/refresh", &[], body).await
    };
    let first = refresh(&student.refresh).await;
    assert_eq!(first.status, StatusCode::OK);
    let second = first.json()["refresh_token"].as_str().unwrap().to_owned();
    assert_ne!(second, student.refresh);
    let claims = origin.app.auth.verify(first.json()["access_token"].as_str().unwrap()).unwrap();
    assert_eq!(claims.dev, "phone");
    let third = refresh(&second).await.json()["refresh_token"].as_str().unwrap().to_owned();
    assert_eq!(refresh(&student.refresh).await.problem(), (401, "token-invalid".into()));
    assert_eq!(refresh(&third).await.problem(), (401, "token-invalid".into()));
    assert_eq!(refresh("nonsense").await.problem(), (401, "token-invalid".into()));
}

#[tokio::test]
async fn a_restart_keeps_keys_tokens_and_records() {
    let origin = TestOrigin::start().await;
    let admin = origin.user("admin@northside.example").await;
    let payment = json!({"command": "record-payment", "invoice": "library-student", "amount_minor": 100, "method": "cash"});
    let paid = origin.command(&admin, "pay-1", payment.clone()).await;
    let before = origin.get(&admin, "/api/admin/dashboard").await;
    let origin = origin.restart().await;
    let after = origin.get(&admin, "/api/admin/dashboard").await;
    assert_eq!(after.json(), before.json());
    assert_eq!(after.header("rollcall-bookmark"), before.header("rollcall-bookmark"));
    assert_eq!(origin.command(&admin, "pay-1", payment).await.body, paid.body);
}
