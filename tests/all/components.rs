//! The built components run wherever Spin 4.1 runs.

use integration_tests::wasm;
use wasmparser::{Parser, Payload};

/// What Spin 4.1 offers.
fn is_offered(import: &str) -> bool {
    let (name, version) = import.split_once('@').unwrap_or((import, ""));
    match name {
        "spin:key-value/key-value" => version == "3.0.0",
        "spin:sqlite/sqlite" => version == "3.1.0",
        "spin:variables/variables" => version == "3.0.0",
        _ => name.starts_with("wasi:") && (version.starts_with("0.2.") || version == "0.3.0"),
    }
}

/// The names that a component imports and exports, without those of the components inside it.
fn names(component: &str) -> (Vec<String>, Vec<String>) {
    let bytes = std::fs::read(wasm(component)).unwrap();
    let (mut imports, mut exports, mut depth) = (Vec::new(), Vec::new(), 0);
    for payload in Parser::new(0).parse_all(&bytes) {
        match payload.unwrap() {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 1 => {
                imports.extend(section.into_iter().map(|import| import.unwrap().name.name.to_owned()));
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                exports.extend(section.into_iter().map(|export| export.unwrap().name.name.to_owned()));
            }
            _ => {}
        }
    }
    (imports, exports)
}

#[test]
fn every_component_imports_only_what_spin_offers() {
    for component in ["dashboards", "sync", "commands"] {
        let (imports, exports) = names(component);
        assert!(!imports.is_empty(), "{component} imports something");
        let foreign: Vec<&String> = imports.iter().filter(|import| !is_offered(import)).collect();
        assert!(foreign.is_empty(), "{component} imports {foreign:?}, which Spin does not offer");
        let handler = |name: &String| name.starts_with("wasi:http/handler@0.3.");
        assert!(exports.iter().any(handler), "{component} does not export wasi:http/handler: {exports:?}");
    }
}

#[test]
fn the_sync_component_exports_the_engine_besides() {
    let (_, exports) = names("sync");
    assert!(exports.iter().any(|name| name.starts_with("rollcall:sync/engine")), "{exports:?}");
}
