//! Which replicas may be read.

use super::dial::Dialer;
use super::server::{Begun, Mode, Role, Server, ServerFigures, SharedServer};
use crate::store::error::{PostgresError, StoreError};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};
use sync_protocol::bookmark::Bookmark;
use tokio::runtime::Handle;

/// How often each replica is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// A replica that does not answer within this is left out until it does.
const ANSWER_MAX: Duration = Duration::from_millis(1_000);
/// How long a read waits for a replica to reach the reader's bookmark before it goes to the primary: most replicas are
/// a few milliseconds behind, and the primary is there for the others.
const WAIT_MAX: Duration = Duration::from_millis(50);
/// Pause between looks at a replica that is behind.
const WAIT_STEP: Duration = Duration::from_millis(4);
/// Positions of the primary that are remembered to tell a replica's lag in time; at ten a second, a minute.
const POSITIONS: usize = 600;

/// Where the primary's log was when.
#[derive(Default)]
pub(super) struct Positions {
    noted: Mutex<VecDeque<(Instant, u64)>>,
}

impl Positions {
    pub(super) fn note(&self, position: u64) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        // After a failover the new primary's log may be behind what was seen of the old one's.
        noted.retain(|(_, before)| *before <= position);
        if noted.len() >= POSITIONS {
            noted.pop_front();
        }
        noted.push_back((Instant::now(), position));
    }

    /// How long ago the primary's log went past `position`. While the primary does not answer, its last position
    /// counts: the replicas that have it are as fresh as anything is.
    fn lag(&self, position: u64) -> Duration {
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        match noted.iter().find(|(_, at)| *at > position) {
            Some((when, _)) => when.elapsed(),
            None => Duration::ZERO,
        }
    }
}

struct Replica {
    server: SharedServer,
    dialer: Dialer,
    /// Named in the configuration, and so never forgotten.
    fixed: bool,
    /// How far it has replayed the log, and when it said so; absent while it does not answer.
    position: Mutex<Option<u64>>,
}

impl Replica {
    fn has_replayed(&self, wanted: u64) -> bool {
        let position = *self.position.lock().unwrap_or_else(PoisonError::into_inner);
        position.is_some_and(|position| position >= wanted)
    }
}

pub(super) struct Replicas {
    replicas: RwLock<Arc<[Arc<Replica>]>>,
    positions: Arc<Positions>,
    lag_max: Duration,
    /// The replica whose turn it is.
    next: AtomicUsize,
    runtime: Handle,
}

impl Replicas {
    /// The replicas that the configuration names. Each is asked over and over how far it is.
    pub(super) fn new(
        servers: Vec<(SharedServer, Dialer)>,
        positions: Arc<Positions>,
        lag_max: Duration,
        runtime: &Handle,
    ) -> Self {
        let (next, runtime) = (AtomicUsize::new(0), runtime.clone());
        let replicas = Self { replicas: RwLock::new(Arc::new([])), positions, lag_max, next, runtime };
        let servers =
            servers.into_iter().map(|(server, dialer)| replicas.begin_watching(server, dialer, true));
        let servers = servers.collect();
        *replicas.replicas.write().unwrap_or_else(PoisonError::into_inner) = servers;
        replicas
    }

    fn begin_watching(&self, server: SharedServer, dialer: Dialer, fixed: bool) -> Arc<Replica> {
        let replica = Arc::new(Replica { server, dialer, fixed, position: Mutex::new(None) });
        self.runtime.spawn(watch(Arc::downgrade(&replica)));
        replica
    }

