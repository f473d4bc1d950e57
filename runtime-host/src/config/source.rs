//! Where a setting comes from: `--print-config`.

use super::{ConfigSources, Flags};
use figment::providers::Serialized;
use figment::value::{Dict, Map, Value};
use figment::{Error, Metadata, Profile, Provider, Source};
use std::fmt;

/// Settings whose values are not shown.
const SECRETS: [&str; 1] = ["secret"];

/// The flags under a name of their own: figment knows them else by the line of code that reads them.
struct FlagProvider<'a>(&'a Flags);

pub(super) fn flags(flags: &Flags) -> impl Provider {
    FlagProvider(flags)
}

impl Provider for FlagProvider<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named("flag")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Serialized::defaults(self.0).data()
    }
}

/// One line for each setting, as the file would have it, with its source behind it.
impl fmt::Display for ConfigSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        let settings: Result<Dict, Error> = self.0.extract();
        for (name, value) in settings.unwrap_or_default() {
            self.leaves(&name, value, &mut lines);
        }
        // The file's order: what stands in no table comes first.
        lines.sort_by_key(|(name, ..)| (name.contains('.'), name.clone()));
        let width = lines.iter().map(|(name, value, _)| name.len() + value.len() + 3).max().unwrap_or(0);
        for (name, value, source) in lines {
            writeln!(f, "{:width$}  # {source}", format!("{name} = {value}"))?;
        }
        Ok(())
    }
}

impl ConfigSources {
    fn leaves(&self, name: &str, value: Value, lines: &mut Vec<(String, String, String)>) {
        if let Value::Dict(_, dict) = value {
            for (inner, value) in dict {
                self.leaves(&format!("{name}.{inner}"), value, lines);
            }
            return;
        }
        let source = self.0.get_metadata(value.tag()).map_or("default".to_owned(), described);
        let shown = match SECRETS.contains(&name) {
            true => "\"(secret)\"".to_owned(),
            false => serde_json::to_string(&value).unwrap_or_default(),
        };
        lines.push((name.to_owned(), shown, source));
    }
}

fn described(metadata: &Metadata) -> String {
    match &metadata.source {
        Some(Source::File(path)) => path.display().to_string(),
        _ if metadata.name == "flag" => "flag".to_owned(),
        _ if metadata.name.contains("environment") => "environment".to_owned(),
        _ => "default".to_owned(),
    }
}
