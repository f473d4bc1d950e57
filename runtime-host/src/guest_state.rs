//! What the host holds for one instance of a component: its world, and the limits that stop it.

use crate::database::DatabaseFile;
use crate::epoch_clock::EpochClock;
use crate::guest_files::MountedFiles;
use crate::host::outbound_http::{OutboundHttp, RequestContext, RequestContexts};
use crate::host::outbound_postgres::PostgresConnections;
use crate::host::outbound_redis::RedisConnections;
use crate::host::sockets::Sockets;
use crate::host::{GuestLog, InFlight, LogBudget};
use crate::key_value::Backends;
use crate::limits;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use wasmtime::component::{GuestTaskId, ResourceTable};
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
    pub key_value: Backends,
    pub outbound: OutboundHttp,
    pub redis: RedisConnections,
    pub postgres: PostgresConnections,
    pub sockets: Sockets,
    pub memory_bytes: usize,
    pub log: Arc<LogBudget>,
}

/// The data of one instance's store.
pub struct GuestState {
    pub policy: Arc<GuestPolicy>,
    /// What the names of `spin:sqlite` open; none when the component, or this request's identity, has no database.
    pub databases: BTreeMap<String, DatabaseFile>,
    pub open_databases: usize,
    /// What the host holds of this guest in its own memory.
    pub in_flight: InFlight,
    pub open_stores: usize,
    pub open_redis: usize,
    pub open_postgres: usize,
    /// Bounds the sockets that this guest has open.
    pub socket_room: Arc<Semaphore>,
    pub table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outbound: OutboundHttp,
    contexts: RequestContexts,
    memory: MemoryLimit,
}

