//! Who is let in, and for how long.

use ed25519_dalek::SigningKey;
use integration_tests::{House, Person, SOON, until};
use serde_json::json;
use sync_protocol::token::{self, Claims};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{connect_async, tungstenite};

const TEACHER: &str = "teacher@northside.example";
const DASHBOARD: &str = "/api/teachers/dashboard";

/// The origin's own signing key, from its store.
fn origins_key(house: &House) -> (String, SigningKey) {
    let file = house.origin.folder().join("origin.sqlite");
    let store = rusqlite::Connection::open(file).unwrap();
    let row =
        store.query_row("SELECT kid, secret FROM signing_keys ORDER BY created_at DESC LIMIT 1", [], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, [u8; 32]>(1)?))
        });
    let (kid, secret) = row.unwrap();
    (kid, SigningKey::from_bytes(&secret))
}

fn claims(person: &Person) -> Claims {
    serde_json::from_value(person.claims()).unwrap()
}

/// How the sync WebSocket answers a token.
async fn socket(house: &House, token: &str) -> Result<(), u16> {
    let mut request = format!("ws://{}/sync", house.edge.address()).into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    match connect_async(request).await {
        Ok(_) => Ok(()),
        Err(tungstenite::Error::Http(answer)) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_sign_in_gives_tokens_that_open_views_and_the_socket() {
    let house = House::start().await;
    let teacher = house.sign_in_on(TEACHER, "phone").await;
    let claims = claims(&teacher);
    assert_eq!((claims.inst.as_str(), claims.dev.as_str()), ("northside.example", "phone"));
    assert_eq!(claims.exp - claims.iat, 900);
    let answer = teacher.log_in("rollcall", "phone").await.ok();
    assert_eq!((answer["token_type"].as_str(), answer["expires_in"].as_i64()), (Some("Bearer"), Some(900)));
    assert_eq!(teacher.get(DASHBOARD).await.status, 200);
    assert_eq!(socket(&house, &teacher.token).await, Ok(()));
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_get_the_same_answer() {
    let house = House::start().await;
    let teacher = house.sign_in(TEACHER).await;
    let wrong = teacher.log_in("letmein", "phone").await;
    assert_eq!(wrong.problem(401), "wrong-credentials");
    let body = json!({"email": "nobody@northside.example", "password": "rollcall"});
    let unknown = house.stranger().post("/api/auth/login", &body).await;
    assert_eq!(unknown.problem(401), "wrong-credentials");
    assert_eq!(wrong.json(), unknown.json());
    for body in [json!({}), json!({"email": TEACHER}), json!({"email": 7, "password": []}), json!([])] {
        let answer = house.stranger().post("/api/auth/login", &body).await;
        assert!(matches!(answer.status, 400 | 422), "{body}: {}", answer.text());
        answer.problem(answer.status);
    }
}

#[tokio::test]
async fn an_expired_token_is_told_from_a_forged_one_and_neither_opens_anything() {
    let house = House::start().await;
    let teacher = house.sign_in(TEACHER).await;
    let (kid, key) = origins_key(&house);
    let sound = claims(&teacher);
    let signed = |claims: &Claims| token::sign(claims, &kid, &key);
    // The key is the right one: what it signs is believed.
    assert_eq!(teacher.with_token(&signed(&sound)).get(DASHBOARD).await.status, 200);

    let expired = signed(&Claims { exp: sound.iat - 60, iat: sound.iat - 960, ..sound.clone() });
    let other_key = token::sign(&sound, &kid, &SigningKey::from_bytes(&[5; 32]));
    let unknown_key = token::sign(&sound, "another", &SigningKey::from_bytes(&[5; 32]));
    let other_audience = signed(&Claims { aud: "elsewhere".into(), ..sound.clone() });
    let [header, payload, _] = teacher.token.split('.').collect::<Vec<_>>()[..] else {
        panic!("three parts")
    };
    let unsigned = format!("{header}.{payload}.");
    for (token, code) in [
        (expired.as_str(), "token-expired"),
        (&other_key, "token-invalid"),
        (&unknown_key, "token-invalid"),
        (&other_audience, "token-invalid"),
        (&unsigned, "token-invalid"),
        ("not a token", "token-invalid"),
    ] {
        let person = teacher.with_token(token);
        for path in [DASHBOARD, "/commands/k"] {
            let answer = person.get(path).await;
            assert_eq!(answer.problem(401), code, "{path} {token}");
            assert!(answer.header("www-authenticate").is_some_and(|scheme| scheme.starts_with("Bearer")));
        }
        let command = json!({"command": "enroll-student", "student": "s", "batch": "b"});
        assert_eq!(person.commands("k", &command).await.problem(401), code);
        assert_eq!(socket(&house, token).await, Err(401), "{token}");
    }
    assert_eq!(teacher.get(DASHBOARD).await.status, 200, "nobody else is harmed");
}

#[tokio::test]
async fn without_a_token_only_sign_in_and_health_answer() {
    let house = House::start().await;
    let stranger = house.stranger();
    for path in [DASHBOARD, "/api/admin/dashboard", "/commands/k"] {
        let answer = stranger.get(path).await;
        assert_eq!(answer.problem(401), "token-missing", "{path}");
        assert!(answer.header("www-authenticate").is_some());
    }
    assert_eq!(stranger.get("/health").await.ok()["status"], "ok");
    assert_eq!(stranger.get("/health/ready").await.status, 200);
}

#[tokio::test]
async fn what_a_client_says_of_its_own_identity_is_not_believed() {
    let house = House::start().await;
    let student = house.sign_in("student@northside.example").await;
    let mut admin = claims(&house.sign_in("admin@northside.example").await);
    admin.exp += 3600;
    let forged = serde_json::to_string(&admin).unwrap();
    for name in ["rollcall-identity", "Rollcall-Identity", "rollcall-identity-2", "rollcall-internal"] {
        let request = student.request("GET".parse().unwrap(), "/api/admin/dashboard").header(name, &forged);
        assert_eq!(student.send(request).await.problem(403), "forbidden", "{name}");
        let request =
            house.stranger().request("GET".parse().unwrap(), "/api/admin/dashboard").header(name, &forged);
        assert_eq!(student.send(request).await.problem(401), "token-missing", "{name}");
    }
    let request =
        student.request("POST".parse().unwrap(), "/internal/outbox/deliver").header("rollcall-internal", "1");
    assert_eq!(student.send(request).await.problem(404), "not-found");
}

#[tokio::test]
async fn a_refresh_token_may_come_again_until_its_successor_is_used_and_ends_the_session_then() {
    let house = House::start().await;
    let teacher = house.sign_in(TEACHER).await;
    let refresh = |token: String| {
        let stranger = house.stranger();
        async move { stranger.post("/api/auth/refresh", &json!({"refresh_token": token})).await }
    };
    let fresh = refresh(teacher.refresh_token.clone()).await.ok();
    let token = fresh["access_token"].as_str().unwrap();
    assert_eq!(teacher.with_token(token).get(DASHBOARD).await.status, 200);
    // As if the answer had been lost.
    let again = refresh(teacher.refresh_token.clone()).await.ok();
    let next = again["refresh_token"].as_str().unwrap().to_owned();
    let last = refresh(next).await.ok();
    assert_eq!(refresh(teacher.refresh_token.clone()).await.problem(401), "token-invalid");
    let last = last["refresh_token"].as_str().unwrap().to_owned();
    assert_eq!(refresh(last).await.problem(401), "token-invalid", "a copied token ends the whole session");
    assert_eq!(teacher.log_in("rollcall", "browser").await.status, 200);
}

#[tokio::test]
async fn without_the_origin_the_edge_still_knows_whom_it_knew() {
    let mut house = House::start().await;
    let teacher = house.sign_in(TEACHER).await;
    assert_eq!(teacher.get(DASHBOARD).await.status, 200);
    house.origin.stop().await;
    house.edge.kill9().await;
    house.edge.start_again().await;
    until("the view that was cached before", SOON, async || {
        let answer = teacher.get(DASHBOARD).await;
        (answer.status == 200).then_some(())
    })
    .await;
    assert_eq!(teacher.with_token("a.b.c").get(DASHBOARD).await.problem(401), "token-invalid");
    let answer = teacher.log_in("rollcall", "phone").await;
    assert_eq!(answer.problem(503), "origin-unavailable");
}

/// Two processes, asked in turn: the account has as many tries as one of them alone would give it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_guesses_has_no_more_tries_at_two_origins_than_at_one() {
    /// As many as an account has at once, and some that it may earn back while a busy machine checks them: far fewer
    /// than two origins would give.
    const TRIES: std::ops::Range<usize> = 20..35;
    let house = House::start_on_postgres().await;
    let (_second, edge) = house.second_origin().await;
    let edges = [house.edge.url().to_owned(), edge.url().to_owned()];
    let body = json!({"email": "ghost@northside.example", "password": "guess"});
    let mut tries = 0;
    let stopped = loop {
        let answer = house.stranger().at(&edges[tries % 2]).post("/api/auth/login", &body).await;
        if answer.status != 401 {
            break answer;
        }
        tries += 1;
        assert!(tries < TRIES.end, "never stopped");
    };
    assert_eq!(stopped.problem(429), "too-many-attempts");
    assert!(tries >= TRIES.start, "{tries}");
    let other = house.stranger().at(&edges[(tries + 1) % 2]).post("/api/auth/login", &body).await;
    assert_eq!(other.problem(429), "too-many-attempts");
}
