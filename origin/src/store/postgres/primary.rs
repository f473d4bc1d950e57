//! The primary: its epoch, and the watch over what other processes commit there.

use super::dial::Dialer;
use super::replicas::Positions;
use super::server::{Begun, Mode, Server, SharedServer};
use crate::store::error::{OpenError, PostgresError, StoreError};
use crate::store::notices::{Line, Notice};
use crate::store::settings::PostgresConfig;
use crate::store::transaction::to_u64;
use crate::store::watchers::Watchers;
use deadpool_postgres::{Hook, HookError};
use postgres_native_tls::MakeTlsConnector;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::Client;

/// How often the primary is asked for new commits of the institutes that somebody watches: one query for all of them.
/// An edge must drop a cached view within a second of the commit.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// The primary is given up as the watch's own when it does not answer within this.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Partitions are there for so many quarters after this one: months of a broken schedule do no harm.
pub(super) const QUARTERS_AHEAD: i32 = 2;
/// The same for activities, whose partitions are months.
pub(super) const MONTHS_AHEAD: i32 = 3;
/// Makes the partitions to come; how many were made.
pub(super) const ENSURE_PARTITIONS: &str =
    "SELECT ensure_message_partitions(now(), $1) + ensure_activity_partitions(now(), $2)";
/// The channel of the database on which processes talk.
const NOTICES: &str = "rollcall_notices";
/// Pause after partitions could not be made.
const PARTITIONS_RETRY: Duration = Duration::from_secs(60);

/// The highest epoch that any server has shown. A server of a lower one is a primary of the past: it is not used.
#[derive(Default)]
pub(super) struct Epoch(AtomicU64);

impl Epoch {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Notes an epoch; the one before, if that was higher or the same.
    fn note(&self, epoch: u64) -> Noted {
        let before = self.0.fetch_max(epoch, Ordering::SeqCst);
        match epoch.cmp(&before) {
            std::cmp::Ordering::Less => Noted::Past { highest: before },
            std::cmp::Ordering::Equal => Noted::Same,
            std::cmp::Ordering::Greater => Noted::New,
        }
    }
}

enum Noted {
    Past { highest: u64 },
    Same,
    New,
}

pub(super) struct Primary {
    pub(super) server: SharedServer,
    dialer: Dialer,
    epoch: Arc<Epoch>,
    positions: Arc<Positions>,
    watchers: Arc<Watchers>,
    answers: AtomicBool,
}

impl Primary {
    pub(super) fn new(
        config: &PostgresConfig,
        tls: &MakeTlsConnector,
        runtime: &Handle,
        epoch: &Arc<Epoch>,
        positions: &Arc<Positions>,
        watchers: &Arc<Watchers>,
    ) -> Self {
        let dialer = Dialer::to_primary(config.primary.clone(), tls, config.connect_timeout);
        let names: Vec<String> = config.primary.iter().map(super::name).collect();
        let hook = fence(Arc::clone(epoch), Arc::clone(watchers));
        let server = Server::new(names.join(","), dialer.clone(), config, runtime, Some(hook));
        Self {
            server: Arc::new(server),
            dialer,
            epoch: Arc::clone(epoch),
            positions: Arc::clone(positions),
            watchers: Arc::clone(watchers),
            answers: AtomicBool::new(true),
        }
    }

    /// Whether the watch got its last answer.
    pub(super) fn answers(&self) -> bool {
        self.answers.load(Ordering::Relaxed)
    }

    /// Looks for the primary among other hosts, the first of which it probably is. Idle connections are closed: a primary of the
    /// past that hangs would be found out by each of them anew.
    pub(super) fn replace_hosts(&self, hosts: Vec<tokio_postgres::Config>) {
        self.dialer.replace_hosts(hosts);
        self.server.reap(Duration::ZERO);
    }

    /// Asks for the epoch, so that it is known before anything is served.
    pub(super) async fn first_epoch(&self) -> Result<(), OpenError> {
        let begun = self.server.begin(Mode::Read, "").await?;
        self.server.abandon(begun);
        Ok(())
    }

    /// Begins a transaction on the primary of the newest epoch.
    pub(super) async fn begin(&self, mode: Mode, institute: &str) -> Result<Begun, StoreError> {
        let begun = self.server.begin(mode, institute).await?;
        match self.epoch.note(begun.at.epoch) {
            Noted::Same | Noted::New => Ok(begun),
            Noted::Past { highest } => {
                // An old primary that came back. This connection is closed, and the others end in the same way.
                let found = begun.at.epoch;
                Err(StoreError::PastEpoch { found, highest })
            }
        }
    }
}

