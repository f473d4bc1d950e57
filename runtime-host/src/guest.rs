//! One component, loaded: compiled, linked and checked, ready to answer requests.
//!
//! A WASI 0.3 component's instances answer many requests, several at once; a WASI 0.2 component's answer one each.

mod answer;
mod instances;
mod load;
mod metrics;
mod pool;
mod task;
mod turns;
mod worker;

pub use instances::Instances;
pub use load::LoadError;

/// Says what the metrics of components mean, to whoever collects them.
pub fn describe() {
    metrics::describe();
}

use crate::data_folder::DataFolder;
use crate::database::{DatabaseFile, Databases};
use crate::engine::GuestEngine;
use crate::epoch_clock::EpochClock;
use crate::execution::Execution;
use crate::guest_files::MountedFiles;
use crate::guest_state::{CpuClock, CpuExceeded, GuestPolicy, GuestState};
use crate::host::LogBudget;
use crate::host::bindings;
use crate::host::outbound_http::{Connections, OutboundHttp, Patience, RequestContext};
use crate::host::outbound_postgres::PostgresConnections;
use crate::host::outbound_redis::RedisConnections;
use crate::host::sockets::Sockets;
use crate::key_value::Backends;
use crate::limits;
use crate::manifest::Component as ComponentManifest;
use crate::problem::Problem;
use crate::threads::Threads;
use answer::AnswerBody;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::{Request, Response};
use instances::Share;
use load::{compile, database_places, handler, link, weight};
use metrics::GuestMetrics;
use pool::{Pool, Scope};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};
use task::{Driver, InstanceTask};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use wasmtime::component::Accessor;
use wasmtime::{Engine, Store, Trap};
use wasmtime_wasi_http::{WasiBody, WasiHttpView as _, p2, p3};
use worker::{Begun, Job, Refusal, Waiting, Worker};

/// What all components of one edge share.
#[derive(Clone)]
pub struct SharedHost {
    pub folder: Arc<DataFolder>,
    pub databases: Databases,
    /// Databases that the runtime configuration places, by their names.
    pub configured_databases: Arc<BTreeMap<String, DatabaseFile>>,
    pub key_value: Backends,
    pub connections: Connections,
    pub threads: Arc<Threads>,
    /// Bounds the instances that answer requests.
    pub instances: Arc<Instances>,
    /// Instances that have work, so that a stop can wait for them.
    pub running: TaskTracker,
}

/// A component that is ready to run.
pub struct Guest {
    policy: Arc<GuestPolicy>,
    engine: Engine,
    epochs: Arc<EpochClock>,
    handler: Option<Handler>,
    sync_engine: Option<bindings::GuestPre<GuestState>>,
    databases: Vec<(String, DatabasePlace)>,
    cpu: Duration,
    execution: Execution,
    /// Of a request.
    body_bytes_max: u64,
    /// Requests that run.
    turns: Arc<Semaphore>,
    /// What it has of the room for instances.
    share: Arc<Share>,
    /// Requests that wait for their turn.
    waiting: AtomicUsize,
    pool: Pool,
    metrics: GuestMetrics,
    shared: SharedHost,
}

enum Handler {
    /// `wasi:http/handler@0.3.0`
    P3(p3::bindings::ServicePre<GuestState>),
    /// `wasi:http/incoming-handler@0.2.x`
    P2(p2::bindings::ProxyPre<GuestState>),
}

/// Where one of the component's databases is.
enum DatabasePlace {
    Institute,
    File(DatabaseFile),
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
type Answer = Result<Response<AnswerBody>, GuestFailure>;

/// Counts a request that waits for its turn.
struct InQueue<'a>(&'a AtomicUsize);

