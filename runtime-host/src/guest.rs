//! One component, loaded: compiled, linked and checked, ready to answer requests. Each request has an instance of its own.

use crate::bounded_file;
use crate::data_folder::DataFolder;
use crate::database::{DatabaseFile, Databases};
use crate::engine::GuestEngine;
use crate::guest_files::MountedFiles;
use crate::guest_state::{CpuClock, CpuExceeded, GuestPolicy, GuestState};
use crate::host::bindings;
use crate::host::outbound_http::{Connections, OutboundHttp};
use crate::key_value::KeyValueStore;
use crate::limits;
use crate::manifest::Component as ComponentManifest;
use crate::problem::Problem;
use http::{Request, Response};
use std::future::poll_fn;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::task::TaskTracker;
use wasmtime::component::InstancePre;
use wasmtime::{Engine, Store};
use wasmtime_wasi_http::{WasiBody, WasiHttpView as _, p2, p3};

/// What all components of one edge share.
#[derive(Clone)]
pub struct SharedHost {
    pub folder: Arc<DataFolder>,
    pub databases: Databases,
    pub key_value: KeyValueStore,
    pub connections: Connections,
    /// Bounds the instances that answer requests.
    pub instances: Arc<Semaphore>,
    /// Instances that run, so that a stop can wait for them.
    pub running: TaskTracker,
}

/// A component that is ready to run.
pub struct Guest {
    policy: Arc<GuestPolicy>,
    engine: Engine,
    handler: Option<Handler>,
    sync_engine: Option<bindings::GuestPre<GuestState>>,
    databases: DatabaseScope,
    cpu: Duration,
    shared: SharedHost,
}

enum Handler {
    /// `wasi:http/handler@0.3.0`
    P3(p3::bindings::ServicePre<GuestState>),
    /// `wasi:http/incoming-handler@0.2.x`
    P2(p2::bindings::ProxyPre<GuestState>),
}

enum DatabaseScope {
    None,
    Component,
    Institute,
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("component `{component}`: {source_path} is missing{}", hint(.build_command))]
    Missing { component: String, source_path: PathBuf, build_command: Option<String> },
    #[error("component `{component}`: {source_path}: {source}")]
    Unreadable { component: String, source_path: PathBuf, source: std::io::Error },
    #[error("component `{component}`: {source_path} is not a WebAssembly component: {source:#}")]
    NotAComponent { component: String, source_path: PathBuf, source: wasmtime::Error },
    #[error("component `{component}` imports `{import}`, which this host does not offer")]
    UnknownImport { component: String, import: String },
    #[error("component `{component}`: its files cannot be copied: {source}")]
    Files { component: String, source: std::io::Error },
    #[error("component `{component}` does not fit this host: {source:#}")]
    Unlinkable { component: String, source: wasmtime::Error },
    #[error(
        "component `{0}` has a route but exports neither `wasi:http/handler@0.3.0` nor `wasi:http/incoming-handler@0.2`"
    )]
    NoHandler(String),
    #[error("component `{0}` is to sync but does not export `rollcall:sync/engine@0.1.0`")]
    NoSyncEngine(String),
}

fn hint(build_command: &Option<String>) -> String {
    match build_command {
        Some(command) => format!("; build it with `{command}`"),
        None => String::new(),
    }
}

/// Why a guest gave no answer. The cause is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GuestFailure {
    #[error("no instance was free in time")]
    Busy,
    #[error("the component failed")]
    Failed,
    #[error("the component did not answer in time")]
    TimedOut,
}

impl GuestFailure {
    pub fn problem(self) -> Problem {
        match self {
            GuestFailure::Busy => Problem::overloaded(),
            GuestFailure::Failed => Problem::component_failed(),
            GuestFailure::TimedOut => Problem::component_timeout(),
        }
    }
}

type Outcome = Result<Response<WasiBody>, GuestFailure>;

/// Where a guest's answer goes, once.
#[derive(Clone)]
struct AnswerSlot(Arc<Mutex<Option<oneshot::Sender<Outcome>>>>);

impl AnswerSlot {
    /// Does nothing when an answer was given before; the client may also be gone.
    fn answer(&self, outcome: Outcome) {
        if let Some(sender) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = sender.send(outcome);
        }
    }
}

