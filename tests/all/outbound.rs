//! Components that call other servers by Spin's interfaces: Redis and Postgres.

use integration_tests::{PlainEdge, SOON, guest};
use std::time::Duration;
use test_servers::{Postgres, Redis};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

const DATABASE: &str = "guests";

/// An edge with this guest, which may reach `allowed` alone and sees these files.
async fn edge(name: &str, allowed: &str, files: &[(&str, Vec<u8>)]) -> PlainEdge {
    let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
    let manifest = format!(
        "spin_manifest_version = 2\napplication.name = \"outbound\"\n\n\
         [[trigger.http]]\nroute = \"/...\"\ncomponent = \"guest\"\n\n\
         [component.guest]\nsource = \"guest.wasm\"\nallowed_outbound_hosts = [\"{allowed}\"]\nfiles = {names:?}\n"
    );
    let guest = std::fs::read(guest(name)).unwrap();
    let application = [("guest.wasm", guest), ("spin.toml", manifest.into_bytes())];
    PlainEdge::start_with_files("", &[files, &application].concat()).await
}

/// A server, the address of its database, and an edge with this guest, which may reach it.
async fn postgres(guest: &str) -> (Postgres, String, PlainEdge) {
    let server = blocking(|| {
        let server = Postgres::start_with_tls();
        server.create_database(DATABASE);
        server
    })
    .await;
    let url = server.tls_url("localhost", DATABASE);
    let place = url.split(['@', '/']).find(|part| part.starts_with("localhost")).unwrap();
    let certificate = std::fs::read(server.certificate()).unwrap();
    let edge = edge(guest, &format!("postgres://{place}"), &[("server.crt", certificate)]).await;
    (server, url, edge)
}

async fn ask(edge: &PlainEdge, path: &str, address: &str) -> String {
    let answer = reqwest::get(format!("{}{path}?{address}", edge.url())).await.unwrap();
    assert_eq!(answer.status(), 200, "{path}: {}", edge.program.log());
    answer.text().await.unwrap()
}

/// What comes on a channel, from the moment on at which this returns.
async fn subscribed(server: &Redis, channel: &str) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
    let mut subscriber = BufReader::new(stream);
    subscriber.write_all(format!("SUBSCRIBE {channel}\r\n").as_bytes()).await.unwrap();
    heard(&mut subscriber, ":1").await;
    subscriber
}

