//! The edge's settings: `rollcall-edge.toml` < `ROLLCALL_EDGE_…` < flags. `docs/edge.md` lists them.

mod source;
#[cfg(test)]
mod tests;

use crate::connection_activity::Patience;
use crate::data_folder::is_institute;
use crate::limits;
use crate::proxies::{ForwardedHeader, TrustedProxies};
use crate::tls::CertificateFiles;
use clap::{Args, Parser, Subcommand};
use figment::Figment;
use figment::providers::{Env, Format as _, Serialized, Toml};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Looked for in the working folder, then in those above it.
const FILE: &str = "rollcall-edge.toml";

#[derive(Debug, Parser)]
#[command(
    name = "rollcall-edge",
    version,
    about = "Runs a Spin application at the edge, and Rollcall's sync and link with it"
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Load the application and serve it until SIGTERM or Ctrl-C.
    Up(Flags),
    /// Load the application, say what is wrong with it, and stop.
    Check(Flags),
    /// Say what the application is made of: routes, components, what they import and may.
    Inspect(InspectFlags),
    /// Ask the running edge for its documents, or for all that is known of one.
    Documents(DocumentsFlags),
    /// Ask the running edge for the devices that are connected.
    Sessions(SessionsFlags),
}

#[derive(Debug, Args)]
pub struct InspectFlags {
    #[command(flatten)]
    pub flags: Flags,
    /// Say it as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct DocumentsFlags {
    #[command(flatten)]
    pub flags: Flags,
    /// All that is known of this document [default: a list of all]
    #[arg(value_name = "DOCUMENT")]
    pub document: Option<String>,
    /// Of this institute [default: all that are active]
    #[arg(long, value_name = "INSTITUTE", value_parser = institute)]
    pub institute: Option<String>,
    /// Say it as JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct SessionsFlags {
    #[command(flatten)]
    pub flags: Flags,
    /// Of this institute [default: all]
    #[arg(long, value_name = "INSTITUTE", value_parser = institute)]
    pub institute: Option<String>,
    /// Say it as JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

fn institute(text: &str) -> Result<String, &'static str> {
    if is_institute(text) { Ok(text.to_owned()) } else { Err("an institute is a domain name in lower case") }
}

#[derive(Debug, Default, Args, Serialize)]
pub struct Flags {
    /// The application's manifest [default: ./spin.toml]
    #[arg(long, short = 'f', alias = "from", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:3000]
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<String>,
    /// Where metrics, health and sync are shown, for operators alone [default: nowhere]
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    admin: Option<String>,
    /// Folder for databases, keys and compiled code [default: ./data/edge]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<PathBuf>,
    /// Spin's runtime configuration: where key-value stores and databases are
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime_config_file: Option<PathBuf>,
    /// The origin; sets the application's variable `origin_url`
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    /// This edge's name at the origin; sets the variable `edge_id`
    #[arg(long = "edge-id", value_name = "ID")]
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// This edge's secret at the origin; sets the variable `edge_secret`
    #[arg(long = "edge-secret", value_name = "SECRET")]
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// Log filter, as in RUST_LOG [default: info]
    #[arg(long, value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    /// Load the application anew when its manifest, a component or a mounted file changes
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    watch: bool,
    #[command(flatten)]
    #[serde(skip_serializing_if = "TlsFlags::is_empty")]
    tls: TlsFlags,
    /// Say every setting and where it comes from, and stop
    #[arg(long)]
    #[serde(skip)]
    pub print_config: bool,
}

#[derive(Debug, Default, Args, Serialize)]
struct TlsFlags {
    /// Certificate chain (PEM) for HTTPS
    #[arg(long = "tls-cert", value_name = "FILE", requires = "key")]
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long = "tls-key", value_name = "FILE", requires = "certificate")]
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<PathBuf>,
}

impl TlsFlags {
    fn is_empty(&self) -> bool {
        self.certificate.is_none() && self.key.is_none()
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub app: PathBuf,
    pub listen: String,
    /// None: operators are not served. Whoever reaches this address reads which routes are used and how much, and who syncs what.
    pub admin: Option<SocketAddr>,
    pub data: PathBuf,
    /// Spin's runtime configuration; None: every store is in `data`.
    pub runtime_config_file: Option<PathBuf>,
    pub origin: Option<String>,
    /// The authorities that may vouch for an `https` origin, PEM; none means the system's.
    pub origin_ca: Option<PathBuf>,
    pub id: Option<String>,
    pub secret: Option<Secret>,
    pub log: String,
    /// Whether the application is loaded anew when one of its files changes.
    #[serde(default)]
    pub watch: bool,
    #[serde(default)]
    pub http: HttpConfig,
    pub tls: Option<TlsConfig>,
    #[serde(default)]
    pub proxies: ProxiesConfig,
}

/// How patient the edge is with clients, and with its own end.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Too low cuts off slow networks; too high lets slow clients hold connections.
    pub header_timeout_ms: NonZeroU64,
    /// Too low makes clients connect again, which costs a handshake; too high fills the table of connections.
    pub idle_timeout_ms: NonZeroU64,
    /// How long requests are still taken after readiness says no: as long as a load balancer takes to see it.
    pub drain_delay_ms: u64,
    /// How long requests that run have to end. Too low cuts them off.
    pub drain_timeout_ms: u64,
}

