//! Whether this origin can serve, and what of that upon which it depends does not work.

use super::cache::{Cache, RemoteState};
use super::queue::QueueService;
use crate::store::{NO_INSTITUTE, Role, ServerFigures, Store, StoreError};
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Health {
    Ok,
    /// It serves, slower or not everything.
    Degraded,
    /// It does not serve.
    Down,
}

/// `GET /health/ready`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    pub(crate) status: Health,
    store: StoreHealth,
    cache: Dependency,
    queue: Dependency,
}

#[derive(Debug, Serialize, ToSchema)]
struct StoreHealth {
    #[serde(flatten)]
    health: Dependency,
    /// The primary first; none of them when the store is embedded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    servers: Vec<ServerFigures>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Dependency {
    pub(crate) status: Health,
    pub(crate) kind: &'static str,
    /// A plain sentence: whoever reaches this path may read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'static str>,
}

impl Dependency {
    pub(crate) fn ok(kind: &'static str) -> Self {
        Self { status: Health::Ok, kind, reason: None }
    }

    pub(crate) fn degraded(kind: &'static str, reason: &'static str) -> Self {
        Self { status: Health::Degraded, kind, reason: Some(reason) }
    }
}

pub(crate) async fn check(store: &Store, cache: &Cache, queue: &QueueService) -> Readiness {
    let read = store
        .read_after::<_, StoreError, _>(NO_INSTITUTE, None, |records| records.revision())
        .await
        .inspect_err(|error| tracing::warn!(%error, "not ready: the store cannot be read"));
    let servers = store.servers();
    let kind = if servers.is_empty() { "embedded" } else { "postgres" };
    let left_out = |role: Role| servers.iter().any(|server| server.role == role && !server.used);
    let health = if read.is_err() {
        Dependency { status: Health::Down, kind, reason: Some("the store cannot be read") }
    } else if left_out(Role::Primary) {
        // Reads go on: a balancer that took this node away would take them away too.
        Dependency::degraded(kind, "the primary does not answer, writes are refused")
    } else if left_out(Role::Replica) {
        Dependency::degraded(kind, "a replica is left out")
    } else {
        Dependency::ok(kind)
    };
    let cache = match cache.remote_state() {
        None => Dependency::ok("in-process"),
        Some(RemoteState::Answers) => Dependency::ok("redis"),
        Some(RemoteState::Left { .. }) => {
            Dependency::degraded("redis", "Redis does not answer, views are kept in this process alone")
        }
    };
    let queue = queue.health();
    let status = [health.status, cache.status, queue.status];
    let status = if status.contains(&Health::Down) {
        Health::Down
    } else if status.contains(&Health::Degraded) {
        Health::Degraded
    } else {
        Health::Ok
    };
    Readiness { status, store: StoreHealth { health, servers }, cache, queue }
}
