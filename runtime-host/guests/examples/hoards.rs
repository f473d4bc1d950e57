//! WASI 0.3: uses its database and its store as its path says, in ways from which a host should not suffer.

// What a component exports links for wasm alone; `cargo test` builds examples for the machine that it runs on.
#![cfg(target_family = "wasm")]

use spin_sdk::http::{Request, StatusCode};
use spin_sdk::http_service;
use spin_sdk::key_value::Store;
use spin_sdk::sqlite::Connection;
use std::fmt::Debug;

/// Calls of the host at once.
const AT_ONCE: usize = 24;
const VALUE_BYTES: usize = 8 * 1024 * 1024;

#[http_service]
async fn handle(request: Request) -> (StatusCode, String) {
    match request.uri().path() {
        path if path.ends_with("/visits") => said(count_visits().await),
        "/sqlite-loop" => said(insert_for_ever().await),
        "/sqlite-lock" => said(wait_for_oneself().await),
        "/sqlite-results" => said(keep_results().await),
        "/key-value" => said(set_at_once().await),
        "/well" => (StatusCode::OK, "well".to_owned()),
        _ => (StatusCode::NOT_FOUND, String::new()),
    }
}

fn said<E: Debug>(done: Result<String, E>) -> (StatusCode, String) {
    (StatusCode::OK, done.unwrap_or_else(|error| format!("{error:?}")))
}

async fn execute(connection: &Connection, statement: &str) -> Result<(), spin_sdk::sqlite::Error> {
    connection.execute(statement, []).await.map(drop)
}

/// How many requests this database has seen.
async fn count_visits() -> Result<String, spin_sdk::sqlite::Error> {
    let connection = Connection::open_default().await?;
    execute(&connection, "CREATE TABLE IF NOT EXISTS visits (x)").await?;
    execute(&connection, "INSERT INTO visits VALUES (1)").await?;
    let counted = connection.execute("SELECT count(*) FROM visits", []).await?.collect().await?;
    let visits: i64 = counted.first().and_then(|row| row.get(0)).unwrap_or_default();
    Ok(visits.to_string())
}

/// One statement that ends when the host ends it.
async fn insert_for_ever() -> Result<String, spin_sdk::sqlite::Error> {
    let connection = Connection::open_default().await?;
    execute(&connection, "CREATE TABLE IF NOT EXISTS endless (x)").await?;
    execute(&connection, "BEGIN IMMEDIATE").await?;
    let endless = "INSERT INTO endless WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) \
                   SELECT x FROM n WHERE x < 0";
    execute(&connection, endless).await?;
    Ok("it ended".to_owned())
}

/// Holds the write lock with one connection and waits for it with another.
async fn wait_for_oneself() -> Result<String, spin_sdk::sqlite::Error> {
    let (holder, waiter) = (Connection::open_default().await?, Connection::open_default().await?);
    execute(&holder, "CREATE TABLE IF NOT EXISTS locked (x)").await?;
    execute(&holder, "BEGIN IMMEDIATE").await?;
    execute(&waiter, "PRAGMA busy_timeout = 2000000000").await?;
    execute(&waiter, "BEGIN").await?;
    execute(&waiter, "INSERT INTO locked VALUES (1)").await?;
    Ok("it had the lock".to_owned())
}

/// Asks for results and reads none of them.
async fn keep_results() -> Result<String, spin_sdk::sqlite::Error> {
    let connection = Connection::open_default().await?;
    let mut kept = Vec::new();
    for _ in 0..AT_ONCE {
        kept.push(connection.execute("SELECT zeroblob(30000000)", []).await?);
    }
    Ok(format!("{} results", kept.len()))
}

/// Sets many values at once.
async fn set_at_once() -> Result<String, spin_sdk::key_value::Error> {
    let store = Store::open_default().await?;
    let value = vec![7; VALUE_BYTES];
    let keys: Vec<String> = (0..AT_ONCE).map(|n| n.to_string()).collect();
    let sets = keys.iter().map(|key| store.set(key, &value));
    let done = futures_util::future::join_all(sets).await;
    let refused = done.iter().filter(|done| done.is_err()).count();
    for key in &keys {
        store.delete(key).await?;
    }
    Ok(format!("{refused} refused"))
}