impl Drop for InQueue<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Guest {
    pub fn load(
        engine: &GuestEngine,
        manifest: &ComponentManifest,
        shared: &SharedHost,
    ) -> Result<Self, LoadError> {
        let started = Instant::now();
        let (component, code) = compile(engine, manifest)?;
        let pre = link(engine, manifest, &component)?;
        let weight = weight(&component);
        tracing::info!(
            component = manifest.id,
            ?code,
            milliseconds = started.elapsed().as_millis() as u64,
            "component loaded"
        );
        let id: Arc<str> = manifest.id.as_str().into();
        let connections = shared.connections.clone();
        let patience = Patience::of(&manifest.execution);
        let outbound = OutboundHttp::new(id.clone(), manifest.allowed_hosts.clone(), connections, patience);
        let policy = GuestPolicy {
            variables: manifest.variables.clone(),
            environment: manifest.environment.clone().into_iter().collect(),
            files: MountedFiles::make(&manifest.files, &manifest.id, &shared.folder.guest_files())
                .map_err(|source| LoadError::Files { component: manifest.id.clone(), source })?,
            key_value_stores: manifest.key_value_stores.clone(),
            key_value: shared.key_value.clone(),
            redis: RedisConnections::new(outbound.clone()),
            postgres: PostgresConnections::new(outbound.clone()),
            sockets: Sockets::new(outbound.clone()),
            outbound,
            memory_bytes: manifest.memory_bytes,
            log: LogBudget::new(id.clone()),
            component: id.clone(),
        };
        let execution = manifest.execution;
        Ok(Self {
            policy: Arc::new(policy),
            engine: engine.engine().clone(),
            epochs: engine.epochs().clone(),
            handler: handler(&pre),
            sync_engine: bindings::GuestPre::new(pre).ok(),
            databases: database_places(manifest, shared)?,
            cpu: manifest.cpu,
            execution,
            body_bytes_max: manifest.body_bytes_max,
            turns: Arc::new(Semaphore::new(execution.concurrent)),
            share: Share::new(shared.instances.clone(), weight),
            waiting: AtomicUsize::new(0),
            pool: Pool::new(shared.threads.count()),
            metrics: GuestMetrics::new(id),
            shared: shared.clone(),
        })
    }

    pub fn id(&self) -> &str {
        &self.policy.component
    }

    /// Largest body of a request.
    pub fn body_bytes_max(&self) -> u64 {
        self.body_bytes_max
    }

    pub fn require_handler(&self) -> Result<(), LoadError> {
        self.handler.as_ref().map(drop).ok_or_else(|| LoadError::NoHandler(self.id().to_owned()))
    }

    pub fn sync_engine(&self) -> Result<&bindings::GuestPre<GuestState>, LoadError> {
        if self.share.weight() > 1 {
            return Err(LoadError::HeavySyncEngine(self.id().to_owned()));
        }
        self.sync_engine.as_ref().ok_or_else(|| LoadError::NoSyncEngine(self.id().to_owned()))
    }

    /// Nobody sends more requests: instances that are idle end at once, the others after what they do.
    pub fn retire(&self) {
        self.pool.retire();
    }

    /// Whether a request changes what the institute's sync engine reads.
    pub fn has_institute_database(&self) -> bool {
        self.databases.iter().any(|(_, place)| matches!(place, DatabasePlace::Institute))
    }

    /// Whether the institute has a database here, be it one that nobody uses now.
    pub fn has_database_of(&self, institute: &str) -> bool {
        self.databases.iter().any(|(_, place)| match place {
            DatabasePlace::Institute => {
                let path = self.shared.folder.institute_database(institute, self.id());
                path.is_some_and(|path| path.exists())
            }
            DatabasePlace::File(_) => false,
        })
    }

    fn databases(&self, institute: Option<&str>) -> BTreeMap<String, DatabaseFile> {
        let folder = &self.shared.folder;
        let file = |(name, place): &(String, DatabasePlace)| {
            let path = match place {
                DatabasePlace::Institute => folder.institute_database(institute?, self.id())?,
                DatabasePlace::File(file) => return Some((name.clone(), file.clone())),
            };
            Some((name.clone(), self.shared.databases.file(path)))
        };
        self.databases.iter().filter_map(file).collect()
    }

    /// What counts an instance's processor time and bounds it by `limit`.
    pub fn clock(&self, limit: Duration) -> Arc<CpuClock> {
        CpuClock::new(limit, self.epochs.clone())
    }

    /// A store for a new instance that works for `institute`.
    pub fn store(
        &self,
        institute: Option<&str>,
        clock: &Arc<CpuClock>,
    ) -> wasmtime::Result<Store<GuestState>> {
        let state = GuestState::new(self.policy.clone(), self.databases(institute))?;
        Ok(state.into_store(&self.engine, clock))
    }

    /// Answers one request, for the user's `institute` if there is one. Dropped before the answer, it ends what the guest does
    /// for it.
    ///
    /// `finished` is dropped when there is an answer, or the instance is gone.
    pub async fn handle(
        self: &Arc<Self>,
        request: Request<WasiBody>,
        institute: Option<String>,
        finished: impl Send + 'static,
    ) -> Outcome {
        let job = Job { request, finished: Box::new(finished) };
        let outcome = self.admitted(job, institute).await;
        self.metrics.request(outcome.as_ref().err().copied());
        outcome
    }

