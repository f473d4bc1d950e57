//! Guests' connections against a real server, and against one that means harm.

use super::*;
use crate::execution::Execution;
use crate::host::outbound_http::{Connections, Patience};
use crate::outbound::AllowedHosts;
use redis::cmd;
use rustls::RootCertStore;
use test_servers::Redis;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

fn connections(hosts: &[&str]) -> RedisConnections {
    let mut allowed = AllowedHosts::default();
    hosts.iter().try_for_each(|host| allowed.add(host)).unwrap();
    let shared = Connections::new(RootCertStore::empty());
    RedisConnections::new(OutboundHttp::new(
        "test".into(),
        allowed,
        shared,
        Patience::of(&Execution::default()),
    ))
}

async fn client_ids(server: &Redis, connections: &RedisConnections, then: &str) -> (i64, i64) {
    let open = connections.open(&server.url()).await.unwrap();
    let id: i64 = open.run(cmd("CLIENT").arg("ID")).await.unwrap();
    let mut command = cmd(then);
    if then == "SELECT" {
        command.arg(1);
    }
    if then == "GET" {
        command.arg("k");
    }
    open.run_any(then, &command).await.unwrap();
    drop(open);
    let again = connections.open(&server.url()).await.unwrap();
    (id, again.run(cmd("CLIENT").arg("ID")).await.unwrap())
}

#[tokio::test]
async fn a_connection_is_used_again_unless_its_state_was_changed() {
    let server = Redis::start();
    let connections = connections(&[&format!("redis://127.0.0.1:{}", server.port())]);
    let (first, second) = client_ids(&server, &connections, "GET").await;
    assert_eq!(first, second);
    for then in ["SELECT", "MULTI"] {
        let (first, second) = client_ids(&server, &connections, then).await;
        assert_ne!(first, second, "{then}");
    }
    let one = connections.open(&server.url()).await.unwrap();
    let other = connections.open(&server.url()).await.unwrap();
    let id = |open: &OpenRedis| {
        let open = open.connection.clone();
        async move { cmd("CLIENT").arg("ID").query_async::<i64>(&mut open.clone()).await.unwrap() }
    };
    assert_ne!(id(&one).await, id(&other).await, "what is held is nobody else's");
}

#[tokio::test]
async fn only_the_manifests_hosts_are_reached_and_names_of_private_addresses_only_by_name() {
    let server = Redis::start();
    let port = server.port();
    let open = async |hosts: &[&str], address: &str| {
        let address = address.replace("PORT", &port.to_string());
        connections(hosts).open(&address).await.map(drop)
    };
    let entry = format!("redis://127.0.0.1:{port}");
    open(&[&entry], "redis://127.0.0.1:PORT").await.unwrap();
    open(&[&format!("redis://localhost:{port}")], "redis://localhost:PORT").await.unwrap();
    for (hosts, address) in [
        (&[][..], "redis://127.0.0.1:PORT"),
        (&["redis://127.0.0.1:1"], "redis://127.0.0.1:PORT"),
        (&["http://127.0.0.1:*"], "redis://127.0.0.1:PORT"),
        // A wildcard reaches what is public alone.
        (&["*://*:*"], "redis://localhost:PORT"),
        (&["*://*:*"], "redis+unix:///tmp/redis.sock"),
        (&["*://*:*"], "no address"),
        (&["rediss://localhost:*"], "rediss://localhost:PORT/#insecure"),
    ] {
        let error = open(hosts, address).await.unwrap_err();
        assert!(matches!(error, OutboundRedisError::InvalidAddress), "{address} by {hosts:?}: {error}");
    }
}

#[tokio::test]
async fn a_value_of_another_type_is_told_apart_and_the_connection_goes_on() {
    let server = Redis::start();
    let connections = connections(&["redis://127.0.0.1:*"]);
    let open = connections.open(&server.url()).await.unwrap();
    server.command(&["LPUSH", "list", "x"]);
    server.command(&["SET", "word", "x"]);
    for command in [cmd("GET").arg("list"), cmd("INCR").arg("word")] {
        let error = open.run::<Option<Vec<u8>>>(command).await.unwrap_err();
        assert!(matches!(error, OutboundRedisError::Type), "{error}");
    }
    let value: Vec<u8> = open.run(cmd("GET").arg("word")).await.unwrap();
    assert_eq!(value, b"x");
}

/// A server that says it sends a gigabyte, and does for as long as it is let.
#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("redis://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // Answers to whatever the client says first; then the flood.
        stream.write_all(b"+OK\r\n+OK\r\n$1073741824\r\n").await.unwrap();
        while stream.write_all(&[b'x'; 65536]).await.is_ok() {}
    });
    let connections = connections(&["redis://127.0.0.1:*"]);
    let flood = async {
        let open = connections.open(&address).await?;
        open.run::<Vec<u8>>(cmd("GET").arg("k")).await
    };
    let error = tokio::time::timeout(limits::REDIS_RESPONSE_TIMEOUT, flood).await.unwrap().unwrap_err();
    assert!(matches!(error, OutboundRedisError::Redis(_)), "{error}");
}

#[tokio::test]
async fn guests_hold_so_many_connections_and_no_more() {
    let server = Redis::start();
    let connections = connections(&["redis://127.0.0.1:*"]);
    let mut held = Vec::new();
    for _ in 0..limits::OUTBOUND_REQUESTS {
        held.push(connections.open(&server.url()).await.unwrap());
    }
    let error = connections.open(&server.url()).await.err().unwrap();
    assert!(matches!(error, OutboundRedisError::TooManyConnections), "{error}");
    held.pop();
    connections.open(&server.url()).await.unwrap();
}