impl GuestState {
    pub fn new(
        policy: Arc<GuestPolicy>,
        databases: BTreeMap<String, DatabaseFile>,
    ) -> wasmtime::Result<Self> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits::MAX_RESOURCES);
        // Built without network: each socket has its own.
        let mut wasi = WasiCtxBuilder::new();
        wasi.envs(&policy.environment)
            .max_random_size(limits::MAX_RANDOM_BYTES)
            .stdout(GuestLog::new(policy.log.clone(), "stdout"))
            .stderr(GuestLog::new(policy.log.clone(), "stderr"));
        for mount in policy.files.mounts() {
            wasi.preopened_dir(&mount.source, &mount.destination, FsPerms::ReadOnly)?;
        }
        Ok(Self {
            databases,
            open_databases: 0,
            in_flight: InFlight::default(),
            open_stores: 0,
            open_redis: 0,
            open_postgres: 0,
            socket_room: Arc::new(Semaphore::new(limits::SOCKETS_PER_GUEST)),
            table,
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
            outbound: policy.outbound.clone(),
            contexts: RequestContexts::default(),
            memory: MemoryLimit { bytes_max: policy.memory_bytes, held: 0, exceeded: false },
            policy,
        })
    }

    /// The guest's task `task` answers a request of `context`.
    pub fn begin_context(&mut self, task: GuestTaskId, context: Option<RequestContext>) {
        self.contexts.begin(task, context);
    }

    /// Lets the next request of the guest belong to what `task` answers.
    pub fn choose_context(&mut self, task: Option<GuestTaskId>) {
        let context = task.and_then(|task| self.contexts.of(task)).cloned();
        self.outbound.set_context(context);
    }

    /// All requests of the guest belong to `context`: for an instance that answers one request.
    pub fn set_context(&mut self, context: Option<RequestContext>) {
        self.outbound.set_context(context);
    }

    /// Whether the guest was refused memory; it may have trapped for that.
    pub fn memory_exceeded(&self) -> bool {
        self.memory.exceeded
    }

    /// Bytes of all its memories. They never shrink.
    pub fn memory_peak(&self) -> usize {
        self.memory.held
    }

    /// A store for one instance, bounded in memory, handles and, through `clock`, processor time.
    pub fn into_store(self, engine: &Engine, clock: &Arc<CpuClock>) -> Store<GuestState> {
        let mut store = Store::new(engine, self);
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(limits::HOSTCALL_BYTES);
        store.set_max_component_handles(limits::MAX_HANDLES);
        store.set_epoch_deadline(1);
        let clock = clock.clone();
        store.epoch_deadline_callback(move |_| match clock.at_epoch() {
            AtEpoch::Exceeded => Err(CpuExceeded.into()),
            // Others on this thread get their turn.
            AtEpoch::Overran => Ok(UpdateDeadline::Yield(1)),
            AtEpoch::JustBegun => Ok(UpdateDeadline::Continue(1)),
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

/// Bounds what all memories of one instance hold together, and what else it is made of.
struct MemoryLimit {
    bytes_max: usize,
    held: usize,
    exceeded: bool,
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let held = self.held.saturating_add(desired.saturating_sub(current));
        let allowed = held <= self.bytes_max;
        match allowed {
            true => self.held = held,
            false => self.exceeded = true,
        }
        Ok(allowed)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= limits::MAX_TABLE_ELEMENTS)
    }

    fn instances(&self) -> usize {
        limits::MAX_CORE_INSTANCES
    }

    fn tables(&self) -> usize {
        limits::MAX_TABLES
    }

    fn memories(&self) -> usize {
        limits::MAX_MEMORIES
    }
}

/// Counts the time in which a guest, or the host on its behalf, holds a thread. Time spent waiting costs nothing.
///
/// A poll is timed by the clock on the wall, which is read in nanoseconds. One that lasts until an epoch ends is timed by the
/// thread's processor time from there on, which takes a system call to read: on a machine that is short of processors a guest
/// is not charged for what others used.
#[derive(Debug)]
pub struct CpuClock {
    /// Interrupts the guest.
    epochs: Arc<EpochClock>,
    origin: Instant,
    spent_micros: AtomicU64,
    /// Spent before the last restart.
    earlier_micros: AtomicU64,
    /// Whether a poll was interrupted because it held its thread for too long.
    overran: AtomicBool,
    /// Micros from `origin` to the start of the poll that runs; zero between polls.
    poll_started_micros: AtomicU64,
    /// The thread's processor time when the poll that runs was interrupted first; zero before.
    poll_started_cpu_micros: AtomicU64,
    limit_micros: u64,
}

impl CpuClock {
    pub fn new(limit: Duration, epochs: Arc<EpochClock>) -> Arc<Self> {
        Arc::new(Self {
            epochs,
            origin: Instant::now(),
            spent_micros: AtomicU64::new(0),
            earlier_micros: AtomicU64::new(0),
            overran: AtomicBool::new(false),
            poll_started_micros: AtomicU64::new(0),
            poll_started_cpu_micros: AtomicU64::new(0),
            limit_micros: limit.as_micros() as u64,
        })
    }

    /// Starts counting from nothing, for another call of the instance.
    pub fn restart(&self) {
        let spent = self.spent_micros.swap(0, Ordering::Relaxed);
        self.earlier_micros.fetch_add(spent, Ordering::Relaxed);
    }

    /// All that was ever spent, up to the last poll.
    pub fn total(&self) -> Duration {
        let [earlier, spent] = [&self.earlier_micros, &self.spent_micros].map(|m| m.load(Ordering::Relaxed));
        Duration::from_micros(earlier + spent)
    }

    /// Whether the guest was interrupted since the last call because it held its thread for too long.
    pub fn take_overran(&self) -> bool {
        self.overran.load(Ordering::Relaxed) && self.overran.swap(false, Ordering::Relaxed)
    }

    /// Whether it was, without forgetting it.
    pub fn overran(&self) -> bool {
        self.overran.load(Ordering::Relaxed)
    }

    fn now_micros(&self) -> u64 {
        // Never zero, which means "not polled".
        (self.origin.elapsed().as_micros() as u64).max(1)
    }

    /// How long the poll that runs has run. Called on its thread.
    fn running(&self) -> u64 {
        match self.poll_started_cpu_micros.load(Ordering::Relaxed) {
            0 => match self.poll_started_micros.load(Ordering::Relaxed) {
                0 => 0,
                started => self.now_micros().saturating_sub(started),
            },
            started => thread_cpu_micros().saturating_sub(started),
        }
    }

    /// Asked by a guest whose epoch is over. That it is over says little when the instance was not running meanwhile.
    fn at_epoch(&self) -> AtEpoch {
        let epoch = limits::EPOCH_PERIOD.as_micros() as u64;
        let running = self.running();
        if self.poll_started_cpu_micros.load(Ordering::Relaxed) == 0 {
            if running < epoch / 2 && self.spent_micros.load(Ordering::Relaxed) <= self.limit_micros {
                return AtEpoch::JustBegun;
            }
            // What was over an epoch on the wall, somebody else had the processor for. Whether the guest holds its thread for
            // too long is seen when the next epoch ends.
            self.spent_micros.fetch_add(running.min(epoch), Ordering::Relaxed);
            self.poll_started_cpu_micros.store(thread_cpu_micros().max(1), Ordering::Relaxed);
            return self.unless_exceeded(0, AtEpoch::JustBegun);
        }
        if running < epoch / 2 {
            return self.unless_exceeded(running, AtEpoch::JustBegun);
        }
        self.overran.store(true, Ordering::Relaxed);
        self.unless_exceeded(running, AtEpoch::Overran)
    }

    fn unless_exceeded(&self, running: u64, otherwise: AtEpoch) -> AtEpoch {
        match self.spent_micros.load(Ordering::Relaxed) + running > self.limit_micros {
            true => AtEpoch::Exceeded,
            false => otherwise,
        }
    }

    /// Polls `future` on this clock.
    pub fn poll<F: Future + ?Sized>(&self, future: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _running = self.epochs.poll();
        let started = self.now_micros();
        self.poll_started_micros.store(started, Ordering::Relaxed);
        let result = future.poll(cx);
        let spent = self.running();
        self.poll_started_micros.store(0, Ordering::Relaxed);
        self.poll_started_cpu_micros.store(0, Ordering::Relaxed);
        self.spent_micros.fetch_add(spent, Ordering::Relaxed);
        result
    }

    /// Runs `future` on this clock.
    pub async fn measure<F: Future>(&self, future: F) -> F::Output {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| self.poll(future.as_mut(), cx)).await
    }
}

/// What a guest is told when its epoch is over.
enum AtEpoch {
    Exceeded,
    Overran,
    JustBegun,
}

fn thread_cpu_micros() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}