impl Guest {
    pub fn load(
        engine: &GuestEngine,
        manifest: &ComponentManifest,
        shared: &SharedHost,
    ) -> Result<Self, LoadError> {
        let started = Instant::now();
        let component = compile(engine, manifest)?;
        let pre = link(engine, manifest, &component)?;
        tracing::info!(
            component = manifest.id,
            milliseconds = started.elapsed().as_millis() as u64,
            "component loaded"
        );
        let id: Arc<str> = manifest.id.as_str().into();
        let policy = GuestPolicy {
            variables: manifest.variables.clone(),
            environment: manifest.environment.clone().into_iter().collect(),
            files: MountedFiles::make(&manifest.files, &manifest.id, &shared.folder.guest_files())
                .map_err(|source| LoadError::Files { component: manifest.id.clone(), source })?,
            key_value_stores: manifest.key_value_stores.clone(),
            key_value: shared.key_value.clone(),
            outbound: OutboundHttp::new(
                id.clone(),
                manifest.allowed_hosts.clone(),
                shared.connections.clone(),
            ),
            memory_bytes: manifest.memory_bytes,
            component: id,
        };
        Ok(Self {
            policy: Arc::new(policy),
            engine: engine.engine().clone(),
            handler: handler(&pre),
            sync_engine: bindings::GuestPre::new(pre).ok(),
            databases: match manifest.sqlite_databases.is_empty() {
                true => DatabaseScope::None,
                false if manifest.sqlite_per_institute => DatabaseScope::Institute,
                false => DatabaseScope::Component,
            },
            cpu: manifest.cpu,
            shared: shared.clone(),
        })
    }

    pub fn id(&self) -> &str {
        &self.policy.component
    }

    pub fn require_handler(&self) -> Result<(), LoadError> {
        self.handler.as_ref().map(drop).ok_or_else(|| LoadError::NoHandler(self.id().to_owned()))
    }

    pub fn sync_engine(&self) -> Result<&bindings::GuestPre<GuestState>, LoadError> {
        self.sync_engine.as_ref().ok_or_else(|| LoadError::NoSyncEngine(self.id().to_owned()))
    }

    /// Whether a request changes what the institute's sync engine reads.
    pub fn has_institute_database(&self) -> bool {
        matches!(self.databases, DatabaseScope::Institute)
    }

    fn database(&self, institute: Option<&str>) -> Option<DatabaseFile> {
        let path = match self.databases {
            DatabaseScope::None => return None,
            DatabaseScope::Component => self.shared.folder.component_database(self.id()),
            DatabaseScope::Institute => self.shared.folder.institute_database(institute?, self.id())?,
        };
        Some(self.shared.databases.file(path))
    }

    /// A store for a new instance that works for `institute`.
    pub fn store(
        &self,
        institute: Option<&str>,
        clock: &Arc<CpuClock>,
    ) -> wasmtime::Result<Store<GuestState>> {
        let state = GuestState::new(self.policy.clone(), self.database(institute))?;
        Ok(state.into_store(&self.engine, clock))
    }

    /// Answers one request in an instance of its own, for the user's `institute` if there is one.
    ///
    /// `finished` is dropped when the instance is gone, which may be after the answer.
    pub async fn handle(
        self: &Arc<Self>,
        request: Request<WasiBody>,
        institute: Option<String>,
        finished: impl Send + 'static,
    ) -> Outcome {
        let instances = self.shared.instances.clone();
        let Ok(Ok(permit)) = tokio::time::timeout(limits::INSTANCE_WAIT, instances.acquire_owned()).await
        else {
            return Err(GuestFailure::Busy);
        };
        let (sender, answer) = oneshot::channel();
        let slot = AnswerSlot(Arc::new(Mutex::new(Some(sender))));
        let worker =
            self.shared.running.spawn(self.clone().run(request, institute, slot, (permit, finished)));
        match tokio::time::timeout(limits::ANSWER_TIMEOUT, answer).await {
            Ok(Ok(outcome)) => outcome,
            // The worker panicked: our own fault, and logged by its hook.
            Ok(Err(_)) => Err(GuestFailure::Failed),
            Err(_) => {
                worker.abort();
                tracing::warn!(component = self.id(), "no answer in {:?}", limits::ANSWER_TIMEOUT);
                Err(GuestFailure::TimedOut)
            }
        }
    }

    async fn run<F>(
        self: Arc<Self>,
        request: Request<WasiBody>,
        institute: Option<String>,
        slot: AnswerSlot,
        held: (OwnedSemaphorePermit, F),
    ) {
        let clock = CpuClock::new(self.cpu);
        let mut store = match self.store(institute.as_deref(), &clock) {
            Ok(store) => store,
            Err(error) => {
                tracing::error!(component = self.id(), error = format!("{error:#}"), "instance not made");
                return slot.answer(Err(GuestFailure::Failed));
            }
        };
        let work = clock.measure(self.serve(&mut store, request, slot.clone()));
        let result = tokio::time::timeout(limits::INSTANCE_TIMEOUT, work).await;
        let failure = match result {
            Ok(Ok(())) => GuestFailure::Failed,
            Ok(Err(error)) => self.log_trap(&error, &store),
            Err(_) => {
                tracing::warn!(component = self.id(), "stopped after {:?}", limits::INSTANCE_TIMEOUT);
                GuestFailure::TimedOut
            }
        };
        // Counts only when the guest ended without an answer.
        slot.answer(Err(failure));
        drop(store);
        drop(held);
    }

