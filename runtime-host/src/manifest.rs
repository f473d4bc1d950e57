//! The application as its `spin.toml` describes it (Spin manifest version 2, HTTP triggers), checked as a whole.
//!
//! Every fault is found before anything starts, and named with its line.

mod document;
#[cfg(test)]
mod tests;

use crate::limits;
use crate::outbound::AllowedHosts;
use crate::route::{Route, Routes};
use crate::template::{Template, TemplateError, is_variable_name};
use document::{Commands, Component as ComponentText, Document, RouteSetting, SqliteScope, Variable};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;

/// A checked application.
#[derive(Debug, Clone)]
pub struct Manifest {
    pub name: String,
    pub components: BTreeMap<String, Component>,
    /// Which component answers a path; private triggers have no route.
    pub routes: Routes<String>,
    /// `[application.tool.rollcall]`; without it the application is a plain Spin application: no identity, sync or link.
    pub rollcall: Option<Rollcall>,
    /// Application variables, resolved.
    pub variables: BTreeMap<String, String>,
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

#[derive(Debug, Clone)]
pub struct Component {
    pub id: String,
    pub source: PathBuf,
    /// What makes `source`, for the message when it is missing.
    pub build_command: Option<String>,
    pub variables: BTreeMap<String, String>,
    pub environment: BTreeMap<String, String>,
    pub files: Vec<Mount>,
    pub key_value_stores: Vec<String>,
    pub sqlite_databases: Vec<String>,
    /// A database for each institute, chosen by the request's identity, instead of one for all.
    pub sqlite_per_institute: bool,
    pub allowed_hosts: AllowedHosts,
    pub memory_bytes: usize,
    pub cpu: Duration,
    pub body_bytes_max: u64,
    /// Routes that need no identity.
    pub anonymous: Routes<()>,
}

/// A folder of the host that the guest sees, read-only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub source: PathBuf,
    pub destination: String,
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

/// Where variables come from besides the manifest; the first that has a name decides.
#[derive(Debug, Default)]
pub struct VariableSources {
    /// From the edge's own settings.
    pub settings: BTreeMap<String, String>,
    /// `SPIN_VARIABLE_…`, as Spin reads them.
    pub environment: BTreeMap<String, String>,
}

/// The environment variable that sets an application variable, as in Spin.
pub fn environment_name(variable: &str) -> String {
    format!("SPIN_VARIABLE_{}", variable.to_ascii_uppercase())
}

impl Manifest {
    pub fn load(path: &Path, sources: &VariableSources) -> Result<Self, ManifestError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ManifestError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(path, &text, sources)
    }

    /// `path` names the file in messages; relative paths in it start from its folder.
    pub fn parse(path: &Path, text: &str, sources: &VariableSources) -> Result<Self, ManifestError> {
        let reader = Reader { path, text };
        let document: Document = toml::from_str(text)
            .map_err(|e| reader.error(e.span().unwrap_or(0..0), e.message().trim().to_owned()))?;
        reader.manifest(document, sources)
    }
}

