//! The description at `/openapi.json`: schemathesis calls a real origin by it, as an admin, and finds nothing.

use integration_tests::{Origin, PASSWORD, schemathesis};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use test_servers::Postgres;

/// Cases for each operation beside those that cover each constraint of its schema once.
const EXAMPLES: u32 = 12;
const SEED: u32 = 20_261_125;
/// It takes about a minute; one that hangs is ended here.
const LONGEST: Duration = Duration::from_secs(300);

#[tokio::test]
async fn schemathesis_finds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start(folder.path()).await;
    nothing_is_found(&origin, folder.path()).await;
}

/// Postgres takes less than SQLite does: characters, numbers, texts that are no JSON.
#[tokio::test]
async fn schemathesis_finds_nothing_on_postgres() {
    let postgres = tokio::task::spawn_blocking(|| {
        let postgres = Postgres::start();
        postgres.create_database("rollcall");
        postgres
    });
    let postgres = postgres.await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start_on_postgres(folder.path(), &postgres.url("rollcall")).await;
    nothing_is_found(&origin, folder.path()).await;
}

async fn nothing_is_found(origin: &Origin, folder: &Path) {
    let client = reqwest::Client::new();
    let login = json!({"email": "admin@northside.example", "password": PASSWORD, "device": "schemathesis"});
    let login = client.post(format!("{}/api/auth/login", origin.url())).json(&login).send().await.unwrap();
    let tokens: Value = login.json().await.unwrap();
    let token = tokens["access_token"].as_str().unwrap();
    let (program, config) = tokio::task::spawn_blocking(schemathesis).await.unwrap();
    let mut run = tokio::process::Command::new(program);
    run.arg("--config-file").arg(config).arg("run").arg(format!("{}/openapi.json", origin.url()));
    run.args(["--checks", "all", "--mode", "all", "--continue-on-failure", "--workers", "1"]);
    run.args(["--phases", "examples,coverage,fuzzing", "--warnings", "off", "--no-color"]);
    run.args(["--seed", &SEED.to_string(), "--max-examples", &EXAMPLES.to_string()]);
    run.args(["--header", &format!("Authorization: Bearer {token}")]);
    // What it keeps between runs would make one run depend on the one before.
    let run = run.current_dir(folder).kill_on_drop(true).output();
    let run = tokio::time::timeout(LONGEST, run).await.expect("schemathesis ends").unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}\n{}", String::from_utf8_lossy(&run.stderr));
    // Not a run of nothing.
    let described: Value =
        client.get(format!("{}/openapi.json", origin.url())).send().await.unwrap().json().await.unwrap();
    let operations: usize =
        described["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
    assert!(
        operations > 60 && said.contains(&format!("Selected: {operations}/{operations}")),
        "{operations}: {said}"
    );
}

#[tokio::test]
async fn the_page_to_browse_the_description_needs_nothing_from_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start(folder.path()).await;
    let page = reqwest::get(format!("{}/docs/", origin.url())).await.unwrap();
    assert_eq!(page.status(), 200);
    let page = page.text().await.unwrap();
    assert!(page.contains("swagger-ui") && !page.contains("http://") && !page.contains("https://"), "{page}");
    let script = reqwest::get(format!("{}/docs/swagger-ui-bundle.js", origin.url())).await.unwrap();
    assert_eq!(script.status(), 200);
    let described: Value =
        reqwest::get(format!("{}/openapi.json", origin.url())).await.unwrap().json().await.unwrap();
    assert_eq!(described["openapi"], "3.1.0");
}
