//! The command line and the configuration: file, then environment, then flags, the later ones winning.
//!
//! All of it is read and checked before anything is opened. Environment variables are the names of the settings in
//! capitals after `ROLLCALL_ORIGIN_`, for example `ROLLCALL_ORIGIN_EDGE_SECRET`, with `__` for the dot of a group:
//! `ROLLCALL_ORIGIN_STORE__URL`.

use crate::app::Parts;
use crate::services::cache::CacheSettings;
use crate::services::mail::MailSettings;
use crate::services::queue::QueueSettings;
use crate::services::retention::RetentionSettings;
use crate::services::webhooks::{WebhookSettings, Webhooks};
use crate::store::{PostgresConfig, StoreSettings};
use clap::{Args, Parser, Subcommand};
use figment::Figment;
use figment::providers::{Env, Format as _, Serialized, Toml};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

const ENVIRONMENT: &str = "ROLLCALL_ORIGIN_";
/// Read when it exists and no other file is named.
const DEFAULT_FILE: &str = "rollcall-origin.toml";
/// A shorter secret could be guessed.
const MIN_SECRET_BYTES: usize = 16;

/// The origin of Rollcall: records, documents, views and commands of coaching institutes.
#[derive(Parser)]
#[command(name = "rollcall-origin", version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) action: Action,
}

#[derive(Subcommand)]
pub(crate) enum Action {
    /// Serve devices and edges until Ctrl-C or SIGTERM.
    Serve(ServeFlags),
    /// Load the sample institutes northside.example and riverside.example; what is there stays.
    Seed(DataFlags),
    /// Load records from CSV files; what is there stays. Not while `serve` runs on the same data.
    Import(ImportFlags),
    /// Bring the schema of the store to this program's version.
    Migrate(DataFlags),
    /// The keys that sign access tokens.
    Keys(KeysFlags),
    /// Make the rows that documents are projected into what the documents' log says. Beside a serving origin too when the store
    /// is Postgres.
    RebuildProjections(RebuildFlags),
    /// What the queue has set aside, and having it done again. Embedded: not while `serve` runs on the same data.
    Queue(QueueFlags),
    /// Copy the embedded store into the empty Postgres database of `store.url`, and check every table.
    Copy(DataFlags),
}

#[derive(Args, Serialize)]
pub(crate) struct DataFlags {
    /// Configuration file (TOML); without it `rollcall-origin.toml`, if that exists.
    #[arg(long, global = true, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) config: Option<PathBuf>,
    /// Folder of the store [default: rollcall-data/origin].
    #[arg(long, global = true, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<PathBuf>,
    /// Which log lines go to stderr, for example `info` or `warn,origin=debug` [default: info].
    #[arg(long, global = true, value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
}

#[derive(Args, Serialize)]
pub(crate) struct ServeFlags {
    #[command(flatten)]
    #[serde(flatten)]
    data: DataFlags,
    /// Address to listen on; port 0 takes a free one [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<String>,
    /// Where to serve metrics and health, for operators alone [default: nowhere].
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    admin: Option<String>,
    /// Secret that edges show; better given as ROLLCALL_ORIGIN_EDGE_SECRET, where other users do not see it.
    #[arg(long, value_name = "SECRET")]
    #[serde(skip_serializing_if = "Option::is_none")]
    edge_secret: Option<String>,
    /// Load the sample institutes before serving.
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    seed: bool,
}

#[derive(Args)]
pub(crate) struct RebuildFlags {
    #[command(flatten)]
    data: DataFlags,
    #[arg(long, value_name = "INSTITUTE")]
    pub(crate) institute: String,
}

