//! For tests: a host in a temporary folder, and components small enough to read.

use crate::data_folder::DataFolder;
use crate::database::Databases;
use crate::engine::GuestEngine;
use crate::guest::{Guest, Instances, LoadError, SharedHost};
use crate::host::outbound_http::Connections;
use crate::limits;
use crate::manifest::{Manifest, VariableSources};
use crate::runtime_config::RuntimeConfig;
use crate::threads::Threads;
use std::sync::Arc;
use tokio_util::task::TaskTracker;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

pub(crate) struct TestHost {
    pub(crate) folder: tempfile::TempDir,
    engine: GuestEngine,
    shared: SharedHost,
}

impl TestHost {
    pub(crate) fn new() -> Self {
        Self::with_runtime_config("")
    }

    /// `text` is its `runtime-config.toml`.
    pub(crate) fn with_runtime_config(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runtime-config.toml");
        std::fs::write(&path, text).unwrap();
        let (config, databases) = (RuntimeConfig::load(&path).unwrap(), Databases::default());
        let data = Arc::new(DataFolder::open(&folder.path().join("data")).unwrap());
        let shared = SharedHost {
            key_value: config.key_value(&data).unwrap(),
            configured_databases: Arc::new(config.databases(&data, &databases)),
            databases,
            connections: Connections::new(rustls::RootCertStore::empty()),
            threads: Arc::new(Threads::start().unwrap()),
            instances: Instances::new(limits::MAX_REQUEST_INSTANCES),
            running: TaskTracker::new(),
            folder: data,
        };
        Self { engine: GuestEngine::new(&shared.folder.compiled_code()).unwrap(), shared, folder }
    }

    pub(crate) fn engine(&self) -> &GuestEngine {
        &self.engine
    }

    /// The threads that answer requests.
    pub(crate) fn threads(&self) -> &Threads {
        &self.shared.threads
    }

    /// Loads `wasm` as component `test`; `settings` stand under `[component.test]`.
    pub(crate) fn load(&self, wasm: Option<&[u8]>, settings: &str) -> Result<Arc<Guest>, LoadError> {
        if let Some(wasm) = wasm {
            std::fs::write(self.folder.path().join("test.wasm"), wasm).unwrap();
        }
        let text = format!(
            "spin_manifest_version = 2\napplication.name = \"test\"\n\n[component.test]\nsource = \"test.wasm\"\n{settings}"
        );
        let path = self.folder.path().join("spin.toml");
        let manifest = Manifest::parse(&path, &text, &VariableSources::default()).unwrap();
        Guest::load(&self.engine, &manifest.components["test"], &self.shared).map(Arc::new)
    }
}

/// A component that exports `wasi:http/incoming-handler@0.2.0`, whose function is `body`.
pub(crate) fn handler(body: &str) -> Vec<u8> {
    let text = include_str!("test_host/handler.wat").replace("(BODY)", body);
    wat::parse_str(text).unwrap()
}

/// A component that exports the sync engine: it sends each frame back, traps at a frame that begins with `X`, and sends
/// `link_up` to the origin when the link comes up. Operators' questions are answered as `inspection.wat` says.
pub(crate) fn echo_engine(link_up: &[u8]) -> Vec<u8> {
    sync_engine(&echo_engine_text(link_up).replace(";; INSPECTION", INSPECTION), "rollcall:sync/sync-engine")
}

/// The same, but that it traps when it is started.
pub(crate) fn broken_engine() -> Vec<u8> {
    let opening = "(call $open (i32.const 16)";
    let text = echo_engine_text(b"").replace(opening, &format!("unreachable {opening}"));
    sync_engine(&text.replace(";; INSPECTION", INSPECTION), "rollcall:sync/sync-engine")
}

/// As it was built before operators could ask an engine anything.
pub(crate) fn old_engine() -> Vec<u8> {
    sync_engine(&echo_engine_text(b""), "test:old/old-sync-engine")
}

const INSPECTION: &str = include_str!("test_host/inspection.wat");

/// The world of [`old_engine`].
const OLD_WORLD: &str = "package test:old;
world old-sync-engine {
    import spin:sqlite/sqlite@3.1.0;
    export rollcall:sync/engine@0.1.0;
}";

fn echo_engine_text(link_up: &[u8]) -> String {
    let bytes: String = link_up.iter().map(|byte| format!("\\{byte:02x}")).collect();
    include_str!("test_host/echo_engine.wat")
        .replace("LINK_UP_BYTES", &bytes)
        .replace("LINK_UP_LENGTH", &link_up.len().to_string())
}

fn sync_engine(text: &str, world: &str) -> Vec<u8> {
    let mut module = wat::parse_str(text).unwrap();
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path("../wit").unwrap();
    let old = resolve.push_str("old.wit", OLD_WORLD).unwrap();
    let world = resolve.select_world(&[package, old], Some(world)).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
}
