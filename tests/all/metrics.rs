//! What an origin tells operators about itself.

use integration_tests::{Origin, Person};
use serde_json::json;
use std::io::Write as _;
use std::process::{Command, Stdio};
use test_servers::{Postgres, Redis};

const STUDENT: &str = "student@northside.example";
const DATABASE: &str = "rollcall";

/// What Prometheus' own tool says against the metrics; nothing is good.
fn promtool(metrics: &str) -> String {
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().expect("promtool is installed: `cargo xtask test` does that");
    child.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

/// The value of the line that has all of these parts.
fn value(metrics: &str, parts: &[&str]) -> f64 {
    let line =
        metrics.lines().find(|line| !line.starts_with('#') && parts.iter().all(|part| line.contains(part)));
    let line = line.unwrap_or_else(|| panic!("{parts:?} in:\n{metrics}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_origin_counts_is_well_formed_and_true() {
    let (postgres, redis) = tokio::task::spawn_blocking(|| {
        let postgres = Postgres::start();
        postgres.create_database(DATABASE);
        (postgres, Redis::start())
    })
    .await
    .unwrap();
    let (store, cache) = (postgres.url(DATABASE), redis.url());
    let settings = [
        ("ROLLCALL_ORIGIN_STORE__URL", store.as_str()),
        ("ROLLCALL_ORIGIN_CACHE__URL", cache.as_str()),
        ("ROLLCALL_ORIGIN_ADMIN", "127.0.0.1:0"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start_with(folder.path(), &settings).await;
    let url = origin.program.says("metrics ").await;
    let student = Person::sign_in(origin.url(), STUDENT, "phone").await;
    for _ in 0..3 {
        student.get("/api/students/dashboard").await.ok();
    }
    let refused = json!({"command": "post-message", "to": {"batch": "maths-b"}, "text": "x"});
    student.commands("k", &refused).await.problem(403);
    student.get("/no/such/path").await.problem(404);
    assert_eq!(student.get("/metrics").await.status, 404, "metrics are not for the public");

    let metrics = reqwest::get(&url).await.unwrap().text().await.unwrap();
    assert_eq!(promtool(&metrics), "", "{metrics}");
    let dashboard = "route=\"/api/students/dashboard\"";
    assert_eq!(value(&metrics, &["http_requests_total", dashboard, "status=\"200\""]), 3.0);
    assert_eq!(value(&metrics, &["duration_seconds_count", dashboard]), 3.0);
    assert_eq!(value(&metrics, &["http_requests_total", "route=\"none\"", "status=\"404\""]), 2.0);
    assert_eq!(value(&metrics, &["cache_requests_total", "layer=\"local\"", "outcome=\"hit\""]), 2.0);
    assert_eq!(value(&metrics, &["cache_requests_total", "layer=\"store\""]), 1.0);
    assert_eq!(value(&metrics, &["commands_total", "post-message", "refused"]), 1.0);
    assert_eq!(value(&metrics, &["store_server_used", "role=\"primary\""]), 1.0);
    assert!(value(&metrics, &["store_transactions_total", "role=\"primary\""]) > 3.0);
    assert_eq!(value(&metrics, &["outbox_waiting"]), 0.0);

    let ready = url.replace("/metrics", "/health/ready");
    let said: serde_json::Value = reqwest::get(&ready).await.unwrap().json().await.unwrap();
    assert_eq!(said["store"]["servers"][0]["role"], "primary", "{said}");
    assert_eq!((&said["status"], &said["cache"]["kind"]), (&json!("ok"), &json!("redis")), "{said}");
    // A dependency that fails is named with its reason, and one without which nothing goes makes it not ready.
    drop(redis);
    let degraded = until_ready(&ready, |said| said["status"] == "degraded").await;
    assert_eq!(degraded["cache"]["status"], "degraded");
    assert!(degraded["cache"]["reason"].as_str().unwrap().contains("Redis"), "{degraded}");
    drop(postgres);
    let down = until_ready(&ready, |said| said["status"] == "down").await;
    assert!(down["store"]["reason"].as_str().unwrap().contains("store"), "{down}");
    assert_eq!(reqwest::get(&ready).await.unwrap().status(), 503);
}

async fn until_ready(url: &str, holds: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    integration_tests::until("the health to change", std::time::Duration::from_secs(60), async || {
        let said = reqwest::get(url).await.unwrap().json().await.unwrap();
        holds(&said).then_some(said)
    })
    .await
}
