//! Where the servers of the cluster are, as Patroni says: its REST API's `GET /cluster` names the leader and the replicas on
//! every node alike.
//!
//! What it says is a hint where to look. Whether a server takes writes, the server itself says, and whether it is of the newest
//! epoch is checked as ever: an answer that is behind the times costs a vain connection and nothing else.

use super::dial::Dialer;
use super::primary::Primary;
use super::replicas::Replicas;
use super::server::SharedServer;
use crate::store::error::OpenError;
use crate::store::settings::{PatroniConfig, PostgresConfig};
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How often the nodes are asked.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// The same while the primary does not answer.
const ASK_EVERY_IN_NEED: Duration = Duration::from_millis(200);
/// A node that does not answer within this is passed over.
const ANSWER_MAX: Duration = Duration::from_millis(1_000);
/// Longest answer that is read: hundreds of members.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// Most members that are looked at; a cluster has a handful.
pub(super) const MAX_MEMBERS: usize = 16;

/// The documentation of Patroni, "Patroni REST API", `GET /cluster`.
#[derive(Debug, Deserialize)]
struct ClusterAnswer {
    members: Vec<Member>,
}

#[derive(Debug, Deserialize)]
struct Member {
    role: String,
    #[serde(default)]
    state: String,
    /// Absent while the member has not said where its server is.
    host: Option<String>,
    port: Option<u16>,
    #[serde(default)]
    tags: Tags,
}

#[derive(Debug, Default, Deserialize)]
struct Tags {
    /// Its reads are for somebody else.
    #[serde(default)]
    noloadbalance: bool,
}

/// The servers of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    leader: Option<Address>,
    replicas: Vec<Address>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    host: String,
    port: u16,
}

pub(super) struct Patroni {
    config: PatroniConfig,
    /// How the primary's servers are reached but for their addresses.
    like: tokio_postgres::Config,
    /// Those that the configuration names.
    named: Vec<tokio_postgres::Config>,
    client: reqwest::Client,
}

impl Found {
    fn read(answer: ClusterAnswer) -> Self {
        let mut found = Self::default();
        for member in answer.members.into_iter().take(MAX_MEMBERS) {
            let (Some(host), Some(port)) = (member.host, member.port) else { continue };
            let address = Address { host, port };
            match member.role.as_str() {
                // `master` until Patroni 4.
                "leader" | "primary" | "master" => found.leader = Some(address),
                // Whether it is near enough to be read is asked of the server itself.
                "replica" | "sync_standby" | "quorum_standby"
                    if matches!(member.state.as_str(), "running" | "streaming" | "in archive recovery")
                        && !member.tags.noloadbalance =>
                {
                    found.replicas.push(address);
                }
                // Starting, stopped, or the leader of a cluster that follows another.
                _ => {}
            }
        }
        found
    }
}

