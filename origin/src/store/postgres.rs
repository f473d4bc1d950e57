//! The engine of a cluster: a Postgres primary that is written, and replicas that are read.
//!
//! A transaction runs on a blocking thread with a connection of its own; there are as many of those threads as
//! connections. Everything that waits for the network runs on a runtime of the store's own, so that the store works
//! from commands and tests too, and a busy HTTP front does not slow the watch over the servers.

mod accounts;
mod activities;
mod attempts;
mod audit;
mod collections;
mod coursework;
mod dial;
mod directory;
mod documents;
mod doubts;
mod feed;
mod fees;
mod figures;
mod idempotency;
mod messages;
mod migrate;
mod notifications;
mod outbox;
mod overview;
mod patroni;
mod primary;
mod quarantine;
mod replicas;
mod retention;
mod series;
mod server;
mod sessions;
mod timetable;
mod transaction;

use super::error::{OpenError, StoreError};
use super::notices::{self, Notices};
use super::settings::PostgresConfig;
use super::transaction::{Committed, Records, WriteTx};
use super::watchers::Watchers;
use dial::Dialer;
use patroni::Patroni;
use primary::{Epoch, Primary};
use replicas::{Positions, Replicas};
pub(super) use server::Mode;
use server::{Begun, Server, SharedServer};
pub(crate) use server::{Role, ServerFigures};
use std::sync::Arc;
use std::time::{Duration, Instant};
use sync_protocol::bookmark::Bookmark;
use tokio::runtime::Runtime;
use tokio_postgres::config::Host;

/// Threads that drive the connections; the work itself is on blocking threads.
const DRIVERS: usize = 2;
/// How long a read on the primary waits for a revision that a replica has shown already: with a synchronous standby
/// the primary shows a commit only after the standby has it.
const CATCH_UP_MAX: Duration = Duration::from_millis(500);
const CATCH_UP_STEP: Duration = Duration::from_millis(5);
/// How often idle connections are looked for.
const REAP_EVERY: Duration = Duration::from_secs(30);
/// How often the partitions are looked after.
const PARTITIONS_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) struct Cluster {
    primary: Arc<Primary>,
    replicas: Arc<Replicas>,
    watchers: Arc<Watchers>,
    epoch: Arc<Epoch>,
    notices: notices::Offered,
    // Last: the others use it. Absent only while dropping.
    runtime: Option<Runtime>,
}

impl Cluster {
    /// Connects, and migrates if the configuration says so. Blocks.
    pub(super) fn open(config: &PostgresConfig, watchers: Arc<Watchers>) -> Result<Self, OpenError> {
        let found = config.patroni.as_ref().map_or(0, |_| patroni::MAX_MEMBERS);
        let servers = 1 + config.replicas.len() + found;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(DRIVERS)
            .max_blocking_threads(servers * config.connections_max)
            .thread_name("store-postgres")
            .enable_all()
            .build()
            .map_err(OpenError::Runtime)?;
        let patroni = Patroni::new(config, &config.primary)?;
        let config = runtime.block_on(patroni::locate(config))?;
        let tls = dial::tls(config.ca_file.as_deref())?;
        let owner = Dialer::to_primary(config.owner.clone(), &tls, config.connect_timeout);
        let migrated = runtime.block_on(migrate::migrate(&owner, !config.migrate))?;
        if migrated > 0 {
            tracing::info!(migrations = migrated, "the schema is up to date");
        }
        let handle = runtime.handle();
        let epoch = Arc::new(Epoch::default());
        let positions = Arc::<Positions>::default();
        let primary = Arc::new(Primary::new(&config, &tls, handle, &epoch, &positions, &watchers));
        runtime.block_on(primary.first_epoch())?;
        let open = {
            let (config, handle) = (config.clone(), handle.clone());
            move |host: tokio_postgres::Config| {
                let dialer = Dialer::to_server(host.clone(), &tls, config.connect_timeout);
                let server = Server::new(name(&host), dialer.clone(), &config, &handle, None);
                (Arc::new(server), dialer)
            }
        };
        let replicas = config.replicas.iter().cloned().map(&open).collect();
        let replicas = Arc::new(Replicas::new(replicas, positions, config.replica_lag_max, handle));
        if let Some(patroni) = patroni {
            handle.spawn(patroni::follow(patroni, Arc::clone(&primary), Arc::clone(&replicas), open));
        }
        let (line, notices) = notices::line();
        handle.spawn(primary::watch(Arc::clone(&primary), line));
        handle.spawn(reap(Arc::clone(&primary), Arc::clone(&replicas), config.idle_connection));
        handle.spawn(primary::keep_partitions(Arc::clone(&primary), PARTITIONS_EVERY));
        Ok(Self { primary, replicas, watchers, epoch, notices, runtime: Some(runtime) })
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.get()
    }

