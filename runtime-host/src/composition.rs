//! Makes one component of one and of those that it depends on (`[component.X.dependencies]`).
//!
//! They share an instance, its limits and what the host lends to it, since imports of the same name become one. So a dependency that
//! is not to inherit what the component may is refused when it imports anything by which it could reach that; its environment is
//! empty. Spin lets such a dependency run and fails its calls.

use crate::bounded_file;
use crate::component_depth;
use crate::limits;
use crate::manifest::{Dependency, DependencyName};
use std::collections::BTreeMap;
use std::path::PathBuf;
use wasm_compose::graph::{Component, CompositionGraph, EncodeOptions, InstanceId};

#[derive(Debug, thiserror::Error)]
pub enum CompositionError {
    #[error("{part} is no component that can be composed: {cause}")]
    Malformed { part: String, cause: String },
    #[error("dependency `{name}`: {path}: {source}", path = path.display())]
    Unreadable { name: DependencyName, path: PathBuf, source: std::io::Error },
    #[error("dependency `{name}` satisfies no import; there are: {imports}")]
    Unmatched { name: DependencyName, imports: String },
    #[error("import `{import}` is satisfied by two dependencies, `{first}` and `{second}`")]
    Conflict { import: String, first: DependencyName, second: DependencyName },
    #[error("dependency `{name}`: {path} does not export `{export}`; it exports: {exports}", path = path.display())]
    MissingExport { name: DependencyName, path: PathBuf, export: String, exports: String },
    #[error(
        "dependency `{name}`: {path} imports `{import}`, which it may not use; set its `inherit_configuration` to true if it is to \
         have all that the component may",
        path = path.display()
    )]
    NotInherited { name: DependencyName, path: PathBuf, import: String },
    #[error("dependency `{name}` does not fit: {cause}")]
    Incompatible { name: DependencyName, cause: String },
    #[error("composing: {0}")]
    Encode(String),
}

/// By these nothing is reached that the manifest gives or withholds.
const HARMLESS_PACKAGES: [&str; 3] = ["wasi:clocks", "wasi:io", "wasi:random"];
const HARMLESS: [&str; 12] = [
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/types",
    // A file is reached by a folder, of which `wasi:filesystem/preopens` gives the first.
    "wasi:filesystem/types",
    "wasi:http/types",
];
const ENVIRONMENT: &str = "wasi:cli/environment";

/// The component alone when it depends on nothing.
pub fn compose(wasm: Vec<u8>, dependencies: &[Dependency]) -> Result<Vec<u8>, CompositionError> {
    if dependencies.is_empty() {
        return Ok(wasm);
    }
    let (component, parts) = parse(wasm, dependencies)?;
    let mut graph = CompositionGraph::new();
    let whole = add(&mut graph, component)?;
    let mut satisfied = BTreeMap::new();
    for part in parts {
        connect(&mut graph, whole, part, &mut satisfied)?;
    }
    let options = EncodeOptions { define_components: true, export: Some(whole), validate: true };
    graph.encode(options).map_err(|error| CompositionError::Encode(format!("{error:#}")))
}

/// A dependency, parsed.
struct Part<'a> {
    dependency: &'a Dependency,
    component: Component<'static>,
    /// What it gets for its imports of [`ENVIRONMENT`], by their names.
    environments: Vec<(String, Component<'static>)>,
}

/// All by one validator: it compares types that it has seen itself.
fn parse(
    wasm: Vec<u8>,
    dependencies: &[Dependency],
) -> Result<(Component<'static>, Vec<Part<'_>>), CompositionError> {
    let mut validator = Default::default();
    let mut number = 0;
    let mut component = |part: &str, wasm: Vec<u8>| {
        let malformed = |cause| CompositionError::Malformed { part: part.to_owned(), cause };
        component_depth::check(&wasm).map_err(|error| malformed(error.to_string()))?;
        number += 1;
        Component::from_bytes(&mut validator, format!("part-{number}"), wasm)
            .map_err(|error| malformed(format!("{error:#}")))
    };
    let whole = component("the component itself", wasm)?;
    let mut parts = Vec::new();
    for dependency in dependencies {
        let Dependency { name, path, .. } = dependency;
        let wasm = bounded_file::read(path, limits::MAX_COMPONENT_BYTES).map_err(|source| {
            CompositionError::Unreadable { name: name.clone(), path: path.clone(), source }
        })?;
        let parsed = component(&format!("dependency `{name}`"), wasm)?;
        let mut environments = Vec::new();
        if !dependency.inherits {
            for import in may_not_reach(dependency, &parsed)? {
                let text = include_str!("composition/no_environment.wat").replace("INTERFACE", &import);
                environments.push((import, component("an empty environment", text.into_bytes())?));
            }
        }
        parts.push(Part { dependency, component: parsed, environments });
    }
    Ok((whole, parts))
}

