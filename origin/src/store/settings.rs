//! The store's part of the configuration.

use super::error::PostgresError;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;
use tokio_postgres::config::{Host, SslMode};

/// The role that every connection of the application takes: row-level security binds it.
pub(super) const ROLE: &str = "rollcall_app";
/// Fewer could not write, read and watch at the same time.
const MIN_CONNECTIONS: usize = 2;
/// Postgres' own default for a whole server is 100.
const MAX_CONNECTIONS: usize = 500;
/// Each node knows all of them; more than a few are asked in vain.
const MAX_PATRONI_NODES: usize = 16;

/// The settings under `[store]` as they are written. No `Debug`: addresses may hold passwords.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StoreSettings {
    url: Option<String>,
    owner_url: Option<String>,
    replicas: Vec<String>,
    patroni: Vec<String>,
    ca_file: Option<PathBuf>,
    migrate: bool,
    connections_max: usize,
    acquire_timeout_ms: u64,
    connect_timeout_ms: u64,
    statement_timeout_ms: u64,
    commit_timeout_ms: u64,
    idle_connection_s: u64,
    slow_acquire_ms: u64,
    slow_query_ms: u64,
    replica_lag_max_ms: u64,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            url: None,
            owner_url: None,
            replicas: Vec::new(),
            patroni: Vec::new(),
            ca_file: None,
            migrate: true,
            connections_max: 16,
            acquire_timeout_ms: 3_000,
            connect_timeout_ms: 1_000,
            statement_timeout_ms: 5_000,
            commit_timeout_ms: 5_000,
            idle_connection_s: 300,
            slow_acquire_ms: 100,
            slow_query_ms: 500,
            replica_lag_max_ms: 5_000,
        }
    }
}

/// Where a cluster of Postgres servers is and how it is treated, checked.
#[derive(Debug, Clone)]
pub(crate) struct PostgresConfig {
    /// The primary: whichever of these hosts takes writes.
    pub(super) primary: Vec<tokio_postgres::Config>,
    /// The same as the schema's owner, for migrations.
    pub(super) owner: Vec<tokio_postgres::Config>,
    /// Each a server of its own.
    pub(super) replicas: Vec<tokio_postgres::Config>,
    /// Who is asked where the servers are, besides those named here.
    pub(super) patroni: Option<PatroniConfig>,
    /// Certificates that servers' certificates are checked against, besides the system's.
    pub(super) ca_file: Option<PathBuf>,
    pub(super) migrate: bool,
    /// For each server. Too few make requests wait, too many make the server slow.
    pub(super) connections_max: usize,
    pub(super) acquire_timeout: Duration,
    pub(super) connect_timeout: Duration,
    pub(super) statement_timeout: Duration,
    /// A commit that takes longer has an unknown outcome.
    pub(super) commit_timeout: Duration,
    pub(super) idle_connection: Duration,
    pub(super) slow_acquire: Duration,
    pub(super) slow_query: Duration,
    /// A replica that is further behind is not read.
    pub(super) replica_lag_max: Duration,
}

/// A cluster whose servers Patroni knows.
#[derive(Debug, Clone)]
pub(super) struct PatroniConfig {
    /// Of its REST API, on some nodes or all.
    pub(super) addresses: Vec<reqwest::Url>,
    /// Whether the address of the primary says how servers are reached; else TLS is for those elsewhere.
    ssl_mode: Option<SslMode>,
}

impl PatroniConfig {
    /// How the server at `host` is reached, as `like` is.
    pub(super) fn server(
        &self,
        like: &tokio_postgres::Config,
        host: &str,
        port: u16,
    ) -> tokio_postgres::Config {
        let host = Host::Tcp(host.to_owned());
        let mode = self.ssl_mode.unwrap_or(usual_ssl_mode(is_local(&host)));
        one_host(like, &host, Some(port), mode)
    }
}

#[cfg(test)]
impl PatroniConfig {
    /// Nodes of a test.
    pub(super) fn at(addresses: &[&str]) -> Self {
        let addresses =
            addresses.iter().map(|it| it.parse::<reqwest::Url>().unwrap().join("/cluster").unwrap());
        Self { addresses: addresses.collect(), ssl_mode: None }
    }
}

#[cfg(test)]
impl PostgresConfig {
    /// Asks these nodes of Patroni where the servers are.
    pub(crate) fn with_patroni(mut self, addresses: &[&str]) -> Self {
        self.patroni = Some(PatroniConfig::at(addresses));
        self
    }

    /// The defaults, for a server of a test.
    pub(crate) fn of(url: &str, replicas: Vec<String>) -> Self {
        let settings = StoreSettings { url: Some(url.to_owned()), replicas, ..StoreSettings::default() };
        let mut faults = Vec::new();
        let config = settings.check(&mut faults);
        config.unwrap_or_else(|| panic!("{faults:?}"))
    }

    /// Gives servers up soon, so that a test of their failures is short.
    pub(crate) fn impatient(mut self) -> Self {
        let limit = Duration::from_secs(1);
        (self.acquire_timeout, self.statement_timeout, self.commit_timeout) = (limit, limit, limit);
        self
    }
}