    pub(super) fn notices(&self) -> Option<Notices> {
        self.notices.take()
    }

    pub(super) fn hears_of_commits(&self) -> bool {
        self.primary.answers()
    }

    /// The primary first.
    pub(super) fn figures(&self) -> Vec<ServerFigures> {
        let primary = self.primary.server.figures(Role::Primary, self.primary.answers());
        std::iter::once(primary).chain(self.replicas.figures()).collect()
    }

    /// Reads what is newest, on the primary, or with `seen` what is at least that new, wherever it is.
    pub(super) async fn read<T, E, F>(&self, institute: &str, seen: Seen, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&dyn Records) -> Result<T, E> + Send + 'static,
    {
        let (server, begun) = self.on_runtime(self.begin_read(institute.to_owned(), seen)).await?;
        let institute = institute.to_owned();
        let done = self.runtime()?.spawn_blocking(move || server.read(begun, &institute, work));
        done.await.unwrap_or_else(|_| Err(StoreError::Panicked.into()))
    }

    pub(super) fn read_blocking<T, E: From<StoreError>>(
        &self,
        institute: &str,
        work: impl FnOnce(&dyn Records) -> Result<T, E>,
    ) -> Result<T, E> {
        let begin = self.begin_read(institute.to_owned(), Seen::Newest);
        let (server, begun) = self.runtime()?.block_on(begin)?;
        server.read(begun, institute, work)
    }

    pub(super) async fn write<T, E, F>(&self, institute: &str, mode: Mode, work: F) -> Result<Committed<T>, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut WriteTx<'_>) -> Result<T, E> + Send + 'static,
    {
        let primary = Arc::clone(&self.primary);
        let watchers = Arc::clone(&self.watchers);
        let institute = institute.to_owned();
        let runtime = self.runtime()?.handle().clone();
        // A task of its own: a caller that is cancelled does not cancel the transaction.
        let done = runtime.clone().spawn(async move {
            let begun = primary.begin(mode, &institute).await?;
            let work = move || write(&primary.server, &watchers, begun, &institute, work);
            runtime.spawn_blocking(work).await.unwrap_or_else(|_| Err(StoreError::Panicked.into()))
        });
        done.await.unwrap_or_else(|_| Err(StoreError::Panicked.into()))
    }

    pub(super) fn write_blocking<T, E: From<StoreError>>(
        &self,
        institute: &str,
        work: impl FnOnce(&mut WriteTx<'_>) -> Result<T, E>,
    ) -> Result<Committed<T>, E> {
        let begun = self.runtime()?.block_on(self.primary.begin(Mode::Write, institute))?;
        write(&self.primary.server, &self.watchers, begun, institute, work)
    }

    fn runtime(&self) -> Result<&Runtime, StoreError> {
        self.runtime.as_ref().ok_or(StoreError::Closed)
    }

    async fn on_runtime<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.runtime()?.spawn(work).await.unwrap_or(Err(StoreError::Panicked))
    }

