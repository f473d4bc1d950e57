//! What a reload replaces: components, routes to them, and what the host calls by itself.

use crate::access::RouteName;
use crate::app::AppError;
use crate::engine::GuestEngine;
use crate::guest::{Guest, SharedHost};
use crate::manifest::{Component, GuestFiles, Manifest, Responder, StaticResponse};
use crate::route::{Route, Routes};
use crate::spin_headers::SpinHeaders;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The routes, and what is behind them.
pub struct Application {
    pub routes: Routes<RouteTarget>,
    /// Name and version, as Spin tells them, in JSON.
    pub info: Bytes,
    endpoints: BTreeMap<String, Arc<Endpoint>>,
    /// The component that is called when something waits for the origin, and the path.
    pub link_up_call: Option<(Arc<Guest>, String)>,
}

/// Where a route leads.
pub struct RouteTarget {
    pub name: Arc<RouteName>,
    pub answer: RouteAnswer,
    pub headers: SpinHeaders,
}

/// What answers the requests of a route.
pub enum RouteAnswer {
    Component(Arc<Endpoint>),
    Static(Arc<StaticResponse>),
}

/// A component with what the manifest says about requests to it.
pub struct Endpoint {
    pub guest: Arc<Guest>,
    pub manifest: Component,
    /// Told when an answer says that something waits for the origin.
    pub delivery_wanted: Option<Arc<Notify>>,
    loaded_from: Vec<FileStamp>,
}

/// What a file was when it was loaded. Taken before it is read, so that a change meanwhile shows as one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FileStamp {
    path: PathBuf,
    /// None for a file that cannot be looked at: loading says why.
    content: Option<(u64, SystemTime, u64)>,
}

impl FileStamp {
    fn take(path: &Path) -> Self {
        let content = std::fs::metadata(path).ok().and_then(|file| {
            // The number of the file shows a replaced one whose time and length are those of the old.
            Some((file.len(), file.modified().ok()?, file.ino()))
        });
        Self { path: path.to_owned(), content }
    }

    /// Of all files that loading a component copies. A folder that is mounted as it stands is not among them.
    fn of_component(component: &Component) -> Vec<Self> {
        let copied = match &component.files {
            GuestFiles::None | GuestFiles::Folder(_) => &[][..],
            GuestFiles::Copies(files) => files,
        };
        let copied = copied.iter().map(|file| &file.source);
        let dependencies = component.dependencies.iter().map(|dependency| &dependency.path);
        std::iter::once(&component.source)
            .chain(dependencies)
            .chain(copied)
            .map(|path| Self::take(path))
            .collect()
    }
}

impl RouteTarget {
    fn new(route: &Route, answer: RouteAnswer) -> Self {
        let component = match &answer {
            RouteAnswer::Component(endpoint) => endpoint.guest.id(),
            RouteAnswer::Static(_) => "(static response)",
        };
        Self { name: RouteName::new(route.as_str(), component), answer, headers: SpinHeaders::new(route) }
    }
}

impl Application {
    /// The component of this id.
    pub fn guest(&self, id: &str) -> Option<&Arc<Guest>> {
        Some(&self.endpoints.get(id)?.guest)
    }

    pub fn guests(&self) -> impl Iterator<Item = &Arc<Guest>> {
        self.endpoints.values().map(|endpoint| &endpoint.guest)
    }

    /// Whether it runs this very code, as `other` does.
    pub fn shares(&self, guest: &Arc<Guest>) -> bool {
        self.guest(guest.id()).is_some_and(|own| Arc::ptr_eq(own, guest))
    }
}

fn info(manifest: &Manifest) -> Bytes {
    let mut info = serde_json::json!({ "name": manifest.name });
    if let Some(version) = &manifest.version {
        info["version"] = version.as_str().into();
    }
    info.to_string().into()
}

/// Loads applications for one edge, one after the other.
pub struct Loader {
    engine: GuestEngine,
    shared: SharedHost,
    /// What every application's deliveries wait for.
    pub delivery_wanted: Arc<Notify>,
    stop: CancellationToken,
}

impl Loader {
    pub fn new(engine: GuestEngine, shared: SharedHost, stop: CancellationToken) -> Self {
        Self { engine, shared, delivery_wanted: Arc::default(), stop }
    }

    pub fn shared(&self) -> &SharedHost {
        &self.shared
    }

    /// Blocks while components compile. What is as it is in `before` is taken from there.
    pub fn load(&self, manifest: &Manifest, before: Option<&Application>) -> Result<Application, AppError> {
        let endpoints = self.endpoints(manifest, before)?;
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
        let rollcall = manifest.rollcall.as_ref();
        let link_up_call = match rollcall.and_then(|rollcall| rollcall.on_link_up.as_ref()) {
            Some(call) => {
                let guest = endpoints[&call.component].guest.clone();
                guest.require_handler()?;
                Some((guest, call.path.clone()))
            }
            None => None,
        };
        if let Some(sync) = rollcall.and_then(|rollcall| rollcall.sync.as_ref()) {
            endpoints[&sync.component].guest.sync_engine()?;
        }
        Ok(Application { routes: Routes::new(routes), info: info(manifest), endpoints, link_up_call })
    }

    /// Loads the components, several at a time: of each, what cannot run in parallel waits for another's. Stops between two
    /// when the edge is to stop.
    fn endpoints(
        &self,
        manifest: &Manifest,
        before: Option<&Application>,
    ) -> Result<BTreeMap<String, Arc<Endpoint>>, AppError> {
        let on_link_up = manifest.rollcall.as_ref().and_then(|rollcall| rollcall.on_link_up.as_ref());
        let components: Vec<_> = manifest.components.iter().collect();
        let next = AtomicUsize::new(0);
        let load_some = || {
            let mut loaded = Vec::new();
            while let Some((id, component)) = components.get(next.fetch_add(1, Ordering::Relaxed)) {
                if self.stop.is_cancelled() {
                    return Err(AppError::Stopped);
                }
                let delivers = on_link_up.is_some_and(|call| call.component == **id);
                let known = before.and_then(|before| before.endpoints.get(*id));
                loaded.push(((*id).clone(), self.endpoint(component, delivers, known)?));
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

    fn endpoint(
        &self,
        component: &Component,
        delivers: bool,
        known: Option<&Arc<Endpoint>>,
    ) -> Result<Arc<Endpoint>, AppError> {
        let loaded_from = FileStamp::of_component(component);
        let same = known.filter(|known| known.manifest == *component && known.loaded_from == loaded_from);
        let guest = match same {
            Some(known) => known.guest.clone(),
            None => Arc::new(Guest::load(&self.engine, component, &self.shared)?),
        };
        let delivery_wanted = delivers.then(|| self.delivery_wanted.clone());
        Ok(Arc::new(Endpoint { guest, manifest: component.clone(), delivery_wanted, loaded_from }))
    }
}
