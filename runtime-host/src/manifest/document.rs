//! The text of `spin.toml` as it stands: what serde reads, before anything is checked against anything else.
//!
//! Keys that Spin knows and this host does not act on are read all the same, so that their faults are found and the others'
//! names are suggested; `_` marks those that change nothing here.

use super::SqliteScope;
use super::text_or::{OneOrMany, TextOr};
use crate::execution::ExecutionTable;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use toml::Spanned;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    #[serde(rename = "spin_manifest_version")]
    pub(super) _spin_manifest_version: i64,
    pub(super) application: Application,
    #[serde(default)]
    pub(super) variables: BTreeMap<String, Spanned<Variable>>,
    #[serde(default)]
    pub(super) trigger: Triggers,
    #[serde(default)]
    pub(super) component: BTreeMap<String, Spanned<Component>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Application {
    pub(super) name: Spanned<String>,
    #[serde(default)]
    pub(super) version: String,
    #[serde(default, rename = "description")]
    pub(super) _description: String,
    #[serde(default, rename = "authors")]
    pub(super) _authors: Vec<String>,
    #[serde(default, rename = "targets")]
    pub(super) _targets: Vec<TextOr<Target>>,
    #[serde(default)]
    pub(super) trigger: ApplicationTriggers,
    #[serde(default)]
    pub(super) tool: ApplicationTools,
}

/// Where a component shall be able to run: `spin build` checks it, a running host has nothing to do with it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    #[serde(rename = "url")]
    pub(super) _url: Option<String>,
    #[serde(rename = "path")]
    pub(super) _path: Option<String>,
}

/// Settings of trigger types for the whole application. Those of other types than HTTP are not ours to judge.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ApplicationTriggers {
    pub(super) http: Option<ApplicationHttp>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApplicationHttp {
    pub(super) base: Option<Spanned<String>>,
}

/// Other tools' tables are theirs: no `deny_unknown_fields`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ApplicationTools {
    pub(super) rollcall: Option<ApplicationTool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApplicationTool {
    #[serde(default)]
    pub(super) variables: BTreeMap<String, Spanned<String>>,
    pub(super) sync: Option<Spanned<Sync>>,
    pub(super) cache: Option<Spanned<Cache>>,
    pub(super) on_link_up: Option<Spanned<OnLinkUp>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sync {
    pub(super) path: String,
    pub(super) component: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cache {
    pub(super) component: String,
    pub(super) store: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OnLinkUp {
    pub(super) component: String,
    pub(super) path: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Variable {
    #[serde(default)]
    pub(super) required: bool,
    pub(super) default: Option<String>,
    #[serde(default)]
    pub(super) secret: bool,
    #[serde(default, rename = "description")]
    pub(super) _description: String,
}

/// `[[trigger.http]]`, and where triggers of other types stand.
#[derive(Debug, Default)]
pub(super) struct Triggers {
    pub(super) http: Vec<Spanned<HttpTrigger>>,
    pub(super) others: Vec<(String, Spanned<IgnoredAny>)>,
}

impl<'de> Deserialize<'de> for Triggers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByType;

        impl<'de> Visitor<'de> for ByType {
            type Value = Triggers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of triggers for each type, as [[trigger.http]]")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut triggers = Triggers::default();
                while let Some(name) = map.next_key::<String>()? {
                    match name.as_str() {
                        "http" => triggers.http = map.next_value()?,
                        _ => triggers.others.push((name, map.next_value()?)),
                    }
                }
                Ok(triggers)
            }
        }

        deserializer.deserialize_map(ByType)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpTrigger {
    pub(super) id: Option<Spanned<String>>,
    pub(super) route: Spanned<TextOr<PrivateRoute>>,
    pub(super) component: Option<Spanned<TextOr<Component>>>,
    pub(super) static_response: Option<Spanned<StaticResponse>>,
    pub(super) executor: Option<Spanned<Executor>>,
    pub(super) components: Option<Spanned<IgnoredAny>>,
    pub(super) dependencies: Option<Spanned<IgnoredAny>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PrivateRoute {
    pub(super) private: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StaticResponse {
    pub(super) status_code: Option<Spanned<u16>>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, Spanned<String>>,
    pub(super) body: Option<String>,
}

/// Other executors than HTTP have settings of their own: no `deny_unknown_fields`.
#[derive(Debug, Deserialize)]
pub(super) struct Executor {
    #[serde(rename = "type")]
    pub(super) kind: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Component {
    pub(super) source: Spanned<TextOr<RemoteSource>>,
    #[serde(default, rename = "description")]
    pub(super) _description: String,
    #[serde(default)]
    pub(super) variables: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    pub(super) environment: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    pub(super) files: Vec<Spanned<TextOr<FilePlacement>>>,
    #[serde(default)]
    pub(super) exclude_files: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) allowed_http_hosts: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) allowed_outbound_hosts: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) key_value_stores: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) sqlite_databases: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) ai_models: Vec<Spanned<String>>,
    #[serde(default, rename = "targets")]
    pub(super) _targets: Vec<TextOr<Target>>,
    pub(super) build: Option<Build>,
    #[serde(default)]
    pub(super) tool: ComponentTools,
    pub(super) dependencies_inherit_configuration: Option<bool>,
    #[serde(default)]
    pub(super) dependencies: BTreeMap<String, Spanned<TextOr<Dependency>>>,
    #[serde(default, rename = "profile")]
    pub(super) _profile: BTreeMap<String, Profile>,
}

/// A source that Spin fetches from the network.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RemoteSource {
    pub(super) url: Option<String>,
    #[serde(rename = "digest")]
    pub(super) _digest: Option<String>,
    #[serde(rename = "registry")]
    pub(super) _registry: Option<String>,
    pub(super) package: Option<String>,
    #[serde(rename = "version")]
    pub(super) _version: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FilePlacement {
    pub(super) source: String,
    pub(super) destination: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Build {
    pub(super) command: OneOrMany,
    #[serde(rename = "workdir")]
    pub(super) _workdir: Option<String>,
    #[serde(default, rename = "watch")]
    pub(super) _watch: Vec<String>,
}

/// Another component that provides an import. Spin knows more places of it than are taken here.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dependency {
    pub(super) version: Option<String>,
    pub(super) registry: Option<String>,
    pub(super) package: Option<String>,
    pub(super) path: Option<String>,
    pub(super) url: Option<String>,
    pub(super) digest: Option<String>,
    pub(super) component: Option<String>,
    pub(super) export: Option<String>,
    pub(super) inherit_configuration: Option<toml::Value>,
}

/// What `spin build --profile` and `spin up --profile` change; this host runs the default profile.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    #[serde(rename = "source")]
    pub(super) _source: Option<TextOr<RemoteSource>>,
    #[serde(default, rename = "environment")]
    pub(super) _environment: BTreeMap<String, String>,
    #[serde(default, rename = "dependencies")]
    pub(super) _dependencies: BTreeMap<String, TextOr<Dependency>>,
    #[serde(rename = "build")]
    pub(super) _build: Option<ProfileBuild>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProfileBuild {
    #[serde(rename = "command")]
    pub(super) _command: OneOrMany,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct ComponentTools {
    pub(super) rollcall: Option<ComponentTool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ComponentTool {
    pub(super) sqlite: Option<SqliteScope>,
    pub(super) memory_mb: Option<Spanned<u32>>,
    pub(super) cpu_ms: Option<Spanned<u32>>,
    pub(super) body_bytes_max: Option<u64>,
    pub(super) execution: Option<Spanned<ExecutionTable>>,
    #[serde(default)]
    pub(super) anonymous: Vec<Spanned<String>>,
}
