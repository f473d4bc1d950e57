//! `rollcall-edge inspect`: what an application is made of, without running, compiling or changing anything.

use crate::bounded_file;
use crate::composition;
use crate::config::Config;
use crate::data_folder::DataPaths;
use crate::engine;
use crate::host::is_offered;
use crate::limits;
use crate::manifest::{Component, GuestFiles, Manifest, Responder};
use crate::runtime_config::RuntimeConfig;
use serde::Serialize;
use std::fmt;
use wasmparser::{Encoding, Parser, Payload};

#[derive(Debug, Serialize)]
pub struct Inspection {
    application: String,
    manifest: String,
    routes: Vec<RouteInspection>,
    components: Vec<ComponentInspection>,
}

#[derive(Debug, Serialize)]
struct RouteInspection {
    route: String,
    /// None for a static response.
    component: Option<String>,
}

#[derive(Debug, Serialize)]
struct ComponentInspection {
    id: String,
    source: String,
    dependencies: Vec<DependencyInspection>,
    #[serde(flatten)]
    code: CodeInspection,
    key_value_stores: Vec<StoreInspection>,
    sqlite_databases: Vec<StoreInspection>,
    allowed_outbound_hosts: Vec<String>,
    /// Their names: values may be secret.
    variables: Vec<String>,
    environment: Vec<String>,
    files: FilesInspection,
    limits: LimitsInspection,
}

/// A component that it is composed with.
#[derive(Debug, Serialize)]
struct DependencyInspection {
    name: String,
    path: String,
    inherits_configuration: bool,
}