/// Waits for a line.
async fn heard(subscriber: &mut BufReader<TcpStream>, wanted: &str) {
    let read = async {
        let mut line = String::new();
        while line.trim_end() != wanted {
            line.clear();
            assert_ne!(subscriber.read_line(&mut line).await.unwrap(), 0, "{wanted}");
        }
    };
    tokio::time::timeout(SOON, read).await.unwrap_or_else(|_| panic!("waited {SOON:?} for {wanted}"));
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_keeps_values_and_sets_in_redis_and_publishes() {
    let server = blocking(Redis::start).await;
    values_and_sets(&server, &edge("redis", &server.url(), &[]).await, "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_of_spin_2_keeps_values_and_sets_in_redis_and_publishes() {
    let (server, other) = blocking(|| (Redis::start(), Redis::start())).await;
    let edge = edge("older", &server.url(), &[]).await;
    values_and_sets(&server, &edge, "/redis-2").await;
    for address in [other.url().as_str(), "nonsense"] {
        assert_eq!(ask(&edge, "/redis-2/values", address).await, "Error::InvalidAddress", "{address}");
    }
    let said = ask(&edge, "/redis-2/many", &server.url()).await;
    assert_eq!(said, "64 Error::TooManyConnections None");
}

/// What a guest does with Redis below `path`.
async fn values_and_sets(server: &Redis, edge: &PlainEdge, path: &str) {
    let said = ask(edge, &format!("{path}/values"), &server.url()).await;
    assert_eq!(said, "None Some([0, 255, 13, 10]) (1, 2) Err(Error::TypeError) 2");
    let said = ask(edge, &format!("{path}/sets"), &server.url()).await;
    assert_eq!(said, "(3, 1) 1 [\"b\", \"c\", \"é\"] Err(Error::TypeError)");
    let said = ask(edge, &format!("{path}/commands"), &server.url()).await;
    let expected = "[RedisResult::Status(\"OK\")] [RedisResult::Int64(3)] \
                    [RedisResult::Binary([51]), RedisResult::Nil] true";
    assert_eq!(said, expected);
    let mut subscriber = subscribed(server, "news").await;
    assert_eq!(ask(edge, &format!("{path}/publish"), &server.url()).await, "published");
    heard(&mut subscriber, "a cat").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_reaches_no_redis_but_the_manifests_and_survives_its_absence() {
    let (mut server, other) = blocking(|| (Redis::start(), Redis::start())).await;
    let (url, edge) = (server.url(), edge("redis", &server.url(), &[]).await);
    for address in [other.url().as_str(), "redis://localhost:6379", "nonsense", ""] {
        assert_eq!(ask(&edge, "/values", address).await, "Error::InvalidAddress", "{address}");
    }
    let said = ask(&edge, "/many", &url).await;
    assert_eq!(said, "64 Error::TooManyConnections None");

    let mut server = blocking(move || {
        server.kill9();
        server
    })
    .await;
    for _ in 0..2 {
        let said = ask(&edge, "/values", &url).await;
        assert!(said.starts_with("Error::Other("), "{said}");
    }
    let server = blocking(move || {
        server.start_again();
        server
    })
    .await;
    integration_tests::until("the component to reach the server again", SOON, async || {
        ask(&edge, "/sets", &url).await.starts_with("(3, 1)").then_some(())
    })
    .await;
    // One that hears and says nothing costs the component that call, not its instance.
    server.pause();
    let said = tokio::time::timeout(Duration::from_secs(30), ask(&edge, "/values", &url)).await.unwrap();
    server.resume();
    assert!(said.starts_with("Error::Other("), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_asks_postgres_and_gets_each_type_of_value_back() {
    let (_server, url, edge) = postgres("postgres").await;
    let types = ask(&edge, "/types", &url).await;
    assert_eq!(types.lines().count(), 24, "{types}");
    for line in types.lines() {
        assert!(line.contains(" ok: value DbDataType::"), "{line}");
    }
    for expected in ["int8range ok: value DbDataType::RangeInt64", "interval ok: value DbDataType::Interval"]
    {
        assert!(types.contains(expected), "{types}");
    }
    assert_eq!(ask(&edge, "/rows", &url).await, "20000 200010000");
    assert_eq!(ask(&edge, "/early", &url).await, "Some(\"Int32(1)\") Str(\"next\")");
    assert_eq!(ask(&edge, "/changes", &url).await, "[1, 1, 1, 2] 1 Int32(1) Str(\"one\")");
    assert_eq!(ask(&edge, "/synchronous", &url).await, "sum Int32(42) 3");
    // The table of the first is gone with its connection.
    assert_eq!(ask(&edge, "/changes", &url).await, "[1, 1, 1, 2] 1 Int32(1) Str(\"one\")");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_is_told_what_postgres_has_against_it_and_reaches_no_other() {
    let (mut server, url, edge) = postgres("postgres").await;
    // The host reads a result whole before it hands on the first row, so that this is the call's error and not the stream's.
    let said = ask(&edge, "/late-error", &url).await;
    assert!(said.contains("QueryFailed") && said.contains("\"22012\""), "{said}");
    let said = ask(&edge, "/syntax", &url).await;
    assert!(said.contains("QueryFailed") && said.contains("\"42601\""), "{said}");
    let said = ask(&edge, "/parameter", &url).await;
    assert!(said.contains("QueryFailed") && said.contains("cannot convert"), "{said}");
    for address in ["postgres://localhost:1/guests", "postgres://localhost/guests", "host=/tmp"] {
        let said = ask(&edge, "/rows", address).await;
        assert!(said.contains("ConnectionFailed"), "{address}: {said}");
    }
    let said = ask(&edge, "/without-certificate", &url).await;
    assert!(said.contains("ConnectionFailed") && said.contains("certificate"), "{said}");
    let said = ask(&edge, "/rows", &url.replace(DATABASE, "nothing")).await;
    assert!(said.contains("ConnectionFailed") && said.contains("does not exist"), "{said}");

    let mut server = blocking(move || {
        server.kill9();
        server
    })
    .await;
    let said = ask(&edge, "/rows", &url).await;
    assert!(said.contains("ConnectionFailed"), "{said}");
    let _server = blocking(move || {
        server.start_again();
        server
    })
    .await;
    assert_eq!(ask(&edge, "/rows", &url).await, "20000 200010000");
}

/// What the older interfaces say of types that they do not know, in the order of the guest's statement.
const UNKNOWN: &str = "Other Unsupported\nOther Unsupported\nOther Unsupported\nOther Unsupported\n\
                       Other Unsupported\nOther Unsupported\nOther Unsupported";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn components_of_spin_2_and_3_ask_postgres_by_the_types_that_they_know() {
    let (_server, url, edge) = postgres("older").await;
    // There was no way to name an authority.
    let plain = url.replace("sslmode=require", "sslmode=disable");
    for (version, samples) in [("/postgres-3", 12), ("/postgres-2", 9)] {
        let types = ask(&edge, &format!("{version}/types"), &plain).await;
        assert_eq!(types.lines().count(), samples, "{types}");
        for line in types.lines() {
            assert!(line.contains(" ok: value DbDataType::"), "{line}");
        }
        let said = ask(&edge, &format!("{version}/changes"), &plain).await;
        assert_eq!(said, "[1, 1, 1, 2] 1 Int32(1) Str(\"one\")");
    }
    let said = ask(&edge, "/postgres-3/unknown", &plain).await;
    let dates = "Date Date((2024, 2, 29))\nTime Time((12, 0, 0, 0))\n\
                 Datetime Datetime((2024, 2, 29, 12, 0, 0, 0))\nDatetime Datetime((2024, 2, 29, 12, 0, 0, 0))";
    assert_eq!(said, format!("{dates}\n{UNKNOWN}"));
    let said = ask(&edge, "/postgres-2/unknown", &plain).await;
    let dates = ["Other Unsupported"; 4].join("\n");
    assert_eq!(said, format!("{dates}\n{UNKNOWN}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn components_of_spin_2_and_3_are_told_what_postgres_has_against_them_and_reach_no_other() {
    let (_server, url, edge) = postgres("older").await;
    let plain = url.replace("sslmode=require", "sslmode=disable");
    for version in ["/postgres-3", "/postgres-2"] {
        let said = ask(&edge, &format!("{version}/syntax"), &plain).await;
        assert!(
            said.contains("QueryFailed") && said.contains("syntax error at or near \\\"SELEC\\\""),
            "{said}"
        );
        for address in ["postgres://localhost:1/guests", "host=/tmp", "nonsense", &url] {
            let said = ask(&edge, &format!("{version}/types"), address).await;
            assert!(said.contains("ConnectionFailed"), "{address}: {said}");
        }
        let said = ask(&edge, &format!("{version}/many"), &plain).await;
        assert!(said.starts_with("64 Error::ConnectionFailed(") && said.ends_with(" 1"), "{said}");
    }
    let said = ask(&edge, "/postgres-3/parameter", &plain).await;
    assert!(said.starts_with("Datetime((1969, 12, 31, 23, 59, 59, 0)) Err(Error::QueryFailed("), "{said}");
    let said = ask(&edge, "/postgres-2/parameter", &plain).await;
    let refusal = "Err(Error::ValueConversionFailed(\"Postgres does not support unsigned integers\"))";
    assert_eq!(said, format!("[{}] {refusal}", [refusal; 4].join(", ")));
}
