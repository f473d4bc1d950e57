//! Spin's `runtime-config.toml`: where key-value stores and databases are. What it does not name is in the data folder.

use crate::bounded_file;
use crate::data_folder::{DataFolder, DataPaths};
use crate::database::{DatabaseFile, Databases};
use crate::key_value::{Backend, Backends, KeyValueError, KeyValueStore, MemoryStore, RedisStore};
use crate::limits;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug, thiserror::Error)]
pub enum RuntimeConfigError {
    #[error("{path}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path}:{line}: {message}")]
    Invalid { path: PathBuf, line: usize, message: String },
    #[error("runtime configuration, key_value_store.{store}: url: {source}")]
    Redis { store: String, source: redis::RedisError },
    #[error("runtime configuration, key_value_store.{store}: {source}")]
    KeyValue { store: String, source: KeyValueError },
}

/// The file as it is written; empty without one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeConfig {
    #[serde(default)]
    key_value_store: BTreeMap<String, KeyValueTable>,
    #[serde(default)]
    sqlite_database: BTreeMap<String, DatabaseTable>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum KeyValueTable {
    /// A SQLite file; in memory without a path, as in Spin.
    Spin {
        path: Option<PathBuf>,
    },
    Memory {},
    Redis {
        url: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum DatabaseTable {
    /// A SQLite file; without a path one that the next start removes.
    Spin { path: Option<PathBuf> },
}

impl RuntimeConfig {
    pub fn load(path: &Path) -> Result<Self, RuntimeConfigError> {
        let unreadable = |source| RuntimeConfigError::Unreadable { path: path.to_owned(), source };
        let bytes = bounded_file::read(path, limits::MAX_MANIFEST_BYTES).map_err(unreadable)?;
        let text = String::from_utf8(bytes).map_err(|e| unreadable(std::io::Error::other(e.utf8_error())))?;
        toml::from_str(&text).map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let (path, line) = (path.to_owned(), before.matches('\n').count() + 1);
            RuntimeConfigError::Invalid { path, line, message: error.message().to_owned() }
        })
    }

    /// Opens the stores; relative paths start in the data folder. Redis is connected to when it is used.
    pub fn key_value(&self, folder: &DataFolder) -> Result<Backends, RuntimeConfigError> {
        let open = |store: &str, path: &Path| {
            KeyValueStore::open(path)
                .map_err(|source| RuntimeConfigError::KeyValue { store: store.to_owned(), source })
        };
        let usual = open("default", &folder.key_value())?;
        // Each file has one writer, however many stores are in it.
        let mut files = BTreeMap::from([(folder.key_value(), usual.clone())]);
        let mut named = BTreeMap::new();
        for (label, table) in &self.key_value_store {
            let backend = match table {
                KeyValueTable::Memory {} | KeyValueTable::Spin { path: None } => {
                    Backend::Memory(Arc::new(MemoryStore::default()))
                }
                KeyValueTable::Spin { path: Some(path) } => {
                    let path = folder.place(path);
                    let file = match files.get(&path) {
                        Some(file) => file.clone(),
                        None => open(label, &path)?,
                    };
                    files.insert(path, file.clone());
                    Backend::File(file, label.as_str().into())
                }
                KeyValueTable::Redis { url } => {
                    let redis = RedisStore::new(url);
                    Backend::Redis(
                        redis.map_err(|source| RuntimeConfigError::Redis { store: label.clone(), source })?,
                    )
                }
            };
            named.insert(label.clone(), backend);
        }
        Ok(Backends::new(usual, named))
    }

    /// Where a store is, for people.
    pub fn place_of_store(&self, label: &str, paths: &DataPaths) -> String {
        match self.key_value_store.get(label) {
            None => format!("file {}", paths.key_value().display()),
            Some(KeyValueTable::Spin { path: Some(path) }) => format!("file {}", paths.place(path).display()),
            Some(KeyValueTable::Memory {} | KeyValueTable::Spin { path: None }) => "memory".to_owned(),
            Some(KeyValueTable::Redis { url }) => match redis::Client::open(url.as_str()) {
                Ok(client) => format!("Redis at {}", client.get_connection_info().addr()),
                Err(_) => "Redis at a URL that is none".to_owned(),
            },
        }
    }

    /// Where a database is, for people; none when this does not say.
    pub fn place_of_database(&self, name: &str, paths: &DataPaths) -> Option<String> {
        Some(match self.sqlite_database.get(name)? {
            DatabaseTable::Spin { path: Some(path) } => format!("file {}", paths.place(path).display()),
            DatabaseTable::Spin { path: None } => "a file that the next start removes".to_owned(),
        })
    }

    /// Databases by their names.
    pub fn databases(&self, folder: &DataFolder, databases: &Databases) -> BTreeMap<String, DatabaseFile> {
        let file = |(name, table): (&String, &DatabaseTable)| {
            let path = match table {
                DatabaseTable::Spin { path: Some(path) } => folder.place(path),
                DatabaseTable::Spin { path: None } => folder.temporary_database(name),
            };
            (name.clone(), databases.file(path))
        };
        self.sqlite_database.iter().map(file).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<RuntimeConfig, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runtime-config.toml");
        std::fs::write(&path, text).unwrap();
        RuntimeConfig::load(&path).map_err(|error| {
            let text = error.to_string();
            text.split_once("runtime-config.toml").unwrap().1.to_owned()
        })
    }

    #[test]
    fn stores_and_databases_are_told_by_their_types() {
        let config = parsed(
            "[key_value_store.default]\ntype = \"redis\"\nurl = \"redis://127.0.0.1:6379\"\n\
             [key_value_store.own]\ntype = \"spin\"\npath = \"own.db\"\n[key_value_store.short]\ntype = \"spin\"\n\
             [sqlite_database.other]\ntype = \"spin\"\npath = \"/srv/other.db\"\n",
        )
        .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(folder.path()).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _entered = runtime.enter();
        let stores = config.key_value(&folder).unwrap();
        assert_eq!(stores.of("default").to_string(), "Redis at 127.0.0.1:6379");
        assert_eq!(
            stores.of("own").to_string(),
            format!("file {}", folder.place(Path::new("own.db")).display())
        );
        assert_eq!(stores.of("short").to_string(), "memory");
        assert_eq!(stores.of("unnamed").to_string(), format!("file {}", folder.key_value().display()));
        let databases = config.databases(&folder, &Databases::default());
        assert_eq!(databases["other"].path(), Path::new("/srv/other.db"));
    }

    #[test]
    fn what_is_not_understood_is_named_with_its_line() {
        let error = |text| parsed(text).unwrap_err();
        assert!(error("\n[llm_compute]\ntype = \"spin\"\n").starts_with(":2: unknown field `llm_compute`"));
        let unknown = error("[key_value_store.a]\ntype = \"azure_cosmos\"\n");
        assert!(
            unknown.contains("unknown variant `azure_cosmos`, expected one of `spin`, `memory`, `redis`")
        );
        assert!(error("[key_value_store.a]\ntype = \"redis\"\n").contains("missing field `url`"));
        assert!(error("[key_value_store.a]\ntype = \"spin\"\nurl = \"x\"\n").contains("unknown field `url`"));
        assert!(error("[sqlite_database.a]\ntype = \"libsql\"\n").contains("unknown variant `libsql`"));
        assert!(error("[key_value_store").starts_with(":1: "));
    }

    #[test]
    fn a_url_that_is_none_is_told_without_its_password() {
        let config = parsed("[key_value_store.a]\ntype = \"redis\"\nurl = \"http://:hush@host\"\n").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(folder.path()).unwrap();
        let error = config.key_value(&folder).err().unwrap().to_string();
        assert!(error.starts_with("runtime configuration, key_value_store.a: url: "), "{error}");
        assert!(!error.contains("hush"), "{error}");
    }
}
