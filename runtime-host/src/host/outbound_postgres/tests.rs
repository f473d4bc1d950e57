//! Guests' connections against a real server.

use super::*;
use crate::execution::Execution;
use crate::host::outbound_http::{Connections, Patience};
use crate::outbound::AllowedHosts;
use rustls::RootCertStore;
use test_servers::Postgres;

pub(crate) fn connections(hosts: &[&str]) -> PostgresConnections {
    let mut allowed = AllowedHosts::default();
    hosts.iter().try_for_each(|host| allowed.add(host)).unwrap();
    let shared = Connections::new(RootCertStore::empty());
    PostgresConnections::new(OutboundHttp::new(
        "test".into(),
        allowed,
        shared,
        Patience::of(&Execution::default()),
    ))
}

pub(crate) fn server() -> (Postgres, PostgresAddress) {
    let server = Postgres::start_with_tls();
    let ca = Some(std::fs::read_to_string(server.certificate()).unwrap());
    let address = server.tls_url("localhost", "postgres");
    (server, PostgresAddress { address, ca })
}

async fn one(open: &OpenPostgres, sql: &str) -> Result<String, tokio_postgres::Error> {
    let statement = open.begin();
    let row = statement.client().query_one(sql, &[]).await;
    statement.end();
    Ok(row?.get(0))
}

const PROCESS: &str = "SELECT pg_backend_pid()::text";
pub(crate) const ANY: &[&str] = &["postgres://localhost:*"];

#[tokio::test]
async fn tls_is_spoken_and_only_with_an_authority_that_vouches_for_the_server() {
    let (_server, to) = server();
    let open = connections(ANY).open(to.clone()).await.unwrap();
    let ssl = "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert_eq!(one(&open, ssl).await.unwrap(), "true");
    let error = connections(ANY).open(PostgresAddress { ca: None, ..to.clone() }).await.err().unwrap();
    assert!(matches!(error, OutboundPostgresError::Postgres(_)), "{error}");
    let error =
        connections(ANY).open(PostgresAddress { ca: Some("no PEM".into()), ..to }).await.err().unwrap();
    assert!(matches!(error, OutboundPostgresError::Certificate(_)), "{error}");
}

#[tokio::test]
async fn a_connection_is_cleaned_before_the_next_guest_has_it() {
    let (_server, to) = server();
    let connections = connections(ANY);
    let first = connections.open(to.clone()).await.unwrap();
    let process = one(&first, PROCESS).await.unwrap();
    let statement = first.begin();
    let dirty =
        "CREATE TEMP TABLE secret (x int); SET search_path = secret; SELECT pg_advisory_lock(7); BEGIN";
    statement.client().batch_execute(dirty).await.unwrap();
    statement.end();
    drop(first);
    // The connection is cleaned in a task of its own.
    let second = loop {
        let open = connections.open(to.clone()).await.unwrap();
        if one(&open, PROCESS).await.unwrap() == process {
            break open;
        }
        tokio::task::yield_now().await;
    };
    assert_ne!(one(&second, "SHOW search_path").await.unwrap(), "secret");
    assert_eq!(
        one(&second, "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory'").await.unwrap(),
        "0"
    );
    assert_eq!(one(&second, "SELECT coalesce(to_regclass('secret')::text, 'none')").await.unwrap(), "none");
}

#[tokio::test]
async fn a_connection_whose_statement_was_given_up_is_nobodys_again() {
    let (_server, to) = server();
    let connections = connections(ANY);
    let first = connections.open(to.clone()).await.unwrap();
    let process = one(&first, PROCESS).await.unwrap();
    let given_up = async {
        let statement = first.begin();
        let _ = statement.client().batch_execute("SELECT pg_sleep(60)").await;
    };
    let _ = tokio::time::timeout(std::time::Duration::from_millis(100), given_up).await;
    drop(first);
    for _ in 0..5 {
        let open = connections.open(to.clone()).await.unwrap();
        assert_ne!(one(&open, PROCESS).await.unwrap(), process);
    }
}

#[tokio::test]
async fn only_the_manifests_hosts_are_reached_by_tcp_and_by_name() {
    let (server, to) = server();
    let open = async |hosts: &[&str], address: &str| {
        let to = PostgresAddress { address: address.to_owned(), ca: to.ca.clone() };
        connections(hosts).open(to).await.map(drop)
    };
    open(ANY, &to.address).await.unwrap();
    for (hosts, address) in [
        (&[][..], to.address.as_str()),
        (&["http://localhost:*"], &to.address),
        (&["postgres://localhost:1"], &to.address),
        // A wildcard reaches what is public alone.
        (&["*://*:*"], &to.address),
    ] {
        let error = open(hosts, address).await.unwrap_err();
        assert!(matches!(error, OutboundPostgresError::Denied { .. }), "{hosts:?}: {error}");
    }
    let socket = server.url("postgres");
    let beside = to.address.replace('?', "?hostaddr=127.0.0.1&");
    for address in [socket.as_str(), "dbname=postgres user=postgres", &beside] {
        let error = open(&["*://*:*", "postgres://localhost:*"], address).await.unwrap_err();
        assert!(matches!(error, OutboundPostgresError::NoTcpHost), "{address}: {error}");
    }
    let error = open(ANY, "postgres://localhost:x/").await.unwrap_err();
    assert!(matches!(error, OutboundPostgresError::Address(_)), "{error}");
}