#[derive(Args)]
pub(crate) struct QueueFlags {
    #[command(flatten)]
    data: DataFlags,
    #[command(subcommand)]
    pub(crate) action: QueueAction,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum QueueAction {
    /// How much waits, and each event that was set aside, with the count of its failures and the last reason.
    List,
    /// Have events of an institute that were set aside done again.
    Replay {
        #[arg(long, value_name = "INSTITUTE")]
        institute: String,
        /// The commit that the event is of; without it all events that were set aside.
        #[arg(long, value_name = "REVISION")]
        revision: Option<u64>,
    },
}

#[derive(Args)]
pub(crate) struct ImportFlags {
    #[command(flatten)]
    data: DataFlags,
    /// The institute, made when it is not there.
    #[arg(long, value_name = "INSTITUTE")]
    pub(crate) institute: String,
    /// Check everything and write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(subcommand)]
    pub(crate) source: ImportSource,
}

#[derive(Args)]
pub(crate) struct KeysFlags {
    #[command(flatten)]
    data: DataFlags,
    #[command(subcommand)]
    pub(crate) action: KeysAction,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum KeysAction {
    /// Publish a new key, which signs after a while. Origins that run need no restart, edges no new connection.
    Rotate {
        /// Seconds from publishing to signing: longer than caches of the key set keep it.
        #[arg(long, value_name = "SECONDS", default_value_t = 600)]
        lead: u32,
    },
    /// List the keys with the time from which each signs.
    List,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ImportSource {
    /// A folder of the Open University Learning Analytics Dataset (.csv or .csv.gz).
    Oulad { folder: PathBuf },
    /// People: columns email, name, role, batch (batch may be empty).
    Roster { file: PathBuf },
    /// Results: columns email, assignment, score, max.
    Results { file: PathBuf },
}

/// The secret that edges show. Printed nowhere, compared in constant time.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct EdgeSecret([u8; 32]);

impl EdgeSecret {
    pub(crate) fn new(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// The time that this takes says nothing about the secret: only hashes are compared, each byte of them.
    pub(crate) fn matches(&self, shown: &str) -> bool {
        let shown = Self::new(shown);
        self.0.iter().zip(shown.0).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

impl std::fmt::Debug for EdgeSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EdgeSecret(…)")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// The settings as they are written. No `Debug`: it would show the secret.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    data: PathBuf,
    log: String,
    log_format: LogFormat,
    listen: String,
    #[serde(default)]
    admin: Option<String>,
    edge_secret: Option<String>,
    seed: bool,
    #[serde(default)]
    store: StoreSettings,
    #[serde(default)]
    queue: QueueSettings,
    #[serde(default)]
    cache: CacheSettings,
    #[serde(default)]
    retention: RetentionSettings,
    #[serde(default)]
    mail: MailSettings,
    #[serde(default)]
    payment_webhooks: Vec<WebhookSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data: PathBuf::from("rollcall-data/origin"),
            log: "info,refinery_core=warn".to_owned(),
            log_format: LogFormat::Text,
            listen: "127.0.0.1:8080".to_owned(),
            admin: None,
            edge_secret: None,
            seed: false,
            store: StoreSettings::default(),
            queue: QueueSettings::default(),
            cache: CacheSettings::default(),
            retention: RetentionSettings::default(),
            mail: MailSettings::default(),
            payment_webhooks: Vec::new(),
        }
    }
}

/// The settings, checked.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Folder of the store. Two processes on one folder: the second says so and ends.
    pub(crate) data: PathBuf,
    /// The cluster that is the store; without it the store is embedded in `data`.
    pub(crate) postgres: Option<PostgresConfig>,
    pub(crate) parts: Parts,
    pub(crate) listen: SocketAddr,
    /// None: metrics are not collected. Whoever reaches this address reads what is used and how much.
    pub(crate) admin: Option<SocketAddr>,
    /// Without it no edge is let in.
    pub(crate) edge_secret: Option<EdgeSecret>,
    pub(crate) seed: bool,
    /// A filter of `tracing-subscriber`.
    pub(crate) log: String,
    pub(crate) log_format: LogFormat,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("configuration: {0}")]
    Unreadable(String),
    #[error("configuration: {}", .0.join("; "))]
    Invalid(Vec<String>),
}

impl Config {
    pub(crate) fn load(action: &Action) -> Result<Self, ConfigError> {
        let (file, flags) = match action {
            Action::Serve(flags) => (&flags.data.config, Figment::from(Serialized::defaults(flags))),
            Action::Seed(flags) | Action::Migrate(flags) | Action::Copy(flags) => {
                (&flags.config, Figment::from(Serialized::defaults(flags)))
            }
            Action::Queue(flags) => (&flags.data.config, Figment::from(Serialized::defaults(&flags.data))),
            Action::Import(flags) => (&flags.data.config, Figment::from(Serialized::defaults(&flags.data))),
            Action::Keys(flags) => (&flags.data.config, Figment::from(Serialized::defaults(&flags.data))),
            Action::RebuildProjections(flags) => {
                (&flags.data.config, Figment::from(Serialized::defaults(&flags.data)))
            }
        };
        let file = match file {
            Some(file) => Toml::file_exact(file),
            // Of the working folder alone: figment would look in its parents too.
            None if Path::new(DEFAULT_FILE).exists() => Toml::file_exact(DEFAULT_FILE),
            None => Toml::string(""),
        };
        let settings = Figment::from(Serialized::defaults(Settings::default()))
            .merge(file)
            .merge(Env::prefixed(ENVIRONMENT).split("__"))
            .merge(flags)
            .extract::<Settings>()
            .map_err(unreadable)?;
        settings.check()
    }
}

impl Settings {
    /// Finds all faults at once.
    fn check(self) -> Result<Config, ConfigError> {
        let mut faults = Vec::new();
        let listen = self.listen.parse::<SocketAddr>();
        if listen.is_err() {
            faults.push(format!("listen is {:?}, not an address and port like 127.0.0.1:8080", self.listen));
        }
        let admin = self.admin.as_ref().map(|admin| admin.parse::<SocketAddr>());
        if matches!(admin, Some(Err(_))) {
            faults.push(format!(
                "admin is {:?}, not an address and port like 127.0.0.1:9090",
                self.admin.as_deref().unwrap_or_default()
            ));
        }
        let admin = admin.and_then(Result::ok);
        if let Some(secret) = self.edge_secret.as_ref().filter(|secret| secret.len() < MIN_SECRET_BYTES) {
            faults.push(format!("edge_secret has {} bytes, it needs {MIN_SECRET_BYTES}", secret.len()));
        }
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.log) {
            faults.push(format!("log is {:?}: {error}", self.log));
        }
        let postgres = self.store.check(&mut faults);
        let parts = Parts {
            cache: self.cache.check(&mut faults),
            queue: self.queue.check(&mut faults),
            retention: self.retention.check(&mut faults),
            mail: self.mail.check(&mut faults),
            webhooks: Webhooks::check(self.payment_webhooks, &mut faults),
        };
        match listen {
            Ok(listen) if faults.is_empty() => Ok(Config {
                data: self.data,
                postgres,
                parts,
                listen,
                admin,
                edge_secret: self.edge_secret.as_deref().map(EdgeSecret::new),
                seed: self.seed,
                log: self.log,
                log_format: self.log_format,
            }),
            Ok(_) | Err(_) => Err(ConfigError::Invalid(faults)),
        }
    }
}

