//! The edge's settings: `rollcall-edge.toml` < `ROLLCALL_EDGE_…` < flags.

use clap::{Args, Parser, Subcommand};
use figment::Figment;
use figment::providers::{Env, Format as _, Serialized, Toml};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Read when it stands in the working folder.
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
}

#[derive(Debug, Default, Args, Serialize)]
pub struct Flags {
    /// The application's manifest [default: ./spin.toml]
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:3000]
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<String>,
    /// Folder for databases, keys and compiled code [default: ./data/edge]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<PathBuf>,
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
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub app: PathBuf,
    pub listen: String,
    pub data: PathBuf,
    pub origin: Option<String>,
    pub id: Option<String>,
    pub secret: Option<Secret>,
    pub log: String,
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

impl Config {
    pub fn read(flags: &Flags) -> Result<Self, ConfigError> {
        Self::extract(Figment::new().merge(Toml::file(FILE)), flags)
    }

    fn extract(file: Figment, flags: &Flags) -> Result<Self, ConfigError> {
        let defaults = BTreeMap::from([
            ("app", "spin.toml"),
            ("listen", "127.0.0.1:3000"),
            ("data", "data/edge"),
            ("log", "info"),
        ]);
        // `ROLLCALL_EDGE_ID` sets `id`; `ROLLCALL_EDGE_EDGE_ID`, after the flag's name, does too.
        let environment = Env::prefixed("ROLLCALL_EDGE_")
            .map(|key| key.as_str().to_ascii_lowercase().trim_start_matches("edge_").to_owned().into());
        Figment::new()
            .merge(Serialized::defaults(defaults))
            .merge(file)
            .merge(environment)
            .merge(Serialized::defaults(flags))
            .extract()
            .map_err(|error| ConfigError(Box::new(error)))
    }

    /// The application variables that these settings set.
    pub fn variables(&self) -> BTreeMap<String, String> {
        let secret = self.secret.as_ref().map(|secret| secret.expose().to_owned());
        [("origin_url", self.origin.clone()), ("edge_id", self.id.clone()), ("edge_secret", secret)]
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file_and_that_over_defaults() {
        let file = Figment::new().merge(Toml::string("listen = \"127.0.0.1:1\"\nsecret = \"from-file\""));
        let flags = Flags { listen: Some("127.0.0.1:2".into()), ..Flags::default() };
        let config = Config::extract(file, &flags).unwrap();
        assert_eq!(config.listen, "127.0.0.1:2");
        assert_eq!(config.app, PathBuf::from("spin.toml"));
        assert_eq!(config.variables(), BTreeMap::from([("edge_secret".into(), "from-file".into())]));
        assert!(!format!("{config:?}").contains("from-file"));
    }

    #[test]
    fn an_unknown_setting_is_named() {
        let file = Figment::new().merge(Toml::string("listne = \"127.0.0.1:1\""));
        let error = Config::extract(file, &Flags::default()).unwrap_err().to_string();
        assert!(error.contains("listne"), "{error}");
    }
}
