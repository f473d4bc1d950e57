//! What the host holds for one instance of a component: its world, and the limits that stop it.

use crate::database::DatabaseFile;
use crate::guest_files::MountedFiles;
use crate::host::GuestLog;
use crate::host::outbound_http::OutboundHttp;
use crate::key_value::KeyValueStore;
use crate::limits;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, ResourceLimiter, Store, UpdateDeadline};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// What all instances of one component share.
pub struct GuestPolicy {
    pub component: Arc<str>,
    pub variables: BTreeMap<String, String>,
    pub environment: Vec<(String, String)>,
    pub files: MountedFiles,
    pub key_value_stores: Vec<String>,
    pub key_value: KeyValueStore,
    pub outbound: OutboundHttp,
    pub memory_bytes: usize,
}

/// The data of one instance's store.
pub struct GuestState {
    pub policy: Arc<GuestPolicy>,
    /// What `default` of `spin:sqlite` opens; none when the component, or this request's identity, has no database.
    pub database: Option<DatabaseFile>,
    pub open_databases: usize,
    pub open_stores: usize,
    pub table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outbound: OutboundHttp,
    memory: MemoryLimit,
}

impl GuestState {
    pub fn new(policy: Arc<GuestPolicy>, database: Option<DatabaseFile>) -> wasmtime::Result<Self> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits::MAX_RESOURCES);
        // Built without network: `allowed_outbound_hosts` is kept by the HTTP client, and there is no other way out.
        let mut wasi = WasiCtxBuilder::new();
        wasi.envs(&policy.environment)
            .max_random_size(limits::MAX_RANDOM_BYTES)
            .stdout(GuestLog::new(policy.component.clone(), "stdout"))
            .stderr(GuestLog::new(policy.component.clone(), "stderr"));
        for mount in policy.files.mounts() {
            wasi.preopened_dir(&mount.source, &mount.destination, FsPerms::ReadOnly)?;
        }
        Ok(Self {
            database,
            open_databases: 0,
            open_stores: 0,
            table,
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
            outbound: policy.outbound.clone(),
            memory: MemoryLimit { bytes_max: policy.memory_bytes, exceeded: false },
            policy,
        })
    }

    /// Whether the guest was refused memory; it may have trapped for that.
    pub fn memory_exceeded(&self) -> bool {
        self.memory.exceeded
    }

    /// A store for one instance, bounded in memory, handles and, through `clock`, processor time.
    pub fn into_store(self, engine: &Engine, clock: &Arc<CpuClock>) -> Store<GuestState> {
        let mut store = Store::new(engine, self);
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(limits::HOSTCALL_BYTES);
        store.set_max_component_handles(limits::MAX_HANDLES);
        store.set_epoch_deadline(1);
        let clock = clock.clone();
        store.epoch_deadline_callback(move |_| match clock.exceeded() {
            true => Err(CpuExceeded.into()),
            // Others on this thread get their turn.
            false => Ok(UpdateDeadline::Yield(1)),
        });
        store
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for GuestState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.outbound, table: &mut self.table, ctx: &mut self.http }
    }
}

/// The guest used up its processor time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the component used up its processor time")]
pub struct CpuExceeded;

/// Bounds what all memories of one instance hold together.
struct MemoryLimit {
    bytes_max: usize,
    exceeded: bool,
}

impl ResourceLimiter for MemoryLimit {
    /// Bounds each memory. Components have one; the pool bounds how many another may have.
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let allowed = desired <= self.bytes_max;
        self.exceeded |= !allowed;
        Ok(allowed)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= limits::MAX_TABLE_ELEMENTS)
    }
}

/// Counts the time in which a guest, or the host on its behalf, holds a thread. Time spent waiting costs nothing.
#[derive(Debug)]
pub struct CpuClock {
    origin: Instant,
    spent_micros: AtomicU64,
    /// Micros from `origin` to the start of the poll that runs; zero between polls.
    poll_started_micros: AtomicU64,
    limit_micros: AtomicU64,
}

impl CpuClock {
    pub fn new(limit: Duration) -> Arc<Self> {
        Arc::new(Self {
            origin: Instant::now(),
            spent_micros: AtomicU64::new(0),
            poll_started_micros: AtomicU64::new(0),
            limit_micros: AtomicU64::new(limit.as_micros() as u64),
        })
    }

    /// Starts counting from nothing, for a call of a long-lived instance.
    pub fn restart(&self) {
        self.spent_micros.store(0, Ordering::Relaxed);
    }

    fn now_micros(&self) -> u64 {
        // Never zero, which means "not polled".
        (self.origin.elapsed().as_micros() as u64).max(1)
    }

    pub fn spent(&self) -> Duration {
        let running = match self.poll_started_micros.load(Ordering::Relaxed) {
            0 => 0,
            started => self.now_micros().saturating_sub(started),
        };
        Duration::from_micros(self.spent_micros.load(Ordering::Relaxed) + running)
    }

    fn exceeded(&self) -> bool {
        self.spent().as_micros() as u64 > self.limit_micros.load(Ordering::Relaxed)
    }

    /// Runs `future` on this clock.
    pub fn measure<F: Future>(self: &Arc<Self>, future: F) -> Measured<F> {
        Measured { clock: self.clone(), future: Box::pin(future) }
    }
}

/// A future whose polls a [`CpuClock`] counts.
pub struct Measured<F> {
    clock: Arc<CpuClock>,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Measured<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let started = self.clock.now_micros();
        self.clock.poll_started_micros.store(started, Ordering::Relaxed);
        let result = self.future.as_mut().poll(cx);
        self.clock.poll_started_micros.store(0, Ordering::Relaxed);
        let spent = self.clock.now_micros().saturating_sub(started);
        self.clock.spent_micros.fetch_add(spent, Ordering::Relaxed);
        result
    }
}
