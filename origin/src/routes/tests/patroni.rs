//! A cluster that Patroni runs: its leader is changed and killed under load, and an origin that was told of one node alone finds the
//! others.

use super::failover::History;
use crate::store::PostgresConfig;
use crate::testing::TestOrigin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use test_servers::Patroni;

const WRITERS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn where_patroni_moves_the_primary_writes_and_reads_follow_and_none_is_lost() {
    let cluster = tokio::task::spawn_blocking(|| Patroni::start(3)).await.unwrap();
    let first = cluster.leader().unwrap();
    cluster.sql(first, "postgres", "CREATE DATABASE rollcall");
    // Of one server alone: all others are what Patroni says, and the node that says it is not the leader for long.
    let nodes: Vec<String> = (0..3).map(|at| cluster.rest_url(at)).collect();
    let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
    let config =
        PostgresConfig::of(&cluster.url(first, "rollcall"), Vec::new()).with_patroni(&nodes).impatient();
    let origins =
        [TestOrigin::start_on_postgres(config.clone()).await, TestOrigin::start_on_postgres(config).await];
    let history = History::begin(origins).await;
    let mut clients = history.clients(WRITERS);

    history.goes_on("a quiet start").await;
    history.until("the replicas to be read", || history.servers_used(0) == 3).await;
    let second = (first + 1) % 3;
    let cluster = tokio::task::spawn_blocking(move || {
        cluster.switch_over(first, second);
        cluster.wait_until_whole();
        cluster
    })
    .await
    .unwrap();
    history.goes_on("life after a switchover").await;
    let refused = history.refused.load(Ordering::SeqCst);
    let cluster = tokio::task::spawn_blocking(move || {
        let mut cluster = cluster;
        cluster.kill9(second);
        cluster
    })
    .await
    .unwrap();
    history.until("writes to be refused", || history.refused.load(Ordering::SeqCst) > refused).await;
    history.goes_on("life after the leader was killed").await;
    // A node that nobody named joins, and is read.
    let cluster = tokio::task::spawn_blocking(move || {
        let mut cluster = cluster;
        cluster.add_node();
        cluster.wait_until_whole();
        cluster
    })
    .await
    .unwrap();
    history.until("the new node to be read", || history.servers_used(0) == 3).await;
    history.goes_on("life with a new node").await;
    history.end(&mut clients).await;

    let survivor = cluster.leader().unwrap();
    history.check_effects(|sql| cluster.sql(survivor, "rollcall", sql), WRITERS);
}

/// What Patroni says is a hint: without it the servers that are named do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_whose_patroni_is_away_uses_the_servers_that_it_was_told() {
    let database = Arc::new(crate::testing::TestDatabase::create());
    let config = database.config().with_patroni(&["http://127.0.0.1:1"]);
    let origin = TestOrigin::start_on_postgres(config).await;
    let teacher = origin.user("teacher@northside.example").await;
    let command = serde_json::json!({"command": "post-message", "to": {"batch": "maths-a"}, "text": "hello"});
    let answer = origin.command(&teacher, "key", command).await;
    assert_eq!(answer.status, axum::http::StatusCode::OK, "{answer:?}");
}
