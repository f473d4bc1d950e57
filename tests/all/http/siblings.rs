//! Components of one application beside each other: who asks when one calls another, and what they share.

use ed25519_dalek::SigningKey;
use integration_tests::{PlainEdge, Program, guest};
use serde_json::{Value, json};
use std::path::Path;
use sync_protocol::token::{self, Claims, KeySet, Role};
use tempfile::TempDir;

/// A component that calls and may be called without a token, and one that it calls.
const RELAYS: &str = "spin_manifest_version = 2\napplication.name = \"relays\"\n
[application.tool.rollcall]\n
[[trigger.http]]\nroute = \"/...\"\ncomponent = \"caller\"\n
[component.caller]\nsource = \"it.wasm\"\nallowed_outbound_hosts = [\"http://callee.spin.internal\"]
[component.caller.tool.rollcall]\nanonymous = [\"/...\"]\n
[component.callee]\nsource = \"it.wasm\"\n";

fn key() -> SigningKey {
    SigningKey::from_bytes(&[9; 32])
}

fn claims() -> Claims {
    Claims {
        iss: token::ISSUER.into(),
        aud: token::AUDIENCE.into(),
        sub: "0190a1b2-0000-7000-8000-000000000001".into(),
        inst: "northside.example".into(),
        role: Role::Teacher,
        name: "Zoë".into(),
        dev: "phone".into(),
        batches: vec![],
        iat: 1,
        exp: i64::MAX - 60,
        jti: "j".into(),
        sid: String::new(),
    }
}

/// An edge that knows the key of [`key`], as one does that has met its origin before.
async fn edge(folder: &Path) -> (Program, String) {
    let mut keys = KeySet::default();
    keys.insert("k".into(), key().verifying_key());
    std::fs::create_dir(folder.join("data")).unwrap();
    std::fs::write(folder.join("data/keys.json"), keys.to_json()).unwrap();
    std::fs::write(folder.join("spin.toml"), RELAYS).unwrap();
    std::fs::copy(guest("relays"), folder.join("it.wasm")).unwrap();
    let mut program = PlainEdge::program(folder, "up");
    program.start().await;
    let url = program.says("listening ").await;
    (program, url)
}

async fn told(url: &str, path: &str, token: Option<&str>) -> (String, Value) {
    let mut ask = reqwest::Client::new().get(format!("{url}{path}"));
    if let Some(token) = token {
        ask = ask.bearer_auth(token);
    }
    let answer = ask.send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    let text = answer.text().await.unwrap();
    let (internal, identity) = text.split_once(' ').unwrap();
    (internal.to_owned(), serde_json::from_str(identity).unwrap_or_else(|_| json!(identity)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_calls_another_for_whoever_asked_it_and_for_nobody_else() {
    let folder = TempDir::new().unwrap();
    let (_program, url) = edge(folder.path()).await;
    let ask = "/ask?http://callee.spin.internal/";
    let nobody = ("nothing".to_owned(), json!("nothing"));
    assert_eq!(told(&url, "/who", None).await, nobody);
    assert_eq!(told(&url, ask, None).await, nobody, "what the caller says of itself counts for nothing");
    let token = token::sign(&claims(), "k", &key());
    let teacher = ("nothing".to_owned(), serde_json::to_value(claims()).unwrap());
    assert_eq!(told(&url, "/who", Some(&token)).await, teacher);
    assert_eq!(told(&url, ask, Some(&token)).await, teacher);
    // One instance answers both at once, and keeps them apart.
    let many = (0..40).map(|n| {
        let (url, token) = (url.clone(), (n % 2 == 0).then(|| token.clone()));
        async move { (token.is_some(), told(&url, ask, token.as_deref()).await) }
    });
    for (signed_in, told) in futures_util::future::join_all(many).await {
        assert_eq!(told, if signed_in { teacher.clone() } else { nobody.clone() });
    }
}

async fn visits(edge: &PlainEdge, component: &str) -> String {
    let url = format!("{}/{component}/visits", edge.url());
    reqwest::get(url).await.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn components_share_the_database_default_unless_one_asks_for_its_own() {
    let component = |id: &str, settings: &str| {
        format!(
            "[[trigger.http]]\nroute = \"/{id}/...\"\ncomponent = \"{id}\"\n
[component.{id}]\nsource = \"it.wasm\"\nsqlite_databases = [\"default\"]\n{settings}\n"
        )
    };
    let manifest = format!(
        "spin_manifest_version = 2\napplication.name = \"sharing\"\n\n{}{}{}",
        component("one", ""),
        component("two", ""),
        component("own", "tool.rollcall.sqlite = \"per-component\""),
    );
    let wasm = std::fs::read(guest("hoards")).unwrap();
    let files = [("spin.toml", manifest.into_bytes()), ("it.wasm", wasm)];
    let edge = PlainEdge::start_with_files("", &files).await;
    assert_eq!(visits(&edge, "one").await, "1");
    assert_eq!(visits(&edge, "two").await, "2");
    assert_eq!(visits(&edge, "own").await, "1");
    assert_eq!(visits(&edge, "one").await, "3");
}
