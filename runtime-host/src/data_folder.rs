//! The edge's data folder: who may use it, and where things lie in it.

use crate::manifest::SqliteScope;
use std::fs::{File, TryLockError};
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};

/// Where things lie in a data folder.
#[derive(Debug, Clone)]
pub struct DataPaths {
    path: PathBuf,
}

/// A data folder that this process alone uses, for as long as the value lives.
#[derive(Debug)]
pub struct DataFolder {
    paths: DataPaths,
    /// Held, not read: the operating system frees the lock when the process ends, however it ends.
    _lock: File,
}

#[derive(Debug, thiserror::Error)]
pub enum DataFolderError {
    #[error("data folder {0} is in use by another rollcall-edge")]
    Locked(PathBuf),
    #[error("data folder {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// Longest domain name (RFC 1035, section 2.3.4).
const MAX_INSTITUTE_BYTES: usize = 253;

impl Deref for DataFolder {
    type Target = DataPaths;

    fn deref(&self) -> &DataPaths {
        &self.paths
    }
}

impl DataFolder {
    pub fn open(path: &Path) -> Result<Self, DataFolderError> {
        let io = |source| DataFolderError::Io { path: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(io)?;
        let path = path.canonicalize().map_err(io)?;
        let lock = File::create(path.join("lock")).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => Self { paths: DataPaths { path }, _lock: lock }.without_leftovers(),
            Err(TryLockError::WouldBlock) => Err(DataFolderError::Locked(path)),
            Err(TryLockError::Error(source)) => Err(io(source)),
        }
    }

    /// Copies for guests that an earlier process had no time to remove, and its databases that were to end with it.
    fn without_leftovers(self) -> Result<Self, DataFolderError> {
        for path in [self.guest_files(), self.temporary()] {
            match std::fs::remove_dir_all(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(DataFolderError::Io { path, source });
                }
                _ => {}
            }
        }
        Ok(self)
    }
}

impl DataPaths {
    /// Whether or not the folder is there.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Where a path of the runtime configuration leads.
    pub fn place(&self, path: &Path) -> PathBuf {
        self.path.join(path)
    }

    fn temporary(&self) -> PathBuf {
        self.path.join("temporary")
    }

    /// A database that the next start removes.
    pub fn temporary_database(&self, name: &str) -> PathBuf {
        self.temporary().join(format!("{name}.db"))
    }

    /// Copies of the files that guests see.
    pub fn guest_files(&self) -> PathBuf {
        self.path.join("files")
    }

    pub fn compiled_code(&self) -> PathBuf {
        self.path.join("cache")
    }

    pub fn key_value(&self) -> PathBuf {
        self.path.join("key-value.db")
    }

    pub fn keys(&self) -> PathBuf {
        self.path.join("keys.json")
    }

    /// Where a component's database `default` is; None where each institute has its own.
    ///
    /// Before there was one for the whole application each component had its own, and a folder of that time keeps it that way:
    /// what is in several files cannot be put into one.
    pub fn default_database(&self, component: &str, scope: SqliteScope) -> Option<PathBuf> {
        let own = self.path.join("sqlite").join(format!("{component}.db"));
        match scope {
            SqliteScope::PerInstitute => None,
            SqliteScope::PerComponent => Some(own),
            SqliteScope::PerApplication if own.exists() => {
                tracing::warn!(
                    component,
                    path = %own.display(),
                    "the component keeps the database that it had for itself; say `sqlite = \"per-component\"`, or move the file away"
                );
                Some(own)
            }
            SqliteScope::PerApplication => Some(self.path.join("sqlite.db")),
        }
    }

    /// None when `institute` is no domain name, so that no claim of a token can name a path elsewhere.
    pub fn institute_database(&self, institute: &str, component: &str) -> Option<PathBuf> {
        is_institute(institute)
            .then(|| self.path.join("institutes").join(institute).join(format!("{component}.db")))
    }
}

/// Whether `name` is the domain name of an institute: lower case letters, digits and `-`, in labels separated by dots.
pub fn is_institute(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    name.len() <= MAX_INSTITUTE_BYTES && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_use_is_refused_by_name_and_free_again_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataFolder::open(folder.path()).unwrap();
        let message = DataFolder::open(folder.path()).unwrap_err().to_string();
        assert!(message.ends_with("is in use by another rollcall-edge"), "{message}");
        assert!(message.contains(folder.path().file_name().unwrap().to_str().unwrap()), "{message}");
        drop(first);
        DataFolder::open(folder.path()).unwrap();
    }

    #[test]
    fn components_share_one_database_and_one_that_had_its_own_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(folder.path()).unwrap();
        let place = |component: &str, scope| folder.default_database(component, scope);
        let shared = place("a", SqliteScope::PerApplication).unwrap();
        assert_eq!(place("b", SqliteScope::PerApplication).unwrap(), shared);
        let own = place("a", SqliteScope::PerComponent).unwrap();
        assert_ne!(own, shared);
        assert_ne!(place("b", SqliteScope::PerComponent).unwrap(), own);
        assert_eq!(place("a", SqliteScope::PerInstitute), None);
        std::fs::create_dir_all(own.parent().unwrap()).unwrap();
        std::fs::write(&own, b"of an older edge").unwrap();
        assert_eq!(place("a", SqliteScope::PerApplication).unwrap(), own);
        assert_eq!(place("b", SqliteScope::PerApplication).unwrap(), shared);
    }

    #[test]
    fn only_domain_names_become_paths() {
        let folder = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(folder.path()).unwrap();
        let path = folder.institute_database("northside.example", "sync").unwrap();
        assert!(path.ends_with("institutes/northside.example/sync.db"));
        let long = "a".repeat(64);
        for name in ["", ".", "..", "a..b", "../x", "a/b", "A.example", "a_b", "a\0b", long.as_str()] {
            assert_eq!(folder.institute_database(name, "sync"), None, "{name}");
        }
    }
}