impl Address {
    /// As [`super::name`] writes it.
    fn name(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl Patroni {
    /// None where the configuration names no node.
    pub(super) fn new(
        config: &PostgresConfig,
        hosts: &[tokio_postgres::Config],
    ) -> Result<Option<Self>, OpenError> {
        let (Some(patroni), Some(like)) = (config.patroni.clone(), hosts.first().cloned()) else {
            return Ok(None);
        };
        let client = client(config.ca_file.as_deref())?;
        Ok(Some(Self { config: patroni, like, named: hosts.to_vec(), client }))
    }

    /// What the first node says that says something; what each of them said instead.
    pub(super) async fn ask(&self) -> Result<Found, String> {
        let mut problems = Vec::new();
        for address in &self.config.addresses {
            match tokio::time::timeout(ANSWER_MAX, self.ask_node(address)).await {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(problem)) => problems.push(problem),
                Err(_) => problems.push(format!("no answer within {ANSWER_MAX:?}")),
            }
        }
        Err(problems.join("; "))
    }

    async fn ask_node(&self, address: &reqwest::Url) -> Result<Found, String> {
        // Without the address, which may hold a password.
        let problem = |error: reqwest::Error| error.without_url().to_string();
        let mut response = self.client.get(address.clone()).send().await.map_err(problem)?;
        if !response.status().is_success() {
            return Err(format!("status {}", response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(problem)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER_BYTES {
                return Err(format!("an answer of more than {MAX_ANSWER_BYTES} bytes"));
            }
        }
        serde_json::from_slice(&body).map(Found::read).map_err(|error| error.to_string())
    }

    /// Where the primary is looked for: at the leader, then at the others, then where the configuration says.
    pub(super) fn hosts(&self, found: &Found) -> Vec<tokio_postgres::Config> {
        let addresses = found.leader.iter().chain(&found.replicas);
        let mut hosts: Vec<_> = addresses.map(|it| self.server(it)).collect();
        let names: Vec<_> = hosts.iter().map(super::name).collect();
        hosts.extend(self.named.iter().filter(|host| !names.contains(&super::name(host))).cloned());
        hosts
    }

    fn server(&self, address: &Address) -> tokio_postgres::Config {
        self.config.server(&self.like, &address.host, address.port)
    }
}

/// The configuration with the servers where Patroni says they are; as it is where Patroni is not asked, or does not answer.
pub(super) async fn locate(config: &PostgresConfig) -> Result<PostgresConfig, OpenError> {
    let mut located = config.clone();
    for hosts in [&mut located.primary, &mut located.owner] {
        let Some(patroni) = Patroni::new(config, hosts)? else { continue };
        match patroni.ask().await {
            Ok(found) => *hosts = patroni.hosts(&found),
            Err(problem) => tracing::warn!(problem, "Patroni does not answer"),
        }
    }
    Ok(located)
}

fn client(ca_file: Option<&Path>) -> Result<reqwest::Client, OpenError> {
    let mut client =
        reqwest::Client::builder().timeout(ANSWER_MAX).redirect(reqwest::redirect::Policy::none());
    if let Some(path) = ca_file {
        let fault = |problem: String| OpenError::Certificates { path: path.to_owned(), problem };
        let pem = std::fs::read(path).map_err(|error| fault(error.to_string()))?;
        let certificates =
            reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| fault(error.to_string()))?;
        client = client.tls_certs_merge(certificates);
    }
    client.build().map_err(|error| OpenError::Tls(error.to_string()))
}

/// Tells `primary` and `replicas` where the servers are, for as long as the store is open. `open` opens a server to be read.
pub(super) async fn follow(
    patroni: Patroni,
    primary: Arc<Primary>,
    replicas: Arc<Replicas>,
    open: impl Fn(tokio_postgres::Config) -> (SharedServer, Dialer),
) {
    let mut known = Found::default();
    let mut answers = true;
    loop {
        match patroni.ask().await {
            // One that knows of no leader is in the middle of an election: what was known is as good.
            Ok(found) if found.leader.is_some() && found != known => {
                tracing::info!(?found, "servers of the cluster");
                if found.leader != known.leader {
                    primary.replace_hosts(patroni.hosts(&found));
                }
                let names: Vec<_> = found.replicas.iter().map(Address::name).collect();
                replicas.replace_found(&names, |name| {
                    let address = found.replicas.iter().find(|address| address.name() == name);
                    open(patroni.server(address.expect("the names are of these addresses")))
                });
                known = found;
                answers = true;
            }
            Ok(_) => answers = true,
            Err(problem) => {
                if std::mem::take(&mut answers) {
                    tracing::warn!(problem, "Patroni does not answer; the servers known are used");
                }
            }
        }
        tokio::time::sleep(if primary.answers() { ASK_EVERY } else { ASK_EVERY_IN_NEED }).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a cluster of Patroni 3.0.2, shortened.
    const ANSWER: &str = r#"{"members": [
        {"name": "a", "role": "leader", "state": "running", "api_url": "http://10.0.0.1:8008/patroni", "host": "10.0.0.1", "port": 5432, "timeline": 2},
        {"name": "b", "role": "sync_standby", "state": "running", "host": "10.0.0.2", "port": 5433, "timeline": 2, "lag": 0},
        {"name": "c", "role": "replica", "state": "streaming", "host": "10.0.0.3", "port": 5432, "lag": "unknown"},
        {"name": "d", "role": "replica", "state": "starting", "host": "10.0.0.4", "port": 5432},
        {"name": "e", "role": "replica", "state": "streaming", "host": "10.0.0.5", "port": 5432, "tags": {"noloadbalance": true}},
        {"name": "f", "role": "replica", "state": "stopped"}], "scope": "rollcall", "pause": true}"#;

    #[test]
    fn the_leader_takes_writes_and_replicas_that_run_are_read() {
        let found = Found::read(serde_json::from_str(ANSWER).unwrap());
        assert_eq!(found.leader.as_ref().unwrap().name(), "10.0.0.1:5432");
        let names: Vec<_> = found.replicas.iter().map(Address::name).collect();
        assert_eq!(names, ["10.0.0.2:5433", "10.0.0.3:5432"]);
        assert!(serde_json::from_str::<ClusterAnswer>(r#"{"members": {}}"#).is_err());
    }

    #[test]
    fn servers_elsewhere_are_reached_by_tls_with_the_rights_of_those_named() {
        let config = PostgresConfig::of("postgres://app:pw@127.0.0.1:1/rollcall", Vec::new());
        let mut with = config.clone();
        with.patroni = Some(PatroniConfig::at(&["http://127.0.0.1:8008"]));
        let patroni = Patroni::new(&with, &with.primary).unwrap().unwrap();
        let hosts = patroni.hosts(&Found::read(serde_json::from_str(ANSWER).unwrap()));
        let names: Vec<_> = hosts.iter().map(super::super::name).collect();
        assert_eq!(names, ["10.0.0.1:5432", "10.0.0.2:5433", "10.0.0.3:5432", "127.0.0.1:1"]);
        assert_eq!(hosts[0].get_ssl_mode(), tokio_postgres::config::SslMode::Require);
        assert_eq!(hosts[3].get_ssl_mode(), tokio_postgres::config::SslMode::Disable);
        assert_eq!(hosts[0].get_options(), config.primary[0].get_options());
        assert_eq!(hosts[0].get_password(), Some("pw".as_bytes()));
        assert!(Patroni::new(&config, &config.primary).unwrap().is_none());
    }
}
