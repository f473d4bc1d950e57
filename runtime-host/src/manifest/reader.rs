//! Turns the document into a manifest, with the text at hand for the lines of faults.

use super::document::{self, Document};
use super::hint;
use super::{Component, LinkUpCall, Manifest, ManifestError, Rollcall, SyncEndpoint, VariableSources};
use crate::route::Route;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;

pub(super) struct Reader<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

impl Reader<'_> {
    pub(super) fn error(&self, span: Range<usize>, message: impl Into<String>) -> ManifestError {
        let before = &self.text[..self.text.floor_char_boundary(span.start)];
        ManifestError::Invalid {
            path: self.path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1,
            message: message.into(),
        }
    }

    /// The folder from which relative paths start.
    pub(super) fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        }
    }

    pub(super) fn read(&self, sources: &VariableSources) -> Result<Manifest, ManifestError> {
        self.check_version()?;
        let document = toml::from_str(self.text).map_err(|error| {
            let message = error.message().trim();
            let message = hint::unknown_word(message).unwrap_or_else(|| message.to_owned());
            self.error(error.span().unwrap_or(0..0), message)
        })?;
        self.manifest(document, sources)
    }

    /// Before anything else: in another version most keys would be unknown. Leaves other faults to the whole reading.
    fn check_version(&self) -> Result<(), ManifestError> {
        #[derive(serde::Deserialize)]
        struct Version {
            spin_manifest_version: Spanned<i64>,
        }
        let Ok(Version { spin_manifest_version: version }) = toml::from_str(self.text) else { return Ok(()) };
        if *version.get_ref() != 2 {
            let message = format!("spin_manifest_version is {}, this host reads 2", version.get_ref());
            return Err(self.error(version.span(), message));
        }
        Ok(())
    }

    fn manifest(&self, document: Document, sources: &VariableSources) -> Result<Manifest, ManifestError> {
        let application = document.application;
        if application.name.get_ref().is_empty() {
            return Err(self.error(application.name.span(), "the application's name is empty"));
        }
        if let Some(base) = application.trigger.http.and_then(|http| http.base)
            && base.get_ref() != "/"
        {
            let message = "`base` is deprecated: write it in front of each trigger's `route`";
            return Err(self.error(base.span(), message));
        }
        let tool = application.tool.rollcall;
        let overrides = tool.as_ref().map(|tool| &tool.variables);
        let variables = self.variables(&document.variables, overrides, sources)?;
        let mut texts = document.component;
        let triggers = self.triggers(document.trigger, &mut texts)?;
        let (mut components, mut named) = (BTreeMap::new(), Vec::new());
        for (id, component) in texts {
            let span = component.span();
            components.insert(id.clone(), self.component(id.clone(), component, &variables)?);
            named.push((id, span));
        }
        for (id, span) in named {
            for other in components[&id].allowed_hosts.components() {
                self.check_component(other, span.clone(), &components)?;
            }
        }
        let routes = self.routes(triggers, &components)?;
        let rollcall = tool.map(|tool| self.rollcall(tool, &components)).transpose()?;
        let version = Some(application.version).filter(|version| !version.is_empty());
        let name = application.name.into_inner();
        Ok(Manifest { name, version, components, routes, rollcall, variables })
    }

    pub(super) fn check_component(
        &self,
        id: &str,
        span: Range<usize>,
        components: &BTreeMap<String, Component>,
    ) -> Result<(), ManifestError> {
        if components.contains_key(id) {
            return Ok(());
        }
        let hint = hint::suggestion(id, components.keys().map(String::as_str));
        Err(self.error(span, format!("component `{id}` is not defined{hint}")))
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
