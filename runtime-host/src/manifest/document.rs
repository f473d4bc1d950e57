//! The text of `spin.toml` as it stands: what serde reads, before anything is checked against anything else.

use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) spin_manifest_version: Spanned<i64>,
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
    pub(super) name: String,
    #[serde(default, rename = "version")]
    pub(super) _version: String,
    #[serde(default, rename = "description")]
    pub(super) _description: String,
    #[serde(default, rename = "authors")]
    pub(super) _authors: Vec<String>,
    #[serde(default, rename = "targets")]
    pub(super) _targets: Vec<toml::Value>,
    #[serde(default)]
    pub(super) tool: ApplicationTools,
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

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Triggers {
    #[serde(default)]
    pub(super) http: Vec<Spanned<HttpTrigger>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpTrigger {
    #[serde(default, rename = "id")]
    pub(super) _id: String,
    pub(super) route: Spanned<RouteSetting>,
    pub(super) component: Spanned<String>,
    #[serde(rename = "executor")]
    pub(super) _executor: Option<Executor>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum RouteSetting {
    Public(String),
    Private(PrivateRoute),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PrivateRoute {
    pub(super) private: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Executor {
    #[serde(rename = "type")]
    pub(super) _type: ExecutorType,
}

/// Spin's `wagi` runs no component of today.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ExecutorType {
    Http,
    Spin,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Component {
    pub(super) source: Spanned<String>,
    #[serde(default, rename = "description")]
    pub(super) _description: String,
    #[serde(default)]
    pub(super) variables: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    pub(super) environment: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) files: Vec<Spanned<FileMount>>,
    #[serde(default)]
    pub(super) allowed_outbound_hosts: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) key_value_stores: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) sqlite_databases: Vec<Spanned<String>>,
    pub(super) build: Option<Build>,
    #[serde(default)]
    pub(super) tool: ComponentTools,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileMount {
    pub(super) source: String,
    pub(super) destination: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Build {
    pub(super) command: Commands,
    #[serde(rename = "workdir")]
    pub(super) _workdir: Option<String>,
    #[serde(default, rename = "watch")]
    pub(super) _watch: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Commands {
    One(String),
    Many(Vec<String>),
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
    #[serde(default)]
    pub(super) anonymous: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SqliteScope {
    PerComponent,
    PerInstitute,
}