    fn all(&self) -> Arc<[Arc<Replica>]> {
        Arc::clone(&self.replicas.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Besides those of the configuration, these are the replicas, by their names; `open` opens one that is new.
    pub(super) fn replace_found(&self, found: &[String], open: impl Fn(&str) -> (SharedServer, Dialer)) {
        let before = self.all();
        let stays = |replica: &&Arc<Replica>| replica.fixed || found.contains(&replica.server.name);
        let mut replicas: Vec<_> = before.iter().filter(stays).cloned().collect();
        for name in found {
            if !replicas.iter().any(|replica| replica.server.name == *name) {
                let (server, dialer) = open(name);
                replicas.push(self.begin_watching(server, dialer, false));
            }
        }
        *self.replicas.write().unwrap_or_else(PoisonError::into_inner) = replicas.into();
    }

    pub(super) fn servers(&self) -> Vec<SharedServer> {
        self.all().iter().map(|replica| Arc::clone(&replica.server)).collect()
    }

    pub(super) fn figures(&self) -> Vec<ServerFigures> {
        let figures = |replica: &Arc<Replica>| replica.server.figures(Role::Replica, self.is_used(replica));
        self.all().iter().map(figures).collect()
    }

    /// Whether the replica answers and is near enough to the primary.
    fn is_used(&self, replica: &Replica) -> bool {
        let position = *replica.position.lock().unwrap_or_else(PoisonError::into_inner);
        position.is_some_and(|position| self.positions.lag(position) <= self.lag_max)
    }

    /// The replicas that may be read, those first that are known to have replayed the commit that `floor` names: they need not
    /// be asked in vain.
    fn in_turn(&self, floor: Bookmark) -> Vec<Arc<Replica>> {
        let all = self.all();
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let mut replicas: Vec<_> = (0..all.len())
            .map(|at| &all[(turn + at) % all.len()])
            .filter(|replica| self.is_used(replica))
            .cloned()
            .collect();
        let wanted = floor.proof.map_or(0, |proof| proof.position);
        // Stable: among equals the turn decides.
        replicas.sort_by_key(|replica| !replica.has_replayed(wanted));
        replicas
    }

    /// Begins a read on a replica that has reached `floor`; none when no replica may serve it.
    pub(super) async fn begin(&self, institute: &str, floor: Bookmark) -> Option<(SharedServer, Begun)> {
        let until = Instant::now() + WAIT_MAX;
        for replica in self.in_turn(floor) {
            match begin_at(&replica.server, institute, floor, until).await {
                Ok(Some(begun)) => return Some((Arc::clone(&replica.server), begun)),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, server = replica.server.name, "replica is left out");
                    *replica.position.lock().unwrap_or_else(PoisonError::into_inner) = None;
                }
            }
        }
        None
    }
}

/// A snapshot that has reached `floor`, waiting for it until the given time. What the snapshot itself shows decides.
async fn begin_at(
    server: &Server,
    institute: &str,
    floor: Bookmark,
    until: Instant,
) -> Result<Option<Begun>, StoreError> {
    loop {
        let begun = tokio::time::timeout(ANSWER_MAX, server.begin(Mode::View, institute)).await;
        let begun = begun.map_err(|_| StoreError::NoAnswer(ANSWER_MAX))??;
        if begun.at.epoch == floor.epoch && begun.at.revision >= floor.revision {
            return Ok(Some(begun));
        }
        // Another epoch is another history: the primary decides.
        let hopeless = begun.at.epoch != floor.epoch;
        server.abandon(begun);
        if hopeless || Instant::now() + WAIT_STEP > until {
            return Ok(None);
        }
        tokio::time::sleep(WAIT_STEP).await;
    }
}

/// Until nobody has the replica any more.
async fn watch(watched: Weak<Replica>) {
    while let Some(replica) = watched.upgrade() {
        let answered = ask_until_it_fails(replica).await;
        let Some(replica) = watched.upgrade() else { return };
        let was_there = replica.position.lock().unwrap_or_else(PoisonError::into_inner).take().is_some();
        if was_there {
            let server = &replica.server.name;
            tracing::warn!(error = answered, server, "replica does not answer, it is left out");
        }
        drop(replica);
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Keeps the replica's position true while it answers, and somebody else has it; why it stopped.
async fn ask_until_it_fails(replica: Arc<Replica>) -> String {
    let no_answer = || format!("no answer within {ANSWER_MAX:?}");
    let dialled = match tokio::time::timeout(ANSWER_MAX, replica.dialer.dial()).await {
        Ok(Ok(dialled)) => dialled,
        Ok(Err(error)) => return PostgresError(error).to_string(),
        Err(_) => return no_answer(),
    };
    let (client, _task) = dialled;
    // A server that was promoted has replayed all there is.
    let sql = "SELECT pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
               ELSE pg_current_wal_insert_lsn() END, '0/0')::bigint";
    let watched = Arc::downgrade(&replica);
    let mut held = Some(replica);
    while let Some(replica) = held {
        let position = match tokio::time::timeout(ANSWER_MAX, client.query_one(sql, &[])).await {
            Ok(Ok(row)) => row.try_get::<_, Option<i64>>(0).ok().flatten(),
            Ok(Err(error)) => return PostgresError(error).to_string(),
            Err(_) => return no_answer(),
        };
        let position = position.and_then(|position| u64::try_from(position).ok());
        let before = std::mem::replace(
            &mut *replica.position.lock().unwrap_or_else(PoisonError::into_inner),
            position,
        );
        if before.is_none() && position.is_some() {
            tracing::info!(server = replica.server.name, "replica is read");
        }
        drop(replica);
        tokio::time::sleep(ASK_EVERY).await;
        held = watched.upgrade();
    }
    "it is not of the cluster any more".to_owned()
}