impl StoreSettings {
    /// The cluster, if these settings name one. Faults go to `faults`.
    pub(crate) fn check(self, faults: &mut Vec<String>) -> Option<PostgresConfig> {
        let Some(url) = &self.url else {
            let stray = [
                ("owner_url", self.owner_url.is_some()),
                ("replicas", !self.replicas.is_empty()),
                ("patroni", !self.patroni.is_empty()),
            ];
            let stray = stray.iter().filter(|(_, there)| *there);
            faults.extend(stray.map(|(name, _)| format!("store.{name} is set, but store.url is not")));
            return None;
        };
        if !(MIN_CONNECTIONS..=MAX_CONNECTIONS).contains(&self.connections_max) {
            faults.push(format!(
                "store.connections_max is {}, not {MIN_CONNECTIONS} to {MAX_CONNECTIONS}",
                self.connections_max
            ));
        }
        let mut role = format!("-c role={ROLE}");
        for (name, ms) in [
            ("statement_timeout", self.statement_timeout_ms),
            ("lock_timeout", self.statement_timeout_ms),
            ("idle_in_transaction_session_timeout", 2 * self.statement_timeout_ms),
        ] {
            role.push_str(&format!(" -c {name}={ms}"));
        }
        let owner_url = self.owner_url.as_ref().unwrap_or(url);
        let primary = self.hosts("store.url", url, &role, faults);
        let owner = self.hosts("store.owner_url", owner_url, "", faults);
        let mut replicas = Vec::new();
        for replica in &self.replicas {
            let hosts = self.hosts("store.replicas", replica, &role, faults);
            if hosts.len() > 1 {
                faults.push("store.replicas: one address names several hosts, write one for each".into());
            }
            replicas.extend(hosts);
        }
        let patroni = self.patroni_nodes(url, faults);
        Some(PostgresConfig {
            primary,
            owner,
            replicas,
            patroni,
            ca_file: self.ca_file,
            migrate: self.migrate,
            connections_max: self.connections_max,
            acquire_timeout: Duration::from_millis(self.acquire_timeout_ms),
            connect_timeout: Duration::from_millis(self.connect_timeout_ms),
            statement_timeout: Duration::from_millis(self.statement_timeout_ms),
            commit_timeout: Duration::from_millis(self.commit_timeout_ms),
            idle_connection: Duration::from_secs(self.idle_connection_s),
            slow_acquire: Duration::from_millis(self.slow_acquire_ms),
            slow_query: Duration::from_millis(self.slow_query_ms),
            replica_lag_max: Duration::from_millis(self.replica_lag_max_ms),
        })
    }

    /// One configuration for each host of an address.
    fn hosts(
        &self,
        name: &str,
        url: &str,
        options: &str,
        faults: &mut Vec<String>,
    ) -> Vec<tokio_postgres::Config> {
        let mut config = match url.parse::<tokio_postgres::Config>() {
            Ok(config) => config,
            Err(error) => {
                // Without the address, which may hold a password.
                let problem = PostgresError::from(error);
                faults.push(format!("{name} is no address of Postgres: {problem}"));
                return Vec::new();
            }
        };
        if config.get_hosts().is_empty() || config.get_dbname().is_none() {
            faults.push(format!("{name} names no host or no database"));
            return Vec::new();
        }
        let local = config.get_hosts().iter().all(is_local);
        let mode = match (names_ssl_mode(url), config.get_ssl_mode()) {
            (false, _) => usual_ssl_mode(local),
            (true, mode @ (SslMode::Disable | SslMode::Require)) => mode,
            (true, _) => {
                faults.push(format!("{name}: sslmode is neither disable nor require"));
                return Vec::new();
            }
        };
        let options = [config.get_options().unwrap_or_default(), options].join(" ");
        config.options(options.trim());
        config.connect_timeout(Duration::from_millis(self.connect_timeout_ms));
        config.tcp_user_timeout(Duration::from_millis(2 * self.statement_timeout_ms));
        let ports = config.get_ports();
        let port = |at: usize| ports.get(at).or(ports.first()).copied();
        let hosts = config.get_hosts().iter().enumerate();
        hosts.map(|(at, host)| one_host(&config, host, port(at), mode)).collect()
    }

    fn patroni_nodes(&self, url: &str, faults: &mut Vec<String>) -> Option<PatroniConfig> {
        if self.patroni.len() > MAX_PATRONI_NODES {
            faults.push(format!(
                "store.patroni names {} nodes, the limit is {MAX_PATRONI_NODES}",
                self.patroni.len()
            ));
        }
        let mut addresses = Vec::new();
        for text in &self.patroni {
            let address = text.parse::<reqwest::Url>().ok().and_then(|base| base.join("/cluster").ok());
            match address.filter(|address| matches!(address.scheme(), "http" | "https")) {
                Some(address) => addresses.push(address),
                // Without the address, which may hold a password.
                None => faults.push("store.patroni: one is no http:// or https:// address".into()),
            }
        }
        let named = names_ssl_mode(url).then(|| url.parse::<tokio_postgres::Config>().ok()).flatten();
        let ssl_mode = named.map(|config| config.get_ssl_mode());
        (!addresses.is_empty()).then_some(PatroniConfig { addresses, ssl_mode })
    }
}