/// Turns the document into a manifest, with the text at hand for the lines of faults.
struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Reader<'_> {
    fn error(&self, span: Range<usize>, message: impl Into<String>) -> ManifestError {
        let before = &self.text[..self.text.floor_char_boundary(span.start)];
        ManifestError::Invalid {
            path: self.path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1,
            message: message.into(),
        }
    }

    fn manifest(&self, document: Document, sources: &VariableSources) -> Result<Manifest, ManifestError> {
        let version = &document.spin_manifest_version;
        if *version.get_ref() != 2 {
            let message = format!("spin_manifest_version is {}, this host reads 2", version.get_ref());
            return Err(self.error(version.span(), message));
        }
        let tool = document.application.tool.rollcall;
        let overrides = tool.as_ref().map(|tool| &tool.variables);
        let variables = self.variables(&document.variables, overrides, sources)?;
        let mut components = BTreeMap::new();
        for (id, component) in document.component {
            components.insert(id.clone(), self.component(id, component, &variables)?);
        }
        let routes = self.routes(document.trigger.http, &components)?;
        let rollcall = tool.map(|tool| self.rollcall(tool, &components)).transpose()?;
        Ok(Manifest { name: document.application.name, components, routes, rollcall, variables })
    }

    fn variables(
        &self,
        declared: &BTreeMap<String, Spanned<Variable>>,
        overrides: Option<&BTreeMap<String, Spanned<String>>>,
        sources: &VariableSources,
    ) -> Result<BTreeMap<String, String>, ManifestError> {
        for (name, value) in overrides.into_iter().flatten() {
            if !declared.contains_key(name) {
                let message = format!("variable `{name}` is not defined under [variables]");
                return Err(self.error(value.span(), message));
            }
        }
        let mut variables = BTreeMap::new();
        for (name, variable) in declared {
            if !is_variable_name(name) {
                return Err(self.error(variable.span(), TemplateError::BadName(name.clone()).to_string()));
            }
            let declared = variable.get_ref();
            if declared.required == declared.default.is_some() {
                let message =
                    format!("variable `{name}` needs either `required = true` or a `default`, and not both");
                return Err(self.error(variable.span(), message));
            }
            let value = sources
                .settings
                .get(name)
                .or_else(|| sources.environment.get(name))
                .or_else(|| overrides.and_then(|o| o.get(name)).map(|value| value.get_ref()))
                .or(declared.default.as_ref())
                .ok_or_else(|| ManifestError::VariableMissing(name.clone()))?;
            tracing::debug!(
                name,
                value = if declared.secret { "(secret)" } else { value.as_str() },
                "variable"
            );
            variables.insert(name.clone(), value.clone());
        }
        Ok(variables)
    }

    fn component(
        &self,
        id: String,
        text: Spanned<ComponentText>,
        variables: &BTreeMap<String, String>,
    ) -> Result<Component, ManifestError> {
        let span = text.span();
        let text = text.into_inner();
        self.check_id(&id, span)?;
        let render = |value: &Spanned<String>| {
            Template::parse(value.get_ref())
                .and_then(|template| template.render(variables))
                .map_err(|e| self.error(value.span(), e.to_string()))
        };
        let mut own_variables = BTreeMap::new();
        for (name, value) in &text.variables {
            own_variables.insert(name.clone(), render(value)?);
        }
        let mut hosts = Vec::new();
        for entry in &text.allowed_outbound_hosts {
            let host = render(entry)?;
            AllowedHosts::parse([host.as_str()]).map_err(|e| self.error(entry.span(), e.to_string()))?;
            hosts.push(host);
        }
        let allowed_hosts = AllowedHosts::parse(hosts.iter().map(String::as_str))
            .expect("each entry was parsed in the loop above");
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let tool = text.tool.rollcall;
        let tool = tool.as_ref();
        Ok(Component {
            source: folder.join(text.source.get_ref()),
            build_command: text.build.map(|build| match build.command {
                Commands::One(command) => command,
                Commands::Many(commands) => commands.join(" && "),
            }),
            variables: own_variables,
            environment: text.environment,
            files: self.mounts(folder, text.files)?,
            key_value_stores: text.key_value_stores.into_iter().map(Spanned::into_inner).collect(),
            sqlite_databases: self.databases(text.sqlite_databases)?,
            sqlite_per_institute: tool
                .and_then(|tool| tool.sqlite.as_ref())
                .is_some_and(|scope| matches!(scope, SqliteScope::PerInstitute)),
            allowed_hosts,
            memory_bytes: self.memory(tool.and_then(|tool| tool.memory_mb.as_ref()))?,
            cpu: self.cpu(tool.and_then(|tool| tool.cpu_ms.as_ref()))?,
            body_bytes_max: tool
                .and_then(|tool| tool.body_bytes_max)
                .unwrap_or(limits::MAX_REQUEST_BODY_BYTES),
            anonymous: self.anonymous(tool.map_or(&[][..], |tool| &tool.anonymous))?,
            id,
        })
    }

    fn check_id(&self, id: &str, span: Range<usize>) -> Result<(), ManifestError> {
        // The id becomes the name of a file.
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if id.is_empty() || id.len() > 64 || !id.chars().all(allowed) {
            let message = format!("component id `{id}` is not 1 to 64 letters, digits and `-`");
            return Err(self.error(span, message));
        }
        Ok(())
    }

    fn mounts(
        &self,
        folder: &Path,
        files: Vec<Spanned<document::FileMount>>,
    ) -> Result<Vec<Mount>, ManifestError> {
        let mut mounts = Vec::new();
        for file in files {
            let span = file.span();
            let file = file.into_inner();
            let source = folder.join(&file.source);
            if !source.is_dir() {
                let message = format!("`{}` is no folder; mount folders", source.display());
                return Err(self.error(span, message));
            }
            if !file.destination.starts_with('/') {
                return Err(self.error(span, format!("`{}` does not begin with `/`", file.destination)));
            }
            mounts.push(Mount { source, destination: file.destination });
        }
        Ok(mounts)
    }

    fn databases(&self, databases: Vec<Spanned<String>>) -> Result<Vec<String>, ManifestError> {
        for database in &databases {
            if database.get_ref() != "default" {
                let message = format!("database `{}`: only `default` has a store here", database.get_ref());
                return Err(self.error(database.span(), message));
            }
        }
        Ok(databases.into_iter().map(Spanned::into_inner).collect())
    }

    fn memory(&self, megabytes: Option<&Spanned<u32>>) -> Result<usize, ManifestError> {
        let Some(megabytes) = megabytes else { return Ok(limits::DEFAULT_MEMORY_MIB as usize * limits::MIB) };
        let value = *megabytes.get_ref();
        if !(1..=limits::MAX_MEMORY_MIB).contains(&value) {
            let message = format!("memory_mb is {value}, it may be 1 to {}", limits::MAX_MEMORY_MIB);
            return Err(self.error(megabytes.span(), message));
        }
        Ok(value as usize * limits::MIB)
    }

    fn cpu(&self, milliseconds: Option<&Spanned<u32>>) -> Result<Duration, ManifestError> {
        let Some(milliseconds) = milliseconds else { return Ok(limits::DEFAULT_CPU) };
        if *milliseconds.get_ref() == 0 {
            return Err(self.error(milliseconds.span(), "cpu_ms is 0, so that nothing could run"));
        }
        Ok(Duration::from_millis(u64::from(*milliseconds.get_ref())))
    }

    fn anonymous(&self, routes: &[Spanned<String>]) -> Result<Routes<()>, ManifestError> {
        let mut parsed = Vec::new();
        for route in routes {
            let span = route.span();
            parsed.push((Route::parse(route.get_ref()).map_err(|e| self.error(span, e.to_string()))?, ()));
        }
        Ok(Routes::new(parsed))
    }

    fn routes(
        &self,
        triggers: Vec<Spanned<document::HttpTrigger>>,
        components: &BTreeMap<String, Component>,
    ) -> Result<Routes<String>, ManifestError> {
        let mut routes: Vec<(Route, String)> = Vec::new();
        for trigger in triggers {
            let trigger = trigger.into_inner();
            self.check_component(trigger.component.get_ref(), trigger.component.span(), components)?;
            let span = trigger.route.span();
            let text = match trigger.route.into_inner() {
                RouteSetting::Public(text) => text,
                RouteSetting::Private(route) if route.private => continue,
                RouteSetting::Private(_) => {
                    return Err(self.error(span, "`private = false` says nothing; give a route"));
                }
            };
            let route = Route::parse(&text).map_err(|e| self.error(span.clone(), e.to_string()))?;
            if let Some((other, _)) = routes.iter().find(|(other, _)| other.collides_with(&route)) {
                let message = format!("route `{text}` matches the same paths as `{}`", other.as_str());
                return Err(self.error(span, message));
            }
            routes.push((route, trigger.component.into_inner()));
        }
        Ok(Routes::new(routes))
    }

    fn check_component(
        &self,
        id: &str,
        span: Range<usize>,
        components: &BTreeMap<String, Component>,
    ) -> Result<(), ManifestError> {
        if components.contains_key(id) {
            return Ok(());
        }
        let known: Vec<&str> = components.keys().map(String::as_str).collect();
        let message = format!("component `{id}` is not defined; there are: {}", known.join(", "));
        Err(self.error(span, message))
    }

    fn rollcall(
        &self,
        tool: document::ApplicationTool,
        components: &BTreeMap<String, Component>,
    ) -> Result<Rollcall, ManifestError> {
        if let Some(sync) = &tool.sync {
            self.check_component(&sync.get_ref().component, sync.span(), components)?;
            Route::parse(&sync.get_ref().path).map_err(|e| self.error(sync.span(), e.to_string()))?;
        }
        if let Some(call) = &tool.on_link_up {
            self.check_component(&call.get_ref().component, call.span(), components)?;
            Route::parse(&call.get_ref().path).map_err(|e| self.error(call.span(), e.to_string()))?;
        }
        if let Some(cache) = &tool.cache {
            let (component, store) = (&cache.get_ref().component, &cache.get_ref().store);
            self.check_component(component, cache.span(), components)?;
            if !components[component].key_value_stores.contains(store) {
                let message =
                    format!("component `{component}` has no `{store}` in its key_value_stores to read from");
                return Err(self.error(cache.span(), message));
            }
        }
        Ok(Rollcall {
            sync: tool
                .sync
                .map(Spanned::into_inner)
                .map(|s| SyncEndpoint { path: s.path, component: s.component }),
            cache_store: tool.cache.map(|cache| cache.into_inner().store),
            on_link_up: tool
                .on_link_up
                .map(Spanned::into_inner)
                .map(|call| LinkUpCall { component: call.component, path: call.path }),
        })
    }
}