    fn begin_read(
        &self,
        institute: String,
        seen: Seen,
    ) -> impl Future<Output = Result<(SharedServer, Begun), StoreError>> + Send + 'static {
        let (primary, replicas) = (Arc::clone(&self.primary), Arc::clone(&self.replicas));
        // This process has told its edges of this revision: no answer of its own may be older.
        let known = Bookmark::new(self.epoch.get(), self.watchers.newest(&institute));
        async move {
            let Seen::AtLeast(seen) = seen else {
                let begun = primary.begin(Mode::Read, &institute).await?;
                return Ok((Arc::clone(&primary.server), begun));
            };
            let floor = seen.filter(|seen| *seen > known).unwrap_or(known);
            if let Some(begun) = replicas.begin(&institute, floor).await {
                return Ok(begun);
            }
            let begun = begin_at_least(&primary, &institute, floor).await?;
            Ok((Arc::clone(&primary.server), begun))
        }
    }
}

/// Brings the schema to this program's version; how many migrations ran. Blocks.
pub(crate) fn migrate(config: &PostgresConfig) -> Result<usize, OpenError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(OpenError::Runtime)?;
    let config = runtime.block_on(patroni::locate(config))?;
    let tls = dial::tls(config.ca_file.as_deref())?;
    let owner = Dialer::to_primary(config.owner.clone(), &tls, config.connect_timeout);
    runtime.block_on(migrate::migrate(&owner, false))
}

/// A connection of the application to a primary with the newest schema.
pub(super) async fn client_of_migrated(config: &PostgresConfig) -> Result<tokio_postgres::Client, OpenError> {
    let config = patroni::locate(config).await?;
    let tls = dial::tls(config.ca_file.as_deref())?;
    let owner = Dialer::to_primary(config.owner.clone(), &tls, config.connect_timeout);
    migrate::migrate(&owner, !config.migrate).await?;
    let primary = Dialer::to_primary(config.primary.clone(), &tls, config.connect_timeout);
    let (client, _task) = primary.dial().await.map_err(super::error::PostgresError::from)?;
    Ok(client)
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not `drop`, which may not happen on an async thread.
            runtime.shutdown_background();
        }
    }
}

/// What a reader needs to see.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Seen {
    /// All that is committed.
    Newest,
    /// Nothing older than this, nor than what this process has told anybody.
    AtLeast(Option<Bookmark>),
}

fn write<T, E: From<StoreError>>(
    server: &Server,
    watchers: &Watchers,
    begun: Begun,
    institute: &str,
    work: impl FnOnce(&mut WriteTx<'_>) -> Result<T, E>,
) -> Result<Committed<T>, E> {
    let committed = server.write(begun, institute, work)?;
    watchers.tell_commit(institute, &committed);
    Ok(committed)
}

/// A snapshot of the primary, if possible one that has reached `floor`; the caller compares.
async fn begin_at_least(primary: &Primary, institute: &str, floor: Bookmark) -> Result<Begun, StoreError> {
    let until = Instant::now() + CATCH_UP_MAX;
    loop {
        let begun = primary.begin(Mode::View, institute).await?;
        let behind = begun.at.epoch == floor.epoch && begun.at.revision < floor.revision;
        if !behind || Instant::now() > until {
            return Ok(begun);
        }
        primary.server.abandon(begun);
        tokio::time::sleep(CATCH_UP_STEP).await;
    }
}

async fn reap(primary: Arc<Primary>, replicas: Arc<Replicas>, idle: Duration) {
    loop {
        tokio::time::sleep(REAP_EVERY).await;
        primary.server.reap(idle);
        replicas.servers().iter().for_each(|server| server.reap(idle));
    }
}

/// Host and port, for the log.
fn name(host: &tokio_postgres::Config) -> String {
    let address = match host.get_hosts().first() {
        Some(Host::Tcp(name)) => name.clone(),
        Some(Host::Unix(path)) => path.display().to_string(),
        None => String::new(),
    };
    let port = host.get_ports().first().copied().unwrap_or(5432);
    format!("{address}:{port}")
}