fn names_ssl_mode(url: &str) -> bool {
    url.contains("sslmode=")
}

/// What an address that does not say it means.
fn usual_ssl_mode(local: bool) -> SslMode {
    if local { SslMode::Disable } else { SslMode::Require }
}

/// One host, reached in the way that `like` says.
fn one_host(
    like: &tokio_postgres::Config,
    host: &Host,
    port: Option<u16>,
    mode: SslMode,
) -> tokio_postgres::Config {
    let mut one = tokio_postgres::Config::new();
    match host {
        Host::Tcp(host) => one.host(host),
        Host::Unix(path) => one.host_path(path),
    };
    if let Some(port) = port {
        one.port(port);
    }
    if let Some(user) = like.get_user() {
        one.user(user);
    }
    if let Some(password) = like.get_password() {
        one.password(password);
    }
    if let Some(database) = like.get_dbname() {
        one.dbname(database);
    }
    if let Some(timeout) = like.get_connect_timeout() {
        one.connect_timeout(*timeout);
    }
    if let Some(timeout) = like.get_tcp_user_timeout() {
        one.tcp_user_timeout(*timeout);
    }
    one.options(like.get_options().unwrap_or_default())
        .application_name(like.get_application_name().unwrap_or("rollcall-origin"))
        .ssl_mode(mode)
        .keepalives_idle(Duration::from_secs(30));
    one
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(settings: StoreSettings) -> Result<PostgresConfig, String> {
        let mut faults = Vec::new();
        let config = settings.check(&mut faults);
        if faults.is_empty() { Ok(config.unwrap()) } else { Err(faults.join("; ")) }
    }

    fn url(url: &str) -> StoreSettings {
        StoreSettings { url: Some(url.to_owned()), ..StoreSettings::default() }
    }

    #[test]
    fn a_server_elsewhere_is_reached_by_tls_unless_the_address_says_otherwise() {
        let mode = |text: &str| check(url(text)).unwrap().primary[0].get_ssl_mode();
        assert_eq!(mode("postgres://app@db.example/rollcall"), SslMode::Require);
        assert_eq!(mode("postgres://app@db.example/rollcall?sslmode=disable"), SslMode::Disable);
        assert_eq!(mode("postgres://app@127.0.0.1:5433/rollcall"), SslMode::Disable);
        let fault = check(url("postgres://app@db.example/rollcall?sslmode=prefer")).unwrap_err();
        assert!(fault.contains("sslmode"), "{fault}");
    }

    #[test]
    fn each_host_of_an_address_keeps_its_own_port() {
        let config = check(url("postgres://app@127.0.0.1:1,localhost:2/rollcall")).unwrap();
        let ports: Vec<_> = config.primary.iter().map(|host| host.get_ports().to_vec()).collect();
        assert_eq!(ports, [[1], [2]]);
        assert!(config.primary[1].get_options().unwrap().contains("role=rollcall_app"));
        assert!(!config.owner[0].get_options().unwrap().contains("role="));
    }

    #[test]
    fn no_fault_shows_the_password() {
        let wrong =
            StoreSettings { connections_max: 0, ..url("postgres://app:s3cret@db.example:x/rollcall") };
        let fault = check(wrong).unwrap_err();
        assert!(fault.contains("store.url") && fault.contains("store.connections_max"), "{fault}");
        assert!(!fault.contains("s3cret"), "{fault}");
        let stray = StoreSettings { replicas: vec!["postgres://x/y".into()], ..StoreSettings::default() };
        let mut faults = Vec::new();
        assert!(stray.check(&mut faults).is_none());
        assert_eq!(faults, ["store.replicas is set, but store.url is not"]);
    }

    #[test]
    fn a_node_of_patroni_is_an_address_of_http() {
        let with = |nodes: &[&str]| {
            let patroni = nodes.iter().map(|node| (*node).to_owned()).collect();
            check(StoreSettings { patroni, ..url("postgres://app@db.example/rollcall") })
        };
        let config = with(&["http://10.0.0.1:8008", "https://db2.example:8008/"]).unwrap();
        let addresses = config.patroni.unwrap().addresses;
        assert_eq!(addresses[0].as_str(), "http://10.0.0.1:8008/cluster");
        assert_eq!(addresses[1].as_str(), "https://db2.example:8008/cluster");
        assert!(with(&[]).unwrap().patroni.is_none());
        for wrong in ["10.0.0.1:8008", "ftp://10.0.0.1", ""] {
            let fault = with(&[wrong]).unwrap_err();
            assert_eq!(fault, "store.patroni: one is no http:// or https:// address", "{wrong}");
        }
        let fault = with(&["http://10.0.0.1:8008"; MAX_PATRONI_NODES + 1]).unwrap_err();
        assert!(fault.contains("the limit is 16"), "{fault}");
    }
}
