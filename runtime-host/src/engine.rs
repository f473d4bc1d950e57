//! wasmtime as this node sets it up: one engine for all components.

use crate::code_cache::{self, CodeCache, Source};
use crate::epoch_clock::EpochClock;
use crate::guest_state::GuestState;
use crate::{component_depth, host, limits};
use std::path::Path;
use std::sync::Arc;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("compiled-code cache in {path}: {source}")]
    Cache { path: std::path::PathBuf, source: std::io::Error },
    #[error("WebAssembly engine: {0:#}")]
    Start(wasmtime::Error),
}

/// An engine, and the linker with everything that guests may import.
pub struct GuestEngine {
    engine: Engine,
    linker: Linker<GuestState>,
    cache: CodeCache,
    epochs: Arc<EpochClock>,
}

impl GuestEngine {
    /// Compiled code is kept in `cache`, by content and engine settings.
    pub fn new(cache: &Path) -> Result<Self, EngineError> {
        let engine = Engine::new(&config()).map_err(EngineError::Start)?;
        let cache =
            CodeCache::open(cache).map_err(|source| EngineError::Cache { path: cache.to_owned(), source })?;
        let linker = host::linker(&engine).map_err(EngineError::Start)?;
        let epochs = EpochClock::start(&engine).map_err(|e| EngineError::Start(e.into()))?;
        Ok(Self { engine, linker, cache, epochs })
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    pub fn linker(&self) -> &Linker<GuestState> {
        &self.linker
    }

    /// The clock that must be told when guests run.
    pub fn epochs(&self) -> &Arc<EpochClock> {
        &self.epochs
    }

    /// The code of a component, and whether it had to be compiled.
    pub fn compile(&self, wasm: &[u8]) -> wasmtime::Result<(Component, Source)> {
        component_depth::check(wasm)?;
        self.cache.component(&self.engine, wasm)
    }
}

/// Whether `cache` holds the code of a component.
pub fn is_compiled(cache: &Path, wasm: &[u8]) -> wasmtime::Result<bool> {
    Ok(code_cache::holds(cache, &Engine::new(&config())?, wasm))
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model_async(true)
        .epoch_interruption(true)
        // Memory images are mapped copy-on-write: an instance costs the pages that it writes.
        .memory_init_cow(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
    config
}

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(limits::MAX_INSTANCES)
        // Counted and not kept ready: as many as may be.
        .total_core_instances(limits::MAX_INSTANCES * limits::MAX_CORE_INSTANCES as u32)
        .total_memories(limits::MAX_INSTANCES * limits::MEMORIES_EACH)
        .total_tables(limits::MAX_INSTANCES * limits::TABLES_EACH)
        // A guest that awaits has its stack in use: one for each instance, and one for the call that starts another.
        .total_stacks(limits::MAX_INSTANCES * 2)
        .max_memory_size(limits::MAX_MEMORY_MIB as usize * limits::MIB)
        .table_elements(limits::MAX_TABLE_ELEMENTS)
        // What a small request touches is zeroed in place; more than that goes back to the system, so that a large request
        // does not keep its memory.
        .linear_memory_keep_resident(512 * limits::KIB)
        .table_keep_resident(16 * limits::KIB);
    pool
}
