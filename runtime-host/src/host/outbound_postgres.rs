//! Connections of guests to Postgres servers: only to `allowed_outbound_hosts`, each guest's its own for as long as it holds it,
//! and then cleaned and kept for the next one.

use super::metered::{AnswerBudget, Metered};
use super::outbound_http::{DialError, OutboundHttp};
use crate::limits;
use native_tls::{Certificate, TlsConnector};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config};

#[derive(Debug, thiserror::Error)]
pub enum OutboundPostgresError {
    #[error("address: {0}")]
    Address(#[source] tokio_postgres::Error),
    #[error("address names no host by TCP; sockets and `hostaddr` are not offered")]
    NoTcpHost,
    #[error("allowed_outbound_hosts of the component does not give `postgres://{host}:{port}`")]
    Denied { host: String, port: u16 },
    #[error("{} connections of the component are open, which is the limit", limits::OUTBOUND_REQUESTS)]
    TooManyConnections,
    #[error("{0}")]
    Dial(#[source] DialError),
    #[error("certificate: {0}")]
    Certificate(#[source] native_tls::Error),
    #[error("no answer within {:?}", limits::POSTGRES_TIMEOUT)]
    TimedOut,
    #[error("{}", said(.0))]
    Postgres(#[source] tokio_postgres::Error),
}

/// The client's own words leave out what the server said.
fn said(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Where a connection goes, and whom it believes there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PostgresAddress {
    pub address: String,
    /// PEM; besides the system's authorities.
    pub ca: Option<String>,
}

/// What one component has.
#[derive(Clone)]
pub struct PostgresConnections {
    outbound: OutboundHttp,
    idle: Arc<Mutex<HashMap<PostgresAddress, Vec<Idle>>>>,
    /// Bounds the connections that guests hold.
    room: Arc<Semaphore>,
}

struct Idle {
    client: Client,
    budget: AnswerBudget,
    since: Instant,
}

/// A connection that a guest has open.
pub struct OpenPostgres {
    /// Taken in `drop` alone.
    client: Option<Client>,
    budget: AnswerBudget,
    /// A statement is under way, or was given up.
    busy: AtomicBool,
    to: PostgresAddress,
    owner: PostgresConnections,
    _room: OwnedSemaphorePermit,
}

/// Marks the connection while a statement runs: a guest that goes away meanwhile leaves it marked.
pub struct Statement<'a>(&'a OpenPostgres);

/// Brings a connection's state back to what it was when it was new. Prepared statements stay, since the client keeps some.
const CLEAN: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *;
    SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES";

impl PostgresConnections {
    pub fn new(outbound: OutboundHttp) -> Self {
        let room = Arc::new(Semaphore::new(limits::OUTBOUND_REQUESTS));
        Self { outbound, idle: Arc::default(), room }
    }

    pub async fn open(&self, to: PostgresAddress) -> Result<OpenPostgres, OutboundPostgresError> {
        let config: Config = to.address.parse().map_err(OutboundPostgresError::Address)?;
        let room = tokio::time::timeout(limits::OUTBOUND_CONNECT_TIMEOUT, self.room.clone().acquire_owned());
        let Ok(Ok(room)) = room.await else { return Err(OutboundPostgresError::TooManyConnections) };
        let (client, budget) = match self.take_idle(&to) {
            Some(idle) => (idle.client, idle.budget),
            None => self.connect(config, &to).await?,
        };
        let (client, busy) = (Some(client), AtomicBool::new(false));
        Ok(OpenPostgres { client, budget, busy, to, owner: self.clone(), _room: room })
    }

    /// Tries the hosts of the address one after the other.
    async fn connect(
        &self,
        mut config: Config,
        to: &PostgresAddress,
    ) -> Result<(Client, AnswerBudget), OutboundPostgresError> {
        let hosts = tcp_hosts(&config)?;
        if let Some((host, port)) =
            hosts.iter().find(|(host, port)| !self.outbound.allows("postgres", host, *port))
        {
            return Err(OutboundPostgresError::Denied { host: host.clone(), port: *port });
        }
        if config.get_options().is_none() {
            // The server gives up what nobody waits for any more. A guest may set it to less or more; we wait no longer.
            config.options(format!("-c statement_timeout={}", limits::POSTGRES_TIMEOUT.as_millis()));
        }
        let tls = tls(to.ca.as_deref()).map_err(OutboundPostgresError::Certificate)?;
        let mut last = OutboundPostgresError::NoTcpHost;
        for (host, port) in hosts {
            match self.connect_to(&config, &tls, &host, port).await {
                Ok(connected) => return Ok(connected),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn connect_to(
        &self,
        config: &Config,
        tls: &TlsConnector,
        host: &str,
        port: u16,
    ) -> Result<(Client, AnswerBudget), OutboundPostgresError> {
        let stream =
            self.outbound.dial("postgres", host, port, false).await.map_err(|error| match error {
                DialError::Denied => OutboundPostgresError::Denied { host: host.to_owned(), port },
                DialError::Unreachable(_) => OutboundPostgresError::Dial(error),
            })?;
        let budget = AnswerBudget::new(limits::POSTGRES_ANSWER_BYTES);
        let stream = Metered::new(stream, budget.clone());
        let connect = config.connect_raw(stream, postgres_native_tls::TlsConnector::new(tls.clone(), host));
        let connected = tokio::time::timeout(limits::POSTGRES_TIMEOUT, connect).await;
        let (client, connection) = connected
            .map_err(|_| OutboundPostgresError::TimedOut)?
            .map_err(OutboundPostgresError::Postgres)?;
        tokio::spawn(async move {
            // Ends when the client is dropped.
            if let Err(error) = connection.await {
                tracing::debug!("connection of a guest to Postgres: {}", said(&error));
            }
        });
        Ok((client, budget))
    }

    fn take_idle(&self, to: &PostgresAddress) -> Option<Idle> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh =
            |idle: &Idle| !idle.client.is_closed() && idle.since.elapsed() < limits::OUTBOUND_IDLE_TIMEOUT;
        idle.values_mut().for_each(|connections| connections.retain(fresh));
        idle.retain(|_, connections| !connections.is_empty());
        idle.get_mut(to)?.pop()
    }

    fn put_idle(&self, to: PostgresAddress, connection: Idle) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.values().map(Vec::len).sum::<usize>() < limits::OUTBOUND_IDLE_CONNECTIONS {
            idle.entry(to).or_default().push(connection);
        }
    }
}

fn tcp_hosts(config: &Config) -> Result<Vec<(String, u16)>, OutboundPostgresError> {
    // An address beside the name would be reached instead of it.
    if !config.get_hostaddrs().is_empty() || config.get_hosts().is_empty() {
        return Err(OutboundPostgresError::NoTcpHost);
    }
    let ports = config.get_ports();
    let hosts = config.get_hosts().iter().enumerate().map(|(n, host)| match host {
        Host::Tcp(name) => {
            let port = ports.get(n).or(ports.first()).copied().unwrap_or(5432);
            Ok((name.clone(), port))
        }
        Host::Unix(_) => Err(OutboundPostgresError::NoTcpHost),
    });
    hosts.collect()
}

/// Who trusts the system's authorities alone. Reading them takes tens of milliseconds of processor time, which each connection
/// would pay, and the guest with it.
static SYSTEM: OnceLock<TlsConnector> = OnceLock::new();

fn tls(ca: Option<&str>) -> Result<TlsConnector, native_tls::Error> {
    let Some(ca) = ca else {
        if let Some(system) = SYSTEM.get() {
            return Ok(system.clone());
        }
        let system = TlsConnector::new()?;
        return Ok(SYSTEM.get_or_init(|| system).clone());
    };
    TlsConnector::builder().add_root_certificate(Certificate::from_pem(ca.as_bytes())?).build()
}

impl OpenPostgres {
    /// For one statement at a time or several; each renews what its answer may have.
    pub fn begin(&self) -> Statement<'_> {
        self.budget.renew();
        self.busy.store(true, Ordering::Relaxed);
        Statement(self)
    }
}

impl Statement<'_> {
    pub fn client(&self) -> &Client {
        self.0.client.as_ref().expect("the client is taken by drop alone")
    }

    /// The server has answered, be it with an error.
    pub fn end(self) {
        self.0.busy.store(false, Ordering::Relaxed);
    }
}

impl Drop for OpenPostgres {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        if self.busy.load(Ordering::Relaxed) || client.is_closed() {
            return;
        }
        let (owner, to, budget) = (self.owner.clone(), self.to.clone(), self.budget.clone());
        // Within the time that a guest's runtime has; without one the connection ends.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            budget.renew();
            let clean = async {
                // By itself: what follows would fail in a transaction that has failed.
                client.batch_execute("ROLLBACK").await?;
                client.batch_execute(CLEAN).await
            };
            if matches!(tokio::time::timeout(limits::POSTGRES_TIMEOUT, clean).await, Ok(Ok(()))) {
                owner.put_idle(to, Idle { client, budget, since: Instant::now() });
            }
        });
    }
}

#[cfg(test)]
pub(super) mod tests;