impl Default for HttpConfig {
    fn default() -> Self {
        let ms = |limit: Duration| NonZeroU64::new(limit.as_millis() as u64).unwrap_or(NonZeroU64::MIN);
        Self {
            header_timeout_ms: ms(limits::HEADER_READ_TIMEOUT),
            idle_timeout_ms: ms(limits::IDLE_TIMEOUT),
            drain_delay_ms: 0,
            drain_timeout_ms: limits::DRAIN_TIMEOUT.as_millis() as u64,
        }
    }
}

impl HttpConfig {
    pub fn patience(&self) -> Patience {
        Patience {
            headers: Duration::from_millis(self.header_timeout_ms.get()),
            idle: Duration::from_millis(self.idle_timeout_ms.get()),
        }
    }

    pub fn drain_delay(&self) -> Duration {
        Duration::from_millis(self.drain_delay_ms)
    }

    pub fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_timeout_ms)
    }
}

/// HTTPS. The files are read again when they change.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl TlsConfig {
    pub fn files(&self) -> CertificateFiles {
        CertificateFiles { certificate: self.certificate.clone(), key: self.key.clone() }
    }
}

/// The proxies in front of this edge.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProxiesConfig {
    /// Too wide lets clients choose their own address and scheme.
    #[serde(deserialize_with = "networks")]
    pub trusted: Vec<IpNet>,
    pub header: ForwardedHeader,
    pub proxy_protocol: bool,
}

impl ProxiesConfig {
    pub fn trusted(&self) -> TrustedProxies {
        let ProxiesConfig { trusted, header, proxy_protocol } = self.clone();
        TrustedProxies { networks: trusted, header, proxy_protocol }
    }
}

/// Networks as `10.0.0.0/8`, or single addresses.
fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let parse = |text: String| {
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map_err(|_| serde::de::Error::custom(format!("`{text}` is no network such as 10.0.0.0/8")))
    };
    texts.into_iter().map(parse).collect()
}

/// A text that no log shows.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl Secret {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, thiserror::Error)]
#[error("settings: {0}")]
pub struct ConfigError(#[from] Box<figment::Error>);

/// The settings, and where each comes from.
pub struct ConfigSources(Figment);

impl ConfigSources {
    /// Gathers what file, environment and flags say.
    pub fn gather(flags: &Flags) -> Self {
        // Of the working folder alone: figment would look in its parents too.
        let file = match Path::new(FILE).exists() {
            true => Toml::file_exact(FILE),
            false => Toml::string(""),
        };
        Self::layered(Figment::new().merge(file), flags)
    }

    fn layered(file: Figment, flags: &Flags) -> Self {
        let defaults = BTreeMap::from([
            ("app", "spin.toml"),
            ("listen", "127.0.0.1:3000"),
            ("data", "data/edge"),
            ("log", "info"),
        ]);
        // `ROLLCALL_EDGE_ID` sets `id`; `ROLLCALL_EDGE_EDGE_ID`, after the flag's name, does too. Tables are named with `__`.
        let environment = Env::prefixed("ROLLCALL_EDGE_")
            .map(|key| key.as_str().to_ascii_lowercase().trim_start_matches("edge_").to_owned().into())
            .split("__");
        let figment = Figment::new()
            .merge(Serialized::defaults(defaults))
            .merge(Serialized::default("http", HttpConfig::default()))
            .merge(file)
            .merge(environment)
            .merge(source::flags(flags));
        Self(figment)
    }

    pub fn config(&self) -> Result<Config, ConfigError> {
        self.0.extract().map_err(|error| ConfigError(Box::new(error)))
    }
}

impl Config {
    /// The application variables that these settings set.
    pub fn variables(&self) -> BTreeMap<String, String> {
        let secret = self.secret.as_ref().map(|secret| secret.expose().to_owned());
        [("origin_url", self.origin.clone()), ("edge_id", self.id.clone()), ("edge_secret", secret)]
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }
}
