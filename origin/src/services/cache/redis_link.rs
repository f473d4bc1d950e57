//! A connection to Redis, whichever way it is reached.

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, IntoConnectionInfo as _, RedisResult, Value,
};
use std::time::Duration;

/// The port of sentinels where an address names none.
const SENTINEL_PORT: u16 = 26_379;

/// Where Redis is.
#[derive(Clone)]
pub(super) enum RedisAddress {
    /// `redis://` or `rediss://`.
    Single(Client),
    /// `redis-sentinel://[USER:PASSWORD@]HOST[:PORT][,HOST…]/MASTER`.
    Sentinel { sentinels: Vec<(String, u16)>, master: String, user: Option<String>, password: Option<String> },
    /// `redis-cluster://[USER:PASSWORD@]HOST[:PORT][,HOST…]`: nodes to begin with.
    Cluster(Vec<String>),
}

/// Without the address, which may hold a password.
impl std::fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            RedisAddress::Single(_) => "Single(…)",
            RedisAddress::Sentinel { .. } => "Sentinel(…)",
            RedisAddress::Cluster(_) => "Cluster(…)",
        })
    }
}

impl RedisAddress {
    pub(super) fn parse(url: &str) -> Result<Self, &'static str> {
        if let Some(rest) = url.strip_prefix("redis-sentinel://") {
            let (login, hosts) =
                rest.rsplit_once('@').map_or((None, rest), |(login, hosts)| (Some(login), hosts));
            let (hosts, master) = hosts.split_once('/').ok_or("no master is named after the sentinels")?;
            if master.is_empty() || hosts.is_empty() {
                return Err("no master is named after the sentinels");
            }
            let sentinels = hosts.split(',').map(host_and_port).collect::<Option<_>>();
            let (user, password) = login.map_or((None, None), |login| match login.split_once(':') {
                Some((user, password)) => {
                    (Some(user.to_owned()).filter(|user| !user.is_empty()), Some(password.to_owned()))
                }
                None => (Some(login.to_owned()), None),
            });
            let sentinels = sentinels.ok_or("a sentinel is not HOST or HOST:PORT")?;
            return Ok(Self::Sentinel { sentinels, master: master.to_owned(), user, password });
        }
        if let Some(rest) = url.strip_prefix("redis-cluster://") {
            let (login, hosts) =
                rest.rsplit_once('@').map_or((None, rest), |(login, hosts)| (Some(login), hosts));
            let login = login.map_or_else(String::new, |login| format!("{login}@"));
            let nodes: Vec<String> =
                hosts.trim_end_matches('/').split(',').map(|host| format!("redis://{login}{host}")).collect();
            let sound = nodes.iter().all(|node| node.as_str().into_connection_info().is_ok());
            return if sound { Ok(Self::Cluster(nodes)) } else { Err("a node is not HOST or HOST:PORT") };
        }
        if !["redis://", "rediss://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err("it begins with none of redis://, rediss://, redis-sentinel://, redis-cluster://");
        }
        Client::open(url)
            .map(Self::Single)
            .map_err(|_| "it is not redis://[USER:PASSWORD@]HOST[:PORT][/NUMBER]")
    }

    /// Connects, and hears a word from the other side.
    pub(super) async fn connect(&self, within: Duration) -> RedisResult<RedisLink> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(within))
            .set_response_timeout(Some(within));
        let mut link = match self {
            RedisAddress::Single(client) => {
                RedisLink::One(client.get_multiplexed_async_connection_with_config(&config).await?)
            }
            RedisAddress::Sentinel { sentinels, master, user, password } => {
                let sentinels = sentinels.iter().map(|(host, port)| ConnectionAddr::Tcp(host.clone(), *port));
                let mut builder = SentinelClientBuilder::new(sentinels, master, SentinelServerType::Master)?;
                if let Some(user) = user {
                    builder = builder.set_client_to_redis_username(user);
                }
                if let Some(password) = password {
                    builder = builder.set_client_to_redis_password(password);
                }
                RedisLink::One(builder.build()?.get_async_connection_with_config(&config).await?)
            }
            RedisAddress::Cluster(nodes) => {
                let client = ClusterClient::builder(nodes.iter().map(String::as_str))
                    .connection_timeout(within)
                    .response_timeout(within)
                    .retries(1)
                    .build()?;
                RedisLink::Cluster(client.get_async_connection().await?)
            }
        };
        link.ask(&redis::cmd("PING")).await?;
        Ok(link)
    }
}

/// Clones share the connection.
#[derive(Clone)]
pub(super) enum RedisLink {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl RedisLink {
    pub(super) async fn ask(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            RedisLink::One(connection) => connection.req_packed_command(command).await?.extract_error(),
            RedisLink::Cluster(connection) => connection.req_packed_command(command).await?.extract_error(),
        }
    }
}

fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (text, SENTINEL_PORT),
    };
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_address_is_read() {
        assert!(matches!(RedisAddress::parse("redis://127.0.0.1:7000/1"), Ok(RedisAddress::Single(_))));
        let sentinel = RedisAddress::parse("redis-sentinel://:pw@a,b:7/main").unwrap();
        let RedisAddress::Sentinel { sentinels, master, user, password } = sentinel else { panic!() };
        assert_eq!(sentinels, [("a".to_owned(), SENTINEL_PORT), ("b".to_owned(), 7)]);
        assert_eq!((master.as_str(), user, password.as_deref()), ("main", None, Some("pw")));
        let cluster = RedisAddress::parse("redis-cluster://u:p@a:1,b:2").unwrap();
        let RedisAddress::Cluster(nodes) = cluster else { panic!() };
        assert_eq!(nodes, ["redis://u:p@a:1", "redis://u:p@b:2"]);
        for wrong in ["http://a", "redis-sentinel://a,b", "redis-sentinel://a:x/main", "redis://a:b:c", ""] {
            assert!(RedisAddress::parse(wrong).is_err(), "{wrong}");
        }
    }
}
