//! Making connections: the hosts of one address, TLS with checked certificates.

use crate::store::error::OpenError;
use crate::store::notices::Notice;
use deadpool_postgres::Connect;
use futures_util::future::{BoxFuture, select_ok};
use futures_util::stream;
use futures_util::{FutureExt as _, StreamExt as _};
use native_tls::{Certificate, TlsConnector};
use postgres_native_tls::MakeTlsConnector;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::{AsyncMessage, Client, Error};

/// Connects to whichever of an address' hosts is the right one.
#[derive(Clone)]
pub(super) struct Dialer {
    inner: Arc<Inner>,
}

struct Inner {
    hosts: RwLock<Hosts>,
    tls: MakeTlsConnector,
    /// How long the host that was right last time may take before the others are asked too.
    patience: Duration,
}

#[derive(Clone)]
struct Hosts {
    all: Arc<[tokio_postgres::Config]>,
    last_right: usize,
}

impl Dialer {
    /// For the host that takes writes.
    pub(super) fn to_primary(
        hosts: Vec<tokio_postgres::Config>,
        tls: &MakeTlsConnector,
        patience: Duration,
    ) -> Self {
        Self::new(taking_writes(hosts), tls, patience)
    }

    /// Other hosts of which one takes writes, the first most probably.
    pub(super) fn replace_hosts(&self, hosts: Vec<tokio_postgres::Config>) {
        let hosts = Hosts { all: taking_writes(hosts).into(), last_right: 0 };
        *self.inner.hosts.write().unwrap_or_else(PoisonError::into_inner) = hosts;
    }

    /// For one server, whatever it is.
    pub(super) fn to_server(
        host: tokio_postgres::Config,
        tls: &MakeTlsConnector,
        patience: Duration,
    ) -> Self {
        Self::new(vec![host], tls, patience)
    }

    fn new(hosts: Vec<tokio_postgres::Config>, tls: &MakeTlsConnector, patience: Duration) -> Self {
        let hosts = RwLock::new(Hosts { all: hosts.into(), last_right: 0 });
        Self { inner: Arc::new(Inner { hosts, tls: tls.clone(), patience }) }
    }

    /// Asks the host that was right last time, then all at once: one that is stopped answers nothing, not even an
    /// error, and must not hide the new primary. Without an overall limit: the caller sets one.
    pub(super) async fn dial(&self) -> Result<(Client, JoinHandle<()>), Error> {
        self.dial_listening(None).await
    }

    /// The same; what comes on the channels to which the connection listens goes to `heard`, as far as there is room.
    pub(super) async fn dial_listening(
        &self,
        heard: Option<&mpsc::Sender<Notice>>,
    ) -> Result<(Client, JoinHandle<()>), Error> {
        let Hosts { all, last_right } =
            self.inner.hosts.read().unwrap_or_else(PoisonError::into_inner).clone();
        if all.len() == 1 {
            return self.dial_host(&all[0], heard).await;
        }
        let first = self.dial_host(&all[last_right], heard);
        if let Ok(Ok(dialled)) = tokio::time::timeout(self.inner.patience, first).await {
            return Ok(dialled);
        }
        let each = all.iter().enumerate().map(|(at, host)| {
            self.dial_host(host, heard).map(move |dialled| dialled.map(|dialled| (at, dialled))).boxed()
        });
        let ((at, dialled), _) = select_ok(each).await?;
        let mut hosts = self.inner.hosts.write().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&hosts.all, &all) {
            hosts.last_right = at;
        }
        Ok(dialled)
    }

    async fn dial_host(
        &self,
        host: &tokio_postgres::Config,
        heard: Option<&mpsc::Sender<Notice>>,
    ) -> Result<(Client, JoinHandle<()>), Error> {
        let (client, mut connection) = host.connect(self.inner.tls.clone()).await?;
        let heard = heard.cloned();
        let task = tokio::spawn(async move {
            let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
            while let Some(message) = messages.next().await {
                match (message, &heard) {
                    (Ok(AsyncMessage::Notification(notice)), Some(heard)) => {
                        // A reader that is slow loses some: the connection serves others too.
                        let _ = heard.try_send(Notice::Said(notice.payload().to_owned()));
                    }
                    (Ok(_), _) => {}
                    (Err(error), _) => {
                        tracing::debug!(%error, "a connection to Postgres ended");
                        return;
                    }
                }
            }
        });
        Ok((client, task))
    }
}

fn taking_writes(mut hosts: Vec<tokio_postgres::Config>) -> Vec<tokio_postgres::Config> {
    for host in &mut hosts {
        host.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    hosts
}

impl Connect for Dialer {
    // The hosts are the dialer's own; deadpool's configuration only names them.
    fn connect(
        &self,
        _config: &tokio_postgres::Config,
    ) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), Error>> {
        self.dial().boxed()
    }
}

/// Checks certificates against the system's authorities and those of `ca_file`.
pub(super) fn tls(ca_file: Option<&Path>) -> Result<MakeTlsConnector, OpenError> {
    let mut tls = TlsConnector::builder();
    if let Some(path) = ca_file {
        let fault = |problem: String| OpenError::Certificates { path: path.to_owned(), problem };
        let pem = std::fs::read(path).map_err(|error| fault(error.to_string()))?;
        let certificates = Certificate::stack_from_pem(&pem).map_err(|error| fault(error.to_string()))?;
        for certificate in certificates {
            tls.add_root_certificate(certificate);
        }
    }
    let tls = tls.build().map_err(|error| OpenError::Tls(error.to_string()))?;
    Ok(MakeTlsConnector::new(tls))
}
