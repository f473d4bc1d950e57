//! The one place where the parts are put together.

use crate::config::EdgeSecret;
use crate::services::admin::AdminService;
use crate::services::auth::{AuthError, AuthService};
use crate::services::commands::CommandService;
use crate::services::documents::DocumentService;
use crate::services::link::LinkService;
use crate::services::mail::Post;
use crate::services::views::ViewService;
use crate::services::webhooks::{WebhookService, Webhooks};
use crate::store::Store;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// All services over one store; clones share them.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) store: Store,
    pub(crate) admin: AdminService,
    pub(crate) auth: AuthService,
    pub(crate) views: ViewService,
    pub(crate) commands: CommandService,
    pub(crate) documents: DocumentService,
    pub(crate) link: LinkService,
    pub(crate) webhooks: WebhookService,
    /// Absent: no edge is let in.
    pub(crate) edge_secret: Option<Arc<EdgeSecret>>,
    /// Cancelled when the process stops: the links end.
    pub(crate) stopping: CancellationToken,
}

impl App {
    /// Blocks for the signing key and the first password hash.
    pub(crate) fn new(
        store: Store,
        edge_secret: Option<EdgeSecret>,
        post: Option<Post>,
        webhooks: Webhooks,
    ) -> Result<Self, AuthError> {
        let auth = AuthService::open(store.clone(), post)?;
        let documents = DocumentService::new(store.clone());
        let commands = CommandService::new(store.clone());
        Ok(Self {
            admin: AdminService::new(store.clone(), commands.clone()),
            views: ViewService::new(store.clone()),
            webhooks: WebhookService::new(store.clone(), webhooks),
            commands,
            link: LinkService::new(store.clone(), auth.clone(), documents.clone()),
            auth,
            documents,
            store,
            edge_secret: edge_secret.map(Arc::new),
            stopping: CancellationToken::new(),
        })
    }
}
