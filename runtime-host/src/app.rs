//! The one place where the parts of the edge are put together.

use crate::application::{Application, Loader};
use crate::config::Config;
use crate::connection::ConnectionSettings;
use crate::data_folder::{DataFolder, DataFolderError};
use crate::database::Databases;
use crate::delivery::Delivery;
use crate::engine::{EngineError, GuestEngine};
use crate::feed_state::FeedState;
use crate::front::{Front, LogChanged, SyncFront};
use crate::guest::{Instances, LoadError, SharedHost};
use crate::host::outbound_http::{Connections, system_roots};
use crate::identity::Identity;
use crate::key_value::{Backend, KeyValueError};
use crate::limits;
use crate::link::{Link, LinkSettings, LinkSettingsError, LinkState};
use crate::manifest::{Manifest, ManifestError, VariableSources};
use crate::reload::Reloader;
use crate::runtime_config::{RuntimeConfig, RuntimeConfigError};
use crate::sync::institutes::Institutes;
use crate::threads::Threads;
use crate::tls::{self, TlsError};
use rustls::RootCertStore;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    DataFolder(#[from] DataFolderError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    RuntimeConfig(#[from] RuntimeConfigError),
    #[error(
        "store `{store}`, in which `cache` of [application.tool.rollcall] is kept, must be a file and is {place}"
    )]
    CacheStore { store: String, place: String },
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("stopped while components were loaded")]
    Stopped,
    #[error("loading components panicked")]
    LoaderPanicked,
    #[error("threads: {0}")]
    Threads(std::io::Error),
    #[error(transparent)]
    Link(#[from] LinkSettingsError),
    #[error("origin_ca: {0}")]
    Tls(#[from] TlsError),
}

/// An application, loaded and checked.
pub struct App {
    pub front: Arc<Front>,
    loader: Arc<Loader>,
    pub reloader: Arc<Reloader>,
    /// What runs beside the requests, until it is started.
    link: Option<Link>,
    delivery: Option<Delivery>,
    stop: CancellationToken,
}

/// The manifest as the settings and the environment complete it.
pub fn manifest(config: &Config) -> Result<Manifest, ManifestError> {
    Manifest::load(&config.app, &VariableSources::new(config.variables(), &config.app)?)
}

impl App {
    /// Loads the application, and gives up as soon as `stop` says so: what compiles then is left to the end of the process.
    pub async fn load_until(
        config: Config,
        draining: CancellationToken,
        stop: CancellationToken,
    ) -> Result<Self, AppError> {
        let (sender, loaded) = oneshot::channel();
        let (runtime, stop_of_app) = (tokio::runtime::Handle::current(), stop.clone());
        let load = move || {
            let _entered = runtime.enter();
            // Nobody waits when the edge has been stopped.
            let _ = sender.send(Self::load(&config, draining, stop_of_app));
        };
        std::thread::Builder::new().name("load".into()).spawn(load).map_err(AppError::Threads)?;
        tokio::select! {
            () = stop.cancelled() => Err(AppError::Stopped),
            app = loaded => app.map_err(|_| AppError::LoaderPanicked)?,
        }
    }

    /// Blocks while components compile. Everything that the application starts ends with `stop`.
    ///
    /// From `draining` on, the application says that it wants no more requests.
    pub fn load(
        config: &Config,
        draining: CancellationToken,
        stop: CancellationToken,
    ) -> Result<Self, AppError> {
        let manifest = manifest(config)?;
        // They are wanted below, and take as long as the engine does.
        std::thread::Builder::new().name("roots".into()).spawn(system_roots).map_err(AppError::Threads)?;
        let folder = Arc::new(DataFolder::open(&config.data)?);
        let engine = GuestEngine::new(&folder.compiled_code())?;
        let runtime_config = runtime_config(config)?;
        let databases = Databases::default();
        let shared = SharedHost {
            key_value: runtime_config.key_value(&folder)?,
            configured_databases: Arc::new(runtime_config.databases(&folder, &databases)),
            databases,
            connections: Connections::new(guest_roots(config)?),
            threads: Arc::new(Threads::start().map_err(AppError::Threads)?),
            instances: Instances::new(limits::MAX_REQUEST_INSTANCES),
            running: TaskTracker::new(),
            folder,
        };
        let identity = manifest.rollcall.is_some().then(|| Arc::new(Identity::load(&shared.folder.keys())));
        let loader = Arc::new(Loader::new(engine, shared, stop.clone()));
        let application = loader.load(&manifest, None)?;
        let shared = loader.shared();
        shared.connections.siblings().set(application.guests());
        let (link_state, link) = watch::channel(None);
        let sync = sync_front(&manifest, &application, &link, &stop)?;
        let (settings, feeds) = (link_settings(&manifest, config)?, feeds(&manifest, shared)?);
        let institutes = sync.as_ref().map(|sync| sync.institutes.clone());
        let trusted = config.proxies.trusted();
        let front = Arc::new(Front::new(application, identity.clone(), sync, trusted, draining));
        if let Some(institutes) = institutes.as_ref().map(Arc::downgrade) {
            shared.connections.siblings().tell(move |institute| match institutes.upgrade() {
                Some(institutes) => Box::new(LogChanged::begin(&institutes, institute)),
                None => Box::new(()),
            });
        }
        let delivery = identity.is_some().then(|| Delivery {
            front: front.clone(),
            link,
            wanted: loader.delivery_wanted.clone(),
        });
        let link = settings.zip(identity).map(|(settings, identity)| Link {
            settings,
            state: link_state,
            identity,
            institutes,
            feeds,
        });
        let reloader = Arc::new(Reloader::new(config.clone(), loader.clone(), front.clone(), &manifest));
        Ok(Self { front, loader, reloader, link, delivery, stop })
    }

    /// Starts what runs beside the requests: the link and the deliveries.
    pub async fn start(&mut self) -> Result<(), KeyValueError> {
        if let Some(link) = self.link.take() {
            if let Some(feeds) = &link.feeds {
                // An earlier process may have ended without saying so.
                feeds.unlink_all().await?;
            }
            tokio::spawn(link.run(self.stop.clone()));
        }
        if let Some(delivery) = self.delivery.take() {
            tokio::spawn(delivery.run(self.stop.clone()));
        }
        Ok(())
    }

    /// Tells the guests' HTTP client where this host listens, which is closed to them, with the address for clients first.
    pub fn listens_on(&self, all: Vec<SocketAddr>) {
        self.loader.shared().connections.own_addresses().set(all);
    }

    /// Lets `connections` answer the guests' requests to `self`.
    pub fn answers_itself(&self, connections: &Arc<ConnectionSettings>) {
        let (connections, stop) = (Arc::downgrade(connections), self.stop.clone());
        self.loader.shared().connections.itself().set(move |stream| {
            let Some(connections) = connections.upgrade() else { return };
            let stop = stop.child_token();
            tokio::spawn(async move {
                if let Err(error) = connections.serve_itself(stream, stop).await {
                    tracing::debug!("connection to itself ended: {error}");
                }
            });
        });
    }

    /// The threads that answer requests.
    pub fn threads(&self) -> &Threads {
        &self.loader.shared().threads
    }

    /// Waits for what components still do after their answers, and for the engines.
    pub async fn drain(&self) {
        self.loader.shared().running.close();
        self.loader.shared().running.wait().await;
        if let Some(sync) = &self.front.sync {
            sync.institutes.drain().await;
        }
    }
}

fn sync_front(
    manifest: &Manifest,
    application: &Application,
    link: &LinkState,
    stop: &CancellationToken,
) -> Result<Option<SyncFront>, LoadError> {
    let Some(sync) = manifest.rollcall.as_ref().and_then(|rollcall| rollcall.sync.as_ref()) else {
        return Ok(None);
    };
    let (path, component) = (sync.path.clone(), sync.component.clone());
    let Some(guest) = application.guest(&component) else { return Err(LoadError::NoSyncEngine(component)) };
    let institutes = Arc::new(Institutes::new(guest.clone(), link.clone(), stop.clone())?);
    Ok(Some(SyncFront { path, component, institutes, stop: stop.clone() }))
}

fn feeds(manifest: &Manifest, shared: &SharedHost) -> Result<Option<FeedState>, AppError> {
    let store = manifest.rollcall.as_ref().and_then(|rollcall| rollcall.cache_store.clone());
    let Some(store) = store else { return Ok(None) };
    match shared.key_value.of(&store) {
        Backend::File(file, label) => Ok(Some(FeedState::new(file, label.to_string()))),
        other @ (Backend::Memory(_) | Backend::Redis(_)) => {
            Err(AppError::CacheStore { store, place: other.to_string() })
        }
    }
}

/// The runtime configuration that the settings name.
pub fn runtime_config(config: &Config) -> Result<RuntimeConfig, RuntimeConfigError> {
    config.runtime_config_file.as_deref().map_or(Ok(RuntimeConfig::default()), RuntimeConfig::load)
}

/// Whom guests believe when they ask other servers: the origin's authority too, since it is by guests that requests are
/// forwarded.
fn guest_roots(config: &Config) -> Result<RootCertStore, TlsError> {
    let mut roots = system_roots();
    if let Some(ca) = &config.origin_ca {
        tls::add_authorities(&mut roots, ca)?;
    }
    Ok(roots)
}

/// None for an application that names no origin.
fn link_settings(manifest: &Manifest, config: &Config) -> Result<Option<LinkSettings>, LinkSettingsError> {
    let variable = |name| manifest.variables.get(name).map_or("", String::as_str);
    match (&manifest.rollcall, variable("origin_url")) {
        (None, _) | (Some(_), "") => Ok(None),
        (Some(_), origin) => {
            let (id, secret) = (variable("edge_id"), variable("edge_secret"));
            LinkSettings::new(origin, id, secret, config.origin_ca.as_deref()).map(Some)
        }
    }
}
