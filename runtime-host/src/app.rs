//! The one place where the parts of the edge are put together.

use crate::config::Config;
use crate::data_folder::{DataFolder, DataFolderError};
use crate::database::Databases;
use crate::engine::{EngineError, GuestEngine};
use crate::front::{Endpoint, Front};
use crate::guest::{Guest, LoadError, SharedHost};
use crate::host::outbound_http::Connections;
use crate::identity::Identity;
use crate::key_value::{KeyValueError, KeyValueStore};
use crate::limits;
use crate::manifest::{Manifest, ManifestError, VariableSources};
use crate::route::Routes;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Semaphore;
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
}

/// An application, loaded and checked.
pub struct App {
    pub front: Arc<Front>,
    shared: SharedHost,
}

/// The manifest as the settings and the environment complete it.
pub fn manifest(config: &Config) -> Result<Manifest, ManifestError> {
    let environment = std::env::vars()
        .filter_map(|(name, value)| Some((name.strip_prefix("SPIN_VARIABLE_")?.to_ascii_lowercase(), value)))
        .collect();
    Manifest::load(&config.app, &VariableSources { settings: config.variables(), environment })
}

impl App {
    /// Blocks while components compile.
    pub fn load(config: &Config) -> Result<Self, AppError> {
        let manifest = manifest(config)?;
        let folder = Arc::new(DataFolder::open(&config.data)?);
        let engine = GuestEngine::new(&folder.compiled_code())?;
        let shared = SharedHost {
            databases: Databases::default(),
            key_value: KeyValueStore::open(&folder.key_value())?,
            connections: Connections::default(),
            instances: Arc::new(Semaphore::new(limits::MAX_REQUEST_INSTANCES)),
            running: TaskTracker::new(),
            folder,
        };
        let endpoints = endpoints(&manifest, &engine, &shared)?;
        let identity = manifest.rollcall.is_some().then(|| Arc::new(Identity::load(&shared.folder.keys())));
        let mut routes = Vec::new();
        for (route, component) in manifest.routes.iter() {
            let endpoint = endpoints[component].clone();
            endpoint.guest.require_handler()?;
            routes.push((route.clone(), endpoint));
        }
        let front = Arc::new(Front { routes: Routes::new(routes), identity });
        Ok(Self { front, shared })
    }

    /// Waits for what components still do after their answers.
    pub async fn drain(&self) {
        self.shared.running.close();
        self.shared.running.wait().await;
    }
}

fn endpoints(
    manifest: &Manifest,
    engine: &GuestEngine,
    shared: &SharedHost,
) -> Result<BTreeMap<String, Arc<Endpoint>>, LoadError> {
    let load = |(id, component): (&String, &crate::manifest::Component)| {
        let guest = Arc::new(Guest::load(engine, component, shared)?);
        Ok((id.clone(), Arc::new(Endpoint { guest, manifest: component.clone() })))
    };
    manifest.components.iter().map(load).collect()
}