    async fn admitted(self: &Arc<Self>, job: Job, institute: Option<String>) -> Outcome {
        let turn = self.turn().await?;
        match tokio::time::timeout(self.execution.timeout, self.answered(job, institute)).await {
            Ok(Ok(mut response)) => {
                response.body_mut().hold(turn);
                Ok(response.map(http_body_util::BodyExt::boxed_unsync))
            }
            Ok(Err(failure)) => Err(failure),
            Err(_) => {
                tracing::warn!(component = self.id(), "no answer in {:?}", self.execution.timeout);
                Err(GuestFailure::TimedOut)
            }
        }
    }

    /// Waits until the component has room for another request, unless too many wait already.
    async fn turn(&self) -> Result<OwnedSemaphorePermit, GuestFailure> {
        if let Ok(turn) = self.turns.clone().try_acquire_owned() {
            return Ok(turn);
        }
        let in_queue = InQueue(&self.waiting);
        if in_queue.0.fetch_add(1, Ordering::Relaxed) >= self.execution.queue {
            return Err(GuestFailure::Busy);
        }
        let started = Instant::now();
        let turn = tokio::time::timeout(limits::INSTANCE_WAIT, self.turns.clone().acquire_owned()).await;
        self.metrics.waited(started.elapsed());
        match turn {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(GuestFailure::Busy),
        }
    }

    async fn answered(self: &Arc<Self>, job: Job, institute: Option<String>) -> Answer {
        let mut job = job;
        loop {
            let reply = match self.handler {
                Some(Handler::P3(_)) => self.place(job, institute.as_deref()).await?.await,
                Some(Handler::P2(_)) => Box::pin(self.start(job, institute.as_deref(), None)).await?.await,
                None => return Err(GuestFailure::Failed),
            };
            match reply {
                Ok(response) => return Ok(response),
                Err(Refusal::Failed(failure)) => return Err(failure),
                Err(Refusal::Untouched(back)) => job = *back,
            }
        }
    }

    /// Hands `job` to an instance that has room for it, or to a new one.
    async fn place(self: &Arc<Self>, job: Job, institute: Option<&str>) -> Result<Waiting, GuestFailure> {
        let scope: Scope = institute.filter(|_| self.has_institute_database()).map(str::to_owned);
        let mut job = Some(job);
        if let Some(waiting) = self.pool.offer(&scope, &mut job) {
            return Ok(waiting);
        }
        match job {
            // Seldom, and apart, so that what waits for an answer is small: it is moved with each request.
            Some(job) => Box::pin(self.start(job, institute, Some(scope))).await,
            None => Err(GuestFailure::Failed),
        }
    }

    /// Starts an instance with `job` as its first; others find it under `scope`.
    async fn start(
        self: &Arc<Self>,
        job: Job,
        institute: Option<&str>,
        scope: Option<Scope>,
    ) -> Result<Waiting, GuestFailure> {
        let permit = self.share.take().await.ok_or(GuestFailure::Busy)?;
        let running = self.shared.running.clone();
        let worker = match scope {
            Some(_) => Worker::new(self.execution, running),
            None => Worker::once(self.execution, running),
        };
        let waiting = worker.offer(&mut Some(job)).ok_or(GuestFailure::Failed)?;
        let clock = self.clock(self.cpu);
        let place = scope.map(|scope| self.pool.add(scope, &worker));
        let driver = self.clone().drive(institute.map(str::to_owned), clock.clone(), worker.clone());
        tokio::spawn(InstanceTask::new(self.clone(), worker, clock, driver, place, permit));
        Ok(waiting)
    }

    fn drive(
        self: Arc<Self>,
        institute: Option<String>,
        clock: Arc<CpuClock>,
        worker: Arc<Worker>,
    ) -> Driver {
        Box::pin(async move {
            let mut store = match self.store(institute.as_deref(), &clock) {
                Ok(store) => store,
                Err(error) => {
                    tracing::error!(component = self.id(), error = format!("{error:#}"), "instance not made");
                    return GuestFailure::Failed;
                }
            };
            let result = match &self.handler {
                Some(Handler::P3(service)) => serve_p3(service, &mut store, &worker, &clock).await,
                Some(Handler::P2(proxy)) => serve_p2(proxy, &mut store, &worker).await,
                None => Err(wasmtime::format_err!("the component exports no HTTP handler")),
            };
            self.metrics.memory(store.data().memory_peak());
            let failure = match &result {
                Ok(()) => GuestFailure::Failed,
                Err(error) => self.log_trap(error, &store),
            };
            // Before the store goes, with which the bodies would seem to be whole. What a WASI 0.2 guest has not finished when
            // it returns it never will; of a WASI 0.3 guest what another server sends may still be on its way.
            if result.is_err() || matches!(self.handler, Some(Handler::P2(_))) {
                worker.cut(failure);
            }
            failure
        })
    }

