//! From a file to code that is linked and checked.

use super::{DatabasePlace, Handler, SharedHost};
use crate::bounded_file;
use crate::code_cache::Source;
use crate::composition::{self, CompositionError};
use crate::engine::GuestEngine;
use crate::guest_state::GuestState;
use crate::host::is_offered;
use crate::limits;
use crate::manifest::{Component as ComponentManifest, SqliteScope};
use std::path::PathBuf;
use wasmtime::component::InstancePre;
use wasmtime_wasi_http::{p2, p3};

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("component `{component}`: {source_path} is missing{}", hint(.build_command))]
    Missing { component: String, source_path: PathBuf, build_command: Option<String> },
    #[error("component `{component}`: {source_path}: {source}")]
    Unreadable { component: String, source_path: PathBuf, source: std::io::Error },
    #[error("component `{component}`: {source_path} is not a WebAssembly component: {source:#}")]
    NotAComponent { component: String, source_path: PathBuf, source: wasmtime::Error },
    #[error("component `{component}`: {source}")]
    Composition { component: String, source: CompositionError },
    #[error("component `{component}` imports {}, which this host does not offer", quoted(.imports))]
    UnknownImports { component: String, imports: Vec<String> },
    #[error("component `{component}`: its files cannot be copied: {source}")]
    Files { component: String, source: std::io::Error },
    #[error("component `{component}` does not fit this host: {source:#}")]
    Unlinkable { component: String, source: wasmtime::Error },
    #[error(
        "component `{0}` has a route but exports neither `wasi:http/handler@0.3.0` nor `wasi:http/incoming-handler@0.2`"
    )]
    NoHandler(String),
    #[error(
        "component `{component}`: database `{database}` is nowhere: add [sqlite_database.{database}] to the runtime configuration"
    )]
    NoDatabase { component: String, database: String },
    #[error(
        "component `{component}`: each institute has its own database `default`, so that the runtime configuration cannot place it"
    )]
    PlacedTwice { component: String },
    #[error(
        "component `{0}` is to sync and has over {memories} memories or {tables} tables, for which each institute's engine has no room",
        memories = limits::MEMORIES_EACH,
        tables = limits::TABLES_EACH
    )]
    HeavySyncEngine(String),
    #[error("component `{0}` is to sync but does not export `rollcall:sync/engine@0.1.0`")]
    NoSyncEngine(String),
}

fn hint(build_command: &Option<String>) -> String {
    match build_command {
        Some(command) => format!("; build it with `{command}`"),
        None => String::new(),
    }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

pub(super) fn compile(
    engine: &GuestEngine,
    manifest: &ComponentManifest,
) -> Result<(wasmtime::component::Component, Source), LoadError> {
    let (component, source_path) = (manifest.id.clone(), manifest.source.clone());
    let wasm = match bounded_file::read(&manifest.source, limits::MAX_COMPONENT_BYTES) {
        Ok(wasm) => wasm,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let build_command = manifest.build_command.clone();
            return Err(LoadError::Missing { component, source_path, build_command });
        }
        Err(source) => return Err(LoadError::Unreadable { component, source_path, source }),
    };
    let wasm = composition::compose(wasm, &manifest.dependencies)
        .map_err(|source| LoadError::Composition { component: component.clone(), source })?;
    engine.compile(&wasm).map_err(|source| LoadError::NotAComponent { component, source_path, source })
}

pub(super) fn link(
    engine: &GuestEngine,
    manifest: &ComponentManifest,
    component: &wasmtime::component::Component,
) -> Result<InstancePre<GuestState>, LoadError> {
    engine.linker().instantiate_pre(component).map_err(|source| {
        let ty = component.component_type();
        let imports = ty.imports(engine.engine()).map(|(name, _)| name.to_owned());
        let (unknown, known): (Vec<_>, Vec<_>) = imports.partition(|name| !is_offered(name));
        // Or something of an interface is asked for that it has in another version.
        let message = format!("{source:#}");
        let imports = match unknown.is_empty() {
            true => known.into_iter().filter(|name| message.contains(&format!("`{name}`"))).collect(),
            false => unknown,
        };
        match imports.is_empty() {
            false => LoadError::UnknownImports { component: manifest.id.clone(), imports },
            true => LoadError::Unlinkable { component: manifest.id.clone(), source },
        }
    })
}

/// Where the databases are that the manifest gives the component.
pub(super) fn database_places(
    manifest: &ComponentManifest,
    shared: &SharedHost,
) -> Result<Vec<(String, DatabasePlace)>, LoadError> {
    let component = || manifest.id.clone();
    let place = |database: &String| {
        let place = match (shared.configured_databases.get(database), database == "default") {
            (Some(_), true) if manifest.sqlite == SqliteScope::PerInstitute => {
                return Err(LoadError::PlacedTwice { component: component() });
            }
            (Some(file), _) => DatabasePlace::File(file.clone()),
            (None, true) => match shared.folder.default_database(&manifest.id, manifest.sqlite) {
                Some(path) => DatabasePlace::File(shared.databases.file(path)),
                None => DatabasePlace::Institute,
            },
            (None, false) => {
                return Err(LoadError::NoDatabase { component: component(), database: database.clone() });
            }
        };
        Ok((database.clone(), place))
    };
    manifest.sqlite_databases.iter().map(place).collect()
}

/// How much of the room for instances one of the component takes, so that those that fit in it together fit in the engine.
pub(super) fn weight(component: &wasmtime::component::Component) -> usize {
    let most = (limits::MAX_MEMORIES as u32, limits::MAX_TABLES as u32);
    // None for a component that is made of what it imports, which this host does not offer.
    let parts = component.resources_required();
    let (memories, tables) = parts.map_or(most, |parts| (parts.num_memories, parts.num_tables));
    let units = |count: u32, each: u32| count.div_ceil(each) as usize;
    units(memories, limits::MEMORIES_EACH).max(units(tables, limits::TABLES_EACH)).max(1)
}

pub(super) fn handler(pre: &InstancePre<GuestState>) -> Option<Handler> {
    let p3 = p3::bindings::ServicePre::new(pre.clone()).map(Handler::P3);
    p3.or_else(|_| p2::bindings::ProxyPre::new(pre.clone()).map(Handler::P2)).ok()
}
