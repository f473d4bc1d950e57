//! The one place where the parts are put together.

use crate::config::EdgeSecret;
use crate::services::admin::AdminService;
use crate::services::auth::{AuthError, AuthService};
use crate::services::cache::{Cache, CacheConfig};
use crate::services::commands::CommandService;
use crate::services::documents::DocumentService;
use crate::services::link::LinkService;
use crate::services::mail::{MailConfig, Post};
use crate::services::notifications::NotificationService;
use crate::services::queue::{QueueConfig, QueueService};
use crate::services::retention::{RetentionConfig, RetentionService};
use crate::services::views::ViewService;
use crate::services::webhooks::{WebhookService, Webhooks};
use crate::store::Store;
use metrics::{counter, describe_counter, describe_gauge, gauge};
use std::ops::Deref;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

const SERVER_USED: &str = "rollcall_origin_store_server_used";
const CONNECTIONS: &str = "rollcall_origin_store_connections";
const CONNECTIONS_IDLE: &str = "rollcall_origin_store_connections_idle";
const CONNECTIONS_AWAITED: &str = "rollcall_origin_store_connections_awaited";
const TRANSACTIONS: &str = "rollcall_origin_store_transactions_total";

/// All services over one store. Each layer of the router has a clone of its own for each request, so that a clone must cost no more
/// than a pointer.
#[derive(Clone)]
pub(crate) struct App(Arc<Services>);

pub(crate) struct Services {
    pub(crate) store: Store,
    pub(crate) admin: AdminService,
    pub(crate) auth: AuthService,
    pub(crate) views: ViewService,
    pub(crate) commands: CommandService,
    pub(crate) documents: DocumentService,
    pub(crate) link: LinkService,
    pub(crate) notifications: NotificationService,
    pub(crate) queue: QueueService,
    pub(crate) cache: Cache,
    pub(crate) retention: RetentionService,
    pub(crate) webhooks: WebhookService,
    /// Absent: no edge is let in.
    pub(crate) edge_secret: Option<Arc<EdgeSecret>>,
    /// Cancelled when the process stops: the links end.
    pub(crate) stopping: CancellationToken,
}

impl Deref for App {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.0
    }
}

/// How the parts are set up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parts {
    pub(crate) cache: CacheConfig,
    pub(crate) queue: QueueConfig,
    pub(crate) retention: RetentionConfig,
    /// Absent: no mail is sent, and nobody sets a forgotten password.
    pub(crate) mail: Option<MailConfig>,
    pub(crate) webhooks: Webhooks,
}

impl App {
    /// Blocks for the signing key and the first password hash.
    pub(crate) fn new(
        store: Store,
        edge_secret: Option<EdgeSecret>,
        parts: Parts,
    ) -> Result<Self, AuthError> {
        let cache = Cache::new(store.clone(), &parts.cache);
        let auth = AuthService::open(store.clone(), &cache, parts.mail.map(Post::open).transpose()?)?;
        let documents = DocumentService::new(store.clone());
        let commands = CommandService::new(store.clone());
        Ok(Self(Arc::new(Services {
            admin: AdminService::new(store.clone(), commands.clone()),
            views: ViewService::new(store.clone(), cache.clone()),
            webhooks: WebhookService::new(store.clone(), parts.webhooks),
            commands,
            cache,
            link: LinkService::new(store.clone(), auth.clone(), documents.clone()),
            notifications: NotificationService::new(store.clone()),
            retention: RetentionService::new(store.clone(), parts.retention),
            queue: QueueService::new(store.clone(), parts.queue),
            auth,
            documents,
            store,
            edge_secret: edge_secret.map(Arc::new),
            stopping: CancellationToken::new(),
        })))
    }

    /// Does what goes on beside the requests, until the process stops.
    pub(crate) async fn work(&self) {
        tokio::join!(
            self.queue.clone().run(self.stopping.clone()),
            self.cache.clone().run(self.stopping.clone()),
            self.retention.clone().run(self.stopping.clone()),
            self.link.clone().run(self.stopping.clone()),
        );
    }

    /// Sets the gauges that somebody is about to read.
    pub(crate) async fn measure(&self) {
        for figures in self.store.servers() {
            let labels = [("server", figures.server), ("role", figures.role.as_str().to_owned())];
            gauge!(SERVER_USED, &labels).set(f64::from(u8::from(figures.used)));
            gauge!(CONNECTIONS, &labels).set(figures.connections as f64);
            gauge!(CONNECTIONS_IDLE, &labels).set(figures.idle as f64);
            gauge!(CONNECTIONS_AWAITED, &labels).set(figures.waiting as f64);
            counter!(TRANSACTIONS, &labels).absolute(figures.transactions);
        }
        let (queue, cache) = (self.queue.measure(), self.cache.measure());
        tokio::join!(queue, cache);
    }
}

/// Says what the metrics of the parts mean, to whoever collects them.
pub(crate) fn describe() {
    describe_gauge!(
        SERVER_USED,
        "Whether the server answers and is near enough to the newest commit (1) or not (0)."
    );
    describe_gauge!(CONNECTIONS, "Connections of this process to the server.");
    describe_gauge!(CONNECTIONS_IDLE, "Connections that nobody uses.");
    describe_gauge!(CONNECTIONS_AWAITED, "Requests that wait for a connection.");
    describe_counter!(TRANSACTIONS, "Transactions that this process has begun on the server.");
    crate::services::cache::describe();
    crate::services::commands::describe();
    crate::services::queue::describe();
    crate::services::retention::describe();
}