/// Makes each new connection to a primary say its epoch, which raises it after a promotion.
fn fence(epoch: Arc<Epoch>, watchers: Arc<Watchers>) -> Hook {
    Hook::async_fn(move |client, _| {
        let (epoch, watchers) = (Arc::clone(&epoch), Arc::clone(&watchers));
        Box::pin(async move {
            let found = current_epoch(client).await.map_err(HookError::Backend)?;
            match epoch.note(found) {
                Noted::Same => Ok(()),
                Noted::New => {
                    watchers.tell_all();
                    Ok(())
                }
                Noted::Past { highest } => {
                    let problem = format!("the server is of epoch {found}, {highest} has been seen");
                    Err(HookError::message(problem))
                }
            }
        })
    })
}

async fn current_epoch(client: &Client) -> Result<u64, tokio_postgres::Error> {
    Ok(to_u64(client.query_one("SELECT current_epoch()", &[]).await?.try_get(0)?))
}

/// Wakes the watchers of institutes that other processes have written, for as long as the store is open.
///
/// Polling, and not LISTEN/NOTIFY: a notification takes a lock of the whole database at each commit, does not reach
/// replicas, and is lost with the connection, so that the poll would be needed all the same. What processes say to each other beside
/// commits, and may lose, goes by notifications of its own on this connection.
pub(super) async fn watch(primary: Arc<Primary>, mut line: Line) {
    loop {
        let dialled = timeout(ANSWER_MAX, primary.dialer.dial_listening(Some(&line.hear))).await;
        let problem = match dialled {
            Ok(Ok((client, _task))) => ask_until_it_fails(&primary, &client, &mut line).await,
            Ok(Err(error)) => PostgresError(error).to_string(),
            Err(_) => format!("no answer within {ANSWER_MAX:?}"),
        };
        if primary.answers.swap(false, Ordering::Relaxed) {
            tracing::warn!(problem, server = primary.server.name, "the primary does not answer");
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

async fn ask_until_it_fails(primary: &Primary, client: &Client, line: &mut Line) -> String {
    if let Err(problem) = answered(client.batch_execute(&format!("LISTEN {NOTICES}"))).await {
        return problem;
    }
    // No room: it has not heard of the last time yet, and is about to.
    let _ = line.hear.try_send(Notice::Connected);
    loop {
        if let Err(problem) = answered(ask(primary, client)).await {
            return problem;
        }
        if !primary.answers.swap(true, Ordering::Relaxed) {
            tracing::info!(server = primary.server.name, epoch = primary.epoch.get(), "the primary answers");
        }
        if let Err(problem) = pass_on_notices(client, line).await {
            return problem;
        }
    }
}

/// Says what this process has to say to the others, until it is time to ask again.
async fn pass_on_notices(client: &Client, line: &mut Line) -> Result<(), String> {
    let next = Instant::now() + ASK_EVERY;
    loop {
        match timeout_at(next, line.said.recv()).await {
            Ok(Some(text)) => {
                answered(client.execute("SELECT pg_notify($1, $2)", &[&NOTICES, &text])).await?;
            }
            // Nobody says anything any more.
            Ok(None) => {
                tokio::time::sleep_until(next).await;
                return Ok(());
            }
            Err(_) => return Ok(()),
        }
    }
}

async fn answered<T>(question: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, String> {
    match timeout(ANSWER_MAX, question).await {
        Ok(answer) => answer.map_err(|error| PostgresError(error).to_string()),
        Err(_) => Err(format!("no answer within {ANSWER_MAX:?}")),
    }
}

async fn ask(primary: &Primary, client: &Client) -> Result<(), tokio_postgres::Error> {
    // Fails on a server that is not, or no longer, a primary.
    let epoch = current_epoch(client).await?;
    match primary.epoch.note(epoch) {
        Noted::Same => {}
        Noted::New => primary.watchers.tell_all(),
        // Its commits are of a history that has ended.
        Noted::Past { .. } => return Ok(()),
    }
    let sql = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint";
    let position: i64 = client.query_one(sql, &[]).await?.try_get(0)?;
    primary.positions.note(to_u64(position));
    let watched = primary.watchers.institutes();
    if watched.is_empty() {
        return Ok(());
    }
    for row in client.query("SELECT institute, revision FROM revisions($1)", &[&watched]).await? {
        primary.watchers.tell(row.try_get(0)?, to_u64(row.try_get(1)?));
    }
    Ok(())
}

/// Makes the partitions of the quarters to come, at the start and then once in a while.
pub(super) async fn keep_partitions(primary: Arc<Primary>, every: Duration) {
    loop {
        let pause = match make_partitions(&primary).await {
            Ok(()) => every,
            Err(problem) => {
                // The default partition takes the rows meanwhile.
                tracing::warn!(problem, "partitions");
                PARTITIONS_RETRY
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn make_partitions(primary: &Primary) -> Result<(), String> {
    let (client, _task) = primary.dialer.dial().await.map_err(|error| PostgresError(error).to_string())?;
    let made = client.query_one(ENSURE_PARTITIONS, &[&QUARTERS_AHEAD, &MONTHS_AHEAD]).await;
    let made: i32 = made.map_err(|error| PostgresError(error).to_string())?.get(0);
    if made > 0 {
        tracing::info!(made, "partitions of messages and activities");
    }
    Ok(())
}
