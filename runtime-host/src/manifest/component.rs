//! `[component.X]`, or a component that stands in its trigger.

use super::document::{Component as ComponentText, RemoteSource};
use super::names;
use super::reader::Reader;
use super::text_or::TextOr;
use super::{Component, ManifestError};
use crate::execution::{Execution, ExecutionTable};
use crate::limits;
use crate::outbound::{AllowedHosts, from_http_host};
use crate::route::{Route, Routes};
use crate::template::{TemplateError, is_variable_name};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;

impl Reader<'_> {
    pub(super) fn component(
        &self,
        id: String,
        text: Spanned<ComponentText>,
        variables: &BTreeMap<String, String>,
    ) -> Result<Component, ManifestError> {
        let span = text.span();
        let text = text.into_inner();
        if let Some(fault) = names::component_id_fault(&id) {
            return Err(self.error(span, format!("component id `{id}` {fault}")));
        }
        self.refuse_what_is_not_offered(&text)?;
        let tool = text.tool.rollcall;
        let tool = tool.as_ref();
        Ok(Component {
            source: self.source(text.source)?,
            dependencies: self.dependencies(text.dependencies, text.dependencies_inherit_configuration)?,
            build_command: text.build.map(|build| build.command.0.join(" && ")),
            variables: self.component_variables(&text.variables, variables)?,
            environment: self.environment(text.environment)?,
            files: self.files(text.files, &text.exclude_files)?,
            key_value_stores: self.labels("key-value store", text.key_value_stores)?,
            sqlite_databases: self.labels("database", text.sqlite_databases)?,
            sqlite: tool.and_then(|tool| tool.sqlite).unwrap_or_default(),
            allowed_hosts: self.allowed_hosts(
                &text.allowed_outbound_hosts,
                &text.allowed_http_hosts,
                variables,
            )?,
            memory_bytes: self.memory(tool.and_then(|tool| tool.memory_mb.as_ref()))?,
            cpu: self.cpu(tool.and_then(|tool| tool.cpu_ms.as_ref()))?,
            execution: self.execution(tool.and_then(|tool| tool.execution.as_ref()))?,
            body_bytes_max: tool
                .and_then(|tool| tool.body_bytes_max)
                .unwrap_or(limits::MAX_REQUEST_BODY_BYTES),
            anonymous: self.anonymous(tool.map_or(&[][..], |tool| &tool.anonymous))?,
            id,
        })
    }

    fn refuse_what_is_not_offered(&self, text: &ComponentText) -> Result<(), ManifestError> {
        if let Some(model) = text.ai_models.first() {
            return Err(self.error(model.span(), "ai_models are not offered by this host"));
        }
        Ok(())
    }

    fn source(&self, source: Spanned<TextOr<RemoteSource>>) -> Result<PathBuf, ManifestError> {
        let span = source.span();
        match source.into_inner() {
            TextOr::Text(path) if path.is_empty() => Err(self.error(span, "the component's source is empty")),
            TextOr::Text(path) => Ok(self.folder().join(path)),
            TextOr::Table(remote) => {
                let what = match (remote.url, remote.package) {
                    (Some(url), _) => format!("`{url}`"),
                    (None, Some(package)) => format!("package `{package}`"),
                    (None, None) => "a table".to_owned(),
                };
                let message = format!(
                    "source is {what}: nothing is fetched from the network; give the path of a file that was fetched and checked before"
                );
                Err(self.error(span, message))
            }
        }
    }

    fn component_variables(
        &self,
        own: &BTreeMap<String, Spanned<String>>,
        variables: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, ManifestError> {
        let mut rendered = BTreeMap::new();
        for (name, value) in own {
            if !is_variable_name(name) {
                return Err(self.error(value.span(), TemplateError::BadName(name.clone()).to_string()));
            }
            rendered.insert(name.clone(), self.render(value, variables)?);
        }
        Ok(rendered)
    }

    fn environment(
        &self,
        environment: BTreeMap<String, Spanned<String>>,
    ) -> Result<BTreeMap<String, String>, ManifestError> {
        for (name, value) in &environment {
            if name.is_empty() || name.contains(['=', '\0']) || value.get_ref().contains('\0') {
                let message = format!("`{name}` cannot be set: a name has no `=`, and neither part a NUL");
                return Err(self.error(value.span(), message));
            }
        }
        Ok(environment.into_iter().map(|(name, value)| (name, value.into_inner())).collect())
    }

    fn allowed_hosts(
        &self,
        hosts: &[Spanned<String>],
        http_hosts: &[Spanned<String>],
        variables: &BTreeMap<String, String>,
    ) -> Result<AllowedHosts, ManifestError> {
        let mut allowed = AllowedHosts::default();
        let mut add = |text: &str, span: Range<usize>| {
            allowed.add(text).map_err(|error| self.error(span, error.to_string()))
        };
        for entry in hosts {
            add(&self.render(entry, variables)?, entry.span())?;
        }
        for entry in http_hosts {
            for host in from_http_host(&self.render(entry, variables)?) {
                add(&host, entry.span())?;
            }
        }
        Ok(allowed)
    }

    fn labels(&self, kind: &str, labels: Vec<Spanned<String>>) -> Result<Vec<String>, ManifestError> {
        for label in &labels {
            if let Some(fault) = names::label_fault(label.get_ref()) {
                let message = format!("{kind} `{}` {fault}", label.get_ref());
                return Err(self.error(label.span(), message));
            }
        }
        Ok(labels.into_iter().map(Spanned::into_inner).collect())
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

    fn execution(&self, table: Option<&Spanned<ExecutionTable>>) -> Result<Execution, ManifestError> {
        let Some(table) = table else { return Ok(Execution::default()) };
        table.get_ref().check().map_err(|e| self.error(table.span(), e.to_string()))
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
}