    fn log_trap(&self, error: &wasmtime::Error, store: &Store<GuestState>) -> GuestFailure {
        let component = self.id();
        let memory_exceeded = store.data().memory_exceeded();
        if error.downcast_ref::<CpuExceeded>().is_some() {
            self.metrics.trap("cpu");
            tracing::warn!(component, "stopped: it used up its processor time");
            return GuestFailure::TimedOut;
        }
        self.metrics.trap(match error.downcast_ref::<Trap>() {
            _ if memory_exceeded => "memory",
            Some(Trap::UnreachableCodeReached) => "unreachable",
            Some(Trap::StackOverflow) => "stack",
            Some(_) => "other",
            None => "host",
        });
        tracing::warn!(component, memory_exceeded, error = format!("{error:#}"), "trapped");
        GuestFailure::Failed
    }
}

/// Answers requests until the instance is used up or traps.
async fn serve_p3(
    service: &p3::bindings::ServicePre<GuestState>,
    store: &mut Store<GuestState>,
    worker: &Arc<Worker>,
    clock: &CpuClock,
) -> wasmtime::Result<()> {
    // Before the instance is made, so that the first request stays with it however long that takes.
    let mut next = worker.begin();
    let service = service.instantiate_async(&mut *store).await?;
    let function = *service.wasi_http_handler().func_handle().func();
    let work = async |accessor: &Accessor<GuestState>| {
        let mut running = FuturesUnordered::new();
        poll_fn(|cx| {
            loop {
                match running.poll_next_unpin(cx) {
                    Poll::Ready(Some(Ok(()))) => continue,
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                    Poll::Ready(None) | Poll::Pending => {}
                }
                // A guest may ask not to be called for now.
                if next.is_none() && accessor.poll_ready_for_concurrent_call(function, cx).is_ready() {
                    next = worker.begin();
                }
                if let Some((begun, request)) = next.take() {
                    clock.restart();
                    running.push(answer_p3(&service, accessor, worker, begun, request));
                    continue;
                }
                // Bodies are still written, and work that the guest spawned still runs.
                if !running.is_empty() || accessor.poll_no_interesting_tasks(cx).is_pending() || worker.rest()
                {
                    return Poll::Pending;
                }
                return Poll::Ready(Ok(()));
            }
        })
        .await
    };
    store.run_concurrent(work).await?
}

/// What becomes of the request's body.
type Transfer = Pin<Box<dyn Future<Output = Result<(), wasmtime_wasi_http::Error>> + Send>>;

async fn answer_p3(
    service: &p3::bindings::Service,
    accessor: &Accessor<GuestState>,
    worker: &Arc<Worker>,
    begun: Begun,
    request: Request<WasiBody>,
) -> wasmtime::Result<()> {
    let context = RequestContext::of(request.headers());
    let handle = service.wasi_http_handler().func_handle();
    let (call, transfer) = accessor.with(|mut access| {
        let (request, transfer) = p3::Request::from_http(access.data_mut().http().hooks, request);
        // Boxed, because its type names the lifetime of the access, which it does not use.
        let transfer = Box::pin(transfer) as Transfer;
        let request = access.data_mut().http().table.push(request)?;
        let call = handle.start_call_concurrent(&mut access, (request,))?;
        access.data_mut().begin_context(call.task(), context);
        wasmtime::error::Ok((call, transfer))
    })?;
    let (answer,) = handle.finish_call_concurrent(accessor, call).await?;
    let outcome = match answer {
        Ok(response) => Ok(accessor.with(|mut access| {
            let response = access.data_mut().http().table.delete(response)?;
            response.into_http(&mut access, transfer)
        })?),
        Err(code) => {
            tracing::warn!(?code, "the component answered an error");
            Err(GuestFailure::Failed)
        }
    };
    worker.answer(begun, outcome);
    Ok(())
}

async fn serve_p2(
    proxy: &p2::bindings::ProxyPre<GuestState>,
    store: &mut Store<GuestState>,
    worker: &Arc<Worker>,
) -> wasmtime::Result<()> {
    let Some((begun, request)) = worker.begin() else { return Ok(()) };
    let proxy = proxy.instantiate_async(&mut *store).await?;
    store.data_mut().set_context(RequestContext::of(request.headers()));
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(p2::bindings::http::types::Scheme::Http, request)?;
    let worker = worker.clone();
    let response = http.new_response_outparam_from_callback(move |response| {
        let outcome = response.map_err(|code| {
            tracing::warn!(?code, "the component answered an error");
            GuestFailure::Failed
        });
        worker.answer(begun, outcome);
    })?;
    proxy.wasi_http_incoming_handler().call_handle(store, request, response).await
}

#[cfg(test)]
mod tests;
