//! The application as its `spin.toml` describes it (Spin manifest version 2, HTTP triggers), checked as a whole.
//!
//! Every fault is found before anything starts, and named with its line. What of Spin's manifest is supported, and the test for
//! each part, stands in `docs/spin-compatibility.md`.

mod component;
#[cfg(test)]
mod conformance;
mod dependencies;
mod document;
mod files;
mod hint;
mod names;
mod reader;
#[cfg(test)]
mod tests;
mod text_or;
mod triggers;
mod variables;

pub use dependencies::{Dependency, DependencyName};
pub use files::{GuestFile, GuestFiles};
pub use triggers::StaticResponse;
pub use variables::{VariableSources, environment_name};

use crate::bounded_file;
use crate::execution::Execution;
use crate::limits;
use crate::outbound::AllowedHosts;
use crate::route::Routes;
use reader::Reader;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A checked application.
#[derive(Debug, Clone)]
pub struct Manifest {
    pub name: String,
    pub version: Option<String>,
    pub components: BTreeMap<String, Component>,
    /// What answers a path; private triggers have no route.
    pub routes: Routes<Responder>,
    /// `[application.tool.rollcall]`; without it the application is a plain Spin application: no identity, sync or link.
    pub rollcall: Option<Rollcall>,
    /// Application variables, resolved.
    pub variables: BTreeMap<String, String>,
}

/// What answers the requests of a route.
#[derive(Debug, Clone)]
pub enum Responder {
    /// The component of this id.
    Component(String),
    Static(Arc<StaticResponse>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollcall {
    pub sync: Option<SyncEndpoint>,
    /// Key-value store in which the state of the feed and the floors of the tags are kept.
    pub cache_store: Option<String>,
    pub on_link_up: Option<LinkUpCall>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncEndpoint {
    pub path: String,
    pub component: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkUpCall {
    pub component: String,
    pub path: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    pub id: String,
    pub source: PathBuf,
    /// What satisfies some of its imports.
    pub dependencies: Vec<Dependency>,
    /// What makes `source`, for the message when it is missing.
    pub build_command: Option<String>,
    pub variables: BTreeMap<String, String>,
    pub environment: BTreeMap<String, String>,
    pub files: GuestFiles,
    pub key_value_stores: Vec<String>,
    pub sqlite_databases: Vec<String>,
    /// Whose the database `default` is.
    pub sqlite: SqliteScope,
    pub allowed_hosts: AllowedHosts,
    pub memory_bytes: usize,
    pub cpu: Duration,
    pub execution: Execution,
    pub body_bytes_max: u64,
    /// Routes that need no identity.
    pub anonymous: Routes<()>,
}

/// Who shares a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SqliteScope {
    /// All components that name it, as in Spin.
    #[default]
    PerApplication,
    /// Nobody.
    PerComponent,
    /// Those who ask for one institute: each has its own, chosen by the request's identity.
    PerInstitute,
}

#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("{path}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path}:{line}:{column}: {message}")]
    Invalid { path: PathBuf, line: usize, column: usize, message: String },
    #[error("variable `{0}` is required: set {env}", env = environment_name(.0))]
    VariableMissing(String),
}

impl Manifest {
    pub fn load(path: &Path, sources: &VariableSources) -> Result<Self, ManifestError> {
        let unreadable = |source| ManifestError::Unreadable { path: path.to_owned(), source };
        let bytes = bounded_file::read(path, limits::MAX_MANIFEST_BYTES).map_err(unreadable)?;
        let text = String::from_utf8(bytes).map_err(|e| unreadable(std::io::Error::other(e.utf8_error())))?;
        Self::parse(path, &text, sources)
    }

    /// `path` names the file in messages; relative paths in it start from its folder.
    pub fn parse(path: &Path, text: &str, sources: &VariableSources) -> Result<Self, ManifestError> {
        Reader { path, text }.read(sources)
    }
}
