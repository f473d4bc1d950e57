//! The one place where the parts of the edge are put together.

use crate::config::Config;
use crate::data_folder::{DataFolder, DataFolderError};
use crate::database::Databases;
use crate::delivery::Delivery;
use crate::engine::{EngineError, GuestEngine};
use crate::feed_state::FeedState;
use crate::front::{Application, Endpoint, Front, RouteAnswer, RouteTarget, SyncFront};
use crate::guest::{Guest, LoadError, SharedHost};
use crate::host::outbound_http::{Connections, system_roots};
use crate::identity::Identity;
use crate::key_value::{KeyValueError, KeyValueStore};
use crate::limits;
use crate::link::{Link, LinkSettings, LinkSettingsError, LinkState};
use crate::manifest::{Manifest, ManifestError, Responder, VariableSources};
use crate::route::Routes;
use crate::sync::institutes::Institutes;
use crate::threads::Threads;
use crate::tls::{self, TlsError};
use rustls::RootCertStore;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Notify, Semaphore, oneshot, watch};
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
    KeyValue(#[from] KeyValueError),
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
    shared: SharedHost,
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
        let folder = Arc::new(DataFolder::open(&config.data)?);
        let engine = GuestEngine::new(&folder.compiled_code())?;
        let shared = SharedHost {
            databases: Databases::default(),
            key_value: KeyValueStore::open(&folder.key_value())?,
            connections: Connections::new(guest_roots(config)?),
            threads: Arc::new(Threads::start().map_err(AppError::Threads)?),
            instances: Arc::new(Semaphore::new(limits::MAX_REQUEST_INSTANCES)),
            running: TaskTracker::new(),
            folder,
        };
        let identity = manifest.rollcall.is_some().then(|| Arc::new(Identity::load(&shared.folder.keys())));
        let delivery_wanted = Arc::new(Notify::new());
        let endpoints = endpoints(&manifest, &engine, &shared, &delivery_wanted, &stop)?;
        shared.connections.siblings().set(endpoints.values().map(|endpoint| endpoint.guest.clone()));
        let (link_state, link) = watch::channel(None);
        let sync = sync_front(&manifest, &endpoints, &link, &stop)?;
        let delivery = delivery(&manifest, &endpoints, &link, delivery_wanted)?;
        let link = match (link_settings(&manifest, config)?, &identity) {
            (Some(settings), Some(identity)) => Some(Link {
                settings,
                state: link_state,
                identity: identity.clone(),
                institutes: sync.as_ref().map(|sync| sync.institutes.clone()),
                feeds: feeds(&manifest, &shared),
            }),
            _ => None,
        };
        let mut routes = Vec::new();
        for (route, responder) in manifest.routes.iter() {
            let answer = match responder {
                Responder::Component(component) => {
                    let endpoint = endpoints[component].clone();
                    endpoint.guest.require_handler()?;
                    RouteAnswer::Component(endpoint)
                }
                Responder::Static(response) => RouteAnswer::Static(response.clone()),
            };
            routes.push((route.clone(), RouteTarget::new(route, answer)));
        }
        let application = Application { routes: Routes::new(routes) };
        let front = Arc::new(Front::new(application, identity, sync, config.proxies.trusted(), draining));
        Ok(Self { front, shared, link, delivery, stop })
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

    /// Tells the guests' HTTP client where this host listens: `all` is closed to them, but for requests to `self`, which go to
    /// `plain`, where HTTP is spoken without TLS.
    pub fn listens_on(&self, all: Vec<SocketAddr>, plain: Option<SocketAddr>) {
        self.shared.connections.own_addresses().set(all, plain);
    }

    /// The threads that answer requests.
    pub fn threads(&self) -> &Threads {
        &self.shared.threads
    }

    /// Waits for what components still do after their answers, and for the engines.
    pub async fn drain(&self) {
        self.shared.running.close();
        self.shared.running.wait().await;
        if let Some(sync) = &self.front.sync {
            sync.institutes.drain().await;
        }
    }
}

/// Loads the components, several at a time: of each, what cannot run in parallel waits for another's. Stops between two when
/// the edge is to stop.
fn endpoints(
    manifest: &Manifest,
    engine: &GuestEngine,
    shared: &SharedHost,
    delivery_wanted: &Arc<Notify>,
    stop: &CancellationToken,
) -> Result<BTreeMap<String, Arc<Endpoint>>, AppError> {
    let on_link_up = manifest.rollcall.as_ref().and_then(|rollcall| rollcall.on_link_up.as_ref());
    let components: Vec<_> = manifest.components.iter().collect();
    let next = AtomicUsize::new(0);
    let load_some = || {
        let mut loaded = Vec::new();
        while let Some((id, component)) = components.get(next.fetch_add(1, Ordering::Relaxed)) {
            if stop.is_cancelled() {
                return Err(AppError::Stopped);
            }
            let guest = Arc::new(Guest::load(engine, component, shared)?);
            let delivers = on_link_up.is_some_and(|call| call.component == **id);
            let delivery_wanted = delivers.then(|| delivery_wanted.clone());
            let manifest = (*component).clone();
            loaded.push(((*id).clone(), Arc::new(Endpoint { guest, manifest, delivery_wanted })));
        }
        Ok(loaded)
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(components.len());
    std::thread::scope(|scope| {
        let loaders: Vec<_> = (0..threads).map(|_| scope.spawn(load_some)).collect();
        let mut endpoints = BTreeMap::new();
        for loader in loaders {
            endpoints.extend(loader.join().map_err(|_| AppError::LoaderPanicked)??);
        }
        Ok(endpoints)
    })
}

fn sync_front(
    manifest: &Manifest,
    endpoints: &BTreeMap<String, Arc<Endpoint>>,
    link: &LinkState,
    stop: &CancellationToken,
) -> Result<Option<SyncFront>, LoadError> {
    let Some(sync) = manifest.rollcall.as_ref().and_then(|rollcall| rollcall.sync.as_ref()) else {
        return Ok(None);
    };
    let guest = endpoints[&sync.component].guest.clone();
    let institutes = Arc::new(Institutes::new(guest, link.clone(), stop.clone())?);
    Ok(Some(SyncFront { path: sync.path.clone(), institutes, stop: stop.clone() }))
}

fn delivery(
    manifest: &Manifest,
    endpoints: &BTreeMap<String, Arc<Endpoint>>,
    link: &LinkState,
    wanted: Arc<Notify>,
) -> Result<Option<Delivery>, LoadError> {
    let Some(call) = manifest.rollcall.as_ref().and_then(|rollcall| rollcall.on_link_up.as_ref()) else {
        return Ok(None);
    };
    let guest = endpoints[&call.component].guest.clone();
    guest.require_handler()?;
    Ok(Some(Delivery { guest, path: call.path.clone(), link: link.clone(), wanted }))
}

fn feeds(manifest: &Manifest, shared: &SharedHost) -> Option<FeedState> {
    let store = manifest.rollcall.as_ref()?.cache_store.clone()?;
    Some(FeedState::new(shared.key_value.clone(), store))
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