/// Each fault with the place that it comes from.
fn unreadable(error: figment::Error) -> ConfigError {
    let faults: Vec<String> = error.into_iter().map(|fault| fault.to_string()).collect();
    ConfigError::Unreadable(faults.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(arguments: &[&str]) -> Result<Config, ConfigError> {
        let arguments = ["rollcall-origin"].iter().chain(arguments);
        Config::load(&Cli::try_parse_from(arguments).unwrap().action)
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("origin.toml");
        std::fs::write(&file, "listen = \"127.0.0.1:1\"\nlog = \"debug\"\nseed = true\n").unwrap();
        let file = file.to_str().unwrap();
        let config = load(&["serve", "--config", file, "--listen", "127.0.0.1:2"]).unwrap();
        assert_eq!(config.listen.port(), 2);
        assert_eq!(config.log, "debug");
        assert!(config.seed);
        assert_eq!(config.log_format, LogFormat::Text);
    }

    #[test]
    fn all_faults_are_told_together() {
        let fault = load(&["serve", "--listen", "here", "--edge-secret", "short"]).unwrap_err().to_string();
        assert!(fault.contains("listen is \"here\"") && fault.contains("edge_secret has 5 bytes"), "{fault}");
    }

    #[test]
    fn an_unknown_setting_and_a_missing_file_are_faults() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("origin.toml");
        std::fs::write(&file, "lisen = \"127.0.0.1:1\"\n").unwrap();
        let fault = load(&["serve", "--config", file.to_str().unwrap()]).unwrap_err().to_string();
        assert!(fault.contains("lisen"), "{fault}");
        let missing = folder.path().join("none.toml");
        assert!(load(&["serve", "--config", missing.to_str().unwrap()]).is_err());
    }

    #[test]
    fn the_edge_secret_is_compared_whole_and_never_printed() {
        let secret = EdgeSecret::new("correct horse battery");
        assert!(secret.matches("correct horse battery"));
        assert!(!secret.matches("correct horse batterz"));
        assert!(!secret.matches(""));
        assert_eq!(format!("{secret:?}"), "EdgeSecret(…)");
    }
}