/// The imports of a dependency's environment, after it is clear that it imports nothing that it may not.
fn may_not_reach(
    dependency: &Dependency,
    component: &Component<'_>,
) -> Result<Vec<String>, CompositionError> {
    let mut environments = Vec::new();
    for (_, import, _) in component.imports() {
        let interface = import.split('@').next().unwrap_or(import);
        let package = interface.split('/').next().unwrap_or(interface);
        if interface == ENVIRONMENT {
            environments.push(import.to_owned());
        } else if !HARMLESS.contains(&interface) && !HARMLESS_PACKAGES.contains(&package) {
            let (name, path) = (dependency.name.clone(), dependency.path.clone());
            return Err(CompositionError::NotInherited { name, path, import: import.to_owned() });
        }
    }
    Ok(environments)
}

fn add(
    graph: &mut CompositionGraph<'static>,
    component: Component<'static>,
) -> Result<InstanceId, CompositionError> {
    let added = graph.add_component(component).and_then(|component| graph.instantiate(component));
    added.map_err(|error| CompositionError::Encode(format!("{error:#}")))
}

/// Lets a dependency satisfy the imports of `whole` that it is named after.
fn connect(
    graph: &mut CompositionGraph<'static>,
    whole: InstanceId,
    part: Part<'_>,
    satisfied: &mut BTreeMap<String, DependencyName>,
) -> Result<(), CompositionError> {
    let Dependency { name, path, export, .. } = part.dependency;
    let imports = imports(graph, whole);
    let meant: Vec<&String> = imports.iter().filter(|import| name.matches(import)).collect();
    if meant.is_empty() {
        return Err(CompositionError::Unmatched { name: name.clone(), imports: imports.join(", ") });
    }
    let instance = add(graph, part.component)?;
    for (import, environment) in part.environments {
        let environment = add(graph, environment)?;
        link(graph, (environment, &import), (instance, &import), name)?;
    }
    for import in meant {
        if let Some(first) = satisfied.insert(import.clone(), name.clone()) {
            return Err(CompositionError::Conflict { import: import.clone(), first, second: name.clone() });
        }
        let export = export.as_ref().unwrap_or(import);
        let exports = exports(graph, instance);
        if !exports.contains(export) {
            let (name, path, export) = (name.clone(), path.clone(), export.clone());
            return Err(CompositionError::MissingExport { name, path, export, exports: exports.join(", ") });
        }
        link(graph, (instance, export), (whole, import), name)?;
    }
    Ok(())
}

fn imports(graph: &CompositionGraph<'_>, instance: InstanceId) -> Vec<String> {
    let component = graph.get_component_of_instance(instance);
    component.map_or(Vec::new(), |(_, component)| {
        component.imports().map(|(_, name, _)| name.to_owned()).collect()
    })
}

fn exports(graph: &CompositionGraph<'_>, instance: InstanceId) -> Vec<String> {
    let component = graph.get_component_of_instance(instance);
    component.map_or(Vec::new(), |(_, component)| {
        component.exports().map(|(_, name, ..)| name.to_owned()).collect()
    })
}

/// Connects an export with an import; both are there.
fn link(
    graph: &mut CompositionGraph<'_>,
    (source, export): (InstanceId, &str),
    (target, import): (InstanceId, &str),
    name: &DependencyName,
) -> Result<(), CompositionError> {
    let of_source = graph.get_component_of_instance(source);
    let export = of_source.and_then(|(_, component)| component.export_by_name(export)).map(|found| found.0);
    let of_target = graph.get_component_of_instance(target);
    let import = of_target.and_then(|(_, component)| component.import_by_name(import)).map(|found| found.0);
    let (Some(export), Some(import)) = (export, import) else {
        return Err(CompositionError::Encode("an import or export is gone".to_owned()));
    };
    graph
        .connect(source, Some(export), target, import)
        .map_err(|error| CompositionError::Incompatible { name: name.clone(), cause: format!("{error:#}") })
}

#[cfg(test)]
mod tests;