/// What the file says, composed with what it depends on.
#[derive(Debug, Default, Serialize)]
struct CodeInspection {
    /// Why there is nothing to say about the file.
    fault: Option<String>,
    bytes: Option<u64>,
    /// Whether a start finds its code compiled.
    compiled: Option<bool>,
    imports: Vec<ImportInspection>,
    exports: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ImportInspection {
    name: String,
    offered: bool,
}

#[derive(Debug, Serialize)]
struct StoreInspection {
    name: String,
    place: String,
}

#[derive(Debug, Serialize)]
struct FilesInspection {
    /// A folder that is mounted as it stands.
    folder: Option<String>,
    copied: usize,
}

#[derive(Debug, Serialize)]
struct LimitsInspection {
    memory_bytes: u64,
    cpu_ms: u64,
    timeout_ms: u64,
    body_timeout_ms: u64,
    body_bytes_max: u64,
    concurrent: u64,
    queue: u64,
    requests_per_instance: u64,
    concurrent_per_instance: u64,
    idle_ms: u64,
}

/// Names of imports and exports of a component.
#[derive(Debug, Default, PartialEq, Eq)]
struct Interfaces {
    imports: Vec<String>,
    exports: Vec<String>,
}

impl Inspection {
    pub fn of(config: &Config, manifest: &Manifest, runtime: &RuntimeConfig) -> Self {
        let paths = DataPaths::new(&config.data);
        let routes = manifest.routes.iter().map(|(route, responder)| RouteInspection {
            route: route.as_str().to_owned(),
            component: match responder {
                Responder::Component(id) => Some(id.clone()),
                Responder::Static(_) => None,
            },
        });
        let components =
            manifest.components.values().map(|component| inspect(component, &paths, runtime)).collect();
        Self {
            application: manifest.name.clone(),
            manifest: config.app.display().to_string(),
            routes: routes.collect(),
            components,
        }
    }
}

fn inspect(component: &Component, paths: &DataPaths, runtime: &RuntimeConfig) -> ComponentInspection {
    let store = |name: &String, place: String| StoreInspection { name: name.clone(), place };
    let databases = component.sqlite_databases.iter().map(|name| {
        let configured = runtime.place_of_database(name, paths);
        let place =
            configured.unwrap_or_else(|| match paths.default_database(&component.id, component.sqlite) {
                Some(path) => format!("file {}", path.display()),
                None => "a file for each institute".to_owned(),
            });
        store(name, place)
    });
    let stores = component.key_value_stores.iter();
    let (folder, copied) = match &component.files {
        GuestFiles::None => (None, 0),
        GuestFiles::Folder(folder) => (Some(folder.display().to_string()), 0),
        GuestFiles::Copies(files) => (None, files.len()),
    };
    let dependencies = component.dependencies.iter().map(|dependency| DependencyInspection {
        name: dependency.name.to_string(),
        path: dependency.path.display().to_string(),
        inherits_configuration: dependency.inherits,
    });
    ComponentInspection {
        id: component.id.clone(),
        dependencies: dependencies.collect(),
        source: component.source.display().to_string(),
        code: inspect_code(component, paths),
        key_value_stores: stores.map(|name| store(name, runtime.place_of_store(name, paths))).collect(),
        sqlite_databases: databases.collect(),
        allowed_outbound_hosts: component.allowed_hosts.iter().map(str::to_owned).collect(),
        variables: component.variables.keys().cloned().collect(),
        environment: component.environment.keys().cloned().collect(),
        files: FilesInspection { folder, copied },
        limits: limits_of(component),
    }
}

fn limits_of(component: &Component) -> LimitsInspection {
    let execution = component.execution;
    LimitsInspection {
        memory_bytes: component.memory_bytes as u64,
        cpu_ms: component.cpu.as_millis() as u64,
        timeout_ms: execution.timeout.as_millis() as u64,
        body_timeout_ms: execution.body_timeout.as_millis() as u64,
        body_bytes_max: component.body_bytes_max,
        concurrent: execution.concurrent as u64,
        queue: execution.queue as u64,
        requests_per_instance: execution.requests_per_instance as u64,
        concurrent_per_instance: execution.concurrent_per_instance as u64,
        idle_ms: execution.idle.as_millis() as u64,
    }
}

fn inspect_code(component: &Component, paths: &DataPaths) -> CodeInspection {
    let fault = |fault: String| CodeInspection { fault: Some(fault), ..CodeInspection::default() };
    let wasm = match bounded_file::read(&component.source, limits::MAX_COMPONENT_BYTES) {
        Ok(wasm) => wasm,
        Err(error) => return fault(error.to_string()),
    };
    let wasm = match composition::compose(wasm, &component.dependencies) {
        Ok(wasm) => wasm,
        Err(error) => return fault(error.to_string()),
    };
    let bytes = Some(wasm.len() as u64);
    let compiled = engine::is_compiled(&paths.compiled_code(), &wasm).ok();
    match interfaces(&wasm) {
        Ok(Interfaces { imports, exports }) => {
            let import = |name: String| ImportInspection { offered: is_offered(&name), name };
            let imports = imports.into_iter().map(import).collect();
            CodeInspection { fault: None, bytes, compiled, imports, exports }
        }
        Err(error) => CodeInspection { bytes, compiled, ..fault(format!("no component: {error}")) },
    }
}

#[derive(Debug, thiserror::Error)]
enum InterfacesError {
    #[error("it is a core module")]
    CoreModule,
    #[error("{0}")]
    Malformed(#[from] wasmparser::BinaryReaderError),
}

/// Of the outermost component alone.
fn interfaces(wasm: &[u8]) -> Result<Interfaces, InterfacesError> {
    let mut found = Interfaces::default();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err(InterfacesError::CoreModule);
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    found.imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    found.exports.push(export?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "application {} ({})", self.application, self.manifest)?;
        for RouteInspection { route, component } in &self.routes {
            writeln!(f, "  {route} -> {}", component.as_deref().unwrap_or("(static response)"))?;
        }
        self.components.iter().try_for_each(|component| write!(f, "\n{component}"))
    }
}

impl fmt::Display for ComponentInspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "component {} ({})", self.id, self.source)?;
        for DependencyInspection { name, path, inherits_configuration } in &self.dependencies {
            let inherits = if *inherits_configuration { ", inherits its configuration" } else { "" };
            writeln!(f, "  depends on {name}: {path}{inherits}")?;
        }
        let CodeInspection { fault, bytes, compiled, imports, exports } = &self.code;
        if let Some(fault) = fault {
            writeln!(f, "  FAULT: {fault}")?;
        }
        if let Some(bytes) = bytes {
            let state = match compiled {
                Some(true) => "compiled code is in the cache",
                Some(false) | None => "not compiled yet",
            };
            writeln!(f, "  size {bytes} bytes, {state}")?;
        }
        for import in imports {
            let remark = if import.offered { "" } else { "  NOT OFFERED by this host" };
            writeln!(f, "  imports {}{remark}", import.name)?;
        }
        exports.iter().try_for_each(|export| writeln!(f, "  exports {export}"))?;
        for (kind, stores) in
            [("key-value store", &self.key_value_stores), ("database", &self.sqlite_databases)]
        {
            stores.iter().try_for_each(|store| writeln!(f, "  {kind} {}: {}", store.name, store.place))?;
        }
        self.allowed_outbound_hosts.iter().try_for_each(|host| writeln!(f, "  may reach {host}"))?;
        for (kind, names) in [("variables", &self.variables), ("environment", &self.environment)] {
            if !names.is_empty() {
                writeln!(f, "  {kind} {}", names.join(", "))?;
            }
        }
        if let Some(folder) = &self.files.folder {
            writeln!(f, "  files: folder {folder}")?;
        }
        if self.files.copied > 0 {
            writeln!(f, "  files: {} copies", self.files.copied)?;
        }
        let limits = &self.limits;
        writeln!(
            f,
            "  limits: memory {} bytes, processor time {} ms, answer within {} ms, nothing of it for {} ms, request body {} bytes",
            limits.memory_bytes,
            limits.cpu_ms,
            limits.timeout_ms,
            limits.body_timeout_ms,
            limits.body_bytes_max
        )?;
        writeln!(
            f,
            "  limits: {} requests at once and {} that wait; an instance answers {}, {} at once, and is kept idle {} ms",
            limits.concurrent,
            limits.queue,
            limits.requests_per_instance,
            limits.concurrent_per_instance,
            limits.idle_ms
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_and_exports_are_those_of_the_outermost_component() {
        let text = "(component
            (import \"wasi:io/poll@0.2.0\" (instance))
            (component (import \"inner:only/one@1.0.0\" (instance)))
            (core module (import \"core\" \"f\" (func)))
            (instance $own)
            (export \"own:pack/face@1.0.0\" (instance $own)))";
        let found = interfaces(&wat::parse_str(text).unwrap()).unwrap();
        assert_eq!(found.imports, ["wasi:io/poll@0.2.0"]);
        assert_eq!(found.exports, ["own:pack/face@1.0.0"]);
        let module = wat::parse_str("(module)").unwrap();
        assert!(interfaces(&module).unwrap_err().to_string().contains("core module"));
        for garbage in [&b""[..], b"\0asm", b"\0asm\x0d\0\x01\0\x0b\xff"] {
            assert!(interfaces(garbage).is_err(), "{garbage:?}");
        }
    }
}