    fn log_trap(&self, error: &wasmtime::Error, store: &Store<GuestState>) -> GuestFailure {
        let component = self.id();
        let memory_exceeded = store.data().memory_exceeded();
        if error.downcast_ref::<CpuExceeded>().is_some() {
            tracing::warn!(component, "stopped: it used up its processor time");
            return GuestFailure::TimedOut;
        }
        tracing::warn!(component, memory_exceeded, error = format!("{error:#}"), "trapped");
        GuestFailure::Failed
    }

    async fn serve(
        &self,
        store: &mut Store<GuestState>,
        request: Request<WasiBody>,
        slot: AnswerSlot,
    ) -> wasmtime::Result<()> {
        match &self.handler {
            Some(Handler::P3(service)) => serve_p3(service, store, request, slot).await,
            Some(Handler::P2(proxy)) => serve_p2(proxy, store, request, slot).await,
            None => Err(wasmtime::format_err!("the component exports no HTTP handler")),
        }
    }
}

async fn serve_p3(
    service: &p3::bindings::ServicePre<GuestState>,
    store: &mut Store<GuestState>,
    request: Request<WasiBody>,
    slot: AnswerSlot,
) -> wasmtime::Result<()> {
    let service = service.instantiate_async(&mut *store).await?;
    let (request, transfer) = p3::Request::from_http(store.data_mut().http().hooks, request);
    store
        .run_concurrent(async |accessor| {
            let response = match service.handle(accessor, request).await? {
                Ok(response) => response,
                Err(code) => return Err(wasmtime::format_err!("the component answered {code:?}")),
            };
            let response = accessor.with(|mut access| response.into_http(&mut access, transfer))?;
            slot.answer(Ok(response));
            // The body is still written, and work that the guest spawned still runs.
            poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
            Ok(())
        })
        .await?
}

async fn serve_p2(
    proxy: &p2::bindings::ProxyPre<GuestState>,
    store: &mut Store<GuestState>,
    request: Request<WasiBody>,
    slot: AnswerSlot,
) -> wasmtime::Result<()> {
    let proxy = proxy.instantiate_async(&mut *store).await?;
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(p2::bindings::http::types::Scheme::Http, request)?;
    let response = http.new_response_outparam_from_callback(move |response| {
        slot.answer(response.map_err(|code| {
            tracing::warn!(?code, "the component answered an error");
            GuestFailure::Failed
        }));
    })?;
    proxy.wasi_http_incoming_handler().call_handle(store, request, response).await
}

fn compile(
    engine: &GuestEngine,
    manifest: &ComponentManifest,
) -> Result<wasmtime::component::Component, LoadError> {
    let (component, source_path) = (manifest.id.clone(), manifest.source.clone());
    let wasm = match bounded_file::read(&manifest.source, limits::MAX_COMPONENT_BYTES) {
        Ok(wasm) => wasm,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let build_command = manifest.build_command.clone();
            return Err(LoadError::Missing { component, source_path, build_command });
        }
        Err(source) => return Err(LoadError::Unreadable { component, source_path, source }),
    };
    engine.compile(&wasm).map_err(|source| LoadError::NotAComponent { component, source_path, source })
}

fn link(
    engine: &GuestEngine,
    manifest: &ComponentManifest,
    component: &wasmtime::component::Component,
) -> Result<InstancePre<GuestState>, LoadError> {
    engine.linker().instantiate_pre(component).map_err(|source| {
        let message = format!("{source:#}");
        let ty = component.component_type();
        let unknown = ty
            .imports(engine.engine())
            .map(|(name, _)| name.to_owned())
            .find(|name| message.contains(&format!("`{name}`")));
        match unknown {
            Some(import) => LoadError::UnknownImport { component: manifest.id.clone(), import },
            None => LoadError::Unlinkable { component: manifest.id.clone(), source },
        }
    })
}

fn handler(pre: &InstancePre<GuestState>) -> Option<Handler> {
    let p3 = p3::bindings::ServicePre::new(pre.clone()).map(Handler::P3);
    p3.or_else(|_| p2::bindings::ProxyPre::new(pre.clone()).map(Handler::P2)).ok()
}

#[cfg(test)]
mod tests;
